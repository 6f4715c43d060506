//! Going through the ledger and the rejects, page by page.

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use time::OffsetDateTime;

use super::ledger::check_claim;
use super::{Durability, During, SqliteStore, commits};
use crate::model::{ObjectId, Reject};
use crate::state::columns::{attempts, count, ended, int, micros, moment_or_null, named, object, state, text};
use crate::state::{
    Backlog, ClaimToken, Ended, KnownVersion, LedgerEntry, Mending, ObjectFilter, ObjectState, StateError,
};

/// The condition on the state is that of the index `objects_open`; `?1` narrows it.
const OPEN: &str = "
    SELECT *, coalesce(state, open_state) AS stands, CASE WHEN state IS NULL THEN open_reason ELSE reason END AS why
    FROM objects
    WHERE coalesce(state, open_state) IN ('unrouted', 'missing', 'archived', 'parked', 'quarantined', 'partial')
        AND instr(?1, coalesce(state, open_state)) > 0 AND (claimed_until IS NULL OR claimed_until <= ?9)
        AND id > ?2 AND (?3 IS NULL OR source = ?3) AND (?4 IS NULL OR bucket = ?4)
        AND (?5 IS NULL OR substr(key, 1, length(?5)) = ?5)
        AND (?6 IS NULL OR finished_at >= ?6) AND (?7 IS NULL OR finished_at < ?7)
    ORDER BY id LIMIT ?8";

/// Each half has an index. Up to the moment of the object behind the last, so that none of that moment is left out.
const ENDED: &str = "
    WITH done AS (
        SELECT finished_at FROM objects
        WHERE state IN ('committed', 'empty', 'folder', 'excluded', 'superseded')
            AND finished_at > coalesce(?1, -1) AND finished_at <= ?2
        ORDER BY finished_at LIMIT ?3 + 1
    ), open AS (
        SELECT finished_at FROM objects
        WHERE coalesce(state, open_state) IN ('unrouted', 'missing', 'archived', 'parked', 'quarantined', 'partial')
            AND state IS NOT NULL AND state <> 'partial' AND finished_at > coalesce(?1, -1) AND finished_at <= ?2
        ORDER BY finished_at LIMIT ?3 + 1
    ), behind AS (
        SELECT finished_at FROM (SELECT * FROM done UNION ALL SELECT * FROM open) AS ended
        ORDER BY finished_at LIMIT 1 OFFSET ?3)
    SELECT * FROM objects
    WHERE state IN ('committed', 'empty', 'folder', 'excluded', 'superseded') AND finished_at > coalesce(?1, -1)
        AND finished_at <= coalesce((SELECT finished_at FROM behind), ?2)
    UNION ALL
    SELECT * FROM objects
    WHERE coalesce(state, open_state) IN ('unrouted', 'missing', 'archived', 'parked', 'quarantined', 'partial')
        AND state IS NOT NULL AND state <> 'partial' AND finished_at > coalesce(?1, -1)
        AND finished_at <= coalesce((SELECT finished_at FROM behind), ?2)
    ORDER BY finished_at, id";

const VERSIONS: &str = "
    SELECT *, (SELECT json_group_object(reason, times) FROM given_up WHERE object_id = objects.id) AS given_up
    FROM objects WHERE bucket = ? AND key = ? ORDER BY finished_at DESC, id LIMIT 1000";

const WITH_REJECTS: &str = "
    SELECT *, state AS stands, reason AS why FROM objects
    WHERE id IN (SELECT object_id FROM rejects WHERE object_id > ?2) AND state = ?1
        AND (claimed_until IS NULL OR claimed_until <= ?9)
        AND (?3 IS NULL OR source = ?3) AND (?4 IS NULL OR bucket = ?4)
        AND (?5 IS NULL OR substr(key, 1, length(?5)) = ?5)
        AND (?6 IS NULL OR finished_at >= ?6) AND (?7 IS NULL OR finished_at < ?7)
    ORDER BY id LIMIT ?8";

#[async_trait]
impl Backlog for SqliteStore {
    async fn open_objects(
        &self,
        states: &[ObjectState],
        filter: &ObjectFilter,
        after: Option<ObjectId>,
        limit: u32,
        now: OffsetDateTime,
    ) -> Result<Vec<LedgerEntry>, StateError> {
        // No name of a state is part of another.
        let states: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
        self.entries(OPEN, &states.join(" "), filter, after, limit, now).await
    }

