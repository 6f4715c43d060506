//! One object: routed, claimed, read to its end, and its outcome made durable. Errors end here: each is a retry of
//! the message or an outcome with a reason.

mod batch;
mod conclusion;
mod identity;
mod rows;
mod spelling;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::TryStreamExt;
use time::OffsetDateTime;

use self::spelling::OtherKey;
use super::disposition::{self, Disposition};
use super::lease::HeldClaims;
use super::message::End;
use super::reader::{Advance, RecordReader};
use super::reading::Reading;
use super::slots::{LARGE, LargeSlot};
use super::stop::Stop;
use super::{Catalogue, Pipeline, attempts};
use crate::fetch::{Body, FetchError};
use crate::logtype::Context;
use crate::model::{Code, Message, ObjectRef, Route};
use crate::notify::Announced;
use crate::runtime::{BytePermit, blocking};
use crate::source::Routing;
use crate::state::{Attempts, Claim, ClaimToken, ObjectOutcome, ObjectState};
use crate::telemetry::{MessageSpans, ObjectFacts, ObjectSpans, Step};

/// Bytes that one object may hold at once beside what its store reads ahead and a record that is not complete yet: a
/// batch with its events, and the chunk it came from.
const WINDOW: u64 = 8 * 1024 * 1024;

/// What the work on one object of a message needs.
pub(super) struct Work<'a> {
    pub(super) pipeline: &'a Pipeline,
    /// The notification format of the message.
    pub(super) format: &'a str,
    pub(super) other_key: Option<&'a str>,
    /// The same from beginning to end, whatever is loaded meanwhile.
    pub(super) catalogue: Arc<Catalogue>,
    /// When the message was sent, if it was delivered before.
    pub(super) announced: Option<OffsetDateTime>,
    pub(super) claims: &'a HeldClaims,
    pub(super) started: tokio::time::Instant,
    /// Its message has a place among those in work.
    pub(super) has_place: bool,
    /// What the object that is read holds of what all share: its part of the places of large ones, and memory. Nothing
    /// before, and nothing any more when all that is left of it are rows of the lake, which has a bound of its own.
    pub(super) holds: Mutex<Option<(Option<LargeSlot<'a>>, BytePermit)>>,
    pub(super) spans: ObjectSpans,
}

/// Takes an object to an outcome, or says why the message must come back.
pub(super) async fn handle(
    pipeline: &Pipeline,
    message: &Message,
    format: &str,
    announced: &Announced,
    claims: &HeldClaims,
    has_place: bool,
    spans: &MessageSpans,
) -> End {
    let (object, other_key) = (&announced.object, announced.other_key.as_deref());
    let catalogue = pipeline.catalogue.get();
    // A first delivery is always tried: clocks differ, and it may be the answer to an outcome of just now.
    let announced = message.sent_at.filter(|_| message.receive_count > 1);
    let started = tokio::time::Instant::now();
    let (holds, spans) = (Mutex::default(), spans.object(object));
    let work = Work { pipeline, format, other_key, catalogue, announced, claims, started, has_place, holds, spans };
    let result = match route(&work.catalogue, object) {
        Ok(route) => {
            let read = work.routed(object, &route).await;
            if read.is_ok() {
                pipeline.slots.finished(work.started);
            }
            read
        }
        Err((source, outcome)) if outcome.state != ObjectState::Unrouted || work.has_row(object) => {
            work.settle(object, &source, outcome).await
        }
        Err((source, outcome)) => {
            work.tell(object, &source, &outcome);
            Ok(())
        }
    };
    match result {
        Ok(()) => End::Acknowledge,
        Err(Stop::Retry { reason, detail, delay }) => {
            work.spans.failed(reason, &detail);
            // What is held now is of this object; the others of the message need not wait for it to be given up.
            release_all(pipeline, claims, reason, &detail).await;
            let detail = format!("{object}: {detail}");
            match delay {
                Some(delay) => End::Release { reason, detail, delay },
                None => End::retry(message, reason, detail),
            }
        }
        Err(Stop::State(error)) => {
            work.spans.failed("state", &error.to_string());
            pipeline.telemetry.state_failed("record the outcome of an object", &error);
            release_all(pipeline, claims, "state", &error.to_string()).await;
            End::state_failed(message, &error)
        }
    }
}

