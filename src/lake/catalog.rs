//! The port to the tables of the lake, as a table format with snapshots and optimistic concurrency has them.
//!
//! A table is a chain of commits, and its head is the last of them. A commit names the head that it was made for and is
//! refused when the table has another one by then; that compare-and-set is all that the exactly-once protocol asks of a
//! catalog (see `lake/commit.rs`).

use async_trait::async_trait;
use time::OffsetDateTime;

use super::rows::Rows;
use crate::state::CommitId;

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct CatalogError(pub String);

/// What is known to have become of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is the new head, and durable.
    Committed,
    /// The table had another head. Nothing of it is in the table, and nothing will be.
    Conflict,
}

/// A commit to look for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wanted {
    pub commit: CommitId,
    /// It is no older than this, by the clock of the daemon that began it: older history need not be read.
    pub since: OffsetDateTime,
}

/// A table is named by the log type of its rows; it exists once it was asked for.
#[async_trait]
pub trait Catalog: Send + Sync + 'static {
    /// A head of a table, as it was when it was loaded.
    type Head: Send + Sync;
    /// Rows that are written, and in no table yet.
    type Staged: Send + Sync;

    /// The head as it is now: every commit that was answered before this call is in its history.
    async fn load(&self, table: &str) -> Result<Self::Head, CatalogError>;

    /// Those of `wanted` that are in the history of `head`. Where that history was cut, so that one of them could have been
    /// there, this is an error and not a "no".
    async fn find(&self, head: &Self::Head, wanted: &[Wanted]) -> Result<Vec<CommitId>, CatalogError>;

    /// Writes rows where a commit can take them from. The commit's id goes with them, into the table's history.
    async fn stage(&self, table: &str, commit: CommitId, rows: &Rows) -> Result<Self::Staged, CatalogError>;

    /// Makes the rows visible, all or none, if the table still has this head. After an error, or when the call is given up,
    /// the outcome is unknown: the commit may be in the table, or may still arrive and then meets the same condition.
    async fn commit(&self, head: &Self::Head, staged: &Self::Staged) -> Result<Outcome, CatalogError>;
}
