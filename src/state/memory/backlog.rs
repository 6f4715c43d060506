//! What waits for a person or a command, and what keeps the store small, in memory.

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::ledger::Entry;
use super::{Kept, MemoryState, Tables};
use crate::model::{ObjectId, ObjectRef, Reject};
use crate::state::{
    Archive, Attempts, Backlog, ClaimToken, Ended, KeptFilter, KnownVersion, LedgerEntry, Mending, ObjectFilter,
    ObjectState, QuarantineKind, Quarantined, StateError, Upkeep,
};

/// The first digits of a hash or of an object's id.
fn digits(bytes: &[u8]) -> String {
    bytes[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn message_id(body: &[u8]) -> String {
    format!("m{}", digits(&Sha256::digest(body)))
}

impl Entry {
    /// How it stands: its outcome, or the one that it had before it was claimed again.
    fn stands(&self) -> Option<(ObjectState, &str, OffsetDateTime)> {
        let (outcome, at) = self.outcome.as_ref().or(self.open.as_ref())?;
        Some((outcome.state, &outcome.reason, *at))
    }

    /// How its tries went. An outcome that is not `Partial` makes them void.
    fn tries(&self) -> Attempts {
        match &self.outcome {
            Some((outcome, _)) if outcome.state != ObjectState::Partial => Attempts::default(),
            _ => self.attempts.clone(),
        }
    }

    fn is_free(&self, now: OffsetDateTime) -> bool {
        self.claimed_until.is_none_or(|until| until <= now)
    }

    fn fits(&self, filter: &ObjectFilter) -> bool {
        let finished = self.stands().map(|(.., at)| at);
        filter.source.as_ref().is_none_or(|source| *source == self.source)
            && filter.bucket.as_ref().is_none_or(|bucket| *bucket == self.object.bucket)
            && filter.prefix.as_ref().is_none_or(|prefix| self.object.key.starts_with(prefix.as_str()))
            && filter.since.is_none_or(|since| finished.is_some_and(|at| at >= since))
            && filter.until.is_none_or(|until| finished.is_some_and(|at| at < until))
    }

    fn told(&self, state: ObjectState, reason: &str) -> LedgerEntry {
        // As any ledger keeps it: where it lies and how it is told apart.
        let object = ObjectRef { region: None, sequencer: None, ..self.object.clone() };
        LedgerEntry { object, source: self.source.clone(), state, reason: reason.to_owned() }
    }

    /// How it is listed while it can be tried again.
    fn quarantined(&self, id: ObjectId) -> Option<Quarantined> {
        let (state, reason, at) = self.stands().filter(|(state, ..)| !state.is_final())?;
        let state = state.as_str();
        let reason = if reason.is_empty() { state.to_owned() } else { format!("{state}: {reason}") };
        let (id, kind, subject) = (format!("o{}", digits(&id.0)), QuarantineKind::Object, self.object.to_string());
        Some(Quarantined { id, kind, subject, reason, raw: Bytes::new(), at })
    }
}

impl Tables {
    fn record(&self, (object, ordinal): (ObjectId, u64), kept: &Kept) -> Quarantined {
        Quarantined {
            id: format!("r{}-{ordinal}", digits(&object.0)),
            kind: QuarantineKind::Record,
            subject: format!("{}#{ordinal}", self.objects[&object].object),
            reason: kept.reason.clone(),
            raw: kept.raw.clone(),
            at: kept.at,
        }
    }

    /// Newest first.
    pub(super) fn all_kept(&self) -> Vec<Quarantined> {
        let objects = self.objects.iter().filter_map(|(id, entry)| entry.quarantined(*id));
        let records = self.rejects.iter().map(|(place, kept)| self.record(*place, kept));
        let mut all: Vec<Quarantined> = self.messages.iter().cloned().chain(objects).chain(records).collect();
        all.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| a.subject.cmp(&b.subject)));
        all
    }
}

impl Tables {
    /// Forgets the oldest entries whose age is told and before then, with everything that belongs to them.
    pub(super) fn forget_old(
        &mut self,
        before: OffsetDateTime,
        limit: u32,
        age: impl Fn(&Entry) -> Option<OffsetDateTime>,
    ) -> u32 {
        let needed = |id: ObjectId| self.rejects.range((id, 0)..=(id, u64::MAX)).next().is_some();
        let aged = self.objects.iter().filter_map(|(id, entry)| age(entry).map(|at| (at, *id)));
        let mut old: Vec<_> = aged.filter(|(at, id)| *at < before && !needed(*id)).collect();
        old.sort();
        old.truncate(limit as usize);
        for (_, id) in &old {
            self.objects.remove(id);
            self.forget(*id);
        }
        old.len() as u32
    }
}

