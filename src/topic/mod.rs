//! Confirms the queue's subscriptions to SNS topics: a port and its adapters. Whose topic may subscribe the queue is
//! not known here; `pipeline/` asks only for topics that may.
//!
//! `sns` is the production adapter, `none` belongs to queues that no topic can feed, `memory` is the honest fake.

pub mod memory;
pub mod none;
pub mod sns;

#[cfg(test)]
mod contract;

use async_trait::async_trait;

use crate::model::TopicArn;

#[derive(Debug, thiserror::Error)]
pub enum ConfirmError {
    /// SNS will not: the token is spent or has expired, the topic is gone, a permission is missing.
    #[error("{0}")]
    Refused(String),
    /// Worth trying again later.
    #[error("{0}")]
    Unavailable(String),
}

/// Answers the question that SNS puts into a queue before a topic of another account may send to it.
#[async_trait]
pub trait Confirmations: Send + Sync {
    /// Tells SNS that the queue wants the topic's messages. Confirming twice is harmless. The token is a secret.
    async fn confirm(&self, topic: &TopicArn, token: &str) -> Result<(), ConfirmError>;
}
