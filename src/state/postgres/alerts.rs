//! Alerts: recorded in one transaction under the claim, and listed.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::{Postgres, QueryBuilder};
use time::OffsetDateTime;

use super::PostgresStore;
use super::columns::stored;
use super::failure::{During, retried};
use super::ledger::check_claim;
use super::record;
use crate::model::{Alert, Comment, DeliveryResponse, Detections, Receiver, Severity};
use crate::state::columns::{alert, audited, delivery_response, int, micros, text};
use crate::state::{AlertFilter, AlertStore, Audited, ClaimToken, Recorded, StateError};

#[async_trait]
impl AlertStore for PostgresStore {
    async fn record(
        &self,
        token: &ClaimToken,
        detections: &Detections,
        destinations: &[Receiver],
        now: OffsetDateTime,
    ) -> Result<Recorded, StateError> {
        retried(move || async move {
            let mut tx = self.begin().await?;
            check_claim(&mut tx, token).await?;
            let recorded = record::record(&mut tx, token.object, detections, destinations, now).await?;
            tx.commit().await.during("record matches")?;
            Ok(recorded)
        })
        .await
    }

    async fn alerts(&self, filter: &AlertFilter) -> Result<Vec<Alert>, StateError> {
        let rows = list(filter).build().fetch_all(&self.pool).await.during("list alerts")?;
        let alerts = rows.iter().map(alert).collect::<Result<Vec<_>, _>>()?;
        self.complete(alerts).await
    }

    async fn alert(&self, id: &str) -> Result<Option<Alert>, StateError> {
        let row = sqlx::query("SELECT * FROM alerts WHERE id = $1")
            .bind(stored(id))
            .fetch_optional(&self.pool)
            .await
            .during("read an alert")?;
        let Some(row) = row else { return Ok(None) };
        Ok(self.complete(vec![alert(&row)?]).await?.pop())
    }
}

/// One row for each attempt, and one for a destination that has seen none.
const DELIVERIES: &str = "
    SELECT deliveries.alert_id, deliveries.destination, coalesce(attempt, 0) AS attempt, at, status,
        coalesce(success, 0) AS success, coalesce(message, last_error, '') AS message, ticket
    FROM deliveries LEFT JOIN delivery_attempts AS tried USING (alert_id, destination)
    WHERE alert_id = ANY($1)
    ORDER BY deliveries.destination, tried.number";

const COMMENTS: &str = "
    SELECT * FROM alert_changes WHERE alert_id = ANY($1) AND field = 'comment' ORDER BY number";

impl PostgresStore {
    /// Adds what stands in other tables.
    async fn complete(&self, mut alerts: Vec<Alert>) -> Result<Vec<Alert>, StateError> {
        let ids: Vec<&str> = alerts.iter().map(|alert| alert.id.as_str()).collect();
        let deliveries = sqlx::query(DELIVERIES).bind(&ids).fetch_all(&self.pool).await;
        let mut responses: HashMap<String, Vec<DeliveryResponse>> = HashMap::new();
        for row in &deliveries.during("read the deliveries of alerts")? {
            responses.entry(text(row, "alert_id")?).or_default().push(delivery_response(row)?);
        }
        let changes = sqlx::query(COMMENTS).bind(&ids).fetch_all(&self.pool).await;
        let mut comments: HashMap<String, Vec<Comment>> = HashMap::new();
        for row in &changes.during("read the comments on alerts")? {
            let Audited { at, by, after, .. } = audited(row)?;
            comments.entry(text(row, "alert_id")?).or_default().push(Comment { at, by, text: after });
        }
        for alert in &mut alerts {
            alert.delivery_responses = responses.remove(&alert.id).unwrap_or_default();
            alert.triage.comments = comments.remove(&alert.id).unwrap_or_default();
        }
        Ok(alerts)
    }
}

fn list(filter: &AlertFilter) -> QueryBuilder<'_, Postgres> {
    let mut query = QueryBuilder::new("SELECT * FROM alerts WHERE true");
    push_filter(&mut query, filter);
    let (order, is_behind) = if filter.oldest_first { ("ASC", ">") } else { ("DESC", "<") };
    if let Some(place) = &filter.after {
        query.push(format!(" AND (created_at, id) {is_behind} (")).push_bind(micros(place.created_at));
        query.push(", ").push_bind(stored(&place.id)).push(")");
    }
    query.push(format!(" ORDER BY created_at {order}, id {order}"));
    if let Some(limit) = filter.limit {
        query.push(" LIMIT ").push_bind(i64::from(limit));
    }
    query
}

/// Conditions behind a first one.
pub(super) fn push_filter<'a>(query: &mut QueryBuilder<'a, Postgres>, filter: &'a AlertFilter) {
    if let Some(rule_id) = &filter.rule_id {
        query.push(" AND rule_id = ").push_bind(stored(rule_id));
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

fn push_details<'a>(query: &mut QueryBuilder<'a, Postgres>, filter: &'a AlertFilter) {
    push_one_of(query, "severity", filter.severities.iter().map(|severity| severity.as_str()));
    push_one_of(query, "status", filter.statuses.iter().map(|status| status.as_str()));
    if let Some(title) = &filter.title_contains {
        // By collation C only ASCII letters have two cases.
        query.push(r#" AND strpos(lower(title COLLATE "C"), lower("#).push_bind(stored(title));
        query.push(r#" COLLATE "C")) > 0"#);
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
        let asked: Vec<String> = filter.log_types.iter().map(|log_type| stored(log_type).into_owned()).collect();
        query.push(" AND log_types::jsonb ?| ").push_bind(asked);
    }
    if let Some(assignee) = &filter.assignee {
        query.push(" AND assignee = ").push_bind(stored(assignee));
    }
}

fn push_one_of<'a>(query: &mut QueryBuilder<'a, Postgres>, column: &str, names: impl Iterator<Item = &'static str>) {
    let names: Vec<&str> = names.collect();
    if !names.is_empty() {
        query.push(format!(" AND {column} = ANY(")).push_bind(names).push(")");
    }
}
