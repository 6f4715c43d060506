//! Objects that were refused to their role are read as soon as it may: no queue announces them again.
//!
//! A few of each source are looked at, others at each turn; when one of these is not refused, access works again, and
//! all of the source go through the pipeline, one at a time beside what the queue brings. A source that stays refused
//! is looked at less and less often.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::lease::{self, HeldClaims};
use super::message::End;
use super::{Catalogue, Pipeline, attempts, object};
use crate::fetch::FetchError;
use crate::model::{Message, ObjectId, ObjectRef};
use crate::notify::{Announced, Cause};
use crate::runtime::Backoff;
use crate::source::Routing;
use crate::state::{LedgerEntry, ObjectFilter, ObjectState, StateError};
use crate::telemetry::MessageSpans;

const PAGE: u32 = 100;

/// Objects of one source that are looked at in one turn: one that stays refused by itself must not stand for the
/// others.
const PROBES: u32 = 10;

/// Between turns of a source that stays refused, by how often it was.
const REFUSED: Backoff = Backoff::new(Duration::from_secs(10 * 60), Duration::from_secs(60 * 60));

/// What is remembered from turn to turn.
#[derive(Default)]
pub struct Parked {
    sources: HashMap<String, Turn>,
    /// A new one may have what was missing.
    catalogue: Option<Arc<Catalogue>>,
}

#[derive(Default)]
struct Turn {
    /// The last object that was looked at.
    after: Option<ObjectId>,
    /// Turns in a row in which nothing could be read.
    refused: u32,
    due: Option<Instant>,
}

impl Parked {
    /// Looks at every source whose turn it is, and replays the parked objects of those that can be read. After
    /// `shutdown` no object is begun, and the one in work ends as others do: by itself, or abandoned.
    pub async fn replay(&mut self, pipeline: &Pipeline, shutdown: &CancellationToken) -> Result<(), StateError> {
        let catalogue = pipeline.catalogue.get();
        if !self.catalogue.as_ref().is_some_and(|last| Arc::ptr_eq(last, &catalogue)) {
            self.sources.clear();
            self.catalogue = Some(catalogue.clone());
        }
        for source in catalogue.sources.names() {
            let turn = self.sources.entry(source.to_owned()).or_default();
            if turn.due.is_some_and(|due| Instant::now() < due) {
                continue;
            }
            let filter = ObjectFilter { source: Some(source.to_owned()), ..ObjectFilter::default() };
            let probes = turn.probes(pipeline, &filter).await?;
            if probes.is_empty() {
                *turn = Turn::default();
                continue;
            }
            let is_readable = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                is_readable = any_readable(pipeline, &probes) => is_readable,
            };
            let mut done = 0;
            if is_readable {
                tracing::info!(target: "margay::pipeline", source, "access works again; parked objects are read");
                done = replay(pipeline, source, &filter, shutdown).await?;
            }
            turn.ended(done > 0);
        }
        Ok(())
    }
}

impl Turn {
    async fn probes(&mut self, pipeline: &Pipeline, filter: &ObjectFilter) -> Result<Vec<LedgerEntry>, StateError> {
        let mut probes = page(pipeline, filter, self.after, PROBES).await?;
        if probes.is_empty() && self.after.is_some() {
            probes = page(pipeline, filter, None, PROBES).await?;
        }
        self.after = probes.last().map(|last| last.object.id());
        Ok(probes)
    }

    fn ended(&mut self, something_was_read: bool) {
        if something_was_read {
            (self.refused, self.due) = (0, None);
        } else {
            self.due = Some(Instant::now() + REFUSED.delay(self.refused));
            self.refused = self.refused.saturating_add(1);
        }
    }
}

async fn any_readable(pipeline: &Pipeline, probes: &[LedgerEntry]) -> bool {
    for probe in probes {
        if !is_refused(pipeline, &probe.object).await {
            return true;
        }
    }
    false
}

/// Tells how many objects have an outcome.
async fn replay(
    pipeline: &Pipeline,
    source: &str,
    filter: &ObjectFilter,
    shutdown: &CancellationToken,
) -> Result<u64, StateError> {
    let (mut done, mut left, mut first_left) = (0, 0u64, String::new());
    let mut after = None;
    'all: loop {
        let entries = page(pipeline, filter, after, PAGE).await?;
        let Some(last) = entries.last() else { break };
        after = Some(last.object.id());
        for entry in entries {
            if shutdown.is_cancelled() {
                break 'all;
            }
            match take(pipeline, &entry.object).await {
                Ok(()) => done += 1,
                Err(detail) => {
                    if left == 0 {
                        first_left = format!("{}: {detail}", entry.object);
                    }
                    left += 1;
                }
            }
        }
    }
    if left > 0 {
        tracing::warn!(target: "margay::pipeline", source, left, first_left, "parked objects stay parked");
    }
    Ok(done)
}

async fn page(
    pipeline: &Pipeline,
    filter: &ObjectFilter,
    after: Option<ObjectId>,
    limit: u32,
) -> Result<Vec<LedgerEntry>, StateError> {
    pipeline.state.open_objects(&[ObjectState::Parked], filter, after, limit, pipeline.clock.now()).await
}

/// Whether there is no use in trying. An object that is gone says no more about its role than one that is read.
async fn is_refused(pipeline: &Pipeline, object: &ObjectRef) -> bool {
    let Routing::Route(route) = pipeline.catalogue.get().sources.route(object) else { return false };
    let opened = pipeline.objects.open(&route.access, object).await;
    matches!(
        opened,
        Err(FetchError::Forbidden(..)
            | FetchError::NoBucket(_)
            | FetchError::Throttled(_)
            | FetchError::Unavailable(_))
    )
}

/// Takes one object to an outcome; without one it stays parked, and this says why.
async fn take(pipeline: &Pipeline, object: &ObjectRef) -> Result<(), String> {
    let message = Message { id: format!("parked {object}"), body: String::new(), receive_count: 1, sent_at: None };
    let claims = HeldClaims::default();
    let announced = Announced { object: object.clone(), cause: Cause::Created, other_key: None };
    let spans = MessageSpans::default();
    let work = object::handle(pipeline, &message, "", &announced, &claims, false, &spans);
    let work = AssertUnwindSafe(work).catch_unwind();
    let (reason, detail) = tokio::select! {
        biased;
        end = work => match end {
            Ok(End::Acknowledge) => return Ok(()),
            Ok(End::Release { reason, detail, .. }) => (reason, detail),
            Ok(End::LeaseLost { detail }) => ("lease_lost", detail),
            Err(_) => (attempts::PANIC, attempts::PANICKED.to_owned()),
        },
        detail = lease::keep_claims(pipeline, &claims) => ("lease_lost", detail),
        () = pipeline.abandon.cancelled() => ("shutdown", "the daemon is ending".to_owned()),
    };
    object::release_all(pipeline, &claims, reason, &detail).await;
    Err(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_source_that_stays_refused_is_looked_at_less_and_less() {
        let mut turn = Turn::default();
        let mut waits = Vec::new();
        for _ in 0..40 {
            turn.ended(false);
            waits.push(turn.due.unwrap() - Instant::now());
        }
        assert!(waits[0] <= Duration::from_secs(600) && waits.iter().any(|wait| *wait > Duration::from_secs(1200)));
        assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(3600)), "{waits:?}");
        turn.ended(true);
        assert_eq!((turn.refused, turn.due), (0, None));
    }
}
