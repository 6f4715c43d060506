//! The limit on the alerts of a rule: how many of an hour are delivered, and which are held back. Pure, but for the port.
//!
//! An adapter adds what a transaction opens to the count of the hour, which every transaction that opens alerts of that rule
//! waits for, and asks [`Hours`] in the order in which they were opened. So the limit is exact on any number of replicas. An
//! alert that is held back is created like any other: it is listed, counts its matches, and can be sent by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use time::{Duration, OffsetDateTime};

use super::StateError;
use super::window::{GroupKey, Hit, Opening};
use crate::model::{Alert, AlertKind, AlertStatus, Alerting, MatchDetail, OnStorm, Severity, Triage, as_rfc3339};

/// What a delivery that was held back tells instead of an attempt.
pub(super) const HELD: &str = "held back by the limit on the alerts of its rule; a digest tells of it";

/// Titles in a digest.
pub(super) const TITLES: u32 = 50;

/// The alerts that are limited together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HourKey {
    pub rule_id: Arc<str>,
    pub kind: &'static str,
}

/// When the hour began that this moment lies in.
pub fn hour(now: OffsetDateTime) -> OffsetDateTime {
    let seconds = now.unix_timestamp().div_euclid(3600) * 3600;
    OffsetDateTime::from_unix_timestamp(seconds).expect("an hour begins no earlier than the years that there are")
}

/// Of one rule in one hour.
#[derive(Clone, Debug, PartialEq)]
struct Hour {
    limit: u64,
    /// By this transaction.
    new: u64,
    /// Of the new ones, so many may still be delivered.
    left: u64,
    held: u64,
    /// Held alerts stop the rule in this version.
    stops: Option<String>,
}

/// What one transaction opens.
#[derive(Default)]
pub(super) struct Hours(BTreeMap<HourKey, Hour>);

impl Hours {
    /// An alert was opened by this hit.
    pub(super) fn opened(&mut self, hit: &Hit<'_>) {
        let Some(limit) = limit(&hit.rule.alerting, hit.kind) else { return };
        let stops = hit.kind == AlertKind::Rule && hit.rule.alerting.on_storm == OnStorm::Disable;
        let stops = stops.then(|| hit.rule.version.clone());
        let fresh = Hour { limit, new: 0, left: 0, held: 0, stops };
        self.0.entry(HourKey { rule_id: hit.rule.id.clone(), kind: hit.kind.as_str() }).or_insert(fresh).new += 1;
    }

    /// Each count to add, in an order that all transactions have.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&HourKey, u64)> {
        self.0.iter().map(|(key, hour)| (key, hour.new))
    }

    /// The count of an hour stands at `total` with what this transaction opened.
    pub(super) fn counted(&mut self, key: &HourKey, total: u64) {
        if let Some(hour) = self.0.get_mut(key) {
            let before = total.saturating_sub(hour.new);
            hour.left = hour.limit.saturating_sub(before).min(hour.new);
            hour.held = hour.new - hour.left;
        }
    }

    /// Whether the next alert of the group is delivered. Asked once for each, in the order in which they were opened.
    pub(super) fn delivers(&mut self, key: &GroupKey) -> bool {
        let key = HourKey { rule_id: key.rule_id.clone(), kind: key.kind.as_str() };
        match self.0.get_mut(&key) {
            None => true,
            Some(hour) if hour.left > 0 => {
                hour.left -= 1;
                true
            }
            Some(_) => false,
        }
    }

    /// How many each hour holds back of this transaction.
    pub(super) fn held(&self) -> impl Iterator<Item = (&HourKey, u64)> {
        self.0.iter().filter(|(_, hour)| hour.held > 0).map(|(key, hour)| (key, hour.held))
    }

    /// Rules that this transaction stops, with their versions.
    pub(super) fn stopped(&self) -> impl Iterator<Item = (&str, &str)> {
        let over = self.0.iter().filter(|(_, hour)| hour.held > 0);
        over.filter_map(|(key, hour)| Some((&*key.rule_id, hour.stops.as_deref()?)))
    }
}

fn limit(alerting: &Alerting, kind: AlertKind) -> Option<u64> {
    match kind {
        AlertKind::Rule => Some(alerting.max_alerts_per_hour),
        AlertKind::RuleError => Some(alerting.max_error_alerts_per_hour),
        AlertKind::SystemError => None,
    }
}

/// An hour of a rule in which alerts were held back.
#[derive(Clone, Debug, PartialEq)]
pub struct Storm {
    pub rule_id: String,
    pub kind: AlertKind,
    /// When the hour began.
    pub hour: OffsetDateTime,
    pub opened: u64,
    pub held: u64,
    /// Of those opened, so many count no more, because a person has let the rule go on.
    pub forgiven: u64,
}

impl Storm {
    pub fn end(&self) -> OffsetDateTime {
        self.hour + Duration::HOUR
    }

