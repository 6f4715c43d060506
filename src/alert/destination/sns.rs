//! Amazon SNS: the generic payload for programs, readable text for subscribers by e-mail.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_sns::Client;
use aws_sdk_sns::error::{DisplayErrorContext, ProvideErrorMetadata};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Destination, SendError};
use crate::alert::message::Message;
use crate::model::{Taken, TopicArn};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub topic_arn: String,
    /// To assume for publishing.
    pub role_arn: Option<String>,
}

/// A message has at most 256 KiB, and the payload stands in it as a string that is escaped once more.
const PAYLOAD: usize = 80_000;
const EMAIL: usize = 20_000;
const SUBJECT: usize = 100;
/// When SNS does not take the alert's title.
const PLAIN_SUBJECT: &str = "New alert from margay";

/// Gives the SDK's configuration for a region and a role.
pub type SdkFor<'a> = &'a (dyn Fn(String, Option<String>) -> BoxFuture<'static, SdkConfig> + Sync);

pub struct Sns {
    name: String,
    topic: TopicArn,
    client: Client,
}

impl Sns {
    pub async fn new(name: String, config: &Config, sdk: SdkFor<'_>) -> Result<Sns, String> {
        let topic = TopicArn::parse(&config.topic_arn).ok_or_else(|| {
            format!("has the topic `{}`; write `arn:aws:sns:<region>:<account>:<name>`", config.topic_arn)
        })?;
        let client = Client::new(&sdk(topic.region().to_owned(), config.role_arn.clone()).await);
        Ok(Sns { name, topic, client })
    }

    async fn publish(&self, message: &Message<'_>, subject: &str) -> Result<(), (String, String)> {
        let fifo = self.topic.as_str().ends_with(".fifo");
        let published = self
            .client
            .publish()
            .topic_arn(self.topic.as_str())
            .message_structure("json")
            .subject(subject)
            .message(body(message).to_string())
            .set_message_group_id(fifo.then(|| group(&message.alert.rule_id)))
            .set_message_deduplication_id(fifo.then(|| digest(&message.key)))
            .send()
            .await;
        published.map(|_| ()).map_err(|error| {
            let code = error.code().unwrap_or_default().to_owned();
            let reason = match error.message() {
                Some(message) if !code.is_empty() => format!("{code}: {message}"),
                _ => DisplayErrorContext(&error).to_string(),
            };
            (code, reason)
        })
    }
}

#[async_trait]
impl Destination for Sns {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, message: &Message<'_>) -> Result<Taken, SendError> {
        let mut published = self.publish(message, &subject(&message.title)).await;
        if published.as_ref().is_err_and(|(code, _)| code.starts_with("InvalidParameter")) {
            published = self.publish(message, PLAIN_SUBJECT).await;
        }
        published
            .map(|()| Taken::default())
            .map_err(|(code, reason)| judged(&code, format!("SNS did not take it: {reason}")))
    }
}

/// An answer that will be the same until a person changes something, or one that may not.
pub(super) fn judged(code: &str, reason: String) -> SendError {
    let refusals = ["AccessDenied", "Authorization", "InvalidParameter", "NotFound", "NonExistent", "InvalidMessage"];
    let is_refusal = refusals.iter().any(|refusal| code.contains(refusal));
    if is_refusal { SendError::refused(reason) } else { SendError::unavailable(reason) }
}

fn body(message: &Message<'_>) -> Value {
    json!({ "default": message.generic(PAYLOAD).to_string(), "email": message.readable(EMAIL) })
}

/// A subject has at most 100 characters of ASCII, and begins with one that is seen.
fn subject(title: &str) -> String {
    let title: String = title.chars().map(|char| if char.is_ascii() { char } else { '?' }).collect();
    if title.len() <= SUBJECT { title } else { format!("{}...", &title[..SUBJECT - 3]) }
}

/// A FIFO's group: the rule, of the characters that a group may have and at most 128 of them.
pub(super) fn group(rule: &str) -> String {
    let plain = rule.chars().map(|char| if char.is_ascii_graphic() { char } else { '_' });
    plain.take(128).collect()
}

/// A FIFO's deduplication id for a key of any length and spelling.
pub(super) fn digest(key: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_short_ascii() {
        assert_eq!(subject("New Alert: é"), "New Alert: ?");
        let long = subject(&"é".repeat(300));
        assert!(long.len() == SUBJECT && long.ends_with("..."), "{long}");
    }

    #[test]
    fn what_a_person_must_mend_is_a_refusal() {
        use crate::alert::destination::Failure;
        for (code, failure) in [
            ("AuthorizationError", Failure::Refused),
            ("AWS.SimpleQueueService.NonExistentQueue", Failure::Refused),
            ("Throttled", Failure::Unavailable(None)),
            ("", Failure::Unavailable(None)),
        ] {
            assert_eq!(judged(code, String::new()).failure, failure, "{code}");
        }
    }
}
