//! The outbox in table `deliveries`. A delivery that succeeded stays so, whatever a late second attempt reports.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::SqliteConnection;
use time::OffsetDateTime;

use super::{Durability, During, SqliteStore, notices};
use crate::model::{News, Taken};
use crate::state::columns::{micros, pending, waiting};
use crate::state::notices::{Condition, Fact, tells_of_failure};
use crate::state::{Failed, Outbox, PendingDelivery, StateError, Waiting};

const DUE: &str = "
    SELECT alerts.*, destination, attempts, resent, news, ticket
    FROM deliveries JOIN alerts ON alerts.id = alert_id
    WHERE state = 'pending' AND destination = ?3 AND next_attempt <= ?1 AND (leased_until IS NULL OR leased_until <= ?1)
    ORDER BY next_attempt, deliveries.rowid
    LIMIT ?2";

const LEASE: &str = "UPDATE deliveries SET leased_until = ? WHERE alert_id = ? AND destination = ?";

const GIVE_BACK: &str = "
    UPDATE deliveries SET leased_until = NULL
    WHERE alert_id = ?1 AND destination = ?2 AND leased_until = ?3 AND state = 'pending'";

const DELIVERED: &str = "
    UPDATE deliveries
    SET state = 'delivered', attempts = attempts + 1, leased_until = NULL, last_error = NULL, finished_at = ?3,
        ticket = coalesce(?5, ticket)
    WHERE alert_id = ?1 AND destination = ?2 AND news = ?4 AND state <> 'delivered'";

/// Behind a success: what there is to tell since.
const GO_ON: &str = "
    UPDATE deliveries
    SET state = 'pending', news = follow, follow = NULL, attempts = 0, next_attempt = ?3, finished_at = NULL
    WHERE alert_id = ?1 AND destination = ?2 AND state = 'delivered' AND follow IS NOT NULL";

/// Behind the change of the delivery, which has counted it.
const ATTEMPTED: &str = "
    INSERT INTO delivery_attempts (alert_id, destination, attempt, at, status, success, message)
    SELECT alert_id, destination, attempts, ?3, ?4, ?5 IS NULL, coalesce(?5, '')
    FROM deliveries WHERE alert_id = ?1 AND destination = ?2";

const WAITING: &str = "
    SELECT destination, count(*) AS deliveries, min(created_at) AS oldest
    FROM deliveries JOIN alerts ON alerts.id = alert_id
    WHERE state = 'pending'
    GROUP BY destination
    ORDER BY destination";

const FAILED: &str = "
    UPDATE deliveries
    SET state = CASE WHEN ?4 IS NULL THEN 'failed' ELSE 'pending' END, attempts = attempts + 1, leased_until = NULL,
        last_error = ?3, next_attempt = coalesce(?4, next_attempt), finished_at = CASE WHEN ?4 IS NULL THEN ?5 END
    WHERE alert_id = ?1 AND destination = ?2 AND news = ?6 AND state = 'pending'";

#[async_trait]
impl Outbox for SqliteStore {
    async fn due(
        &self,
        destination: &str,
        now: OffsetDateTime,
        lease: Duration,
        limit: u32,
    ) -> Result<Vec<PendingDelivery>, StateError> {
        const ATTEMPT: &str = "take deliveries";
        let mut tx = self.write(Durability::Process).await?;
        let rows = sqlx::query(DUE)
            .bind(micros(now))
            .bind(limit)
            .bind(destination)
            .fetch_all(&mut *tx)
            .await
            .during(ATTEMPT)?;
        let mut due = Vec::with_capacity(rows.len());
        for row in &rows {
            let pending = pending(row)?;
            sqlx::query(LEASE)
                .bind(micros(now + lease))
                .bind(&pending.alert.id)
                .bind(&pending.destination)
                .execute(&mut *tx)
                .await
                .during(ATTEMPT)?;
            due.push(pending);
        }
        tx.commit(ATTEMPT).await?;
        Ok(due)
    }

