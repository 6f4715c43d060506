//! Keeps a message and the claims under it from being handed to another while they are worked on.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::Pipeline;
use crate::model::Message;
use crate::queue::{QueueError, Receipt};
use crate::state::{ClaimToken, StateError};

/// No queue lets a message be held longer in all, counted from its receipt: SQS's limit. It refuses an extension
/// beyond.
const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);

/// So long before that the message is handed back, so that another attempt takes over what is left.
const MARGIN: Duration = Duration::from_secs(300);

/// Returns when a message that is received now has been held for nearly as long as it can be.
pub(super) async fn exhausted() {
    sleep(LONGEST - MARGIN).await;
}

/// The claims that the work on one message holds at the moment.
#[derive(Default)]
pub(super) struct HeldClaims(Mutex<Vec<ClaimToken>>);

impl HeldClaims {
    pub(super) fn add(&self, token: &ClaimToken) {
        self.lock().push(token.clone());
    }

    pub(super) fn remove(&self, token: &ClaimToken) {
        self.lock().retain(|held| held != token);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    pub(super) fn all(&self) -> Vec<ClaimToken> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<ClaimToken>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

/// Extends the lease of the message and of the claims for as long as it is polled. Returns only when one of them is
/// lost: the work must stop then, before it commits anything. A third of the lease passes between extensions, so that
/// one that fails, or hangs, can be repeated while the lease still holds.
pub(super) async fn keep(pipeline: &Pipeline, message: &Message, receipt: &Receipt, claims: &HeldClaims) -> String {
    let (interval, patience) = (pipeline.lease / 3, pipeline.lease / 6);
    let received = Instant::now();
    let mut next = interval;
    loop {
        sleep(next).await;
        // A lease of some hours would end beyond the limit, and be refused as a whole.
        let left = LONGEST.saturating_sub(received.elapsed() + MARGIN / 5);
        let (extended, objects) = tokio::join!(
            timeout(patience, pipeline.queue.extend(receipt, pipeline.lease.min(left))),
            timeout(patience, renew(pipeline, claims)),
        );
        next = interval;
        match extended {
            Ok(Ok(())) => pipeline.telemetry.lease_extended(&message.id),
            Ok(Err(QueueError::LeaseLost { reason, .. })) => return reason,
            Ok(Err(error)) => {
                pipeline.telemetry.queue_failed("extend", &error);
                next = patience / 2;
            }
            Err(_) => {
                pipeline.telemetry.queue_failed("extend", &"no answer in time");
                next = patience / 2;
            }
        }
        match objects {
            Ok(Ok(())) => {}
            Ok(Err(lost)) => return lost,
            Err(_) => {
                pipeline.telemetry.state_failed("renew a claim", &"no answer in time");
                next = patience / 2;
            }
        }
    }
}

/// The same for claims without a message.
pub(super) async fn keep_claims(pipeline: &Pipeline, claims: &HeldClaims) -> String {
    loop {
        sleep(pipeline.lease / 3).await;
        if let Ok(Err(lost)) = timeout(pipeline.lease / 6, renew(pipeline, claims)).await {
            return lost;
        }
    }
}

/// An error is a claim that is lost.
async fn renew(pipeline: &Pipeline, claims: &HeldClaims) -> Result<(), String> {
    let until = pipeline.clock.now() + pipeline.lease;
    for token in claims.all() {
        match pipeline.state.renew(&token, until).await {
            // A claim that was finished meanwhile is not lost.
            Err(error @ StateError::Fenced(_)) if claims.all().contains(&token) => return Err(error.to_string()),
            Ok(()) | Err(StateError::Fenced(_)) => {}
            Err(error) => pipeline.telemetry.state_failed("renew a claim", &error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_message_is_handed_back_before_the_queue_takes_it() {
        let received = Instant::now();
        exhausted().await;
        let left = LONGEST - received.elapsed();
        assert!((Duration::from_secs(60)..=Duration::from_secs(600)).contains(&left), "{left:?}");
    }
}