    async fn ended(
        &self,
        after: Option<OffsetDateTime>,
        until: OffsetDateTime,
        limit: u32,
    ) -> Result<Vec<Ended>, StateError> {
        const ATTEMPT: &str = "list objects that ended";
        let query = sqlx::query(ENDED).bind(after.map(micros)).bind(micros(until)).bind(i64::from(limit));
        let rows = query.fetch_all(&self.readers).await.during(ATTEMPT)?;
        rows.iter().map(ended).collect()
    }

    async fn versions(&self, bucket: &str, key: &str) -> Result<Vec<KnownVersion>, StateError> {
        const ATTEMPT: &str = "look up a key";
        let rows = sqlx::query(VERSIONS).bind(bucket).bind(key).fetch_all(&self.readers).await.during(ATTEMPT)?;
        let version = |row: &SqliteRow| {
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
impl Mending for SqliteStore {
    async fn with_rejects(
        &self,
        filter: &ObjectFilter,
        after: Option<ObjectId>,
        limit: u32,
        now: OffsetDateTime,
    ) -> Result<Vec<LedgerEntry>, StateError> {
        self.entries(WITH_REJECTS, ObjectState::Committed.as_str(), filter, after, limit, now).await
    }

    async fn rejects(&self, object: ObjectId, after: Option<u64>, limit: u32) -> Result<Vec<Reject>, StateError> {
        const ATTEMPT: &str = "read rejected records";
        let rows = sqlx::query("SELECT * FROM rejects WHERE object_id = ? AND ordinal > ? ORDER BY ordinal LIMIT ?")
            .bind(&object.0[..])
            .bind(after.map_or(-1, int))
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .during(ATTEMPT)?;
        let reject = |row: &SqliteRow| {
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
        const ATTEMPT: &str = "claim a committed object";
        let mut tx = self.write(Durability::Process).await?;
        let fence = sqlx::query_scalar(
            "UPDATE objects SET fence = fence + 1, claimed_until = ?2, claimed_at = ?3
             WHERE id = ?1 AND state = 'committed' AND (claimed_until IS NULL OR claimed_until <= ?3)
             RETURNING fence",
        )
        .bind(&object.0[..])
        .bind(micros(until))
        .bind(micros(now))
        .fetch_optional(&mut *tx)
        .await
        .during(ATTEMPT)?;
        if fence.is_some() {
            // Its rejects lie anywhere between its rows: what an earlier replay had come to says nothing of them.
            commits::forget(&mut tx, object).await?;
        }
        tx.commit(ATTEMPT).await?;
        Ok(fence.map(|fence| ClaimToken { object, fence }))
    }

    async fn mend(&self, token: &ClaimToken, ordinals: &[u64], events: u64) -> Result<(), StateError> {
        const ATTEMPT: &str = "mend rejected records";
        let mut tx = self.write(Durability::Power).await?;
        check_claim(&mut tx, token).await?;
        let mut mended = 0;
        for ordinal in ordinals {
            let deleted = sqlx::query("DELETE FROM rejects WHERE object_id = ? AND ordinal = ?")
                .bind(&token.object.0[..])
                .bind(int(*ordinal))
                .execute(&mut *tx)
                .await
                .during(ATTEMPT)?;
            mended += deleted.rows_affected();
        }
        if mended > 0 {
            sqlx::query("UPDATE objects SET events = events + ?2, rejects = max(rejects - ?3, 0) WHERE id = ?1")
                .bind(&token.object.0[..])
                .bind(int(events))
                .bind(int(mended))
                .execute(&mut *tx)
                .await
                .during(ATTEMPT)?;
        }
        tx.commit(ATTEMPT).await
    }
}

impl SqliteStore {
    async fn entries(
        &self,
        query: &'static str,
        states: &str,
        filter: &ObjectFilter,
        after: Option<ObjectId>,
        limit: u32,
        now: OffsetDateTime,
    ) -> Result<Vec<LedgerEntry>, StateError> {
        let rows = sqlx::query(query)
            .bind(states)
            .bind(after.map_or_else(Vec::new, |id| id.0.to_vec()))
            .bind(&filter.source)
            .bind(&filter.bucket)
            .bind(&filter.prefix)
            .bind(filter.since.map(micros))
            .bind(filter.until.map(micros))
            .bind(limit)
            .bind(micros(now))
            .fetch_all(&self.readers)
            .await
            .during("go through the ledger")?;
        let entry = |row: &SqliteRow| {
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
