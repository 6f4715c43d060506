//! The honest fake: the state store in memory, for one or many daemons of a test. No I/O, no thread, no clock, so that
//! a test can pause the time.
//!
//! A method does all its work under one lock: it is applied whole or not at all, as a transaction is.

mod alerts;
mod backlog;
mod commits;
mod key_value;
mod leases;
mod ledger;
mod notices;
mod revisions;
mod schedules;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use time::OffsetDateTime;

use super::notices::{Condition, Fact, tells_of_failure};
use super::window::{GroupKey, Window};
use super::{
    AlertMatch, Audited, ClaimToken, CommitId, Failed, Outbox, PendingDelivery, Placed, Quarantine, QuarantineKind,
    Quarantined, StateError, Waiting,
};
use crate::model::key_value::Items;
use crate::model::{
    Alert, AlertKind, DeliveryResponse, News, ObjectId, Position, Reject, Revision, RowId, SeenField, Taken,
};

/// Cheap to share as an `Arc`; every holder sees the same state.
#[derive(Default)]
pub struct MemoryState(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    objects: BTreeMap<ObjectId, ledger::Entry>,
    matches: BTreeMap<(Arc<str>, &'static str, RowId), Placed>,
    windows: HashMap<GroupKey, Window>,
    /// Alert id and value.
    values: BTreeSet<(String, String)>,
    /// In the order of their creation.
    alerts: Vec<Alert>,
    /// By alert id.
    counted_by: BTreeMap<(String, RowId), AlertMatch>,
    /// With the alert's id, in the order in which they were made.
    changes: Vec<(String, Audited)>,
    /// In the order in which they were written.
    deliveries: Vec<Delivery>,
    /// By rule, kind and beginning of the hour.
    hours: BTreeMap<(String, &'static str, OffsetDateTime), notices::HourCount>,
    /// Oldest first.
    lifts: Vec<super::Lift>,
    noted: BTreeMap<(Fact, String), (OffsetDateTime, String)>,
    messages: Vec<Quarantined>,
    rejects: BTreeMap<(ObjectId, u64), Kept>,
    intents: BTreeMap<(ObjectId, String, CommitId), commits::Intent>,
    progress: BTreeMap<(ObjectId, String), Position>,
    checkpoints: BTreeMap<String, String>,
    forgotten_before: Option<OffsetDateTime>,
    /// By lower-case log type.
    revisions: BTreeMap<String, Revision>,
    unknown_fields: BTreeMap<String, BTreeMap<String, SeenField>>,
    items: Items,
    calls: BTreeMap<key_value::CallerKey, key_value::Calls>,
    leases: BTreeMap<String, super::leases::Held>,
    /// With the rows that are kept of the run which is due.
    schedules: BTreeMap<String, (super::Planned, Option<super::KeptRows>)>,
}

struct Delivery {
    alert: String,
    destination: String,
    end: End,
    attempts: u32,
    next_attempt: OffsetDateTime,
    leased_until: Option<OffsetDateTime>,
    resent: u32,
    news: News,
    /// What there is to tell next.
    follow: Option<News>,
    ticket: Option<String>,
    /// Every attempt, oldest first.
    tried: Vec<DeliveryResponse>,
}

impl Delivery {
    fn new(alert: &str, destination: &str, now: OffsetDateTime) -> Delivery {
        Delivery {
            alert: alert.to_owned(),
            destination: destination.to_owned(),
            end: End::Pending,
            attempts: 0,
            next_attempt: now,
            leased_until: None,
            resent: 0,
            news: News::Opened,
            follow: None,
            ticket: None,
            tried: Vec::new(),
        }
    }

    /// There is news for the destination, behind what it has not taken yet. Nothing comes behind the end.
    fn tell(&mut self, news: News, now: OffsetDateTime) {
        let is_pending = self.end == End::Pending;
        let is_over = self.news == News::Resolved || self.follow == Some(News::Resolved);
        let is_told = is_pending && (self.news == news || self.follow == Some(news));
        if is_over || is_told || matches!(self.end, End::Failed | End::Held) {
            return;
        }
        if is_pending && self.news == News::Opened {
            self.follow = Some(news);
            return;
        }
        if !is_pending {
            self.next_attempt = now;
        }
        (self.end, self.news, self.attempts, self.follow) = (End::Pending, news, 0, None);
    }

    fn tried(&mut self, status_code: Option<u16>, failure: Option<&str>, now: OffsetDateTime) {
        self.attempts += 1;
        self.leased_until = None;
        self.tried.push(DeliveryResponse {
            destination_id: self.destination.clone(),
            attempt: self.attempts,
            status_code,
            success: failure.is_none(),
            message: failure.unwrap_or_default().to_owned(),
            ticket: None,
            dispatched_at: Some(now),
        });
    }
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Pending,
    Delivered,
    Failed,
    /// By the limit on the alerts of a rule.
    Held,
}

/// A reject of an object.
struct Kept {
    raw: Bytes,
    reason: String,
    at: OffsetDateTime,
    /// Of the claim that found it last.
    fence: i64,
}

impl MemoryState {
    pub fn new() -> MemoryState {
        MemoryState::default()
    }

    /// Ordinals of the rejects that are kept of an object, in order.
    pub fn rejects_of(&self, object: ObjectId) -> Vec<u64> {
        self.lock().rejects.range((object, 0)..=(object, u64::MAX)).map(|((_, ordinal), _)| *ordinal).collect()
    }

    /// How many events a rule has matched, each counted once.
    pub fn matches_of(&self, rule: &str) -> BTreeSet<RowId> {
        let kind = AlertKind::Rule.as_str();
        let tables = self.lock();
        let of_rule = tables.matches.keys().filter(|(id, of_kind, _)| &**id == rule && *of_kind == kind);
        of_rule.map(|(_, _, row)| *row).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl Tables {
    fn delivery(&mut self, alert: &str, destination: &str) -> Result<&mut Delivery, StateError> {
        let found = self.deliveries.iter_mut().find(|row| row.alert == alert && row.destination == destination);
        found.ok_or_else(|| StateError::Store(format!("there is no delivery of alert {alert} to `{destination}`")))
    }
}

#[async_trait]
impl Outbox for MemoryState {
    async fn due(
        &self,
        destination: &str,
        now: OffsetDateTime,
        lease: Duration,
        limit: u32,
    ) -> Result<Vec<PendingDelivery>, StateError> {
        let tables = &mut *self.lock();
        let is_due = |row: &&mut Delivery| {
            row.destination == destination
                && row.end == End::Pending
                && row.next_attempt <= now
                && row.leased_until.is_none_or(|until| until <= now)
        };
        let mut rows: Vec<&mut Delivery> = tables.deliveries.iter_mut().filter(is_due).collect();
        rows.sort_by_key(|row| row.next_attempt);
        rows.truncate(limit as usize);
        let pending = rows.into_iter().map(|row| {
            row.leased_until = Some(now + lease);
            let alert = tables.alerts.iter().find(|alert| alert.id == row.alert);
            let alert = alert.expect("a delivery is written with its alert").clone();
            let (attempts, resent, news, ticket) = (row.attempts, row.resent, row.news, row.ticket.clone());
            PendingDelivery { alert, destination: row.destination.clone(), attempts, resent, news, ticket }
        });
        Ok(pending.collect())
    }

    async fn give_back(
        &self,
        destination: &str,
        alerts: &[&str],
        leased_until: OffsetDateTime,
    ) -> Result<(), StateError> {
        let mut tables = self.lock();
        let is_given = |row: &&mut Delivery| row.destination == destination && alerts.contains(&row.alert.as_str());
        for row in tables.deliveries.iter_mut().filter(is_given) {
            if row.end == End::Pending && row.leased_until == Some(leased_until) {
                row.leased_until = None;
            }
        }
        Ok(())
    }

    async fn delivered(
        &self,
        alert: &str,
        destination: &str,
        news: News,
        taken: &Taken,
        now: OffsetDateTime,
    ) -> Result<(), StateError> {
        let mut tables = self.lock();
        let row = tables.delivery(alert, destination)?;
        if row.end != End::Delivered && row.news == news {
            row.end = End::Delivered;
            row.tried(taken.status, None, now);
            row.ticket = taken.ticket.clone().or(row.ticket.take());
            if let Some(next) = row.follow.take() {
                (row.end, row.news, row.attempts, row.next_attempt) = (End::Pending, next, 0, now);
            }
            tables.note(Fact::Delivered, destination, "", now);
        }
        Ok(())
    }

    async fn failed(
        &self,
        alert: &str,
        destination: &str,
        news: News,
        failed: &Failed<'_>,
        now: OffsetDateTime,
    ) -> Result<(), StateError> {
        let Failed { reason, status, next_attempt } = *failed;
        let mut tables = self.lock();
        let row = tables.delivery(alert, destination)?;
        if row.end != End::Pending || row.news != news {
            return Ok(());
        }
        row.tried(status, Some(reason), now);
        match next_attempt {
            Some(next) => row.next_attempt = next,
            None => {
                row.end = End::Failed;
                let rule = tables.alerts.iter().find(|own| own.id == alert).map(|own| own.rule_id.clone());
                let rule = rule.expect("a delivery is written with its alert");
                if tells_of_failure(&rule) {
                    let detail = format!("alert {alert} of {rule} was given up: {reason}");
                    tables.note(Fact::Trouble(Condition::DeliveryFailed), destination, &detail, now);
                }
            }
        }
        Ok(())
    }

    async fn waiting(&self) -> Result<Vec<Waiting>, StateError> {
        let tables = self.lock();
        let mut waiting: BTreeMap<&str, Waiting> = BTreeMap::new();
        for row in tables.deliveries.iter().filter(|row| row.end == End::Pending) {
            let alert = tables.alerts.iter().find(|alert| alert.id == row.alert);
            let created = alert.expect("a delivery is written with its alert").created_at;
            let none = Waiting { destination: row.destination.clone(), deliveries: 0, oldest: created };
            let of_destination = waiting.entry(&row.destination).or_insert(none);
            of_destination.deliveries += 1;
            of_destination.oldest = of_destination.oldest.min(created);
        }
        Ok(waiting.into_values().collect())
    }
}

#[async_trait]
impl Quarantine for MemoryState {
    async fn keep_message(
        &self,
        message_id: &str,
        body: &str,
        reason: &str,
        now: OffsetDateTime,
    ) -> Result<(), StateError> {
        let mut tables = self.lock();
        if !tables.messages.iter().any(|kept| kept.subject == message_id && kept.raw == body.as_bytes()) {
            tables.messages.push(Quarantined {
                id: backlog::message_id(body.as_bytes()),
                kind: QuarantineKind::Message,
                subject: message_id.to_owned(),
                reason: reason.to_owned(),
                raw: Bytes::copy_from_slice(body.as_bytes()),
                at: now,
            });
        }
        Ok(())
    }

    async fn keep_rejects(
        &self,
        token: &ClaimToken,
        rejects: &[Reject],
        now: OffsetDateTime,
    ) -> Result<(), StateError> {
        let mut tables = self.lock();
        tables.check_claim(token)?;
        for reject in rejects {
            let (raw, reason, fence) = (reject.raw.clone(), reject.reason.clone(), token.fence);
            let place = (token.object, reject.ordinal);
            let at = tables.rejects.get(&place).map_or(now, |kept| kept.at);
            tables.rejects.insert(place, Kept { raw, reason, at, fence });
        }
        Ok(())
    }

    async fn quarantined(&self, limit: u32) -> Result<Vec<Quarantined>, StateError> {
        let mut all = self.lock().all_kept();
        all.truncate(limit as usize);
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    async fn open() -> Box<super::MemoryState> {
        Box::new(super::MemoryState::new())
    }

    mod contract {
        crate::state::contract::contract_tests!(super::super::open);
    }
}
