//! The object ledger in memory. A token is valid while the entry carries its fence and a claim.

use std::collections::btree_map::Entry as Slot;

use async_trait::async_trait;
use bytes::Bytes;
use time::OffsetDateTime;

use super::{MemoryState, Tables};
use crate::model::{ObjectId, ObjectRef};
use crate::state::{Claim, ClaimToken, Ledger, ObjectOutcome, QuarantineKind, Quarantined, StateError};

pub(super) struct Entry {
    object: ObjectRef,
    fence: i64,
    claimed_until: Option<OffsetDateTime>,
    /// With the time at which it was finished.
    outcome: Option<(ObjectOutcome, OffsetDateTime)>,
}

impl Entry {
    pub(super) fn address(&self) -> String {
        self.object.to_string()
    }

    /// How it is listed while it can be tried again.
    pub(super) fn quarantined(&self) -> Option<Quarantined> {
        let (outcome, at) = self.outcome.as_ref().filter(|(outcome, _)| !outcome.state.is_final())?;
        let state = outcome.state.as_str();
        let reason = if outcome.reason.is_empty() { state.to_owned() } else { format!("{state}: {}", outcome.reason) };
        Some(Quarantined { kind: QuarantineKind::Object, subject: self.address(), reason, raw: Bytes::new(), at: *at })
    }
}

impl Tables {
    /// The entry of a token that was not lost to another claim.
    fn entry(&mut self, token: &ClaimToken) -> Result<&mut Entry, StateError> {
        let entry = self.objects.get_mut(&token.object).filter(|entry| entry.fence == token.fence);
        entry.ok_or(StateError::Fenced(token.object))
    }

    /// The entry of a token whose claim was neither lost nor ended.
    fn claimed(&mut self, token: &ClaimToken) -> Result<&mut Entry, StateError> {
        let entry = self.entry(token)?;
        if entry.claimed_until.is_none() {
            return Err(StateError::Fenced(token.object));
        }
        Ok(entry)
    }

    pub(super) fn check_claim(&mut self, token: &ClaimToken) -> Result<(), StateError> {
        self.claimed(token).map(|_| ())
    }
}

#[async_trait]
impl Ledger for MemoryState {
    async fn claim(
        &self,
        object: &ObjectRef,
        _source: &str,
        now: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<Claim, StateError> {
        let id = object.id();
        let mut tables = self.lock();
        let entry = match tables.objects.entry(id) {
            Slot::Vacant(slot) => {
                slot.insert(Entry { object: object.clone(), fence: 1, claimed_until: Some(until), outcome: None });
                return Ok(Claim::Granted(ClaimToken { object: id, fence: 1 }));
            }
            Slot::Occupied(slot) => slot.into_mut(),
        };
        if let Some((outcome, _)) = &entry.outcome
            && outcome.state.is_final()
        {
            return Ok(Claim::Done(outcome.state));
        }
        if let Some(held) = entry.claimed_until.filter(|held| *held > now) {
            return Ok(Claim::Held(held));
        }
        entry.fence += 1;
        entry.claimed_until = Some(until);
        entry.outcome = None;
        Ok(Claim::Granted(ClaimToken { object: id, fence: entry.fence }))
    }

    async fn renew(&self, token: &ClaimToken, until: OffsetDateTime) -> Result<(), StateError> {
        self.lock().claimed(token)?.claimed_until = Some(until);
        Ok(())
    }

    async fn release(&self, token: &ClaimToken) -> Result<(), StateError> {
        self.lock().entry(token)?.claimed_until = None;
        Ok(())
    }

    async fn finish(&self, token: &ClaimToken, outcome: &ObjectOutcome, now: OffsetDateTime) -> Result<(), StateError> {
        let mut tables = self.lock();
        let entry = tables.entry(token)?;
        if entry.outcome.is_some() {
            return Ok(());
        }
        if entry.claimed_until.take().is_none() {
            return Err(StateError::Fenced(token.object));
        }
        entry.outcome = Some((outcome.clone(), now));
        if outcome.state.is_final() {
            tables.forget(token.object);
            tables.rejects.retain(|(object, _), kept| *object != token.object || kept.fence == token.fence);
        }
        Ok(())
    }

    async fn outcome(&self, object: ObjectId) -> Result<Option<ObjectOutcome>, StateError> {
        let tables = self.lock();
        Ok(tables.objects.get(&object).and_then(|entry| entry.outcome.as_ref()).map(|(outcome, _)| outcome.clone()))
    }
}
