//! Where events are kept for ever: the port that the pipeline knows, and what stands behind it.
//!
//! `none` keeps nothing and says so. `committer` keeps buffers, one a table (a table holds the rows of one log type), and
//! commits them through the `catalog` port; `commit` is the protocol that shows every row once, whatever crashes, hangs
//! or loses an answer, and `claims` is what the lake knows of an object while it is being read. `memory` is the honest
//! fake of a catalog.

pub mod catalog;
mod claims;
mod commit;
pub mod committer;
#[cfg(test)]
mod contract;
pub mod memory;
pub mod none;
mod rows;
mod table;
#[cfg(test)]
mod storm_tests;
#[cfg(test)]
mod tests;
mod ticket;

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use rows::{Rows, Slice};
pub use ticket::CommitTicket;

use crate::model::{EventBatch, ObjectId};
use crate::state::{ClaimToken, StateError};

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
pub enum LakeError {
    /// The claim was lost to another owner, whose rows are the ones that count.
    #[error("the claim on object {0} was lost to another owner before its rows were durable")]
    Fenced(ObjectId),
    /// The rows are not known to be durable; the object has to be read again under a new claim.
    #[error("{0}")]
    Failed(String),
}

impl From<StateError> for LakeError {
    fn from(error: StateError) -> LakeError {
        match error {
            StateError::Fenced(object) => LakeError::Fenced(object),
            StateError::Store(reason) => LakeError::Failed(reason),
        }
    }
}

/// Takes batches in and makes them durable in its own time, each row once: what an earlier reading of the same object has
/// made durable is left out.
#[async_trait]
pub trait Lake: Send + Sync {
    /// Buffers a batch of the claimed object; the batches of a claim come one after the other, in the order of the object.
    /// Waits while the buffers are full. The ticket is answered after the commits that hold the batch. After an error, of this or
    /// of a ticket, nothing more is taken under the claim.
    ///
    /// The tickets of a claim are kept until its last batch is in: while one lives, the lake knows the claim.
    async fn append(&self, claim: &ClaimToken, batch: Arc<EventBatch>) -> Result<CommitTicket, LakeError>;

    /// Commits what is buffered, without waiting for size or age.
    async fn flush(&self) -> Result<(), LakeError>;
}
