//! The production queue: Amazon SQS. The only place that names the SQS SDK.
//!
//! A receipt carries the message's id beside SQS's handle, so that a lost lease can be told by its message.

use std::time::Duration;

use async_trait::async_trait;
use aws_config::{Region, SdkConfig};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{Message as SqsMessage, MessageSystemAttributeName, QueueAttributeName};
use aws_smithy_types::timeout::TimeoutConfig;

use super::{Backlog, Delivery, MessageQueue, QueueError, Receipt, SqsConfig};
use crate::model::Message;

/// SQS gives and takes at most this many messages a call.
const BATCH: usize = 10;

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
        Ok(SqsQueue {
            client: Client::from_conf(client.build()),
            url,
            visibility: config.visibility_timeout_seconds.min(MAX_LEASE) as i32,
            wait: wait as i32,
        })
    }

    fn unavailable<E, R>(&self, attempt: &str, action: &str, error: SdkError<E, R>) -> QueueError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: std::fmt::Debug,
    {
        let remedy = remedy(&error, action);
        let cause = match (error.code(), error.message()) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(code), None) => code.to_owned(),
            _ => DisplayErrorContext(&error).to_string(),
        };
        QueueError::Unavailable(format!("{attempt} the queue {} failed: {cause}; {remedy}", self.url))
    }

    /// Changes when a delivery becomes visible. SQS's refusal means that the delivery is over.
    async fn change_visibility(&self, receipt: &Receipt, seconds: i32, attempt: &str) -> Result<(), QueueError> {
        let (message, handle) = parts(receipt);
        let call = self.client.change_message_visibility().queue_url(&self.url).receipt_handle(handle);
        let Err(error) = call.visibility_timeout(seconds).send().await else { return Ok(()) };
        // SQS answers InvalidParameterValue for a message that is gone, and for a lease beyond its twelve hours.
        if is_over(error.code()) || error.code().is_some_and(|code| code.ends_with("InvalidParameterValue")) {
            return Err(lost(message, &error));
        }
        Err(self.unavailable(attempt, "sqs:ChangeMessageVisibility", error))
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
            .max_number_of_messages(max.min(BATCH) as i32)
            .wait_time_seconds(self.wait)
            .visibility_timeout(self.visibility)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .send()
            .await
            .map_err(|error| self.unavailable("receiving from", "sqs:ReceiveMessage", error))?;
        // Every message has an id, a handle and a body; one without them could be neither read nor deleted.
        Ok(answer.messages.unwrap_or_default().into_iter().filter_map(delivery).collect())
    }

    async fn extend(&self, receipt: &Receipt, lease: Duration) -> Result<(), QueueError> {
        self.change_visibility(receipt, seconds(lease), "extending a lease at").await
    }

    async fn acknowledge(&self, receipt: Receipt) -> Result<(), QueueError> {
        let (message, handle) = parts(&receipt);
        let call = self.client.delete_message().queue_url(&self.url).receipt_handle(handle);
        match call.send().await {
            Ok(_) => Ok(()),
            Err(error) if is_over(error.code()) => Err(lost(message, &error)),
            Err(error) => Err(self.unavailable("deleting a message from", "sqs:DeleteMessage", error)),
        }
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
            .map_err(|error| self.unavailable("asking for the length of", "sqs:GetQueueAttributes", error))?;
        let attributes = answer.attributes.unwrap_or_default();
        let count = |name| attributes.get(&name).and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(Backlog {
            waiting: count(ApproximateNumberOfMessages) + count(ApproximateNumberOfMessagesDelayed),
            in_flight: count(ApproximateNumberOfMessagesNotVisible),
        })
    }
}

fn delivery(message: SqsMessage) -> Option<Delivery> {
    let (id, body, handle) = (message.message_id?, message.body?, message.receipt_handle?);
    let count =
        message.attributes.as_ref().and_then(|all| all.get(&MessageSystemAttributeName::ApproximateReceiveCount));
    let receive_count = count.and_then(|text| text.parse().ok()).unwrap_or(1);
    let receipt = Receipt(format!("{id} {handle}"));
    Some(Delivery { message: Message { id, body, receive_count }, receipt })
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
fn is_over(code: Option<&str>) -> bool {
    let codes = ["ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidIdFormat"];
    code.is_some_and(|code| codes.iter().any(|known| code.ends_with(known)))
}

fn lost<E: ProvideErrorMetadata, R>(message: &str, error: &SdkError<E, R>) -> QueueError {
    let reason = error.message().or(error.code()).unwrap_or("SQS refused the receipt");
    QueueError::LeaseLost { message: message.to_owned(), reason: reason.to_owned() }
}

fn remedy<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>, action: &str) -> String {
    match (error, error.code().unwrap_or_default()) {
        (_, code) if code.contains("NonExistentQueue") || code.contains("QueueDoesNotExist") => {
            "check queue.sqs.url, the account and the region".into()
        }
        (_, code) if code.contains("AccessDenied") || code.contains("UnauthorizedOperation") => {
            format!("allow {action} on the queue to margay's identity")
        }
        (_, code) if code.contains("Kms") => "allow kms:Decrypt on the queue's key to margay's identity".into(),
        (_, code) if code.contains("Token") || code.contains("AccessKeyId") || code.contains("Signature") => {
            "check margay's AWS credentials and the clock of this host".into()
        }
        (SdkError::TimeoutError(_), _) => "check that the SQS endpoint is reachable from here".into(),
        (SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_), _) => {
            "check that the SQS endpoint is reachable and that margay has AWS credentials and a region".into()
        }
        _ => "it is tried again".into(),
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
    fn a_missing_url_is_told_with_the_setting() {
        let error = SqsQueue::new(&SdkConfig::builder().build(), &SqsConfig::default()).err().unwrap();
        assert!(error.to_string().contains("queue.sqs.url"));
    }
}
