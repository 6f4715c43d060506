//! The way of a message over fakes of queue, store and lake, with the real state store. Rules run in other processes
//! and have their stories in the integration tests.

mod audit;
mod ends;
mod feedback;
mod notices;
mod parked;
mod records;
mod places;
mod shutdown;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

mod faults;

use super::{Catalogue, Config, CurrentCatalogue, Discoveries, Pipeline, Slots, Unrouted, message};
use crate::detect::Engine;
use crate::fetch::memory::MemoryStore;
use crate::lake::Lake;
use crate::lake::committer::{Committer, Limits};
use crate::lake::memory::{Call, Fault, MemoryCatalog};
use crate::lake::none::NoLake;
use crate::logtype::Registry;
use crate::model::ObjectRef;
use crate::queue::memory::MemoryQueue;
use crate::queue::{Delivery, MessageQueue};
use crate::runtime::{ByteBudget, SharedClock, SystemClock};
use crate::source::SourceTable;
use crate::state::sqlite::SqliteStore;
use crate::state::{Claim, Ledger, ObjectState, Quarantine, SqliteConfig, StateStore};
use crate::telemetry::Telemetry;
use crate::topic::memory::MemoryTopics;

const LEASE: Duration = Duration::from_secs(60);

struct World {
    queue: Arc<MemoryQueue>,
    store: Arc<MemoryStore>,
    catalog: Arc<MemoryCatalog>,
    lake: Arc<Committer<MemoryCatalog>>,
    topics: Arc<MemoryTopics>,
    state: Arc<SqliteStore>,
    pipeline: Arc<Pipeline>,
    _folder: tempfile::TempDir,
}

async fn world() -> World {
    world_leasing(LEASE).await
}

async fn world_leasing(lease: Duration) -> World {
    let folder = tempfile::tempdir().unwrap();
    let queue = Arc::new(MemoryQueue::new(lease));
    let (store, catalog) = (Arc::new(MemoryStore::new()), Arc::new(MemoryCatalog::new()));
    let topics = Arc::new(MemoryTopics::default());
    let state = SqliteStore::open(&SqliteConfig { path: folder.path().join("margay.db") }).await.unwrap();
    let state = Arc::new(state);
    // Tests say when it commits, and a failure is final.
    let limits = Limits { retries: 0, ..Limits::default() };
    let lake = Committer::new(catalog.clone(), state.clone(), Arc::new(SystemClock), Telemetry::new(), limits);
    let lake = Arc::new(lake);
    let source = serde_json::json!({
        "name": "logs", "bucket": "b",
        "prefixes": [{ "prefix": "okta/", "excluded_prefixes": ["okta/old/"], "log_types": ["Okta.SystemLog"] }],
    });
    let telemetry = Telemetry::new();
    let slots = Slots::new(1, telemetry.clone());
    let pipeline = Pipeline {
        queue: queue.clone(),
        objects: store.clone(),
        confirmations: topics.clone(),
        state: state.clone(),
        lake: lake.clone(),
        engine: Engine::without_rules(),
        catalogue: CurrentCatalogue::new(Catalogue {
            sources: SourceTable::new(&[serde_json::from_value(source).unwrap()]).unwrap(),
            log_types: Arc::new(Registry::built_in()),
        }),
        clock: Arc::new(SystemClock),
        telemetry,
        // For one object at a time.
        budget: ByteBudget::new(40 << 20),
        limits: Config::default().limits(),
        slots,
        unrouted: Unrouted::default(),
        discoveries: Discoveries::default(),
        poison_after: 2,
        lease,
        destinations: watch::Sender::new(Vec::new().into()),
        alert_opened: Arc::new(Notify::new()),
        trouble: watch::Sender::new(None),
        abandon: CancellationToken::new(),
    };
    World { queue, store, catalog, lake, topics, state, pipeline: Arc::new(pipeline), _folder: folder }
}

