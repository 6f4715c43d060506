//! Amazon SQS: the generic payload as a message. In a FIFO queue, alerts of one rule keep their order and repeats are
//! dropped by the queue.

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{DisplayErrorContext, ProvideErrorMetadata};
use serde::{Deserialize, Serialize};
use url::Url;

use super::sns::{SdkFor, digest, group, judged};
use super::{Destination, SendError};
use crate::alert::message::Message;
use crate::model::Taken;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub queue_url: String,
    /// Where the URL does not say it.
    pub region: Option<String>,
    /// To assume for sending.
    pub role_arn: Option<String>,
}

/// A message has at most 256 KiB.
const PAYLOAD: usize = 200_000;

pub struct Sqs {
    name: String,
    queue_url: String,
    client: Client,
}

impl Sqs {
    pub async fn new(name: String, config: &Config, sdk: SdkFor<'_>) -> Result<Sqs, String> {
        let url = Url::parse(&config.queue_url).map_err(|error| format!("has no URL in `queue_url`: {error}"))?;
        let region = config.region.clone().or_else(|| region(&url)).ok_or_else(|| {
            format!("has a queue whose URL `{}` tells no region; give it as `region`", config.queue_url)
        })?;
        let client = Client::new(&sdk(region, config.role_arn.clone()).await);
        Ok(Sqs { name, queue_url: config.queue_url.clone(), client })
    }
}

#[async_trait]
impl Destination for Sqs {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, message: &Message<'_>) -> Result<Taken, SendError> {
        let fifo = self.queue_url.ends_with(".fifo");
        let sent = self
            .client
            .send_message()
            .queue_url(&self.queue_url)
            .message_body(message.generic(PAYLOAD).to_string())
            .set_message_group_id(fifo.then(|| group(&message.alert.rule_id)))
            .set_message_deduplication_id(fifo.then(|| digest(&message.key)))
            .send()
            .await;
        let Err(error) = sent else { return Ok(Taken::default()) };
        let code = error.code().unwrap_or_default().to_owned();
        let cause = match error.message() {
            Some(message) if !code.is_empty() => format!("{code}: {message}"),
            _ => DisplayErrorContext(&error).to_string(),
        };
        Err(judged(&code, format!("SQS did not take it: {cause}")))
    }
}

/// `https://sqs.<region>.amazonaws.com/…`
fn region(url: &Url) -> Option<String> {
    let rest = url.host_str()?.strip_prefix("sqs.")?;
    let (region, domain) = rest.split_once('.')?;
    domain.starts_with("amazonaws.com").then(|| region.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_tells_its_region() {
        let of = |url| region(&Url::parse(url).unwrap());
        assert_eq!(of("https://sqs.eu-central-1.amazonaws.com/1/q").as_deref(), Some("eu-central-1"));
        assert_eq!(of("https://sqs.cn-north-1.amazonaws.com.cn/1/q").as_deref(), Some("cn-north-1"));
        assert_eq!(of("http://localhost:4566/1/q"), None);
    }
}
