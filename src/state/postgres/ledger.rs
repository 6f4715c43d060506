//! The object ledger in table `objects`. A token is valid while the row carries its fence and a claim.
//!
//! What ends a claim is one statement: its parts see the tables as they were before it, and only the first of them decides.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;

use super::PostgresStore;
use super::columns::{stored, stored_or_null};
use super::failure::{During, Failure, retried};
use crate::model::{ObjectId, ObjectRef};
use crate::state::columns::{count, int, micros, moment_or_null, small, state, text};
use crate::state::notices::{Fact, facts_of};
use crate::state::{Attempts, Claim, ClaimToken, Ledger, ObjectOutcome, StateError};

/// Takes the claim when the object is new, or neither finished for good nor held; the condition makes it one statement.
/// The states are those of [`ObjectState::is_final`](crate::state::ObjectState::is_final); of a key whose version is not
/// pinned, `superseded` is none of them. Tries are counted from the last outcome on; a claim that was neither finished nor
/// released before this one has crashed.
const CLAIM: &str = "
    INSERT INTO objects AS o (id, bucket, key, version_id, etag, size, source, fence, claimed_until, started,
        first_claimed_at, claimed_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, 1, $9, $9)
    ON CONFLICT (id) DO UPDATE SET source = $7, fence = o.fence + 1, claimed_until = $8, state = NULL, reason = '',
        claimed_at = $9,
        started = CASE WHEN coalesce(o.state, 'partial') = 'partial' THEN o.started + 1 ELSE 1 END,
        crashed = CASE WHEN o.claimed_until IS NOT NULL THEN o.crashed + 1
            WHEN coalesce(o.state, 'partial') = 'partial' THEN o.crashed ELSE 0 END,
        first_claimed_at = CASE WHEN coalesce(o.state, 'partial') = 'partial' THEN o.first_claimed_at ELSE $9 END,
        open_state = nullif(coalesce(o.state, o.open_state), 'superseded'),
        open_reason = CASE WHEN o.state IS NULL THEN o.open_reason ELSE o.reason END
    WHERE (o.state IS NULL OR o.state = 'partial'
            OR ((o.state NOT IN ('committed', 'empty', 'folder', 'excluded', 'superseded')
                    OR (o.state = 'superseded' AND coalesce(o.version_id, 'null') = 'null'))
                AND ($10::bigint IS NULL OR o.claimed_at < $10)))
        AND (o.claimed_until IS NULL OR o.claimed_until <= $9)
    RETURNING o.fence, o.started, o.crashed";

const RELEASE: &str = "
    WITH released AS (
        UPDATE objects SET claimed_until = NULL, reason = CASE WHEN state IS NULL THEN $3 ELSE reason END
        WHERE id = $1 AND fence = $2 AND claimed_until IS NOT NULL RETURNING id, state
    ), given AS (
        INSERT INTO given_up AS g (object_id, reason, times, first_at, last_at)
        SELECT id, $4, 1, $5, $5 FROM released WHERE state IS NULL
        ON CONFLICT (object_id, reason) DO UPDATE SET times = g.times + 1, last_at = excluded.last_at
    ), intents AS (
        -- It was reopened and stays committed: no try, and nobody reads on from where this one had come to.
        DELETE FROM lake_intents WHERE object_id IN (SELECT id FROM released WHERE state IS NOT NULL)
    ), progress AS (
        DELETE FROM lake_progress WHERE object_id IN (SELECT id FROM released WHERE state IS NOT NULL)
    )
    SELECT EXISTS (SELECT 1 FROM released) OR EXISTS (SELECT 1 FROM objects WHERE id = $1 AND fence = $2)";

