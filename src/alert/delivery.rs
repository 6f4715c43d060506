//! The delivery loops, one for each destination: takes what is due from the outbox, sends it, and records how it went.
//!
//! A destination that is down, slow or refuses holds up nobody but itself, and one bad payload holds up no other: each
//! delivery has its own next attempt. A delivery leaves the outbox by success or by [`outcome::next_attempt`]'s decision
//! that no attempt is left; whatever else happens it stays there. It is sent at least once: a process that dies between
//! sending and recording sends it again, with the same key.

mod breaker;
mod outcome;
mod rate;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::breaker::Breaker;
use self::outcome::next_attempt;
use self::rate::Rate;
use super::destination::{Failure, Line, SendError};
use super::digest;
use super::message::{Message, shared};
use crate::model::{Alert, Taken};
use crate::runtime::SharedClock;
use crate::state::{Failed, Outbox, PendingDelivery, StateError};
use crate::telemetry::Telemetry;

/// One attempt.
const SEND_LIMIT: Duration = Duration::from_secs(25);
/// Longer than a batch takes, so that no delivery is handed out while it is being sent.
const LEASE: Duration = Duration::from_secs(120);
/// Sent to one destination at the same time.
const BATCH: u32 = 16;
/// How late a retry may be. New alerts do not wait for it: they wake the loops.
const POLL: Duration = Duration::from_secs(1);
/// How often the outbox is measured.
const MEASURE: Duration = Duration::from_secs(15);

/// What all loops work with.
#[derive(Clone)]
pub struct Delivery {
    pub outbox: Arc<dyn Outbox>,
    /// Where people look at alerts.
    pub link_base: Option<String>,
    pub clock: SharedClock,
    pub telemetry: Telemetry,
    /// What waits for each destination, as it was measured last.
    pub backlogs: Arc<Mutex<HashMap<String, u64>>>,
    /// Notified when a destination refuses what a wrong secret would make it refuse.
    pub doubt: Arc<Notify>,
}

/// Delivers until `stop`, then everything that is due once more. `stop` is to be cancelled when no more alerts are
/// recorded, which is later than the shutdown of what reads events. `wake` is notified after alerts were opened. Other
/// `lines` take the place of those at work when these have ended what they are sending.
pub async fn run(
    delivery: Delivery,
    mut lines: watch::Receiver<Vec<Line>>,
    wake: Arc<Notify>,
    stop: CancellationToken,
) {
    let (waking, woken) = watch::channel(0_u64);
    let pass_on = async {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = wake.notified() => waking.send_modify(|times| *times += 1),
            }
        }
    };
    let deliver = async {
        loop {
            let current = lines.borrow_and_update().clone();
            let names = current.iter().map(|line| line.destination.name().to_owned()).collect();
            let end = stop.child_token();
            let start = |line| Loop::new(delivery.clone(), line).run(woken.clone(), end.clone(), stop.clone());
            let at_work = join_all(current.into_iter().map(start));
            let replaced = async {
                tokio::select! {
                    () = stop.cancelled() => false,
                    // An error says that nobody replaces them any more.
                    Ok(()) = lines.changed() => {
                        end.cancel();
                        true
                    }
                }
            };
            let (_, (), goes_on) = tokio::join!(at_work, delivery.measure(names, end.clone()), replaced);
            if !goes_on {
                return;
            }
        }
    };
    tokio::join!(deliver, pass_on);
}

