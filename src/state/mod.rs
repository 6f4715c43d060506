//! What must survive a restart, behind one port: object ledger, commits into the lake, alert windows and matches, outbox,
//! quarantine, revisions of schemas, what rules keep between events, leases of duties, times of scheduled queries.
//!
//! `sqlite` is the embedded adapter for one daemon, `postgres` the one for many, `memory` the honest fake of tests.
//! `columns` and `archive` are what both databases read alike. `transient` holds what rules keep for a command alone.
//! `window` is the pure grouping decision that every adapter applies inside its transaction, and `rehearsal` over what is
//! only tried; `storm` the one about what is delivered of a rule in an hour, `stopped` what that and others have
//! stopped, `notices` what margay has to tell of itself.
//! No vendor type leaves the adapters. `versions` says which margay may work with which database; `route` chooses the
//! destinations of a new alert; `contract` is what every adapter is held to.

mod archive;
mod backlog;
mod columns;
mod commits;
#[cfg(test)]
mod contract;
mod desk;
#[cfg(test)]
pub(crate) mod fixtures;
mod key_value;
mod leases;
#[cfg(test)]
pub(crate) mod memory;
mod notices;
pub mod postgres;
mod rehearsal;
mod revisions;
mod route;
mod schedules;
pub mod sqlite;
mod stopped;
mod storm;
mod transient;
mod versions;
mod window;

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use backlog::{Archive, Backlog, Ended, KeptFilter, KnownVersion, LedgerEntry, Mending, ObjectFilter, Upkeep};
pub use commits::{CommitId, Commits, Doubt, Earlier, Intended, Part};
pub use leases::{Lease, Leases};
pub use revisions::{FIELD_LIMIT, Revisions};
pub use schedules::{Conclusion, KeptRows, LastRun, Planned, Schedules, run_of};

pub use desk::{AlertMatch, Audited, Desk, OWN_NAME, Summary, TriageChange};
pub use key_value::{Caller, Changed, KeyValue, Remember, Told};
pub use notices::{Condition, Fact, Noted, Notice, Notices};
pub use postgres::check_url;
pub use rehearsal::{GroupTold, Rehearsal, Rehearsed};
pub use route::{Reason, Routed, explain, route};
pub use stopped::{StoppedRule, Why, stopped};
pub use storm::{Lift, Storm, Storms};
pub use transient::TransientItems;
pub use window::Hit;

use crate::model::{
    Alert, AlertKind, AlertStatus, Code, Detections, News, ObjectId, ObjectRef, Receiver, Reject, Severity, Taken,
};

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The claim was lost to another owner; nothing was written.
    #[error("the claim on object {0} was lost to another owner")]
    Fenced(ObjectId),
    #[error("{0}")]
    Store(String),
}

/// How an object ended. What a person can mend is not final: an object that is `Unrouted`, `Missing`, `Archived`,
/// `Parked` or `Quarantined` is tried again when it is announced again. `Partial` is an end for the moment: the same
/// message brings the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectState {
    /// All its records are events or kept rejects, durable.
    Committed,
    /// No bytes.
    Empty,
    /// A key that ends with `/`.
    Folder,
    /// In an excluded prefix of its source.
    Excluded,
    /// No source takes this bucket and key.
    Unrouted,
    Missing,
    Archived,
    /// Overwritten before it was read.
    Superseded,
    /// Refused to the role; waits for a permission.
    Parked,
    /// Could not be decoded; kept with its reason.
    Quarantined,
    /// Decoded up to a fault, which may have happened on the way; waits to be read once more.
    Partial,
}

impl ObjectState {
    pub const ALL: [ObjectState; 11] = [
        ObjectState::Committed,
        ObjectState::Empty,
        ObjectState::Folder,
        ObjectState::Excluded,
        ObjectState::Unrouted,
        ObjectState::Missing,
        ObjectState::Archived,
        ObjectState::Superseded,
        ObjectState::Parked,
        ObjectState::Quarantined,
        ObjectState::Partial,
    ];

    /// Whether an object in this state is never claimed again.
    pub fn is_final(self) -> bool {
        use ObjectState::{Archived, Missing, Parked, Partial, Quarantined, Unrouted};
        !matches!(self, Unrouted | Missing | Archived | Parked | Quarantined | Partial)
    }

    /// Whether an object in this state is never read again, so that how far its rows have come need not be known. What was
    /// overwritten may be put there again.
    pub fn ends_reading(self) -> bool {
        self.is_final() && self != ObjectState::Superseded
    }

