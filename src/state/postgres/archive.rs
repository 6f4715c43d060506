//! Kept things by filter and by id. Ids are computed from what is stored anyway.

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::Row;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;

use super::PostgresStore;
use super::columns::{stored, stored_or_null};
use super::failure::{During, retried};
use crate::model::ObjectId;
use crate::state::archive::{KeptId, body_hash};
use crate::state::columns::{count, micros, moment, name, named, text};
use crate::state::{Archive, KeptFilter, Quarantined, StateError};

/// The columns of a kept message, object and record. An object's address is read from the ledger, where the claim under
/// which its rejects were kept has put it.
macro_rules! message {
    () => {
        "SELECT 'message' AS kind, 'm' || left(encode(body_hash, 'hex'), 12) AS kept_id, message_id AS subject, reason,
            body AS raw, at
        FROM quarantined_messages WHERE "
    };
}
macro_rules! object {
    () => {
        "SELECT 'object' AS kind, 'o' || left(encode(id, 'hex'), 12) AS kept_id,
            's3://' || bucket || '/' || key AS subject,
            coalesce(state, open_state) || coalesce(': ' ||
                nullif(CASE WHEN state IS NULL THEN open_reason ELSE reason END, ''), '') AS reason,
            ''::bytea AS raw, finished_at AS at
        FROM objects
        WHERE coalesce(state, open_state) IN ('unrouted', 'missing', 'archived', 'parked', 'quarantined', 'partial') AND "
    };
}
macro_rules! record {
    () => {
        "SELECT 'record' AS kind, 'r' || left(encode(object_id, 'hex'), 12) || '-' || ordinal AS kept_id,
            's3://' || bucket || '/' || key || '#' || ordinal AS subject, rejects.reason AS reason, raw, at
        FROM rejects JOIN objects ON objects.id = object_id WHERE "
    };
}

/// Each kind by its own index, then all together. `$1` limit, `$2` kind, `$3` since, `$4` until, `$5` part of the subject.
const KEPT: &str = concat!(
    "(",
    message!(),
    "coalesce($2, 'message') = 'message' AND ($3::bigint IS NULL OR at >= $3) AND ($4::bigint IS NULL OR at < $4)
        AND ($5::text IS NULL OR strpos(message_id, $5) > 0) ORDER BY at DESC LIMIT $1)
    UNION ALL (",
    object!(),
    "coalesce($2, 'object') = 'object' AND ($3 IS NULL OR finished_at >= $3) AND ($4 IS NULL OR finished_at < $4)
        AND ($5 IS NULL OR strpos('s3://' || bucket || '/' || key, $5) > 0) ORDER BY finished_at DESC LIMIT $1)
    UNION ALL (",
    record!(),
    "coalesce($2, 'record') = 'record' AND ($3 IS NULL OR at >= $3) AND ($4 IS NULL OR at < $4)
        AND ($5 IS NULL OR strpos('s3://' || bucket || '/' || key || '#' || ordinal, $5) > 0) ORDER BY at DESC LIMIT $1)
    ORDER BY at DESC, subject LIMIT $1"
);

const MESSAGES: &str = concat!(
    message!(),
    "(message_id, body_hash) > ($1, $2) AND ($3::bigint IS NULL OR at >= $3) AND ($4::bigint IS NULL OR at < $4)
        AND ($5::text IS NULL OR strpos(message_id, $5) > 0)
    ORDER BY message_id, body_hash LIMIT $6"
);

const FIND_MESSAGE: &str = concat!(message!(), "body_hash >= $1 AND body_hash <= $2 ORDER BY message_id LIMIT 100");
const FIND_OBJECT: &str = concat!(object!(), "id >= $1 AND id <= $2");
const FIND_RECORD: &str = concat!(record!(), "object_id >= $1 AND object_id <= $2 AND ordinal = $3");

#[async_trait]
impl Archive for PostgresStore {
    async fn kept(&self, filter: &KeptFilter, limit: u32) -> Result<Vec<Quarantined>, StateError> {
        let rows = sqlx::query(KEPT)
            .bind(i64::from(limit))
            .bind(filter.kind.as_ref().map(name))
            .bind(filter.since.map(micros))
            .bind(filter.until.map(micros))
            .bind(stored_or_null(filter.subject_contains.as_ref()))
            .fetch_all(&self.pool)
            .await
            .during("list what is in quarantine")?;
        rows.iter().map(quarantined).collect()
    }

    async fn find(&self, id: &str) -> Result<Vec<Quarantined>, StateError> {
        let Some(KeptId { kind, start, ordinal }) = KeptId::parse(id) else { return Ok(Vec::new()) };
        let (mut first, mut last) = (start.clone(), start);
        first.resize(16, 0);
        last.resize(16, 0xff);
        let query = match kind {
            'm' => sqlx::query(FIND_MESSAGE).bind(first).bind(last),
            'o' => sqlx::query(FIND_OBJECT).bind(first).bind(last),
            _ => sqlx::query(FIND_RECORD).bind(first).bind(last).bind(ordinal),
        };
        let rows = query.fetch_all(&self.pool).await.during("look for an id in quarantine")?;
        rows.iter().map(quarantined).collect()
    }

    async fn claims(&self, object: ObjectId) -> Result<Option<(u64, OffsetDateTime)>, StateError> {
        // `fence` grows by one with each claim.
        let row = sqlx::query("SELECT fence, claimed_at FROM objects WHERE id = $1 AND claimed_at IS NOT NULL")
            .bind(&object.0[..])
            .fetch_optional(&self.pool)
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
        let (message, hash) = after.map_or_else(Default::default, |kept| (&*kept.subject, body_hash(&kept.raw)));
        let rows = sqlx::query(MESSAGES)
            .bind(stored(message))
            .bind(hash)
            .bind(filter.since.map(micros))
            .bind(filter.until.map(micros))
            .bind(stored_or_null(filter.subject_contains.as_ref()))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .during("go through the messages in quarantine")?;
        rows.iter().map(quarantined).collect()
    }

    async fn forget_message(&self, kept: &Quarantined) -> Result<(), StateError> {
        retried(move || async move {
            sqlx::query("DELETE FROM quarantined_messages WHERE message_id = $1 AND body_hash = $2")
                .bind(stored(&kept.subject))
                .bind(body_hash(&kept.raw))
                .execute(&self.pool)
                .await
                .during("take a message out of quarantine")?;
            Ok(())
        })
        .await
    }
}

fn quarantined(row: &PgRow) -> Result<Quarantined, StateError> {
    Ok(Quarantined {
        id: text(row, "kept_id")?,
        kind: named(row, "kind")?,
        subject: text(row, "subject")?,
        reason: text(row, "reason")?,
        raw: Bytes::from(row.try_get::<Vec<u8>, _>("raw").during("read what is in quarantine")?),
        at: moment(row, "at")?,
    })
}
