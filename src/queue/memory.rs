//! The honest fake: a queue in memory whose leases really end, for tests of everything above a queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::leases::Leases;
use super::{Backlog, Delivery, MessageQueue, QueueError, Receipt};
use crate::runtime::{SharedClock, SystemClock};

/// The longest that a receive waits for a message.
const WAIT: Duration = Duration::from_secs(20);

/// Keeps tokio's time, so that tests pause it.
pub struct MemoryQueue {
    leases: Leases,
    sent: AtomicU64,
    polls: AtomicU64,
}

impl MemoryQueue {
    /// `visibility` is the lease of a delivery.
    pub fn new(visibility: Duration) -> MemoryQueue {
        MemoryQueue::with_clock(visibility, Arc::new(SystemClock))
    }

    /// The clock tells when messages were sent.
    pub fn with_clock(visibility: Duration, clock: SharedClock) -> MemoryQueue {
        MemoryQueue { leases: Leases::new(visibility, clock), sent: AtomicU64::new(0), polls: AtomicU64::new(0) }
    }

    /// Puts a message in and returns its id.
    pub fn send(&self, body: impl Into<String>) -> String {
        let id = format!("message-{}", self.sent.fetch_add(1, Ordering::Relaxed));
        self.leases.push(id.clone(), body.into());
        id
    }

    /// Messages that are not acknowledged, in flight or not.
    pub fn len(&self) -> u64 {
        let backlog = self.leases.backlog();
        backlog.waiting + backlog.in_flight
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Receives that have begun.
    pub fn polls(&self) -> u64 {
        self.polls.load(Ordering::SeqCst)
    }

    /// Messages that are leased, or released with a delay that has not passed.
    pub fn in_flight(&self) -> u64 {
        self.leases.backlog().in_flight
    }
}

#[async_trait]
impl MessageQueue for MemoryQueue {
    async fn receive(&self, max: usize) -> Result<Vec<Delivery>, QueueError> {
        self.polls.fetch_add(1, Ordering::SeqCst);
        Ok(self.leases.receive(max, Instant::now() + WAIT).await)
    }

    async fn extend(&self, receipt: &Receipt, lease: Duration) -> Result<(), QueueError> {
        self.leases.extend(receipt, lease)
    }

    async fn acknowledge(&self, receipt: Receipt) -> Result<(), QueueError> {
        self.leases.acknowledge(&receipt)
    }

    async fn release(&self, receipt: Receipt, delay: Duration) -> Result<(), QueueError> {
        self.leases.release(&receipt, delay)
    }

    async fn backlog(&self) -> Result<Backlog, QueueError> {
        Ok(self.leases.backlog())
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::*;

    struct Subject(MemoryQueue);

    impl contract::Subject for Subject {
        type Queue = MemoryQueue;

        fn queue(&self) -> &MemoryQueue {
            &self.0
        }

        fn visibility(&self) -> Duration {
            Duration::from_secs(30)
        }

        async fn send(&self, word: &str) {
            self.0.send(word);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_the_contract() {
        contract::check(async || Subject(MemoryQueue::new(Duration::from_secs(30)))).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_hooks_count() {
        let queue = MemoryQueue::new(Duration::from_secs(30));
        assert_ne!(queue.send("a"), queue.send("a"));
        let delivery = queue.receive(1).await.unwrap().remove(0);
        assert_eq!((queue.len(), queue.in_flight()), (2, 1));
        queue.acknowledge(delivery.receipt).await.unwrap();
        assert_eq!((queue.len(), queue.in_flight()), (1, 0));
    }
}