    pub fn as_str(self) -> &'static str {
        match self {
            ObjectState::Committed => "committed",
            ObjectState::Empty => "empty",
            ObjectState::Folder => "folder",
            ObjectState::Excluded => "excluded",
            ObjectState::Unrouted => "unrouted",
            ObjectState::Missing => "missing",
            ObjectState::Archived => "archived",
            ObjectState::Superseded => "superseded",
            ObjectState::Parked => "parked",
            ObjectState::Quarantined => "quarantined",
            ObjectState::Partial => "partial",
        }
    }
}

/// What the ledger remembers of a finished object.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectOutcome {
    pub state: ObjectState,
    /// Why, for a state that is not `Committed`; of a committed object, that not all of its rejects are kept. Empty otherwise.
    pub reason: String,
    pub events: u64,
    pub rejects: u64,
    pub bytes: u64,
}

impl ObjectOutcome {
    /// An outcome without any event.
    pub fn without_events(state: ObjectState, reason: impl Into<String>) -> ObjectOutcome {
        ObjectOutcome { state, reason: reason.into(), events: 0, rejects: 0, bytes: 0 }
    }
}

/// The right to process one object, until its lease ends. `fence` grows with every claim of the object, so that a
/// holder that lost its lease is recognised and refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimToken {
    pub object: ObjectId,
    pub fence: i64,
}

/// How the tries of an object went since it was seen first or last had an outcome. `Partial` does not count as one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attempts {
    /// Claims, with the one that was just granted: 1 is the first try.
    pub started: u32,
    /// Claims that ended by neither outcome nor release: whoever held them died over them, or lost them unheard.
    pub crashed: u32,
    /// Claims that were given up, by the reason for it; those that ended as `Partial` under that name.
    pub given_up: BTreeMap<String, u32>,
}

impl Attempts {
    pub fn given_up_for(&self, reason: &str) -> u32 {
        self.given_up.get(reason).copied().unwrap_or_default()
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    Granted(ClaimToken, Attempts),
    /// Finished before, with this state.
    Done(ObjectState),
    /// A live owner works on it until then, unless it renews.
    Held(OffsetDateTime),
}

/// The object ledger: which object is in whose hands, and how it ended.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Claims an object until `until`, unless it is done or held by a claim that is live at `now`. What is not finally done
    /// is tried again, but not for a message that was sent (`announced`) before the claim that came to that outcome: its answer
    /// is there already. Else two such objects of one message would bring each other back for ever. A message that was sent
    /// while that claim was held is not answered by it: what it tells of may have come after the look. Nor is
    /// `Superseded` final of an object whose version is not pinned: its key may name another one by now, and the same bytes may
    /// have been written there again.
    async fn claim(
        &self,
        object: &ObjectRef,
        source: &str,
        announced: Option<OffsetDateTime>,
        now: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<Claim, StateError>;

    async fn renew(&self, token: &ClaimToken, until: OffsetDateTime) -> Result<(), StateError>;

    /// Ends the claim without an outcome, so that the object can be claimed at once. `reason` is a word of a fixed set,
    /// counted in [`Attempts::given_up`]; `detail` the whole story. A committed object that was reopened stays as it is, and
    /// all that [`Commits`] knows of it goes. Repeating it with the same token is harmless.
    async fn release(
        &self,
        token: &ClaimToken,
        reason: &str,
        detail: &str,
        now: OffsetDateTime,
    ) -> Result<(), StateError>;

    /// Ends the claim with an outcome, and with one that ends its reading all that [`Commits`] knows of the object and all
    /// calls that [`KeyValue`] remembers of its events. An object that was read to
    /// its end sheds the rejects of earlier claims that this one did not see again: those were of damaged bytes. Repeating it
    /// with the same token is harmless.
    async fn finish(&self, token: &ClaimToken, outcome: &ObjectOutcome, now: OffsetDateTime) -> Result<(), StateError>;

    /// The outcome of a finished object.
    async fn outcome(&self, object: ObjectId) -> Result<Option<ObjectOutcome>, StateError>;
}

/// What one call of [`AlertStore::record`] changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// The alerts created by this call.
    pub opened: Vec<Alert>,
    /// Matches that were new; repeats are not counted.
    pub matches: u64,
    /// Of the alerts, so many are not delivered one by one.
    pub held: u64,
    /// Where each match counts, then each fault, in the order in which they were given.
    pub placed: Vec<Placed>,
}

