//! What becomes of one message. Its receipt is spent here and nowhere else.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt;

use super::lease::{self, HeldClaims};
use super::{Pipeline, attempts, object, setup};
use crate::model::{Code, Message};
use crate::notify::{self, Announced, Cause};
use crate::queue::{Delivery, Receipt};
use crate::runtime::Backoff;
use crate::source::Owner;
use crate::state::StateError;
use crate::telemetry::MessageSpans;

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
    let spans = pipeline.telemetry.message_spans(&message, pipeline.clock.now());
    if let Some(sent_at) = message.sent_at {
        pipeline.telemetry.message_age(pipeline.clock.now() - sent_at);
    }
    let claims = HeldClaims::default();
    let work = async {
        match AssertUnwindSafe(work(pipeline, &message, &claims, &spans)).catch_unwind().await {
            Ok(end) => end,
            Err(_) => panicked(pipeline, &message, &claims).await,
        }
    };
    // To extend the lease with for as long as the receipt is not spent, which is when the queue has answered.
    let extending = Receipt(receipt.0.clone());
    // It writes to the state store in turn with everything else: while something else is awaited it is polled, or gone.
    let mut kept = Box::pin(lease::keep(pipeline, &message, &extending, &claims));
    // In this order, so that a run under a seed repeats itself.
    let end = tokio::select! {
        biased;
        end = work => end,
        detail = &mut kept => End::LeaseLost { detail },
        () = lease::exhausted() => End::Release {
            reason: "lease_exhausted",
            detail: "it was held nearly as long as a queue allows; the next attempt does what is left".into(),
            delay: Duration::ZERO,
        },
        () = pipeline.abandon.cancelled() => End::Release {
            reason: "shutdown",
            detail: "the daemon is ending".into(),
            delay: Duration::ZERO,
        },
    };
    let telemetry = &pipeline.telemetry;
    let spent = match end {
        End::Acknowledge => {
            let mut spent = pin!(spans.acknowledging(pipeline.queue.acknowledge(receipt)));
            let spent = tokio::select! {
                biased;
                spent = &mut spent => spent,
                // Whether the message is gone or another's, the queue's answer says.
                _ = &mut kept => spent.await,
            };
            match &spent {
                Ok(()) => {
                    telemetry.message_acknowledged(&message.id);
                    spans.ended("acknowledged", "");
                }
                Err(error) => spans.ended("unanswered", &error.to_string()),
            }
            spent
        }
        End::Release { reason, detail, delay } => {
            drop(kept);
            // A claim is given up with its message, so that the next delivery need not wait for its end.
            object::release_all(pipeline, &claims, reason, &detail).await;
            telemetry.message_released(&message.id, reason, &detail, delay);
            spans.ended("released", &format!("{reason}: {detail}"));
            pipeline.queue.release(receipt, delay).await
        }
        End::LeaseLost { detail } => {
            drop(kept);
            // What is fenced already is not touched by this; what is not need not stay held.
            object::release_all(pipeline, &claims, "lease_lost", &detail).await;
            telemetry.lease_lost(&message.id, &detail);
            spans.ended("lease_lost", &detail);
            return;
        }
    };
    if let Err(error) = spent {
        // The message comes back; the ledger knows what of it is done.
        telemetry.queue_failed("spend a receipt", &error);
    }
}

async fn work(pipeline: &Pipeline, message: &Message, claims: &HeldClaims, spans: &MessageSpans) -> End {
    let notice = match notify::parse(&message.body) {
        Ok(notice) => notice,
        Err(bad) => {
            return quarantine(pipeline, message, &message.id, &message.body, Code::BadMessage, &bad.to_string()).await;
        }
    };
    spans.format(notice.format);
    if let Some(said) = &notice.setup {
        return setup::handle(pipeline, message, notice.format, said).await;
    }
    let telemetry = &pipeline.telemetry;
    for (index, bad) in notice.bad.iter().enumerate() {
        telemetry.notification_record(notice.format, "bad");
        let id = format!("{}#{index}", message.id);
        match quarantine(pipeline, message, &id, &bad.raw, bad.code, &bad.reason).await {
            End::Acknowledge => {}
            failed => return failed,
        }
    }
    for _ in &notice.ignored {
        telemetry.notification_record(notice.format, "ignored");
    }
    // Every object is tried, whatever became of the one before it: what is done is not done again.
    let mut end = End::Acknowledge;
    for (index, announced) in notice.objects.iter().enumerate() {
        if !wanted(pipeline, announced) {
            telemetry.notification_record(notice.format, "ignored");
            continue;
        }
        telemetry.notification_record(notice.format, "object");
        if index > 0 {
            pipeline.slots.again().await;
        }
        match object::handle(pipeline, message, notice.format, announced, claims, true, spans).await {
            End::Acknowledge => {}
            lost @ End::LeaseLost { .. } => return lost,
            released => end = released,
        }
    }
    end
}

/// Whether an announced object is read; its source is heard of in any case.
fn wanted(pipeline: &Pipeline, announced: &Announced) -> bool {
    let catalogue = pipeline.catalogue.get();
    let owner = catalogue.sources.owner(&announced.object);
    if let Some(owner) = owner {
        pipeline.telemetry.source_contacted(owner.source, pipeline.clock.now());
    }
    is_wanted(announced.cause, owner)
}

pub(super) fn is_wanted(cause: Cause, owner: Option<Owner<'_>>) -> bool {
    match cause {
        // That no source takes it is its outcome.
        Cause::Created => true,
        Cause::Restored => owner.is_some_and(|owner| owner.include_restored),
    }
}

/// A bug, on whatever it was: tried again, and kept aside in the end, so that it does not come back for ever. The
/// ledger counts the panics of an object that is held and quarantines that; how often its message was received says
/// nothing. What panics without one is the message itself.
async fn panicked(pipeline: &Pipeline, message: &Message, claims: &HeldClaims) -> End {
    if !claims.is_empty() || message.receive_count <= pipeline.poison_after {
        return End::retry(message, attempts::PANIC, attempts::PANICKED);
    }
    quarantine(pipeline, message, &message.id, &message.body, Code::Panic, attempts::PANICKED).await
}

/// Keeps what is no notification, with its reason; then the message has an outcome.
async fn quarantine(pipeline: &Pipeline, message: &Message, id: &str, raw: &str, code: Code, reason: &str) -> End {
    match pipeline.state.keep_message(id, raw, &code.with(reason), pipeline.clock.now()).await {
        Ok(()) => {
            pipeline.telemetry.message_quarantined(id, code, reason);
            End::Acknowledge
        }
        Err(error) => {
            pipeline.telemetry.state_failed("quarantine a message", &error);
            End::state_failed(message, &error)
        }
    }
}
