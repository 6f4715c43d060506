//! Every way in which pipelines of this kind are known to lose or double events, and that this one does not.
//!
//! | seen elsewhere | here |
//! |---|---|
//! | entries of a batch call fail unseen | [`a_deletion_that_fails_is_made_again_when_the_message_comes_back`] |
//! | a deletion that was applied is answered with an error | [`a_deletion_whose_answer_is_lost_is_harmless`] |
//! | a failed deferral deletes the message | [`a_message_that_can_not_be_handed_back_is_not_deleted`] |
//! | a decoding error is acknowledged | [`a_damaged_transfer_is_not_acknowledged`] |
//! | shutdown drops a running object, then replays it | `story_kills`, the stories of SIGTERM |
//! | a message is deleted because it was received often | [`a_message_is_never_deleted_for_being_received_often`] |
//! | a malformed body, or an unknown bucket, is deleted | [`what_can_not_be_used_is_kept_before_its_message_goes`] |
//! | second and later records are ignored; Copy and Post events are dropped | [`every_record_of_a_message_counts`] |
//! | "seen" is marked before the commit | `story_kills`, the stories of `kill -9` |
//! | the mark stays after a commit that failed | [`a_failed_commit_leaves_no_mark`] |
//! | a missing object is passed over | [`a_missing_object_may_be_late`] |
//! | a message is deleted before its data is flushed | `story_kills`: what is deleted was counted |
//! | the answer to a receive is lost | [`messages_that_were_leased_to_nobody_come_again`] |
//! | the lease ends while the work goes on | [`a_message_delivered_twice_at_once_counts_once`] |
//! | a request to confirm is lost with its answer | [`a_subscription_is_confirmed_before_its_message_goes`] |
//! | an overwritten key is taken for seen | [`an_overwritten_key_is_a_new_object`] |
//! | what was overwritten is never read, though it is there again | `pipeline/tests/ends` |
//! | a bucket that logs its own readers is read for ever, unseen | `pipeline/tests/feedback` |
//!
//! | fault | here |
//! |---|---|
//! | a body that ends or breaks at byte N, a wrong name, another region, a key that is refused | `story_transfers` |
//! | credentials that end in the middle of an object | `story_transfers` |
//! | `503 SlowDown`, a redirect without end, a role that refuses | `fetch/s3/tests/refusals` |
//! | a bad checksum, gzip of many members, garbage behind its end | `decode/gunzip`, `decode/hostile` |
//! | Parquet files that mean harm | `decode/parquet/hostile_tests` |
//! | entries of a batch that fail | `queue/sqs/calls`, `queue/sqs/batch` |
//! | `kill -9` at every seam | `story_kills` |
//!
//! A lost answer to a commit of the lake is told below, where the lake is.

use std::collections::BTreeMap;
use std::str::FromStr;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::aws::{ACCOUNT, REGION, gzip};
use crate::cloud::{BUCKET, Cloud, Effect, Gate, Moment, Op, Refusal, notification, on, record};
use crate::daemon::{Daemon, Setup};
use crate::events::{COUNT_EACH, logins_of};

fn setup(cloud: &Cloud) -> Setup {
    Setup::new().rule("Count", COUNT_EACH).reading_cloud(cloud)
}

fn object(name: &str, events: usize) -> Vec<u8> {
    gzip(logins_of(name, events))
}

fn counts<const N: usize>(expected: [(&str, u64); N]) -> BTreeMap<String, u64> {
    expected.map(|(name, count)| (name.to_owned(), count)).into()
}

/// Waits for the end of all messages; delays are not waited for.
async fn drained(daemon: &Daemon<'_>, cloud: &Cloud) {
    let is_drained = |_: &Daemon<'_>| {
        cloud.end_delays();
        cloud.depth() == (0, 0)
    };
    daemon.until(is_drained).await;
}

/// Waits until a message was handed back once.
async fn handed_back(daemon: &Daemon<'_>, cloud: &Cloud, message: &str) {
    daemon.until(|_| cloud.hand_backs(message) == 1).await;
    assert!(!cloud.deleted().contains(&message.to_owned()));
}

