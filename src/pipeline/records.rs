//! Rejects of a committed object, tried again: classified anew, evaluated, committed with the row ids that they would have
//! had at first, and only then no rejects any more.
//!
//! A reject is classified from its kept bytes. Where these were cut, or the log type needs what came before the record (a
//! header), the object is read again, and of it only the wanted records are used.
//!
//! A crash between the commit of mended rows and their leaving the rejects makes the next replay commit these rows once
//! more, under the same row ids: a replay begins without what the lake knew of the object, because the rejects lie anywhere
//! between rows that are there, and a row that is skipped by mistake would be lost.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::TryStreamExt;

use super::Pipeline;
use super::lease::{self, HeldClaims};
use super::object::Work;
use super::reading::Reading;
use super::stop::Stop;
use crate::decode::{DecodeError, Decoder, Pace, Piece, RowDecoder, Want};
use crate::logtype::{Classified, Classifier, Context, UnknownLogType};
use crate::model::{Event, EventBatch, ObjectRef, Record, Reject, Route};
use crate::runtime::blocking;
use crate::source::Routing;
use crate::state::{ClaimToken, LedgerEntry, StateError};

/// Kept rejects that are in memory at once; each has at most a MiB.
const PAGE: u32 = 32;

/// Events that are evaluated together.
const BATCH: usize = 512;

/// What became of the rejects of one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mended {
    /// Records that are events now.
    pub records: u64,
    pub events: u64,
    /// Records that are still none.
    pub left: u64,
    /// Why the first of these is none.
    pub first_left: String,
}

impl Mended {
    fn leave(&mut self, reason: impl FnOnce() -> String) {
        if self.left == 0 {
            self.first_left = reason();
        }
        self.left += 1;
    }
}

/// Tries the rejects of a committed object again. An error is about all that were not mended yet.
pub async fn replay_records(pipeline: &Pipeline, entry: &LedgerEntry) -> Result<Mended, String> {
    let object = &entry.object;
    let catalogue = pipeline.catalogue.get();
    let Routing::Route(route) = catalogue.sources.route(object) else {
        return Err(format!("no source takes {object} any more; add a [[sources]] entry for its bucket and prefix"));
    };
    let now = pipeline.clock.now();
    let claimed = pipeline.state.reopen(object.id(), now, now + pipeline.lease).await;
    let Some(token) = claimed.map_err(|error| error.to_string())? else {
        return Err(format!("{object} is worked on by another process; try again later"));
    };
    let claims = HeldClaims::default();
    claims.add(&token);
    let work = Work {
        pipeline,
        format: "",
        other_key: None,
        catalogue,
        announced: None,
        claims: &claims,
        started: tokio::time::Instant::now(),
    };
    let mending =
        Mending { work, object, route, token: token.clone(), batch: Batch::default(), mended: Mended::default() };
    let result = tokio::select! {
        result = mending.run() => result.map_err(|stop| stop.to_string()),
        lost = lease::keep_claims(pipeline, &claims) => Err(lost),
        () = pipeline.abandon.cancelled() => Err("the command was ended".to_owned()),
    };
    match pipeline.state.release(&token, "replay", "", pipeline.clock.now()).await {
        Ok(()) | Err(StateError::Fenced(_)) => {}
        Err(error) => pipeline.telemetry.state_failed("release a claim", &error),
    }
    result
}

struct Mending<'a> {
    work: Work<'a>,
    object: &'a ObjectRef,
    route: Route,
    token: ClaimToken,
    batch: Batch,
    mended: Mended,
}

/// Events of whole records, and the ordinals of these.
#[derive(Default)]
struct Batch {
    events: Vec<Event>,
    ordinals: Vec<u64>,
    bytes: u64,
}

