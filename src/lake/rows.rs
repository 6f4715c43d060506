//! Rows on their way into one table: picked out of batches, which stay shared with the rules where they are events.

use std::sync::Arc;

use crate::model::{Event, EventBatch, Position};

/// The rows of one batch that go to one table, in the order of the object.
#[derive(Clone, Debug)]
pub struct Slice {
    batch: Arc<EventBatch>,
    /// Indices into the events of the batch, growing.
    picked: Vec<usize>,
}

impl Slice {
    pub(crate) fn new(batch: Arc<EventBatch>, picked: Vec<usize>) -> Slice {
        Slice { batch, picked }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Event> {
        self.picked.iter().map(|index| &self.batch.events[*index])
    }

    pub fn len(&self) -> usize {
        self.picked.len()
    }

    pub fn is_empty(&self) -> bool {
        self.picked.is_empty()
    }

    /// Of the batch, as many as fall to these rows.
    pub(super) fn bytes(&self) -> u64 {
        self.batch.bytes * self.picked.len() as u64 / (self.batch.events.len() as u64).max(1)
    }

    pub(super) fn last(&self) -> Option<Position> {
        self.picked.last().map(|index| self.batch.events[*index].position)
    }

    /// Takes out what does not come after `position`; whether that was anything.
    pub(super) fn skip_through(&mut self, position: Position) -> bool {
        let before = self.picked.len();
        let events = &self.batch.events;
        self.picked.retain(|index| events[*index].position > position);
        self.picked.len() < before
    }
}

/// The rows of one commit. Those of one object are in its order.
#[derive(Clone, Debug, Default)]
pub struct Rows(Vec<Slice>);

impl Rows {
    pub fn iter(&self) -> impl Iterator<Item = &Event> {
        self.0.iter().flat_map(Slice::iter)
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(Slice::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Slice::is_empty)
    }
}

impl FromIterator<Slice> for Rows {
    fn from_iter<T: IntoIterator<Item = Slice>>(slices: T) -> Rows {
        Rows(slices.into_iter().collect())
    }
}
