//! The object ledger in table `objects`. A token is valid while the row carries its fence and a claim.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use time::OffsetDateTime;

use super::columns::{count, int, micros, moment, named, text};
use super::{Durability, During, SqliteStore, commits, quarantine};
use crate::model::{ObjectId, ObjectRef};
use crate::state::{Claim, ClaimToken, Ledger, ObjectOutcome, ObjectState, StateError};

/// Takes the claim when the object is new, or neither finished for good nor held; the condition makes it one statement.
/// The states are those of [`ObjectState::is_final`].
const CLAIM: &str = "
    INSERT INTO objects (id, bucket, key, version_id, etag, size, source, fence, claimed_until)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8)
    ON CONFLICT (id) DO UPDATE SET source = ?7, fence = fence + 1, claimed_until = ?8, state = NULL, reason = ''
    WHERE (state IS NULL OR state NOT IN ('committed', 'empty', 'folder', 'excluded', 'superseded'))
        AND (claimed_until IS NULL OR claimed_until <= ?9)
    RETURNING fence";

const FINISH: &str = "
    UPDATE objects
    SET claimed_until = NULL, state = ?3, reason = ?4, events = ?5, rejects = ?6, bytes = ?7, finished_at = ?8
    WHERE id = ?1 AND fence = ?2 AND claimed_until IS NOT NULL";

#[async_trait]
impl Ledger for SqliteStore {
    async fn claim(
        &self,
        object: &ObjectRef,
        source: &str,
        now: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<Claim, StateError> {
        const ATTEMPT: &str = "claim an object";
        let id = object.id();
        let mut tx = self.write(Durability::Process).await?;
        let granted = sqlx::query_scalar(CLAIM)
            .bind(&id.0[..])
            .bind(&object.bucket)
            .bind(&object.key)
            .bind(&object.version_id)
            .bind(&object.etag)
            .bind(object.size.map(int))
            .bind(source)
            .bind(micros(until))
            .bind(micros(now))
            .fetch_optional(&mut *tx)
            .await
            .during(ATTEMPT)?;
        if let Some(fence) = granted {
            tx.commit(ATTEMPT).await?;
            return Ok(Claim::Granted(ClaimToken { object: id, fence }));
        }
        let row = sqlx::query("SELECT state, claimed_until FROM objects WHERE id = ?")
            .bind(&id.0[..])
            .fetch_one(&mut *tx)
            .await
            .during(ATTEMPT)?;
        tx.commit(ATTEMPT).await?;
        Ok(match state(&row)? {
            Some(state) => Claim::Done(state),
            None => Claim::Held(moment(&row, "claimed_until")?),
        })
    }

    async fn renew(&self, token: &ClaimToken, until: OffsetDateTime) -> Result<(), StateError> {
        const ATTEMPT: &str = "renew a claim";
        let mut tx = self.write(Durability::Process).await?;
        let renewed = sqlx::query(
            "UPDATE objects SET claimed_until = ?3 WHERE id = ?1 AND fence = ?2 AND claimed_until IS NOT NULL",
        )
        .bind(&token.object.0[..])
        .bind(token.fence)
        .bind(micros(until))
        .execute(&mut *tx)
        .await
        .during(ATTEMPT)?;
        tx.commit(ATTEMPT).await?;
        held(renewed.rows_affected(), token)
    }

    async fn release(&self, token: &ClaimToken) -> Result<(), StateError> {
        const ATTEMPT: &str = "release a claim";
        let mut tx = self.write(Durability::Process).await?;
        let released = sqlx::query("UPDATE objects SET claimed_until = NULL WHERE id = ?1 AND fence = ?2")
            .bind(&token.object.0[..])
            .bind(token.fence)
            .execute(&mut *tx)
            .await
            .during(ATTEMPT)?;
        tx.commit(ATTEMPT).await?;
        held(released.rows_affected(), token)
    }

    async fn finish(&self, token: &ClaimToken, outcome: &ObjectOutcome, now: OffsetDateTime) -> Result<(), StateError> {
        const ATTEMPT: &str = "finish an object";
        let mut tx = self.write(Durability::Power).await?;
        let finished = sqlx::query(FINISH)
            .bind(&token.object.0[..])
            .bind(token.fence)
            .bind(outcome.state.as_str())
            .bind(&outcome.reason)
            .bind(int(outcome.events))
            .bind(int(outcome.rejects))
            .bind(int(outcome.bytes))
            .bind(micros(now))
            .execute(&mut *tx)
            .await
            .during(ATTEMPT)?;
        if finished.rows_affected() == 0 {
            let before = sqlx::query("SELECT 1 FROM objects WHERE id = ? AND fence = ? AND state IS NOT NULL")
                .bind(&token.object.0[..])
                .bind(token.fence)
                .fetch_optional(&mut *tx)
                .await
                .during(ATTEMPT)?;
            held(before.is_some().into(), token)?;
        } else if outcome.state.is_final() {
            commits::forget(&mut tx, token.object).await?;
            quarantine::drop_earlier_rejects(&mut tx, token).await?;
        }
        tx.commit(ATTEMPT).await
    }

    async fn outcome(&self, object: ObjectId) -> Result<Option<ObjectOutcome>, StateError> {
        let row = sqlx::query("SELECT * FROM objects WHERE id = ?")
            .bind(&object.0[..])
            .fetch_optional(&self.readers)
            .await
            .during("read an object's outcome")?;
        let Some(row) = row else { return Ok(None) };
        let Some(state) = state(&row)? else { return Ok(None) };
        Ok(Some(ObjectOutcome {
            state,
            reason: text(&row, "reason")?,
            events: count(&row, "events")?,
            rejects: count(&row, "rejects")?,
            bytes: count(&row, "bytes")?,
        }))
    }
}

/// Refuses a token whose claim was lost or has ended. Called inside the transaction that writes under the claim.
pub(super) async fn check_claim(connection: &mut SqliteConnection, token: &ClaimToken) -> Result<(), StateError> {
    let live = sqlx::query("SELECT 1 FROM objects WHERE id = ? AND fence = ? AND claimed_until IS NOT NULL")
        .bind(&token.object.0[..])
        .bind(token.fence)
        .fetch_optional(connection)
        .await
        .during("check a claim")?;
    held(live.is_some().into(), token)
}

fn held(rows: u64, token: &ClaimToken) -> Result<(), StateError> {
    if rows == 0 { Err(StateError::Fenced(token.object)) } else { Ok(()) }
}

/// `None` while the object is not finished.
fn state(row: &SqliteRow) -> Result<Option<ObjectState>, StateError> {
    match row.try_get::<Option<&str>, _>("state").during("read an object's state")? {
        Some(_) => named(row, "state").map(Some),
        None => Ok(None),
    }
}