/// Where a match or a fault counts. Of a repeat: where it was counted at first.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// The alert of its window, which need not exist yet; `None` of a signal.
    pub alert_id: Option<String>,
    /// When the window began. Of a repeat whose window ended below its threshold this is no longer known, and it is when the
    /// hit was recorded.
    pub window_began: Option<OffsetDateTime>,
    pub recorded: OffsetDateTime,
}

/// Which alerts to list, newest first. What is `None` or empty asks for nothing.
#[derive(Clone, Debug, Default)]
pub struct AlertFilter {
    pub rule_id: Option<String>,
    pub severity_at_least: Option<Severity>,
    pub severities: Vec<Severity>,
    pub kind: Option<AlertKind>,
    pub statuses: Vec<AlertStatus>,
    /// Of its title, whatever the case of ASCII letters.
    pub title_contains: Option<String>,
    pub created_since: Option<OffsetDateTime>,
    pub created_before: Option<OffsetDateTime>,
    pub least_events: Option<u64>,
    pub most_events: Option<u64>,
    /// One of these is enough.
    pub log_types: Vec<String>,
    pub assignee: Option<String>,
    pub oldest_first: bool,
    /// Only what comes behind it in the order of the list.
    pub after: Option<AlertPlace>,
    pub limit: Option<u32>,
}

/// A place in the order of alerts: by time of creation, then by id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AlertPlace {
    pub created_at: OffsetDateTime,
    pub id: String,
}

impl From<&Alert> for AlertPlace {
    fn from(alert: &Alert) -> AlertPlace {
        AlertPlace { created_at: alert.created_at, id: alert.id.clone() }
    }
}

/// Alerts, the windows that group matches into them, and the matches themselves.
#[async_trait]
pub trait AlertStore: Send + Sync {
    /// Records matches and faults: each (rule, row id) counts once however often it comes; windows and alerts are
    /// updated, and deliveries of each new alert to those of `destinations` that [`route`] chooses are written, all in one transaction that fails as
    /// [`StateError::Fenced`] when the claim is lost.
    async fn record(
        &self,
        token: &ClaimToken,
        detections: &Detections,
        destinations: &[Receiver],
        now: OffsetDateTime,
    ) -> Result<Recorded, StateError>;

    async fn alerts(&self, filter: &AlertFilter) -> Result<Vec<Alert>, StateError>;

    async fn alert(&self, id: &str) -> Result<Option<Alert>, StateError>;
}

/// One delivery of an alert to a destination that has not succeeded yet.
#[derive(Clone, Debug)]
pub struct PendingDelivery {
    pub alert: Alert,
    pub destination: String,
    /// Attempts so far, or since it was sent again.
    pub attempts: u32,
    /// How often a person has sent it again.
    pub resent: u32,
    /// What there is to tell.
    pub news: News,
    /// What the destination calls the ticket that it has made of the alert.
    pub ticket: Option<String>,
}

/// What of the outbox is still to be sent to one destination.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    pub destination: String,
    pub deliveries: u64,
    /// When the oldest alert of these was created.
    pub oldest: OffsetDateTime,
}

/// How an attempt to deliver failed.
#[derive(Clone, Copy, Debug)]
pub struct Failed<'a> {
    pub reason: &'a str,
    pub status: Option<u16>,
    /// `None`: there is none.
    pub next_attempt: Option<OffsetDateTime>,
}

/// Deliveries, written in the transaction that opened their alert.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Deliveries to one destination whose next attempt is due, oldest first. Each is handed out to one caller for `lease`.
    async fn due(
        &self,
        destination: &str,
        now: OffsetDateTime,
        lease: std::time::Duration,
        limit: u32,
    ) -> Result<Vec<PendingDelivery>, StateError>;

    /// Ends the lease until `leased_until` of deliveries that [`Outbox::due`] has handed out and that were not tried.
    async fn give_back(
        &self,
        destination: &str,
        alerts: &[&str],
        leased_until: OffsetDateTime,
    ) -> Result<(), StateError>;

    /// `news` is what was sent: that it arrived says nothing about what there is to tell since. A ticket that is known stays
    /// so, unless `taken` has another.
    async fn delivered(
        &self,
        alert: &str,
        destination: &str,
        news: News,
        taken: &Taken,
        now: OffsetDateTime,
    ) -> Result<(), StateError>;

    async fn failed(
        &self,
        alert: &str,
        destination: &str,
        news: News,
        failed: &Failed<'_>,
        now: OffsetDateTime,
    ) -> Result<(), StateError>;

    /// What is still to be sent, by destination, configured or not.
    async fn waiting(&self) -> Result<Vec<Waiting>, StateError>;
}

