//! What people do with alerts: they change where one stands, comment, look at what raised it, and send it again. Every
//! change is written down with who made it.

use async_trait::async_trait;
use serde::Serialize;
use time::OffsetDateTime;

use super::{AlertFilter, StateError};
use crate::model::{AlertStatus, RowId, as_rfc3339};

/// Who makes a change that no person made.
pub const OWN_NAME: &str = "margay";

/// A change of one or several alerts; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TriageChange {
    pub status: Option<AlertStatus>,
    /// Nobody, if empty.
    pub assignee: Option<String>,
    pub comment: Option<String>,
    /// Destinations that hear of it when the alert ends by this, of those that have heard of the alert.
    pub tell: Vec<String>,
}

impl TriageChange {
    /// To nothing at all.
    pub fn is_empty(&self) -> bool {
        self.status.is_none() && self.assignee.is_none() && self.comment.is_none()
    }

    /// Whether what is told to destinations is that the alert has ended.
    pub(super) fn ends(&self) -> bool {
        self.status.is_some_and(AlertStatus::is_ended)
    }
}

/// How many alerts there are of each kind that people count, most first, days oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    pub alerts: u64,
    /// Matches that these count.
    pub events: u64,
    #[serde(serialize_with = "as_counts")]
    pub rules: Vec<(String, u64)>,
    /// There are more rules than are named.
    pub more_rules: bool,
    #[serde(serialize_with = "as_counts")]
    pub severities: Vec<(String, u64)>,
    #[serde(serialize_with = "as_counts")]
    pub statuses: Vec<(String, u64)>,
    #[serde(serialize_with = "as_counts")]
    pub types: Vec<(String, u64)>,
    /// By the UTC day of their creation, as 2026-01-02.
    #[serde(serialize_with = "as_counts")]
    pub days: Vec<(String, u64)>,
}

/// As `{"name": "HIGH", "alerts": 3}`.
fn as_counts<S: serde::Serializer>(counts: &[(String, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Count<'a> {
        name: &'a str,
        alerts: u64,
    }
    serializer.collect_seq(counts.iter().map(|(name, alerts)| Count { name, alerts: *alerts }))
}

impl Summary {
    /// Rules that are named.
    pub const RULES: usize = 100;

    /// Puts everything in its order.
    pub(super) fn arrange(&mut self) {
        let by_count = |one: &(String, u64), other: &(String, u64)| (other.1, &one.0).cmp(&(one.1, &other.0));
        for counts in [&mut self.rules, &mut self.severities, &mut self.statuses, &mut self.types] {
            counts.sort_by(by_count);
        }
        self.more_rules = self.rules.len() > Summary::RULES;
        self.rules.truncate(Summary::RULES);
        self.days.sort();
    }
}

/// One line of an alert's history.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Audited {
    #[serde(serialize_with = "as_rfc3339")]
    pub at: OffsetDateTime,
    pub by: String,
    /// `status`, `assignee`, `comment` or `resent`.
    pub field: String,
    pub before: String,
    pub after: String,
}

/// One match or fault that an alert counts.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertMatch {
    #[serde(serialize_with = "as_text")]
    pub row_id: RowId,
    pub log_type: String,
    #[serde(serialize_with = "as_rfc3339")]
    pub event_time: OffsetDateTime,
    pub title: String,
    pub context: serde_json::Value,
}

fn as_text<S: serde::Serializer>(row: &RowId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(row)
}

#[async_trait]
pub trait Desk: Send + Sync {
    /// Changes every alert of `ids` that there is, in one transaction; gives these. What changes nothing is not written
    /// down.
    async fn triage(
        &self,
        ids: &[String],
        change: &TriageChange,
        by: &str,
        now: OffsetDateTime,
    ) -> Result<Vec<String>, StateError>;

    /// Every change of an alert, oldest first.
    async fn history(&self, alert: &str) -> Result<Vec<Audited>, StateError>;

    /// Counts the alerts that a filter takes; its order, place and limit mean nothing here.
    async fn summary(&self, filter: &AlertFilter) -> Result<Summary, StateError>;

    /// What an alert counts, in the order of the row ids, behind `after`.
    async fn counted_by(&self, alert: &str, after: Option<RowId>, limit: u32) -> Result<Vec<AlertMatch>, StateError>;

    /// Makes deliveries of an alert due once more: a new row where it was not sent before, else as if nothing had been
    /// tried. False when there is no such alert.
    async fn resend(
        &self,
        alert: &str,
        destinations: &[String],
        by: &str,
        now: OffsetDateTime,
    ) -> Result<bool, StateError>;
}
