//! What can happen to the bytes of an object on their way, and to the right to read them: each object counts once all
//! the same, or is kept with its reason.

use std::time::Duration;

use crate::aws::gzip;
use crate::cloud::{Cloud, Content, Effect, Gate, Moment, Op, Refusal, on};
use crate::daemon::Setup;
use crate::events::{COUNT_EACH, logins_of};

fn setup(cloud: &Cloud) -> Setup {
    Setup::new().rule("Count", COUNT_EACH).reading_cloud(cloud)
}

fn is_drained(cloud: &Cloud) -> bool {
    cloud.end_delays();
    cloud.depth() == (0, 0)
}

fn kept(setup: &Setup) -> String {
    let kept = setup.margay(&["quarantine", "list", "--config", "margay.toml", "--format", "jsonl"]);
    String::from_utf8(kept.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_transfers_go_on_where_they_broke() {
    let cloud = Cloud::start();
    let text = |name: &str| logins_of(name, 400);
    let length = gzip(text("any")).len() as u64;
    let mut expected = std::collections::BTreeMap::new();
    for (name, bytes) in [("at-0", 0), ("at-1", 1), ("at-1000", 1000), ("at-half", length / 2), ("at-10", 10)] {
        cloud.fault(on(Op::GetObject).about(name).does(Effect::BreakAfter(bytes)));
        cloud.put(name, gzip(text(name)));
        expected.insert(name.to_owned(), 400);
    }
    for bytes in [30_000, 20_000, 10_000] {
        cloud.fault(on(Op::GetObject).about("thrice").does(Effect::BreakAfter(bytes)));
    }
    cloud.put("thrice", text("thrice"));
    let reset = Effect::Reset(Moment::Before);
    cloud.fault(on(Op::GetObject).about("no-answer").times(2).does(reset));
    cloud.put("no-answer", gzip(text("no-answer")));
    let slow_down = Refusal::new(503, "SlowDown", "Please reduce your request rate.");
    cloud.fault(on(Op::GetObject).about("slow-down").times(3).does(Effect::Refuse(Moment::Before, slow_down)));
    cloud.put("slow-down", gzip(text("slow-down")));
    cloud.fault(on(Op::GetObject).about("late").does(Effect::Delay(Duration::from_millis(500))));
    cloud.put("late", gzip(text("late")));
    for name in ["thrice", "no-answer", "slow-down", "late"] {
        expected.insert(name.to_owned(), 400);
    }
    let setup = setup(&cloud);
    let daemon = setup.start().await;
    daemon.until(|_| is_drained(&cloud)).await;
    assert_eq!(setup.counts(), expected);
    assert!(cloud.calls(Op::ChangeVisibility).is_empty(), "nothing had to come again");
    let ranges: Vec<_> = cloud.calls(Op::GetObject).into_iter().filter(|call| call.subject == "thrice").collect();
    assert_eq!(ranges.iter().map(|call| start(&call.detail)).collect::<Vec<_>>(), ["", "30000", "50000", "60000"]);
}

/// The first byte that a range asks for; nothing for a whole object.
fn start(range: &str) -> &str {
    range.trim_start_matches("bytes=").split('-').next().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_decide_what_an_object_is_not_its_name() {
    let cloud = Cloud::start();
    let text = |name: &str| logins_of(name, 30);
    cloud.put("plain.json.gz", text("plain"));
    cloud.put("packed.txt", gzip(text("packed")));
    let members = [gzip(text("members")), gzip(""), gzip(text("members"))].concat();
    cloud.put("members.gz", members);
    cloud.put("repeated.gz", Content::repeated(gzip(text("repeated")), 3));
    cloud.put("padded.gz", [gzip(text("padded")), vec![0; 512]].concat());
    cloud.put("garbage.gz", [gzip(text("garbage")), b"and more".to_vec()].concat());
    let mut damaged = gzip(logins_of("damaged", 2000));
    let trailer = damaged.len() - 8;
    damaged[trailer] ^= 0xff;
    cloud.put("damaged.gz", damaged);
    let setup = setup(&cloud);
    let daemon = setup.start().await;
    // The second look is not waited for.
    daemon.until(|_| is_drained(&cloud)).await;
    let counts = setup.counts();
    let expected = [
        ("damaged", 2000),
        ("garbage", 30),
        ("members", 60),
        ("packed", 30),
        ("padded", 30),
        ("plain", 30),
        ("repeated", 90),
    ];
    assert_eq!(
        counts,
        expected.map(|(name, count)| (name.to_owned(), count)).into(),
        "no event of a damaged object doubles"
    );
    assert!(kept(&setup).contains("s3://logs/damaged.gz"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_another_region_is_read_there() {
    let cloud = Cloud::start();
    cloud.bucket_in("far-away", "eu-north-1");
    let source =
        "[[sources]]\nname = \"far\"\nbucket = \"far-away\"\nprefixes = [{ log_types = [\"Okta.SystemLog\"] }]\n";
    let setup = setup(&cloud).configured(source);
    let daemon = setup.start().await;
    for name in ["a", "b"] {
        cloud.put_into("far-away", name, gzip(logins_of(name, 20)));
        daemon.until(|_| is_drained(&cloud)).await;
    }
    assert_eq!(setup.counts(), [("a".into(), 20), ("b".into(), 20)].into());
    assert_eq!(cloud.calls(Op::GetObject).len(), 3, "it asks in the wrong region once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_the_key_forbids_is_kept_after_three_looks() {
    let cloud = Cloud::start();
    cloud.put("a", gzip(logins_of("a", 20)));
    let text = "User is not authorized to perform: kms:Decrypt on the resource associated with this ciphertext";
    let denied = Effect::Refuse(Moment::Before, Refusal::new(403, "AccessDenied", text));
    cloud.fault(on(Op::GetObject).about("a").times(3).does(denied));
    let setup = setup(&cloud);
    let daemon = setup.start().await;
    daemon.until(|_| is_drained(&cloud)).await;
    assert_eq!(cloud.calls(Op::GetObject).len(), 3);
    let kept = kept(&setup);
    assert!(kept.contains("s3://logs/a") && kept.contains("kms:Decrypt"), "{kept}");
    assert!(setup.counts().is_empty());
    // Announced again once it is allowed.
    cloud.put("a", gzip(logins_of("b", 20)));
    daemon.until(|_| is_drained(&cloud)).await;
    assert_eq!(setup.counts(), [("b".into(), 20)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_end_in_the_middle_of_an_object_cost_nothing() {
    let cloud = Cloud::start();
    cloud.fault(on(Op::GetObject).does(Effect::BreakAfter(30_000)));
    let expired = Refusal::new(400, "ExpiredToken", "The provided token has expired.");
    cloud.fault(on(Op::GetObject).does(Effect::Refuse(Moment::Before, expired)));
    cloud.put("a", logins_of("a", 400));
    let setup = setup(&cloud);
    let daemon = setup.start().await;
    daemon.until(|_| is_drained(&cloud)).await;
    assert_eq!(setup.counts(), [("a".into(), 400)].into());
    assert_eq!(cloud.calls(Op::GetObject).last().map(|call| start(&call.detail).to_owned()), Some("30000".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_end_in_the_middle_of_an_object_are_renewed() {
    for (status, code) in [(400, "ExpiredToken"), (403, "InvalidAccessKeyId")] {
        let cloud = Cloud::start();
        let gate = Gate::new();
        cloud.put("a", logins_of("a", 400));
        let held = on(Op::GetObject).does(Effect::HoldAfter(20_000, gate.clone())).does(Effect::BreakAfter(30_000));
        cloud.fault(held);
        let setup = setup(&cloud);
        let daemon = setup.start().await;
        daemon.until(|_| gate.is_reached()).await;
        cloud.end_sessions(Refusal::new(status, code, "these credentials are no more"));
        gate.open();
        daemon.until(|_| is_drained(&cloud)).await;
        assert_eq!(setup.counts(), [("a".into(), 400)].into(), "{code}");
        assert_eq!(cloud.calls(Op::AssumeRole).len(), 2, "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_end_under_many_objects_are_renewed_once_and_no_message_comes_again() {
    let cloud = Cloud::start();
    let names = ["a", "b", "c", "d"].map(|name| format!("held-{name}"));
    let gates = names.each_ref().map(|name| {
        let gate = Gate::new();
        let held = on(Op::GetObject).about(name);
        cloud.fault(held.does(Effect::HoldAfter(20_000, gate.clone())).does(Effect::BreakAfter(30_000)));
        cloud.put(name, logins_of(name, 400));
        gate
    });
    let setup = setup(&cloud);
    let daemon = setup.start().await;
    daemon.until(|_| gates.iter().all(Gate::is_reached)).await;
    cloud.end_sessions(Refusal::new(403, "InvalidAccessKeyId", "these credentials are no more"));
    gates.iter().for_each(Gate::open);
    daemon.until(|_| is_drained(&cloud)).await;
    assert_eq!(setup.counts(), names.into_iter().map(|name| (name, 400)).collect());
    assert_eq!(cloud.calls(Op::AssumeRole).len(), 2);
    assert!(cloud.calls(Op::ChangeVisibility).is_empty(), "nothing had to come again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_object_holds_nobody_back() {
    let cloud = Cloud::start();
    let gate = Gate::new();
    cloud.fault(on(Op::GetObject).about("slow").does(Effect::HoldAfter(2000, gate.clone())));
    let slow = cloud.put("slow", gzip(logins_of("slow", 400)));
    let setup = setup(&cloud);
    let daemon = setup.start().await;
    daemon.until(|_| gate.is_reached()).await;
    for number in 0..60 {
        let name = format!("quick-{number}");
        cloud.put(&name, gzip(logins_of("quick", 5)));
    }
    daemon.until(|_| cloud.depth() == (0, 1)).await;
    assert!(!cloud.deleted().contains(&slow), "the others were done before it");
    gate.open();
    daemon.until(|_| is_drained(&cloud)).await;
    assert_eq!(setup.counts(), [("quick".into(), 300), ("slow".into(), 400)].into());
}
