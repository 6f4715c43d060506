//! The object ledger in memory. A token is valid while the entry carries its fence and a claim.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{MemoryState, Tables};
use crate::model::{ObjectId, ObjectRef};
use crate::state::notices::facts_of;
use crate::state::{Attempts, Claim, ClaimToken, Ledger, ObjectOutcome, ObjectState, StateError};

pub(super) struct Entry {
    pub(super) object: ObjectRef,
    pub(super) source: String,
    pub(super) fence: i64,
    pub(super) claimed_until: Option<OffsetDateTime>,
    /// The last time.
    pub(super) claimed_at: OffsetDateTime,
    /// With the time at which it was finished.
    pub(super) outcome: Option<(ObjectOutcome, OffsetDateTime)>,
    /// The one that it had before it was claimed again.
    pub(super) open: Option<(ObjectOutcome, OffsetDateTime)>,
    pub(super) attempts: Attempts,
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
        source: &str,
        announced: Option<OffsetDateTime>,
        now: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<Claim, StateError> {
        let id = object.id();
        let mut tables = self.lock();
        let entry = match tables.objects.entry(id) {
            Slot::Vacant(slot) => {
                let attempts = Attempts { started: 1, ..Attempts::default() };
                let entry = Entry {
                    object: object.clone(),
                    source: source.to_owned(),
                    fence: 1,
                    claimed_until: Some(until),
                    claimed_at: now,
                    outcome: None,
                    open: None,
                    attempts: attempts.clone(),
                };
                slot.insert(entry);
                return Ok(Claim::Granted(ClaimToken { object: id, fence: 1 }, attempts));
            }
            Slot::Occupied(slot) => slot.into_mut(),
        };
        if let Some((outcome, _)) = &entry.outcome {
            let may_come_back = outcome.state == ObjectState::Superseded && !entry.object.is_pinned();
            let is_final = outcome.state.is_final() && !may_come_back;
            let answered =
                announced.is_some_and(|sent| entry.claimed_at >= sent) && outcome.state != ObjectState::Partial;
            if is_final || answered {
                return Ok(Claim::Done(outcome.state));
            }
        }
        if let Some(held) = entry.claimed_until.filter(|held| *held > now) {
            return Ok(Claim::Held(held));
        }
        // Tries are counted from the last outcome on; a claim that was neither finished nor released has crashed.
        if let Some((outcome, finished)) = entry.outcome.take() {
            if outcome.state != ObjectState::Partial {
                entry.attempts = Attempts::default();
            }
            entry.open = (outcome.state != ObjectState::Superseded).then_some((outcome, finished));
        }
        source.clone_into(&mut entry.source);
        entry.attempts.started += 1;
        entry.attempts.crashed += u32::from(entry.claimed_until.is_some());
        entry.fence += 1;
        entry.claimed_until = Some(until);
        entry.claimed_at = now;
        Ok(Claim::Granted(ClaimToken { object: id, fence: entry.fence }, entry.attempts.clone()))
    }

    async fn renew(&self, token: &ClaimToken, until: OffsetDateTime) -> Result<(), StateError> {
        self.lock().claimed(token)?.claimed_until = Some(until);
        Ok(())
    }

    async fn release(
        &self,
        token: &ClaimToken,
        reason: &str,
        _detail: &str,
        _now: OffsetDateTime,
    ) -> Result<(), StateError> {
        let mut tables = self.lock();
        let entry = tables.entry(token)?;
        if entry.claimed_until.take().is_some() {
            match entry.outcome {
                None => give_up(&mut entry.attempts.given_up, reason),
                Some(_) => tables.forget(token.object),
            }
        }
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
        entry.open = None;
        if outcome.state == ObjectState::Partial {
            give_up(&mut entry.attempts.given_up, outcome.state.as_str());
        } else {
            entry.attempts.given_up.clear();
        }
        let source = entry.source.clone();
        if !source.is_empty() {
            for (fact, detail) in facts_of(outcome) {
                tables.note(fact, &source, &detail, now);
            }
        }
        if outcome.state.ends_reading() {
            tables.forget(token.object);
            tables.calls.retain(|(object, ..), _| *object != token.object);
        }
        if matches!(outcome.state, ObjectState::Committed | ObjectState::Empty) {
            tables.rejects.retain(|(object, _), kept| *object != token.object || kept.fence == token.fence);
        }
        Ok(())
    }

    async fn outcome(&self, object: ObjectId) -> Result<Option<ObjectOutcome>, StateError> {
        let tables = self.lock();
        Ok(tables.objects.get(&object).and_then(|entry| entry.outcome.as_ref()).map(|(outcome, _)| outcome.clone()))
    }
}

fn give_up(given_up: &mut BTreeMap<String, u32>, reason: &str) {
    *given_up.entry(reason.to_owned()).or_default() += 1;
}
