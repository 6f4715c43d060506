//! The production queue: Amazon SQS. The only place that names the SQS SDK.
//!
//! Deletions and changes of visibility that come together go out together: `batch` makes the batches, `calls` sends
//! them.
//!
//! A receipt carries the message's id beside SQS's handle, so that a lost lease can be told by its message.

mod batch;
mod calls;

use std::time::Duration;

use async_trait::async_trait;
use aws_config::{Region, SdkConfig};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{Message as SqsMessage, MessageSystemAttributeName, QueueAttributeName};
use aws_smithy_types::timeout::TimeoutConfig;
use time::OffsetDateTime;

use super::{Backlog, Delivery, MessageQueue, QueueError, QueueFacts, QueueSettings, Receipt, SqsConfig};
use crate::model::Message;
use batch::{Batches, Failure, LIMIT};
use calls::{Deletion, Visibility};

/// SQS's limits of a long poll and of a lease, in seconds.
const MAX_WAIT: u32 = 20;
const MAX_LEASE: u32 = 12 * 60 * 60;

/// Time for an answer beyond the long poll.
const ANSWER: Duration = Duration::from_secs(15);

pub struct SqsQueue {
    client: Client,
    url: String,
    visibility: i32,
    wait: i32,
    deletions: Batches<Deletion>,
    visibilities: Batches<Visibility>,
}

impl SqsQueue {
    /// Asks nothing of SQS yet. The region of the queue's address wins over the configuration's, which else would
    /// sign for a queue that does not exist.
    pub fn new(sdk: &SdkConfig, config: &SqsConfig) -> Result<SqsQueue, QueueError> {
        let Some(url) = config.url.clone() else {
            return Err(QueueError::Unavailable(
                "no queue to read from: set queue.sqs.url to the URL of the SQS queue".into(),
            ));
        };
        let wait = config.wait_seconds.min(MAX_WAIT);
        // A call that waits for messages is no slow call.
        let attempt = Duration::from_secs(wait.into()) + ANSWER;
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(5))
            .read_timeout(attempt)
            .operation_attempt_timeout(attempt)
            .operation_timeout(attempt * 3)
            .build();
        let mut client = aws_sdk_sqs::config::Builder::from(sdk).timeout_config(timeouts);
        if let Some(region) = region_of(&url) {
            client = client.region(Region::new(region.to_owned()));
        }
        let client = Client::from_conf(client.build());
        Ok(SqsQueue {
            deletions: calls::deletions(client.clone(), url.clone()),
            visibilities: calls::visibilities(client.clone(), url.clone()),
            client,
            url,
            visibility: config.visibility_timeout_seconds.min(MAX_LEASE) as i32,
            wait: wait as i32,
        })
    }

    /// Changes when a delivery becomes visible. SQS's refusal means that the delivery is over.
    async fn change_visibility(&self, receipt: &Receipt, seconds: i32, attempt: &str) -> Result<(), QueueError> {
        let (message, handle) = parts(receipt);
        let entry = Visibility { handle: handle.to_owned(), seconds };
        self.visibilities.call(entry).await.map_err(|failure| {
            // SQS answers InvalidParameterValue for a message that is gone, and for a lease beyond its twelve hours.
            let over = |code: &str| is_over(code) || code.ends_with("InvalidParameterValue");
            self.failed(failure, message, over, attempt, "sqs:ChangeMessageVisibility")
        })
    }

    /// What the failure of an entry means for its message.
    fn failed(
        &self,
        failure: Failure,
        message: &str,
        is_over: impl Fn(&str) -> bool,
        attempt: &str,
        action: &str,
    ) -> QueueError {
        let url = &self.url;
        match failure {
            Failure::Entry { code, reason, sender_fault: true } if is_over(&code) => {
                let reason = if reason.is_empty() { code } else { reason };
                QueueError::LeaseLost { message: message.to_owned(), reason }
            }
            Failure::Entry { code, reason, .. } => {
                let remedy = remedy_for(&code, action).unwrap_or_else(|| TRIED_AGAIN.into());
                QueueError::Unavailable(format!("{attempt} the queue {url} failed: {code}: {reason}; {remedy}"))
            }
            Failure::Call(cause) => QueueError::Unavailable(format!("{attempt} the queue {url} failed: {cause}")),
        }
    }

    fn unavailable<E, R>(&self, attempt: &str, action: &str, error: &SdkError<E, R>) -> QueueError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: std::fmt::Debug,
    {
        QueueError::Unavailable(format!("{attempt} the queue {} failed: {}", self.url, cause(error, action)))
    }
}