/// Something that could not be processed, kept with its reason.
#[derive(Clone, Debug, PartialEq)]
pub struct Quarantined {
    /// Short, the same whenever it is listed; see [`Archive`].
    pub id: String,
    pub kind: QuarantineKind,
    /// What it is: a message id, an object's address, or that with the ordinal of a record.
    pub subject: String,
    /// Of a message a [`Code`] and prose, of an object its state before that, of a record prose.
    pub reason: String,
    pub raw: Bytes,
    pub at: OffsetDateTime,
}

impl Quarantined {
    /// The word that its reason begins with; of an object whose state says enough, the state. Records have none.
    pub fn code(&self) -> Option<&str> {
        match self.kind {
            QuarantineKind::Message => Code::of(&self.reason).map(Code::as_str),
            QuarantineKind::Object => match self.reason.split_once(": ") {
                Some((state, reason)) => Some(Code::of(reason).map_or(state, |code| code.as_str())),
                None => Some(&self.reason),
            },
            QuarantineKind::Record => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QuarantineKind {
    Message,
    /// An object whose state is not final; its bytes are still in the bucket.
    Object,
    Record,
}

#[async_trait]
pub trait Quarantine: Send + Sync {
    /// Keeps a message whose body is no notification, or one record of a notification that is not usable.
    async fn keep_message(
        &self,
        message_id: &str,
        body: &str,
        reason: &str,
        now: OffsetDateTime,
    ) -> Result<(), StateError>;

    /// Keeps rejects of a claimed object, in the place of what an earlier claim kept of the same record. Repeating it is
    /// harmless.
    async fn keep_rejects(&self, token: &ClaimToken, rejects: &[Reject], now: OffsetDateTime)
    -> Result<(), StateError>;

    /// Everything that is kept aside, newest first.
    async fn quarantined(&self, limit: u32) -> Result<Vec<Quarantined>, StateError>;
}

/// The whole of it.
pub trait StateStore:
    Ledger
    + AlertStore
    + Outbox
    + Quarantine
    + Commits
    + Backlog
    + Mending
    + Archive
    + Upkeep
    + Revisions
    + Desk
    + Notices
    + Storms
    + KeyValue
    + Leases
    + Schedules
{
}

impl<T> StateStore for T where
    T: Ledger
        + AlertStore
        + Outbox
        + Quarantine
        + Commits
        + Backlog
        + Mending
        + Archive
        + Upkeep
        + Revisions
        + Desk
        + Notices
        + Storms
        + KeyValue
        + Leases
        + Schedules
{
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    #[serde(rename = "type")]
    pub kind: Kind,
    pub sqlite: SqliteConfig,
    pub postgres: PostgresConfig,
    /// How long the identity of an object that ended for good is remembered, in days. A queue must not deliver older
    /// messages.
    pub retention_days: u32,
    /// How long messages and records that were kept aside stay, in days.
    pub quarantine_retention_days: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            kind: Kind::Sqlite,
            sqlite: SqliteConfig::default(),
            postgres: PostgresConfig::default(),
            retention_days: 30,
            quarantine_retention_days: 365,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Sqlite,
    Postgres,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SqliteConfig {
    /// The database file; created with its folder. Relative to the configuration file.
    pub path: PathBuf,
}

impl Default for SqliteConfig {
    fn default() -> SqliteConfig {
        SqliteConfig { path: PathBuf::from("margay.db") }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresConfig {
    /// `postgres://USER@HOST:5432/DATABASE`, with libpq's parameters behind a `?`.
    pub url: Option<String>,
    /// Instead of a password in the URL: the file whose text it is. Relative to the configuration file.
    pub password_file: Option<PathBuf>,
    /// Of this process.
    pub max_connections: u32,
    /// The server ends a statement that takes longer.
    pub statement_timeout_seconds: u32,
}

impl Default for PostgresConfig {
    fn default() -> PostgresConfig {
        PostgresConfig { url: None, password_file: None, max_connections: 10, statement_timeout_seconds: 60 }
    }
}
