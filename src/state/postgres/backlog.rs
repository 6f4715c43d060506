//! Going through the ledger and the rejects, page by page.

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::Row;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;

use super::PostgresStore;
use super::columns::{stored, stored_or_null};
use super::failure::{During, retried};
use super::ledger::check_claim;
use crate::model::{ObjectId, Reject};
use crate::state::columns::{attempts, count, ended, int, micros, moment_or_null, named, object, state, text};
use crate::state::{
    Backlog, ClaimToken, Ended, KnownVersion, LedgerEntry, Mending, ObjectFilter, ObjectState, StateError,
};

/// What both listings ask of an object, and their order.
macro_rules! entries {
    ($columns:literal, $condition:literal) => {
        concat!(
            "SELECT *, ",
            $columns,
            " FROM objects WHERE ",
            $condition,
            " AND (claimed_until IS NULL OR claimed_until <= $9)
                AND id > $2 AND ($3::text IS NULL OR source = $3) AND ($4::text IS NULL OR bucket = $4)
                AND ($5::text IS NULL OR starts_with(key, $5))
                AND ($6::bigint IS NULL OR finished_at >= $6) AND ($7::bigint IS NULL OR finished_at < $7)
            ORDER BY id LIMIT $8"
        )
    };
}

/// The condition on the state is that of the index `objects_open`; `$1` narrows it.
const OPEN: &str = entries!(
    "coalesce(state, open_state) AS stands, CASE WHEN state IS NULL THEN open_reason ELSE reason END AS why",
    "coalesce(state, open_state) IN ('unrouted', 'missing', 'archived', 'parked', 'quarantined', 'partial')
        AND coalesce(state, open_state) = ANY($1)"
);

const WITH_REJECTS: &str = entries!(
    "state AS stands, reason AS why",
    "state = ANY($1) AND EXISTS (SELECT 1 FROM rejects WHERE object_id = objects.id)"
);

/// Each half has an index. Up to the moment of the object behind the last, so that none of that moment is left out.
const ENDED: &str = "
    WITH done AS (
        SELECT finished_at FROM objects
        WHERE state IN ('committed', 'empty', 'folder', 'excluded', 'superseded')
            AND finished_at > coalesce($1::bigint, -1) AND finished_at <= $2
        ORDER BY finished_at LIMIT $3 + 1
    ), open AS (
        SELECT finished_at FROM objects
        WHERE coalesce(state, open_state) IN ('unrouted', 'missing', 'archived', 'parked', 'quarantined', 'partial')
            AND state IS NOT NULL AND state <> 'partial' AND finished_at > coalesce($1::bigint, -1) AND finished_at <= $2
        ORDER BY finished_at LIMIT $3 + 1
    ), behind AS (
        SELECT finished_at FROM (SELECT * FROM done UNION ALL SELECT * FROM open) AS ended
        ORDER BY finished_at LIMIT 1 OFFSET $3)
    SELECT * FROM objects
    WHERE state IN ('committed', 'empty', 'folder', 'excluded', 'superseded') AND finished_at > coalesce($1::bigint, -1)
        AND finished_at <= coalesce((SELECT finished_at FROM behind), $2)
    UNION ALL
    SELECT * FROM objects
    WHERE coalesce(state, open_state) IN ('unrouted', 'missing', 'archived', 'parked', 'quarantined', 'partial')
        AND state IS NOT NULL AND state <> 'partial' AND finished_at > coalesce($1::bigint, -1)
        AND finished_at <= coalesce((SELECT finished_at FROM behind), $2)
    ORDER BY finished_at, id";

const VERSIONS: &str = "
    SELECT *,
        (SELECT coalesce(json_object_agg(reason, times), '{}') FROM given_up WHERE object_id = objects.id)::text AS given_up
    FROM objects WHERE bucket = $1 AND key = $2 ORDER BY finished_at DESC NULLS LAST, id LIMIT 1000";

const REOPEN: &str = "
    WITH reopened AS (
        UPDATE objects SET fence = fence + 1, claimed_until = $2, claimed_at = $3
        WHERE id = $1 AND state = 'committed' AND (claimed_until IS NULL OR claimed_until <= $3)
        RETURNING id, fence
    ), intents AS (
        -- Its rejects lie anywhere between its rows: what an earlier replay had come to says nothing of them.
        DELETE FROM lake_intents WHERE object_id IN (SELECT id FROM reopened)
    ), progress AS (
        DELETE FROM lake_progress WHERE object_id IN (SELECT id FROM reopened)
    )
    SELECT fence FROM reopened";

const MEND: &str = "
    WITH mended AS (DELETE FROM rejects WHERE object_id = $1 AND ordinal = ANY($2) RETURNING 1)
    UPDATE objects SET events = events + $3, rejects = greatest(rejects - (SELECT count(*) FROM mended), 0)
    WHERE id = $1 AND EXISTS (SELECT 1 FROM mended)";

