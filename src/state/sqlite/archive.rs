//! Kept things by filter and by id. Ids are computed from what is stored anyway.

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use time::OffsetDateTime;

use super::{Durability, During, SqliteStore};
use crate::model::ObjectId;
use crate::state::archive::{KeptId, body_hash};
use crate::state::columns::{count, micros, moment, name, named, text};
use crate::state::{Archive, KeptFilter, Quarantined, StateError};

/// Each kind by its own index, then all together. An object's address is read from the ledger, where the claim under
/// which its rejects were kept has put it. `?1` limit, `?2` kind, `?3` since, `?4` until, `?5` part of the subject.
const KEPT: &str = "
    SELECT * FROM (
        SELECT 'message' AS kind, 'm' || lower(substr(hex(body_hash), 1, 12)) AS kept_id, message_id AS subject, reason,
            CAST(body AS BLOB) AS raw, at
        FROM quarantined_messages
        WHERE coalesce(?2, 'message') = 'message' AND (?3 IS NULL OR at >= ?3) AND (?4 IS NULL OR at < ?4)
            AND (?5 IS NULL OR instr(message_id, ?5) > 0)
        ORDER BY at DESC LIMIT ?1)
    UNION ALL
    SELECT * FROM (
        SELECT 'object', 'o' || lower(substr(hex(id), 1, 12)), 's3://' || bucket || '/' || key,
            state || CASE reason WHEN '' THEN '' ELSE ': ' || reason END, x'' AS raw, finished_at AS at
        FROM (
            SELECT id, bucket, key, finished_at, coalesce(state, open_state) AS state,
                CASE WHEN state IS NULL THEN open_reason ELSE reason END AS reason
            FROM objects
            WHERE coalesce(state, open_state) IN ('unrouted', 'missing', 'archived', 'parked', 'quarantined', 'partial'))
        WHERE coalesce(?2, 'object') = 'object'
            AND (?3 IS NULL OR finished_at >= ?3) AND (?4 IS NULL OR finished_at < ?4)
            AND (?5 IS NULL OR instr('s3://' || bucket || '/' || key, ?5) > 0)
        ORDER BY at DESC LIMIT ?1)
    UNION ALL
    SELECT * FROM (
        SELECT 'record', 'r' || lower(substr(hex(object_id), 1, 12)) || '-' || ordinal,
            's3://' || bucket || '/' || key || '#' || ordinal, rejects.reason, raw, at
        FROM rejects JOIN objects ON objects.id = object_id
        WHERE coalesce(?2, 'record') = 'record' AND (?3 IS NULL OR at >= ?3) AND (?4 IS NULL OR at < ?4)
            AND (?5 IS NULL OR instr('s3://' || bucket || '/' || key || '#' || ordinal, ?5) > 0)
        ORDER BY at DESC LIMIT ?1)
    ORDER BY at DESC, subject LIMIT ?1";

const MESSAGES: &str = "
    SELECT 'message' AS kind, 'm' || lower(substr(hex(body_hash), 1, 12)) AS kept_id, message_id AS subject, reason,
        CAST(body AS BLOB) AS raw, at
    FROM quarantined_messages
    WHERE (message_id, body_hash) > (?1, ?2) AND (?3 IS NULL OR at >= ?3) AND (?4 IS NULL OR at < ?4)
        AND (?5 IS NULL OR instr(message_id, ?5) > 0)
    ORDER BY message_id, body_hash LIMIT ?6";

const FIND_MESSAGE: &str = "
    SELECT 'message' AS kind, 'm' || lower(substr(hex(body_hash), 1, 12)) AS kept_id, message_id AS subject, reason,
        CAST(body AS BLOB) AS raw, at
    FROM quarantined_messages WHERE substr(body_hash, 1, 6) = ?1 ORDER BY message_id LIMIT 100";

const FIND_OBJECT: &str = "
    SELECT 'object' AS kind, 'o' || lower(substr(hex(id), 1, 12)) AS kept_id, 's3://' || bucket || '/' || key AS subject,
        state || CASE reason WHEN '' THEN '' ELSE ': ' || reason END AS reason, x'' AS raw, finished_at AS at
    FROM (
        SELECT id, bucket, key, finished_at, coalesce(state, open_state) AS state,
            CASE WHEN state IS NULL THEN open_reason ELSE reason END AS reason
        FROM objects
        WHERE coalesce(state, open_state) IN ('unrouted', 'missing', 'archived', 'parked', 'quarantined', 'partial'))
    WHERE id BETWEEN ?1 AND ?2";

