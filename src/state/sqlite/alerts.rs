//! Alerts: recorded in one transaction under the claim, listed from the readers.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};
use time::OffsetDateTime;

use super::ledger::check_claim;
use super::record::Recording;
use super::{Durability, During, SqliteStore};
use crate::model::{Alert, DeliveryResponse, Detections, Severity};
use crate::state::columns::{alert, moment_or_null, text};
use crate::state::window::Hit;
use crate::state::{AlertFilter, AlertStore, ClaimToken, Recorded, StateError};

#[async_trait]
impl AlertStore for SqliteStore {
    async fn record(
        &self,
        token: &ClaimToken,
        detections: &Detections,
        destinations: &[String],
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
            alert.delivery_responses = self.deliveries(&alert.id).await?;
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
        alert.delivery_responses = self.deliveries(&alert.id).await?;
        Ok(Some(alert))
    }
}

impl SqliteStore {
    async fn deliveries(&self, alert: &str) -> Result<Vec<DeliveryResponse>, StateError> {
        const ATTEMPT: &str = "read the deliveries of an alert";
        let rows = sqlx::query("SELECT * FROM deliveries WHERE alert_id = ? ORDER BY destination")
            .bind(alert)
            .fetch_all(&self.readers)
            .await
            .during(ATTEMPT)?;
        let response = |row: &SqliteRow| {
            Ok(DeliveryResponse {
                destination_id: text(row, "destination")?,
                attempt: row.try_get("attempts").during(ATTEMPT)?,
                success: text(row, "state")? == "delivered",
                message: row.try_get::<Option<String>, _>("last_error").during(ATTEMPT)?.unwrap_or_default(),
                dispatched_at: moment_or_null(row, "finished_at")?,
            })
        };
        rows.iter().map(response).collect()
    }
}

fn list(filter: &AlertFilter) -> QueryBuilder<'_, Sqlite> {
    let mut query = QueryBuilder::new("SELECT * FROM alerts WHERE true");
    if let Some(rule_id) = &filter.rule_id {
        query.push(" AND rule_id = ").push_bind(rule_id);
    }
    if let Some(kind) = filter.kind {
        query.push(" AND kind = ").push_bind(kind.as_str());
    }
    if let Some(least) = filter.severity_at_least {
        query.push(" AND severity IN (");
        let mut names = query.separated(", ");
        for severity in Severity::ALL.into_iter().filter(|severity| *severity >= least) {
            names.push_bind(severity.as_str());
        }
        query.push(")");
    }
    query.push(" ORDER BY created_at DESC, rowid DESC");
    if let Some(limit) = filter.limit {
        query.push(" LIMIT ").push_bind(limit);
    }
    query
}
