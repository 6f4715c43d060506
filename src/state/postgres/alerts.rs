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
use crate::model::{Alert, DeliveryResponse, Detections, Severity};
use crate::state::columns::{Columns, alert, moment_or_null, small, text};
use crate::state::{AlertFilter, AlertStore, ClaimToken, Recorded, StateError};

#[async_trait]
impl AlertStore for PostgresStore {
    async fn record(
        &self,
        token: &ClaimToken,
        detections: &Detections,
        destinations: &[String],
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
        self.with_deliveries(alerts).await
    }

    async fn alert(&self, id: &str) -> Result<Option<Alert>, StateError> {
        let row = sqlx::query("SELECT * FROM alerts WHERE id = $1")
            .bind(stored(id))
            .fetch_optional(&self.pool)
            .await
            .during("read an alert")?;
        let Some(row) = row else { return Ok(None) };
        Ok(self.with_deliveries(vec![alert(&row)?]).await?.pop())
    }
}

impl PostgresStore {
    async fn with_deliveries(&self, mut alerts: Vec<Alert>) -> Result<Vec<Alert>, StateError> {
        let ids: Vec<&str> = alerts.iter().map(|alert| alert.id.as_str()).collect();
        let rows = sqlx::query("SELECT * FROM deliveries WHERE alert_id = ANY($1) ORDER BY destination")
            .bind(ids)
            .fetch_all(&self.pool)
            .await
            .during("read the deliveries of alerts")?;
        let mut of_alert: HashMap<String, Vec<DeliveryResponse>> = HashMap::new();
        for row in &rows {
            of_alert.entry(text(row, "alert_id")?).or_default().push(DeliveryResponse {
                destination_id: text(row, "destination")?,
                attempt: small(row, "attempts")?,
                success: text(row, "state")? == "delivered",
                message: row.text_or_null("last_error")?.unwrap_or_default(),
                dispatched_at: moment_or_null(row, "finished_at")?,
            });
        }
        for alert in &mut alerts {
            alert.delivery_responses = of_alert.remove(&alert.id).unwrap_or_default();
        }
        Ok(alerts)
    }
}

fn list(filter: &AlertFilter) -> QueryBuilder<'_, Postgres> {
    let mut query = QueryBuilder::new("SELECT * FROM alerts WHERE true");
    if let Some(rule_id) = &filter.rule_id {
        query.push(" AND rule_id = ").push_bind(stored(rule_id));
    }
    if let Some(kind) = filter.kind {
        query.push(" AND kind = ").push_bind(kind.as_str());
    }
    if let Some(least) = filter.severity_at_least {
        let names = Severity::ALL.into_iter().filter(|severity| *severity >= least).map(Severity::as_str);
        query.push(" AND severity = ANY(").push_bind(names.collect::<Vec<_>>()).push(")");
    }
    query.push(" ORDER BY created_at DESC, number DESC");
    if let Some(limit) = filter.limit {
        query.push(" LIMIT ").push_bind(i64::from(limit));
    }
    query
}
