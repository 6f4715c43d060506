//! Leases, in table `leases`.

use async_trait::async_trait;
use sqlx::Row;
use time::OffsetDateTime;

use super::{Durability, During, SqliteStore};
use crate::state::columns::{micros, moment};
use crate::state::leases::{Held, next};
use crate::state::{Lease, Leases, StateError};

#[async_trait]
impl Leases for SqliteStore {
    async fn lease(&self, duty: &str, now: OffsetDateTime, until: OffsetDateTime) -> Result<Option<Lease>, StateError> {
        const ATTEMPT: &str = "take a lease";
        // A power cut ends the holder, too.
        let mut tx = self.write(Durability::Process).await?;
        let row = sqlx::query("SELECT fence, ends_at FROM leases WHERE duty = ?").bind(duty);
        let row = row.fetch_optional(&mut *tx).await.during(ATTEMPT)?;
        let held = match row {
            Some(row) => Some(Held { fence: row.try_get("fence").during(ATTEMPT)?, until: moment(&row, "ends_at")? }),
            None => None,
        };
        let Some(fence) = next(held, now) else {
            return tx.undo(ATTEMPT).await.map(|()| None);
        };
        sqlx::query(
            "INSERT INTO leases (duty, fence, ends_at) VALUES (?, ?, ?)
             ON CONFLICT (duty) DO UPDATE SET fence = excluded.fence, ends_at = excluded.ends_at",
        )
        .bind(duty)
        .bind(fence)
        .bind(micros(until))
        .execute(&mut *tx)
        .await
        .during(ATTEMPT)?;
        tx.commit(ATTEMPT).await?;
        Ok(Some(Lease { duty: duty.to_owned(), fence }))
    }

    async fn prolong(&self, lease: &Lease, until: OffsetDateTime) -> Result<bool, StateError> {
        const ATTEMPT: &str = "prolong a lease";
        let mut tx = self.write(Durability::Process).await?;
        let prolong = sqlx::query("UPDATE leases SET ends_at = ? WHERE duty = ? AND fence = ?");
        let prolong = prolong.bind(micros(until)).bind(&lease.duty).bind(lease.fence);
        let prolonged = prolong.execute(&mut *tx).await.during(ATTEMPT)?;
        tx.commit(ATTEMPT).await?;
        Ok(prolonged.rows_affected() == 1)
    }
}
