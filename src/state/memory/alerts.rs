//! Matches, windows and alerts in memory.

use std::collections::BTreeMap;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{Delivery, End, MemoryState, Tables};
use crate::model::{Alert, AlertStatus, Comment, DeliveryResponse, Detections, News, Receiver, RowId, Triage};
use crate::state::desk::OWN_NAME;
use crate::state::route::{Routed, route};
use crate::state::storm::HELD;
use crate::state::window::{Asks, Change, GroupKey, Hit, Window, context};
use crate::state::{
    AlertFilter, AlertMatch, AlertPlace, AlertStore, Audited, ClaimToken, Desk, Fact, Placed, Recorded, StateError,
    Summary, TriageChange,
};

#[async_trait]
impl AlertStore for MemoryState {
    async fn record(
        &self,
        token: &ClaimToken,
        detections: &Detections,
        destinations: &[Receiver],
        now: OffsetDateTime,
    ) -> Result<Recorded, StateError> {
        let mut tables = self.lock();
        tables.check_claim(token)?;
        let hits = detections.matches.iter().map(Hit::from).chain(detections.faults.iter().map(Hit::from));
        let (mut matches, mut opened, mut places, held_before) = (0, Vec::new(), Vec::new(), tables.all_held());
        let mut stopped = Vec::new();
        for hit in hits.collect::<Vec<_>>() {
            let identity = (hit.rule.id.clone(), hit.kind.as_str(), hit.row_id);
            if let Some(before) = tables.matches.get(&identity) {
                places.push(before.clone());
                continue;
            }
            matches += 1;
            let mut placed = Placed { alert_id: None, window_began: None, recorded: now };
            if hit.is_grouped() && !tables.is_stopped(&hit) {
                let change = tables.count(&hit, destinations, now);
                if change == Change::Opened {
                    opened.push(hit.key());
                    stopped.extend(tables.stops(&hit, now));
                }
                let window = &tables.windows[&hit.key()];
                let alert = hit.key().alert_id(window.number);
                (placed.alert_id, placed.window_began) = (Some(alert.clone()), Some(window.started));
                tables.counted_by.insert((alert, hit.row_id), counted(&hit));
            }
            tables.matches.insert(identity, placed.clone());
            places.push(placed);
        }
        // As one transaction does: what it stops has opened its own alerts before.
        stopped.iter().for_each(|(rule, version)| tables.note(Fact::Stopped, rule, version, now));
        let opened = opened.iter().map(|key| tables.windows[key].alert(key).expect("its window has opened it"));
        let opened = opened.collect();
        Ok(Recorded { opened, matches, held: tables.all_held() - held_before, placed: places })
    }

    async fn alerts(&self, filter: &AlertFilter) -> Result<Vec<Alert>, StateError> {
        let tables = self.lock();
        let wanted = tables.alerts.iter().filter(|alert| is_wanted(filter, alert));
        let mut alerts: Vec<Alert> = wanted.map(|alert| tables.as_listed(alert)).collect();
        alerts.sort_by_cached_key(|alert| AlertPlace::from(alert));
        if !filter.oldest_first {
            alerts.reverse();
        }
        alerts.truncate(filter.limit.map_or(usize::MAX, |limit| limit as usize));
        Ok(alerts)
    }

    async fn alert(&self, id: &str) -> Result<Option<Alert>, StateError> {
        let tables = self.lock();
        Ok(tables.alerts.iter().find(|alert| alert.id == id).map(|alert| tables.as_listed(alert)))
    }
}

impl Tables {
    /// Counts a hit that is new, and writes the alert and the deliveries that follow.
    fn count(&mut self, hit: &Hit<'_>, destinations: &[Receiver], now: OffsetDateTime) -> Change {
        let key = hit.key();
        if let Some(next) = Window::place(self.windows.get(&key), hit, now)
            && let Some(ended) = self.windows.insert(key.clone(), next)
        {
            let ended = key.alert_id(ended.number);
            self.values.retain(|(alert, _)| *alert != ended);
        }
        let window = self.windows.get_mut(&key).expect("a hit is placed in a new window or in the current one");
        let new_value = match &hit.detail.unique {
            Some(value) => self.values.insert((key.alert_id(window.number), value.clone())),
            None => true,
        };
        let before = window.event_count;
        let change = window.count(hit, new_value, now);
        let mut asks = Asks::default();
        asks.add(hit, before, window.event_count);
        let alert = window.alert(&key);
        match (change, alert) {
            (Change::Opened, Some(alert)) => self.open(alert, hit, destinations, now),
            (Change::Updated, Some(alert)) => {
                let id = alert.id.clone();
                self.update(&key, alert);
                self.answer(&id, asks, now);
            }
            _ => {}
        }
        change
    }

