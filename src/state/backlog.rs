//! What waits for a person or a command, and what keeps the store small: ports of their own, beside those that the way
//! of a message needs.
//!
//! [`Backlog`] tells how objects ended, [`Mending`] takes up rejects of committed objects again, [`Archive`] finds one
//! kept thing by its id, [`Upkeep`] remembers how far a listing has come and forgets what is old.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{Attempts, ClaimToken, ObjectOutcome, ObjectState, QuarantineKind, Quarantined, StateError};
use crate::model::{ObjectId, ObjectRef, Reject};

/// Which objects of the ledger. An empty filter takes all of the asked states.
#[derive(Clone, Debug, Default)]
pub struct ObjectFilter {
    pub source: Option<String>,
    pub bucket: Option<String>,
    /// Start of the key.
    pub prefix: Option<String>,
    /// Finished at this time or later, …
    pub since: Option<OffsetDateTime>,
    /// … and before this one.
    pub until: Option<OffsetDateTime>,
}

/// A finished object as the ledger has it.
#[derive(Clone, Debug, PartialEq)]
pub struct LedgerEntry {
    pub object: ObjectRef,
    /// Empty when no source took it.
    pub source: String,
    pub state: ObjectState,
    pub reason: String,
}

/// How an object ended, when, and after which tries.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    pub object: ObjectRef,
    /// Empty when no source took it.
    pub source: String,
    pub outcome: ObjectOutcome,
    pub at: OffsetDateTime,
    /// When the last of its tries began.
    pub claimed: OffsetDateTime,
    pub tries: u32,
}

/// One of the objects that a key has named.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownVersion {
    pub object: ObjectRef,
    /// `None` while it is not finished.
    pub state: Option<ObjectState>,
    pub reason: String,
    pub finished: Option<OffsetDateTime>,
    /// How its tries went since the last outcome that was not `Partial`; the claim that is open now has not crashed yet.
    pub attempts: Attempts,
}

#[async_trait]
pub trait Backlog: Send + Sync {
    /// Objects in one of these states that are not final, and in nobody's hands at `now`, in the order of their ids, after
    /// `after`. One that was claimed again and came to no outcome is in the state that it had.
    async fn open_objects(
        &self,
        states: &[ObjectState],
        filter: &ObjectFilter,
        after: Option<ObjectId>,
        limit: u32,
        now: OffsetDateTime,
    ) -> Result<Vec<LedgerEntry>, StateError>;

    /// Objects that ended after `after` and not after `until`, by the time of that and without those that are only
    /// `Partial`. There are about `limit`: those that ended at one moment come together.
    async fn ended(
        &self,
        after: Option<OffsetDateTime>,
        until: OffsetDateTime,
        limit: u32,
    ) -> Result<Vec<Ended>, StateError>;

    /// Everything that the ledger knows of a key, the newest first.
    async fn versions(&self, bucket: &str, key: &str) -> Result<Vec<KnownVersion>, StateError>;
}

#[async_trait]
pub trait Mending: Send + Sync {
    /// Committed objects with rejects that nobody holds at `now`, in the order of their ids, after `after`.
    async fn with_rejects(
        &self,
        filter: &ObjectFilter,
        after: Option<ObjectId>,
        limit: u32,
        now: OffsetDateTime,
    ) -> Result<Vec<LedgerEntry>, StateError>;

    /// Rejects of an object in the order of their ordinals, after `after`.
    async fn rejects(&self, object: ObjectId, after: Option<u64>, limit: u32) -> Result<Vec<Reject>, StateError>;

    /// Claims a committed object, which stays committed, to try its rejects again. `None` when it is not committed or
    /// another holds it.
    async fn reopen(
        &self,
        object: ObjectId,
        now: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<Option<ClaimToken>, StateError>;

    /// These rejects became events: they leave, and the object's counts follow. The claim goes on.
    async fn mend(&self, token: &ClaimToken, ordinals: &[u64], events: u64) -> Result<(), StateError>;
}

/// Which kept things to list.
#[derive(Clone, Debug, Default)]
pub struct KeptFilter {
    pub kind: Option<QuarantineKind>,
    pub since: Option<OffsetDateTime>,
    pub until: Option<OffsetDateTime>,
    pub subject_contains: Option<String>,
}

/// Kept things by their ids. An id is `m`, `o` or `r` and hex digits: of the body's hash for a message, of the object's
/// id for an object, and of that with the ordinal behind a `-` for a record. Equal bodies of several messages share one.
#[async_trait]
pub trait Archive: Send + Sync {
    /// Newest first.
    async fn kept(&self, filter: &KeptFilter, limit: u32) -> Result<Vec<Quarantined>, StateError>;

    /// What has this id; nothing for an id that is unknown or no id.
    async fn find(&self, id: &str) -> Result<Vec<Quarantined>, StateError>;

    /// How often the object was claimed and when last, since the ledger knows it; `None` when it does not.
    async fn claims(&self, object: ObjectId) -> Result<Option<(u64, OffsetDateTime)>, StateError>;

    /// Kept messages in the order of message id and then body, after that pair; for going through all of them.
    async fn messages(
        &self,
        filter: &KeptFilter,
        after: Option<&Quarantined>,
        limit: u32,
    ) -> Result<Vec<Quarantined>, StateError>;

    /// A kept message has ended well and leaves.
    async fn forget_message(&self, kept: &Quarantined) -> Result<(), StateError>;
}

#[async_trait]
pub trait Upkeep: Send + Sync {
    async fn checkpoint(&self, name: &str) -> Result<Option<String>, StateError>;

    /// Durable when this returns. `None` removes it.
    async fn save_checkpoint(&self, name: &str, position: Option<&str>, now: OffsetDateTime) -> Result<(), StateError>;

    /// Forgets at most `limit` objects that ended for good before then, or that nobody holds or has held since then and that
    /// came to no outcome, with everything that belongs to them, and tells how many. Objects with kept rejects stay as long
    /// as those.
    async fn forget_objects(&self, before: OffsetDateTime, limit: u32) -> Result<u64, StateError>;

    /// Forgets at most `limit` messages, `limit` rejects and `limit` unrouted objects that were kept before then.
    async fn forget_kept(&self, before: OffsetDateTime, limit: u32) -> Result<u64, StateError>;

    /// Objects that ended, or were claimed last, before this may have been forgotten. Of unrouted ones that says nothing.
    async fn forgotten_before(&self) -> Result<Option<OffsetDateTime>, StateError>;
}
