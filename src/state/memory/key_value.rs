//! What rules keep between events, and their calls.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::MemoryState;
use crate::model::key_value::{Call, Item};
use crate::model::{ObjectId, RowId};
use crate::state::StateError;
use crate::state::key_value::{Caller, Changed, KeyValue, Remember, Told};

/// The calls of a rule on an event.
#[derive(Default)]
pub(super) struct Calls {
    told: Vec<Told>,
    at: Option<OffsetDateTime>,
}

/// Object, event and rule.
pub(super) type CallerKey = (ObjectId, RowId, String);

fn key(caller: &Caller<'_>) -> CallerKey {
    (caller.object, caller.row, caller.rule.to_owned())
}

#[async_trait]
impl KeyValue for MemoryState {
    async fn item(&self, key: &str) -> Result<Option<Item>, StateError> {
        Ok(self.lock().items.get(key).cloned())
    }

    async fn change(
        &self,
        caller: &Caller<'_>,
        remember: Remember<'_>,
        call: &Call,
        now: OffsetDateTime,
    ) -> Result<Changed, StateError> {
        let tables = &mut *self.lock();
        let known = tables.calls.get(&key(caller)).map_or(0, |calls| calls.told.len());
        if known != remember.known as usize {
            return Ok(Changed::Overtaken);
        }
        let answer = tables.items.call(caller.rule, call, now);
        if answer.is_ok() {
            let calls = tables.calls.entry(key(caller)).or_default();
            calls.told.truncate(remember.keep as usize);
            calls.told.extend(remember.told.iter().cloned());
            calls.told.push(Told::new(call, &answer));
            calls.at = Some(now);
        }
        Ok(Changed::Answered(answer))
    }

    async fn recall(&self, caller: &Caller<'_>) -> Result<Vec<Told>, StateError> {
        Ok(self.lock().calls.get(&key(caller)).map(|calls| calls.told.clone()).unwrap_or_default())
    }

    async fn forget_items(&self, now: OffsetDateTime, before: OffsetDateTime, limit: u32) -> Result<u64, StateError> {
        let tables = &mut *self.lock();
        let mut forgotten = tables.items.remove_expired(now, limit as usize);
        let old = tables.calls.iter().filter(|(_, calls)| calls.at.is_some_and(|at| at < before));
        let old: Vec<CallerKey> = old.take(limit as usize).map(|(key, _)| key.clone()).collect();
        forgotten += old.len();
        old.iter().for_each(|key| drop(tables.calls.remove(key)));
        Ok(forgotten as u64)
    }
}