fn fits(kept: &Quarantined, filter: &KeptFilter) -> bool {
    filter.kind.is_none_or(|kind| kind == kept.kind)
        && filter.since.is_none_or(|since| kept.at >= since)
        && filter.until.is_none_or(|until| kept.at < until)
        && filter.subject_contains.as_ref().is_none_or(|part| kept.subject.contains(part.as_str()))
}

#[async_trait]
impl Backlog for MemoryState {
    async fn open_objects(
        &self,
        states: &[ObjectState],
        filter: &ObjectFilter,
        after: Option<ObjectId>,
        limit: u32,
        now: OffsetDateTime,
    ) -> Result<Vec<LedgerEntry>, StateError> {
        let tables = self.lock();
        let open =
            tables.objects.iter().filter(|(id, entry)| after.is_none_or(|after| **id > after) && entry.is_free(now));
        let told = open.filter_map(|(_, entry)| {
            let (state, reason, _) = entry.stands()?;
            (!state.is_final() && states.contains(&state) && entry.fits(filter)).then(|| entry.told(state, reason))
        });
        Ok(told.take(limit as usize).collect())
    }

    async fn ended(
        &self,
        after: Option<OffsetDateTime>,
        until: OffsetDateTime,
        limit: u32,
    ) -> Result<Vec<Ended>, StateError> {
        let tables = self.lock();
        let ended = tables.objects.values().filter_map(|entry| {
            let (outcome, at) = entry.outcome.as_ref()?;
            let is_asked = after.is_none_or(|after| *at > after) && *at <= until;
            (is_asked && outcome.state != ObjectState::Partial).then(|| Ended {
                object: entry.told(outcome.state, "").object,
                source: entry.source.clone(),
                outcome: outcome.clone(),
                at: *at,
                claimed: entry.claimed_at,
                tries: entry.attempts.started,
            })
        });
        let mut ended: Vec<Ended> = ended.collect();
        ended.sort_by_key(|ended| (ended.at, ended.object.id()));
        if let Some(behind) = ended.get(limit as usize).map(|ended| ended.at) {
            ended.retain(|ended| ended.at <= behind);
        }
        Ok(ended)
    }

    async fn versions(&self, bucket: &str, key: &str) -> Result<Vec<KnownVersion>, StateError> {
        let tables = self.lock();
        let of_key = tables.objects.values().filter(|entry| entry.object.bucket == bucket && entry.object.key == key);
        let mut versions: Vec<KnownVersion> = of_key
            .map(|entry| {
                let outcome = entry.outcome.as_ref().map(|(outcome, _)| outcome);
                let told = entry.told(ObjectState::Unrouted, "");
                KnownVersion {
                    object: told.object,
                    state: outcome.map(|outcome| outcome.state),
                    reason: outcome.map(|outcome| outcome.reason.clone()).unwrap_or_default(),
                    finished: entry.stands().map(|(.., at)| at),
                    attempts: entry.tries(),
                }
            })
            .collect();
        versions.sort_by_key(|version| std::cmp::Reverse(version.finished));
        Ok(versions)
    }
}

#[async_trait]
impl Mending for MemoryState {
    async fn with_rejects(
        &self,
        filter: &ObjectFilter,
        after: Option<ObjectId>,
        limit: u32,
        now: OffsetDateTime,
    ) -> Result<Vec<LedgerEntry>, StateError> {
        let tables = self.lock();
        let found = tables.objects.iter().filter(|(id, entry)| {
            let committed = entry.outcome.as_ref().is_some_and(|(outcome, _)| outcome.state == ObjectState::Committed);
            let rejected = tables.rejects.range((**id, 0)..=(**id, u64::MAX)).next().is_some();
            after.is_none_or(|after| **id > after) && committed && rejected && entry.is_free(now) && entry.fits(filter)
        });
        let told = found.filter_map(|(_, entry)| entry.stands().map(|(state, reason, _)| entry.told(state, reason)));
        Ok(told.take(limit as usize).collect())
    }

    async fn rejects(&self, object: ObjectId, after: Option<u64>, limit: u32) -> Result<Vec<Reject>, StateError> {
        let tables = self.lock();
        let kept = tables.rejects.range((object, 0)..=(object, u64::MAX));
        let behind = kept.filter(|((_, ordinal), _)| after.is_none_or(|after| *ordinal > after));
        let reject = |((_, ordinal), kept): (&(ObjectId, u64), &Kept)| Reject {
            ordinal: *ordinal,
            raw: kept.raw.clone(),
            reason: kept.reason.clone(),
        };
        Ok(behind.map(reject).take(limit as usize).collect())
    }

