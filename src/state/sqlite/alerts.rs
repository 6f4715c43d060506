//! Alerts: recorded in one transaction under the claim, listed from the readers.

use async_trait::async_trait;
use sqlx::{QueryBuilder, Sqlite};
use time::OffsetDateTime;

use super::ledger::check_claim;
use super::record::Recording;
use super::{Durability, During, SqliteStore};
use crate::model::{Alert, DeliveryResponse, Detections, Receiver, Severity};
use crate::state::columns::{alert, delivery_response, int, json, micros};
use crate::state::window::Hit;
use crate::state::{AlertFilter, AlertStore, ClaimToken, Recorded, StateError};

#[async_trait]
impl AlertStore for SqliteStore {
    async fn record(
        &self,
        token: &ClaimToken,
        detections: &Detections,
        destinations: &[Receiver],
        now: OffsetDateTime,
    ) -> Result<Recorded, StateError> {
        let mut tx = self.write(Durability::Process).await?;
        check_claim(&mut tx, token).await?;
        let mut recording = Recording::new(&mut tx, token.object, destinations, now);
        for found in &detections.matches {
            recording.add(&Hit::from(found)).await?;
        }
        for fault in &detections.faults {
            recording.add(&Hit::from(fault)).await?;
        }
        let recorded = recording.save().await?;
        tx.commit("record matches").await?;
        Ok(recorded)
    }

    async fn alerts(&self, filter: &AlertFilter) -> Result<Vec<Alert>, StateError> {
        let rows = list(filter).build().fetch_all(&self.readers).await.during("list alerts")?;
        let mut alerts = rows.iter().map(alert).collect::<Result<Vec<_>, _>>()?;
        for alert in &mut alerts {
            self.complete(alert).await?;
        }
        Ok(alerts)
    }

    async fn alert(&self, id: &str) -> Result<Option<Alert>, StateError> {
        let row = sqlx::query("SELECT * FROM alerts WHERE id = ?")
            .bind(id)
            .fetch_optional(&self.readers)
            .await
            .during("read an alert")?;
        let Some(mut alert) = row.as_ref().map(alert).transpose()? else { return Ok(None) };
        self.complete(&mut alert).await?;
        Ok(Some(alert))
    }
}

/// One row for each attempt, and one for a destination that has seen none. What an earlier version tried has no attempts of
/// its own.
const DELIVERIES: &str = "
    SELECT deliveries.destination, coalesce(attempt, attempts) AS attempt, coalesce(at, finished_at) AS at, status,
        coalesce(success, state = 'delivered') AS success, coalesce(message, last_error, '') AS message, ticket
    FROM deliveries LEFT JOIN delivery_attempts USING (alert_id, destination)
    WHERE alert_id = ?
    ORDER BY deliveries.destination, delivery_attempts.id";

impl SqliteStore {
    /// Adds what stands in other tables.
    async fn complete(&self, alert: &mut Alert) -> Result<(), StateError> {
        alert.delivery_responses = self.deliveries(&alert.id).await?;
        alert.triage.comments = self.comments(&alert.id).await?;
        Ok(())
    }

    async fn deliveries(&self, alert: &str) -> Result<Vec<DeliveryResponse>, StateError> {
        const ATTEMPT: &str = "read the deliveries of an alert";
        let rows = sqlx::query(DELIVERIES).bind(alert).fetch_all(&self.readers).await.during(ATTEMPT)?;
        rows.iter().map(delivery_response).collect()
    }
}

fn list(filter: &AlertFilter) -> QueryBuilder<'_, Sqlite> {
    let mut query = QueryBuilder::new("SELECT * FROM alerts WHERE true");
    push_filter(&mut query, filter);
    let (order, is_behind) = if filter.oldest_first { ("ASC", ">") } else { ("DESC", "<") };
    if let Some(place) = &filter.after {
        query.push(format!(" AND (created_at, id) {is_behind} (")).push_bind(micros(place.created_at));
        query.push(", ").push_bind(&place.id).push(")");
    }
    query.push(format!(" ORDER BY created_at {order}, id {order}"));
    if let Some(limit) = filter.limit {
        query.push(" LIMIT ").push_bind(limit);
    }
    query
}

/// Conditions behind a first one.
pub(super) fn push_filter<'a>(query: &mut QueryBuilder<'a, Sqlite>, filter: &'a AlertFilter) {
    if let Some(rule_id) = &filter.rule_id {
        query.push(" AND rule_id = ").push_bind(rule_id);
    }
    if let Some(kind) = filter.kind {
        query.push(" AND kind = ").push_bind(kind.as_str());
    }
    if let Some(least) = filter.severity_at_least {
        let names = Severity::ALL.into_iter().filter(|severity| *severity >= least).map(Severity::as_str);
        push_one_of(query, "severity", names);
    }
    push_details(query, filter);
}

fn push_details<'a>(query: &mut QueryBuilder<'a, Sqlite>, filter: &'a AlertFilter) {
    push_one_of(query, "severity", filter.severities.iter().map(|severity| severity.as_str()));
    push_one_of(query, "status", filter.statuses.iter().map(|status| status.as_str()));
    if let Some(title) = &filter.title_contains {
        query.push(" AND instr(lower(title), lower(").push_bind(title).push(")) > 0");
    }
    let times = [(" AND created_at >= ", filter.created_since), (" AND created_at < ", filter.created_before)];
    for (condition, time) in times {
        if let Some(time) = time {
            query.push(condition).push_bind(micros(time));
        }
    }
    let counts = [(" AND event_count >= ", filter.least_events), (" AND event_count <= ", filter.most_events)];
    for (condition, events) in counts {
        if let Some(events) = events {
            query.push(condition).push_bind(int(events));
        }
    }
    if !filter.log_types.is_empty() {
        query.push(" AND EXISTS (SELECT 1 FROM json_each(log_types) AS own JOIN json_each(");
        query.push_bind(json(&filter.log_types)).push(") AS asked ON own.value = asked.value)");
    }
    if let Some(assignee) = &filter.assignee {
        query.push(" AND assignee = ").push_bind(assignee);
    }
}

fn push_one_of<'a>(query: &mut QueryBuilder<'a, Sqlite>, column: &str, names: impl Iterator<Item = &'static str>) {
    let mut names = names.peekable();
    if names.peek().is_none() {
        return;
    }
    query.push(format!(" AND {column} IN ("));
    let mut listed = query.separated(", ");
    for name in names {
        listed.push_bind(name);
    }
    query.push(")");
}
