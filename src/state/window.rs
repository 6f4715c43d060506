//! The grouping decision: which window a match or fault counts in, and whether that opens or updates an alert.
//!
//! Pure: values in, values out. An adapter loads the current window of a group, asks [`Window::place`], drops the hit
//! if it was recorded before, and lets [`Window::count`] count it, all in one transaction. A window is fixed: it starts
//! at its first match and no activity extends it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use crate::model::{Alert, AlertKind, AlertStatus, Match, MatchDetail, RowId, RuleFault, RuleMeta, Severity, Triage};

/// What is grouped together. Kinds are apart, so that an error whose class is spelled like a dedup string is not
/// counted as a match.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupKey {
    pub rule_id: Arc<str>,
    pub kind: AlertKind,
    pub dedup: String,
}

impl GroupKey {
    /// Names the group itself, in a fixed length. No window has the number 0.
    pub fn id(&self) -> String {
        self.alert_id(0)
    }

    /// Id of the alert of window number `number`: 32 hex digits, the same for the same history, so that a replay
    /// finds the alert it already opened.
    pub fn alert_id(&self, number: u64) -> String {
        let number = number.to_le_bytes();
        let parts = [self.rule_id.as_bytes(), self.kind.as_str().as_bytes(), &number, self.dedup.as_bytes()];
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A match or a fault, in the one shape that grouping knows.
#[derive(Clone, Debug)]
pub struct Hit<'a> {
    pub rule: &'a Arc<RuleMeta>,
    pub kind: AlertKind,
    pub row_id: RowId,
    pub log_type: &'a str,
    pub event_time: OffsetDateTime,
    pub detail: Cow<'a, MatchDetail>,
}

impl<'a> From<&'a Match> for Hit<'a> {
    fn from(found: &'a Match) -> Hit<'a> {
        Hit {
            rule: &found.rule,
            kind: AlertKind::Rule,
            row_id: found.row_id,
            log_type: &found.log_type,
            event_time: found.event_time,
            detail: Cow::Borrowed(&found.detail),
        }
    }
}

impl<'a> From<&'a RuleFault> for Hit<'a> {
    /// A fault groups by its error class and speaks with the metadata of its rule: no function of a rule that has
    /// just failed is asked for a title.
    fn from(fault: &'a RuleFault) -> Hit<'a> {
        let rule = &fault.rule;
        let context = serde_json::json!({ "error_message": fault.message, "event": fault.row_id.to_string() });
        Hit {
            rule,
            kind: AlertKind::RuleError,
            row_id: fault.row_id,
            log_type: &fault.log_type,
            event_time: fault.event_time,
            detail: Cow::Owned(MatchDetail {
                title: fault.short_error.clone(),
                dedup: fault.error_type.clone(),
                severity: rule.severity,
                description: rule.description.clone(),
                reference: rule.reference.clone(),
                runbook: rule.runbook.clone(),
                destinations: None,
                context: context.to_string(),
                unique: None,
            }),
        }
    }
}

impl Hit<'_> {
    pub fn key(&self) -> GroupKey {
        GroupKey { rule_id: self.rule.id.clone(), kind: self.kind, dedup: self.detail.dedup.clone() }
    }

    /// Whether it counts in a window at all. Matches of a rule with `CreateAlert: false` are signals only; its faults
    /// still alert, because a rule that fails gives no more signals.
    pub fn is_grouped(&self) -> bool {
        self.kind == AlertKind::RuleError || self.rule.create_alert
    }

    /// From how many events on there is an alert.
    pub fn threshold(&self) -> u64 {
        match self.kind {
            AlertKind::Rule => self.rule.threshold,
            AlertKind::RuleError | AlertKind::SystemError => 1,
        }
    }
}

/// What an alert takes from the match that opened its window, whatever comes later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opening {
    pub rule_version: String,
    pub rule_display_name: String,
    pub detail: MatchDetail,
    pub tags: Vec<String>,
    pub reports: BTreeMap<String, Vec<String>>,
}

/// One window of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Running number of the windows of this group, from 1.
    pub number: u64,
    /// When its first match was recorded.
    pub started: OffsetDateTime,
    /// Of the rule version that opened the window.
    pub period_minutes: u32,
    /// Matches; where the rule says what makes them unique, a repeated value is not counted again.
    pub event_count: u64,
    pub log_types: BTreeSet<String>,
    pub updated: OffsetDateTime,
    /// When the count reached the threshold: the creation time of the alert.
    pub alerted: Option<OffsetDateTime>,
    pub opening: Opening,
}

