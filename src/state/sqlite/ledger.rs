//! The object ledger in table `objects`. A token is valid while the row carries its fence and a claim.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sqlx::{Row, SqliteConnection};
use time::OffsetDateTime;

use super::{Durability, During, SqliteStore, commits, key_value, notices};
use crate::model::{ObjectId, ObjectRef};
use crate::state::columns::{count, int, micros, moment, small, state, text};
use crate::state::{Attempts, Claim, ClaimToken, Ledger, ObjectOutcome, ObjectState, StateError};

/// Takes the claim when the object is new, or neither finished for good nor held; the condition makes it one statement.
/// The states are those of [`ObjectState::is_final`]; of a key whose version is not pinned, `superseded` is none of them. Tries
/// are counted from the last outcome on; a claim that was neither finished nor released before this one has crashed.
const CLAIM: &str = "
    INSERT INTO objects (id, bucket, key, version_id, etag, size, source, fence, claimed_until, started, first_claimed_at,
        claimed_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8, 1, ?9, ?9)
    ON CONFLICT (id) DO UPDATE SET source = ?7, fence = fence + 1, claimed_until = ?8, state = NULL, reason = '',
        claimed_at = ?9,
        started = CASE WHEN coalesce(state, 'partial') = 'partial' THEN started + 1 ELSE 1 END,
        crashed = CASE WHEN claimed_until IS NOT NULL THEN crashed + 1
            WHEN coalesce(state, 'partial') = 'partial' THEN crashed ELSE 0 END,
        first_claimed_at = CASE WHEN coalesce(state, 'partial') = 'partial' THEN first_claimed_at ELSE ?9 END,
        open_state = nullif(coalesce(state, open_state), 'superseded'),
        open_reason = CASE WHEN state IS NULL THEN open_reason ELSE reason END
    WHERE (state IS NULL OR state = 'partial'
            OR ((state NOT IN ('committed', 'empty', 'folder', 'excluded', 'superseded')
                    OR (state = 'superseded' AND coalesce(version_id, 'null') = 'null'))
                AND (?10 IS NULL OR claimed_at IS NULL OR claimed_at < ?10)))
        AND (claimed_until IS NULL OR claimed_until <= ?9)
    RETURNING fence, started, crashed";

const GIVE_UP: &str = "
    INSERT INTO given_up (object_id, reason, times, first_at, last_at) VALUES (?1, ?2, 1, ?3, ?3)
    ON CONFLICT DO UPDATE SET times = times + 1, last_at = excluded.last_at";

const FINISH: &str = "
    UPDATE objects
    SET claimed_until = NULL, state = ?3, reason = ?4, events = ?5, rejects = ?6, bytes = ?7, finished_at = ?8,
        open_state = NULL, open_reason = ''
    WHERE id = ?1 AND fence = ?2 AND claimed_until IS NOT NULL";

#[async_trait]
impl Ledger for SqliteStore {
    async fn claim(
        &self,
        object: &ObjectRef,
        source: &str,
        announced: Option<OffsetDateTime>,
        now: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<Claim, StateError> {
        const ATTEMPT: &str = "claim an object";
        let id = object.id();
        let mut tx = self.write(Durability::Process).await?;
        let granted = sqlx::query(CLAIM)
            .bind(&id.0[..])
            .bind(&object.bucket)
            .bind(&object.key)
            .bind(&object.version_id)
            .bind(&object.etag)
            .bind(object.size.map(int))
            .bind(source)
            .bind(micros(until))
            .bind(micros(now))
            .bind(announced.map(micros))
            .fetch_optional(&mut *tx)
            .await
            .during(ATTEMPT)?;
        if let Some(row) = granted {
            let fence = row.try_get("fence").during(ATTEMPT)?;
            let mut attempts = Attempts {
                started: small(&row, "started")?,
                crashed: small(&row, "crashed")?,
                given_up: BTreeMap::new(),
            };
            if attempts.started > 1 {
                attempts.given_up = given_up(&mut tx, id).await?;
            }
            tx.commit(ATTEMPT).await?;
            return Ok(Claim::Granted(ClaimToken { object: id, fence }, attempts));
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

    async fn release(
        &self,
        token: &ClaimToken,
        reason: &str,
        detail: &str,
        now: OffsetDateTime,
    ) -> Result<(), StateError> {
        const ATTEMPT: &str = "release a claim";
        const RELEASE: &str = "
            UPDATE objects SET claimed_until = NULL, reason = CASE WHEN state IS NULL THEN ?3 ELSE reason END
            WHERE id = ?1 AND fence = ?2 AND claimed_until IS NOT NULL RETURNING state";
        let mut tx = self.write(Durability::Process).await?;
        let released = sqlx::query(RELEASE)
            .bind(&token.object.0[..])
            .bind(token.fence)
            .bind(detail)
            .fetch_optional(&mut *tx)
            .await
            .during(ATTEMPT)?;
        match released.as_ref().map(state).transpose()? {
            Some(None) => give_up(&mut tx, token.object, reason, now).await?,
            // It was reopened and stays committed: no try, and nobody reads on from where this one had come to.
            Some(Some(_)) => commits::forget(&mut tx, token.object).await?,
            None => {
                let ended = sqlx::query("SELECT 1 FROM objects WHERE id = ? AND fence = ?")
                    .bind(&token.object.0[..])
                    .bind(token.fence)
                    .fetch_optional(&mut *tx)
                    .await
                    .during(ATTEMPT)?;
                held(ended.is_some().into(), token)?;
            }
        }
        tx.commit(ATTEMPT).await
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
        } else {
            notices::note_outcome(&mut tx, token.object, outcome, now).await?;
            if outcome.state.ends_reading() {
                commits::forget(&mut tx, token.object).await?;
                key_value::forget_calls(&mut tx, token.object).await?;
            }
            if outcome.state == ObjectState::Partial {
                give_up(&mut tx, token.object, outcome.state.as_str(), now).await?;
            } else if token.fence > 1 {
                settle(&mut tx, token, outcome.state).await?;
            }
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

async fn give_up(
    connection: &mut SqliteConnection,
    object: ObjectId,
    reason: &str,
    now: OffsetDateTime,
) -> Result<(), StateError> {
    let query = sqlx::query(GIVE_UP).bind(&object.0[..]).bind(reason).bind(micros(now));
    query.execute(connection).await.during("count a try")?;
    Ok(())
}

async fn given_up(connection: &mut SqliteConnection, object: ObjectId) -> Result<BTreeMap<String, u32>, StateError> {
    let query = sqlx::query("SELECT reason, times FROM given_up WHERE object_id = ?").bind(&object.0[..]);
    let rows = query.fetch_all(connection).await.during("read how an object's tries went")?;
    rows.iter().map(|row| Ok((text(row, "reason")?, small(row, "times")?))).collect()
}

/// What earlier claims left behind and an outcome makes void.
async fn settle(connection: &mut SqliteConnection, token: &ClaimToken, state: ObjectState) -> Result<(), StateError> {
    const ATTEMPT: &str = "settle an object's earlier tries";
    let tries = sqlx::query("DELETE FROM given_up WHERE object_id = ?").bind(&token.object.0[..]);
    tries.execute(&mut *connection).await.during(ATTEMPT)?;
    if matches!(state, ObjectState::Committed | ObjectState::Empty) {
        let rejects = sqlx::query("DELETE FROM rejects WHERE object_id = ? AND fence < ?");
        rejects.bind(&token.object.0[..]).bind(token.fence).execute(connection).await.during(ATTEMPT)?;
    }
    Ok(())
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