impl Mending<'_> {
    async fn run(mut self) -> Result<Mended, Stop> {
        let state = self.work.pipeline.state.clone();
        let mut again = BTreeSet::new();
        let mut classifier = self.classifier()?;
        let mut after = None;
        loop {
            let page = state.rejects(self.token.object, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.ordinal);
            let results;
            (classifier, results) = blocking(move || {
                let results = page.into_iter().map(|reject| classify(&mut classifier, reject)).collect::<Vec<_>>();
                (classifier, results)
            })
            .await;
            for (ordinal, bytes, result) in results {
                match result {
                    Some(result) => self.take(ordinal, bytes, result).await?,
                    None => drop(again.insert(ordinal)),
                }
            }
        }
        if !again.is_empty() {
            self.read_again(again).await?;
        }
        self.commit().await?;
        Ok(self.mended)
    }

    fn classifier(&self) -> Result<Classifier, Stop> {
        let pipeline = self.work.pipeline;
        let context = Context {
            object: self.token.object,
            address: Some(self.object.to_string().into()),
            source: self.route.source().into(),
            parse_time: pipeline.clock.now(),
            keep_unknown: true,
            guard_event_time: true,
        };
        Classifier::new(&self.work.catalogue.log_types, &self.route.log_types, context).map_err(unknown_log_type)
    }

    async fn take(&mut self, ordinal: u64, bytes: u64, result: Result<Vec<Event>, String>) -> Result<(), Stop> {
        match result {
            Ok(events) => {
                self.batch.events.extend(events);
                self.batch.ordinals.push(ordinal);
                self.batch.bytes += bytes;
                if self.batch.events.len() >= BATCH { self.commit().await } else { Ok(()) }
            }
            Err(reason) => {
                self.mended.leave(|| reason);
                Ok(())
            }
        }
    }

    /// Detections and rows durable, then the rejects leave.
    async fn commit(&mut self) -> Result<(), Stop> {
        let Batch { events, ordinals, bytes } = std::mem::take(&mut self.batch);
        if ordinals.is_empty() {
            return Ok(());
        }
        let (records, count) = (ordinals.len() as u64, events.len() as u64);
        let source = self.route.source().into();
        let batch = EventBatch { object: self.token.object, source, events, rejects: Vec::new(), bytes };
        let mut reading = Reading::default();
        self.work.batch(&self.token, batch, &mut reading).await?;
        for ticket in reading.tickets {
            ticket.committed().await?;
        }
        self.work.pipeline.state.mend(&self.token, &ordinals, count).await?;
        self.mended.records += records;
        self.mended.events += count;
        Ok(())
    }

    /// Reads the object for the records whose kept bytes are not enough.
    async fn read_again(&mut self, wanted: BTreeSet<u64>) -> Result<(), Stop> {
        let pipeline = self.work.pipeline;
        let log_types = &self.work.catalogue.log_types;
        let stream = log_types.stream(&self.route.stream, &self.route.log_types).map_err(unknown_log_type)?;
        let mut decoder = Decoder::new(&stream, pipeline.limits);
        // Taken beforehand, because few objects are read again and none of them waits for another.
        let _windows = pipeline.budget.take_large_window().await;
        decoder.allow_large_windows();
        let mut reader = Rereader { decoder, rows: None, classifier: self.classifier()?, wanted };
        let mut failed = None;
        match pipeline.objects.open(&self.route.access, self.object).await {
            Ok(mut body) => {
                while failed.is_none() && !reader.wanted.is_empty() {
                    let chunk = match body.chunks.try_next().await {
                        Ok(chunk) => chunk,
                        Err(error) => {
                            failed = Some(error.to_string());
                            break;
                        }
                    };
                    let is_end = chunk.is_none();
                    let (found, end);
                    (reader, (found, end)) = blocking(move || {
                        let read = reader.read(chunk);
                        (reader, read)
                    })
                    .await;
                    for (ordinal, bytes, result) in found {
                        self.take(ordinal, bytes, result).await?;
                    }
                    match end {
                        Some(End::Ranges) => {
                            (reader, failed) = self.read_rows_again(reader, &body.object).await?;
                            break;
                        }
                        Some(End::Error(error)) => failed = Some(error.to_string()),
                        None => {}
                    }
                    if is_end {
                        break;
                    }
                }
            }
            Err(error) => failed = Some(error.to_string()),
        }
        let cause = failed.unwrap_or_else(|| "it has no such record any more".to_owned());
        for _ in &reader.wanted {
            self.mended.leave(|| format!("its kept bytes are not all of it, and its object can't be used: {cause}"));
        }
        Ok(())
    }

    /// As [`Mending::read_again`], of an object that is read by ranges. Why it came to no end, if it didn't.
    async fn read_rows_again(
        &mut self,
        mut reader: Rereader,
        opened: &ObjectRef,
    ) -> Result<(Rereader, Option<String>), Stop> {
        let pipeline = self.work.pipeline;
        let Some(size) = opened.size else {
            return Ok((reader, Some("its store did not say how large it is".to_owned())));
        };
        let mut rows = RowDecoder::new(pipeline.limits, size);
        rows.allow_large_windows();
        reader.rows = Some(Box::new(rows));
        let mut bytes = None;
        while !reader.wanted.is_empty() {
            let (found, read);
            (reader, (found, read)) = blocking(move || {
                let read = reader.read_rows(bytes);
                (reader, read)
            })
            .await;
            bytes = None;
            for (ordinal, length, result) in found {
                self.take(ordinal, length, result).await?;
            }
            match read {
                Ok(Want::Bytes(range)) => match pipeline.objects.range(&self.route.access, opened, range).await {
                    Ok(wanted) => bytes = Some(wanted),
                    Err(error) => return Ok((reader, Some(error.to_string()))),
                },
                Ok(Want::More) => {}
                Ok(Want::Done | Want::LargeWindow) => break,
                Err(error) => return Ok((reader, Some(error.to_string()))),
            }
        }
        Ok((reader, None))
    }
}

