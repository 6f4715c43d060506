//! What rules keep between events, in tables `items` and `item_charges`, and their calls in `rule_calls`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sqlx::SqliteConnection;
use time::OffsetDateTime;

use super::{Durability, During, SqliteStore};
use crate::model::ObjectId;
use crate::model::key_value::{Applied, Call, Item, Next, admit, apply};
use crate::state::StateError;
use crate::state::columns::{Charged, charged, count, int, item, json, micros, text};
use crate::state::key_value::{Caller, Changed, KeyValue, Remember, Told, told};

const ATTEMPT: &str = "change what rules keep";

const PUT: &str = "
    INSERT INTO items (key, value, expires_at, rule, charge) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (key) DO UPDATE SET value = ?2, expires_at = ?3, rule = ?4, charge = ?5";

const CHARGE: &str = "
    INSERT INTO item_charges (rule, bytes) VALUES (?1, ?2) ON CONFLICT (rule) DO UPDATE SET bytes = bytes + ?2";

const REMEMBER: &str = "
    INSERT INTO rule_calls (object_id, row_id, rule, count, calls, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT (object_id, row_id, rule)
    DO UPDATE SET count = ?4, calls = CASE WHEN ?7 = 0 THEN ?5 ELSE calls || ?5 END, at = ?6";

const EXPIRE: &str = "
    DELETE FROM items
    WHERE rowid IN (SELECT rowid FROM items WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)
    RETURNING rule, charge";

const FORGET_CALLS: &str = "
    DELETE FROM rule_calls WHERE rowid IN (SELECT rowid FROM rule_calls WHERE at < ?1 ORDER BY at LIMIT ?2)";

#[async_trait]
impl KeyValue for SqliteStore {
    async fn item(&self, key: &str) -> Result<Option<Item>, StateError> {
        let query = sqlx::query("SELECT value, expires_at FROM items WHERE key = ?").bind(key);
        let row = query.fetch_optional(&self.readers).await.during("read what rules keep")?;
        row.as_ref().map(item).transpose()
    }

    async fn change(
        &self,
        caller: &Caller<'_>,
        remember: Remember<'_>,
        call: &Call,
        now: OffsetDateTime,
    ) -> Result<Changed, StateError> {
        let mut tx = self.write(Durability::Process).await?;
        let changed = change(&mut tx, caller, remember, call, now).await?;
        // Also when nothing was written: the file would stay locked for other processes until the next transaction.
        tx.commit(ATTEMPT).await?;
        Ok(changed)
    }

    async fn recall(&self, caller: &Caller<'_>) -> Result<Vec<Told>, StateError> {
        let row = sqlx::query("SELECT calls FROM rule_calls WHERE object_id = ? AND row_id = ? AND rule = ?")
            .bind(&caller.object.0[..])
            .bind(&caller.row.0[..])
            .bind(caller.rule)
            .fetch_optional(&self.readers)
            .await
            .during("read the earlier calls of a rule")?;
        row.map_or(Ok(Vec::new()), |row| told(&text(&row, "calls")?))
    }

    async fn forget_items(&self, now: OffsetDateTime, before: OffsetDateTime, limit: u32) -> Result<u64, StateError> {
        const ATTEMPT: &str = "forget what rules kept";
        let mut tx = self.write(Durability::Process).await?;
        let query = sqlx::query(EXPIRE).bind(micros(now)).bind(limit);
        let ended = query.fetch_all(&mut *tx).await.during(ATTEMPT)?;
        let mut less: BTreeMap<String, i64> = BTreeMap::new();
        for row in &ended {
            *less.entry(text(row, "rule")?).or_default() -= int(count(row, "charge")?);
        }
        for (rule, bytes) in &less {
            charge(&mut tx, rule, *bytes).await?;
        }
        let query = sqlx::query(FORGET_CALLS).bind(micros(before)).bind(limit);
        let calls = query.execute(&mut *tx).await.during(ATTEMPT)?.rows_affected();
        tx.commit(ATTEMPT).await?;
        Ok(ended.len() as u64 + calls)
    }
}

async fn change(
    tx: &mut SqliteConnection,
    caller: &Caller<'_>,
    remember: Remember<'_>,
    call: &Call,
    now: OffsetDateTime,
) -> Result<Changed, StateError> {
    let known: Option<u32> =
        sqlx::query_scalar("SELECT count FROM rule_calls WHERE object_id = ? AND row_id = ? AND rule = ?")
            .bind(&caller.object.0[..])
            .bind(&caller.row.0[..])
            .bind(caller.rule)
            .fetch_optional(&mut *tx)
            .await
            .during(ATTEMPT)?;
    if known.unwrap_or(0) != remember.known {
        return Ok(Changed::Overtaken);
    }
    let row = sqlx::query("SELECT value, expires_at, rule, charge FROM items WHERE key = ?")
        .bind(&call.key)
        .fetch_optional(&mut *tx)
        .await
        .during(ATTEMPT)?;
    let before = row.as_ref().map(charged).transpose()?;
    let Applied { next, answer } = match apply(call, before.as_ref().map(|before| &before.item), now) {
        Ok(applied) => applied,
        Err(refusal) => return Ok(Changed::Answered(Err(refusal))),
    };
    match &next {
        Next::Same => {}
        Next::Gone => {
            let query = sqlx::query("DELETE FROM items WHERE key = ?").bind(&call.key);
            query.execute(&mut *tx).await.during(ATTEMPT)?;
        }
        Next::Put(item) => {
            let bytes = item.charge(&call.key);
            let own = before.as_ref().filter(|before| before.rule == caller.rule).map_or(0, |before| before.bytes);
            if bytes > own {
                let used = used(tx, caller.rule).await?;
                if let Err(refusal) = admit(used, used.saturating_sub(own) + bytes) {
                    return Ok(Changed::Answered(Err(refusal)));
                }
            }
            let query = sqlx::query(PUT).bind(&call.key).bind(json(&item.value)).bind(micros(item.expires));
            query.bind(caller.rule).bind(int(bytes)).execute(&mut *tx).await.during(ATTEMPT)?;
        }
    }
    for (rule, bytes) in Charged::changes(before.as_ref(), &next, call, caller.rule) {
        charge(tx, &rule, bytes).await?;
    }
    sqlx::query(REMEMBER)
        .bind(&caller.object.0[..])
        .bind(&caller.row.0[..])
        .bind(caller.rule)
        .bind(remember.count())
        .bind(remember.lines(call, &answer))
        .bind(micros(now))
        .bind(remember.keep)
        .execute(tx)
        .await
        .during(ATTEMPT)?;
    Ok(Changed::Answered(Ok(answer)))
}

async fn used(tx: &mut SqliteConnection, rule: &str) -> Result<u64, StateError> {
    let query = sqlx::query("SELECT bytes FROM item_charges WHERE rule = ?").bind(rule);
    let row = query.fetch_optional(tx).await.during(ATTEMPT)?;
    row.map_or(Ok(0), |row| count(&row, "bytes"))
}

async fn charge(tx: &mut SqliteConnection, rule: &str, bytes: i64) -> Result<(), StateError> {
    sqlx::query(CHARGE).bind(rule).bind(bytes).execute(tx).await.during(ATTEMPT)?;
    Ok(())
}

/// Forgets the calls on an object that is never read again.
pub(super) async fn forget_calls(connection: &mut SqliteConnection, object: ObjectId) -> Result<(), StateError> {
    let query = sqlx::query("DELETE FROM rule_calls WHERE object_id = ?").bind(&object.0[..]);
    query.execute(connection).await.during("forget the calls of rules on an object")?;
    Ok(())
}