    /// Does with an alert that was there before what a hit asks of it.
    fn answer(&mut self, id: &str, asks: Asks, now: OffsetDateTime) {
        let at = self.alerts.iter().position(|alert| alert.id == id).expect("it was updated just now");
        let alert = &self.alerts[at];
        if asks.reopening && alert.status.is_ended() && alert.triage.last_updated_by.is_some() {
            self.change(at, "status", AlertStatus::Open.as_str(), OWN_NAME, now);
        }
        if asks.update {
            self.deliveries.iter_mut().filter(|row| row.alert == id).for_each(|row| row.tell(News::Updated, now));
        }
    }

    fn open(&mut self, alert: Alert, hit: &Hit<'_>, destinations: &[Receiver], now: OffsetDateTime) {
        let is_held = self.is_held(hit, now);
        let opening = &self.windows[&hit.key()].opening.detail;
        for name in route(&Routed::new(hit, opening), destinations) {
            let end = if is_held { End::Held } else { End::Pending };
            self.deliveries.push(Delivery { end, ..Delivery::new(&alert.id, name, now) });
        }
        self.alerts.push(alert);
    }

    fn update(&mut self, key: &GroupKey, counted: Alert) {
        let alert = self.alerts.iter_mut().find(|alert| alert.id == counted.id);
        let alert = alert.unwrap_or_else(|| unreachable!("the window of {key:?} has opened its alert"));
        alert.event_count = counted.event_count;
        alert.log_types = counted.log_types;
        alert.updated_at = counted.updated_at;
        alert.severity = counted.severity;
    }

    /// The alert as it is listed.
    fn as_listed(&self, alert: &Alert) -> Alert {
        let of_alert = self.deliveries.iter().filter(|row| row.alert == alert.id);
        let mut responses: Vec<DeliveryResponse> =
            of_alert.flat_map(|row| if row.tried.is_empty() { vec![untried(row)] } else { tried(row) }).collect();
        responses.sort_by(|a, b| a.destination_id.cmp(&b.destination_id));
        let changes = self.changes.iter().filter(|(id, _)| *id == alert.id).map(|(_, change)| change);
        let comments = changes.filter(|change| change.field == "comment").map(comment).collect();
        let triage = Triage { comments, ..alert.triage.clone() };
        Alert { delivery_responses: responses, triage, ..alert.clone() }
    }

    fn change(&mut self, at: usize, field: &str, after: &str, by: &str, now: OffsetDateTime) {
        let alert = &mut self.alerts[at];
        let before = match field {
            "status" => alert.status.as_str().to_owned(),
            "assignee" => alert.triage.assignee.clone().unwrap_or_default(),
            _ => String::new(),
        };
        if before == after {
            return;
        }
        match field {
            "status" => alert.status = after.parse::<AlertStatus>().expect("it is the name of one"),
            "assignee" => alert.triage.assignee = (!after.is_empty()).then(|| after.to_owned()),
            _ => {}
        }
        alert.triage.last_updated_by = Some(by.to_owned());
        alert.triage.last_updated_by_time = Some(now);
        let change = Audited { at: now, by: by.into(), field: field.into(), before, after: after.into() };
        self.changes.push((alert.id.clone(), change));
    }
}

fn is_wanted(filter: &AlertFilter, alert: &Alert) -> bool {
    let title = alert.title.to_ascii_lowercase();
    let is_behind = |place: &AlertPlace| match filter.oldest_first {
        true => AlertPlace::from(alert) > *place,
        false => AlertPlace::from(alert) < *place,
    };
    filter.rule_id.as_ref().is_none_or(|id| *id == alert.rule_id)
        && filter.kind.is_none_or(|kind| kind == alert.kind)
        && filter.severity_at_least.is_none_or(|least| alert.severity >= least)
        && (filter.severities.is_empty() || filter.severities.contains(&alert.severity))
        && (filter.statuses.is_empty() || filter.statuses.contains(&alert.status))
        && filter.title_contains.as_ref().is_none_or(|text| title.contains(&text.to_ascii_lowercase()))
        && filter.created_since.is_none_or(|since| alert.created_at >= since)
        && filter.created_before.is_none_or(|before| alert.created_at < before)
        && filter.least_events.is_none_or(|least| alert.event_count >= least)
        && filter.most_events.is_none_or(|most| alert.event_count <= most)
        && (filter.log_types.is_empty() || filter.log_types.iter().any(|one| alert.log_types.contains(one)))
        && filter.assignee.as_ref().is_none_or(|name| alert.triage.assignee.as_ref() == Some(name))
        && filter.after.as_ref().is_none_or(is_behind)
}

