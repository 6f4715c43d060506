//! The outbox in table `deliveries`. A delivery that succeeded stays so, whatever a late second attempt reports.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::columns::{stored, stored_or_null};
use super::failure::{During, Failure, retried};
use super::{PostgresStore, notices};
use crate::model::{News, Taken};
use crate::state::columns::{micros, pending, text, waiting};
use crate::state::notices::{Condition, Fact, tells_of_failure};
use crate::state::{Failed, Outbox, PendingDelivery, StateError, Waiting};

/// What another daemon is just taking is passed over.
const TAKE: &str = "
    WITH taken AS (
        SELECT alert_id, destination FROM deliveries
        WHERE state = 'pending' AND destination = $4 AND next_attempt <= $1
            AND (leased_until IS NULL OR leased_until <= $1)
        ORDER BY next_attempt, number LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
    ), leased AS (
        UPDATE deliveries AS d SET leased_until = $3 FROM taken
        WHERE d.alert_id = taken.alert_id AND d.destination = taken.destination
        RETURNING d.alert_id, d.destination, d.attempts, d.resent, d.news, d.ticket, d.next_attempt, d.number
    )
    SELECT alerts.*, destination, attempts, resent, news, ticket
    FROM leased JOIN alerts ON alerts.id = alert_id
    ORDER BY next_attempt, number";

const GIVE_BACK: &str = "
    UPDATE deliveries SET leased_until = NULL
    WHERE alert_id = ANY($1) AND destination = $2 AND leased_until = $3 AND state = 'pending'";

const DELIVERED: &str = "
    UPDATE deliveries
    SET state = 'delivered', attempts = attempts + 1, leased_until = NULL, last_error = NULL, finished_at = $3,
        ticket = coalesce($5, ticket)
    WHERE alert_id = $1 AND destination = $2 AND news = $4 AND state <> 'delivered'";

/// Behind a success: what there is to tell since.
const GO_ON: &str = "
    UPDATE deliveries
    SET state = 'pending', news = follow, follow = NULL, attempts = 0, next_attempt = $3, finished_at = NULL
    WHERE alert_id = $1 AND destination = $2 AND state = 'delivered' AND follow IS NOT NULL";

/// Behind the change of the delivery, which has counted it.
const ATTEMPTED: &str = "
    INSERT INTO delivery_attempts (alert_id, destination, attempt, at, status, success, message)
    SELECT alert_id, destination, attempts, $3, $4, CASE WHEN $5::text IS NULL THEN 1 ELSE 0 END, coalesce($5, '')
    FROM deliveries WHERE alert_id = $1 AND destination = $2";

const WAITING: &str = "
    SELECT destination, count(*) AS deliveries, min(created_at) AS oldest
    FROM deliveries JOIN alerts ON alerts.id = alert_id
    WHERE state = 'pending'
    GROUP BY destination
    ORDER BY destination";

const FAILED: &str = "
    UPDATE deliveries
    SET state = CASE WHEN $4::bigint IS NULL THEN 'failed' ELSE 'pending' END, attempts = attempts + 1,
        leased_until = NULL, last_error = $3, next_attempt = coalesce($4, next_attempt),
        finished_at = CASE WHEN $4 IS NULL THEN $5::bigint END
    WHERE alert_id = $1 AND destination = $2 AND news = $6 AND state = 'pending'";

