//! What could not be processed, in tables `quarantined_messages` and `rejects`; each kept once. Objects that may be tried
//! again stand in the ledger.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::ledger::check_claim;
use super::{Durability, During, SqliteStore};
use crate::model::Reject;
use crate::state::archive::body_hash;
use crate::state::columns::{int, micros};
use crate::state::{Archive, ClaimToken, KeptFilter, Quarantine, Quarantined, StateError};

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
        .bind(body_hash(body.as_bytes()))
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
        self.kept(&KeptFilter::default(), limit).await
    }
}
