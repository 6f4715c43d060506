//! How the work on a message ends when the queue is slow, margay has a bug, or no rule worker can be had.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::*;
use crate::detect::DetectError;
use crate::queue::{Backlog, QueueError, Receipt};
use crate::state::{Attempts, StateError};

/// A queue that answers a deletion when it is told to.
struct SlowToDelete {
    queue: Arc<MemoryQueue>,
    asked: Notify,
    answer: Notify,
}

#[async_trait]
impl MessageQueue for SlowToDelete {
    async fn receive(&self, max: usize) -> Result<Vec<Delivery>, QueueError> {
        self.queue.receive(max).await
    }

    async fn extend(&self, receipt: &Receipt, lease: Duration) -> Result<(), QueueError> {
        self.queue.extend(receipt, lease).await
    }

    async fn acknowledge(&self, receipt: Receipt) -> Result<(), QueueError> {
        self.asked.notify_one();
        self.answer.notified().await;
        self.queue.acknowledge(receipt).await
    }

    async fn release(&self, receipt: Receipt, delay: Duration) -> Result<(), QueueError> {
        self.queue.release(receipt, delay).await
    }

    async fn backlog(&self) -> Result<Backlog, QueueError> {
        self.queue.backlog().await
    }
}

impl World {
    fn change(&mut self, change: impl FnOnce(&mut Pipeline)) {
        change(Arc::get_mut(&mut self.pipeline).expect("nothing runs yet"));
    }

    async fn tries_of(&self, object: &ObjectRef) -> Attempts {
        let now = crate::runtime::Clock::now(&SystemClock);
        let claim = self.state.claim(object, "logs", None, now, now + LEASE).await.unwrap();
        let Claim::Granted(token, attempts) = claim else { panic!("{claim:?}") };
        self.state.release(&token, "test", "", now).await.unwrap();
        attempts
    }
}

#[tokio::test]
async fn a_message_stays_leased_until_the_queue_has_answered_its_deletion() {
    let mut world = world().await;
    let slow = Arc::new(SlowToDelete { queue: world.queue.clone(), asked: Notify::new(), answer: Notify::new() });
    world.change(|pipeline| pipeline.queue = slow.clone());
    world.announce("elsewhere/a", "x");
    let delivery = world.receive().await;
    let pipeline = world.pipeline.clone();
    let work = crate::runtime::Tasks::new().spawn(async move { message::handle(&pipeline, delivery).await });
    slow.asked.notified().await;
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    while started.elapsed() < LEASE * 3 {
        assert!(world.queue.receive(1).await.unwrap().is_empty(), "it was handed to another");
    }
    tokio::time::resume();
    slow.answer.notify_one();
    work.await.unwrap();
    assert!(world.acknowledged());
    assert_eq!(world.pipeline.telemetry.metrics.messages_acknowledged_total.get([]), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_over_an_object_counts_for_that_and_not_by_how_often_its_message_came() {
    let mut world = world().await;
    let panics = Arc::new(AtomicBool::new(true));
    let armed = panics.clone();
    world.change(|pipeline| {
        pipeline.engine = Engine::evaluating(move |_| {
            assert!(!armed.load(Ordering::Relaxed), "a bug");
            Ok(crate::model::Detections::default())
        });
    });
    let object = world.announce("okta/a", logins(1));
    // Received for other reasons before.
    world.handle(world.pipeline.poison_after + 9).await;
    assert!(!world.acknowledged());
    assert!(world.state.quarantined(10).await.unwrap().is_empty());
    let tries = world.tries_of(&object).await;
    assert_eq!((tries.crashed, tries.given_up_for("panic")), (0, 1), "its claim was given up");

    world.queue.send(announcement(&object));
    world.handle(1).await;
    world.queue.send(announcement(&object));
    world.handle(1).await;
    let outcome = world.state.outcome(object.id()).await.unwrap().unwrap();
    assert_eq!(outcome.state, ObjectState::Quarantined);
    assert!(outcome.reason.starts_with("crash_suspect"), "{}", outcome.reason);

    panics.store(false, Ordering::Relaxed);
    world.queue.send(announcement(&object));
    world.handle(1).await;
    assert_eq!(world.state_of(&object).await, Some(ObjectState::Committed));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_was_overwritten_before_its_turn_is_read_when_it_is_there_again() {
    let world = world().await;
    let first = world.announce("okta/a", logins(1));
    world.store.put("b", "okta/a", logins(2));
    world.handle(1).await;
    assert_eq!(world.state_of(&first).await, Some(ObjectState::Superseded));
    // The message of that time again: nothing has changed.
    world.queue.send(announcement(&first));
    world.handle(1).await;
    assert_eq!(world.state_of(&first).await, Some(ObjectState::Superseded));
    assert_eq!(world.announce("okta/a", logins(1)).id(), first.id());
    world.handle(1).await;
    assert_eq!(world.state_of(&first).await, Some(ObjectState::Committed));
    assert_eq!(world.catalog.rows("Okta.SystemLog").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_not_quarantined_for_want_of_a_rule_worker() {
    is_tried_again_and_again(Engine::without_any_worker(), "rule_worker").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_whose_rules_cannot_reach_the_store_is_read_again() {
    let down = || DetectError::State(StateError::Store("it is down".to_owned()));
    is_tried_again_and_again(Engine::evaluating(move |_| Err(down())), "state").await;
}

async fn is_tried_again_and_again(engine: Engine, reason: &str) {
    let mut world = world().await;
    world.change(|pipeline| pipeline.engine = engine);
    let object = world.announce("okta/a", logins(1));
    let tries = world.pipeline.poison_after + 3;
    world.handle(1).await;
    for _ in 1..tries {
        world.queue.send(announcement(&object));
        world.handle(1).await;
    }
    assert_eq!(world.state_of(&object).await, None);
    assert_eq!(world.queue.len(), u64::from(tries), "each is tried again");
    assert_eq!(world.tries_of(&object).await.given_up_for(reason), tries);
}
