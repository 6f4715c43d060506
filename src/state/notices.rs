//! What margay has to tell of itself: facts that are written down where they come about, and alerts of kind `SYSTEM_ERROR`
//! that stand for as long as a condition does.
//!
//! A fact is the last time at which something was seen, in the transaction that saw it where there is one. Whether that is
//! worth an alert is decided elsewhere, again and again and by every replica; [`Notices::raise`] opens one alert, however
//! many ask for it at once.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::window::{GroupKey, Hit, Window};
use super::{ObjectOutcome, ObjectState, StateError};
use crate::model::{Alert, AlertKind, AlertStatus, Match, MatchDetail, Receiver, RowId, RuleMeta, Severity};

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// A step of the way to a source fails; of the source and the step.
    SourceUnhealthy,
    /// Records of a source are no events.
    Unclassified,
    /// Objects of a source are parked, missing or quarantined.
    ObjectFailed,
    /// No event has come from a source for long.
    SourceSilent,
    /// A delivery to a destination was given up.
    DeliveryFailed,
    /// A rule is switched off.
    RuleStopped,
    /// A rule opens more alerts than are delivered.
    AlertStorm,
    /// Rows can't be committed to the lake.
    LakeStalled,
    /// The queue is not worked off.
    QueueOld,
    /// The last run of a scheduled query failed.
    QueryFailed,
}

impl Condition {
    pub const ALL: [Condition; 10] = [
        Condition::SourceUnhealthy,
        Condition::Unclassified,
        Condition::ObjectFailed,
        Condition::SourceSilent,
        Condition::DeliveryFailed,
        Condition::RuleStopped,
        Condition::AlertStorm,
        Condition::LakeStalled,
        Condition::QueueOld,
        Condition::QueryFailed,
    ];

    /// In the place of the id of a rule.
    pub fn rule_id(self) -> &'static str {
        match self {
            Condition::SourceUnhealthy => "Margay.SourceUnhealthy",
            Condition::Unclassified => "Margay.ClassificationFailure",
            Condition::ObjectFailed => "Margay.ObjectFailure",
            Condition::SourceSilent => "Margay.SourceSilent",
            Condition::DeliveryFailed => "Margay.DeliveryFailure",
            Condition::RuleStopped => "Margay.RuleStopped",
            Condition::AlertStorm => "Margay.AlertStorm",
            Condition::LakeStalled => "Margay.LakeStalled",
            Condition::QueueOld => "Margay.QueueOld",
            Condition::QueryFailed => "Margay.ScheduledQueryFailure",
        }
    }

    pub fn of_rule_id(rule_id: &str) -> Option<Condition> {
        Condition::ALL.into_iter().find(|condition| condition.rule_id() == rule_id)
    }

    /// From one alert about it to the next, however often it comes and goes.
    fn least_gap(self) -> Duration {
        match self {
            Condition::ObjectFailed => Duration::DAY,
            _ => Duration::HOUR,
        }
    }
}

/// What is written down with the last time at which it was so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// Seen to be so, of what the condition is about.
    Trouble(Condition),
    /// Events of a source became durable.
    Events,
    /// An alert was delivered to a destination.
    Delivered,
    /// Some daemon has looked after a source; the detail says since when without a gap.
    Watched,
    /// A rule was stopped by the limit on its alerts, in the version that the detail has.
    Stopped,
    /// All steps of the way to a source were taken; those that failed are written down with the same time.
    Examined,
}