#[async_trait]
impl Outbox for PostgresStore {
    async fn due(
        &self,
        destination: &str,
        now: OffsetDateTime,
        lease: Duration,
        limit: u32,
    ) -> Result<Vec<PendingDelivery>, StateError> {
        retried(move || async move {
            let rows = sqlx::query(TAKE)
                .bind(micros(now))
                .bind(i64::from(limit))
                .bind(micros(now + lease))
                .bind(stored(destination))
                .fetch_all(&self.pool)
                .await
                .during("take deliveries")?;
            Ok(rows.iter().map(pending).collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn give_back(
        &self,
        destination: &str,
        alerts: &[&str],
        leased_until: OffsetDateTime,
    ) -> Result<(), StateError> {
        retried(move || async move {
            let give_back = sqlx::query(GIVE_BACK).bind(alerts).bind(stored(destination)).bind(micros(leased_until));
            give_back.execute(&self.pool).await.during("give deliveries back")?;
            Ok(())
        })
        .await
    }

    async fn delivered(
        &self,
        alert: &str,
        destination: &str,
        news: News,
        taken: &Taken,
        now: OffsetDateTime,
    ) -> Result<(), StateError> {
        retried(move || async move {
            let mut tx = self.begin().await?;
            let marked = sqlx::query(DELIVERED)
                .bind(stored(alert))
                .bind(stored(destination))
                .bind(micros(now))
                .bind(news.as_str())
                .bind(stored_or_null(taken.ticket.as_ref()))
                .execute(&mut *tx)
                .await
                .during("mark a delivery as done")?;
            if marked.rows_affected() == 0 {
                check_exists(&mut tx, alert, destination).await?;
            } else {
                attempted(&mut tx, alert, destination, taken.status, None, now).await?;
                let go_on = sqlx::query(GO_ON).bind(stored(alert)).bind(stored(destination)).bind(micros(now));
                go_on.execute(&mut *tx).await.during("mark a delivery as done")?;
                notices::note(&mut tx, Fact::Delivered, destination, "", now).await?;
            }
            tx.commit().await.during("mark a delivery as done")
        })
        .await
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
        retried(move || async move {
            let mut tx = self.begin().await?;
            let marked = sqlx::query(FAILED)
                .bind(stored(alert))
                .bind(stored(destination))
                .bind(stored(reason))
                .bind(next_attempt.map(micros))
                .bind(micros(now))
                .bind(news.as_str())
                .execute(&mut *tx)
                .await
                .during("mark a delivery as failed")?;
            if marked.rows_affected() == 0 {
                check_exists(&mut tx, alert, destination).await?;
            } else {
                attempted(&mut tx, alert, destination, status, Some(reason), now).await?;
                if next_attempt.is_none() {
                    given_up(&mut tx, alert, destination, reason, now).await?;
                }
            }
            tx.commit().await.during("mark a delivery as failed")
        })
        .await
    }

    async fn waiting(&self) -> Result<Vec<Waiting>, StateError> {
        let rows = sqlx::query(WAITING).fetch_all(&self.pool).await.during("count the deliveries that wait")?;
        rows.iter().map(waiting).collect()
    }
}

async fn attempted(
    connection: &mut PgConnection,
    alert: &str,
    destination: &str,
    status: Option<u16>,
    failure: Option<&str>,
    now: OffsetDateTime,
) -> Result<(), Failure> {
    sqlx::query(ATTEMPTED)
        .bind(stored(alert))
        .bind(stored(destination))
        .bind(micros(now))
        .bind(status.map(i64::from))
        .bind(failure.map(stored))
        .execute(connection)
        .await
        .during("record an attempt to deliver")?;
    Ok(())
}

/// Nobody will be told of this alert there, which somebody should know.
async fn given_up(
    connection: &mut PgConnection,
    alert: &str,
    destination: &str,
    reason: &str,
    now: OffsetDateTime,
) -> Result<(), Failure> {
    let row = sqlx::query("SELECT rule_id FROM alerts WHERE id = $1").bind(stored(alert));
    let rule = text(&row.fetch_one(&mut *connection).await.during("look at an alert")?, "rule_id")?;
    if !tells_of_failure(&rule) {
        return Ok(());
    }
    let detail = format!("alert {alert} of {rule} was given up: {reason}");
    notices::note(connection, Fact::Trouble(Condition::DeliveryFailed), destination, &detail, now).await
}

async fn check_exists(connection: &mut PgConnection, alert: &str, destination: &str) -> Result<(), Failure> {
    let found = sqlx::query("SELECT 1 FROM deliveries WHERE alert_id = $1 AND destination = $2")
        .bind(stored(alert))
        .bind(stored(destination))
        .fetch_optional(connection)
        .await
        .during("look for a delivery")?;
    match found {
        Some(_) => Ok(()),
        None => Err(StateError::Store(format!("there is no delivery of alert {alert} to `{destination}`")).into()),
    }
}
