//! Matches, windows and alerts in memory.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{Delivery, End, MemoryState, Tables};
use crate::model::{Alert, DeliveryResponse, Detections};
use crate::state::route::route;
use crate::state::window::{Change, GroupKey, Hit, Window};
use crate::state::{AlertFilter, AlertStore, ClaimToken, Recorded, StateError};

#[async_trait]
impl AlertStore for MemoryState {
    async fn record(
        &self,
        token: &ClaimToken,
        detections: &Detections,
        destinations: &[String],
        now: OffsetDateTime,
    ) -> Result<Recorded, StateError> {
        let mut tables = self.lock();
        tables.check_claim(token)?;
        let hits = detections.matches.iter().map(Hit::from).chain(detections.faults.iter().map(Hit::from));
        let (mut matches, mut opened) = (0, Vec::new());
        for hit in hits.collect::<Vec<_>>() {
            if !tables.matches.insert((hit.rule.id.clone(), hit.kind.as_str(), hit.row_id)) {
                continue;
            }
            matches += 1;
            if hit.is_grouped() && tables.count(&hit, destinations, now) == Change::Opened {
                opened.push(hit.key());
            }
        }
        let opened = opened.iter().map(|key| tables.windows[key].alert(key).expect("its window has opened it"));
        Ok(Recorded { opened: opened.collect(), matches })
    }

    async fn alerts(&self, filter: &AlertFilter) -> Result<Vec<Alert>, StateError> {
        let tables = self.lock();
        let wanted = |alert: &&Alert| {
            filter.rule_id.as_ref().is_none_or(|id| *id == alert.rule_id)
                && filter.kind.is_none_or(|kind| kind == alert.kind)
                && filter.severity_at_least.is_none_or(|least| alert.severity >= least)
        };
        let mut alerts: Vec<Alert> =
            tables.alerts.iter().rev().filter(wanted).map(|alert| tables.with_deliveries(alert)).collect();
        alerts.sort_by_key(|alert| std::cmp::Reverse(alert.created_at));
        alerts.truncate(filter.limit.map_or(usize::MAX, |limit| limit as usize));
        Ok(alerts)
    }

    async fn alert(&self, id: &str) -> Result<Option<Alert>, StateError> {
        let tables = self.lock();
        Ok(tables.alerts.iter().find(|alert| alert.id == id).map(|alert| tables.with_deliveries(alert)))
    }
}

impl Tables {
    /// Counts a hit that is new, and writes the alert and the deliveries that follow.
    fn count(&mut self, hit: &Hit<'_>, destinations: &[String], now: OffsetDateTime) -> Change {
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
        let change = window.count(hit, new_value, now);
        let alert = window.alert(&key);
        match (change, alert) {
            (Change::Opened, Some(alert)) => self.open(alert, hit, destinations, now),
            (Change::Updated, Some(alert)) => self.update(&key, alert),
            _ => {}
        }
        change
    }

    fn open(&mut self, alert: Alert, hit: &Hit<'_>, destinations: &[String], now: OffsetDateTime) {
        for name in route(alert.destinations.as_deref(), &hit.rule.output_ids, destinations) {
            self.deliveries.push(Delivery {
                alert: alert.id.clone(),
                destination: name.to_owned(),
                end: End::Pending,
                attempts: 0,
                next_attempt: now,
                leased_until: None,
                last_error: String::new(),
                finished_at: None,
            });
        }
        self.alerts.push(alert);
    }

    fn update(&mut self, key: &GroupKey, counted: Alert) {
        let alert = self.alerts.iter_mut().find(|alert| alert.id == counted.id);
        let alert = alert.unwrap_or_else(|| unreachable!("the window of {key:?} has opened its alert"));
        alert.event_count = counted.event_count;
        alert.log_types = counted.log_types;
        alert.updated_at = counted.updated_at;
    }

    /// The alert as it is listed.
    fn with_deliveries(&self, alert: &Alert) -> Alert {
        let of_alert = self.deliveries.iter().filter(|row| row.alert == alert.id);
        let mut responses: Vec<DeliveryResponse> = of_alert
            .map(|row| DeliveryResponse {
                destination_id: row.destination.clone(),
                attempt: row.attempts,
                success: row.end == End::Delivered,
                message: row.last_error.clone(),
                dispatched_at: row.finished_at,
            })
            .collect();
        responses.sort_by(|a, b| a.destination_id.cmp(&b.destination_id));
        Alert { delivery_responses: responses, ..alert.clone() }
    }
}
