//! Checkpoints, and forgetting what is old in batches small enough for nobody to wait.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::columns::{micros, time};
use super::{Durability, During, SqliteStore};
use crate::state::{StateError, Upkeep};

/// The list of states is that of the index `objects_done`. The address of a reject is read from its object.
const FORGET_OBJECTS: &str = "
    DELETE FROM objects WHERE rowid IN (
        SELECT rowid FROM objects
        WHERE state IN ('committed', 'empty', 'folder', 'excluded', 'superseded') AND finished_at < ?1
            AND claimed_until IS NULL AND NOT EXISTS (SELECT 1 FROM rejects WHERE object_id = objects.id)
        ORDER BY finished_at LIMIT ?2)";

#[async_trait]
impl Upkeep for SqliteStore {
    async fn checkpoint(&self, name: &str) -> Result<Option<String>, StateError> {
        sqlx::query_scalar("SELECT position FROM checkpoints WHERE name = ?")
            .bind(name)
            .fetch_optional(&self.readers)
            .await
            .during("read a checkpoint")
    }

    async fn save_checkpoint(&self, name: &str, position: Option<&str>, now: OffsetDateTime) -> Result<(), StateError> {
        const ATTEMPT: &str = "save a checkpoint";
        let mut tx = self.write(Durability::Power).await?;
        let query = match position {
            Some(position) => sqlx::query(
                "INSERT INTO checkpoints (name, position, at) VALUES (?1, ?2, ?3)
                 ON CONFLICT (name) DO UPDATE SET position = ?2, at = ?3",
            )
            .bind(name)
            .bind(position)
            .bind(micros(now)),
            None => sqlx::query("DELETE FROM checkpoints WHERE name = ?").bind(name),
        };
        query.execute(&mut *tx).await.during(ATTEMPT)?;
        tx.commit(ATTEMPT).await
    }

    async fn forget_objects(&self, before: OffsetDateTime, limit: u32) -> Result<u64, StateError> {
        const ATTEMPT: &str = "forget old objects";
        let mut tx = self.write(Durability::Process).await?;
        let forgotten = sqlx::query(FORGET_OBJECTS)
            .bind(micros(before))
            .bind(limit)
            .execute(&mut *tx)
            .await
            .during(ATTEMPT)?
            .rows_affected();
        if forgotten > 0 {
            sqlx::query(
                "INSERT INTO forgotten (one, before) VALUES (1, ?1)
                 ON CONFLICT (one) DO UPDATE SET before = max(before, ?1)",
            )
            .bind(micros(before))
            .execute(&mut *tx)
            .await
            .during(ATTEMPT)?;
        }
        tx.commit(ATTEMPT).await?;
        Ok(forgotten)
    }

    async fn forget_kept(&self, before: OffsetDateTime, limit: u32) -> Result<u64, StateError> {
        const ATTEMPT: &str = "forget what was kept long ago";
        let mut forgotten = 0;
        let mut tx = self.write(Durability::Process).await?;
        for query in [
            "DELETE FROM quarantined_messages WHERE rowid IN
                (SELECT rowid FROM quarantined_messages WHERE at < ?1 ORDER BY at LIMIT ?2)",
            "DELETE FROM rejects WHERE rowid IN (SELECT rowid FROM rejects WHERE at < ?1 ORDER BY at LIMIT ?2)",
        ] {
            let deleted = sqlx::query(query).bind(micros(before)).bind(limit).execute(&mut *tx).await;
            forgotten += deleted.during(ATTEMPT)?.rows_affected();
        }
        tx.commit(ATTEMPT).await?;
        Ok(forgotten)
    }

    async fn forgotten_before(&self) -> Result<Option<OffsetDateTime>, StateError> {
        let before: Option<i64> = sqlx::query_scalar("SELECT before FROM forgotten")
            .fetch_optional(&self.readers)
            .await
            .during("read how far back the ledger reaches")?;
        before.map(time).transpose()
    }
}
