//! What rules keep between events, in tables `items` and `item_charges`, and their calls in `rule_calls`.
//!
//! The row of an item is locked for the length of a change, so that each finds what the one before has left. A row that is
//! not there yet cannot be locked: of two that make it at once, one begins anew. Sums of charges change only when the size of
//! an item does, which that of a counter never does: the counters of a rule do not wait for each other.

use async_trait::async_trait;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::PostgresStore;
use super::columns::stored;
use super::failure::{During, Failure, retried};
use crate::model::key_value::{Applied, Call, Item, Next, admit, apply};
use crate::state::StateError;
use crate::state::columns::{Charged, charged, count, int, item, json, micros, text};
use crate::state::key_value::{Caller, Changed, KeyValue, Remember, Told, told};

const ATTEMPT: &str = "change what rules keep";

const LOCK: &str = "SELECT value, expires_at, rule, charge FROM items WHERE key = $1 FOR NO KEY UPDATE";

const INSERT: &str =
    "INSERT INTO items (key, value, expires_at, rule, charge) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";

const UPDATE: &str = "UPDATE items SET value = $2, expires_at = $3, rule = $4, charge = $5 WHERE key = $1";

const CHARGE: &str = "
    INSERT INTO item_charges AS c (rule, bytes) VALUES ($1, $2)
    ON CONFLICT (rule) DO UPDATE SET bytes = c.bytes + excluded.bytes";

/// Nothing when as many calls are not known; of two that come at once, one finds it so.
const REMEMBER: &str = "
    INSERT INTO rule_calls AS c (object_id, row_id, rule, count, calls, at)
    SELECT $1, $2, $3, $4, $5, $6
    WHERE $7 = 0 OR EXISTS (SELECT 1 FROM rule_calls WHERE object_id = $1 AND row_id = $2 AND rule = $3)
    ON CONFLICT (object_id, row_id, rule) DO UPDATE
    SET count = $4, calls = CASE WHEN $8 = 0 THEN $5 ELSE c.calls || $5 END, at = $6
    WHERE c.count = $7";

const EXPIRE: &str = "
    WITH ended AS (
        SELECT key FROM items WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM items USING ended WHERE items.key = ended.key RETURNING items.rule, items.charge
    ), less AS (
        UPDATE item_charges AS c SET bytes = c.bytes - s.charge
        FROM (SELECT rule, sum(charge)::bigint AS charge FROM gone GROUP BY rule) AS s WHERE c.rule = s.rule
    )
    SELECT count(*) FROM gone";

const FORGET_CALLS: &str = "
    DELETE FROM rule_calls WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM rule_calls WHERE at < $1 ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED))";

#[async_trait]
impl KeyValue for PostgresStore {
    async fn item(&self, key: &str) -> Result<Option<Item>, StateError> {
        let query = sqlx::query("SELECT value, expires_at FROM items WHERE key = $1").bind(stored(key));
        let row = query.fetch_optional(&self.pool).await.during("read what rules keep")?;
        row.as_ref().map(item).transpose()
    }

    async fn change(
        &self,
        caller: &Caller<'_>,
        remember: Remember<'_>,
        call: &Call,
        now: OffsetDateTime,
    ) -> Result<Changed, StateError> {
        retried(move || async move {
            let mut tx = self.begin().await?;
            let changed = change(&mut tx, caller, remember, call, now).await?;
            if matches!(changed, Changed::Answered(Ok(_))) {
                tx.commit().await.during(ATTEMPT)?;
            }
            Ok(changed)
        })
        .await
    }

    async fn recall(&self, caller: &Caller<'_>) -> Result<Vec<Told>, StateError> {
        let row = sqlx::query("SELECT calls FROM rule_calls WHERE object_id = $1 AND row_id = $2 AND rule = $3")
            .bind(&caller.object.0[..])
            .bind(&caller.row.0[..])
            .bind(stored(caller.rule))
            .fetch_optional(&self.pool)
            .await
            .during("read the earlier calls of a rule")?;
        row.map_or(Ok(Vec::new()), |row| told(&text(&row, "calls")?))
    }

