//! What the lake knows of an object while it is read under one claim: how far it had come before, and whether rows of it
//! have failed.
//!
//! Progress is one position a table, so no row may reach a table after an earlier one has failed to: the next reading would
//! take it for done. Hence the first failure ends the claim for the lake, whatever else still arrives under it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use super::LakeError;
use crate::model::{EventBatch, ObjectId, Position};
use crate::state::{ClaimToken, Commits};

/// An object under one claim.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) token: ClaimToken,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    failed: Option<LakeError>,
    /// What earlier readings have made durable, by table.
    durable: HashMap<String, Position>,
    /// The last position of an event that was appended.
    last: Option<Position>,
    /// Of a row beside the events, by table.
    last_beside: HashMap<Arc<str>, Position>,
}

impl Claimed {
    fn new(token: ClaimToken, durable: HashMap<String, Position>) -> Claimed {
        Claimed { token, inner: Mutex::new(Inner { failed: None, durable, last: None, last_beside: HashMap::new() }) }
    }

    /// The error that ended it.
    pub(super) fn failure(&self) -> Option<LakeError> {
        self.lock().failed.clone()
    }

    /// The first failure counts.
    pub(super) fn fail(&self, error: &LakeError) {
        self.lock().failed.get_or_insert_with(|| error.clone());
    }

    /// Rows up to here are in the table already.
    pub(super) fn durable(&self, table: &str) -> Option<Position> {
        self.lock().durable.get(table).copied()
    }

    pub(super) fn found_durable(&self, table: &str, through: Position) {
        let mut inner = self.lock();
        let durable = inner.durable.entry(table.to_owned()).or_insert(through);
        *durable = through.max(*durable);
    }

    /// Refuses a batch of a claim that has failed, and one that does not follow those before it.
    pub(super) fn advance(&self, batch: &EventBatch) -> Result<(), LakeError> {
        let mut inner = self.lock();
        if let Some(error) = &inner.failed {
            return Err(error.clone());
        }
        let mut last = inner.last;
        for event in &batch.events {
            if last.is_some_and(|last| event.position <= last) {
                return Err(inner.out_of_order(batch.object));
            }
            last = Some(event.position);
        }
        inner.last = last;
        Ok(())
    }

    /// The same for rows beside the events, of which several may stand at one position.
    pub(super) fn advance_beside(&self, table: &Arc<str>, rows: &EventBatch) -> Result<(), LakeError> {
        let mut inner = self.lock();
        if let Some(error) = &inner.failed {
            return Err(error.clone());
        }
        let (Some(first), Some(last)) = (rows.events.first(), rows.events.last()) else { return Ok(()) };
        let before = inner.last_beside.get(table);
        if before.is_some_and(|before| first.position <= *before) || !rows.events.is_sorted_by_key(|row| row.position) {
            return Err(inner.out_of_order(rows.object));
        }
        inner.last_beside.insert(table.clone(), last.position);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }
}

impl Inner {
    /// Ends the claim.
    fn out_of_order(&mut self, object: ObjectId) -> LakeError {
        let error = LakeError::Failed(format!(
            "rows of object {object} came out of order, which is a defect of margay; please report it"
        ));
        self.failed = Some(error.clone());
        error
    }
}

/// The claims under which rows arrive. A claim is known while a ticket or a buffered row of it lives.
pub(super) struct Claims {
    ledger: Arc<dyn Commits>,
    known: Mutex<HashMap<ObjectId, Weak<Claimed>>>,
}

impl Claims {
    pub(super) fn new(ledger: Arc<dyn Commits>) -> Claims {
        Claims { ledger, known: Mutex::default() }
    }

    pub(super) async fn of(&self, token: &ClaimToken) -> Result<Arc<Claimed>, LakeError> {
        if let Some(claim) = self.known(token)? {
            return Ok(claim);
        }
        let progress = self.ledger.progress(token.object).await?;
        // Another call under the same claim may have come first, and its progress is as good.
        if let Some(claim) = self.known(token)? {
            return Ok(claim);
        }
        let claim = Arc::new(Claimed::new(token.clone(), progress.into_iter().collect()));
        let mut known = self.lock();
        if known.len() == known.capacity() {
            known.retain(|_, claim| claim.strong_count() > 0);
        }
        known.insert(token.object, Arc::downgrade(&claim));
        Ok(claim)
    }

    fn known(&self, token: &ClaimToken) -> Result<Option<Arc<Claimed>>, LakeError> {
        let known = self.lock().get(&token.object).and_then(Weak::upgrade);
        match known {
            Some(claim) if claim.token.fence == token.fence => Ok(Some(claim)),
            Some(claim) if claim.token.fence > token.fence => Err(LakeError::Fenced(token.object)),
            _ => Ok(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectId, Weak<Claimed>>> {
        self.known.lock().expect("no holder of this lock panics")
    }
}