/// What counting did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Still below the threshold: nobody sees it.
    Below,
    /// The alert of this window exists from now on.
    Opened,
    Updated,
}

impl Window {
    /// The window that `hit` opens, or `None` when it belongs to the current one. A new window counts nothing yet.
    pub fn place(current: Option<&Window>, hit: &Hit<'_>, now: OffsetDateTime) -> Option<Window> {
        let number = match current {
            Some(window) if !window.is_over(now) => return None,
            Some(window) => window.number + 1,
            None => 1,
        };
        Some(Window {
            number,
            started: now,
            period_minutes: hit.rule.dedup_period_minutes,
            event_count: 0,
            log_types: BTreeSet::new(),
            updated: now,
            alerted: None,
            opening: Opening {
                rule_version: hit.rule.version.clone(),
                rule_display_name: hit.rule.display_name.clone(),
                detail: hit.detail.clone().into_owned(),
                tags: hit.rule.tags.clone(),
                reports: hit.rule.reports.clone(),
            },
        })
    }

    /// In whole seconds and strict: a match exactly one period after the first still belongs.
    fn is_over(&self, now: OffsetDateTime) -> bool {
        now.unix_timestamp() - self.started.unix_timestamp() > i64::from(self.period_minutes) * 60
    }

    /// Counts a hit that was placed here and was not recorded before. `new_value` is false when the hit carries a
    /// unique value that this window has counted already.
    pub fn count(&mut self, hit: &Hit<'_>, new_value: bool, now: OffsetDateTime) -> Change {
        self.event_count += u64::from(new_value);
        let severity = &mut self.opening.detail.severity;
        if hit.rule.alerting.escalate_severity && hit.detail.severity > *severity {
            *severity = hit.detail.severity;
        }
        if !self.log_types.contains(hit.log_type) {
            self.log_types.insert(hit.log_type.to_owned());
        }
        // The time of another daemon may be ahead of ours.
        self.updated = self.updated.max(now);
        if self.alerted.is_some() {
            Change::Updated
        } else if self.event_count >= hit.threshold() {
            self.alerted = Some(now);
            Change::Opened
        } else {
            Change::Below
        }
    }

    /// The alert as it stands, once the threshold was reached.
    pub fn alert(&self, key: &GroupKey) -> Option<Alert> {
        let Opening { rule_version, rule_display_name, detail, tags, reports } = self.opening.clone();
        Some(Alert {
            id: key.alert_id(self.number),
            kind: key.kind,
            rule_id: key.rule_id.to_string(),
            rule_version,
            rule_display_name,
            title: detail.title,
            severity: detail.severity,
            description: detail.description,
            reference: detail.reference,
            runbook: detail.runbook,
            context: context(detail.context),
            dedup: key.dedup.clone(),
            destinations: detail.destinations,
            status: first_status(detail.severity),
            event_count: self.event_count,
            log_types: self.log_types.iter().cloned().collect(),
            first_event_match_time: self.started,
            created_at: self.alerted?,
            updated_at: self.updated,
            tags,
            reports,
            delivery_responses: Vec::new(),
            triage: Triage::default(),
        })
    }
}

/// What the hits of one transaction ask of an alert that was there before it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Asks {
    /// To be told again.
    pub(super) update: bool,
    /// To be open again, if somebody has ended it.
    pub(super) reopening: bool,
}

impl Asks {
    /// One more hit was counted; the window had counted `before` then, and has `after` now.
    pub(super) fn add(&mut self, hit: &Hit<'_>, before: u64, after: u64) {
        let grew = after >= 10 && after.ilog10() > before.max(1).ilog10();
        self.update |= hit.rule.alerting.notify_on_update && grew;
        self.reopening |= hit.rule.alerting.reopen_on_match;
    }
}

/// INFO alerts are a record; nobody has to work on them.
fn first_status(severity: Severity) -> AlertStatus {
    match severity {
        Severity::Info => AlertStatus::Resolved,
        Severity::Low | Severity::Medium | Severity::High | Severity::Critical => AlertStatus::Open,
    }
}

/// The context as JSON. Text that cannot be read back as JSON (nested deeper than the reader goes) is shown as text.
pub(crate) fn context(text: String) -> serde_json::Value {
    serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text))
}

#[cfg(test)]
mod tests;
