//! What the batches of an object add up to, for its outcome.

use time::OffsetDateTime;

use crate::lake::CommitTicket;
use crate::model::{EventBatch, ObjectRef};

/// What has come out of an object so far.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) bucket: String,
    /// Bucket and key, for people.
    pub(super) address: String,
    pub(super) events: u64,
    pub(super) rejects: u64,
    pub(super) first_reject: String,
    pub(super) newest: Option<OffsetDateTime>,
    /// Events about the reading of such objects; see [`feedback`](super::feedback).
    pub(super) fed_back: u64,
    pub(super) tickets: Vec<CommitTicket>,
}

impl Reading {
    pub(super) fn of(object: &ObjectRef) -> Reading {
        Reading { bucket: object.bucket.clone(), address: object.to_string(), ..Reading::default() }
    }

    pub(super) fn add(&mut self, batch: &EventBatch) {
        self.events += batch.events.len() as u64;
        self.rejects += batch.rejects.len() as u64;
        if let (true, Some(reject)) = (self.first_reject.is_empty(), batch.rejects.first()) {
            self.first_reject.clone_from(&reject.reason);
        }
        self.newest = self.newest.max(batch.events.iter().map(|event| event.time).max());
    }
}
