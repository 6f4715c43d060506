//! The bookkeeping of leases in memory: who holds which message until when. Shared by the `memory` and `directory`
//! queues; nothing here survives the process.
//!
//! Invariant: a message has at most one receipt that is worth anything, the one of its newest delivery, and only
//! until its lease ends.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Backlog, Delivery, QueueError, Receipt};
use crate::model::Message;
use crate::runtime::SharedClock;

pub(super) struct Leases {
    visibility: Duration,
    /// Says when a message was sent.
    clock: SharedClock,
    book: Mutex<Book>,
    /// Woken when a message arrives or comes back earlier than its lease said.
    changed: Notify,
}

#[derive(Default)]
struct Book {
    entries: HashMap<String, Entry>,
    /// When each entry may next be delivered; the first that is due is delivered first.
    order: BTreeSet<(Instant, u64, String)>,
    /// Numbers arrivals, so that messages that are due at the same time keep their order.
    arrivals: u64,
}

struct Entry {
    body: String,
    sent_at: OffsetDateTime,
    arrival: u64,
    receive_count: u32,
    due: Instant,
    /// Delivered, and neither released nor expired.
    leased: bool,
}

impl Leases {
    pub(super) fn new(visibility: Duration, clock: SharedClock) -> Leases {
        Leases { visibility, clock, book: Mutex::default(), changed: Notify::new() }
    }

    /// Adds a message; one with this id that is still here stays as it is.
    pub(super) fn push(&self, id: String, body: String) {
        let mut book = self.book();
        if book.entries.contains_key(&id) {
            return;
        }
        let (due, arrival) = (Instant::now(), book.arrivals);
        book.arrivals += 1;
        book.order.insert((due, arrival, id.clone()));
        let sent_at = self.clock.now();
        book.entries.insert(id, Entry { body, sent_at, arrival, receive_count: 0, due, leased: false });
        drop(book);
        self.changed.notify_waiters();
    }

    /// Leases up to `max` messages, waiting for the first of them until `deadline`.
    pub(super) async fn receive(&self, max: usize, deadline: Instant) -> Vec<Delivery> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the look into the book, so that no arrival falls between the two.
            changed.as_mut().enable();
            let deliveries = self.take(max);
            if !deliveries.is_empty() || max == 0 || Instant::now() >= deadline {
                return deliveries;
            }
            let next = self.book().order.first().map_or(deadline, |(due, ..)| (*due).min(deadline));
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    fn take(&self, max: usize) -> Vec<Delivery> {
        let now = Instant::now();
        let mut book = self.book();
        let mut deliveries = Vec::new();
        while deliveries.len() < max {
            let Some((due, _, id)) = book.order.first().cloned() else { break };
            if due > now {
                break;
            }
            let entry = book.put_off(&id, now + self.visibility).expect("what is in the order is in the book");
            entry.leased = true;
            entry.receive_count += 1;
            let (body, receive_count, sent_at) = (entry.body.clone(), entry.receive_count, Some(entry.sent_at));
            let receipt = Receipt(format!("{receive_count}/{id}"));
            deliveries.push(Delivery { message: Message { id, body, receive_count, sent_at }, receipt });
        }
        deliveries
    }

    pub(super) fn extend(&self, receipt: &Receipt, lease: Duration) -> Result<(), QueueError> {
        let mut book = self.book();
        let id = book.holder(receipt)?;
        book.put_off(&id, Instant::now() + lease);
        Ok(())
    }

    pub(super) fn acknowledge(&self, receipt: &Receipt) -> Result<(), QueueError> {
        let mut book = self.book();
        let id = book.holder(receipt)?;
        let entry = book.entries.remove(&id).expect("the holder of a receipt is in the book");
        book.order.remove(&(entry.due, entry.arrival, id));
        Ok(())
    }

    pub(super) fn release(&self, receipt: &Receipt, delay: Duration) -> Result<(), QueueError> {
        let mut book = self.book();
        let id = book.holder(receipt)?;
        if let Some(entry) = book.put_off(&id, Instant::now() + delay) {
            entry.leased = false;
        }
        drop(book);
        self.changed.notify_waiters();
        Ok(())
    }

