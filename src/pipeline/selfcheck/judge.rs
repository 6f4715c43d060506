//! Which conditions stand, from what was written down. Pure.

use std::collections::{BTreeMap, BTreeSet};

use time::{Duration, OffsetDateTime};

use crate::model::{AlertKind, rfc3339};
use crate::state::{Condition, Fact, Noted, Notice, Storm};

/// That a source is looked after is written down so often.
pub(super) const FRESH: Duration = Duration::minutes(2);
/// Nobody has looked after it for so long: what it did meanwhile is not known.
const GAP: Duration = Duration::minutes(10);

/// A condition that was seen stands for so long, where nothing else ends it.
fn hold(condition: Condition, source_checks: Duration) -> Duration {
    match condition {
        // Sources are examined one after another, which takes as long as there are many.
        Condition::SourceUnhealthy if !source_checks.is_zero() => Duration::DAY.max(source_checks * 3),
        Condition::ObjectFailed => Duration::DAY,
        Condition::Unclassified => Duration::HOUR,
        _ => Duration::minutes(5),
    }
}

/// What is known at one moment.
pub(super) struct Seen<'a> {
    pub(super) noted: &'a [Noted],
    /// Each with the silence that it may keep.
    pub(super) sources: BTreeMap<String, Option<Duration>>,
    /// Destinations.
    pub(super) receivers: BTreeSet<String>,
    /// Of rules that the limit has stopped, as they run now, where it may stop them.
    pub(super) versions: BTreeMap<String, String>,
    pub(super) storms: &'a [Storm],
    pub(super) source_checks: Duration,
    pub(super) now: OffsetDateTime,
}

/// Since when a source is looked after without a gap.
pub(super) fn watched_since(last: Option<&Noted>, now: OffsetDateTime) -> OffsetDateTime {
    let without_gap = last.filter(|last| now - last.at < GAP);
    let since = without_gap.and_then(|last| last.detail.parse().ok());
    since.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok()).unwrap_or(now)
}

/// A notice for each condition that stands.
pub(super) fn judge(seen: &Seen<'_>) -> Vec<Notice> {
    let mut notices = Vec::new();
    for own in seen.noted {
        match own.fact {
            Fact::Trouble(condition) if seen.stands(condition, own) => {
                notices.push(of_trouble(condition, &own.subject, &own.detail));
            }
            Fact::Stopped if seen.versions.get(&own.subject) == Some(&own.detail) => {
                let detail = "it opened more alerts in an hour than `rules.alerts.max_alerts_per_hour` allows, and is \
                              stopped until its file changes (`rules.alerts.on_storm`); its matches are recorded";
                notices.push(of_trouble(Condition::RuleStopped, &own.subject, detail));
            }
            _ => {}
        }
    }
    notices.extend(seen.sources.iter().filter_map(|(source, silence)| seen.silent(source, (*silence)?)));
    notices.extend(seen.storms.iter().filter(|storm| storm.end() > seen.now).map(of_storm));
    // A rule can be stopped in two ways.
    let mut told = BTreeSet::new();
    notices.retain(|notice| told.insert((notice.condition, notice.subject.clone())));
    notices
}

impl Seen<'_> {
    fn last(&self, fact: Fact, subject: &str) -> Option<&Noted> {
        self.noted.iter().find(|own| own.fact == fact && own.subject == subject)
    }

    fn stands(&self, condition: Condition, own: &Noted) -> bool {
        let source = own.subject.split('/').next().unwrap_or_default();
        match condition {
            Condition::DeliveryFailed => {
                let worked = self.last(Fact::Delivered, &own.subject).is_some_and(|good| good.at > own.at);
                self.receivers.contains(&own.subject) && !worked
            }
            Condition::SourceUnhealthy | Condition::ObjectFailed | Condition::Unclassified
                if !self.sources.contains_key(source) =>
            {
                false
            }
            // An examination ends it that came later and in which the step was well.
            Condition::SourceUnhealthy
                if self.last(Fact::Examined, source).is_some_and(|examined| examined.at > own.at) =>
            {
                false
            }
            _ => self.now - own.at < hold(condition, self.source_checks),
        }
    }

    fn silent(&self, source: &str, silence: Duration) -> Option<Notice> {
        let watched = watched_since(self.last(Fact::Watched, source), self.now);
        let last = self.last(Fact::Events, source).map(|events| events.at);
        let since = last.map_or(watched, |last| last.max(watched));
        if self.now - since <= silence {
            return None;
        }
        let last =
            last.map_or("there was none before".to_owned(), |last| format!("the last came at {}", rfc3339(last)));
        let minutes = silence.whole_minutes();
        let detail = format!("no event has come from it for {minutes} minutes; {last}");
        Some(of_trouble(Condition::SourceSilent, source, &detail))
    }
}

/// Title, and what to do.
fn words(condition: Condition, subject: &str) -> (String, String) {
    let (title, runbook) = match condition {
        Condition::SourceUnhealthy => (
            format!("A step of the way to source {subject} fails"),
            "`margay source check` takes every step and says what to change.",
        ),
        Condition::Unclassified => (
            format!("Records of source {subject} are no events"),
            "`margay quarantine list` shows them with the reason; correct the log types of the source or their \
             schemas, then `margay replay`.",
        ),
        Condition::ObjectFailed => (
            format!("Objects of source {subject} were not read"),
            "`margay quarantine list` shows them with the reason; mend that, then `margay replay`.",
        ),
        Condition::SourceSilent => (
            format!("Source {subject} is silent"),
            "`margay source check` takes every step of the way; `sources.silent_after_minutes` says what silence is \
             usual.",
        ),
        Condition::DeliveryFailed => (
            format!("Alerts can't be delivered to {subject}"),
            "`margay destinations test` tries it; `margay alerts resend` sends what was given up.",
        ),
        Condition::RuleStopped => (
            format!("Rule {subject} is stopped"),
            "Mend the rule: it is loaded at once. `margay rules lift` lets it go on as it is.",
        ),
        Condition::AlertStorm => (
            format!("Rule {subject} opens too many alerts"),
            "Alerts are created and not delivered until the hour is over; a digest tells of them. A threshold, a \
             longer dedup period or a filter in the rule helps.",
        ),
        Condition::LakeStalled => (
            "Rows can't be committed to the lake".to_owned(),
            "The log of margay says why; nothing is lost: objects are read again.",
        ),
        Condition::QueueOld => (
            "The queue is not worked off".to_owned(),
            "More replicas, or more memory and `pipeline.max_in_flight` for each; `alerts.queue_age_limit_minutes` \
             says what age is usual.",
        ),
        Condition::QueryFailed => (
            format!("Scheduled query {subject} fails"),
            "`margay queries show` tells how its last run went, and `margay queries run` runs it.",
        ),
    };
    (title, runbook.to_owned())
}

fn of_trouble(condition: Condition, subject: &str, detail: &str) -> Notice {
    let (title, runbook) = words(condition, subject);
    let description = format!("{subject}: {detail}");
    Notice { condition, subject: subject.to_owned(), title, description, runbook }
}

fn of_storm(storm: &Storm) -> Notice {
    let Storm { rule_id, opened, held, .. } = storm;
    let (what, subject) = match storm.kind {
        AlertKind::RuleError => ("error alerts", format!("{rule_id} (errors)")),
        AlertKind::Rule | AlertKind::SystemError => ("alerts", rule_id.clone()),
    };
    let from = rfc3339(storm.hour);
    let detail = format!("of {opened} {what} since {from}, {held} are not delivered one by one");
    of_trouble(Condition::AlertStorm, &subject, &detail)
}
