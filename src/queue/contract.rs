//! What every queue must do, as one suite over the port. It runs on the memory and the directory queue in paused
//! time, and on the SQS API in the integration tests, which include this file.
//!
//! Nothing here sleeps: a receive waits for a message, so it is also what lets a lease run out.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::{Backlog, Delivery, MessageQueue, QueueError, Receipt};

/// A queue under test. Its receive must wait for less than its visibility timeout, and for an eighth of it at least.
pub(crate) trait Subject {
    type Queue: MessageQueue;

    fn queue(&self) -> &Self::Queue;

    /// How long a delivery is leased.
    fn visibility(&self) -> Duration;

    /// Makes a message arrive whose body contains the word.
    async fn send(&self, word: &str);
}

/// Every check, each on a queue of its own.
pub(crate) async fn check<S: Subject>(fresh: impl AsyncFn() -> S) {
    a_delivered_message_is_invisible_until_its_lease_ends(&fresh().await).await;
    an_acknowledged_message_never_comes_back(&fresh().await).await;
    a_released_message_comes_back_after_its_delay(&fresh().await).await;
    an_extended_lease_keeps_the_message_invisible(&fresh().await).await;
    no_message_is_lost_or_doubled_in_batches(&fresh().await).await;
    the_backlog_tells_waiting_from_in_flight(&fresh().await).await;
}

/// Receives until something comes, at most a few polls.
async fn next<S: Subject>(subject: &S) -> Delivery {
    for _ in 0..32 {
        let mut deliveries = subject.queue().receive(1).await.unwrap();
        assert!(deliveries.len() <= 1, "more than asked for");
        if let Some(delivery) = deliveries.pop() {
            return delivery;
        }
    }
    panic!("no message came");
}

async fn assert_nothing_comes<S: Subject>(subject: &S) {
    let deliveries = subject.queue().receive(10).await.unwrap();
    assert!(deliveries.is_empty(), "{deliveries:?}");
}

async fn a_delivered_message_is_invisible_until_its_lease_ends<S: Subject>(subject: &S) {
    subject.send("one").await;
    let first = next(subject).await;
    assert!(first.message.body.contains("one"));
    assert_eq!(first.message.receive_count, 1);
    assert_nothing_comes(subject).await;

    let second = next(subject).await;
    assert_eq!(second.message.id, first.message.id);
    assert_eq!(second.message.body, first.message.body);
    assert_eq!(second.message.receive_count, 2);
    assert_ne!(second.receipt, first.receipt);
    subject.queue().acknowledge(second.receipt).await.unwrap();
}

async fn an_acknowledged_message_never_comes_back<S: Subject>(subject: &S) {
    subject.send("one").await;
    let delivery = next(subject).await;
    let spent = Receipt(delivery.receipt.0.clone());
    subject.queue().acknowledge(delivery.receipt).await.unwrap();
    let refused = subject.queue().extend(&spent, subject.visibility()).await;
    assert!(
        matches!(&refused, Err(QueueError::LeaseLost { message, .. }) if *message == delivery.message.id),
        "{refused:?}"
    );
    for _ in 0..3 {
        assert_nothing_comes(subject).await;
    }
}

async fn a_released_message_comes_back_after_its_delay<S: Subject>(subject: &S) {
    subject.send("one").await;
    let first = next(subject).await;
    subject.queue().release(first.receipt, Duration::ZERO).await.unwrap();
    let at_once = subject.queue().receive(1).await.unwrap().pop().expect("it was handed back at once");
    assert_eq!(at_once.message.receive_count, 2);

    subject.queue().release(at_once.receipt, subject.visibility()).await.unwrap();
    assert_nothing_comes(subject).await;
    assert_eq!(next(subject).await.message.receive_count, 3);
}

async fn an_extended_lease_keeps_the_message_invisible<S: Subject>(subject: &S) {
    subject.send("one").await;
    let delivery = next(subject).await;
    subject.queue().extend(&delivery.receipt, subject.visibility() * 3).await.unwrap();
    let extended = Instant::now();
    assert_eq!(next(subject).await.message.receive_count, 2);
    // A second of tolerance: queues count in whole ones.
    assert!(extended.elapsed() >= subject.visibility() * 3 - Duration::from_secs(1), "{:?}", extended.elapsed());
}

async fn no_message_is_lost_or_doubled_in_batches<S: Subject>(subject: &S) {
    for number in 0..13 {
        subject.send(&format!("word-{number}-")).await;
    }
    let (mut ids, mut bodies) = (HashSet::new(), String::new());
    while ids.len() < 13 {
        let deliveries = subject.queue().receive(10).await.unwrap();
        assert!((1..=10).contains(&deliveries.len()), "{} messages", deliveries.len());
        for Delivery { message, receipt } in deliveries {
            assert!(ids.insert(message.id), "one message is leased twice");
            bodies.push_str(&message.body);
            subject.queue().acknowledge(receipt).await.unwrap();
        }
    }
    for number in 0..13 {
        assert!(bodies.contains(&format!("word-{number}-")), "message {number} is missing");
    }
    assert_nothing_comes(subject).await;
}

async fn the_backlog_tells_waiting_from_in_flight<S: Subject>(subject: &S) {
    for word in ["one", "two", "three"] {
        subject.send(word).await;
    }
    let held = next(subject).await;
    assert_eq!(subject.queue().backlog().await.unwrap(), Backlog { waiting: 2, in_flight: 1 });
    subject.queue().acknowledge(held.receipt).await.unwrap();
    assert_eq!(subject.queue().backlog().await.unwrap(), Backlog { waiting: 2, in_flight: 0 });
}
