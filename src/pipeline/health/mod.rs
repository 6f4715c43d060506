//! Whether a source works, step by step in the order in which an object comes: may its role be assumed, is the bucket
//! there, how is its key, can its objects be listed and read, are new ones announced, may the announcement come into the
//! queue. Each step that fails says what to do.
//!
//! Changes nothing. Every answer comes from the port that the daemon works through, so a step that is well here is well
//! there. `steps` makes verdicts of answers, `queue_policy` reads who may send.

mod queue_policy;
mod steps;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::Serialize;
use time::{Duration, OffsetDateTime};

use super::explain::{Depth, Explainer, ObjectTold};
use crate::fetch::{Announcements, Encryption, FetchError, Page, Refusal};
use crate::model::{Access, ObjectRef};
use crate::queue::QueueSettings;
use crate::source::{KeyError, KeyState, Keys, Routing, Scope};
use crate::state::{Backlog, Fact, ObjectFilter, ObjectState, StateError};

/// The steps in their order.
pub const STEPS: [&str; 10] =
    ["role", "bucket", "kms", "list", "read", "encryption", "notification", "topic", "queue", "flow"];

/// When events of a source came last, and how long it may be silent.
pub(super) struct Came {
    last: Option<OffsetDateTime>,
    silence: Option<Duration>,
    now: OffsetDateTime,
}

/// Objects that are counted of each kind that was kept aside.
const COUNTED: u32 = 1000;

/// Enough of an object to know whether it can be read and what it holds.
const SHOWN: Depth = Depth { events: 1, whole: false };

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Healthy,
    /// It works, and something about it should be otherwise.
    Warning,
    Failed,
    /// It can't be told from here.
    Unknown,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Healthy => "healthy",
            Verdict::Warning => "warning",
            Verdict::Failed => "failed",
            Verdict::Unknown => "unknown",
        }
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    pub check: &'static str,
    pub verdict: Verdict,
    pub message: String,
    /// What to change, or which command tells more.
    pub fix: Option<String>,
}

/// Who knows how things are set up; `None` where nothing is, as of a directory.
#[derive(Clone, Default)]
pub struct Settings {
    pub announcements: Option<Arc<dyn Announcements>>,
    pub encryption: Option<Arc<dyn Encryption>>,
    pub keys: Option<Arc<dyn Keys>>,
    pub queue: Option<Arc<dyn QueueSettings>>,
}

/// What an examination asks.
pub struct Examiner {
    pub explainer: Explainer,
    pub settings: Settings,
    /// Try whether a role can be had without the external id. A role that is well refuses that.
    pub tries_without_id: bool,
}

impl Examiner {
    /// The steps of a source, up to the first one without which no other can be taken; `None` for a source that is not
    /// configured, or not enabled.
    pub async fn examine(&self, source: &str) -> Result<Option<Vec<Check>>, StateError> {
        let Some(scope) = self.explainer.catalogue.sources.scope(source) else { return Ok(None) };
        let mut checks = Vec::new();
        let listings = self.listings(&scope).await;
        checks.push(steps::role(&scope.access, &listings, self.opens_without_id(&scope, &listings).await));
        if listings.iter().any(|(_, listing)| is_refused_role(listing)) {
            return Ok(Some(checks));
        }
        let region = self.explainer.objects.region(&scope.access, &object(&scope.bucket, ""));
        checks.push(steps::bucket(&scope, &listings, region));
        if listings.iter().any(|(_, listing)| matches!(listing, Err(FetchError::NoBucket(_)))) {
            return Ok(Some(checks));
        }
        let objects = self.readable(&listings);
        let told = self.read(&objects).await?;
        checks.push(steps::key(&scope.access, self.key_state(&scope.access).await, &told));
        checks.push(steps::list(&listings));
        checks.push(steps::read(&told));
        checks.extend(self.encryption(&scope.access, &objects).await);
        self.way_of_notifications(&scope, &mut checks).await;
        checks.push(self.flow(&scope).await?);
        Ok(Some(checks))
    }

    /// The first page of each prefix.
    async fn listings(&self, scope: &Scope) -> Vec<(String, Result<Page, FetchError>)> {
        let mut listings = Vec::new();
        for prefix in &scope.prefixes {
            let listing = self.explainer.objects.list(&scope.access, &scope.bucket, prefix, None).await;
            let stops = is_refused_role(&listing);
            listings.push((prefix.clone(), listing));
            if stops {
                break;
            }
        }
        listings
    }

