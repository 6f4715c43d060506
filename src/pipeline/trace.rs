//! What became of the first records of an object, one by one: for people who ask, at no cost for who does not.

use std::sync::Arc;

use crate::logtype::{Classified, Classifier};
use crate::model::{Record, Reject};

/// Notes the first records of an object, up to a number.
pub(super) struct Trace {
    most: usize,
    records: Vec<Traced>,
}

/// One record, whatever became of it.
pub(super) struct Traced {
    pub(super) ordinal: u64,
    pub(super) end: TracedEnd,
    /// Log types that were tried before it was settled, each with what it had against the record.
    pub(super) misses: Vec<(Arc<str>, String)>,
}

pub(super) enum TracedEnd {
    /// So many events of this log type.
    Events(Arc<str>, usize),
    /// A header or a comment: it belongs to a log type and is no event.
    Consumed,
    Rejected(String),
}

impl Trace {
    pub(super) fn new(most: usize) -> Trace {
        Trace { most, records: Vec::new() }
    }

    pub(super) fn into_records(self) -> Vec<Traced> {
        self.records
    }

    /// A record that the classifier was asked about just now.
    pub(super) fn classified(&mut self, record: &Record, classified: &Classified, classifier: &Classifier) {
        let end = match classified {
            Classified::Blank => return,
            // All events of a record are of one log type.
            Classified::Events(events) => match events.first() {
                Some(event) => TracedEnd::Events(event.log_type.clone(), events.len()),
                None => TracedEnd::Consumed,
            },
            Classified::Rejected(reject) => TracedEnd::Rejected(reject.reason.clone()),
        };
        if self.has_room() {
            let misses = match end {
                // The reason of the reject has them all.
                TracedEnd::Rejected(_) => Vec::new(),
                _ => classifier.misses().map(|(name, reason)| (name.clone(), reason.to_owned())).collect(),
            };
            self.records.push(Traced { ordinal: record.ordinal, end, misses });
        }
    }

    /// A piece that is no record.
    pub(super) fn rejected(&mut self, reject: &Reject) {
        if self.has_room() {
            let end = TracedEnd::Rejected(reject.reason.clone());
            self.records.push(Traced { ordinal: reject.ordinal, end, misses: Vec::new() });
        }
    }

    fn has_room(&self) -> bool {
        self.records.len() < self.most
    }
}
