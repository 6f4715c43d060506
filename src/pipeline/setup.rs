//! Messages about the notifications themselves: tests, and what SNS asks or tells about a subscription of the queue.
//!
//! A topic may subscribe the queue when its account belongs to a source. Any other question stays unanswered in the
//! queue, longer at each turn, so that whoever adds the source in time still has the subscription. It is never taken
//! out: how often a message may come back is for the queue's redrive policy to say.

use std::time::Duration;

use super::Pipeline;
use super::message::End;
use crate::model::{Message, TopicArn};
use crate::notify::SetUp;
use crate::runtime::Backoff;
use crate::source::SourceTable;
use crate::topic::ConfirmError;

/// A question that only a person can settle comes back after this, some times a day, for the days that a token is good
/// for.
const ASK_AGAIN: Backoff = Backoff::new(Duration::from_secs(60), Duration::from_secs(3 * 60 * 60));

pub(super) async fn handle(pipeline: &Pipeline, message: &Message, format: &str, said: &SetUp) -> End {
    match said {
        SetUp::Test { bucket } => {
            let bucket = bucket.as_deref().unwrap_or_default();
            for source in pipeline.catalogue.get().sources.of_bucket(bucket) {
                pipeline.telemetry.source_contacted(source, pipeline.clock.now());
            }
            pipeline.telemetry.test_received(format, bucket);
            End::Acknowledge
        }
        SetUp::Confirm { topic, token } => confirm(pipeline, message, topic, token).await,
        SetUp::Ended { topic } => {
            pipeline.telemetry.subscription_ended(topic);
            End::Acknowledge
        }
    }
}

async fn confirm(pipeline: &Pipeline, message: &Message, topic: &TopicArn, token: &str) -> End {
    let telemetry = &pipeline.telemetry;
    if let Some(reason) = stranger(&pipeline.catalogue.get().sources, topic) {
        telemetry.subscription_not_confirmed(topic.as_str(), "unknown_account", &reason);
        return unanswered(message);
    }
    match pipeline.confirmations.confirm(topic, token).await {
        Ok(()) => {
            telemetry.subscription_confirmed(topic.as_str());
            End::Acknowledge
        }
        Err(ConfirmError::Refused(reason)) => {
            telemetry.subscription_not_confirmed(topic.as_str(), "refused", &reason);
            unanswered(message)
        }
        Err(ConfirmError::Unavailable(reason)) => {
            telemetry.subscription_not_confirmed(topic.as_str(), "unavailable", &reason);
            End::retry(message, "subscription", "")
        }
    }
}

/// Why a topic may not subscribe the queue.
pub(super) fn stranger(sources: &SourceTable, topic: &TopicArn) -> Option<String> {
    let account = topic.account();
    (!sources.knows_account(account)).then(|| {
        format!(
            "topic {topic} asks to confirm its subscription to this queue, and account {account} belongs to no source; \
             if the topic is yours, add a [[sources]] entry with account_id = {account:?}",
        )
    })
}

/// The message keeps the token; the log never has it.
fn unanswered(message: &Message) -> End {
    let delay = ASK_AGAIN.delay(message.receive_count.saturating_sub(1));
    End::Release { reason: "subscription", detail: String::new(), delay }
}
