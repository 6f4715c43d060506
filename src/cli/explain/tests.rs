//! Situations over a store in memory and a real ledger, as the command tells them. Rules run in other processes and
//! have their stories in the integration tests.

use std::io::Write as _;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use time::OffsetDateTime;
use time::macros::datetime;

use super::*;
use crate::detect::Engine;
use crate::fetch::memory::MemoryStore;
use crate::fetch::{Body, FetchError, ObjectStore, Page, Refusal, Region};
use crate::logtype::Registry;
use crate::model::Access;
use crate::pipeline::explain::Explainer;
use crate::runtime::Clock;
use crate::source::SourceTable;
use crate::state::sqlite::SqliteStore;
use crate::state::{Claim, Ledger, ObjectOutcome, ObjectState, SqliteConfig};

const NOW: OffsetDateTime = datetime!(2026-02-03 04:05:06 UTC);

const SHOWN: Depth = Depth { events: 2, whole: false };

struct Frozen;

impl Clock for Frozen {
    fn now(&self) -> OffsetDateTime {
        NOW
    }
}

type Refuse = fn() -> FetchError;

/// A store that has regions, and may refuse everything.
struct Store {
    objects: MemoryStore,
    refusal: Option<Refuse>,
}

#[async_trait]
impl ObjectStore for Store {
    async fn open(&self, access: &Access, object: &ObjectRef) -> Result<Body, FetchError> {
        match self.refusal {
            Some(refusal) => Err(refusal()),
            None => self.objects.open(access, object).await,
        }
    }

    async fn range(&self, access: &Access, object: &ObjectRef, range: Range<u64>) -> Result<Bytes, FetchError> {
        self.objects.range(access, object, range).await
    }

    fn most_held(&self, object: &ObjectRef) -> u64 {
        self.objects.most_held(object)
    }

    fn region(&self, access: &Access, _object: &ObjectRef) -> Option<Region> {
        access.region.clone().map(|name| Region { name, from: "the source" })
    }

    async fn list(&self, access: &Access, bucket: &str, prefix: &str, after: Option<&str>) -> Result<Page, FetchError> {
        self.objects.list(access, bucket, prefix, after).await
    }
}

struct World {
    store: MemoryStore,
    refusal: Option<Refuse>,
    state: Arc<SqliteStore>,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let state = SqliteStore::open(&SqliteConfig { path: folder.path().join("margay.db") }).await.unwrap();
        World { store: MemoryStore::new(), refusal: None, state: Arc::new(state), _folder: folder }
    }

    async fn refusing(refusal: Refuse) -> World {
        World { refusal: Some(refusal), ..World::new().await }
    }

    /// Stores an object; its address.
    fn put(&self, key: &str, bytes: impl Into<Vec<u8>>) -> ObjectRef {
        self.store.put("logs", key, bytes.into())
    }

    fn explainer(self) -> Explainer {
        let sources = serde_json::json!([
            {
                "name": "okta", "bucket": "logs", "account_id": "111122223333", "region": "eu-central-1",
                "role_name": "default", "external_id": "secret", "kms_key_arn": "arn:aws:kms:eu-central-1:111122223333:key/k",
                "prefixes": [{
                    "prefix": "okta/", "excluded_prefixes": ["okta/old/"],
                    "log_types": ["AWS.VPCFlow", "Okta.SystemLog"],
                }],
            },
            { "name": "rest", "bucket": "logs", "prefixes": [{ "prefix": "o", "log_types": ["AWS.ALB"] }] },
        ]);
        let sources: Vec<crate::source::SourceConfig> = serde_json::from_value(sources).unwrap();
        Explainer {
            catalogue: Arc::new(Catalogue {
                sources: SourceTable::new(&sources).unwrap(),
                log_types: Arc::new(Registry::built_in()),
            }),
            objects: Arc::new(Store { objects: self.store, refusal: self.refusal }),
            state: Some(self.state),
            engine: Engine::without_rules(),
            clock: Arc::new(Frozen),
            limits: crate::pipeline::Config::default().limits(),
            poison_after: 2,
            destinations: Vec::new(),
        }
    }

    async fn finished(&self, object: &ObjectRef, state: ObjectState, reason: &str) {
        let Claim::Granted(token, _) = self.state.claim(object, "okta", None, NOW, NOW).await.unwrap() else {
            panic!()
        };
        self.state.finish(&token, &ObjectOutcome::without_events(state, reason), NOW).await.unwrap();
    }

    async fn message(self, body: &str) -> (String, bool) {
        let told = self.explainer().message(body, SHOWN).await.unwrap();
        (text::text(&told), told.is_processed())
    }

    async fn address(self, address: &str) -> (String, bool) {
        self.at_depth(address, SHOWN).await
    }

    async fn at_depth(self, address: &str, depth: Depth) -> (String, bool) {
        let Ok(What::Object(object)) = what(address) else { panic!("{address}") };
        let told = self.explainer().object(object, depth).await.unwrap();
        (text::text(&told), told.is_processed())
    }
}