/// Gives up the claims of work that goes back to the queue, with the reason for it.
pub(super) async fn release_all(pipeline: &Pipeline, claims: &HeldClaims, reason: &str, detail: &str) {
    for token in claims.all() {
        // A claim that can't be given up ends by itself.
        if let Err(error) = pipeline.state.release(&token, reason, detail, pipeline.clock.now()).await {
            pipeline.telemetry.state_failed("release a claim", &error);
        }
        claims.remove(&token);
    }
}

/// The route of an object that has to be read, or the outcome of one that has not, with its source.
pub(super) fn route(catalogue: &Catalogue, object: &ObjectRef) -> Result<Route, (String, ObjectOutcome)> {
    let without =
        |source: &str, state, reason: String| Err((source.to_owned(), ObjectOutcome::without_events(state, reason)));
    match catalogue.sources.route(object) {
        Routing::Unrouted => without(
            "",
            ObjectState::Unrouted,
            format!("no source takes {object}; add a [[sources]] entry for this bucket and prefix"),
        ),
        Routing::Excluded(source) => without(&source, ObjectState::Excluded, String::new()),
        Routing::Route(route) if object.key.ends_with('/') => {
            without(route.source(), ObjectState::Folder, String::new())
        }
        Routing::Route(route) if object.size == Some(0) => without(route.source(), ObjectState::Empty, String::new()),
        Routing::Route(route) => Ok(route),
    }
}