impl Delivery {
    /// Keeps the gauges of the outbox, and tells of deliveries to destinations that are not configured.
    async fn measure(&self, configured: BTreeSet<String>, stop: CancellationToken) {
        let mut seen: BTreeSet<String> = BTreeSet::new();
        while !stop.is_cancelled() {
            match self.outbox.waiting().await {
                Ok(waiting) => {
                    for name in &seen {
                        self.telemetry.outbox_measured(name, 0, Duration::ZERO);
                    }
                    let backlogs = waiting.iter().map(|one| (one.destination.clone(), one.deliveries)).collect();
                    *self.backlogs.lock().unwrap_or_else(PoisonError::into_inner) = backlogs;
                    for one in waiting {
                        let age = (self.clock.now() - one.oldest).try_into().unwrap_or_default();
                        self.telemetry.outbox_measured(&one.destination, one.deliveries, age);
                        let is_new = seen.insert(one.destination.clone());
                        if is_new && !configured.contains(&one.destination) {
                            self.telemetry.destination_missing(&one.destination, one.deliveries);
                        }
                    }
                }
                Err(error) => self.telemetry.state_failed("measure the outbox", &error),
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(MEASURE) => {}
            }
        }
    }
}

/// The loop of one destination.
struct Loop {
    delivery: Delivery,
    line: Line,
    breaker: Breaker,
    rate: Rate,
}

impl Loop {
    fn new(delivery: Delivery, line: Line) -> Loop {
        let rate = Rate::new(line.rate_per_minute, Instant::now());
        Loop { delivery, line, breaker: Breaker::default(), rate }
    }

