//! Bytes of an object -> batches of events. CPU work without I/O: the caller runs it on a thread that may block.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};

use super::trace::Trace;
use crate::decode::{DecodeError, Decoder, Findings, Limits, Pace, Piece, RowDecoder, Want};
use crate::logtype::{Classified, Classifier, Context, Registry, UnknownLogType};
use crate::model::{Event, EventBatch, ObjectId, Reject, Route, UnknownField};
use crate::telemetry::thread_cpu;

/// A batch is handed on when it has this many events or rejects …
pub(super) const BATCH_RECORDS: usize = 512;

/// … or came from this many bytes of records.
pub(super) const BATCH_BYTES: u64 = 1024 * 1024;

/// How far the reader came.
pub(super) enum Advance {
    Batch(EventBatch),
    /// The input is used up, or the object turned out to be broken.
    Done,
    /// It needs windows that [`RecordReader::allow_large_windows`] allows.
    LargeWindow,
    /// The object is not read from its beginning to its end: [`RecordReader::by_ranges`].
    Ranges,
    /// These bytes of the object come next: for [`RecordReader::advance_rows`].
    Bytes(Range<u64>),
}

/// How a step of a decoder ended that did not fail.
enum Step {
    More,
    Done,
    Wait(Advance),
}

impl From<Pace> for Step {
    fn from(pace: Pace) -> Step {
        match pace {
            Pace::More => Step::More,
            Pace::Done => Step::Done,
            Pace::LargeWindow => Step::Wait(Advance::LargeWindow),
            Pace::Ranges => Step::Wait(Advance::Ranges),
        }
    }
}

impl From<Want> for Step {
    fn from(want: Want) -> Step {
        match want {
            Want::More => Step::More,
            Want::Done => Step::Done,
            Want::LargeWindow => Step::Wait(Advance::LargeWindow),
            Want::Bytes(range) => Step::Wait(Advance::Bytes(range)),
        }
    }
}

pub(super) struct RecordReader {
    decoder: Decoder,
    /// In place of the other, once it is known that there are rows.
    rows: Option<Box<RowDecoder>>,
    limits: Limits,
    classifier: Classifier,
    object: ObjectId,
    source: Arc<str>,
    events: Vec<Event>,
    rejects: Vec<Reject>,
    batch_bytes: u64,
    by_log_type: BTreeMap<Arc<str>, u64>,
    error: Option<DecodeError>,
    trace: Option<Trace>,
    spent: Spent,
}

/// What is left to say of an object that was read, without the memory of reading it.
pub(super) struct Ended {
    pub(super) spent: Spent,
    pub(super) findings: Findings,
    /// Decompressed bytes.
    pub(super) bytes: u64,
    pub(super) error: Option<DecodeError>,
    pub(super) events_by_log_type: BTreeMap<Arc<str>, u64>,
    /// Bytes behind the JSON of records.
    pub(super) trailing_bytes: u64,
    /// Fields that no schema has, by log type.
    pub(super) discovered: Vec<(Arc<str>, Vec<UnknownField>)>,
}

