//! Duties that one of many daemons does at a time: who may do which, and since whom.
//!
//! A lease has an end, so that the duty of a daemon that died goes to another. It has a fence, too, which grows with every
//! holder: whoever lost a lease without noticing is told so when it asks for more time. What a holder does between two of
//! these questions may meet what the next one does; a duty has to bear that.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::StateError;

/// The right to do a duty, until it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub duty: String,
    pub fence: i64,
}

#[async_trait]
pub trait Leases: Send + Sync {
    /// Takes a duty until `until`; `None` while the lease of another has not ended at `now`.
    async fn lease(&self, duty: &str, now: OffsetDateTime, until: OffsetDateTime) -> Result<Option<Lease>, StateError>;

    /// Moves the end of a lease, later or earlier; `false`, and nothing happens, where another has taken the duty since.
    async fn prolong(&self, lease: &Lease, until: OffsetDateTime) -> Result<bool, StateError>;
}

/// What is known of a duty that somebody had.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Held {
    pub(super) fence: i64,
    pub(super) until: OffsetDateTime,
}

/// The fence of the next holder, if there may be one now. Every adapter asks this inside its transaction.
pub(super) fn next(held: Option<Held>, now: OffsetDateTime) -> Option<i64> {
    match held {
        None => Some(1),
        Some(held) => (held.until <= now).then_some(held.fence + 1),
    }
}
