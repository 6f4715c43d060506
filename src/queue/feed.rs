//! A queue whose messages this process makes itself, of work that it goes through: a listing, rows of the ledger, what
//! was kept aside. Bounded: there is room for so many messages, and who feeds it asks first.
//!
//! Messages of it end, which those of no other queue do: [`Feed::ended`] tells of each how it ended, once. A message
//! that was handed back too often has ended, too: given up, for somebody to look at.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::leases::Leases;
use super::{Backlog, Delivery, MessageQueue, QueueError, Receipt};
use crate::runtime::SharedClock;

/// The longest that a receive waits for a message.
const WAIT: Duration = Duration::from_secs(20);

/// How one message ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub id: String,
    /// Its outcome is durable; else it was given up.
    pub acknowledged: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Messages that are fed and not yet told of by [`Feed::ended`].
    pub room: usize,
    /// Deliveries of one message.
    pub tries: u32,
    /// A message that is handed back comes again after this at the latest: somebody is waiting for the whole.
    pub delay: Duration,
}

/// Keeps tokio's time, so that tests pause it.
pub struct Feed {
    leases: Leases,
    limits: Limits,
    state: Mutex<State>,
    /// Woken when a message ends.
    changed: Notify,
    /// Nobody waits for messages any more.
    over: CancellationToken,
}

#[derive(Default)]
struct State {
    /// Fed, and not yet told of.
    fed: usize,
    ended: VecDeque<Ended>,
}

impl Feed {
    /// `visibility` is the lease of a delivery.
    pub fn new(visibility: Duration, clock: SharedClock, limits: Limits) -> Feed {
        Feed {
            leases: Leases::new(visibility, clock),
            limits,
            state: Mutex::default(),
            changed: Notify::new(),
            over: CancellationToken::new(),
        }
    }

    pub fn has_room(&self) -> bool {
        self.state().fed < self.limits.room
    }

    /// Puts a message in; false, and nothing is put in, when there is no room. Ids must be unique among the messages
    /// that have not ended.
    pub fn push(&self, id: String, body: String) -> bool {
        let mut state = self.state();
        if state.fed >= self.limits.room {
            return false;
        }
        state.fed += 1;
        self.leases.push(id, body);
        true
    }

    /// Ends what waits for a message. For the end, when whoever receives was told to stop.
    pub fn hang_up(&self) {
        self.over.cancel();
    }

    /// Waits for the next message that has ended.
    pub async fn ended(&self) -> Ended {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(ended) = self.next_ended() {
                return ended;
            }
            changed.await;
        }
    }

    /// A message that has ended and was not told of yet.
    pub fn next_ended(&self) -> Option<Ended> {
        let mut state = self.state();
        let ended = state.ended.pop_front()?;
        state.fed -= 1;
        Some(ended)
    }

    fn end(&self, id: &str, acknowledged: bool) {
        self.state().ended.push_back(Ended { id: id.to_owned(), acknowledged });
        self.changed.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding the state of a feed")
    }
}

/// Receive count and message id, which a receipt of [`Leases`] consists of.
fn parts(receipt: &Receipt) -> (u32, &str) {
    let (count, id) = receipt.0.split_once('/').unwrap_or_default();
    (count.parse().unwrap_or(u32::MAX), id)
}

#[async_trait]
impl MessageQueue for Feed {
    async fn receive(&self, max: usize) -> Result<Vec<Delivery>, QueueError> {
        let mut deliveries = tokio::select! {
            deliveries = self.leases.receive(max, Instant::now() + WAIT) => deliveries,
            () = self.over.cancelled() => Vec::new(),
        };
        // Deliveries whose lease was lost come here without having been handed back.
        deliveries.retain(|delivery| {
            let is_over = delivery.message.receive_count > self.limits.tries;
            if is_over && self.leases.acknowledge(&delivery.receipt).is_ok() {
                self.end(&delivery.message.id, false);
            }
            !is_over
        });
        Ok(deliveries)
    }

    async fn extend(&self, receipt: &Receipt, lease: Duration) -> Result<(), QueueError> {
        self.leases.extend(receipt, lease)
    }

    async fn acknowledge(&self, receipt: Receipt) -> Result<(), QueueError> {
        self.leases.acknowledge(&receipt)?;
        self.end(parts(&receipt).1, true);
        Ok(())
    }

    async fn release(&self, receipt: Receipt, delay: Duration) -> Result<(), QueueError> {
        let (count, id) = parts(&receipt);
        if count < self.limits.tries {
            return self.leases.release(&receipt, delay.min(self.limits.delay));
        }
        self.leases.acknowledge(&receipt)?;
        self.end(id, false);
        Ok(())
    }

    async fn backlog(&self) -> Result<Backlog, QueueError> {
        Ok(self.leases.backlog())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::contract;
    use super::*;
    use crate::runtime::SystemClock;

    const LEASE: Duration = Duration::from_secs(30);

    fn feed(room: usize, tries: u32) -> Feed {
        Feed::new(LEASE, Arc::new(SystemClock), Limits { room, tries, delay: LEASE * 2 })
    }

    struct Subject(Feed);

    impl contract::Subject for Subject {
        type Queue = Feed;

        fn queue(&self) -> &Feed {
            &self.0
        }

        fn visibility(&self) -> Duration {
            LEASE
        }

        async fn send(&self, word: &str) {
            assert!(self.0.push(word.into(), word.into()));
        }
    }

    async fn receive(feed: &Feed) -> Receipt {
        feed.receive(1).await.unwrap().remove(0).receipt
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_the_contract() {
        contract::check(async || Subject(feed(100, 8))).await;
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_full_until_an_end_was_told() {
        let feed = feed(1, 8);
        assert!(feed.push("a".into(), String::new()));
        assert!(!feed.has_room() && !feed.push("b".into(), String::new()));
        feed.acknowledge(receive(&feed).await).await.unwrap();
        assert!(!feed.has_room());
        assert_eq!(feed.ended().await, Ended { id: "a".into(), acknowledged: true });
        assert!(feed.push("b".into(), String::new()));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_told_when_a_message_ends_and_once() {
        let feed = feed(9, 8);
        feed.push("a".into(), String::new());
        let receipt = receive(&feed).await;
        let (ended, spent) = tokio::join!(feed.ended(), feed.acknowledge(receipt));
        spent.unwrap();
        assert_eq!(ended, Ended { id: "a".into(), acknowledged: true });
        assert_eq!(feed.next_ended(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_handed_back_too_often_is_given_up() {
        let feed = Feed::new(LEASE, Arc::new(SystemClock), Limits { room: 9, tries: 2, delay: LEASE / 2 });
        feed.push("a/b".into(), String::new());
        for _ in 0..2 {
            feed.release(receive(&feed).await, LEASE * 1000).await.unwrap();
        }
        assert_eq!(feed.ended().await, Ended { id: "a/b".into(), acknowledged: false });
        assert_eq!(feed.backlog().await.unwrap(), Backlog::default());
    }

    #[tokio::test(start_paused = true)]
    async fn lost_leases_are_tries() {
        let feed = feed(9, 2);
        feed.push("a".into(), String::new());
        for _ in 0..2 {
            // Dropped: the lease runs out.
            drop(feed.receive(1).await.unwrap());
            tokio::time::advance(LEASE).await;
        }
        assert!(feed.receive(1).await.unwrap().is_empty());
        assert_eq!(feed.next_ended(), Some(Ended { id: "a".into(), acknowledged: false }));
    }
}