    /// Until `end`, and where that is the `stop` of all deliveries, once more.
    async fn run(mut self, mut woken: watch::Receiver<u64>, end: CancellationToken, stop: CancellationToken) {
        while !end.is_cancelled() {
            self.send_due().await;
            tokio::select! {
                () = end.cancelled() => {}
                // The sender lives as long as the loops do.
                _ = woken.changed() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
        if stop.is_cancelled() {
            self.send_due().await;
        }
    }

    /// Sends until nothing is due, or until the destination is to be left alone for a while.
    async fn send_due(&mut self) {
        loop {
            let now = Instant::now();
            let room = BATCH.min(self.breaker.room(now)).min(self.rate.room(now));
            if room == 0 {
                return;
            }
            let wanted = if self.backlog() > digest::BACKLOG { digest::MOST } else { room };
            let Delivery { outbox, clock, telemetry, .. } = &self.delivery;
            let (name, taken_at) = (self.line.destination.name(), clock.now());
            let due = match outbox.due(name, taken_at, LEASE, wanted).await {
                Ok(due) if due.is_empty() => return,
                Ok(due) => due,
                Err(error) => return telemetry.state_failed("take deliveries", &error),
            };
            let (joined, mut alone) = self.joined(&due);
            // The message of many takes the place of one.
            let left = alone.split_off(alone.len().min(room as usize - usize::from(!joined.is_empty())));
            if !left.is_empty() {
                let alerts: Vec<&str> = left.iter().map(|pending| pending.alert.id.as_str()).collect();
                if let Err(error) = outbox.give_back(name, &alerts, taken_at + LEASE).await {
                    telemetry.state_failed("give deliveries back", &error);
                }
            }
            self.rate.take(alone.len() + usize::from(!joined.is_empty()));
            let mut sent = join_all(alone.into_iter().map(|pending| self.deliver(pending))).await;
            if !joined.is_empty() {
                sent.push(self.deliver_together(&joined).await);
            }
            let now = Instant::now();
            for sent in &sent {
                let was_open = self.breaker.is_open();
                match sent {
                    Ok(_) => self.breaker.succeeded(),
                    Err(SendError { failure: Failure::Unavailable(after), .. }) => self.breaker.failed(now, *after),
                    // It answers, and may well take others.
                    Err(_) => {}
                }
                if was_open != self.breaker.is_open() {
                    self.delivery.telemetry.destination_turned(self.line.destination.name(), self.breaker.is_open());
                }
            }
        }
    }

    /// What waits for the destination, where a long backlog comes as digests.
    fn backlog(&self) -> u64 {
        let backlogs = self.delivery.backlogs.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = backlogs.get(self.line.destination.name()).copied().unwrap_or_default();
        if self.line.digests { waiting } else { 0 }
    }

    /// Those of a long backlog that go out as one message, and those that go alone.
    fn joined<'a>(&self, due: &'a [PendingDelivery]) -> (Vec<&'a PendingDelivery>, Vec<&'a PendingDelivery>) {
        let is_long = self.backlog() > digest::BACKLOG;
        let (joined, alone): (Vec<_>, Vec<_>) = due.iter().partition(|pending| is_long && digest::may_join(pending));
        if joined.len() > 1 { (joined, alone) } else { (Vec::new(), due.iter().collect()) }
    }

    /// One message for all of them; each goes on as if it had been sent alone.
    async fn deliver_together(&self, joined: &[&PendingDelivery]) -> Result<Taken, SendError> {
        let alerts: Vec<&Alert> = joined.iter().map(|pending| &pending.alert).collect();
        let now = self.delivery.clock.now();
        let alert = digest::digest(&alerts, self.backlog(), now);
        let name = self.line.destination.name();
        let mut message = Message::new(&alert, name, None, 0, now);
        if let Some(base) = &self.delivery.link_base {
            message.link = format!("{}/alerts", base.trim_end_matches('/'));
        }
        let sent = self.attempt(&message).await;
        let sent = sent.map(|taken| Taken { ticket: taken.ticket.as_deref().map(shared), ..taken });
        if sent.is_ok() {
            self.delivery.telemetry.digest_delivered(name, joined.len() as u64);
            let mut backlogs = self.delivery.backlogs.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(waiting) = backlogs.get_mut(name) {
                *waiting = waiting.saturating_sub(joined.len() as u64);
            }
        }
        for pending in joined {
            if let Err(error) = self.note(pending, &sent, true).await {
                self.delivery.telemetry.state_failed("record a delivery", &error);
            }
        }
        sent
    }

    /// A delivery whose outcome could not be recorded is sent again when its lease ends.
    async fn deliver(&self, pending: &PendingDelivery) -> Result<Taken, SendError> {
        let sent = self.send(pending).await;
        if let Err(error) = self.note(pending, &sent, false).await {
            self.delivery.telemetry.state_failed("record a delivery", &error);
        }
        sent
    }

    async fn send(&self, pending: &PendingDelivery) -> Result<Taken, SendError> {
        let Delivery { link_base, clock, .. } = &self.delivery;
        let link_base = link_base.as_deref();
        let message = Message::new(&pending.alert, &pending.destination, link_base, pending.resent, clock.now());
        self.attempt(&message.telling(pending.news).about(pending.ticket.as_deref())).await
    }

    async fn attempt(&self, message: &Message<'_>) -> Result<Taken, SendError> {
        let attempt = tokio::time::timeout(SEND_LIMIT, self.line.destination.send(message)).await;
        attempt.unwrap_or_else(|_| Err(SendError::unavailable(format!("no answer within {} s", SEND_LIMIT.as_secs()))))
    }

    /// `with_others`: it went out in a digest, which was counted as a whole.
    async fn note(
        &self,
        pending: &PendingDelivery,
        sent: &Result<Taken, SendError>,
        with_others: bool,
    ) -> Result<(), StateError> {
        let Delivery { outbox, clock, telemetry, .. } = &self.delivery;
        let (alert, destination, now) = (&pending.alert.id, &pending.destination, clock.now());
        match sent {
            Ok(taken) => {
                if !with_others {
                    telemetry.alert_delivered(alert, destination);
                }
                outbox.delivered(alert, destination, pending.news, taken, now).await
            }
            Err(error) => {
                if matches!(error.status, Some(400 | 401 | 403 | 404)) {
                    self.delivery.doubt.notify_one();
                }
                let age = now - pending.alert.created_at;
                // Which of many is not taken is not known: each is tried alone.
                let failure = if with_others { Failure::Unavailable(None) } else { error.failure };
                let next = next_attempt(failure, pending.attempts, age).map(|delay| now + delay);
                telemetry.delivery_failed(alert, destination, &error.reason, next.is_none());
                let failed = Failed { reason: &error.reason, status: error.status, next_attempt: next };
                outbox.failed(alert, destination, pending.news, &failed, now).await
            }
        }
    }
}

#[cfg(test)]
mod tests;
