//! Where events are kept for ever: a port, and until the tables exist an adapter that keeps nothing and says so.
//!
//! `none` is what the daemon runs with, `memory` is the honest fake whose commits really can be late or lost.

pub mod memory;
pub mod none;

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::model::EventBatch;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `none`: events are evaluated and not kept.
    #[serde(rename = "type")]
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    #[default]
    None,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct LakeError(pub String);

/// Answers once the batch behind it is durable, or never will be.
#[must_use = "a message may only be acknowledged when its tickets are committed"]
#[derive(Debug)]
pub struct CommitTicket(oneshot::Receiver<Result<(), LakeError>>);

impl CommitTicket {
    /// A ticket and the means to answer it. Dropping the sender answers with an error.
    pub fn new() -> (oneshot::Sender<Result<(), LakeError>>, CommitTicket) {
        let (answer, ticket) = oneshot::channel();
        (answer, CommitTicket(ticket))
    }

    /// Waits until the batch is durable.
    pub async fn committed(self) -> Result<(), LakeError> {
        self.0.await.unwrap_or_else(|_| Err(LakeError("the lake dropped a batch before its commit".into())))
    }
}

/// Takes batches in and makes them durable in its own time.
#[async_trait]
pub trait Lake: Send + Sync {
    /// Buffers a batch. Waits while the buffers are full. The ticket is answered after the commit that holds the batch.
    async fn append(&self, batch: Arc<EventBatch>) -> Result<CommitTicket, LakeError>;

    /// Commits what is buffered, without waiting for size or age.
    async fn flush(&self) -> Result<(), LakeError>;
}