const FINISH: &str = "
    WITH finished AS (
        UPDATE objects
        SET claimed_until = NULL, state = $3, reason = $4, events = $5, rejects = $6, bytes = $7, finished_at = $8,
            open_state = NULL, open_reason = ''
        WHERE id = $1 AND fence = $2 AND claimed_until IS NOT NULL RETURNING id, source
    ), facts AS (
        -- What was noted a moment ago is not even locked: all objects of a source meet here.
        INSERT INTO noted (fact, subject, at, detail)
        SELECT fact, source, $8, detail FROM finished, unnest($10::text[], $11::text[]) AS said (fact, detail)
        WHERE source <> '' AND NOT EXISTS (
            SELECT 1 FROM noted AS n WHERE n.fact = said.fact AND n.subject = source AND n.at >= $12)
        ORDER BY fact
        ON CONFLICT (fact, subject) DO UPDATE SET at = excluded.at, detail = excluded.detail WHERE noted.at < $12
    ), intents AS (
        DELETE FROM lake_intents WHERE $9 AND object_id IN (SELECT id FROM finished)
    ), progress AS (
        DELETE FROM lake_progress WHERE $9 AND object_id IN (SELECT id FROM finished)
    ), calls AS (
        DELETE FROM rule_calls WHERE $9 AND object_id IN (SELECT id FROM finished)
    ), given AS (
        INSERT INTO given_up AS g (object_id, reason, times, first_at, last_at)
        SELECT id, $3, 1, $8, $8 FROM finished WHERE $3 = 'partial'
        ON CONFLICT (object_id, reason) DO UPDATE SET times = g.times + 1, last_at = excluded.last_at
    ), settled AS (
        DELETE FROM given_up WHERE $3 <> 'partial' AND object_id IN (SELECT id FROM finished)
    ), shed AS (
        DELETE FROM rejects
        WHERE $3 IN ('committed', 'empty') AND fence < $2 AND object_id IN (SELECT id FROM finished)
    )
    SELECT EXISTS (SELECT 1 FROM finished)
        OR EXISTS (SELECT 1 FROM objects WHERE id = $1 AND fence = $2 AND state IS NOT NULL)";