fn deletions(cloud: &Cloud, message: &str) -> usize {
    cloud.calls(Op::DeleteMessage).iter().filter(|call| call.subject == message).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_fails_is_made_again_when_the_message_comes_back() {
    let cloud = Cloud::start();
    let message = cloud.put("a", object("a", 20));
    cloud.put("b", object("b", 20));
    let refusal = Refusal::new(500, "InternalFailure", "not now");
    cloud.fault(on(Op::DeleteMessage).about(&message).times(4).does(Effect::Refuse(Moment::Before, refusal)));
    let setup = setup(&cloud);
    let daemon = setup.start().await;
    daemon.until(|_| deletions(&cloud, &message) >= 4).await;
    cloud.deliver_again(&message);
    drained(&daemon, &cloud).await;
    assert_eq!(setup.counts(), counts([("a", 20), ("b", 20)]));
    assert_eq!(cloud.calls(Op::GetObject).len(), 2, "what is done is not read again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_whose_answer_is_lost_is_harmless() {
    let cloud = Cloud::start();
    let refusal = Refusal::new(500, "InternalFailure", "it is done, though");
    for (key, effect) in [("a", Effect::Refuse(Moment::After, refusal)), ("b", Effect::Reset(Moment::After))] {
        let message = cloud.put(key, object(key, 20));
        cloud.fault(on(Op::DeleteMessage).about(&message).times(2).does(effect));
    }
    let setup = setup(&cloud);
    let daemon = setup.start().await;
    drained(&daemon, &cloud).await;
    cloud.put("c", object("c", 20));
    drained(&daemon, &cloud).await;
    assert_eq!(setup.counts(), counts([("a", 20), ("b", 20), ("c", 20)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_can_not_be_handed_back_is_not_deleted() {
    let cloud = Cloud::start();
    let message = cloud.put("a", object("a", 500));
    cloud.fault(on(Op::GetObject).does(Effect::CutAt(1000)));
    let refusal = Refusal::new(403, "AccessDenied", "no");
    cloud.fault(on(Op::ChangeVisibility).about(&message).does(Effect::Refuse(Moment::Before, refusal)));
    let setup = setup(&cloud);
    let daemon = setup.start().await;
    daemon.until(|_| cloud.calls(Op::ChangeVisibility).len() == 1).await;
    assert!(cloud.deleted().is_empty());
    // The queue takes it back by itself when the lease ends.
    cloud.deliver_again(&message);
    drained(&daemon, &cloud).await;
    assert_eq!(setup.counts(), counts([("a", 500)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_transfer_is_not_acknowledged() {
    let cloud = Cloud::start();
    let cut = cloud.put("cut", object("cut", 500));
    cloud.fault(on(Op::GetObject).about("cut").does(Effect::CutAt(1000)));
    let garbled = cloud.put("garbled", object("garbled", 500));
    cloud.fault(on(Op::GetObject).about("garbled").does(Effect::Garble(1000)));
    let setup = setup(&cloud);
    let daemon = setup.start().await;
    handed_back(&daemon, &cloud, &cut).await;
    handed_back(&daemon, &cloud, &garbled).await;
    drained(&daemon, &cloud).await;
    assert_eq!(setup.counts(), counts([("cut", 500), ("garbled", 500)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_never_deleted_for_being_received_often() {
    const OFTEN: u32 = 12;
    let cloud = Cloud::start();
    cloud.put("a", object("a", 20));
    let expired = Refusal::new(400, "ExpiredToken", "The provided token has expired.");
    cloud.fault(on(Op::GetObject).times(OFTEN).does(Effect::Refuse(Moment::Before, expired)));
    let setup = setup(&cloud);
    let daemon = setup.start().await;
    drained(&daemon, &cloud).await;
    assert_eq!(cloud.calls(Op::GetObject).len() as u32, OFTEN + 1);
    assert_eq!(setup.counts(), counts([("a", 20)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_used_is_kept_before_its_message_goes() {
    let cloud = Cloud::start();
    cloud.send("this is no notification");
    cloud.send(&notification(&[record("ObjectCreated:Put", "nobodys-bucket", "a", Some("e1"))]));
    let gate = Gate::new();
    cloud.fault(on(Op::DeleteMessage).times(2).does(Effect::Hold(Moment::Before, gate.clone())));
    let setup = setup(&cloud);
    let mut daemon = setup.start().await;
    daemon.until(|_| cloud.calls(Op::DeleteMessage).len() == 2).await;
    daemon.signal("KILL");
    daemon.ended();
    let kept = setup.margay(&["quarantine", "list", "--config", "margay.toml", "--format", "jsonl"]);
    let kept = String::from_utf8(kept.stdout).unwrap();
    assert!(kept.contains("this is no notification") && kept.contains("s3://nobodys-bucket/a"), "{kept}");
    assert_eq!(kept.lines().count(), 2, "{kept}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_of_a_message_counts() {
    let cloud = Cloud::start();
    let mut records = vec![record("ObjectCreated:Put", BUCKET, "unreadable", Some("e1"))];
    records[0]["s3"]["object"]["key"] = "100%".into();
    let events =
        ["ObjectCreated:Put", "ObjectCreated:Copy", "ObjectCreated:Post", "ObjectCreated:CompleteMultipartUpload"];
    for (event, name) in events.iter().zip(["a", "b", "c", "d"]) {
        let etag = cloud.store(name, object(name, 20));
        records.push(record(event, BUCKET, name, Some(&etag)));
    }
    let gone = cloud.store("gone", object("gone", 20));
    records.insert(2, record("ObjectRemoved:Delete", BUCKET, "gone", Some(&gone)));
    cloud.send(&notification(&records));
    let setup = setup(&cloud);
    let daemon = setup.start().await;
    drained(&daemon, &cloud).await;
    assert_eq!(setup.counts(), counts([("a", 20), ("b", 20), ("c", 20), ("d", 20)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_commit_leaves_no_mark() {
    let cloud = Cloud::start();
    cloud.put("a", object("a", 500));
    let gate = Gate::new();
    cloud.fault(on(Op::GetObject).does(Effect::HoldAfter(2000, gate.clone())));
    let setup = setup(&cloud);
    let daemon = setup.start().await;
    daemon.until(|_| gate.is_reached()).await;
    // Another program holds the state file for longer than the daemon waits.
    let path = setup.path("margay.db");
    let options = SqliteConnectOptions::from_str(path.to_str().unwrap()).unwrap();
    let mut other = options.connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    gate.open();
    daemon.until(|daemon| daemon.metrics().get("margay_state_errors_total") > 0.0).await;
    assert!(cloud.deleted().is_empty());
    other.close().await.unwrap();
    drained(&daemon, &cloud).await;
    assert_eq!(setup.counts(), counts([("a", 500)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_object_may_be_late() {
    let cloud = Cloud::start();
    let bytes = object("late", 20);
    let etag = cloud.store("late", bytes.clone());
    cloud.remove("late");
    let message = cloud.send(&notification(&[record("ObjectCreated:Put", BUCKET, "late", Some(&etag))]));
    let setup = setup(&cloud);
    let daemon = setup.start().await;
    handed_back(&daemon, &cloud, &message).await;
    assert_eq!(cloud.store("late", bytes), etag);
    drained(&daemon, &cloud).await;
    assert_eq!(setup.counts(), counts([("late", 20)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_were_leased_to_nobody_come_again() {
    let cloud = Cloud::start();
    let message = cloud.put("a", object("a", 20));
    cloud.fault(on(Op::ReceiveMessage).does(Effect::Reset(Moment::After)));
    let setup = setup(&cloud);
    let daemon = setup.start().await;
    daemon.until(|_| cloud.receives(&message) == 1).await;
    cloud.deliver_again(&message);
    drained(&daemon, &cloud).await;
    assert_eq!(setup.counts(), counts([("a", 20)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_delivered_twice_at_once_counts_once() {
    let cloud = Cloud::start();
    let message = cloud.put("a", object("a", 500));
    let gate = Gate::new();
    cloud.fault(on(Op::GetObject).does(Effect::HoldAfter(2000, gate.clone())));
    let setup = setup(&cloud);
    let daemon = setup.start().await;
    daemon.until(|_| gate.is_reached()).await;
    let receives = cloud.receives(&message);
    cloud.deliver_again(&message);
    daemon.until(|_| cloud.receives(&message) > receives).await;
    gate.open();
    drained(&daemon, &cloud).await;
    assert_eq!(setup.counts(), counts([("a", 500)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overwritten_key_is_a_new_object() {
    let cloud = Cloud::start();
    let setup = setup(&cloud);
    let daemon = setup.start().await;
    for name in ["first", "second"] {
        cloud.put("key", object(name, 20));
        drained(&daemon, &cloud).await;
    }
    // Overwritten before it is read: the newer notification brings what is there.
    let overwritten = cloud.store("key", object("third", 20));
    cloud.store("key", object("fourth", 20));
    cloud.send(&notification(&[record("ObjectCreated:Put", BUCKET, "key", Some(&overwritten))]));
    drained(&daemon, &cloud).await;
    cloud.put("key", object("fifth", 20));
    drained(&daemon, &cloud).await;
    assert_eq!(setup.counts(), counts([("fifth", 20), ("first", 20), ("second", 20)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_confirmed_before_its_message_goes() {
    let cloud = Cloud::start();
    let topic = format!("arn:aws:sns:{REGION}:{ACCOUNT}:logs");
    let question = serde_json::json!({ "Type": "SubscriptionConfirmation", "TopicArn": topic, "Token": "2336412f37",
        "Message": "You have chosen to subscribe.", "SubscribeURL": "http://127.0.0.1:9/never-fetched" });
    let message = cloud.send(&question.to_string());
    let busy = Refusal::new(503, "ServiceUnavailable", "not now");
    cloud.fault(on(Op::ConfirmSubscription).about(&topic).times(4).does(Effect::Refuse(Moment::Before, busy)));
    let setup = setup(&cloud);
    let daemon = setup.start().await;
    handed_back(&daemon, &cloud, &message).await;
    drained(&daemon, &cloud).await;
    let asked = cloud.calls(Op::ConfirmSubscription);
    assert!(asked.len() == 5 && asked.iter().all(|call| call.detail == "2336412f37"), "{asked:?}");
}
