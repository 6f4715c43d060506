//! Reads an object, or as much of it as the asked records need, through the reader of the pipeline; no batch goes
//! anywhere but to the rules.

use bytes::Bytes;
use futures_util::TryStreamExt;

use super::verdicts::Verdicts;
use super::{
    DecodedTold, Depth, Explainer, Extent, Halt, MissTold, ObjectTold, ReadTold, RecordEnd, RecordTold, RulesTold,
    StreamTold, halt, recorded, refused,
};
use crate::decode::{DecodeError, Findings, Split};
use crate::detect::DetectError;
use crate::fetch::{Body, FetchError, ObjectStore};
use crate::logtype::Context;
use crate::model::{Access, EventBatch, ObjectRef, Route};
use crate::pipeline::disposition;
use crate::pipeline::reader::{Advance, RecordReader};
use crate::pipeline::trace::{Trace, Traced, TracedEnd};
use crate::runtime::blocking;
use crate::state::{Attempts, ObjectState};

/// Stored bytes that are read of an object unless all of it is asked for. A record that is as long as they may be fits
/// in.
const PART: u64 = 32 * 1024 * 1024;

/// An object that is being read.
struct Reading<'a> {
    told: &'a mut ObjectTold,
    objects: &'a dyn ObjectStore,
    access: &'a Access,
    /// Away only while it works.
    reader: Option<RecordReader>,
    /// The object turned out to be one that is.
    by_ranges: bool,
    read: ReadTold,
    verdicts: Verdicts<'a>,
    depth: Depth,
}

impl Explainer {
    pub(super) async fn read(
        &self,
        told: &mut ObjectTold,
        object: &ObjectRef,
        route: &Route,
        body: Body,
        tries: &Attempts,
        depth: Depth,
    ) {
        let context = Context {
            object: object.id(),
            source: route.source().into(),
            address: Some(object.to_string().into()),
            parse_time: self.clock.now(),
            keep_unknown: true,
            guard_event_time: true,
        };
        let mut reader = match RecordReader::new(route, self.limits, &self.catalogue.log_types, context) {
            Ok(reader) => reader,
            Err(error) => {
                let then = "it is tried again until the log type is known";
                told.stop = Some(halt("log types", error.to_string(), then));
                return;
            }
        };
        reader.trace(depth.events);
        let verdicts = Verdicts::new(&self.engine, &self.destinations);
        let mut reading = Reading {
            told,
            objects: &*self.objects,
            access: &route.access,
            reader: Some(reader),
            by_ranges: false,
            read: ReadTold::default(),
            verdicts,
            depth,
        };
        let ended = reading.run(body).await;
        let Reading { told, reader, mut read, verdicts, .. } = reading;
        let mut reader = reader.expect(AWAY);
        read.decoded_bytes = reader.bytes();
        let by_log_type = reader.events_by_log_type();
        read.events_by_log_type = by_log_type.map(|(log_type, events)| (log_type.to_owned(), events)).collect();
        told.decoded = Some(decoded(reader.findings(), read.decoded_bytes));
        let traced = reader.take_trace().map(Trace::into_records).unwrap_or_default();
        told.records = traced.into_iter().map(record).collect();
        told.rules = (read.events > 0).then(|| verdicts.tell(&read.events_by_log_type));
        let failed = ended.is_err() || reader.failed();
        told.stop = match ended {
            Err(Ended::Fetch(error)) => Some(refused(&error, route, tries)),
            Err(Ended::Detect(error)) => Some(halt("rules", error.to_string(), "the object is tried again")),
            Ok(()) => match reader.error() {
                Some(error) => Some(undecodable(error, tries)),
                None => fruitless(&read).or_else(|| told.rules.as_ref().and_then(failing)),
            },
        };
        if failed {
            read.extent = Extent::UpToFault;
        }
        told.read = Some(read);
    }
}

/// What ends a reading but the object itself.
enum Ended {
    Fetch(FetchError),
    Detect(DetectError),
}