/// CPU time of an object's records.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    pub(super) decode: Duration,
    pub(super) classify: Duration,
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
            rows: None,
            limits,
            object: context.object,
            source: context.source.clone(),
            classifier: Classifier::new(log_types, &route.log_types, context)?,
            events: Vec::new(),
            rejects: Vec::new(),
            batch_bytes: 0,
            by_log_type: BTreeMap::new(),
            error: None,
            trace: None,
            spent: Spent::default(),
        })
    }

    /// Consumes input until a batch is full, the input is used up, or the object turns out to be broken.
    pub(super) fn advance(&mut self, input: &mut Bytes) -> Advance {
        self.drive(|reader, pieces| {
            let mut rest = &input[..];
            let pace = reader.decoder.push(&mut rest, pieces);
            let left = rest.len();
            input.advance(input.len() - left);
            pace.map(Step::from)
        })
    }

    /// Ends the input. Called until there is no batch left.
    pub(super) fn end(&mut self) -> Advance {
        match self.drive(|reader, pieces| reader.decoder.finish(pieces).map(Step::from)) {
            Advance::Done => self.take_batch().map_or(Advance::Done, Advance::Batch),
            other => other,
        }
    }

    /// From now on, the object of `size` bytes is read by ranges, from its beginning.
    pub(super) fn by_ranges(&mut self, size: u64) {
        self.rows = Some(Box::new(RowDecoder::new(self.limits, size)));
    }

    /// Takes the bytes that were wanted, then consumes until a batch is full, other bytes are wanted, or no batch is
    /// left.
    pub(super) fn advance_rows(&mut self, wanted: Option<Bytes>) -> Advance {
        if let (Some(rows), Some(bytes)) = (&mut self.rows, wanted) {
            self.error = rows.supply(bytes).err();
        }
        let advance = self.drive(|reader, pieces| match &mut reader.rows {
            Some(rows) => rows.advance(pieces).map(Step::from),
            None => Ok(Step::Done),
        });
        match advance {
            Advance::Done => self.take_batch().map_or(Advance::Done, Advance::Batch),
            other => other,
        }
    }

    pub(super) fn allow_large_windows(&mut self) {
        match &mut self.rows {
            Some(rows) => rows.allow_large_windows(),
            None => self.decoder.allow_large_windows(),
        }
    }

    fn drive(&mut self, mut step: impl FnMut(&mut Self, &mut Vec<Piece>) -> Result<Step, DecodeError>) -> Advance {
        let mut pieces = Vec::new();
        let mut began = thread_cpu();
        while !self.is_full() {
            if self.failed() {
                return Advance::Done;
            }
            let step = step(self, &mut pieces);
            let decoded = thread_cpu();
            self.classify(&mut pieces);
            let classified = thread_cpu();
            self.spent.decode += decoded.saturating_sub(began);
            self.spent.classify += classified.saturating_sub(decoded);
            began = classified;
            match step {
                Ok(Step::More) => {}
                Ok(Step::Done) if self.is_full() => {}
                Ok(Step::Done) => return Advance::Done,
                Ok(Step::Wait(advance)) => return advance,
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
        self.rows.as_ref().map_or_else(|| self.decoder.bytes_out(), |rows| rows.bytes_out())
    }

    /// From now on notes what becomes of each record, up to so many of them.
    pub(super) fn trace(&mut self, most: usize) {
        self.trace = Some(Trace::new(most));
    }

    pub(super) fn take_trace(&mut self) -> Option<Trace> {
        self.trace.take()
    }

    /// How the object is packed, encoded and split, as far as it is known.
    pub(super) fn findings(&self) -> Findings {
        self.decoder.findings()
    }

    pub(super) fn events_by_log_type(&self) -> impl Iterator<Item = (&str, u64)> {
        self.by_log_type.iter().map(|(log_type, events)| (&**log_type, *events))
    }

    /// No more of the object is read.
    pub(super) fn ended(mut self) -> Ended {
        Ended {
            spent: self.spent,
            findings: self.findings(),
            bytes: self.bytes(),
            error: self.error.take(),
            trailing_bytes: self.classifier.trailing_bytes(),
            discovered: self.classifier.discovered().map(|(log_type, fields)| (log_type.clone(), fields)).collect(),
            events_by_log_type: self.by_log_type,
        }
    }

    fn classify(&mut self, pieces: &mut Vec<Piece>) {
        for piece in pieces.drain(..) {
            let record = match piece {
                Piece::Record(record) => record,
                Piece::Reject(reject) => {
                    if let Some(trace) = &mut self.trace {
                        trace.rejected(&reject);
                    }
                    self.rejects.push(reject);
                    continue;
                }
            };
            self.batch_bytes += record.bytes.len() as u64;
            let classified = self.classifier.classify(&record);
            if let Some(trace) = &mut self.trace {
                trace.classified(&record, &classified, &self.classifier);
            }
            match classified {
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
    pub(super) fn take_batch(&mut self) -> Option<EventBatch> {
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