#[async_trait]
impl Backlog for PostgresStore {
    async fn open_objects(
        &self,
        states: &[ObjectState],
        filter: &ObjectFilter,
        after: Option<ObjectId>,
        limit: u32,
        now: OffsetDateTime,
    ) -> Result<Vec<LedgerEntry>, StateError> {
        self.entries(OPEN, states, filter, after, limit, now).await
    }

    async fn ended(
        &self,
        after: Option<OffsetDateTime>,
        until: OffsetDateTime,
        limit: u32,
    ) -> Result<Vec<Ended>, StateError> {
        const ATTEMPT: &str = "list objects that ended";
        let query = sqlx::query(ENDED).bind(after.map(micros)).bind(micros(until)).bind(i64::from(limit));
        let rows = query.fetch_all(&self.pool).await.during(ATTEMPT)?;
        rows.iter().map(ended).collect()
    }

    async fn versions(&self, bucket: &str, key: &str) -> Result<Vec<KnownVersion>, StateError> {
        let query = sqlx::query(VERSIONS).bind(stored(bucket)).bind(stored(key));
        let rows = query.fetch_all(&self.pool).await.during("look up a key")?;
        let version = |row: &PgRow| {
            Ok(KnownVersion {
                object: object(row)?,
                state: state(row)?,
                reason: text(row, "reason")?,
                finished: moment_or_null(row, "finished_at")?,
                attempts: attempts(row)?,
            })
        };
        rows.iter().map(version).collect()
    }
}

#[async_trait]
impl Mending for PostgresStore {
    async fn with_rejects(
        &self,
        filter: &ObjectFilter,
        after: Option<ObjectId>,
        limit: u32,
        now: OffsetDateTime,
    ) -> Result<Vec<LedgerEntry>, StateError> {
        self.entries(WITH_REJECTS, &[ObjectState::Committed], filter, after, limit, now).await
    }

    async fn rejects(&self, object: ObjectId, after: Option<u64>, limit: u32) -> Result<Vec<Reject>, StateError> {
        const ATTEMPT: &str = "read rejected records";
        let rows = sqlx::query("SELECT * FROM rejects WHERE object_id = $1 AND ordinal > $2 ORDER BY ordinal LIMIT $3")
            .bind(&object.0[..])
            .bind(after.map_or(-1, int))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .during(ATTEMPT)?;
        let reject = |row: &PgRow| {
            Ok(Reject {
                ordinal: count(row, "ordinal")?,
                raw: Bytes::from(row.try_get::<Vec<u8>, _>("raw").during(ATTEMPT)?),
                reason: text(row, "reason")?,
            })
        };
        rows.iter().map(reject).collect()
    }

    async fn reopen(
        &self,
        object: ObjectId,
        now: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<Option<ClaimToken>, StateError> {
        retried(move || async move {
            let fence = sqlx::query_scalar(REOPEN)
                .bind(&object.0[..])
                .bind(micros(until))
                .bind(micros(now))
                .fetch_optional(&self.pool)
                .await
                .during("claim a committed object")?;
            Ok(fence.map(|fence| ClaimToken { object, fence }))
        })
        .await
    }

    async fn mend(&self, token: &ClaimToken, ordinals: &[u64], events: u64) -> Result<(), StateError> {
        const ATTEMPT: &str = "mend rejected records";
        retried(move || async move {
            let mut tx = self.begin().await?;
            check_claim(&mut tx, token).await?;
            sqlx::query(MEND)
                .bind(&token.object.0[..])
                .bind(ordinals.iter().copied().map(int).collect::<Vec<_>>())
                .bind(int(events))
                .execute(&mut *tx)
                .await
                .during(ATTEMPT)?;
            tx.commit().await.during(ATTEMPT)
        })
        .await
    }
}

impl PostgresStore {
    async fn entries(
        &self,
        query: &'static str,
        states: &[ObjectState],
        filter: &ObjectFilter,
        after: Option<ObjectId>,
        limit: u32,
        now: OffsetDateTime,
    ) -> Result<Vec<LedgerEntry>, StateError> {
        let rows = sqlx::query(query)
            .bind(states.iter().map(|state| state.as_str()).collect::<Vec<_>>())
            .bind(after.map_or_else(Vec::new, |id| id.0.to_vec()))
            .bind(stored_or_null(filter.source.as_ref()))
            .bind(stored_or_null(filter.bucket.as_ref()))
            .bind(stored_or_null(filter.prefix.as_ref()))
            .bind(filter.since.map(micros))
            .bind(filter.until.map(micros))
            .bind(i64::from(limit))
            .bind(micros(now))
            .fetch_all(&self.pool)
            .await
            .during("go through the ledger")?;
        let entry = |row: &PgRow| {
            Ok(LedgerEntry {
                object: object(row)?,
                source: text(row, "source")?,
                state: named(row, "stands")?,
                reason: text(row, "why")?,
            })
        };
        rows.iter().map(entry).collect()
    }
}
