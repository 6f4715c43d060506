//! What the ledger knows of an object and of its key.

use super::{EntryTold, Explainer, LedgerTold, ObjectTold};
use crate::model::{ObjectRef, rfc3339};
use crate::state::{Attempts, KnownVersion, ObjectState, StateError};

/// Other versions of a key that are shown.
const OTHERS: usize = 5;

impl Explainer {
    /// Tells of the object, and gives how its tries went.
    pub(super) async fn ledger(&self, told: &mut ObjectTold, object: &ObjectRef) -> Result<Attempts, StateError> {
        let Some(state) = &self.state else { return Ok(Attempts::default()) };
        let known = state.versions(&object.bucket, &object.key).await?;
        let id = object.id();
        let (own, others): (Vec<_>, Vec<_>) = known.iter().partition(|version| version.object.id() == id);
        told.ledger = Some(LedgerTold {
            entry: own.first().map(|version| entry(version)),
            others: others.into_iter().take(OTHERS).map(entry).collect(),
        });
        Ok(own.first().map(|version| version.attempts.clone()).unwrap_or_default())
    }
}

fn entry(version: &KnownVersion) -> EntryTold {
    EntryTold {
        version_id: version.object.version_id.clone(),
        etag: version.object.etag.clone(),
        state: version.state.map_or("unfinished", ObjectState::as_str),
        is_final: version.state.is_some_and(ObjectState::is_final),
        reason: version.reason.clone(),
        finished: version.finished.map(rfc3339),
        started: version.attempts.started,
        crashed: version.attempts.crashed,
        given_up: version.attempts.given_up.clone(),
    }
}
