//! What the pipeline would do with a message or an object, step by step, and where and why it stops: told, not done.
//!
//! Invariant: no side effect. Nothing is claimed, written, acknowledged or confirmed; what is asked are the object's
//! bytes and the ledger. Every decision is made by the code that makes it for the daemon: the table of sources, the
//! store, the decoder and classifier behind [`RecordReader`](super::reader::RecordReader), the engine, `disposition`.
//! `told` is what comes out, `reading` reads, `verdicts` groups what the rules say, `ledger` tells what is known.

mod ledger;
mod reading;
mod told;
mod verdicts;

use std::sync::Arc;

pub use told::{
    BadTold, CandidateTold, DecodedTold, EntryTold, Extent, Halt, HitTold, IdentityTold, LedgerTold, MissTold,
    NoticeTold, ObjectTold, ReadTold, RecordEnd, RecordTold, RegionTold, RulesTold, SourceTold, StreamTold, Told,
};

use super::disposition::{self, Disposition};
use super::{Catalogue, attempts, message, object, setup};
use crate::decode::Limits;
use crate::detect::Engine;
use crate::fetch::{Body, FetchError, ObjectStore, Refusal};
use crate::model::{Access, ObjectRef, Receiver, Route};
use crate::notify::{self, Announced, Cause, Notice, SetUp};
use crate::runtime::SharedClock;
use crate::source::{Candidate, session_name};
use crate::state::{Attempts, ObjectState, StateError, StateStore};

/// What an explanation needs: the parts of a pipeline that change nothing.
pub struct Explainer {
    pub catalogue: Arc<Catalogue>,
    pub objects: Arc<dyn ObjectStore>,
    /// `None` while there is no state file.
    pub state: Option<Arc<dyn StateStore>>,
    pub engine: Engine,
    pub clock: SharedClock,
    pub limits: Limits,
    pub poison_after: u32,
    /// Where a new alert may go to.
    pub destinations: Vec<Receiver>,
}

/// How much is read and shown.
#[derive(Clone, Copy, Debug)]
pub struct Depth {
    /// Records and events that are shown.
    pub events: usize,
    /// Read to the end, and not only as far as those need it.
    pub whole: bool,
}

impl Explainer {
    /// A message, as the queue would deliver it.
    pub async fn message(&self, body: &str, depth: Depth) -> Result<Told, StateError> {
        let notice = match notify::parse(body) {
            Ok(notice) => notice,
            Err(bad) => {
                let stop = Some(halt("notification", bad.to_string(), "the message is kept aside with this reason"));
                return Ok(Told { notification: Some(NoticeTold { stop, ..NoticeTold::default() }), objects: vec![] });
            }
        };
        let mut objects = Vec::new();
        for announced in &notice.objects {
            objects.push(self.announced(announced, depth).await?);
        }
        Ok(Told { notification: Some(self.notice(notice)), objects })
    }

    /// An object by its address, as if it had just been created.
    pub async fn object(&self, object: ObjectRef, depth: Depth) -> Result<Told, StateError> {
        let announced = Announced { object, cause: Cause::Created, other_key: None };
        Ok(Told { notification: None, objects: vec![self.announced(&announced, depth).await?] })
    }

    fn notice(&self, notice: Notice) -> NoticeTold {
        let (setup, mut stop) = match &notice.setup {
            Some(said) => self.setup(said),
            None => (None, None),
        };
        if let Some(first) = notice.bad.first() {
            let then = "each such record is kept aside with its reason";
            stop = Some(halt("notification", first.reason.clone(), then));
        }
        let bad = notice.bad.into_iter().map(|bad| BadTold { reason: bad.reason, raw: bad.raw }).collect();
        NoticeTold { format: notice.format, objects: notice.objects.len(), ignored: notice.ignored, bad, setup, stop }
    }