    /// As SQS counts: what is leased or delayed is in flight.
    pub(super) fn backlog(&self) -> Backlog {
        let now = Instant::now();
        let book = self.book();
        let in_flight = book.order.iter().rev().take_while(|(due, ..)| *due > now).count() as u64;
        Backlog { waiting: book.entries.len() as u64 - in_flight, in_flight }
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().expect("nobody panics while holding the book of leases")
    }
}

impl Book {
    /// The message whose live lease the receipt proves.
    fn holder(&self, receipt: &Receipt) -> Result<String, QueueError> {
        let (delivery, id) = receipt.0.split_once('/').unwrap_or_default();
        let lost = |reason: &str| QueueError::LeaseLost { message: id.to_owned(), reason: reason.to_owned() };
        let entry = self.entries.get(id).ok_or_else(|| lost("the message is gone"))?;
        if delivery.parse() != Ok(entry.receive_count) {
            return Err(lost("the message was delivered again since"));
        }
        if !entry.leased || entry.due <= Instant::now() {
            return Err(lost("the lease has ended"));
        }
        Ok(id.to_owned())
    }

    /// Makes an entry due at another time.
    fn put_off(&mut self, id: &str, due: Instant) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(id)?;
        self.order.remove(&(entry.due, entry.arrival, id.to_owned()));
        entry.due = due;
        self.order.insert((due, entry.arrival, id.to_owned()));
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::runtime::SystemClock;

    const LEASE: Duration = Duration::from_secs(30);

    /// One message, delivered once.
    async fn delivered() -> (Leases, Receipt) {
        let leases = Leases::new(LEASE, Arc::new(SystemClock));
        leases.push("m".into(), "body".into());
        let receipt = leases.receive(1, Instant::now()).await.remove(0).receipt;
        (leases, receipt)
    }

    fn is_lost(result: Result<(), QueueError>) -> bool {
        matches!(result, Err(QueueError::LeaseLost { message, .. }) if message == "m")
    }

    #[tokio::test(start_paused = true)]
    async fn an_ended_lease_is_worth_nothing_even_before_the_next_delivery() {
        let (leases, receipt) = delivered().await;
        tokio::time::advance(LEASE).await;
        assert!(is_lost(leases.extend(&receipt, LEASE)));
        assert!(is_lost(leases.release(&receipt, LEASE)));
        assert!(is_lost(leases.acknowledge(&receipt)));
        assert_eq!(leases.backlog(), Backlog { waiting: 1, in_flight: 0 });
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_newest_receipt_counts() {
        let (leases, old) = delivered().await;
        tokio::time::advance(LEASE).await;
        let new = leases.receive(1, Instant::now()).await.remove(0).receipt;
        assert!(is_lost(leases.acknowledge(&old)));
        leases.acknowledge(&new).unwrap();
        assert!(is_lost(leases.extend(&new, LEASE)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_released_message_is_nobodys() {
        let (leases, receipt) = delivered().await;
        leases.release(&receipt, LEASE).unwrap();
        assert!(is_lost(leases.acknowledge(&receipt)));
        assert!(leases.extend(&Receipt("nonsense".into()), LEASE).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_receiver_is_woken_by_an_arrival() {
        let leases = Leases::new(LEASE, Arc::new(SystemClock));
        let started = Instant::now();
        let receive = leases.receive(1, started + LEASE);
        let arrive = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            leases.push("m".into(), "body".into());
        };
        let (deliveries, ()) = tokio::join!(receive, arrive);
        assert_eq!(deliveries.len(), 1);
        assert_eq!(started.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_id_is_one_message_and_order_is_kept() {
        let leases = Leases::new(LEASE, Arc::new(SystemClock));
        for id in ["b", "a", "b"] {
            leases.push(id.into(), id.into());
        }
        let received = leases.receive(9, Instant::now()).await;
        let ids: Vec<&str> = received.iter().map(|delivery| delivery.message.id.as_str()).collect();
        assert_eq!(ids, ["b", "a"]);
    }
}