    async fn reopen(
        &self,
        object: ObjectId,
        now: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<Option<ClaimToken>, StateError> {
        let mut tables = self.lock();
        let Some(entry) = tables.objects.get_mut(&object).filter(|entry| {
            entry.is_free(now)
                && entry.outcome.as_ref().is_some_and(|(outcome, _)| outcome.state == ObjectState::Committed)
        }) else {
            return Ok(None);
        };
        entry.fence += 1;
        entry.claimed_until = Some(until);
        entry.claimed_at = now;
        let fence = entry.fence;
        tables.forget(object);
        Ok(Some(ClaimToken { object, fence }))
    }

    async fn mend(&self, token: &ClaimToken, ordinals: &[u64], events: u64) -> Result<(), StateError> {
        let mut tables = self.lock();
        tables.check_claim(token)?;
        let mended =
            ordinals.iter().filter(|ordinal| tables.rejects.remove(&(token.object, **ordinal)).is_some()).count();
        let entry = tables.objects.get_mut(&token.object).expect("a claim has an entry");
        if let (Some((outcome, _)), true) = (&mut entry.outcome, mended > 0) {
            outcome.rejects = outcome.rejects.saturating_sub(mended as u64);
            outcome.events += events;
        }
        Ok(())
    }
}

#[async_trait]
impl Archive for MemoryState {
    async fn kept(&self, filter: &KeptFilter, limit: u32) -> Result<Vec<Quarantined>, StateError> {
        let all = self.lock().all_kept();
        Ok(all.into_iter().filter(|kept| fits(kept, filter)).take(limit as usize).collect())
    }

    async fn find(&self, id: &str) -> Result<Vec<Quarantined>, StateError> {
        Ok(self.lock().all_kept().into_iter().filter(|kept| kept.id == id).collect())
    }

    async fn claims(&self, object: ObjectId) -> Result<Option<(u64, OffsetDateTime)>, StateError> {
        let tables = self.lock();
        let entry = tables.objects.get(&object);
        Ok(entry.map(|entry| (entry.fence.unsigned_abs(), entry.claimed_at)))
    }

    async fn messages(
        &self,
        filter: &KeptFilter,
        after: Option<&Quarantined>,
        limit: u32,
    ) -> Result<Vec<Quarantined>, StateError> {
        let place = |kept: &Quarantined| (kept.subject.clone(), Sha256::digest(&kept.raw).to_vec());
        let mut messages: Vec<Quarantined> =
            self.lock().messages.iter().filter(|kept| fits(kept, filter)).cloned().collect();
        messages.sort_by_key(place);
        let behind = |kept: &Quarantined| after.is_none_or(|after| place(kept) > place(after));
        Ok(messages.into_iter().filter(behind).take(limit as usize).collect())
    }

    async fn forget_message(&self, kept: &Quarantined) -> Result<(), StateError> {
        self.lock().messages.retain(|other| other.subject != kept.subject || other.raw != kept.raw);
        Ok(())
    }
}

#[async_trait]
impl Upkeep for MemoryState {
    async fn checkpoint(&self, name: &str) -> Result<Option<String>, StateError> {
        Ok(self.lock().checkpoints.get(name).cloned())
    }

    async fn save_checkpoint(
        &self,
        name: &str,
        position: Option<&str>,
        _now: OffsetDateTime,
    ) -> Result<(), StateError> {
        let checkpoints = &mut self.lock().checkpoints;
        match position {
            Some(position) => drop(checkpoints.insert(name.to_owned(), position.to_owned())),
            None => drop(checkpoints.remove(name)),
        }
        Ok(())
    }

    async fn forget_objects(&self, before: OffsetDateTime, limit: u32) -> Result<u64, StateError> {
        let tables = &mut *self.lock();
        let mut forgotten = tables.forget_old(before, limit, |entry| {
            let (outcome, at) = entry.outcome.as_ref()?;
            (outcome.state.is_final() && entry.claimed_until.is_none()).then_some(*at)
        });
        forgotten += tables.forget_old(before, limit - forgotten, |entry| {
            (entry.stands().is_none() && entry.is_free(before)).then_some(entry.claimed_at)
        });
        if forgotten > 0 {
            tables.forgotten_before = tables.forgotten_before.max(Some(before));
        }
        Ok(forgotten.into())
    }

    async fn forget_kept(&self, before: OffsetDateTime, limit: u32) -> Result<u64, StateError> {
        let tables = &mut *self.lock();
        let mut forgotten = 0;
        let mut room = limit;
        tables.messages.retain(|kept| {
            let goes = kept.at < before && room > 0;
            room -= u32::from(goes);
            forgotten += u64::from(goes);
            !goes
        });
        let old = tables.rejects.iter().filter(|(_, kept)| kept.at < before).map(|(place, _)| *place);
        for place in old.take(limit as usize).collect::<Vec<_>>() {
            tables.rejects.remove(&place);
            forgotten += 1;
        }
        let unrouted = tables.forget_old(before, limit, |entry| {
            let (state, _, at) = entry.stands()?;
            (state == ObjectState::Unrouted && entry.is_free(before)).then_some(at)
        });
        Ok(forgotten + u64::from(unrouted))
    }

    async fn forgotten_before(&self) -> Result<Option<OffsetDateTime>, StateError> {
        Ok(self.lock().forgotten_before)
    }
}