#[async_trait]
impl MessageQueue for SqsQueue {
    async fn receive(&self, max: usize) -> Result<Vec<Delivery>, QueueError> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let answer = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(max.min(LIMIT) as i32)
            .wait_time_seconds(self.wait)
            .visibility_timeout(self.visibility)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .send()
            .await
            .map_err(|error| self.unavailable("receiving from", "sqs:ReceiveMessage", &error))?;
        // Every message has an id, a handle and a body; one without them could be neither read nor deleted.
        Ok(answer.messages.unwrap_or_default().into_iter().filter_map(delivery).collect())
    }

    async fn extend(&self, receipt: &Receipt, lease: Duration) -> Result<(), QueueError> {
        self.change_visibility(receipt, seconds(lease), "extending a lease at").await
    }

    async fn acknowledge(&self, receipt: Receipt) -> Result<(), QueueError> {
        let (message, handle) = parts(&receipt);
        let entry = Deletion { handle: handle.to_owned() };
        self.deletions
            .call(entry)
            .await
            .map_err(|failure| self.failed(failure, message, is_over, "deleting a message from", "sqs:DeleteMessage"))
    }

    async fn release(&self, receipt: Receipt, delay: Duration) -> Result<(), QueueError> {
        self.change_visibility(&receipt, seconds(delay), "handing a message back to").await
    }

    async fn backlog(&self) -> Result<Backlog, QueueError> {
        use QueueAttributeName::{
            ApproximateNumberOfMessages, ApproximateNumberOfMessagesDelayed, ApproximateNumberOfMessagesNotVisible,
        };
        let call = self.client.get_queue_attributes().queue_url(&self.url);
        let answer = call
            .attribute_names(ApproximateNumberOfMessages)
            .attribute_names(ApproximateNumberOfMessagesDelayed)
            .attribute_names(ApproximateNumberOfMessagesNotVisible)
            .send()
            .await
            .map_err(|error| self.unavailable("asking for the length of", "sqs:GetQueueAttributes", &error))?;
        let attributes = answer.attributes.unwrap_or_default();
        let count = |name| attributes.get(&name).and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(Backlog {
            waiting: count(ApproximateNumberOfMessages) + count(ApproximateNumberOfMessagesDelayed),
            in_flight: count(ApproximateNumberOfMessagesNotVisible),
        })
    }
}

#[async_trait]
impl QueueSettings for SqsQueue {
    async fn facts(&self) -> Result<QueueFacts, QueueError> {
        use QueueAttributeName::{Policy, QueueArn, RedrivePolicy};
        let call = self.client.get_queue_attributes().queue_url(&self.url);
        let answer = call.attribute_names(QueueArn).attribute_names(Policy).attribute_names(RedrivePolicy).send().await;
        let answer = answer.map_err(|error| self.unavailable("asking", "sqs:GetQueueAttributes", &error))?;
        let mut attributes = answer.attributes.unwrap_or_default();
        Ok(QueueFacts {
            arn: attributes.remove(&QueueArn).unwrap_or_default(),
            policy: attributes.remove(&Policy).filter(|policy| !policy.is_empty()),
            has_dead_letters: attributes.contains_key(&RedrivePolicy),
        })
    }
}

fn delivery(message: SqsMessage) -> Option<Delivery> {
    let (id, body, handle) = (message.message_id?, message.body?, message.receipt_handle?);
    let attribute = |name| message.attributes.as_ref().and_then(|all| all.get(&name));
    let receive_count = attribute(MessageSystemAttributeName::ApproximateReceiveCount);
    let receive_count = receive_count.and_then(|text| text.parse().ok()).unwrap_or(1);
    let sent_at = attribute(MessageSystemAttributeName::SentTimestamp).and_then(|text| milliseconds(text));
    let receipt = Receipt(format!("{id} {handle}"));
    Some(Delivery { message: Message { id, body, receive_count, sent_at }, receipt })
}

/// The time that SQS writes as milliseconds since 1970.
fn milliseconds(text: &str) -> Option<OffsetDateTime> {
    let milliseconds: i64 = text.parse().ok()?;
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000).ok()
}

/// Message id and SQS's receipt handle.
fn parts(receipt: &Receipt) -> (&str, &str) {
    receipt.0.split_once(' ').unwrap_or(("", &receipt.0))
}

/// Whole seconds, rounded up so that a lease is never shorter than asked for.
fn seconds(duration: Duration) -> i32 {
    let whole = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    whole.min(MAX_LEASE.into()) as i32
}

/// The error codes, with or without their namespace, by which SQS says that a receipt is worth nothing any more.
fn is_over(code: &str) -> bool {
    ["ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidIdFormat"].iter().any(|known| code.ends_with(known))
}

