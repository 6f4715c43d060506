//! Messages that are about the notifications themselves, announcements that mean something only to some sources, and
//! keys in the wrong spelling.

use serde_json::{Value, json};

use super::*;

const TOPIC: &str = "arn:aws:sns:us-west-2:111122223333:logs";

fn question(topic: &str) -> String {
    json!({ "Type": "SubscriptionConfirmation", "TopicArn": topic, "Token": "t", "Message": "You have chosen …",
        "SubscribeURL": "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription" })
    .to_string()
}

/// A world whose one source is of the account, and wants restored objects or not.
async fn world_of(account: &str, include_restored: bool) -> World {
    let world = world().await;
    let source = json!({ "name": "logs", "bucket": "b", "account_id": account, "include_restored": include_restored,
        "prefixes": [{ "prefix": "okta/", "log_types": ["Okta.SystemLog"] }] });
    world.pipeline.catalogue.swap(Catalogue {
        sources: SourceTable::new(&[serde_json::from_value(source).unwrap()]).unwrap(),
        log_types: world.pipeline.catalogue.get().log_types.clone(),
    });
    world
}

impl World {
    fn subscription_messages(&self, outcome: &str) -> u64 {
        self.pipeline.telemetry.metrics.subscription_messages_total.get([outcome])
    }

    fn last_contact(&self) -> u64 {
        self.pipeline.telemetry.metrics.source_last_contact_timestamp_seconds.get(["logs"])
    }