    async fn forget_items(&self, now: OffsetDateTime, before: OffsetDateTime, limit: u32) -> Result<u64, StateError> {
        const ATTEMPT: &str = "forget what rules kept";
        retried(move || async move {
            let query = sqlx::query_scalar::<_, i64>(EXPIRE).bind(micros(now)).bind(i64::from(limit));
            let ended = query.fetch_one(&self.pool).await.during(ATTEMPT)?;
            let query = sqlx::query(FORGET_CALLS).bind(micros(before)).bind(i64::from(limit));
            let calls = query.execute(&self.pool).await.during(ATTEMPT)?.rows_affected();
            Ok(ended.unsigned_abs() + calls)
        })
        .await
    }
}

/// Comes to nothing unless it is committed.
async fn change(
    tx: &mut PgConnection,
    caller: &Caller<'_>,
    remember: Remember<'_>,
    call: &Call,
    now: OffsetDateTime,
) -> Result<Changed, Failure> {
    let row = sqlx::query(LOCK).bind(stored(&call.key)).fetch_optional(&mut *tx).await.during(ATTEMPT)?;
    let before = row.as_ref().map(charged).transpose()?;
    let Applied { next, answer } = match apply(call, before.as_ref().map(|before| &before.item), now) {
        Ok(applied) => applied,
        Err(refusal) => return Ok(Changed::Answered(Err(refusal))),
    };
    write(tx, caller, call, before.as_ref(), &next).await?;
    for (rule, bytes) in Charged::changes(before.as_ref(), &next, call, caller.rule) {
        let query = sqlx::query(CHARGE).bind(stored(&rule)).bind(bytes);
        query.execute(&mut *tx).await.during(ATTEMPT)?;
    }
    if let Next::Put(item) = &next {
        let bytes = item.charge(&call.key);
        let own = before.as_ref().filter(|before| before.rule == caller.rule).map_or(0, |before| before.bytes);
        if bytes > own {
            // With this charge, which is locked now: nobody else changes the sum.
            let used = used(tx, caller.rule).await?;
            if let Err(refusal) = admit(used.saturating_sub(bytes - own), used) {
                return Ok(Changed::Answered(Err(refusal)));
            }
        }
    }
    let remembered = sqlx::query(REMEMBER)
        .bind(&caller.object.0[..])
        .bind(&caller.row.0[..])
        .bind(stored(caller.rule))
        .bind(i64::from(remember.count()))
        .bind(stored(&remember.lines(call, &answer)))
        .bind(micros(now))
        .bind(i64::from(remember.known))
        .bind(i64::from(remember.keep))
        .execute(tx)
        .await
        .during(ATTEMPT)?;
    if remembered.rows_affected() == 0 { Ok(Changed::Overtaken) } else { Ok(Changed::Answered(Ok(answer))) }
}

async fn write(
    tx: &mut PgConnection,
    caller: &Caller<'_>,
    call: &Call,
    before: Option<&Charged>,
    next: &Next,
) -> Result<(), Failure> {
    let (query, item) = match next {
        Next::Same => return Ok(()),
        Next::Gone => {
            let query = sqlx::query("DELETE FROM items WHERE key = $1").bind(stored(&call.key));
            query.execute(tx).await.during(ATTEMPT)?;
            return Ok(());
        }
        Next::Put(item) if before.is_some() => (UPDATE, item),
        Next::Put(item) => (INSERT, item),
    };
    let value = json(&item.value);
    let written = sqlx::query(query)
        .bind(stored(&call.key))
        .bind(stored(&value))
        .bind(micros(item.expires))
        .bind(stored(caller.rule))
        .bind(int(item.charge(&call.key)))
        .execute(tx)
        .await
        .during(ATTEMPT)?;
    if written.rows_affected() == 0 { Err(Failure::conflict(ATTEMPT)) } else { Ok(()) }
}

async fn used(tx: &mut PgConnection, rule: &str) -> Result<u64, Failure> {
    let query = sqlx::query("SELECT bytes FROM item_charges WHERE rule = $1").bind(stored(rule));
    let row = query.fetch_optional(tx).await.during(ATTEMPT)?;
    Ok(row.map_or(Ok(0), |row| count(&row, "bytes"))?)
}
