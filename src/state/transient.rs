//! What rules keep between events, in memory and for nobody else: for commands that change nothing, and for tests of rules.
//! Calls are not remembered: memory would grow with the events, and nothing is read twice there, but for a batch in which a
//! rule ends its worker.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use time::OffsetDateTime;

use super::StateError;
use super::key_value::{Caller, Changed, KeyValue, Remember, Told};
use crate::model::key_value::{Call, Item, Items};

#[derive(Default)]
pub struct TransientItems(Mutex<Items>);

impl TransientItems {
    fn items(&self) -> MutexGuard<'_, Items> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl KeyValue for TransientItems {
    async fn item(&self, key: &str) -> Result<Option<Item>, StateError> {
        Ok(self.items().get(key).cloned())
    }

    async fn change(
        &self,
        caller: &Caller<'_>,
        _remember: Remember<'_>,
        call: &Call,
        now: OffsetDateTime,
    ) -> Result<Changed, StateError> {
        Ok(Changed::Answered(self.items().call(caller.rule, call, now)))
    }

    async fn recall(&self, _caller: &Caller<'_>) -> Result<Vec<Told>, StateError> {
        Ok(Vec::new())
    }

    async fn forget_items(&self, now: OffsetDateTime, _before: OffsetDateTime, limit: u32) -> Result<u64, StateError> {
        Ok(self.items().remove_expired(now, limit as usize) as u64)
    }
}