/// Compares with the snapshot of this name.
fn check(name: &str, (text, processed): (String, bool), expected: bool) {
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, text);
    });
    assert_eq!(processed, expected, "{name}");
}

fn login(number: u32) -> String {
    format!(
        "{{\"uuid\":\"{number}\",\"published\":\"2026-01-15T09:15:00.000Z\",\"eventType\":\"user.session.start\",\
         \"version\":\"0\",\"severity\":\"INFO\",\"actor\":{{\"id\":\"1\",\"type\":\"User\"}}}}\n"
    )
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn record(event: &str, key: &str) -> serde_json::Value {
    serde_json::json!({
        "eventSource": "aws:s3", "eventName": event,
        "s3": { "bucket": { "name": "logs" }, "object": { "key": key } },
    })
}

fn notification(records: &[serde_json::Value]) -> String {
    serde_json::json!({ "Records": records }).to_string()
}

#[tokio::test]
async fn an_object_is_told_from_its_source_to_its_events() {
    let world = World::new().await;
    world.put("okta/a.gz", gzip(&(login(1) + &login(2) + "{\"no\":\"login\"}\n")));
    check("processed", world.address("s3://logs/okta/a.gz").await, true);
}

#[tokio::test]
async fn a_notification_is_told_record_by_record() {
    let world = World::new().await;
    let object = world.put("okta/a+b", login(1));
    world.finished(&object, ObjectState::Committed, "").await;
    let mut bad = record("ObjectCreated:Put", "");
    bad["s3"]["object"] = serde_json::json!({});
    let records = [record("ObjectCreated:Put", "okta/a%2Bb"), record("ObjectRemoved:Delete", "okta/c"), bad.clone()];
    check("notification", world.message(&notification(&records)).await, false);
}

#[tokio::test]
async fn what_no_source_reads_stops_at_the_sources() {
    for (name, address) in [
        ("unrouted_key", "s3://logs/app/a"),
        ("unrouted_bucket", "s3://elsewhere/app/a"),
        ("excluded", "s3://logs/okta/old/a"),
        ("folder", "s3://logs/okta/folder/"),
    ] {
        check(name, World::new().await.address(address).await, false);
    }
    let mut restored = record("ObjectRestore:Completed", "okta/a");
    restored["s3"]["object"]["size"] = 7.into();
    check("restored", World::new().await.message(&notification(&[restored])).await, false);
    let mut empty = record("ObjectCreated:Put", "okta/a");
    empty["s3"]["object"]["size"] = 0.into();
    check("announced_empty", World::new().await.message(&notification(&[empty])).await, false);
}

#[tokio::test]
async fn what_can_not_be_read_says_who_refuses_and_what_becomes_of_it() {
    check("missing", World::new().await.address("s3://logs/okta/a").await, false);
    let cases: [(&str, Refuse); 5] = [
        ("access_denied", || FetchError::Forbidden(Refusal::AccessDenied, "allow s3:GetObject".into())),
        ("kms_denied", || FetchError::Forbidden(Refusal::KmsDenied, "allow kms:Decrypt".into())),
        ("role_denied", || FetchError::Forbidden(Refusal::AssumeRoleDenied, "trust margay".into())),
        ("archived", || FetchError::Archived("restore it first".into())),
        ("unavailable", || FetchError::Unavailable("the network is down".into())),
    ];
    for (name, refusal) in cases {
        check(name, World::refusing(refusal).await.address("s3://logs/okta/a").await, false);
    }
}

#[tokio::test]
async fn the_last_look_becomes_the_outcome() {
    let world = World::refusing(|| FetchError::Forbidden(Refusal::AccessDenied, "no".into())).await;
    let mut announced = record("ObjectCreated:Put", "okta/a");
    announced["s3"]["object"]["eTag"] = "e1".into();
    let body = notification(&[announced]);
    let object = crate::notify::parse(&body).unwrap().objects.remove(0).object;
    for _ in 0..2 {
        let Claim::Granted(token, _) = world.state.claim(&object, "okta", None, NOW, NOW).await.unwrap() else {
            panic!()
        };
        world.state.release(&token, "forbidden", "no", NOW).await.unwrap();
    }
    check("last_look", world.message(&body).await, false);
}

#[tokio::test]
async fn an_object_under_the_other_spelling_of_its_key_is_found() {
    let world = World::new().await;
    world.put("okta/a%2Bb", login(1));
    let body = notification(&[record("ObjectCreated:Put", "okta/a%2Bb")]);
    check("other_spelling", world.message(&body).await, true);
}

#[tokio::test]
async fn bytes_that_are_no_log_stop_at_decoding() {
    let world = World::new().await;
    let mut cut = gzip(&login(1).repeat(40));
    cut.truncate(cut.len() - 9);
    world.put("okta/cut.gz", cut);
    check("truncated", world.address("s3://logs/okta/cut.gz").await, false);

    let world = World::new().await;
    world.put("okta/a.zip", b"PK\x03\x04 and so on".as_slice());
    check("archive_file", world.address("s3://logs/okta/a.zip").await, false);

    let world = World::new().await;
    world.put("okta/empty", "");
    check("empty", world.address("s3://logs/okta/empty").await, false);
}

#[tokio::test]
async fn records_of_no_log_type_stop_there_with_every_reason() {
    let world = World::new().await;
    world.put("okta/a", "{\"some\":\"thing\"}\n{\"some\":\"other\"}\n");
    check("no_log_type", world.address("s3://logs/okta/a").await, false);
}

#[tokio::test]
async fn a_large_object_is_read_in_part_unless_all_of_it_is_asked_for() {
    let large: String = (0..5000).map(login).collect();
    for (name, whole) in [("part", false), ("whole", true)] {
        let world = World::new().await;
        world.put("okta/large", large.as_str());
        check(name, world.at_depth("s3://logs/okta/large", Depth { events: 1, whole }).await, true);
    }
}

#[tokio::test]
async fn an_object_that_takes_down_its_readers_is_told() {
    let world = World::new().await;
    let object = world.put("okta/a", login(1));
    for second in 0..3 {
        let now = NOW + time::Duration::seconds(second);
        world.state.claim(&object, "okta", None, now, now).await.unwrap();
    }
    check("crash_suspect", world.address("s3://logs/okta/a").await, false);
}

#[tokio::test]
async fn messages_about_the_notifications_are_told_and_not_answered() {
    check("no_notification", World::new().await.message("hello").await, false);
    let test = r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"logs"}"#;
    check("test_message", World::new().await.message(test).await, true);
    let asks = |account: &str| {
        serde_json::json!({
            "Type": "SubscriptionConfirmation", "TopicArn": format!("arn:aws:sns:eu-central-1:{account}:t"),
            "Token": "very-secret",
        })
        .to_string()
    };
    for (name, account, answered) in [("subscription", "111122223333", true), ("stranger", "999999999999", false)] {
        let told = World::new().await.message(&asks(account)).await;
        assert!(!told.0.contains("very-secret"), "{name}");
        check(name, told, answered);
    }
}

