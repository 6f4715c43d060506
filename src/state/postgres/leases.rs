//! Leases, in table `leases`.

use async_trait::async_trait;
use sqlx::Row;
use time::OffsetDateTime;

use super::PostgresStore;
use super::columns::stored;
use super::failure::{During, Failure, retried};
use crate::state::columns::{micros, moment};
use crate::state::leases::{Held, next};
use crate::state::{Lease, Leases, StateError};

#[async_trait]
impl Leases for PostgresStore {
    async fn lease(&self, duty: &str, now: OffsetDateTime, until: OffsetDateTime) -> Result<Option<Lease>, StateError> {
        const ATTEMPT: &str = "take a lease";
        retried(move || async move {
            let mut tx = self.begin().await?;
            // A row that is not there can't be locked: of two that take a new duty at once, both would find none.
            sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('lease ' || $1, 0))")
                .bind(stored(duty))
                .execute(&mut *tx)
                .await
                .during(ATTEMPT)?;
            let row = sqlx::query("SELECT fence, ends_at FROM leases WHERE duty = $1 FOR UPDATE").bind(stored(duty));
            let row = row.fetch_optional(&mut *tx).await.during(ATTEMPT)?;
            let held = match row {
                Some(row) => {
                    Some(Held { fence: row.try_get("fence").during(ATTEMPT)?, until: moment(&row, "ends_at")? })
                }
                None => None,
            };
            let Some(fence) = next(held, now) else { return Ok(None) };
            sqlx::query(
                "INSERT INTO leases (duty, fence, ends_at) VALUES ($1, $2, $3)
                 ON CONFLICT (duty) DO UPDATE SET fence = excluded.fence, ends_at = excluded.ends_at",
            )
            .bind(stored(duty))
            .bind(fence)
            .bind(micros(until))
            .execute(&mut *tx)
            .await
            .during(ATTEMPT)?;
            tx.commit().await.during(ATTEMPT)?;
            Ok::<_, Failure>(Some(Lease { duty: duty.to_owned(), fence }))
        })
        .await
    }

    async fn prolong(&self, lease: &Lease, until: OffsetDateTime) -> Result<bool, StateError> {
        let prolong = sqlx::query("UPDATE leases SET ends_at = $1 WHERE duty = $2 AND fence = $3");
        let prolong = prolong.bind(micros(until)).bind(stored(&lease.duty)).bind(lease.fence);
        let prolonged = prolong.execute(&self.pool).await.during("prolong a lease")?;
        Ok(prolonged.rows_affected() == 1)
    }
}
