//! What could not be processed, in tables `quarantined_messages` and `rejects`; each kept once. Objects that may be tried
//! again stand in the ledger.

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use time::OffsetDateTime;

use super::columns::{int, micros, moment, named, text};
use super::ledger::check_claim;
use super::{Durability, During, SqliteStore};
use crate::model::Reject;
use crate::state::{ClaimToken, Quarantine, Quarantined, StateError};

/// An object's address is read from the ledger, where the claim under which its rejects were kept has put it.
const NEWEST: &str = "
    SELECT * FROM (
        SELECT 'message' AS kind, message_id AS subject, reason, CAST(body AS BLOB) AS raw, at
        FROM quarantined_messages ORDER BY at DESC LIMIT ?1)
    UNION ALL
    SELECT * FROM (
        SELECT 'object', 's3://' || bucket || '/' || key, state || CASE reason WHEN '' THEN '' ELSE ': ' || reason END,
            x'' AS raw, finished_at AS at
        FROM objects WHERE state IN ('unrouted', 'missing', 'archived', 'parked', 'quarantined', 'partial')
        ORDER BY at DESC LIMIT ?1)
    UNION ALL
    SELECT * FROM (
        SELECT 'record', 's3://' || bucket || '/' || key || '#' || ordinal, rejects.reason, raw, at
        FROM rejects JOIN objects ON objects.id = object_id ORDER BY at DESC LIMIT ?1)
    ORDER BY at DESC, subject LIMIT ?1";

#[async_trait]
impl Quarantine for SqliteStore {
    async fn keep_message(
        &self,
        message_id: &str,
        body: &str,
        reason: &str,
        now: OffsetDateTime,
    ) -> Result<(), StateError> {
        const ATTEMPT: &str = "keep a message";
        let mut tx = self.write(Durability::Power).await?;
        sqlx::query(
            "INSERT INTO quarantined_messages (message_id, body_hash, body, reason, at) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT DO NOTHING",
        )
        .bind(message_id)
        .bind(&Sha256::digest(body)[..16])
        .bind(body)
        .bind(reason)
        .bind(micros(now))
        .execute(&mut *tx)
        .await
        .during(ATTEMPT)?;
        tx.commit(ATTEMPT).await
    }

    async fn keep_rejects(
        &self,
        token: &ClaimToken,
        rejects: &[Reject],
        now: OffsetDateTime,
    ) -> Result<(), StateError> {
        const ATTEMPT: &str = "keep rejected records";
        let mut tx = self.write(Durability::Process).await?;
        check_claim(&mut tx, token).await?;
        for reject in rejects {
            sqlx::query(
                "INSERT INTO rejects (object_id, ordinal, raw, reason, at, fence) VALUES (?, ?, ?, ?, ?, ?)
                 ON CONFLICT DO UPDATE SET raw = excluded.raw, reason = excluded.reason, fence = excluded.fence
                 WHERE fence < excluded.fence",
            )
            .bind(&token.object.0[..])
            .bind(int(reject.ordinal))
            .bind(&reject.raw[..])
            .bind(&reject.reason)
            .bind(micros(now))
            .bind(token.fence)
            .execute(&mut *tx)
            .await
            .during(ATTEMPT)?;
        }
        tx.commit(ATTEMPT).await
    }

    async fn quarantined(&self, limit: u32) -> Result<Vec<Quarantined>, StateError> {
        let rows =
            sqlx::query(NEWEST).bind(limit).fetch_all(&self.readers).await.during("list what is in quarantine")?;
        rows.iter().map(quarantined).collect()
    }
}

fn quarantined(row: &SqliteRow) -> Result<Quarantined, StateError> {
    Ok(Quarantined {
        kind: named(row, "kind")?,
        subject: text(row, "subject")?,
        reason: text(row, "reason")?,
        raw: Bytes::from(row.try_get::<Vec<u8>, _>("raw").during("read what is in quarantine")?),
        at: moment(row, "at")?,
    })
}
