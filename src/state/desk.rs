//! What people do with alerts: they change where one stands, comment, look at what raised it, and send it again. Every
//! change is written down with who made it.

use async_trait::async_trait;
use serde::Serialize;
use time::OffsetDateTime;

use super::StateError;
use crate::model::{AlertStatus, RowId, as_rfc3339};

/// A change of one or several alerts; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TriageChange {
    pub status: Option<AlertStatus>,
    /// Nobody, if empty.
    pub assignee: Option<String>,
    pub comment: Option<String>,
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