#[async_trait]
impl Ledger for PostgresStore {
    async fn claim(
        &self,
        object: &ObjectRef,
        source: &str,
        announced: Option<OffsetDateTime>,
        now: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<Claim, StateError> {
        retried(move || async move { self.try_claim(object, source, announced, now, until).await }).await
    }

    async fn renew(&self, token: &ClaimToken, until: OffsetDateTime) -> Result<(), StateError> {
        const RENEW: &str =
            "UPDATE objects SET claimed_until = $3 WHERE id = $1 AND fence = $2 AND claimed_until IS NOT NULL";
        retried(move || async move {
            let query = sqlx::query(RENEW).bind(&token.object.0[..]).bind(token.fence).bind(micros(until));
            let renewed = query.execute(&self.pool).await.during("renew a claim")?;
            Ok(held(renewed.rows_affected() > 0, token)?)
        })
        .await
    }

    async fn release(
        &self,
        token: &ClaimToken,
        reason: &str,
        detail: &str,
        now: OffsetDateTime,
    ) -> Result<(), StateError> {
        retried(move || async move {
            let released = sqlx::query_scalar(RELEASE)
                .bind(&token.object.0[..])
                .bind(token.fence)
                .bind(stored(detail))
                .bind(stored(reason))
                .bind(micros(now))
                .fetch_one(&self.pool)
                .await
                .during("release a claim")?;
            Ok(held(released, token)?)
        })
        .await
    }

    async fn finish(&self, token: &ClaimToken, outcome: &ObjectOutcome, now: OffsetDateTime) -> Result<(), StateError> {
        let (facts, details): (Vec<_>, Vec<_>) = facts_of(outcome).into_iter().unzip();
        let (facts, details) = (
            &facts.iter().map(|fact: &Fact| fact.as_str()).collect::<Vec<_>>(),
            &details.iter().map(|detail: &String| stored(detail).into_owned()).collect::<Vec<_>>(),
        );
        retried(move || async move {
            let finished = sqlx::query_scalar(FINISH)
                .bind(&token.object.0[..])
                .bind(token.fence)
                .bind(outcome.state.as_str())
                .bind(stored(&outcome.reason))
                .bind(int(outcome.events))
                .bind(int(outcome.rejects))
                .bind(int(outcome.bytes))
                .bind(micros(now))
                .bind(outcome.state.ends_reading())
                .bind(facts)
                .bind(details)
                .bind(micros(now - Fact::Events.pace()))
                .fetch_one(&self.pool)
                .await
                .during("finish an object")?;
            Ok(held(finished, token)?)
        })
        .await
    }

    async fn outcome(&self, object: ObjectId) -> Result<Option<ObjectOutcome>, StateError> {
        let row = sqlx::query("SELECT * FROM objects WHERE id = $1")
            .bind(&object.0[..])
            .fetch_optional(&self.pool)
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

impl PostgresStore {
    async fn try_claim(
        &self,
        object: &ObjectRef,
        source: &str,
        announced: Option<OffsetDateTime>,
        now: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<Claim, Failure> {
        const ATTEMPT: &str = "claim an object";
        let id = object.id();
        let granted = sqlx::query(CLAIM)
            .bind(&id.0[..])
            .bind(stored(&object.bucket))
            .bind(stored(&object.key))
            .bind(stored_or_null(object.version_id.as_ref()))
            .bind(stored_or_null(object.etag.as_ref()))
            .bind(object.size.map(int))
            .bind(stored(source))
            .bind(micros(until))
            .bind(micros(now))
            .bind(announced.map(micros))
            .fetch_optional(&self.pool)
            .await
            .during(ATTEMPT)?;
        if let Some(row) = granted {
            let fence = row.try_get("fence").during(ATTEMPT)?;
            let (started, crashed) = (small(&row, "started")?, small(&row, "crashed")?);
            // The claim is held, so nobody adds to them.
            let given_up = if started > 1 { self.given_up(id).await? } else { BTreeMap::new() };
            return Ok(Claim::Granted(ClaimToken { object: id, fence }, Attempts { started, crashed, given_up }));
        }
        let row = sqlx::query("SELECT state, claimed_until FROM objects WHERE id = $1")
            .bind(&id.0[..])
            .fetch_optional(&self.pool)
            .await
            .during(ATTEMPT)?;
        // What was in the way a moment ago may be released, or forgotten, by now.
        let Some(row) = row else { return Err(Failure::conflict(ATTEMPT)) };
        match (state(&row)?, moment_or_null(&row, "claimed_until")?) {
            (Some(state), _) => Ok(Claim::Done(state)),
            (None, Some(until)) => Ok(Claim::Held(until)),
            (None, None) => Err(Failure::conflict(ATTEMPT)),
        }
    }

    async fn given_up(&self, object: ObjectId) -> Result<BTreeMap<String, u32>, Failure> {
        let query = sqlx::query("SELECT reason, times FROM given_up WHERE object_id = $1").bind(&object.0[..]);
        let rows = query.fetch_all(&self.pool).await.during("read how an object's tries went")?;
        rows.iter().map(|row| Ok((text(row, "reason")?, small(row, "times")?))).collect()
    }
}

/// Refuses a token whose claim was lost or has ended, and keeps the claim as it is until the transaction ends.
pub(super) async fn check_claim(connection: &mut PgConnection, token: &ClaimToken) -> Result<(), Failure> {
    const LOCK: &str = "
        SELECT 1 FROM objects WHERE id = $1 AND fence = $2 AND claimed_until IS NOT NULL FOR NO KEY UPDATE";
    let live = sqlx::query(LOCK)
        .bind(&token.object.0[..])
        .bind(token.fence)
        .fetch_optional(connection)
        .await
        .during("check a claim")?;
    Ok(held(live.is_some(), token)?)
}

fn held(is_held: bool, token: &ClaimToken) -> Result<(), StateError> {
    if is_held { Ok(()) } else { Err(StateError::Fenced(token.object)) }
}
