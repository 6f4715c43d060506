//! Checkpoints, and forgetting what is old in batches small enough for nobody to wait.

use async_trait::async_trait;
use sqlx::SqliteConnection;
use time::OffsetDateTime;

use super::notices::FORGET_HOURS;
use super::{Durability, During, SqliteStore};
use crate::state::columns::{micros, time};
use crate::state::{StateError, Upkeep};

/// The list of states is that of the index `objects_done`. The address of a reject is read from its object.
const FORGET_DONE: &str = "
    DELETE FROM objects WHERE rowid IN (
        SELECT rowid FROM objects
        WHERE state IN ('committed', 'empty', 'folder', 'excluded', 'superseded') AND finished_at < ?1
            AND claimed_until IS NULL AND NOT EXISTS (SELECT 1 FROM rejects WHERE object_id = objects.id)
        ORDER BY finished_at LIMIT ?2)
    RETURNING id";

/// The condition on the state is that of the index `objects_unfinished`. By the last claim and not the first: how far an
/// object has come in the lake must be known for as long as its message comes back.
const FORGET_UNFINISHED: &str = "
    DELETE FROM objects WHERE rowid IN (
        SELECT rowid FROM objects
        WHERE coalesce(state, open_state) IS NULL AND claimed_at < ?1
            AND (claimed_until IS NULL OR claimed_until <= ?1)
            AND NOT EXISTS (SELECT 1 FROM rejects WHERE object_id = objects.id)
        ORDER BY claimed_at LIMIT ?2)
    RETURNING id";

/// The condition on the state is that of the index `objects_unrouted`.
const FORGET_UNROUTED: &str = "
    DELETE FROM objects WHERE rowid IN (
        SELECT rowid FROM objects
        WHERE coalesce(state, open_state) = 'unrouted' AND finished_at < ?1
            AND (claimed_until IS NULL OR claimed_until <= ?1)
            AND NOT EXISTS (SELECT 1 FROM rejects WHERE object_id = objects.id)
        ORDER BY finished_at LIMIT ?2)
    RETURNING id";

/// Deletes what the query finds, with everything that belongs to it, and tells how many.
pub(super) async fn forget(
    connection: &mut SqliteConnection,
    query: &'static str,
    before: OffsetDateTime,
    limit: u32,
) -> Result<u64, StateError> {
    const ATTEMPT: &str = "forget old objects";
    let query = sqlx::query_scalar(query).bind(micros(before)).bind(limit);
    let ids: Vec<Vec<u8>> = query.fetch_all(&mut *connection).await.during(ATTEMPT)?;
    for id in &ids {
        for table in [
            "DELETE FROM given_up WHERE object_id = ?",
            "DELETE FROM lake_progress WHERE object_id = ?",
            "DELETE FROM lake_intents WHERE object_id = ?",
        ] {
            sqlx::query(table).bind(id).execute(&mut *connection).await.during(ATTEMPT)?;
        }
    }
    Ok(ids.len() as u64)
}

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
        let mut forgotten = forget(&mut tx, FORGET_DONE, before, limit).await?;
        let room = u32::try_from(forgotten).map_or(0, |done| limit.saturating_sub(done));
        if room > 0 {
            forgotten += forget(&mut tx, FORGET_UNFINISHED, before, room).await?;
        }
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
        sqlx::query(FORGET_HOURS).bind(micros(before)).execute(&mut *tx).await.during(ATTEMPT)?;
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
        forgotten += forget(&mut tx, FORGET_UNROUTED, before, limit).await?;
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