const FIND_RECORD: &str = "
    SELECT 'record' AS kind, 'r' || lower(substr(hex(object_id), 1, 12)) || '-' || ordinal AS kept_id,
        's3://' || bucket || '/' || key || '#' || ordinal AS subject, rejects.reason AS reason, raw, at
    FROM rejects JOIN objects ON objects.id = object_id
    WHERE object_id BETWEEN ?1 AND ?2 AND ordinal = ?3";

#[async_trait]
impl Archive for SqliteStore {
    async fn kept(&self, filter: &KeptFilter, limit: u32) -> Result<Vec<Quarantined>, StateError> {
        let rows = sqlx::query(KEPT)
            .bind(limit)
            .bind(filter.kind.as_ref().map(name))
            .bind(filter.since.map(micros))
            .bind(filter.until.map(micros))
            .bind(&filter.subject_contains)
            .fetch_all(&self.readers)
            .await
            .during("list what is in quarantine")?;
        rows.iter().map(quarantined).collect()
    }

    async fn find(&self, id: &str) -> Result<Vec<Quarantined>, StateError> {
        let Some(KeptId { kind, start, ordinal }) = KeptId::parse(id) else { return Ok(Vec::new()) };
        let (mut first, mut last) = (start.clone(), start.clone());
        first.resize(16, 0);
        last.resize(16, 0xff);
        let query = match kind {
            'm' => sqlx::query(FIND_MESSAGE).bind(start),
            'o' => sqlx::query(FIND_OBJECT).bind(first).bind(last),
            _ => sqlx::query(FIND_RECORD).bind(first).bind(last).bind(ordinal),
        };
        let rows = query.fetch_all(&self.readers).await.during("look for an id in quarantine")?;
        rows.iter().map(quarantined).collect()
    }

    async fn claims(&self, object: ObjectId) -> Result<Option<(u64, OffsetDateTime)>, StateError> {
        // `fence` grows by one with each claim.
        let row = sqlx::query("SELECT fence, claimed_at FROM objects WHERE id = ? AND claimed_at IS NOT NULL")
            .bind(&object.0[..])
            .fetch_optional(&self.readers)
            .await
            .during("read how often an object was tried")?;
        row.map(|row| Ok((count(&row, "fence")?, moment(&row, "claimed_at")?))).transpose()
    }

    async fn messages(
        &self,
        filter: &KeptFilter,
        after: Option<&Quarantined>,
        limit: u32,
    ) -> Result<Vec<Quarantined>, StateError> {
        let (message, hash) = after.map_or_else(Default::default, |kept| (kept.subject.clone(), body_hash(&kept.raw)));
        let rows = sqlx::query(MESSAGES)
            .bind(message)
            .bind(hash)
            .bind(filter.since.map(micros))
            .bind(filter.until.map(micros))
            .bind(&filter.subject_contains)
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .during("go through the messages in quarantine")?;
        rows.iter().map(quarantined).collect()
    }

    async fn forget_message(&self, kept: &Quarantined) -> Result<(), StateError> {
        const ATTEMPT: &str = "take a message out of quarantine";
        let mut tx = self.write(Durability::Power).await?;
        sqlx::query("DELETE FROM quarantined_messages WHERE message_id = ? AND body_hash = ?")
            .bind(&kept.subject)
            .bind(body_hash(&kept.raw))
            .execute(&mut *tx)
            .await
            .during(ATTEMPT)?;
        tx.commit(ATTEMPT).await
    }
}

fn quarantined(row: &SqliteRow) -> Result<Quarantined, StateError> {
    Ok(Quarantined {
        id: text(row, "kept_id")?,
        kind: named(row, "kind")?,
        subject: text(row, "subject")?,
        reason: text(row, "reason")?,
        raw: Bytes::from(row.try_get::<Vec<u8>, _>("raw").during("read what is in quarantine")?),
        at: moment(row, "at")?,
    })
}