    fn setup(&self, said: &SetUp) -> (Option<String>, Option<Halt>) {
        let text = match said {
            SetUp::Test { bucket: Some(bucket) } => format!("a test of the notifications of bucket {bucket}"),
            SetUp::Test { bucket: None } => "a test of the notifications".to_owned(),
            SetUp::Ended { topic } => format!("the subscription of topic {topic} to this queue has ended"),
            SetUp::Confirm { topic, .. } => {
                let text = format!("topic {topic} asks to confirm its subscription to this queue");
                return match setup::stranger(&self.catalogue.sources, topic) {
                    None => (Some(format!("{text}; the daemon would confirm it")), None),
                    Some(reason) => {
                        let then = "it is left unanswered in the queue, until a source has the account or the queue's redrive \
                                    policy takes it away";
                        (Some(text), Some(halt("subscription", reason, then)))
                    }
                };
            }
        };
        (Some(format!("{text}; the daemon would acknowledge it")), None)
    }

    async fn announced(&self, announced: &Announced, depth: Depth) -> Result<ObjectTold, StateError> {
        let object = &announced.object;
        let mut told = ObjectTold { restored: announced.cause == Cause::Restored, ..ObjectTold::default() };
        told.is_about(object);
        self.tell_source(&mut told, object);
        if !message::is_wanted(announced.cause, self.catalogue.sources.owner(object)) {
            self.ledger(&mut told, object).await?;
            let why = "it was brought back from an archive, and its source does not have `include_restored`";
            told.stop = Some(halt("source", why.into(), "the record is ignored"));
            return Ok(told);
        }
        let route = match object::route(&self.catalogue, object) {
            Ok(route) => route,
            Err((_, outcome)) => {
                self.ledger(&mut told, object).await?;
                told.stop = Some(unread(&told, outcome.state, outcome.reason));
                return Ok(told);
            }
        };
        self.routed(&mut told, announced, &route, depth).await?;
        Ok(told)
    }

    /// An object of a source. Where there is none under its key, the other reading of its spelling is tried.
    async fn routed(
        &self,
        told: &mut ObjectTold,
        announced: &Announced,
        route: &Route,
        depth: Depth,
    ) -> Result<(), StateError> {
        let object = &announced.object;
        let opened = self.objects.open(&route.access, object).await;
        let other = announced.other_key.as_ref().filter(|_| matches!(opened, Err(FetchError::Missing(_))));
        if let Some(key) = other {
            let other = ObjectRef { key: key.clone(), ..object.clone() };
            if let Ok(route) = object::route(&self.catalogue, &other) {
                let opened = self.objects.open(&route.access, &other).await;
                if !matches!(opened, Err(FetchError::Missing(_))) {
                    told.announced_as = Some(std::mem::take(&mut told.address));
                    told.is_about(&other);
                    self.tell_source(told, &other);
                    return self.opened(told, &other, &route, opened, depth).await;
                }
            }
        }
        self.opened(told, object, route, opened, depth).await
    }

    async fn opened(
        &self,
        told: &mut ObjectTold,
        announced: &ObjectRef,
        route: &Route,
        opened: Result<Body, FetchError>,
        depth: Depth,
    ) -> Result<(), StateError> {
        told.identity = Some(self.identity(&route.access, announced));
        let (body, object) = match opened {
            Ok(body) => {
                told.is_about(&body.object);
                // Named by version or ETag it keeps the identity that it was announced with.
                let named = announced.version_id.is_some() || announced.etag.is_some();
                let object = if named { announced.clone() } else { body.object.clone() };
                (Ok(body), object)
            }
            Err(error) => (Err(error), announced.clone()),
        };
        let tries = self.ledger(told, &object).await?;
        let body = match body {
            Ok(body) => body,
            Err(error) => {
                told.stop = Some(refused(&error, route, &tries));
                return Ok(());
            }
        };
        self.read(told, &object, route, body, &tries, depth).await;
        if let Some(suspect) = attempts::crash_suspect(&tries, self.poison_after) {
            told.stop = Some(halt("ledger", suspect.reason, &recorded(suspect.state)));
        }
        Ok(())
    }

