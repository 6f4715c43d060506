//! The delivery loop: takes due deliveries from the outbox, sends them, and records how it went.
//!
//! A delivery leaves the outbox by success, by a permanent failure, or after [`MAX_ATTEMPTS`]; whatever else happens it
//! stays there. It is sent at least once: a process that dies between sending and recording sends it again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::destination::{Destination, SendError};
use crate::runtime::{Backoff, SharedClock};
use crate::state::{Outbox, PendingDelivery, StateError};
use crate::telemetry::Telemetry;

pub const MAX_ATTEMPTS: u32 = 10;
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(30), Duration::from_secs(30 * 60));
/// One attempt. A destination that hangs holds the others of its batch no longer than this.
const SEND_LIMIT: Duration = Duration::from_secs(20);
/// Longer than a batch takes, so that no delivery is handed out while it is being sent.
const LEASE: Duration = Duration::from_secs(120);
/// Sent at the same time.
const BATCH: u32 = 32;
/// How late a retry may be. New alerts do not wait for it: they wake the loop.
const POLL: Duration = Duration::from_secs(1);

/// Delivers until `stop`, then everything that is due once more. `stop` is to be cancelled when no more alerts are
/// recorded, which is later than the shutdown of what reads events. `wake` is notified after alerts were opened.
pub async fn run(
    outbox: Arc<dyn Outbox>,
    destinations: Vec<Arc<dyn Destination>>,
    clock: SharedClock,
    telemetry: Telemetry,
    wake: Arc<Notify>,
    stop: CancellationToken,
) {
    let destinations = destinations.into_iter().map(|destination| (destination.name().to_owned(), destination));
    let delivery = Delivery { outbox, destinations: destinations.collect(), clock, telemetry };
    while !stop.is_cancelled() {
        delivery.send_due().await;
        tokio::select! {
            () = stop.cancelled() => {}
            () = wake.notified() => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }
    delivery.send_due().await;
}

struct Delivery {
    outbox: Arc<dyn Outbox>,
    destinations: BTreeMap<String, Arc<dyn Destination>>,
    clock: SharedClock,
    telemetry: Telemetry,
}

impl Delivery {
    /// Sends until nothing is due.
    async fn send_due(&self) {
        loop {
            match self.outbox.due(self.clock.now(), LEASE, BATCH).await {
                Ok(due) if due.is_empty() => return,
                Ok(due) => {
                    join_all(due.iter().map(|pending| self.deliver(pending))).await;
                }
                Err(error) => {
                    self.telemetry.state_failed("take deliveries", &error);
                    return;
                }
            }
        }
    }

    /// A delivery whose outcome could not be recorded is sent again when its lease ends.
    async fn deliver(&self, pending: &PendingDelivery) {
        let sent = self.send(pending).await;
        if let Err(error) = self.note(pending, sent).await {
            self.telemetry.state_failed("record a delivery", &error);
        }
    }

    async fn send(&self, pending: &PendingDelivery) -> Result<(), SendError> {
        let name = &pending.destination;
        let Some(destination) = self.destinations.get(name) else {
            return Err(SendError::Retry(format!("there is no destination `{name}` any more; configure it again")));
        };
        let attempt = tokio::time::timeout(SEND_LIMIT, destination.send(&pending.alert)).await;
        attempt.unwrap_or_else(|_| Err(SendError::Retry(format!("no answer within {} s", SEND_LIMIT.as_secs()))))
    }

    async fn note(&self, pending: &PendingDelivery, sent: Result<(), SendError>) -> Result<(), StateError> {
        let (alert, destination) = (&pending.alert.id, &pending.destination);
        let now = self.clock.now();
        let error = match sent {
            Ok(()) => {
                self.telemetry.alert_delivered(alert, destination);
                return self.outbox.delivered(alert, destination, now).await;
            }
            Err(error) => error,
        };
        let next_attempt = match error {
            SendError::Retry(_) if pending.attempts + 1 < MAX_ATTEMPTS => Some(now + BACKOFF.delay(pending.attempts)),
            SendError::Retry(_) | SendError::Permanent(_) => None,
        };
        let reason = error.to_string();
        self.telemetry.delivery_failed(alert, destination, &reason, next_attempt.is_none());
        self.outbox.failed(alert, destination, &reason, next_attempt, now).await
    }
}

#[cfg(test)]
mod tests;