/// A pipeline over a state and a clock, for what needs none of its other ports.
pub(crate) fn pipeline_of(state: Arc<dyn StateStore>, clock: SharedClock) -> Pipeline {
    let telemetry = Telemetry::new();
    Pipeline {
        queue: Arc::new(MemoryQueue::new(LEASE)),
        objects: Arc::new(MemoryStore::new()),
        confirmations: Arc::new(MemoryTopics::default()),
        state,
        lake: Arc::new(NoLake),
        engine: Engine::without_rules(),
        catalogue: CurrentCatalogue::new(Catalogue {
            sources: SourceTable::new(&[]).unwrap(),
            log_types: Arc::new(Registry::built_in()),
        }),
        clock,
        slots: Slots::new(1, telemetry.clone()),
        telemetry,
        budget: ByteBudget::new(1 << 30),
        limits: Config::default().limits(),
        unrouted: Unrouted::default(),
        discoveries: Discoveries::default(),
        poison_after: 2,
        lease: LEASE,
        destinations: watch::Sender::new(Vec::new().into()),
        alert_opened: Arc::new(Notify::new()),
        trouble: watch::Sender::new(None),
        abandon: CancellationToken::new(),
    }
}

impl World {
    /// Stores an object; its message is the next that the queue hands out.
    fn announce(&self, key: &str, bytes: impl Into<Vec<u8>>) -> ObjectRef {
        let object = self.store.put("b", key, bytes.into());
        self.queue.send(announcement(&object));
        object
    }

    async fn receive(&self) -> Delivery {
        self.queue.receive(1).await.unwrap().remove(0)
    }

