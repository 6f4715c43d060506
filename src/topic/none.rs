//! For a queue that no topic can be subscribed to: there is nothing to confirm.

use async_trait::async_trait;

use super::{ConfirmError, Confirmations};
use crate::model::TopicArn;

pub struct NoTopics;

#[async_trait]
impl Confirmations for NoTopics {
    async fn confirm(&self, topic: &TopicArn, _: &str) -> Result<(), ConfirmError> {
        Err(ConfirmError::Refused(format!("topic {topic} can't be subscribed: this daemon's queue is no SQS queue")))
    }
}