    /// Whether the role can be had without the external id that the source has; then it protects nothing.
    async fn opens_without_id(&self, scope: &Scope, listings: &[(String, Result<Page, FetchError>)]) -> bool {
        let Some((prefix, Ok(_))) = listings.first() else { return false };
        if !self.tries_without_id || scope.access.role_arn.is_none() || scope.access.external_id.is_none() {
            return false;
        }
        let without = Access { external_id: None, ..(*scope.access).clone() };
        self.explainer.objects.list(&without, &scope.bucket, prefix, None).await.is_ok()
    }

    /// One object of each prefix: the newest of the first page, which is the least likely to be archived.
    fn readable(&self, listings: &[(String, Result<Page, FetchError>)]) -> Vec<ObjectRef> {
        let sources = &self.explainer.catalogue.sources;
        let newest = |page: &Page| {
            let readable = page.objects.iter().filter(|listed| {
                matches!(sources.route(&listed.object), Routing::Route(_)) && listed.object.size != Some(0)
            });
            readable.max_by_key(|listed| listed.modified).map(|listed| listed.object.clone())
        };
        listings.iter().filter_map(|(_, listing)| newest(listing.as_ref().ok()?)).collect()
    }

    /// Each object as far as it takes to see an event.
    async fn read(&self, objects: &[ObjectRef]) -> Result<Vec<ObjectTold>, StateError> {
        let mut told = Vec::new();
        for object in objects {
            told.extend(self.explainer.object(object.clone(), SHOWN).await?.objects);
        }
        Ok(told)
    }

    /// Of the key that the source names. A store that is not AWS's has none there.
    async fn key_state(&self, access: &Access) -> Option<Result<KeyState, KeyError>> {
        let (Some(keys), Some(key), None) = (&self.settings.keys, &access.kms_key_arn, &access.endpoint) else {
            return None;
        };
        Some(keys.state(access, key).await)
    }

    async fn encryption(&self, access: &Access, objects: &[ObjectRef]) -> Option<Check> {
        let encryption = self.settings.encryption.as_ref()?;
        let mut keys = Vec::new();
        for object in objects {
            keys.push(encryption.key(access, object).await);
        }
        Some(steps::encryption(access, &keys))
    }

    async fn way_of_notifications(&self, scope: &Scope, checks: &mut Vec<Check>) {
        let Settings { announcements: Some(announcements), queue: Some(queue), .. } = &self.settings else { return };
        let announced = announcements.announcements(&scope.access, &scope.bucket).await;
        let facts = queue.facts().await;
        checks.push(steps::notification(scope, &announced));
        if let Ok(announced) = &announced {
            checks.extend(steps::topic(scope, announced, facts.as_ref().ok(), &self.explainer.catalogue.sources));
        }
        checks.push(steps::queue(scope, announced.as_deref().unwrap_or_default(), facts));
    }

    /// When events came last, and objects of the source that came and did not end well.
    async fn flow(&self, scope: &Scope) -> Result<Check, StateError> {
        let Some(state) = &self.explainer.state else { return Ok(steps::no_state()) };
        let of_source = ObjectFilter { source: Some(scope.access.source.clone()), ..ObjectFilter::default() };
        let of_bucket = ObjectFilter { bucket: Some(scope.bucket.clone()), ..ObjectFilter::default() };
        let mut kept = Vec::new();
        use ObjectState::{Archived, Missing, Parked, Partial, Quarantined, Unrouted};
        for (kind, filter) in [
            (Parked, &of_source),
            (Quarantined, &of_source),
            (Missing, &of_source),
            (Archived, &of_source),
            (Partial, &of_source),
            (Unrouted, &of_bucket),
        ] {
            let now = self.explainer.clock.now();
            let state: &dyn Backlog = &**state;
            let entries = state.open_objects(&[kind], filter, None, COUNTED, now).await?;
            if let Some(first) = entries.first() {
                kept.push((kind, entries.len(), first.reason.clone()));
            }
        }
        let source = &scope.access.source;
        let events = state.noted().await?.into_iter().find(|one| one.fact == Fact::Events && one.subject == *source);
        let came = Came {
            last: events.map(|events| events.at),
            silence: self.explainer.catalogue.sources.silence(source),
            now: self.explainer.clock.now(),
        };
        Ok(steps::flow(source, &came, &kept))
    }
}

fn is_refused_role(listing: &Result<Page, FetchError>) -> bool {
    matches!(listing, Err(FetchError::Forbidden(Refusal::AssumeRoleDenied, _)))
}

fn object(bucket: &str, key: &str) -> ObjectRef {
    ObjectRef {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        version_id: None,
        etag: None,
        size: None,
        region: None,
        sequencer: None,
    }
}
