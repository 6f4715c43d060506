//! Checkpoints, and forgetting what is old in batches small enough for nobody to wait.
//!
//! Rows that somebody is at work on are passed over, and a row that changed before it was locked is looked at again: what
//! is claimed at this moment is not forgotten.

use async_trait::async_trait;
use sqlx::{Executor, Postgres};
use time::OffsetDateTime;

use super::PostgresStore;
use super::columns::stored;
use super::failure::{During, Failure, retried};
use super::notices::FORGET_HOURS;
use crate::state::columns::{Columns, micros, time};
use crate::state::{StateError, Upkeep};

/// Deletes the objects that the condition finds, with everything that belongs to them, and tells how many.
macro_rules! forget_where {
    ($condition:literal, $age:literal) => {
        concat!(
            "WITH old AS (
                SELECT id FROM objects WHERE ",
            $condition,
            " AND NOT EXISTS (SELECT 1 FROM rejects WHERE object_id = objects.id)
                ORDER BY ",
            $age,
            " LIMIT $2 FOR UPDATE SKIP LOCKED
            ), gone AS (DELETE FROM objects USING old WHERE objects.id = old.id RETURNING objects.id),
            tries AS (DELETE FROM given_up WHERE object_id IN (SELECT id FROM old)),
            progress AS (DELETE FROM lake_progress WHERE object_id IN (SELECT id FROM old)),
            intents AS (DELETE FROM lake_intents WHERE object_id IN (SELECT id FROM old))
            SELECT count(*) FROM gone"
        )
    };
}

/// The list of states is that of the index `objects_done`. The address of a reject is read from its object.
const FORGET_DONE: &str = forget_where!(
    "state IN ('committed', 'empty', 'folder', 'excluded', 'superseded') AND finished_at < $1
        AND claimed_until IS NULL",
    "finished_at"
);

/// The condition on the state is that of the index `objects_unfinished`. By the last claim and not the first: how far an
/// object has come in the lake must be known for as long as its message comes back.
const FORGET_UNFINISHED: &str = forget_where!(
    "coalesce(state, open_state) IS NULL AND claimed_at < $1 AND (claimed_until IS NULL OR claimed_until <= $1)",
    "claimed_at"
);

/// The condition on the state is that of the index `objects_unrouted`.
const FORGET_UNROUTED: &str = forget_where!(
    "coalesce(state, open_state) = 'unrouted' AND finished_at < $1 AND (claimed_until IS NULL OR claimed_until <= $1)",
    "finished_at"
);

/// The condition is that of the index `objects_runs`.
pub(super) const FORGET_RUNS: &str = forget_where!(
    "bucket = 'margay:scheduled' AND claimed_at < $1 AND (claimed_until IS NULL OR claimed_until <= $1)",
    "claimed_at"
);

const FORGET_MESSAGES: &str = "
    DELETE FROM quarantined_messages WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM quarantined_messages WHERE at < $1 ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED))";

const FORGET_REJECTS: &str = "
    DELETE FROM rejects WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM rejects WHERE at < $1 ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED))";

const ATTEMPT: &str = "forget what is old";

pub(super) async fn forget<'c>(
    connection: impl Executor<'c, Database = Postgres>,
    query: &'static str,
    before: OffsetDateTime,
    limit: u64,
) -> Result<u64, Failure> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let query = sqlx::query_scalar::<_, i64>(query).bind(micros(before)).bind(limit);
    Ok(query.fetch_one(connection).await.during(ATTEMPT)?.unsigned_abs())
}

#[async_trait]
impl Upkeep for PostgresStore {
    async fn checkpoint(&self, name: &str) -> Result<Option<String>, StateError> {
        let query = sqlx::query("SELECT position FROM checkpoints WHERE name = $1").bind(stored(name));
        let row = query.fetch_optional(&self.pool).await.during("read a checkpoint")?;
        row.map_or(Ok(None), |row| row.text_or_null("position"))
    }

    async fn save_checkpoint(&self, name: &str, position: Option<&str>, now: OffsetDateTime) -> Result<(), StateError> {
        retried(move || async move {
            let query = match position {
                Some(position) => sqlx::query(
                    "INSERT INTO checkpoints (name, position, at) VALUES ($1, $2, $3)
                     ON CONFLICT (name) DO UPDATE SET position = $2, at = $3",
                )
                .bind(stored(name))
                .bind(stored(position))
                .bind(micros(now)),
                None => sqlx::query("DELETE FROM checkpoints WHERE name = $1").bind(stored(name)),
            };
            query.execute(&self.pool).await.during("save a checkpoint")?;
            Ok(())
        })
        .await
    }

    async fn forget_objects(&self, before: OffsetDateTime, limit: u32) -> Result<u64, StateError> {
        const REMEMBER: &str = "
            INSERT INTO forgotten AS f (one, before) VALUES (1, $1)
            ON CONFLICT (one) DO UPDATE SET before = greatest(f.before, $1)";
        retried(move || async move {
            let limit = u64::from(limit);
            let mut tx = self.begin().await?;
            let mut forgotten = forget(&mut *tx, FORGET_DONE, before, limit).await?;
            if forgotten < limit {
                forgotten += forget(&mut *tx, FORGET_UNFINISHED, before, limit - forgotten).await?;
            }
            if forgotten > 0 {
                sqlx::query(REMEMBER).bind(micros(before)).execute(&mut *tx).await.during(ATTEMPT)?;
            }
            sqlx::query(FORGET_HOURS).bind(micros(before)).execute(&mut *tx).await.during(ATTEMPT)?;
            tx.commit().await.during(ATTEMPT)?;
            Ok(forgotten)
        })
        .await
    }

    async fn forget_kept(&self, before: OffsetDateTime, limit: u32) -> Result<u64, StateError> {
        retried(move || async move {
            let mut forgotten = 0;
            let mut tx = self.begin().await?;
            for query in [FORGET_MESSAGES, FORGET_REJECTS] {
                let query = sqlx::query(query).bind(micros(before)).bind(i64::from(limit));
                forgotten += query.execute(&mut *tx).await.during(ATTEMPT)?.rows_affected();
            }
            forgotten += forget(&mut *tx, FORGET_UNROUTED, before, limit.into()).await?;
            tx.commit().await.during(ATTEMPT)?;
            Ok(forgotten)
        })
        .await
    }

    async fn forgotten_before(&self) -> Result<Option<OffsetDateTime>, StateError> {
        let before: Option<i64> = sqlx::query_scalar("SELECT before FROM forgotten")
            .fetch_optional(&self.pool)
            .await
            .during("read how far back the ledger reaches")?;
        before.map(time).transpose()
    }
}
