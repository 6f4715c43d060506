//! What becomes of one message. Its receipt is spent here and nowhere else.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;

use super::lease::{self, HeldClaims};
use super::{Pipeline, attempts, object};
use crate::model::Message;
use crate::notify;
use crate::queue::Delivery;
use crate::runtime::Backoff;
use crate::state::StateError;

/// A message that could not be finished comes back after this, by its receive count.
const RETRY: Backoff = Backoff::new(Duration::from_secs(30), Duration::from_secs(900));

/// The decision about a message.
pub(super) enum End {
    /// The outcome of everything in it is durable.
    Acknowledge,
    /// Something in it has to be tried again. `reason` is a word of a fixed set, `detail` the whole story.
    Release { reason: &'static str, detail: String, delay: Duration },
    /// Another has it now, or will soon.
    LeaseLost { detail: String },
}

impl End {
    /// A release with a delay that grows with the receive count.
    pub(super) fn retry(message: &Message, reason: &'static str, detail: impl ToString) -> End {
        let delay = RETRY.delay(message.receive_count.saturating_sub(1));
        End::Release { reason, detail: detail.to_string(), delay }
    }

    pub(super) fn state_failed(message: &Message, error: &StateError) -> End {
        match error {
            StateError::Fenced(_) => End::LeaseLost { detail: error.to_string() },
            StateError::Store(_) => End::retry(message, "state", error),
        }
    }
}

/// Works on a message under its lease, then spends the receipt.
pub(super) async fn handle(pipeline: &Pipeline, delivery: Delivery) {
    let Delivery { message, receipt } = delivery;
    let claims = HeldClaims::default();
    let work = AssertUnwindSafe(work(pipeline, &message, &claims)).catch_unwind();
    let end = tokio::select! {
        end = work => match end {
            Ok(end) => end,
            Err(_) => panicked(pipeline, &message).await,
        },
        detail = lease::keep(pipeline, &message, &receipt, &claims) => End::LeaseLost { detail },
        () = pipeline.abandon.cancelled() => End::Release {
            reason: "shutdown",
            detail: "the daemon is ending".into(),
            delay: Duration::ZERO,
        },
    };
    let telemetry = &pipeline.telemetry;
    let spent = match end {
        End::Acknowledge => {
            let spent = pipeline.queue.acknowledge(receipt).await;
            if spent.is_ok() {
                telemetry.message_acknowledged(&message.id);
            }
            spent
        }
        End::Release { reason, detail, delay } => {
            // A claim is given up with its message, so that the next delivery need not wait for its end.
            object::release_all(pipeline, &claims, reason, &detail).await;
            telemetry.message_released(&message.id, reason, &detail, delay);
            pipeline.queue.release(receipt, delay).await
        }
        End::LeaseLost { detail } => {
            // What is fenced already is not touched by this; what is not need not stay held.
            object::release_all(pipeline, &claims, "lease_lost", &detail).await;
            telemetry.lease_lost(&message.id, &detail);
            return;
        }
    };
    if let Err(error) = spent {
        // The message comes back; the ledger knows what of it is done.
        telemetry.queue_failed("spend a receipt", &error);
    }
}

async fn work(pipeline: &Pipeline, message: &Message, claims: &HeldClaims) -> End {
    let notice = match notify::parse(&message.body) {
        Ok(notice) => notice,
        Err(bad) => return quarantine(pipeline, message, &message.id, &message.body, &bad.to_string()).await,
    };
    let telemetry = &pipeline.telemetry;
    for (index, bad) in notice.bad.iter().enumerate() {
        telemetry.notification_record(notice.format, "bad");
        let id = format!("{}#{index}", message.id);
        match quarantine(pipeline, message, &id, &bad.raw, &bad.reason).await {
            End::Acknowledge => {}
            failed => return failed,
        }
    }
    for _ in 0..notice.ignored {
        telemetry.notification_record(notice.format, "ignored");
    }
    // Every object is tried, whatever became of the one before it: what is done is not done again.
    let mut end = End::Acknowledge;
    for object in &notice.objects {
        telemetry.notification_record(notice.format, "object");
        match object::handle(pipeline, message, object, claims).await {
            End::Acknowledge => {}
            lost @ End::LeaseLost { .. } => return lost,
            released => end = released,
        }
    }
    end
}

/// A bug, on whatever it was: tried again, and kept aside in the end, so that it does not come back for ever. An object that
/// it was on is quarantined before its message is.
async fn panicked(pipeline: &Pipeline, message: &Message) -> End {
    let said = "the work on it panicked; this is a bug of margay";
    if message.receive_count <= pipeline.poison_after {
        return End::retry(message, attempts::PANIC, said);
    }
    quarantine(pipeline, message, &message.id, &message.body, said).await
}

/// Keeps what is no notification, with its reason; then the message has an outcome.
async fn quarantine(pipeline: &Pipeline, message: &Message, id: &str, raw: &str, reason: &str) -> End {
    match pipeline.state.keep_message(id, raw, reason, pipeline.clock.now()).await {
        Ok(()) => {
            pipeline.telemetry.message_quarantined(id, reason);
            End::Acknowledge
        }
        Err(error) => {
            pipeline.telemetry.state_failed("quarantine a message", &error);
            End::state_failed(message, &error)
        }
    }
}
