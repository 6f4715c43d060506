//! Bytes of an object -> batches of events. CPU work without I/O: the caller runs it on a thread that may block.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::decode::{DecodeError, Decoder, Limits, Pace, Piece};
use crate::logtype::{Classified, Classifier, Context, Registry, UnknownLogType};
use crate::model::{Event, EventBatch, ObjectId, Reject, Route, UnknownField};

/// A batch is handed on when it has this many events or rejects …
const BATCH_RECORDS: usize = 512;

/// … or came from this many bytes of records.
const BATCH_BYTES: u64 = 1024 * 1024;

/// How far the reader came.
pub(super) enum Advance {
    Batch(EventBatch),
    /// The input is used up, or the object turned out to be broken.
    Done,
    /// It needs windows that [`RecordReader::allow_large_windows`] allows.
    LargeWindow,
}

pub(super) struct RecordReader {
    decoder: Decoder,
    classifier: Classifier,
    object: ObjectId,
    source: Arc<str>,
    events: Vec<Event>,
    rejects: Vec<Reject>,
    batch_bytes: u64,
    by_log_type: BTreeMap<Arc<str>, u64>,
    error: Option<DecodeError>,
}

impl RecordReader {
    pub(super) fn new(
        route: &Route,
        limits: Limits,
        log_types: &Registry,
        context: Context,
    ) -> Result<RecordReader, UnknownLogType> {
        Ok(RecordReader {
            decoder: Decoder::new(&log_types.stream(&route.stream, &route.log_types)?, limits),
            object: context.object,
            source: context.source.clone(),
            classifier: Classifier::new(log_types, &route.log_types, context)?,
            events: Vec::new(),
            rejects: Vec::new(),
            batch_bytes: 0,
            by_log_type: BTreeMap::new(),
            error: None,
        })
    }

    /// Consumes input until a batch is full, the input is used up, or the object turns out to be broken.
    pub(super) fn advance(&mut self, input: &mut Bytes) -> Advance {
        self.drive(|decoder, pieces| {
            let mut rest = &input[..];
            let pace = decoder.push(&mut rest, pieces);
            let left = rest.len();
            input.advance(input.len() - left);
            pace
        })
    }

    /// Ends the input. Called until there is no batch left.
    pub(super) fn end(&mut self) -> Advance {
        match self.drive(|decoder, pieces| decoder.finish(pieces)) {
            Advance::Done => self.take_batch().map_or(Advance::Done, Advance::Batch),
            other => other,
        }
    }

    pub(super) fn allow_large_windows(&mut self) {
        self.decoder.allow_large_windows();
    }

    fn drive(&mut self, mut step: impl FnMut(&mut Decoder, &mut Vec<Piece>) -> Result<Pace, DecodeError>) -> Advance {
        let mut pieces = Vec::new();
        while !self.is_full() {
            if self.failed() {
                return Advance::Done;
            }
            let pace = step(&mut self.decoder, &mut pieces);
            self.classify(&mut pieces);
            match pace {
                Ok(Pace::More) => {}
                Ok(Pace::Done) if self.is_full() => {}
                Ok(Pace::Done) => return Advance::Done,
                Ok(Pace::LargeWindow) => return Advance::LargeWindow,
                Err(error) => self.error = Some(error),
            }
        }
        self.take_batch().map_or(Advance::Done, Advance::Batch)
    }

    fn is_full(&self) -> bool {
        self.events.len() + self.rejects.len() >= BATCH_RECORDS || self.batch_bytes >= BATCH_BYTES
    }

    /// After this the rest of the object can't be read.
    pub(super) fn failed(&self) -> bool {
        self.error.is_some()
    }

    pub(super) fn error(&self) -> Option<&DecodeError> {
        self.error.as_ref()
    }

    /// Decompressed bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.decoder.bytes_out()
    }

    pub(super) fn events_by_log_type(&self) -> impl Iterator<Item = (&str, u64)> {
        self.by_log_type.iter().map(|(log_type, events)| (&**log_type, *events))
    }

    /// Bytes behind the JSON of records.
    pub(super) fn trailing_bytes(&self) -> u64 {
        self.classifier.trailing_bytes()
    }

    /// Fields that no schema has, by log type.
    pub(super) fn discovered(&mut self) -> Vec<(Arc<str>, Vec<UnknownField>)> {
        self.classifier.discovered().map(|(log_type, fields)| (log_type.clone(), fields)).collect()
    }

    fn classify(&mut self, pieces: &mut Vec<Piece>) {
        for piece in pieces.drain(..) {
            let record = match piece {
                Piece::Record(record) => record,
                Piece::Reject(reject) => {
                    self.rejects.push(reject);
                    continue;
                }
            };
            self.batch_bytes += record.bytes.len() as u64;
            match self.classifier.classify(&record) {
                Classified::Events(events) => {
                    for event in &events {
                        *self.by_log_type.entry(event.log_type.clone()).or_default() += 1;
                    }
                    self.events.extend(events);
                }
                Classified::Rejected(reject) => self.rejects.push(reject),
                Classified::Blank => {}
            }
        }
    }

    /// At most [`BATCH_RECORDS`] of each; one feed can yield many more.
    fn take_batch(&mut self) -> Option<EventBatch> {
        if self.events.is_empty() && self.rejects.is_empty() {
            return None;
        }
        let events = first(&mut self.events);
        let rejects = first(&mut self.rejects);
        Some(EventBatch {
            object: self.object,
            source: self.source.clone(),
            events,
            rejects,
            bytes: std::mem::take(&mut self.batch_bytes),
        })
    }
}

fn first<T>(all: &mut Vec<T>) -> Vec<T> {
    let rest = all.split_off(all.len().min(BATCH_RECORDS));
    std::mem::replace(all, rest)
}
