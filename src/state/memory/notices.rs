//! Facts, system alerts and storms in memory.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{Delivery, End, MemoryState, Tables};
use crate::model::{Alert, AlertKind, AlertStatus, OnStorm, Receiver};
use crate::state::route::{Routed, route};
use crate::state::storm::{Hours, TITLES, hour};
use crate::state::window::Hit;
use crate::state::{Condition, Fact, Lift, Noted, Notice, Notices, StateError, Storm, Storms};

/// The alerts of a rule in an hour.
#[derive(Clone, Copy, Default)]
pub(super) struct HourCount {
    opened: u64,
    held: u64,
    /// Of those opened, so many count no more.
    forgiven: u64,
}

impl Tables {
    pub(super) fn note(&mut self, fact: Fact, subject: &str, detail: &str, now: OffsetDateTime) {
        let known = self.noted.get(&(fact, subject.to_owned()));
        if known.is_none_or(|(at, _)| *at < now - fact.pace()) {
            self.noted.insert((fact, subject.to_owned()), (now, detail.to_owned()));
        }
    }

    /// Counts an alert that is opened; whether it is held back.
    pub(super) fn is_held(&mut self, hit: &Hit<'_>, now: OffsetDateTime) -> bool {
        let mut hours = Hours::default();
        hours.opened(hit);
        let place = (hit.rule.id.to_string(), hit.kind.as_str(), hour(now));
        let count = self.hours.entry(place).or_default();
        for (key, new) in hours.counts().map(|(key, new)| (key.clone(), new)).collect::<Vec<_>>() {
            count.opened += new;
            hours.counted(&key, count.opened - count.forgiven);
        }
        count.held += hours.held().map(|(_, held)| held).sum::<u64>();
        !hours.delivers(&hit.key())
    }

    /// Rule and version, when the alert that this hit has just opened is one too many for them.
    pub(super) fn stops(&self, hit: &Hit<'_>, now: OffsetDateTime) -> Option<(String, String)> {
        let mut hours = Hours::default();
        hours.opened(hit);
        let count = self.hours.get(&(hit.rule.id.to_string(), hit.kind.as_str(), hour(now)))?;
        for (key, _) in hours.counts().map(|(key, new)| (key.clone(), new)).collect::<Vec<_>>() {
            hours.counted(&key, count.opened - count.forgiven);
        }
        hours.stopped().next().map(|(rule, version)| (rule.to_owned(), version.to_owned()))
    }

    pub(super) fn all_held(&self) -> u64 {
        self.hours.values().map(|count| count.held).sum()
    }

    pub(super) fn is_stopped(&self, hit: &Hit<'_>) -> bool {
        let version = self.noted.get(&(Fact::Stopped, hit.rule.id.to_string())).map(|(_, version)| version);
        hit.rule.alerting.on_storm == OnStorm::Disable
            && hit.kind == AlertKind::Rule
            && version == Some(&hit.rule.version)
    }
}

#[async_trait]
impl Notices for MemoryState {
    async fn note(&self, fact: Fact, subject: &str, detail: &str, now: OffsetDateTime) -> Result<(), StateError> {
        self.lock().note(fact, subject, detail, now);
        Ok(())
    }

    async fn noted(&self) -> Result<Vec<Noted>, StateError> {
        let tables = self.lock();
        let mut noted: Vec<Noted> = tables
            .noted
            .iter()
            .map(|((fact, subject), (at, detail))| Noted {
                fact: *fact,
                subject: subject.clone(),
                at: *at,
                detail: detail.clone(),
            })
            .collect();
        noted.sort_by(|one, other| (one.fact.as_str(), &one.subject).cmp(&(other.fact.as_str(), &other.subject)));
        Ok(noted)
    }

