//! Keeps a message and the claims under it from being handed to another while they are worked on.

use std::sync::Mutex;

use tokio::time::sleep;

use super::Pipeline;
use crate::queue::{QueueError, Receipt};
use crate::state::{ClaimToken, StateError};

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

    pub(super) fn all(&self) -> Vec<ClaimToken> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<ClaimToken>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

/// Extends the lease of the message and of the claims, at half their length, for as long as it is polled. Returns
/// only when one of them is lost: the work must stop then, before it commits anything.
pub(super) async fn keep(pipeline: &Pipeline, receipt: &Receipt, claims: &HeldClaims) -> String {
    loop {
        sleep(pipeline.lease / 2).await;
        match pipeline.queue.extend(receipt, pipeline.lease).await {
            Ok(()) => {}
            Err(QueueError::LeaseLost { reason, .. }) => return reason,
            // Half the lease is left: the next extension may still hold it.
            Err(error) => pipeline.telemetry.queue_failed("extend", &error),
        }
        let until = pipeline.clock.now() + pipeline.lease;
        for token in claims.all() {
            match pipeline.state.renew(&token, until).await {
                Ok(()) => {}
                Err(error @ StateError::Fenced(_)) => return error.to_string(),
                Err(error) => pipeline.telemetry.state_failed("renew a claim", &error),
            }
        }
    }
}