fn tried(row: &Delivery) -> Vec<DeliveryResponse> {
    row.tried.iter().map(|one| DeliveryResponse { ticket: row.ticket.clone(), ..one.clone() }).collect()
}

fn untried(row: &Delivery) -> DeliveryResponse {
    DeliveryResponse {
        destination_id: row.destination.clone(),
        attempt: 0,
        status_code: None,
        success: false,
        message: if row.end == End::Held { HELD.to_owned() } else { String::new() },
        ticket: row.ticket.clone(),
        dispatched_at: None,
    }
}

fn comment(change: &Audited) -> Comment {
    Comment { at: change.at, by: change.by.clone(), text: change.after.clone() }
}

fn counted(hit: &Hit<'_>) -> AlertMatch {
    AlertMatch {
        row_id: hit.row_id,
        log_type: hit.log_type.to_owned(),
        event_time: hit.event_time,
        title: hit.detail.title.clone(),
        context: context(hit.detail.context.clone()),
    }
}

#[async_trait]
impl Desk for MemoryState {
    async fn triage(
        &self,
        ids: &[String],
        change: &TriageChange,
        by: &str,
        now: OffsetDateTime,
    ) -> Result<Vec<String>, StateError> {
        let mut tables = self.lock();
        let mut changed = Vec::new();
        for id in ids {
            let Some(at) = tables.alerts.iter().position(|alert| alert.id == *id) else { continue };
            let status = change.status.map(|status| ("status", status.as_str()));
            let assignee = change.assignee.as_deref().map(|assignee| ("assignee", assignee));
            let comment = change.comment.as_deref().map(|comment| ("comment", comment));
            let before = tables.alerts[at].status;
            for (field, after) in [status, assignee, comment].into_iter().flatten() {
                tables.change(at, field, after, by, now);
            }
            if change.ends() && tables.alerts[at].status != before {
                let told = tables.deliveries.iter_mut();
                let told = told.filter(|row| row.alert == *id && change.tell.contains(&row.destination));
                told.for_each(|row| row.tell(News::Resolved, now));
            }
            changed.push(id.clone());
        }
        Ok(changed)
    }

    async fn history(&self, alert: &str) -> Result<Vec<Audited>, StateError> {
        let tables = self.lock();
        Ok(tables.changes.iter().filter(|(id, _)| id == alert).map(|(_, change)| change.clone()).collect())
    }

    async fn summary(&self, filter: &AlertFilter) -> Result<Summary, StateError> {
        let tables = self.lock();
        let taken: Vec<&Alert> = tables.alerts.iter().filter(|alert| is_wanted(filter, alert)).collect();
        let by = |of: &dyn Fn(&Alert) -> String| {
            let mut counts: BTreeMap<String, u64> = BTreeMap::new();
            taken.iter().for_each(|alert| *counts.entry(of(alert)).or_default() += 1);
            counts.into_iter().collect::<Vec<_>>()
        };
        let mut summary = Summary {
            alerts: taken.len() as u64,
            events: taken.iter().map(|alert| alert.event_count).sum(),
            rules: by(&|alert| alert.rule_id.clone()),
            more_rules: false,
            severities: by(&|alert| alert.severity.to_string()),
            statuses: by(&|alert| alert.status.as_str().into()),
            types: by(&|alert| alert.kind.as_str().into()),
            days: by(&|alert| alert.created_at.date().to_string()),
        };
        summary.arrange();
        Ok(summary)
    }

    async fn counted_by(&self, alert: &str, after: Option<RowId>, limit: u32) -> Result<Vec<AlertMatch>, StateError> {
        let tables = self.lock();
        let of_alert =
            tables.counted_by.iter().filter(|((id, row), _)| id == alert && after.is_none_or(|after| *row > after));
        Ok(of_alert.map(|(_, found)| found.clone()).take(limit as usize).collect())
    }

    async fn resend(
        &self,
        alert: &str,
        destinations: &[String],
        by: &str,
        now: OffsetDateTime,
    ) -> Result<bool, StateError> {
        let mut tables = self.lock();
        let Some(at) = tables.alerts.iter().position(|own| own.id == alert) else { return Ok(false) };
        for destination in destinations {
            let known = tables.deliveries.iter_mut().find(|row| row.alert == alert && row.destination == *destination);
            match known {
                Some(row) => {
                    row.resent += 1;
                    (row.end, row.attempts, row.next_attempt, row.leased_until) = (End::Pending, 0, now, None);
                    (row.news, row.follow, row.ticket) = (News::Opened, None, None);
                }
                None => {
                    let row = Delivery { resent: 1, ..Delivery::new(alert, destination, now) };
                    tables.deliveries.push(row);
                }
            }
            tables.change(at, "resent", destination, by, now);
        }
        Ok(true)
    }
}
