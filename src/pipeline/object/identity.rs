//! Rows of the ledger under a name by which an object is not read: its key alone, before its identity was known, or the
//! key that was announced, where its other spelling was the right one. They end when the object was read, and what
//! became of it stands under its own identity.

use super::{Stop, Work};
use crate::model::ObjectRef;
use crate::state::{Claim, ClaimToken, ObjectOutcome, ObjectState};

impl Work<'_> {
    /// Ends the row of `object`, which was announced without an identity, when an earlier try or a refusal has left
    /// one.
    pub(super) async fn end_unnamed(&self, object: &ObjectRef, source: &str, read: &ObjectRef) -> Result<(), Stop> {
        let (state, id) = (&self.pipeline.state, object.id());
        if read.id() == id {
            return Ok(());
        }
        let known = state.versions(&object.bucket, &object.key).await?;
        if !known.iter().any(|known| known.object.id() == id && !known.state.is_some_and(ObjectState::is_final)) {
            return Ok(());
        }
        let now = self.pipeline.clock.now();
        // Whoever holds it comes to the same end.
        if let Claim::Granted(token, _) = state.claim(object, source, None, now, now + self.pipeline.lease).await? {
            self.claims.add(&token);
            self.end_as_read(&token, read).await?;
        }
        Ok(())
    }

    /// Not told: that the object has ended is told under its identity.
    pub(super) async fn end_as_read(&self, token: &ClaimToken, read: &ObjectRef) -> Result<(), Stop> {
        let outcome = ObjectOutcome::without_events(ObjectState::Superseded, format!("read as {}", read));
        self.pipeline.state.finish(token, &outcome, self.pipeline.clock.now()).await?;
        self.claims.remove(token);
        Ok(())
    }
}