fn unknown_log_type(unknown: UnknownLogType) -> Stop {
    Stop::Retry { reason: "log_type", detail: unknown.to_string(), delay: None }
}

type Found = (u64, u64, Result<Vec<Event>, String>);

/// Ordinal, bytes and events of a kept reject; no events when its kept bytes can't tell.
fn classify(classifier: &mut Classifier, reject: Reject) -> (u64, u64, Option<Result<Vec<Event>, String>>) {
    let (ordinal, bytes) = (reject.ordinal, reject.raw.len() as u64);
    // One of exactly the limit may be whole; that its object tells, too.
    if reject.raw.len() >= Reject::RAW_LIMIT {
        return (ordinal, bytes, None);
    }
    let result = match classifier.classify(&Record { ordinal, bytes: reject.raw, origin: None }) {
        Classified::Events(events) if !events.is_empty() => Some(Ok(events)),
        // Taken for a header, because it is the first record that this classifier sees.
        Classified::Events(_) => None,
        Classified::Rejected(reject) => Some(Err(reject.reason)),
        Classified::Blank => Some(Err("nothing but white space was kept of it".to_owned())),
    };
    (ordinal, bytes, result)
}

/// Why no further chunk is read.
enum End {
    Error(DecodeError),
    /// The object is read by ranges.
    Ranges,
}

struct Rereader {
    decoder: Decoder,
    rows: Option<Box<RowDecoder>>,
    classifier: Classifier,
    /// Not found yet.
    wanted: BTreeSet<u64>,
}

impl Rereader {
    /// What is wanted of a chunk, or of the end; and what ends the reading before.
    fn read(&mut self, chunk: Option<Bytes>) -> (Vec<Found>, Option<End>) {
        let (mut pieces, mut found) = (Vec::new(), Vec::new());
        let mut rest = chunk.as_deref().unwrap_or_default();
        loop {
            let pace = match &chunk {
                Some(_) => self.decoder.push(&mut rest, &mut pieces),
                None => self.decoder.finish(&mut pieces),
            };
            self.pick(&mut pieces, &mut found);
            match pace {
                Ok(Pace::Done) => return (found, None),
                Ok(Pace::More | Pace::LargeWindow) => {}
                Ok(Pace::Ranges) => return (found, Some(End::Ranges)),
                Err(error) => return (found, Some(End::Error(error))),
            }
        }
    }

    /// Takes the bytes that were wanted; what is wanted of the next rows, and how it goes on.
    fn read_rows(&mut self, bytes: Option<Bytes>) -> (Vec<Found>, Result<Want, DecodeError>) {
        let (mut pieces, mut found) = (Vec::new(), Vec::new());
        let Some(rows) = &mut self.rows else { return (found, Ok(Want::Done)) };
        let want = bytes.map_or(Ok(()), |bytes| rows.supply(bytes)).and_then(|()| rows.advance(&mut pieces));
        self.pick(&mut pieces, &mut found);
        (found, want)
    }

    /// Every record is classified, for the sake of headers.
    fn pick(&mut self, pieces: &mut Vec<Piece>, found: &mut Vec<Found>) {
        for piece in pieces.drain(..) {
            let (ordinal, bytes, result) = match piece {
                Piece::Reject(reject) => (reject.ordinal, 0, Err(reject.reason)),
                Piece::Record(record) => {
                    let result = match self.classifier.classify(&record) {
                        Classified::Events(events) => Ok(events),
                        Classified::Rejected(reject) => Err(reject.reason),
                        Classified::Blank => Ok(Vec::new()),
                    };
                    (record.ordinal, record.bytes.len() as u64, result)
                }
            };
            if self.wanted.remove(&ordinal) {
                found.push((ordinal, bytes, result));
            }
        }
    }
}