    /// The alert that stands for those that were held back; of which `titles` are some.
    pub(super) fn digest(&self, titles: &[String], severity: Severity, now: OffsetDateTime) -> (Alert, Opening) {
        let what = if self.kind == AlertKind::RuleError { "error alerts" } else { "alerts" };
        let Storm { rule_id, held, opened, .. } = self;
        let from = crate::model::rfc3339(self.hour);
        let detail = MatchDetail {
            title: format!("{held} {what} of {rule_id} were not delivered one by one"),
            dedup: format!("digest of {from}"),
            severity,
            description: format!(
                "The rule opened {opened} {what} in the hour from {from}, more than are delivered. The others are \
                 listed like all alerts; the context has the first titles."
            ),
            reference: String::new(),
            runbook: "See `margay alerts list --rule`; a threshold, a longer dedup period or a filter in the rule \
                      helps where it is too loud."
                .into(),
            destinations: None,
            context: serde_json::json!({ "held": held, "opened": opened, "from": from, "titles": titles }).to_string(),
            unique: None,
        };
        let opening = Opening {
            rule_version: String::new(),
            rule_display_name: String::new(),
            detail,
            tags: Vec::new(),
            reports: BTreeMap::new(),
        };
        let key =
            GroupKey { rule_id: self.rule_id.as_str().into(), kind: self.kind, dedup: opening.detail.dedup.clone() };
        let alert = Alert {
            // An hour may have another one, of what a daemon with a slow clock added to it.
            id: key.alert_id(super::columns::micros(now).unsigned_abs()),
            kind: self.kind,
            rule_id: self.rule_id.clone(),
            rule_version: String::new(),
            rule_display_name: String::new(),
            title: opening.detail.title.clone(),
            severity,
            description: opening.detail.description.clone(),
            reference: String::new(),
            runbook: opening.detail.runbook.clone(),
            context: super::window::context(opening.detail.context.clone()),
            dedup: opening.detail.dedup.clone(),
            destinations: None,
            status: AlertStatus::Open,
            event_count: self.held,
            log_types: Vec::new(),
            first_event_match_time: self.hour,
            created_at: now,
            updated_at: now,
            tags: Vec::new(),
            reports: BTreeMap::new(),
            delivery_responses: Vec::new(),
            triage: Triage::default(),
        };
        (alert, opening)
    }
}

/// That a person has let a rule go on which was stopped, switched off or held back.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lift {
    pub rule_id: String,
    #[serde(serialize_with = "as_rfc3339")]
    pub at: OffsetDateTime,
    pub by: String,
    /// What the person says about it.
    pub reason: String,
}

#[async_trait]
pub trait Storms: Send + Sync {
    /// Every hour that holds alerts back and has no digest yet.
    async fn storms(&self) -> Result<Vec<Storm>, StateError>;

    /// Opens the digest of a storm whose hour is over, with deliveries to wherever its alerts would have gone. `None` when
    /// another did so before, or when they would have gone nowhere. Forgets the counts of hours that are over.
    async fn digest(&self, storm: &Storm, now: OffsetDateTime) -> Result<Option<Alert>, StateError>;

    /// Lets a rule go on: it is stopped no more, in whatever version, and its count of this hour begins anew. False when
    /// nothing was in its way, and then nothing is written down. A daemon that has switched the rule off by itself finds it
    /// among [`Storms::lifts`].
    async fn lift(&self, lift: &Lift) -> Result<bool, StateError>;

    /// What was lifted, newest first.
    async fn lifts(&self, limit: u32) -> Result<Vec<Lift>, StateError>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::fixtures::{START, matched, rule};

    fn opened(limit: u64, count: u64, total: u64) -> (Vec<bool>, u64) {
        let mut meta = rule("r");
        meta.alerting.max_alerts_per_hour = limit;
        let found = matched(&Arc::new(meta), 1);
        let hit = Hit::from(&found);
        let mut hours = Hours::default();
        (0..count).for_each(|_| hours.opened(&hit));
        let keys: Vec<HourKey> = hours.counts().map(|(key, _)| key.clone()).collect();
        keys.iter().for_each(|key| hours.counted(key, total));
        let delivered = (0..count).map(|_| hours.delivers(&hit.key())).collect();
        (delivered, hours.held().map(|(_, held)| held).sum())
    }

    #[test]
    fn the_first_of_an_hour_are_delivered_whoever_opens_them() {
        assert_eq!(opened(3, 2, 2), (vec![true, true], 0));
        assert_eq!(opened(3, 2, 4), (vec![true, false], 1));
        assert_eq!(opened(3, 2, 9), (vec![false, false], 2));
        assert_eq!(opened(0, 1, 1), (vec![false], 1));
    }

    #[test]
    fn hours_begin_with_the_clock() {
        let at = hour(START);
        assert_eq!((at.minute(), at.second(), at.nanosecond()), (0, 0, 0));
        assert_eq!(hour(at + Duration::minutes(59)), at);
        assert_eq!(hour(at + Duration::HOUR), at + Duration::HOUR);
    }
}
