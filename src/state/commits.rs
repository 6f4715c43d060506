//! The ledger of commits into the lake: which rows of an object a commit was meant to hold, and which are known to be
//! there. What the lake does with it, and why that shows every row once, is told in `lake/commit.rs`.
//!
//! Rows of one object reach one table in the order of their positions, so one position says how far an object has come
//! in a table.

use std::fmt;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{ClaimToken, StateError};
use crate::model::{ObjectId, Position};

/// Names one commit to one table, which holds one set of rows and never another. 32 hex digits as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommitId(pub [u8; 16]);

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The rows of one object in one commit: all that follow those of the commits before it, up to `through`.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub token: ClaimToken,
    pub through: Position,
}

/// An earlier intent, of whatever owner, whose commit may have reached the table or may still do so.
#[derive(Clone, Debug, PartialEq)]
pub struct Doubt {
    pub commit: CommitId,
    pub object: ObjectId,
    pub through: Position,
    /// When it was written down: the commit is no older.
    pub since: OffsetDateTime,
}

/// What came before an intent, for its objects in its table, at the moment that it was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Earlier {
    /// How far those objects are known to have come that have rows in the table. An earlier owner may have noted it a
    /// moment ago.
    pub progress: Vec<(ObjectId, Position)>,
    /// All other intents.
    pub doubts: Vec<Doubt>,
}

/// The answer to an intent.
#[derive(Clone, Debug, PartialEq)]
pub enum Intended {
    /// Written, under claims that held.
    Written(Earlier),
    /// The claims on these objects are lost; nothing was written.
    Refused(Vec<ObjectId>),
}

#[async_trait]
pub trait Commits: Send + Sync {
    /// How far an object is known to have come, in each table that holds rows of it.
    async fn progress(&self, object: ObjectId) -> Result<Vec<(String, Position)>, StateError>;

    /// Writes down, in one transaction and before anything else happens, that `commit` will hold these rows of `table`.
    /// It must survive a power cut. Repeating it checks the claims again.
    async fn intend(
        &self,
        commit: CommitId,
        table: &str,
        parts: &[Part],
        now: OffsetDateTime,
    ) -> Result<Intended, StateError>;

    /// The commit is in its table: its intent becomes progress. The commits in `dead` are not and never will be: their
    /// intents go. Repeating it is harmless.
    async fn committed(&self, commit: CommitId, dead: &[CommitId]) -> Result<(), StateError>;
}
