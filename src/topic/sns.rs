//! The production adapter: Amazon SNS. The only place that names the SNS SDK.
//!
//! The answer goes to SNS's API in the topic's region, never to the URL that stands in the message.
//! Source: Amazon SNS API reference, ConfirmSubscription.

use async_trait::async_trait;
use aws_config::{Region, SdkConfig};
use aws_sdk_sns::Client;
use aws_sdk_sns::error::{DisplayErrorContext, ProvideErrorMetadata};

use super::{ConfirmError, Confirmations};
use crate::model::TopicArn;

/// The error codes by which SNS says no; the same request will not do better at once.
const REFUSALS: [&str; 6] = [
    "InvalidParameter",
    "InvalidParameterException",
    "InvalidParameterValue",
    "NotFound",
    "SubscriptionLimitExceeded",
    "FilterPolicyLimitExceeded",
];

pub struct SnsTopics {
    sdk: SdkConfig,
}

impl SnsTopics {
    pub fn new(sdk: &SdkConfig) -> SnsTopics {
        SnsTopics { sdk: sdk.clone() }
    }
}

#[async_trait]
impl Confirmations for SnsTopics {
    async fn confirm(&self, topic: &TopicArn, token: &str) -> Result<(), ConfirmError> {
        // A subscription is confirmed once in its life: a client that is kept would hardly ever be used again.
        let region = Region::new(topic.region().to_owned());
        let client = Client::from_conf(aws_sdk_sns::config::Builder::from(&self.sdk).region(region).build());
        let Err(error) = client.confirm_subscription().topic_arn(topic.as_str()).token(token).send().await else {
            return Ok(());
        };
        let code = error.code().unwrap_or_default().to_owned();
        let cause = match error.message() {
            Some(message) if !code.is_empty() => format!("{code}: {message}"),
            _ => DisplayErrorContext(&error).to_string(),
        };
        let attempt = format!("confirming the subscription to topic {topic} failed: {cause}");
        if code.contains("Authorization") || code.contains("AccessDenied") {
            let remedy = "allow sns:ConfirmSubscription on the topic to margay's identity";
            return Err(ConfirmError::Refused(format!("{attempt}; {remedy}")));
        }
        if REFUSALS.contains(&code.as_str()) {
            // A token ends after a few days, and every new subscription of the queue has a new one.
            let remedy = "subscribe the queue to the topic again, which sends a new token";
            return Err(ConfirmError::Refused(format!("{attempt}; {remedy}")));
        }
        Err(ConfirmError::Unavailable(format!("{attempt}; it is tried again")))
    }
}
