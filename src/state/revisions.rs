//! Which revision of each log type's schema events were made of last, and which fields their records have beside it.
//! A later schema is held to the revision, because events that are kept have its columns.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::StateError;
use crate::model::{Revision, SeenField, UnknownField};

/// Unknown fields that are remembered of one log type. Whoever writes logs can invent names without end.
pub const FIELD_LIMIT: u32 = 500;

/// Names of log types are equal in any case.
#[async_trait]
pub trait Revisions: Send + Sync {
    /// The last revision of every log type that has one, by name.
    async fn revisions(&self) -> Result<Vec<Revision>, StateError>;

    /// Remembers these revisions, each the next of its log type: 1, or one more than the last. When one of them is not,
    /// because another process was faster, nothing is written and the answer is false. The unknown fields of these log
    /// types are forgotten, since the new schema may have them.
    async fn revise(&self, revisions: &[Revision], now: OffsetDateTime) -> Result<bool, StateError>;

    /// Remembers unknown fields, up to [`FIELD_LIMIT`] of a log type, and answers with those that are new.
    async fn discover(
        &self,
        log_type: &str,
        fields: &[UnknownField],
        now: OffsetDateTime,
    ) -> Result<Vec<UnknownField>, StateError>;

    /// By path.
    async fn unknown_fields(&self, log_type: &str) -> Result<Vec<SeenField>, StateError>;
}
