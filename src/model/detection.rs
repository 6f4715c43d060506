//! What evaluating rules over events gives: matches and faults. Values, not log lines: both can become alerts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::alert::Severity;
use super::alerting::Alerting;
use super::event::RowId;

/// The metadata of a rule that outlives its evaluation: what grouping, alerts and routing need.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleMeta {
    pub id: Arc<str>,
    /// Hash of the rule's source and metadata.
    pub version: String,
    pub display_name: String,
    pub severity: Severity,
    pub description: String,
    pub reference: String,
    pub runbook: String,
    pub dedup_period_minutes: u32,
    pub threshold: u64,
    /// Fields whose most frequent values sum an alert up, `name` or `name:within:it`; empty: all indicators.
    pub summary_attributes: Vec<String>,
    /// `false`: matches become signals only.
    pub create_alert: bool,
    pub tags: Vec<String>,
    pub reports: BTreeMap<String, Vec<String>>,
    /// Names or ids of destinations that override the choice by severity.
    pub output_ids: Vec<String>,
    pub alerting: Alerting,
}

/// One event for which a rule returned true.
#[derive(Clone, Debug)]
pub struct Match {
    pub rule: Arc<RuleMeta>,
    pub row_id: RowId,
    pub log_type: Arc<str>,
    pub event_time: OffsetDateTime,
    pub detail: MatchDetail,
}

/// What the functions of a rule said about a match, defaults applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatchDetail {
    pub title: String,
    pub dedup: String,
    pub severity: Severity,
    pub description: String,
    pub reference: String,
    pub runbook: String,
    /// `None`: not decided by the rule; empty: deliver nowhere.
    pub destinations: Option<Vec<String>>,
    /// JSON text of an object.
    pub context: String,
    pub unique: Option<String>,
}

/// A rule that raised, overran its time or killed its worker on one event.
#[derive(Clone, Debug)]
pub struct RuleFault {
    pub rule: Arc<RuleMeta>,
    pub row_id: RowId,
    pub log_type: Arc<str>,
    pub event_time: OffsetDateTime,
    /// Class of the exception; `RuleTimeout` and `RuleCrash` are margay's own.
    pub error_type: String,
    /// `repr` of the exception.
    pub short_error: String,
    /// Text of the exception with file, line and function.
    pub message: String,
}

/// A rule that was switched off for a while because it overran its time or killed its worker again and again. For whoever
/// tells people of it; the calls that brought it about are faults of their own.
#[derive(Clone, Debug)]
pub struct SwitchedOff {
    pub rule: Arc<RuleMeta>,
    pub pause: Duration,
    /// What it did the last time.
    pub cause: String,
}

impl fmt::Display for SwitchedOff {
    /// Why, for whoever is to mend it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; it is switched off for {} s", self.cause, self.pause.as_secs())
    }
}

/// The outcome of one batch.
#[derive(Clone, Debug, Default)]
pub struct Detections {
    pub matches: Vec<Match>,
    pub faults: Vec<RuleFault>,
    /// Rules that this batch switched off. Each has a fault here, too.
    pub switched_off: Vec<SwitchedOff>,
}

impl Detections {
    pub fn is_empty(&self) -> bool {
        self.matches.is_empty() && self.faults.is_empty()
    }
}
