//! An alert as it is stored, listed and delivered.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};
use time::OffsetDateTime;

use super::stamp::rfc3339;

/// Severity of a rule or an alert, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    Info,
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    pub const ALL: [Severity; 5] =
        [Severity::Info, Severity::Low, Severity::Medium, Severity::High, Severity::Critical];

    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "INFO",
            Severity::Low => "LOW",
            Severity::Medium => "MEDIUM",
            Severity::High => "HIGH",
            Severity::Critical => "CRITICAL",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Severity {
    type Err = String;

    /// Ignores case.
    fn from_str(text: &str) -> Result<Severity, String> {
        Severity::ALL
            .into_iter()
            .find(|severity| severity.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| format!("`{text}` is not a severity; use INFO, LOW, MEDIUM, HIGH or CRITICAL"))
    }
}

/// What raised an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AlertKind {
    Rule,
    RuleError,
    /// margay's own: something about it, or about what it reads, needs a person.
    SystemError,
}

impl AlertKind {
    pub const ALL: [AlertKind; 3] = [AlertKind::Rule, AlertKind::RuleError, AlertKind::SystemError];

    pub fn as_str(self) -> &'static str {
        match self {
            AlertKind::Rule => "RULE",
            AlertKind::RuleError => "RULE_ERROR",
            AlertKind::SystemError => "SYSTEM_ERROR",
        }
    }
}

impl FromStr for AlertKind {
    type Err = String;

    /// Ignores case.
    fn from_str(text: &str) -> Result<AlertKind, String> {
        let known = AlertKind::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text));
        known.ok_or_else(|| {
            let names: Vec<&str> = AlertKind::ALL.into_iter().map(AlertKind::as_str).collect();
            format!("`{text}` is not a type of alert; use {}", names.join(", "))
        })
    }
}

/// Where an alert stands with the people who triage it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum AlertStatus {
    Open,
    Triaged,
    Closed,
    Resolved,
}

impl AlertStatus {
    pub const ALL: [AlertStatus; 4] =
        [AlertStatus::Open, AlertStatus::Triaged, AlertStatus::Closed, AlertStatus::Resolved];

    pub fn as_str(self) -> &'static str {
        match self {
            AlertStatus::Open => "OPEN",
            AlertStatus::Triaged => "TRIAGED",
            AlertStatus::Closed => "CLOSED",
            AlertStatus::Resolved => "RESOLVED",
        }
    }
}

impl FromStr for AlertStatus {
    type Err = String;

    /// Ignores case.
    fn from_str(text: &str) -> Result<AlertStatus, String> {
        AlertStatus::ALL
            .into_iter()
            .find(|status| status.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| format!("`{text}` is not a status; use OPEN, TRIAGED, CLOSED or RESOLVED"))
    }
}

impl AlertStatus {
    /// Nobody works on it any more.
    pub fn is_ended(self) -> bool {
        matches!(self, AlertStatus::Closed | AlertStatus::Resolved)
    }
}

/// What a delivery tells of an alert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum News {
    #[default]
    Opened,
    /// It counts ten times as many events as when it was told last.
    Updated,
    Resolved,
}

impl News {
    pub fn as_str(self) -> &'static str {
        match self {
            News::Opened => "OPENED",
            News::Updated => "UPDATED",
            News::Resolved => "RESOLVED",
        }
    }
}

/// What a destination answered when it took a delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Of HTTP, where there is one.
    pub status: Option<u16>,
    /// What the destination calls the ticket that it has made of the alert, where it makes one.
    pub ticket: Option<String>,
}

impl Taken {
    /// By a destination that makes no ticket.
    pub fn with(status: Option<u16>) -> Taken {
        Taken { status, ticket: None }
    }
}

/// One alert: a group of matches (or errors) of one rule with one dedup string within one window.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// 32 hex digits.
    pub id: String,
    #[serde(rename = "type")]
    pub kind: AlertKind,
    pub rule_id: String,
    pub rule_version: String,
    pub rule_display_name: String,
    pub title: String,
    pub severity: Severity,
    pub description: String,
    pub reference: String,
    pub runbook: String,
    /// What `alert_context` returned for the match that opened the window.
    pub context: serde_json::Value,
    pub dedup: String,
    pub destinations: Option<Vec<String>>,
    pub status: AlertStatus,
    pub event_count: u64,
    /// Sorted.
    pub log_types: Vec<String>,
    #[serde(serialize_with = "as_rfc3339")]
    pub first_event_match_time: OffsetDateTime,
    #[serde(serialize_with = "as_rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(serialize_with = "as_rfc3339")]
    pub updated_at: OffsetDateTime,
    pub tags: Vec<String>,
    pub reports: BTreeMap<String, Vec<String>>,
    /// Where it was sent: one entry for each attempt, and one for a destination that has seen none; only alerts that are
    /// listed have it.
    pub delivery_responses: Vec<DeliveryResponse>,
    #[serde(flatten)]
    pub triage: Triage,
}

/// One attempt to deliver an alert.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryResponse {
    pub destination_id: String,
    /// From 1; 0 before the first.
    pub attempt: u32,
    /// Of HTTP, where there was an answer.
    pub status_code: Option<u16>,
    pub success: bool,
    /// Why it failed; empty otherwise.
    pub message: String,
    /// What the destination calls the ticket that it has made of the alert, where later news goes; behind a `~` one that it
    /// has made of several alerts.
    pub ticket: Option<String>,
    #[serde(serialize_with = "as_rfc3339_or_null")]
    pub dispatched_at: Option<OffsetDateTime>,
}

/// What people did with an alert.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Triage {
    pub assignee: Option<String>,
    /// Oldest first; only alerts that are listed have them.
    pub comments: Vec<Comment>,
    pub last_updated_by: Option<String>,
    #[serde(serialize_with = "as_rfc3339_or_null")]
    pub last_updated_by_time: Option<OffsetDateTime>,
}

/// What someone wrote about an alert.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comment {
    #[serde(serialize_with = "as_rfc3339")]
    pub at: OffsetDateTime,
    pub by: String,
    pub text: String,
}

pub fn as_rfc3339<S: Serializer>(at: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*at))
}

fn as_rfc3339_or_null<S: Serializer>(at: &Option<OffsetDateTime>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(rfc3339).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_are_ordered_and_read_in_any_case() {
        assert!(Severity::Info < Severity::Critical);
        assert_eq!("High".parse(), Ok(Severity::High));
        assert!("urgent".parse::<Severity>().unwrap_err().contains("`urgent`"));
    }
}