    async fn give_back(
        &self,
        destination: &str,
        alerts: &[&str],
        leased_until: OffsetDateTime,
    ) -> Result<(), StateError> {
        const ATTEMPT: &str = "give deliveries back";
        let mut tx = self.write(Durability::Process).await?;
        for alert in alerts {
            let give_back = sqlx::query(GIVE_BACK).bind(alert).bind(destination).bind(micros(leased_until));
            give_back.execute(&mut *tx).await.during(ATTEMPT)?;
        }
        tx.commit(ATTEMPT).await
    }

    async fn delivered(
        &self,
        alert: &str,
        destination: &str,
        news: News,
        taken: &Taken,
        now: OffsetDateTime,
    ) -> Result<(), StateError> {
        const ATTEMPT: &str = "mark a delivery as done";
        let mut tx = self.write(Durability::Process).await?;
        let marked = sqlx::query(DELIVERED)
            .bind(alert)
            .bind(destination)
            .bind(micros(now))
            .bind(news.as_str())
            .bind(taken.ticket.as_deref())
            .execute(&mut *tx)
            .await
            .during(ATTEMPT)?;
        if marked.rows_affected() == 0 {
            check_exists(&mut tx, alert, destination).await?;
        } else {
            attempted(&mut tx, alert, destination, taken.status, None, now).await?;
            let go_on = sqlx::query(GO_ON).bind(alert).bind(destination).bind(micros(now));
            go_on.execute(&mut *tx).await.during(ATTEMPT)?;
            notices::note(&mut tx, Fact::Delivered, destination, "", now).await?;
        }
        tx.commit(ATTEMPT).await
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
        const ATTEMPT: &str = "mark a delivery as failed";
        let mut tx = self.write(Durability::Process).await?;
        let marked = sqlx::query(FAILED)
            .bind(alert)
            .bind(destination)
            .bind(reason)
            .bind(next_attempt.map(micros))
            .bind(micros(now))
            .bind(news.as_str())
            .execute(&mut *tx)
            .await
            .during(ATTEMPT)?;
        if marked.rows_affected() == 0 {
            check_exists(&mut tx, alert, destination).await?;
        } else {
            attempted(&mut tx, alert, destination, status, Some(reason), now).await?;
            if next_attempt.is_none() {
                given_up(&mut tx, alert, destination, reason, now).await?;
            }
        }
        tx.commit(ATTEMPT).await
    }

    async fn waiting(&self) -> Result<Vec<Waiting>, StateError> {
        let rows = sqlx::query(WAITING).fetch_all(&self.readers).await.during("count the deliveries that wait")?;
        rows.iter().map(waiting).collect()
    }
}

async fn attempted(
    connection: &mut SqliteConnection,
    alert: &str,
    destination: &str,
    status: Option<u16>,
    failure: Option<&str>,
    now: OffsetDateTime,
) -> Result<(), StateError> {
    sqlx::query(ATTEMPTED)
        .bind(alert)
        .bind(destination)
        .bind(micros(now))
        .bind(status)
        .bind(failure)
        .execute(connection)
        .await
        .during("record an attempt to deliver")?;
    Ok(())
}

/// Nobody will be told of this alert there, which somebody should know.
async fn given_up(
    connection: &mut SqliteConnection,
    alert: &str,
    destination: &str,
    reason: &str,
    now: OffsetDateTime,
) -> Result<(), StateError> {
    let rule = sqlx::query_scalar("SELECT rule_id FROM alerts WHERE id = ?").bind(alert);
    let rule: String = rule.fetch_one(&mut *connection).await.during("look at an alert")?;
    if !tells_of_failure(&rule) {
        return Ok(());
    }
    let detail = format!("alert {alert} of {rule} was given up: {reason}");
    notices::note(connection, Fact::Trouble(Condition::DeliveryFailed), destination, &detail, now).await
}

async fn check_exists(connection: &mut SqliteConnection, alert: &str, destination: &str) -> Result<(), StateError> {
    let found = sqlx::query("SELECT 1 FROM deliveries WHERE alert_id = ? AND destination = ?")
        .bind(alert)
        .bind(destination)
        .fetch_optional(connection)
        .await
        .during("look for a delivery")?;
    match found {
        Some(_) => Ok(()),
        None => Err(StateError::Store(format!("there is no delivery of alert {alert} to `{destination}`"))),
    }
}