#[test]
fn addresses_and_files_are_told_apart() {
    let object = |argument: &str| match what(argument) {
        Ok(What::Object(object)) => (object.bucket, object.key, object.version_id),
        other => panic!("{other:?}"),
    };
    assert_eq!(object("s3://b/a/b?c"), ("b".into(), "a/b?c".into(), None));
    assert_eq!(object("s3://b/a%2B?versionId=v"), ("b".into(), "a%2B".into(), Some("v".into())));
    assert_eq!(what("-"), Ok(What::Notification(Path::new("-"))));
    for bad in ["s3://b", "s3://b/", "s3:///k"] {
        assert!(what(bad).unwrap_err().contains("s3://bucket/key"), "{bad}");
    }
}

#[tokio::test]
async fn json_tells_the_same() {
    let world = World::new().await;
    world.put("okta/a", login(1));
    let Ok(What::Object(object)) = what("s3://logs/okta/a") else { panic!() };
    let told = world.explainer().object(object, SHOWN).await.unwrap();
    let json: serde_json::Value = serde_json::from_str(&json_line(&told)).unwrap();
    let about = &json["objects"][0];
    assert_eq!(json["notification"], serde_json::Value::Null);
    assert_eq!((&about["source"]["name"], &about["stop"]), (&"okta".into(), &serde_json::Value::Null));
    assert_eq!(about["records"][0]["is"], "event");
    assert_eq!(about["events"][0]["uuid"], "1");
    assert_eq!(about["identity"]["has_external_id"], true);
    assert!(!json.to_string().contains("secret"));
}