    fn fallbacks(&self, format: &str) -> u64 {
        self.pipeline.telemetry.metrics.key_encoding_fallback_total.get([format])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topic_of_a_sources_account_is_confirmed() {
    let world = world_of("111122223333", false).await;
    world.topics.ask(TOPIC, "t");
    world.queue.send(question(TOPIC));
    world.handle(1).await;
    assert!(world.topics.is_confirmed(TOPIC));
    assert!(world.acknowledged());
    assert_eq!(world.subscription_messages("confirmed"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topic_of_a_stranger_is_left_unconfirmed_in_the_queue_however_often_it_asks() {
    let world = world_of("999999999999", false).await;
    world.topics.ask(TOPIC, "t");
    let receipts = world.pipeline.poison_after + 2;
    for count in 1..=receipts {
        world.queue.send(question(TOPIC));
        world.handle(count * count).await;
        assert_eq!(world.queue.len(), u64::from(count), "receipt {count}: it stays in the queue");
    }
    assert!(world.state.quarantined(10).await.unwrap().is_empty());
    assert!(!world.topics.is_confirmed(TOPIC));
    assert_eq!(world.subscription_messages("unknown_account"), u64::from(receipts));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_waits_for_sns_and_a_refusal_leaves_it_in_the_queue() {
    let world = world_of("111122223333", false).await;
    world.topics.set_down(true);
    world.queue.send(question(TOPIC));
    // However often it came: nothing says that the token is worth nothing.
    world.handle(world.pipeline.poison_after + 1).await;
    assert_eq!((world.subscription_messages("unavailable"), world.queue.len()), (1, 1));

    world.topics.set_down(false);
    world.queue.send(question(TOPIC));
    world.handle(1).await;
    assert_eq!((world.subscription_messages("refused"), world.queue.len()), (1, 2));
    world.queue.send(question(TOPIC));
    world.handle(world.pipeline.poison_after + 1).await;
    assert_eq!((world.subscription_messages("refused"), world.queue.len()), (2, 3));
    assert!(world.state.quarantined(10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_and_ended_subscriptions_are_told_and_acknowledged() {
    let world = world().await;
    let test = |bucket: &str| json!({ "Event": "s3:TestEvent", "Bucket": bucket }).to_string();
    world.queue.send(test("elsewhere"));
    world.queue.send("CloudTrail validation message.");
    world.handle(1).await;
    world.handle(1).await;
    assert_eq!(world.last_contact(), 0);
    world.queue.send(test("b"));
    world.handle(1).await;
    assert!(world.last_contact() > 0);
    world.queue.send(question(TOPIC).replace("SubscriptionConfirmation", "UnsubscribeConfirmation"));
    world.handle(1).await;
    assert_eq!(world.subscription_messages("ended"), 1);
    assert!(world.acknowledged());
    let records = &world.pipeline.telemetry.metrics.notification_records_total;
    assert_eq!((records.get(["s3-test-event", "test"]), records.get(["cloudtrail-validation", "test"])), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_object_is_read_where_its_source_wants_it() {
    for (include_restored, state) in [(false, None), (true, Some(ObjectState::Committed))] {
        let world = world_of("111122223333", include_restored).await;
        let object = world.store.put("b", "okta/a", logins(1));
        world.queue.send(announcement(&object).replace("ObjectCreated:Put", "ObjectRestore:Completed"));
        world.handle(1).await;
        assert_eq!(world.state_of(&object).await, state);
        assert!(world.acknowledged());
        let records = &world.pipeline.telemetry.metrics.notification_records_total;
        assert_eq!(records.get(["s3-event", "ignored"]), u64::from(!include_restored));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_record_is_kept_and_the_others_are_read_once() {
    let world = world().await;
    let object = world.store.put("b", "okta/a", logins(1));
    let good: Value = serde_json::from_str::<Value>(&announcement(&object)).unwrap()["Records"][0].clone();
    let mut bad = good.clone();
    bad["s3"]["object"]["key"] = "okta/%zz".into();
    world.queue.send(json!({ "Records": [bad, good, good] }).to_string());
    world.handle(1).await;
    assert!(world.acknowledged());
    assert_eq!(world.state_of(&object).await, Some(ObjectState::Committed));
    assert_eq!(world.rows().len(), 1);
    let kept = world.state.quarantined(10).await.unwrap();
    assert!(matches!(&kept[..], [one] if one.reason.contains("%zz")), "{kept:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_the_wrong_spelling_is_found_under_its_own_identity() {
    // A form-encoded key that the sender did not encode, with an ETag: claimed before it is looked for.
    let world = world().await;
    let object = world.store.put("b", "okta/a+b%2Bc", logins(2));
    world.queue.send(announcement(&object));
    world.handle(1).await;
    assert_eq!(world.state_of(&object).await, Some(ObjectState::Committed));
    let announced = ObjectRef { key: "okta/a b+c".into(), ..object.clone() };
    let ended = world.state.outcome(announced.id()).await.unwrap().unwrap();
    assert_eq!((ended.state, &*ended.reason), (ObjectState::Superseded, "read as s3://b/okta/a+b%2Bc"));
    assert!(world.acknowledged());
    assert_eq!(world.fallbacks("s3-event"), 1);
    assert_eq!(
        world.rows(),
        [crate::model::RowId::new(object.id(), 0, 0), crate::model::RowId::new(object.id(), 1, 0)]
    );

    // A verbatim key that the sender encoded, without an ETag: looked for before it is claimed.
    let object = world.store.put("b", "okta/d e", logins(1));
    world.queue.send(json!({ "s3Bucket": "b", "s3ObjectKey": ["okta/d+e"] }).to_string());
    world.handle(1).await;
    assert_eq!(world.state_of(&object).await, Some(ObjectState::Committed));
    assert_eq!(world.fallbacks("cloudtrail"), 1);
    assert!(world.acknowledged());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_object_under_the_other_key_is_not_the_one_that_was_announced() {
    let world = world().await;
    let object = world.announce("okta/a+b", logins(1));
    let other = world.store.put("b", "okta/a+b", logins(2));
    world.look_until_patience_ends(&object).await;
    let announced = ObjectRef { key: "okta/a b".into(), ..object.clone() };
    assert_eq!(world.state_of(&announced).await, Some(ObjectState::Missing));
    assert_eq!((world.state_of(&object).await, world.state_of(&other).await), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_looked_for_in_vain_ends_with_the_object_that_it_names_and_names_the_next_one() {
    let world = world().await;
    let body = json!({ "s3Bucket": "b", "s3ObjectKey": ["okta/a"] }).to_string();
    let unnamed = ObjectRef { etag: None, size: None, ..world.store.put("b", "okta/a", logins(1)) };
    let announced_when = async |ready: bool| {
        let object = world.store.put("b", "okta/a", logins(1));
        if !ready {
            world.store.remove("b", "okta/a");
        }
        world.queue.send(body.clone());
        world.handle(1).await;
        object
    };
    announced_when(false).await;
    let object = announced_when(true).await;
    assert_eq!(world.state_of(&object).await, Some(ObjectState::Committed));
    assert_eq!(world.state_of(&unnamed).await, Some(ObjectState::Superseded));
    for _ in 0..3 {
        announced_when(false).await;
    }
    assert_eq!(world.state_of(&unnamed).await, Some(ObjectState::Missing), "another object, which is not there yet");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_in_neither_spelling_is_missing_as_it_was_announced() {
    let world = world().await;
    let object = world.announce("okta/a+b", logins(1));
    world.store.remove("b", "okta/a+b");
    world.look_until_patience_ends(&object).await;
    let announced = ObjectRef { key: "okta/a b".into(), ..object.clone() };
    assert_eq!(world.state_of(&announced).await, Some(ObjectState::Missing));
    assert_eq!(world.state_of(&object).await, None);
    // A key with one reading only, and one whose other reading no source takes, are not looked for twice.
    assert_eq!(world.fallbacks("s3-event"), 3, "each look is one for both");
    for key in ["okta/plain", "okta/old/a+b"] {
        world.queue.send(json!({ "s3Bucket": "b", "s3ObjectKey": [key] }).to_string());
        world.handle(3).await;
    }
    assert_eq!(world.fallbacks("cloudtrail"), 0);
}

#[tokio::test]
async fn a_message_that_was_held_for_nearly_twelve_hours_is_handed_back() {
    let world = world_leasing(Duration::from_secs(3600)).await;
    world.announce("okta/a", logins(1));
    let delivery = world.receive().await;
    let pipeline = world.pipeline.clone();
    let work = crate::runtime::Tasks::new().spawn(async move { message::handle(&pipeline, delivery).await });
    while world.lake.buffered_rows() == 0 {
        tokio::task::yield_now().await;
    }
    // The lake never commits, and the lease is extended all the while.
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    work.await.unwrap();
    // Paused time runs on while the state store's own threads work, so this has no upper bound.
    assert!(started.elapsed() >= Duration::from_secs(11 * 3600));
    tokio::time::resume();
    assert_eq!((world.queue.in_flight(), world.queue.len()), (0, 1));
    assert_eq!(world.pipeline.telemetry.metrics.messages_released_total.get(["lease_exhausted"]), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_handed_back_while_the_extension_of_its_claims_waits_for_the_store() {
    use sqlx::{Connection, Executor};
    let lease = Duration::from_secs(3);
    let world = world_leasing(lease).await;
    world.announce("okta/a", logins(1));
    let delivery = world.receive().await;
    let pipeline = world.pipeline.clone();
    let work = crate::runtime::Tasks::new().spawn(async move { message::handle(&pipeline, delivery).await });
    while world.lake.buffered_rows() == 0 {
        tokio::task::yield_now().await;
    }
    // Another process writes, so the extension that comes after a third of the lease waits amid its own write.
    let file = format!("sqlite://{}", world._folder.path().join("margay.db").display());
    let mut other = sqlx::SqliteConnection::connect(&file).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    tokio::time::sleep(lease * 2 / 5).await;
    world.pipeline.abandon.cancel();
    tokio::time::sleep(lease / 20).await;
    other.execute("ROLLBACK").await.unwrap();

    let ended = tokio::time::timeout(Duration::from_secs(60), work).await;
    ended.expect("the extension let go of the store").unwrap();
    assert_eq!((world.queue.in_flight(), world.queue.len()), (0, 1));
    assert_eq!(world.pipeline.telemetry.metrics.messages_released_total.get(["shutdown"]), 1);
}
