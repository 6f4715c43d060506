//! The explanation as values: what a program gets as JSON, and what `cli` turns into text. No decision is made here.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::{AlertKind, Map, Severity, StreamType};

/// About a message, or about one object that was asked for by its address.
#[derive(Debug, Default, Serialize)]
pub struct Told {
    /// `None` for an address.
    pub notification: Option<NoticeTold>,
    pub objects: Vec<ObjectTold>,
}

impl Told {
    /// Whether nothing stops on its way.
    pub fn is_processed(&self) -> bool {
        self.notification.as_ref().is_none_or(|notice| notice.stop.is_none())
            && self.objects.iter().all(|object| object.stop.is_none())
    }
}

/// What a message says.
#[derive(Debug, Default, Serialize)]
pub struct NoticeTold {
    /// Name of the format; empty for a body that is no notification.
    pub format: &'static str,
    pub objects: usize,
    /// What each ignored record is about.
    pub ignored: Vec<String>,
    pub bad: Vec<BadTold>,
    /// What a message about the notifications themselves says, and what the daemon would do.
    pub setup: Option<String>,
    pub stop: Option<Halt>,
}

#[derive(Debug, Serialize)]
pub struct BadTold {
    pub reason: String,
    pub raw: String,
}

/// Where something comes to an end that is not the alert, why, and what the daemon does about it.
#[derive(Debug, PartialEq, Serialize)]
pub struct Halt {
    pub at: &'static str,
    pub why: String,
    pub then: String,
}

#[derive(Debug, Default, Serialize)]
pub struct ObjectTold {
    pub address: String,
    pub version_id: Option<String>,
    pub etag: Option<String>,
    pub size: Option<u64>,
    /// It was announced under this key, where there is nothing.
    pub announced_as: Option<String>,
    /// It was brought back from an archive.
    pub restored: bool,
    pub source: Option<SourceTold>,
    /// Sources of the bucket, when none takes the object.
    pub sources_of_bucket: Vec<String>,
    pub identity: Option<IdentityTold>,
    pub decoded: Option<DecodedTold>,
    pub read: Option<ReadTold>,
    /// The first of the records.
    pub records: Vec<RecordTold>,
    /// The first of the events.
    pub events: Vec<Map>,
    /// `None` without a state file.
    pub ledger: Option<LedgerTold>,
    pub rules: Option<RulesTold>,
    pub stop: Option<Halt>,
}

#[derive(Debug, Serialize)]
pub struct SourceTold {
    pub name: String,
    /// The longest prefix over all sources that fits.
    pub prefix: String,
    pub excluded_by: Option<String>,
    /// Other prefixes that fit; they are not asked.
    pub others: Vec<CandidateTold>,
    pub log_types: Vec<String>,
}

#[derive(Debug, PartialEq, Serialize)]
pub struct CandidateTold {
    pub source: String,
    pub prefix: String,
}

/// Who asks the store, and where.
#[derive(Debug, Serialize)]
pub struct IdentityTold {
    /// `None`: margay's own identity.
    pub role_arn: Option<String>,
    pub session: Option<String>,
    pub has_external_id: bool,
    pub region: Option<RegionTold>,
    pub expected_owner: Option<String>,
    pub kms_key_arn: Option<String>,
    pub requester_pays: bool,
    pub endpoint: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct RegionTold {
    pub name: String,
    pub from: &'static str,
}

/// How the object turned out to be packed, encoded and split.
#[derive(Debug, Serialize)]
pub struct DecodedTold {
    pub layers: Vec<&'static str>,
    pub encoding: Option<&'static str>,
    pub stream: Option<StreamTold>,
}

#[derive(Debug, Serialize)]
pub struct StreamTold {
    pub kind: StreamType,
    pub envelope: String,
    pub delimited: bool,
    pub why: &'static str,
}

/// How much of the object the rest is about.
#[derive(Debug, Default, Serialize)]
pub struct ReadTold {
    pub extent: Extent,
    pub stored_bytes: u64,
    pub decoded_bytes: u64,
    pub events: u64,
    pub rejects: u64,
    pub events_by_log_type: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Extent {
    /// As far as the shown records need it.
    #[default]
    Part,
    Whole,
    /// Until reading or decoding it failed.
    UpToFault,
}

#[derive(Debug, Serialize)]
pub struct RecordTold {
    /// From 0.
    pub ordinal: u64,
    #[serde(flatten)]
    pub end: RecordEnd,
    /// Log types that were tried before it was settled, each with what it had against the record.
    pub misses: Vec<MissTold>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum RecordEnd {
    Event {
        log_type: String,
        events: usize,
    },
    /// A header or a comment.
    Consumed,
    Reject {
        reason: String,
    },
}

#[derive(Debug, Serialize)]
pub struct MissTold {
    pub log_type: String,
    pub reason: String,
}

/// What the ledger has of the object's key.
#[derive(Debug, Default, Serialize)]
pub struct LedgerTold {
    /// `None`: this very object is not known.
    pub entry: Option<EntryTold>,
    /// Other versions of the key that it knows, the newest first, and no more than a few.
    pub others: Vec<EntryTold>,
}

#[derive(Clone, Debug, Serialize)]
pub struct EntryTold {
    pub version_id: Option<String>,
    pub etag: Option<String>,
    /// `unfinished` while it has no outcome: in work, or waiting for its message to come back.
    pub state: &'static str,
    /// Announced again, it is read no more.
    pub is_final: bool,
    pub reason: String,
    pub finished: Option<String>,
    pub started: u32,
    pub crashed: u32,
    /// Tries that ended without an outcome, by reason.
    pub given_up: BTreeMap<String, u32>,
}

/// What the rules say to the events that were read.
#[derive(Debug, Default, Serialize)]
pub struct RulesTold {
    /// By rule, kind and dedup string, in the order of their first event.
    pub hits: Vec<HitTold>,
    /// Groups beyond those that are shown.
    pub more: u64,
    /// Log types of the events that no rule waits for.
    pub unwatched: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct HitTold {
    pub rule: String,
    pub kind: AlertKind,
    /// Of the first event.
    pub title: String,
    pub severity: Severity,
    pub dedup: String,
    pub events: u64,
    /// Events that an alert takes.
    pub threshold: u64,
    /// `false`: matches are recorded, and no alert comes of them.
    pub creates_alert: bool,
    pub destinations: Vec<String>,
    /// The text of the exception, of a rule that failed.
    pub fault: Option<String>,
}
