//! What could not be processed, in tables `quarantined_messages` and `rejects`; each kept once. Objects that may be tried
//! again stand in the ledger.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::PostgresStore;
use super::columns::stored;
use super::failure::{During, retried};
use super::ledger::check_claim;
use crate::model::Reject;
use crate::state::archive::body_hash;
use crate::state::columns::{int, micros};
use crate::state::{Archive, ClaimToken, KeptFilter, Quarantine, Quarantined, StateError};

/// Of a record that is named twice, the first is kept.
const KEEP: &str = "
    INSERT INTO rejects AS r (object_id, ordinal, raw, reason, at, fence)
    SELECT DISTINCT ON (ordinal) $1, ordinal, raw, reason, $5, $6
    FROM unnest($2::bigint[], $3::bytea[], $4::text[]) WITH ORDINALITY AS kept (ordinal, raw, reason, place)
    ORDER BY ordinal, place
    ON CONFLICT (object_id, ordinal) DO UPDATE
    SET raw = excluded.raw, reason = excluded.reason, fence = excluded.fence
    WHERE r.fence < excluded.fence";

/// Rejects in one statement.
const BATCH: usize = 1000;

#[async_trait]
impl Quarantine for PostgresStore {
    async fn keep_message(
        &self,
        message_id: &str,
        body: &str,
        reason: &str,
        now: OffsetDateTime,
    ) -> Result<(), StateError> {
        retried(move || async move {
            sqlx::query(
                "INSERT INTO quarantined_messages (message_id, body_hash, body, reason, at) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT DO NOTHING",
            )
            .bind(stored(message_id))
            .bind(body_hash(body.as_bytes()))
            .bind(body.as_bytes())
            .bind(stored(reason))
            .bind(micros(now))
            .execute(&self.pool)
            .await
            .during("keep a message")?;
            Ok(())
        })
        .await
    }

    async fn keep_rejects(
        &self,
        token: &ClaimToken,
        rejects: &[Reject],
        now: OffsetDateTime,
    ) -> Result<(), StateError> {
        const ATTEMPT: &str = "keep rejected records";
        retried(move || async move {
            let mut tx = self.begin().await?;
            check_claim(&mut tx, token).await?;
            for batch in rejects.chunks(BATCH) {
                sqlx::query(KEEP)
                    .bind(&token.object.0[..])
                    .bind(batch.iter().map(|reject| int(reject.ordinal)).collect::<Vec<_>>())
                    .bind(batch.iter().map(|reject| &reject.raw[..]).collect::<Vec<_>>())
                    .bind(batch.iter().map(|reject| stored(&reject.reason)).collect::<Vec<_>>())
                    .bind(micros(now))
                    .bind(token.fence)
                    .execute(&mut *tx)
                    .await
                    .during(ATTEMPT)?;
            }
            tx.commit().await.during(ATTEMPT)
        })
        .await
    }

    async fn quarantined(&self, limit: u32) -> Result<Vec<Quarantined>, StateError> {
        self.kept(&KeptFilter::default(), limit).await
    }
}