impl Fact {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Fact::Trouble(condition) => condition.rule_id(),
            Fact::Events => "events",
            Fact::Delivered => "delivered",
            Fact::Watched => "watched",
            Fact::Stopped => "stopped",
            Fact::Examined => "examined",
        }
    }

    pub(super) fn named(name: &str) -> Option<Fact> {
        let others = [Fact::Events, Fact::Delivered, Fact::Watched, Fact::Stopped, Fact::Examined];
        let own = others.into_iter().find(|fact| fact.as_str() == name);
        own.or_else(|| Condition::of_rule_id(name).map(Fact::Trouble))
    }

    /// It is not written down again sooner, so that no row is in everybody's way.
    pub(super) fn pace(self) -> Duration {
        match self {
            // What fails in an examination has the time of that.
            Fact::Trouble(Condition::DeliveryFailed | Condition::SourceUnhealthy)
            | Fact::Stopped
            | Fact::Watched
            | Fact::Examined => Duration::ZERO,
            Fact::Delivered => Duration::SECOND,
            Fact::Trouble(_) | Fact::Events => Duration::MINUTE,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Noted {
    pub fact: Fact,
    pub subject: String,
    pub at: OffsetDateTime,
    pub detail: String,
}

/// What the outcome of an object says of its source.
pub(super) fn facts_of(outcome: &ObjectOutcome) -> Vec<(Fact, String)> {
    let mut facts = Vec::new();
    if outcome.events > 0 {
        facts.push((Fact::Events, String::new()));
    }
    if outcome.rejects > 0 {
        let records = outcome.events + outcome.rejects;
        let detail = format!("{} of {records} records of an object became no event", outcome.rejects);
        facts.push((Fact::Trouble(Condition::Unclassified), detail));
    }
    if matches!(outcome.state, ObjectState::Parked | ObjectState::Missing | ObjectState::Quarantined) {
        let detail = format!("an object is {}: {}", outcome.state.as_str(), outcome.reason);
        facts.push((Fact::Trouble(Condition::ObjectFailed), detail));
    }
    facts
}

/// What a delivery that was given up says of its destination. That an alert about this can't be delivered is told nowhere:
/// it would go on for ever.
pub(super) fn tells_of_failure(alert_rule: &str) -> bool {
    alert_rule != Condition::DeliveryFailed.rule_id()
}

/// A condition that stands now, in words.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    pub condition: Condition,
    /// What it is about; one alert for each.
    pub subject: String,
    pub title: String,
    pub description: String,
    pub runbook: String,
}

impl Notice {
    pub(super) fn key(&self) -> GroupKey {
        let kind = AlertKind::SystemError;
        GroupKey { rule_id: self.condition.rule_id().into(), kind, dedup: self.subject.clone() }
    }

    /// Where an alert about it may go: not to the very destination that it is about.
    pub(super) fn receivers(&self, receivers: &[Receiver]) -> Vec<Receiver> {
        let is_about = |one: &&Receiver| self.condition != Condition::DeliveryFailed || one.name != self.subject;
        receivers.iter().filter(is_about).cloned().collect()
    }

    /// The window that it opens behind `last`, which has ended in `status`; `None` when the last alert still stands, or
    /// has ended just now.
    pub(super) fn place(&self, last: Option<(&Window, AlertStatus)>, now: OffsetDateTime) -> Option<Window> {
        if last.is_some_and(|(_, status)| !status.is_ended()) {
            return None;
        }
        let found = self.as_match(now);
        let mut hit = Hit::from(&found);
        hit.kind = AlertKind::SystemError;
        let mut window = Window::place(last.map(|(window, _)| window), &hit, now)?;
        window.count(&hit, true, now);
        window.log_types.clear();
        Some(window)
    }

    fn as_match(&self, now: OffsetDateTime) -> Match {
        let gap = self.condition.least_gap().whole_minutes();
        let rule = RuleMeta {
            id: self.condition.rule_id().into(),
            version: String::new(),
            display_name: String::new(),
            severity: Severity::Critical,
            description: String::new(),
            reference: String::new(),
            runbook: String::new(),
            dedup_period_minutes: u32::try_from(gap).expect("a gap is some minutes"),
            threshold: 1,
            summary_attributes: Vec::new(),
            create_alert: true,
            tags: Vec::new(),
            reports: Default::default(),
            output_ids: Vec::new(),
            alerting: Default::default(),
        };
        let context = serde_json::json!({ "condition": self.condition, "subject": self.subject });
        Match {
            rule: Arc::new(rule),
            row_id: RowId([0; 16]),
            log_type: "".into(),
            event_time: now,
            detail: MatchDetail {
                title: self.title.clone(),
                dedup: self.subject.clone(),
                severity: Severity::Critical,
                description: self.description.clone(),
                reference: String::new(),
                runbook: self.runbook.clone(),
                destinations: None,
                context: context.to_string(),
                unique: None,
            },
        }
    }
}

#[async_trait]
pub trait Notices: Send + Sync {
    /// Writes a fact down, unless it was not long ago.
    async fn note(&self, fact: Fact, subject: &str, detail: &str, now: OffsetDateTime) -> Result<(), StateError>;

    /// Every fact, in the order of fact and subject.
    async fn noted(&self) -> Result<Vec<Noted>, StateError>;

    /// Opens the alert about a notice, with deliveries to those that take system errors, unless it stands already or its
    /// last one began a moment ago. Gives it to one caller.
    async fn raise(
        &self,
        notice: &Notice,
        receivers: &[Receiver],
        now: OffsetDateTime,
    ) -> Result<Option<Alert>, StateError>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::fixtures::START;

    fn notice(condition: Condition) -> Notice {
        let text = || "t".to_owned();
        Notice { condition, subject: "s".into(), title: text(), description: text(), runbook: text() }
    }

    #[test]
    fn facts_are_found_by_their_names() {
        for fact in [Fact::Events, Fact::Delivered, Fact::Watched, Fact::Stopped, Fact::Examined] {
            assert_eq!(Fact::named(fact.as_str()), Some(fact));
        }
        for condition in Condition::ALL {
            let fact = Fact::Trouble(condition);
            assert_eq!(Fact::named(fact.as_str()), Some(fact));
        }
        assert_eq!(Fact::named("x"), None);
    }

    #[test]
    fn one_alert_stands_for_a_condition_until_it_ends() {
        let notice = notice(Condition::SourceSilent);
        let first = notice.place(None, START).unwrap();
        let week = START + Duration::WEEK;
        for status in [AlertStatus::Open, AlertStatus::Triaged] {
            assert_eq!(notice.place(Some((&first, status)), week), None);
        }
        let ended = Some((&first, AlertStatus::Resolved));
        assert_eq!(notice.place(ended, START + Duration::minutes(59)), None, "it comes and goes");
        assert_eq!(notice.place(ended, week).unwrap().number, 2);
        assert_ne!(
            first.alert(&notice.key()).unwrap().id,
            notice.place(ended, week).unwrap().alert(&notice.key()).unwrap().id
        );
    }

    #[test]
    fn a_destination_is_not_told_of_its_own_failures() {
        let all = ["s", "other"].map(Receiver::accepting_all);
        let names = |condition| {
            let receivers = notice(condition).receivers(&all);
            receivers.into_iter().map(|one| one.name).collect::<Vec<_>>()
        };
        assert_eq!(names(Condition::DeliveryFailed), ["other"]);
        assert_eq!(names(Condition::RuleStopped), ["s", "other"]);
        assert!(!tells_of_failure("Margay.DeliveryFailure") && tells_of_failure("Margay.SourceSilent"));
    }

    #[test]
    fn an_outcome_tells_of_its_source() {
        let outcome = |state, events, rejects| ObjectOutcome { state, reason: "r".into(), events, rejects, bytes: 1 };
        let facts = |outcome| facts_of(&outcome).into_iter().map(|(fact, _)| fact).collect::<Vec<_>>();
        assert_eq!(facts(outcome(ObjectState::Committed, 3, 0)), [Fact::Events]);
        let both = [Fact::Events, Fact::Trouble(Condition::Unclassified)];
        assert_eq!(facts(outcome(ObjectState::Committed, 3, 1)), both);
        for state in [ObjectState::Parked, ObjectState::Missing, ObjectState::Quarantined] {
            assert_eq!(facts(outcome(state, 0, 0)), [Fact::Trouble(Condition::ObjectFailed)]);
        }
        assert!(facts(outcome(ObjectState::Empty, 0, 0)).is_empty());
    }
}
