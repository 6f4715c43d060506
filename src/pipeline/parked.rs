//! Objects that were refused to their role are read as soon as it may: no queue announces them again.
//!
//! One of each source is looked at; when that one is not refused, access works again, and all of the source go through
//! the pipeline, one at a time beside what the queue brings.

use super::Pipeline;
use super::lease::{self, HeldClaims};
use super::message::End;
use super::object;
use crate::fetch::FetchError;
use crate::model::{Message, ObjectRef};
use crate::notify::{Announced, Cause};
use crate::source::Routing;
use crate::state::{LedgerEntry, ObjectFilter, ObjectState, StateError};

const PAGE: u32 = 100;

/// Looks at every source, and replays the parked objects of those that can be read.
pub async fn replay_parked(pipeline: &Pipeline) -> Result<(), StateError> {
    let catalogue = pipeline.catalogue.get();
    for source in catalogue.sources.names() {
        let filter = ObjectFilter { source: Some(source.to_owned()), ..ObjectFilter::default() };
        let Some(first) = page(pipeline, &filter, None, 1).await?.pop() else { continue };
        if !is_refused(pipeline, &first.object).await {
            tracing::info!(target: "margay::pipeline", source, "access works again; parked objects are read");
            replay(pipeline, &filter).await?;
        }
    }
    Ok(())
}

async fn replay(pipeline: &Pipeline, filter: &ObjectFilter) -> Result<(), StateError> {
    let mut after = None;
    loop {
        let entries = page(pipeline, filter, after, PAGE).await?;
        let Some(last) = entries.last() else { return Ok(()) };
        after = Some(last.object.id());
        for entry in entries {
            take(pipeline, &entry.object).await;
        }
    }
}

async fn page(
    pipeline: &Pipeline,
    filter: &ObjectFilter,
    after: Option<crate::model::ObjectId>,
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

/// Takes one object to an outcome; without one it stays parked.
async fn take(pipeline: &Pipeline, object: &ObjectRef) {
    let message = Message { id: format!("parked {object}"), body: String::new(), receive_count: 1, sent_at: None };
    let claims = HeldClaims::default();
    let announced = Announced { object: object.clone(), cause: Cause::Created, other_key: None };
    let end = tokio::select! {
        end = object::handle(pipeline, &message, "", &announced, &claims) => end,
        detail = lease::keep_claims(pipeline, &claims) => End::LeaseLost { detail },
        () = pipeline.abandon.cancelled() => End::LeaseLost { detail: "the daemon is ending".into() },
    };
    match end {
        End::Acknowledge => {}
        End::Release { reason, detail, .. } => {
            object::release_all(pipeline, &claims, reason, &detail).await;
            tracing::warn!(target: "margay::pipeline", %object, detail, "parked object stays parked");
        }
        End::LeaseLost { detail } => {
            object::release_all(pipeline, &claims, "lease_lost", &detail).await;
            tracing::warn!(target: "margay::pipeline", %object, detail, "parked object stays parked");
        }
    }
}