/// Why a call failed, and what to do.
fn cause<E, R>(error: &SdkError<E, R>, action: &str) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    let cause = match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        _ => DisplayErrorContext(error).to_string(),
    };
    let remedy = error.code().and_then(|code| remedy_for(code, action)).unwrap_or_else(|| match error {
        SdkError::TimeoutError(_) => "check that the SQS endpoint is reachable from here".into(),
        SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_) => {
            "check that the SQS endpoint is reachable and that margay has AWS credentials and a region".into()
        }
        _ => TRIED_AGAIN.into(),
    });
    format!("{cause}; {remedy}")
}

const TRIED_AGAIN: &str = "it is tried again";

/// What to do about an error code, if anything can be done.
fn remedy_for(code: &str, action: &str) -> Option<String> {
    match code {
        code if code.contains("NonExistentQueue") || code.contains("QueueDoesNotExist") => {
            Some("check queue.sqs.url, the account and the region".into())
        }
        code if code.contains("AccessDenied") || code.contains("UnauthorizedOperation") => {
            Some(format!("allow {action} on the queue to margay's identity"))
        }
        code if code.contains("Kms") => Some("allow kms:Decrypt on the queue's key to margay's identity".into()),
        code if code.contains("Token") || code.contains("AccessKeyId") || code.contains("Signature") => {
            Some("check margay's AWS credentials and the clock of this host".into())
        }
        _ => None,
    }
}

/// The region in a queue's URL, for both forms that AWS has: `sqs.<region>.amazonaws.com` and
/// `<region>.queue.amazonaws.com`.
fn region_of(url: &str) -> Option<&str> {
    let host = url.split_once("://")?.1.split('/').next()?;
    let aws = host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
    aws.strip_prefix("sqs.").or_else(|| aws.strip_suffix(".queue"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_read_from_the_queues_url() {
        for (url, region) in [
            ("https://sqs.eu-west-1.amazonaws.com/111122223333/logs", Some("eu-west-1")),
            ("https://sqs.cn-north-1.amazonaws.com.cn/111122223333/logs", Some("cn-north-1")),
            ("https://us-east-2.queue.amazonaws.com/111122223333/logs", Some("us-east-2")),
            ("http://127.0.0.1:5000/111122223333/logs", None),
            ("logs", None),
        ] {
            assert_eq!(region_of(url), region, "{url}");
        }
    }

    #[test]
    fn leases_are_whole_seconds_within_what_sqs_takes() {
        assert_eq!(seconds(Duration::ZERO), 0);
        assert_eq!(seconds(Duration::from_millis(1)), 1);
        assert_eq!(seconds(Duration::from_secs(30)), 30);
        assert_eq!(seconds(Duration::from_secs(1_000_000)), 43_200);
    }

    #[test]
    fn the_time_of_sending_is_in_milliseconds() {
        assert_eq!(milliseconds("1767323045678"), Some(time::macros::datetime!(2026-01-02 03:04:05.678 UTC)));
        for text in ["", "soon", "9223372036854775807"] {
            assert_eq!(milliseconds(text), None, "{text}");
        }
    }

    #[test]
    fn an_entry_that_sqs_refuses_is_a_lost_lease_and_any_other_failure_is_not() {
        let config = SqsConfig { url: Some("https://sqs.eu-west-1.amazonaws.com/1/q".into()), ..SqsConfig::default() };
        let sdk = SdkConfig::builder().behavior_version(aws_config::BehaviorVersion::latest()).build();
        let queue = SqsQueue::new(&sdk, &config).unwrap();
        let failed = |code: &str, sender_fault| {
            let failure = Failure::Entry { code: code.into(), reason: "why".into(), sender_fault };
            queue.failed(failure, "m", is_over, "deleting a message from", "sqs:DeleteMessage")
        };
        for code in ["ReceiptHandleIsInvalid", "AWS.SimpleQueueService.MessageNotInflight"] {
            let error = failed(code, true);
            assert!(matches!(&error, QueueError::LeaseLost { message, .. } if message == "m"), "{error}");
        }
        let denied = failed("AccessDenied", true).to_string();
        assert!(denied.contains("allow sqs:DeleteMessage"), "{denied}");
        assert!(matches!(failed("ReceiptHandleIsInvalid", false), QueueError::Unavailable(_)));
        let call =
            queue.failed(Failure::Call("why".into()), "m", is_over, "deleting a message from", "sqs:DeleteMessage");
        assert!(matches!(call, QueueError::Unavailable(text) if text.contains("/1/q") && text.contains("why")));
    }

    #[test]
    fn a_missing_url_is_told_with_the_setting() {
        let error = SqsQueue::new(&SdkConfig::builder().build(), &SqsConfig::default()).err().unwrap();
        assert!(error.to_string().contains("queue.sqs.url"));
    }
}
