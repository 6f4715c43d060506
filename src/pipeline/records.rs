//! Rejects of a committed object, tried again: classified anew, evaluated, committed with the row ids that they would
//! have had at first, and only then no rejects any more.
//!
//! The object is read for them whenever it is still there ([`reread`]), because what a record means depends on what
//! came before it: a header, the log types that matched, its envelope. Their kept bytes do only where the object is
//! gone ([`kept`]). Either way the rows come to the lake in the order of the object, which it holds for done up to the
//! last one.
//!
//! A crash between the commit of mended rows and their leaving the rejects makes the next replay commit these rows once
//! more, under the same row ids: a replay begins without what the lake knew of the object, because the rejects lie
//! anywhere between rows that are there, and a row that is skipped by mistake would be lost.

mod kept;
mod reread;

use std::collections::BTreeSet;

use super::Pipeline;
use super::lease::{self, HeldClaims};
use super::object::Work;
use super::reader::{BATCH_BYTES, BATCH_RECORDS};
use super::reading::Reading;
use super::stop::Stop;
use crate::fetch::FetchError;
use crate::logtype::{Classifier, Context, UnknownLogType};
use crate::model::{Event, EventBatch, ObjectRef, Route, Stream};
use crate::source::Routing;
use crate::state::{ClaimToken, LedgerEntry, StateError};
use crate::telemetry::ObjectSpans;

/// Kept rejects that are in memory at once; each has at most a MiB.
const PAGE: u32 = 32;

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
        has_place: false,
        holds: std::sync::Mutex::default(),
        spans: ObjectSpans::default(),
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
        let wanted = self.ordinals().await?;
        if wanted.is_empty() {
            return Ok(self.mended);
        }
        let pipeline = self.work.pipeline;
        // Before the object is opened, because objects are read again one at a time and none of them waits for another.
        let _windows = pipeline.budget.take_large_window().await;
        match pipeline.objects.open(&self.route.access, self.object).await {
            Ok(body) => self.read_again(body, wanted).await?,
            Err(error) if is_gone(&error) => self.take_kept(wanted.len(), &error.to_string()).await?,
            Err(error) => self.leave(wanted.len(), &error.to_string()),
        }
        self.commit().await?;
        Ok(self.mended)
    }

    /// Of all rejects that are kept.
    async fn ordinals(&self) -> Result<BTreeSet<u64>, Stop> {
        let (mut ordinals, mut after) = (BTreeSet::new(), None);
        loop {
            let page = self.work.pipeline.state.rejects(self.token.object, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(ordinals) };
            after = Some(last.ordinal);
            ordinals.extend(page.iter().map(|reject| reject.ordinal));
        }
    }

    fn leave(&mut self, count: usize, cause: &str) {
        for _ in 0..count {
            self.mended.leave(|| format!("its object can't be used: {cause}"));
        }
    }

    fn stream(&self) -> Result<Stream, Stop> {
        let Route { stream, log_types, .. } = &self.route;
        self.work.catalogue.log_types.stream(stream, log_types).map_err(unknown_log_type)
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

    /// What became of rejects, in the order of their ordinals.
    async fn take(&mut self, found: Vec<Found>) -> Result<(), Stop> {
        for Found { ordinal, bytes, result } in found {
            match result {
                Ok(events) => {
                    self.batch.events.extend(events);
                    self.batch.ordinals.push(ordinal);
                    self.batch.bytes += bytes;
                }
                Err(reason) => self.mended.leave(|| reason),
            }
            if self.batch.is_full() {
                self.commit().await?;
            }
        }
        Ok(())
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
        let mut reading = Reading::of(self.object);
        self.work.batch(&self.token, batch, &mut reading).await?;
        for ticket in reading.tickets {
            ticket.committed().await?;
        }
        self.work.pipeline.state.mend(&self.token, &ordinals, count).await?;
        self.mended.records += records;
        self.mended.events += count;
        Ok(())
    }
}

impl Batch {
    fn is_full(&self) -> bool {
        self.events.len().max(self.ordinals.len()) >= BATCH_RECORDS || self.bytes >= BATCH_BYTES
    }
}

/// What became of a reject: its events, or why there are none.
struct Found {
    ordinal: u64,
    bytes: u64,
    result: Result<Vec<Event>, String>,
}

/// Whether the object can't be read any more, or not before somebody restores it.
fn is_gone(error: &FetchError) -> bool {
    match error {
        FetchError::Missing(_) | FetchError::NoBucket(_) | FetchError::Superseded(_) | FetchError::Archived(_) => true,
        FetchError::Forbidden(..) | FetchError::Throttled(_) | FetchError::Unavailable(_) => false,
    }
}

fn unknown_log_type(unknown: UnknownLogType) -> Stop {
    Stop::Retry { reason: "log_type", detail: unknown.to_string(), delay: None }
}