    fn tell_source(&self, told: &mut ObjectTold, object: &ObjectRef) {
        let sources = &self.catalogue.sources;
        let mut candidates = sources.candidates(object);
        let Some(Candidate { source, prefix, excluded }) = candidates.next() else {
            told.sources_of_bucket = sources.of_bucket(&object.bucket).into_iter().map(str::to_owned).collect();
            return;
        };
        let other = |other: Candidate<'_>| CandidateTold { source: other.source.into(), prefix: other.prefix.into() };
        let log_types = match object::route(&self.catalogue, object) {
            Ok(route) => route.log_types.iter().map(ToString::to_string).collect(),
            Err(_) => Vec::new(),
        };
        told.source = Some(SourceTold {
            name: source.to_owned(),
            prefix: prefix.to_owned(),
            excluded_by: excluded.map(str::to_owned),
            others: candidates.map(other).collect(),
            log_types,
        });
    }

    /// After the store was asked: by then it knows the region.
    fn identity(&self, access: &Access, object: &ObjectRef) -> IdentityTold {
        let region = self.objects.region(access, object);
        IdentityTold {
            role_arn: access.role_arn.clone(),
            session: access.role_arn.as_ref().map(|_| session_name(&access.source)),
            has_external_id: access.external_id.is_some(),
            region: region.map(|region| RegionTold { name: region.name, from: region.from }),
            expected_owner: access.account_id.clone(),
            kms_key_arn: access.kms_key_arn.clone(),
            requester_pays: access.requester_pays,
            endpoint: access.endpoint.clone(),
        }
    }
}

impl ObjectTold {
    fn is_about(&mut self, object: &ObjectRef) {
        self.address = object.to_string();
        self.version_id.clone_from(&object.version_id);
        self.etag.clone_from(&object.etag);
        self.size = object.size;
    }
}

fn halt(at: &'static str, why: String, then: &str) -> Halt {
    Halt { at, why, then: then.to_owned() }
}

fn recorded(state: ObjectState) -> String {
    format!("it is recorded as {}", state.as_str())
}

/// An object that is not read.
fn unread(told: &ObjectTold, state: ObjectState, reason: String) -> Halt {
    let source = told.source.as_ref();
    let why = match state {
        ObjectState::Excluded => {
            let excluded = source.and_then(|source| source.excluded_by.as_deref()).unwrap_or_default();
            let name = source.map(|source| source.name.as_str()).unwrap_or_default();
            format!("its key is in the excluded prefix {excluded:?} of source {name:?}")
        }
        ObjectState::Folder => "its key ends with `/`: it is a folder".to_owned(),
        ObjectState::Empty => "it has no bytes".to_owned(),
        _ => reason,
    };
    halt("source", why, &recorded(state))
}

/// An object that can't be read.
fn refused(error: &FetchError, route: &Route, tries: &Attempts) -> Halt {
    let then = match disposition::of(error, route.on_missing, tries) {
        Disposition::Outcome(state) => recorded(state),
        Disposition::Again { reason, delay: Some(delay) } => {
            let left = attempts::looks_left(tries, reason);
            format!("it is tried again {left} times, {} s apart, before that is recorded", delay.as_secs())
        }
        Disposition::Again { delay: None, .. } => "it is tried again for as long as the queue keeps the message".into(),
    };
    let at = match error {
        FetchError::Missing(_) | FetchError::NoBucket(_) => "missing",
        FetchError::Forbidden(Refusal::KmsDenied | Refusal::KmsKeyUnusable, _) => "KMS",
        FetchError::Forbidden(Refusal::AssumeRoleDenied, _) => "role",
        FetchError::Forbidden(Refusal::AccessDenied, _) => "access",
        FetchError::Archived(_) => "archive",
        FetchError::Superseded(_) | FetchError::Throttled(_) | FetchError::Unavailable(_) => "fetch",
    };
    halt(at, error.to_string(), &then)
}