impl Reading<'_> {
    /// To the end, or as far as is asked for.
    async fn run(&mut self, body: Body) -> Result<(), Ended> {
        let Body { object, mut chunks } = body;
        while let Some(chunk) = chunks.try_next().await.map_err(Ended::Fetch)? {
            self.read.stored_bytes += chunk.len() as u64;
            let mut input = Some(chunk);
            while let Some(batch) = self.step(&mut input).await {
                self.batch(batch).await?;
                if !self.depth.whole && self.read.events + self.read.rejects >= self.depth.events as u64 {
                    return Ok(());
                }
            }
            if self.by_ranges {
                drop(chunks);
                return self.rows(&object).await;
            }
            if self.reader().failed() {
                break;
            }
            if !self.depth.whole && self.read.stored_bytes >= PART {
                while let Some(batch) = self.reader().take_batch() {
                    self.batch(batch).await?;
                }
                return Ok(());
            }
        }
        while let Some(batch) = self.step(&mut None).await {
            self.batch(batch).await?;
        }
        if self.by_ranges {
            return self.rows(&object).await;
        }
        self.read.extent = Extent::Whole;
        Ok(())
    }

    /// The rows of an object that is not read from its beginning to its end.
    async fn rows(&mut self, object: &ObjectRef) -> Result<(), Ended> {
        let Some(size) = object.size else {
            let text = format!("the store of {object} did not say how large it is");
            return Err(Ended::Fetch(FetchError::Unavailable(text)));
        };
        // There is one object at a time.
        self.reader().allow_large_windows();
        self.reader().by_ranges(size);
        let mut bytes = None;
        loop {
            let mut reader = self.reader.take().expect(AWAY);
            let advance;
            (reader, advance) = blocking(move || {
                let advance = reader.advance_rows(bytes);
                (reader, advance)
            })
            .await;
            bytes = None;
            self.reader = Some(reader);
            match advance {
                Advance::Batch(batch) => {
                    self.batch(batch).await?;
                    if !self.depth.whole && self.read.events + self.read.rejects >= self.depth.events as u64 {
                        return Ok(());
                    }
                }
                Advance::LargeWindow => self.reader().allow_large_windows(),
                Advance::Bytes(range) => {
                    self.read.stored_bytes += range.end - range.start;
                    bytes = Some(self.objects.range(self.access, object, range).await.map_err(Ended::Fetch)?);
                }
                Advance::Done | Advance::Ranges => break,
            }
        }
        self.read.extent = Extent::Whole;
        Ok(())
    }

    /// The next batch of this input, or without one of the end.
    async fn step(&mut self, input: &mut Option<Bytes>) -> Option<EventBatch> {
        loop {
            let mut reader = self.reader.take().expect(AWAY);
            let mut rest = input.take();
            let advance;
            (reader, rest, advance) = blocking(move || {
                let advance = match &mut rest {
                    Some(input) => reader.advance(input),
                    None => reader.end(),
                };
                (reader, rest, advance)
            })
            .await;
            *input = rest;
            let reader = self.reader.insert(reader);
            match advance {
                Advance::Batch(batch) => return Some(batch),
                Advance::Done => return None,
                // There is one object at a time.
                Advance::LargeWindow => reader.allow_large_windows(),
                Advance::Ranges | Advance::Bytes(_) => {
                    self.by_ranges = true;
                    return None;
                }
            }
        }
    }

    fn reader(&mut self) -> &mut RecordReader {
        self.reader.as_mut().expect(AWAY)
    }

    async fn batch(&mut self, batch: EventBatch) -> Result<(), Ended> {
        self.read.events += batch.events.len() as u64;
        self.read.rejects += batch.rejects.len() as u64;
        let room = self.depth.events.saturating_sub(self.told.events.len());
        self.told.events.extend(batch.events.iter().take(room).map(|event| event.fields.clone()));
        self.verdicts.add(batch).await.map_err(Ended::Detect)
    }
}

const AWAY: &str = "the reader is away only while it works";

/// Of an object that gave no bytes nothing but its packing is told: there was no text to look at.
fn decoded(found: Findings, bytes: u64) -> DecodedTold {
    let split = found.split.filter(|_| bytes > 0);
    let stream = split.map(|Split { kind, envelope, delimited, why }| StreamTold { kind, envelope, delimited, why });
    DecodedTold { layers: found.layers, encoding: found.encoding.filter(|_| bytes > 0), stream }
}

fn record(traced: Traced) -> RecordTold {
    let end = match traced.end {
        TracedEnd::Events(log_type, events) => RecordEnd::Event { log_type: log_type.to_string(), events },
        TracedEnd::Consumed => RecordEnd::Consumed,
        TracedEnd::Rejected(reason) => RecordEnd::Reject { reason },
    };
    let miss = |(log_type, reason): (std::sync::Arc<str>, String)| MissTold { log_type: log_type.to_string(), reason };
    RecordTold { ordinal: traced.ordinal, end, misses: traced.misses.into_iter().map(miss).collect() }
}

fn undecodable(error: &DecodeError, tries: &Attempts) -> Halt {
    let then = match disposition::of_fault(error, tries) {
        ObjectState::Partial => {
            "it is read once more, as the fault may be of the transfer; then it is recorded as quarantined".to_owned()
        }
        state => recorded(state),
    };
    halt("decoding", error.to_string(), &then)
}

/// An object that was read and gives nothing.
fn fruitless(read: &ReadTold) -> Option<Halt> {
    if read.events > 0 {
        return None;
    }
    if read.rejects > 0 {
        let why = format!("none of the {} records that were read is of a log type of the source", read.rejects);
        return Some(halt("log types", why, "they are kept as rejects, each with its reason"));
    }
    (read.extent == Extent::Whole && read.decoded_bytes == 0)
        .then(|| halt("decoding", "it has no bytes".into(), &recorded(ObjectState::Empty)))
}

/// A rule that raises on the events.
fn failing(rules: &RulesTold) -> Option<Halt> {
    let (hit, fault) = rules.hits.iter().find_map(|hit| Some((hit, hit.fault.as_ref()?)))?;
    let why = format!("rule {} failed: {fault}", hit.rule);
    Some(halt("rules", why, "the events are kept, and an alert of kind RULE_ERROR tells of the rule"))
}
