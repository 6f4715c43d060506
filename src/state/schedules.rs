//! When scheduled queries are due, and how their last runs went.
//!
//! A run is a query and the time for which it is due. It is claimed in the [`Ledger`](super::Ledger) like an object, which says
//! who runs it and recognises who has lost it; what its rules find counts under that claim. Here is what outlives a run.
//! The rows that a query found are kept from when they are known until its run has ended: whoever takes over goes on with the
//! same rows, though the tables have grown meanwhile.

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::StateError;
use crate::model::ObjectRef;

/// What the ledger knows runs by. No bucket has such a name.
pub const RUNS: &str = "margay:scheduled";

/// A run as the ledger knows it.
pub fn run_of(query: &str, due: OffsetDateTime) -> ObjectRef {
    ObjectRef {
        bucket: RUNS.into(),
        key: format!("{query}/{}", crate::model::rfc3339(due)),
        version_id: Some("1".into()),
        etag: None,
        size: None,
        region: None,
        sequencer: None,
    }
}

/// A query that was planned.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    pub query: String,
    /// Its schedule, by which `due` was chosen.
    pub schedule: String,
    /// The run that is next, or at work.
    pub due: OffsetDateTime,
    /// How often that was tried in vain, and before when it is not tried again.
    pub tries: u32,
    pub not_before: OffsetDateTime,
    /// Runs that failed since the last one that succeeded.
    pub failures: u32,
    pub last: Option<LastRun>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastRun {
    #[serde(with = "time::serde::rfc3339")]
    pub due: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub ended: OffsetDateTime,
    pub rows: u64,
    /// There were more rows than rules were given.
    pub is_cut: bool,
    /// Matches of its rules.
    pub matches: u64,
    /// Why it failed, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The rows of a run, as they were kept first.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptRows {
    pub rows: Bytes,
    pub is_cut: bool,
    pub at: OffsetDateTime,
}

/// What comes after a try of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Conclusion {
    /// Another try of the same run, from then on.
    Again { not_before: OffsetDateTime },
    /// The run has ended; the next one is due then.
    Ended { next: OffsetDateTime, run: LastRun },
}

#[async_trait]
pub trait Schedules: Send + Sync {
    /// Every query that was ever planned, by name.
    async fn planned(&self) -> Result<Vec<Planned>, StateError>;

    /// Plans a query that is not planned yet, or whose schedule is another: then the run that is next, or at work, is replaced
    /// by that of `due`, unless rows of it are kept: then nothing changes, so that it can be planned anew after that run. With
    /// `instead_of`, the run of that time is replaced, where it is still next and no rows of it are kept.
    async fn plan(
        &self,
        query: &str,
        schedule: &str,
        due: OffsetDateTime,
        instead_of: Option<OffsetDateTime>,
    ) -> Result<(), StateError>;

    /// Keeps the rows of a run, unless some are kept, and gives those that are; `None` where that run is over. Without
    /// rows, it asks for them.
    async fn keep_rows(
        &self,
        query: &str,
        due: OffsetDateTime,
        rows: Option<&KeptRows>,
    ) -> Result<Option<KeptRows>, StateError>;

    /// Ends a try of a run; `false`, and nothing happens, where that run is over.
    async fn conclude(&self, query: &str, due: OffsetDateTime, conclusion: &Conclusion) -> Result<bool, StateError>;

    /// Forgets runs in the ledger that were claimed last or ended before a time, so many at once, and tells how many. Nothing
    /// depends on them: a run that is over is not planned again.
    async fn forget_runs(&self, before: OffsetDateTime, limit: u32) -> Result<u64, StateError>;
}

impl Planned {
    pub(super) fn new(query: &str, schedule: &str, due: OffsetDateTime) -> Planned {
        Planned {
            query: query.to_owned(),
            schedule: schedule.to_owned(),
            due,
            tries: 0,
            not_before: due,
            failures: 0,
            last: None,
        }
    }

    /// The run that `plan` leaves next. Every adapter asks this inside its transaction.
    pub(super) fn replanned(
        self,
        schedule: &str,
        due: OffsetDateTime,
        instead_of: Option<OffsetDateTime>,
        has_rows: bool,
    ) -> Planned {
        let replaces = match instead_of {
            Some(replaced) => replaced == self.due,
            None => self.schedule != schedule,
        };
        match replaces && !has_rows {
            true => Planned { schedule: schedule.to_owned(), due, tries: 0, not_before: due, ..self },
            // With the schedule it was chosen by: whoever looks after the run sees by that whether there is another.
            false => self,
        }
    }

    /// After a try.
    pub(super) fn concluded(self, conclusion: &Conclusion) -> Planned {
        match conclusion.clone() {
            Conclusion::Again { not_before } => Planned { tries: self.tries + 1, not_before, ..self },
            Conclusion::Ended { next, run } => {
                let failures = if run.error.is_some() { self.failures + 1 } else { 0 };
                Planned { due: next, tries: 0, not_before: next, failures, last: Some(run), ..self }
            }
        }
    }
}