impl Work<'_> {
    /// An object of a source: opened where its identity needs that, claimed, read.
    async fn routed(&self, object: &ObjectRef, route: &Route) -> Result<(), Stop> {
        // Before the memory, of which those that wait here need none.
        let large = match object.size {
            Some(size) if size >= LARGE => Some(self.spans.time(Step::Wait, self.pipeline.slots.large()).await),
            _ => None,
        };
        // Before anything of the object is in memory.
        let held = self.pipeline.objects.most_held(object);
        let window = WINDOW + held + rows::most_held(route) + self.pipeline.limits.max_record_bytes as u64;
        if !self.pipeline.budget.fits(window) {
            self.pipeline.slots.short_of_memory(self.started);
        }
        let memory = self.spans.time(Step::Wait, self.pipeline.budget.take(window)).await;
        *self.holds.lock().expect("no holder of this lock panics") = Some((large, memory));
        if object.version_id.is_some() || object.etag.is_some() {
            return self.claimed(object, route, None).await;
        }
        // A notification that names only the key: which object that is, the store's answer tells.
        match self.spans.time(Step::Fetch, self.pipeline.objects.open(&route.access, object)).await {
            Ok(body) => {
                let named = body.object.clone();
                self.claimed(&named, route, Some(body)).await?;
                self.end_unnamed(object, route.source(), &named).await
            }
            Err(error) => {
                if matches!(error, FetchError::Missing(_)) {
                    match self.under_its_other_key(object).await? {
                        OtherKey::Read(other) => return self.end_unnamed(object, route.source(), &other).await,
                        OtherKey::Refused => return Ok(()),
                        OtherKey::NotThere => {}
                    }
                }
                let Some((token, attempts)) = self.claim(object, route.source()).await? else { return Ok(()) };
                let outcome = self.disposition(error, route, &attempts)?;
                self.finish(object, route.source(), &token, &outcome).await
            }
        }
    }

    async fn claimed(&self, object: &ObjectRef, route: &Route, opened: Option<Body>) -> Result<(), Stop> {
        let Some((token, attempts)) = self.claim(object, route.source()).await? else { return Ok(()) };
        let poison_after = self.pipeline.poison_after;
        let outcome = match attempts::crash_suspect(&attempts, poison_after) {
            Some(suspect) => suspect,
            None => {
                let opened = match opened {
                    Some(body) => Ok(body),
                    None => self.spans.time(Step::Fetch, self.pipeline.objects.open(&route.access, object)).await,
                };
                if matches!(opened, Err(FetchError::Missing(_))) {
                    match self.under_its_other_key(object).await? {
                        OtherKey::Read(other) => return self.end_as_read(&token, &other).await,
                        OtherKey::Refused => {
                            self.pipeline.state.release(&token, "other_key", "", self.pipeline.clock.now()).await?;
                            self.claims.remove(&token);
                            return Ok(());
                        }
                        OtherKey::NotThere => {}
                    }
                }
                match self.read(object, route, opened, &token, &attempts).await {
                    Ok(outcome) => outcome,
                    // A batch that no worker survives would come back for ever.
                    Err(Stop::Retry { reason: reason @ "detect", detail, .. })
                        if attempts.given_up_for(reason) + 1 >= poison_after =>
                    {
                        ObjectOutcome::without_events(ObjectState::Quarantined, Code::RuleCrash.with(detail))
                    }
                    Err(Stop::Retry { reason, detail, delay: None }) => {
                        let delay = Some(attempts::delay(&attempts, reason));
                        return Err(Stop::Retry { reason, detail, delay });
                    }
                    Err(stop) => return Err(stop),
                }
            }
        };
        self.finish(object, route.source(), &token, &outcome).await?;
        if outcome.state == ObjectState::Partial {
            let delay = Some(Duration::from_secs(1));
            return Err(Stop::Retry { reason: "decode", detail: outcome.reason, delay });
        }
        Ok(())
    }

    /// An outcome that needs no reading.
    async fn settle(&self, object: &ObjectRef, source: &str, outcome: ObjectOutcome) -> Result<(), Stop> {
        match self.claim(object, source).await? {
            Some((token, _)) => self.finish(object, source, &token, &outcome).await,
            None => Ok(()),
        }
    }

    /// Whether an object that no source takes is recorded; see [`Unrouted`](super::Unrouted).
    fn has_row(&self, object: &ObjectRef) -> bool {
        let seen = self.pipeline.unrouted.seen(&object.bucket, self.started);
        if let Some(line) = seen.line {
            self.pipeline.telemetry.bucket_unrouted(&object.bucket, line.objects, line.without_row);
        }
        seen.row
    }

    /// The claim; `None` when the object is done.
    async fn claim(&self, object: &ObjectRef, source: &str) -> Result<Option<(ClaimToken, Attempts)>, Stop> {
        let now = self.pipeline.clock.now();
        let claim = self.pipeline.state.claim(object, source, self.announced, now, now + self.pipeline.lease);
        match self.spans.time(Step::Claim, claim).await? {
            Claim::Granted(token, attempts) => {
                self.claims.add(&token);
                Ok(Some((token, attempts)))
            }
            Claim::Done(_) => {
                self.pipeline.telemetry.object_seen_again(object);
                self.spans.ended(source, "done before", 0, 0, 0);
                Ok(None)
            }
            Claim::Held(until) => {
                let left = Duration::try_from(until - now).unwrap_or_default();
                let delay = left.clamp(Duration::from_secs(1), Duration::from_secs(900));
                let detail = "it is worked on under another claim".to_owned();
                Err(Stop::Retry { reason: "held", detail, delay: Some(delay) })
            }
        }
    }

    async fn finish(
        &self,
        object: &ObjectRef,
        source: &str,
        token: &ClaimToken,
        outcome: &ObjectOutcome,
    ) -> Result<(), Stop> {
        let finish = self.pipeline.state.finish(token, outcome, self.pipeline.clock.now());
        self.spans.time(Step::Finish, finish).await?;
        self.claims.remove(token);
        if outcome.state != ObjectState::Partial {
            // A first reading to a fault is told with the message that goes back; the object is not done with.
            self.tell(object, source, outcome);
        }
        Ok(())
    }

    fn tell(&self, object: &ObjectRef, source: &str, outcome: &ObjectOutcome) {
        let state = outcome.state.as_str();
        self.spans.ended(source, state, outcome.events, outcome.rejects, outcome.bytes);
        if outcome.state == ObjectState::Quarantined {
            self.spans.failed(state, &outcome.reason);
        }
        self.pipeline.telemetry.object_finished(&ObjectFacts {
            object,
            source,
            state,
            reason: &outcome.reason,
            events: outcome.events,
            rejects: outcome.rejects,
            stored_bytes: object.size.unwrap_or(0),
            decoded_bytes: outcome.bytes,
            took: self.started.elapsed(),
        });
    }

    /// What a failure to read means: an outcome, or another try.
    fn disposition(&self, error: FetchError, route: &Route, attempts: &Attempts) -> Result<ObjectOutcome, Stop> {
        let detail = error.to_string();
        // A store that fails or can't answer is asked less, too.
        if let FetchError::Throttled(_) | FetchError::Unavailable(_) = error {
            self.pipeline.slots.throttled(self.started);
        }
        match disposition::of(&error, route.on_missing, attempts) {
            Disposition::Outcome(state) => Ok(ObjectOutcome::without_events(state, detail)),
            Disposition::Again { reason, delay } => Err(Stop::Retry { reason, detail, delay }),
        }
    }

    /// Reads an object to its end: every batch evaluated and committed when this returns an outcome.
    async fn read(
        &self,
        object: &ObjectRef,
        route: &Route,
        opened: Result<Body, FetchError>,
        token: &ClaimToken,
        attempts: &Attempts,
    ) -> Result<ObjectOutcome, Stop> {
        let pipeline = self.pipeline;
        let (opened, mut chunks) = match opened {
            Ok(body) => (body.object, body.chunks),
            Err(error) => return self.disposition(error, route, attempts),
        };
        let context = Context {
            object: token.object,
            address: Some(object.to_string().into()),
            source: route.source().into(),
            parse_time: pipeline.clock.now(),
            keep_unknown: true,
            guard_event_time: true,
        };
        let mut reader = RecordReader::new(route, pipeline.limits, &self.catalogue.log_types, context)
            .map_err(|error| Stop::Retry { reason: "log_type", detail: error.to_string(), delay: None })?;
        let mut reading = Reading::of(object);
        let mut large_window = None;
        loop {
            let mut input = match self.spans.time(Step::Fetch, chunks.try_next()).await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => return self.disposition(error, route, attempts),
            };
            loop {
                let advance;
                let decode = blocking(move || {
                    let advance = reader.advance(&mut input);
                    (reader, input, advance)
                });
                (reader, input, advance) = self.spans.time(Step::Decode, decode).await;
                match advance {
                    Advance::Batch(batch) => self.batch(token, batch, &mut reading).await?,
                    Advance::LargeWindow => large_window = self.large_window(&mut reader).await,
                    Advance::Ranges | Advance::Bytes(_) => {
                        // What is read ahead makes room.
                        drop((chunks, input));
                        return self.read_rows(&opened, route, reader, token, attempts).await;
                    }
                    Advance::Done => break,
                }
            }
            if reader.failed() {
                break;
            }
        }
        loop {
            let advance;
            let decode = blocking(move || {
                let advance = reader.end();
                (reader, advance)
            });
            (reader, advance) = self.spans.time(Step::Decode, decode).await;
            match advance {
                Advance::Batch(batch) => self.batch(token, batch, &mut reading).await?,
                Advance::LargeWindow => large_window = self.large_window(&mut reader).await,
                Advance::Ranges | Advance::Bytes(_) => {
                    return self.read_rows(&opened, route, reader, token, attempts).await;
                }
                Advance::Done => break,
            }
        }
        drop((large_window, chunks));
        self.conclude(object, route.source(), reader, reading, attempts).await
    }

    /// Waits until this object may have large windows.
    async fn large_window(&self, reader: &mut RecordReader) -> Option<BytePermit> {
        let permit = self.pipeline.budget.take_large_window().await;
        reader.allow_large_windows();
        Some(permit)
    }
}