    async fn raise(
        &self,
        notice: &Notice,
        receivers: &[Receiver],
        now: OffsetDateTime,
    ) -> Result<Option<Alert>, StateError> {
        let (key, mut tables) = (notice.key(), self.lock());
        let last = tables.windows.get(&key);
        let status = last.and_then(|last| {
            let id = key.alert_id(last.number);
            tables.alerts.iter().find(|alert| alert.id == id).map(|alert| alert.status)
        });
        let last = last.map(|last| (last, status.unwrap_or(AlertStatus::Closed)));
        let Some(window) = notice.place(last, now) else { return Ok(None) };
        let alert = window.alert(&key).expect("a notice opens its alert at once");
        for name in route(&Routed::by_filters(alert.severity, alert.kind), &notice.receivers(receivers)) {
            tables.deliveries.push(Delivery::new(&alert.id, name, now));
        }
        tables.windows.insert(key, window);
        tables.alerts.push(alert.clone());
        Ok(Some(alert))
    }
}

#[async_trait]
impl Storms for MemoryState {
    async fn storms(&self) -> Result<Vec<Storm>, StateError> {
        let tables = self.lock();
        let mut storms = Vec::new();
        for ((rule_id, kind, hour), count) in tables.hours.iter().filter(|(_, count)| count.held > 0) {
            let kind = kind.parse::<AlertKind>().map_err(StateError::Store)?;
            let HourCount { opened, held, forgiven } = *count;
            storms.push(Storm { rule_id: rule_id.clone(), kind, hour: *hour, opened, held, forgiven });
        }
        storms.sort_by(|one, other| {
            (one.hour, &one.rule_id, one.kind.as_str()).cmp(&(other.hour, &other.rule_id, other.kind.as_str()))
        });
        Ok(storms)
    }

    async fn digest(&self, storm: &Storm, now: OffsetDateTime) -> Result<Option<Alert>, StateError> {
        if storm.end() > now {
            return Ok(None);
        }
        let mut tables = self.lock();
        tables.hours.retain(|(_, _, hour), count| *hour >= storm.hour || count.held > 0);
        let place = (storm.rule_id.clone(), storm.kind.as_str(), storm.hour);
        if tables.hours.remove(&place).is_none() {
            return Ok(None);
        }
        let of_storm = |alert: &&Alert| {
            let is_held = tables.deliveries.iter().any(|row| row.alert == alert.id && row.end == End::Held);
            let hours = storm.hour..storm.end();
            is_held && alert.rule_id == storm.rule_id && alert.kind == storm.kind && hours.contains(&alert.created_at)
        };
        let held: Vec<&Alert> = tables.alerts.iter().filter(of_storm).collect();
        let Some(severity) = held.iter().map(|alert| alert.severity).max() else { return Ok(None) };
        let titles: Vec<String> = held.iter().take(TITLES as usize).map(|alert| alert.title.clone()).collect();
        let of_held = |row: &&Delivery| row.end == End::Held && held.iter().any(|alert| alert.id == row.alert);
        let mut names: Vec<String> =
            tables.deliveries.iter().filter(of_held).map(|row| row.destination.clone()).collect();
        names.sort();
        names.dedup();
        let (alert, _) = storm.digest(&titles, severity, now);
        tables.deliveries.extend(names.iter().map(|name| Delivery::new(&alert.id, name, now)));
        tables.alerts.push(alert.clone());
        Ok(Some(alert))
    }

    async fn lift(&self, lift: &Lift) -> Result<bool, StateError> {
        let mut tables = self.lock();
        let facts = [Fact::Stopped, Fact::Trouble(Condition::RuleStopped)];
        let gone = facts.map(|fact| tables.noted.remove(&(fact, lift.rule_id.clone())));
        let mut is_lifted = gone.iter().any(Option::is_some);
        for ((rule_id, _, begins), count) in &mut tables.hours {
            if *rule_id == lift.rule_id && *begins >= hour(lift.at) && count.held > 0 && count.forgiven < count.opened {
                count.forgiven = count.opened;
                is_lifted = true;
            }
        }
        if is_lifted {
            tables.lifts.push(lift.clone());
        }
        Ok(is_lifted)
    }

    async fn lifts(&self, limit: u32) -> Result<Vec<Lift>, StateError> {
        Ok(self.lock().lifts.iter().rev().take(limit as usize).cloned().collect())
    }
}