    /// Works on the next message, with the lake committing whenever it can.
    async fn handle(&self, receive_count: u32) {
        let mut delivery = self.receive().await;
        delivery.message.receive_count = receive_count;
        let work = message::handle(&self.pipeline, delivery);
        let commits = async {
            loop {
                self.lake.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = work => {}
            () = commits => {}
        }
    }

    /// Works on the announcement of an object, and on as many more as it takes until a failure that may be mended
    /// counts.
    async fn look_until_patience_ends(&self, object: &ObjectRef) {
        self.handle(1).await;
        for count in 2..=3 {
            self.queue.send(announcement(object));
            self.handle(count).await;
        }
    }

    async fn state_of(&self, object: &ObjectRef) -> Option<ObjectState> {
        self.state.outcome(object.id()).await.unwrap().map(|outcome| outcome.state)
    }

    /// What is in the lake, in the order of its commits.
    fn rows(&self) -> Vec<crate::model::RowId> {
        self.catalog.rows("Okta.SystemLog").iter().map(|event| event.row_id).collect()
    }

    fn acknowledged(&self) -> bool {
        self.queue.is_empty()
    }
}

fn announcement(object: &ObjectRef) -> String {
    let event = serde_json::json!({ "eventName": "ObjectCreated:Put", "s3": {
        "bucket": { "name": object.bucket },
        "object": { "key": object.key, "eTag": object.etag, "size": object.size },
    }});
    serde_json::json!({ "Records": [event] }).to_string()
}

fn logins(count: usize) -> String {
    let line = |n: usize| {
        serde_json::json!({
            "uuid": n.to_string(), "published": "2026-01-15T09:15:00.000Z", "eventType": "user.session.start",
            "version": "0", "severity": "INFO", "actor": { "id": "1", "type": "User" },
        })
        .to_string()
    };
    (0..count).map(|n| line(n) + "\n").collect()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_acknowledged_only_after_the_commit() {
    let world = world().await;
    let object = world.announce("okta/a", logins(3));
    let delivery = world.receive().await;
    let pipeline = world.pipeline.clone();
    let tasks = crate::runtime::Tasks::new();
    let work = tasks.spawn(async move { message::handle(&pipeline, delivery).await });
    while world.lake.buffered_rows() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!world.acknowledged());
    assert_eq!(world.state_of(&object).await, None);

    world.lake.flush().await.unwrap();
    work.await.unwrap();
    assert!(world.acknowledged());
    assert_eq!(world.state_of(&object).await, Some(ObjectState::Committed));
    assert_eq!(world.rows().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_hands_the_message_back_and_the_next_try_shows_no_row_twice() {
    let world = world().await;
    let object = world.announce("okta/a", logins(3));
    let delivery = world.receive().await;
    let pipeline = world.pipeline.clone();
    let work = crate::runtime::Tasks::new().spawn(async move { message::handle(&pipeline, delivery).await });
    while world.lake.buffered_rows() == 0 {
        tokio::task::yield_now().await;
    }
    world.catalog.inject_next(Call::Commit, [Fault::LoseAnswer]);
    assert!(world.lake.flush().await.is_err());
    work.await.unwrap();
    assert!(!world.acknowledged());
    assert_eq!(world.state_of(&object).await, None);

    // The claim was given up with the message: whoever has it next need not wait.
    world.queue.send(announcement(&object));
    world.handle(2).await;
    assert_eq!(world.state_of(&object).await, Some(ObjectState::Committed));
    let expected: Vec<_> = (0..3).map(|n| crate::model::RowId::new(object.id(), n, 0)).collect();
    assert_eq!(world.rows(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_done_is_not_read_again() {
    let world = world().await;
    let object = world.announce("okta/a", logins(3));
    world.handle(1).await;
    world.store.remove("b", "okta/a");
    world.queue.send(announcement(&object));
    world.handle(1).await;
    assert!(world.acknowledged());
    assert_eq!(world.rows().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_in_other_hands_is_left_to_them() {
    let world = world().await;
    let object = world.announce("okta/a", logins(1));
    let now = crate::runtime::Clock::now(&SystemClock);
    let claim = world.state.claim(&object, "logs", None, now, now + LEASE).await.unwrap();
    assert!(matches!(claim, Claim::Granted(..)));
    world.handle(1).await;
    assert!(!world.acknowledged());
    assert!(world.rows().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_need_no_reading_have_their_outcome() {
    let world = world().await;
    for (key, bytes, state) in [
        ("elsewhere/a", "x", ObjectState::Unrouted),
        ("okta/old/a", "x", ObjectState::Excluded),
        ("okta/folder/", "x", ObjectState::Folder),
        ("okta/empty", "", ObjectState::Empty),
    ] {
        let object = world.announce(key, bytes);
        world.handle(1).await;
        assert_eq!(world.state_of(&object).await, Some(state), "{key}");
        assert!(world.acknowledged(), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_and_forbidden_objects_get_three_looks() {
    let world = world().await;
    for (key, state) in [("okta/missing", ObjectState::Missing), ("okta/forbidden", ObjectState::Parked)] {
        for look in 1..=3 {
            let object = world.announce(key, logins(1));
            match state {
                ObjectState::Missing => world.store.remove("b", key),
                _ => world.store.forbid("b", key),
            }
            // However often the message was received.
            world.handle(7).await;
            let expected = (look == 3).then_some(state);
            assert_eq!(world.state_of(&object).await, expected, "{key}, look {look}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_over_which_daemons_died_is_quarantined_unread() {
    let world = world().await;
    let object = world.announce("okta/a", logins(1));
    let now = crate::runtime::Clock::now(&SystemClock);
    for n in [3, 2] {
        // A claim of one that is gone, long ago.
        let then = now - LEASE * n * 2;
        let claim = world.state.claim(&object, "logs", None, then, then + Duration::from_secs(1)).await.unwrap();
        assert!(matches!(claim, Claim::Granted(..)), "{claim:?}");
    }
    world.handle(1).await;
    let outcome = world.state.outcome(object.id()).await.unwrap().unwrap();
    assert_eq!((outcome.state, outcome.events), (ObjectState::Quarantined, 0));
    assert!(outcome.reason.starts_with("crash_suspect"), "{}", outcome.reason);
    assert!(world.acknowledged());

    // A person who announces it again wants it read.
    world.queue.send(announcement(&object));
    world.handle(1).await;
    assert_eq!(world.state_of(&object).await, Some(ObjectState::Committed));
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_of_damaged_bytes_go_when_the_second_reading_is_whole() {
    let world = world().await;
    let whole = gzip(&logins(400));
    let mut damaged = gzip("no json\nnot either\n");
    let at = damaged.len() - 8;
    damaged[at] ^= 1;
    let object = world.announce("okta/a.gz", whole);
    world.store.damage_once("b", "okta/a.gz", damaged);
    world.handle(1).await;
    assert_eq!(world.state_of(&object).await, Some(ObjectState::Partial));
    assert_eq!(world.state.quarantined(10).await.unwrap().len(), 3, "two records and the object");
    world.queue.send(announcement(&object));
    world.handle(2).await;
    assert_eq!(world.state_of(&object).await, Some(ObjectState::Committed));
    assert!(world.state.quarantined(10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_transfer_is_tried_again() {
    let world = world().await;
    let object = world.announce("okta/a", logins(40));
    world.store.break_after("b", "okta/a", 2000);
    world.handle(1).await;
    assert_eq!(world.state_of(&object).await, None);
    let changes = &world.pipeline.telemetry.metrics.object_slots_changes_total;
    assert_eq!(changes.get(["throttled"]), 1, "a store that can't answer is asked less");
    world.queue.send(announcement(&object));
    world.handle(2).await;
    assert_eq!(world.state_of(&object).await, Some(ObjectState::Committed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_object_is_quarantined_at_its_second_reading_with_what_could_be_read() {
    let world = world().await;
    let whole = gzip(&logins(5000));
    let object = world.announce("okta/a.gz", &whole[..whole.len() / 2]);
    // Received often for other reasons: what counts is how often the object was read.
    world.handle(5).await;
    let outcome = world.state.outcome(object.id()).await.unwrap().unwrap();
    assert_eq!(outcome.state, ObjectState::Partial);
    assert!(outcome.events > 0 && outcome.reason.contains("truncated"), "{outcome:?}");
    assert!(!world.acknowledged());
    world.queue.send(announcement(&object));
    world.handle(1).await;
    let outcome = world.state.outcome(object.id()).await.unwrap().unwrap();
    assert_eq!(outcome.state, ObjectState::Quarantined);
    assert!(outcome.events > 0 && outcome.events < 5000 && !outcome.reason.is_empty(), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_is_kept_beside_the_events() {
    let world = world().await;
    let text = [logins(1).as_bytes(), b"[1]\n\xff\xff\nno json\n", logins(1).as_bytes()].concat();
    let object = world.announce("okta/a", text);
    world.handle(1).await;
    let outcome = world.state.outcome(object.id()).await.unwrap().unwrap();
    assert_eq!((outcome.state, outcome.events, outcome.rejects), (ObjectState::Committed, 2, 3));
    let kept = world.state.quarantined(10).await.unwrap();
    assert_eq!(kept.len(), 3);
    assert!(kept.iter().any(|kept| &kept.raw[..] == b"\xff\xff"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_no_notification_is_kept() {
    let world = world().await;
    world.queue.send("hello");
    world.handle(1).await;
    assert!(world.acknowledged());
    let kept = world.state.quarantined(10).await.unwrap();
    assert_eq!(&kept[0].raw[..], b"hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_is_abandoned_hands_its_message_back_at_once() {
    let world = world().await;
    world.announce("okta/a", logins(1));
    world.pipeline.abandon.cancel();
    let delivery = world.receive().await;
    // The lake never commits here, so only the end of the daemon can end this.
    message::handle(&world.pipeline, delivery).await;
    assert_eq!(world.queue.in_flight(), 0);
    assert_eq!(world.queue.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_under_work_is_leased_for_as_long_as_it_takes() {
    // Real time: the state store's own threads know no other.
    let lease = Duration::from_secs(2);
    let world = world_leasing(lease).await;
    let object = world.announce("okta/a", logins(1));
    let delivery = world.receive().await;
    let pipeline = world.pipeline.clone();
    let work = crate::runtime::Tasks::new().spawn(async move { message::handle(&pipeline, delivery).await });
    let started = tokio::time::Instant::now();
    while started.elapsed() < lease * 5 / 2 {
        assert!(world.queue.receive(1).await.unwrap().is_empty(), "it was handed to another");
    }
    let now = crate::runtime::Clock::now(&SystemClock);
    let claim = world.state.claim(&object, "logs", None, now, now + lease).await.unwrap();
    assert!(matches!(claim, Claim::Held(_)), "{claim:?}");

    world.lake.flush().await.unwrap();
    work.await.unwrap();
    assert_eq!(world.state_of(&object).await, Some(ObjectState::Committed));
}

#[tokio::test]
async fn work_whose_lease_is_lost_stops_before_it_commits() {
    let world = world().await;
    let object = world.announce("okta/a", logins(1));
    let delivery = world.receive().await;
    let stolen = crate::queue::Receipt(delivery.receipt.0.clone());
    let pipeline = world.pipeline.clone();
    let work = crate::runtime::Tasks::new().spawn(async move { message::handle(&pipeline, delivery).await });
    while world.lake.buffered_rows() == 0 {
        tokio::task::yield_now().await;
    }
    world.queue.release(stolen, Duration::ZERO).await.unwrap();
    tokio::time::pause();
    work.await.unwrap();
    tokio::time::resume();
    assert_eq!(world.state_of(&object).await, None);
    assert_eq!(world.queue.len(), 1, "the message is another's now");
    assert_eq!(world.pipeline.telemetry.metrics.lease_lost_total.get([]), 1);
}
