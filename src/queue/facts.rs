//! How a queue is set up: a port beside the queue, for telling why nothing comes.

use async_trait::async_trait;

use super::QueueError;

/// What a queue says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueFacts {
    pub arn: String,
    /// The policy, as JSON, that says who may send.
    pub policy: Option<String>,
    /// Whether messages that nobody takes go to another queue in the end.
    pub has_dead_letters: bool,
}

#[async_trait]
pub trait QueueSettings: Send + Sync {
    async fn facts(&self) -> Result<QueueFacts, QueueError>;
}
