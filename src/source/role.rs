//! The sessions in which objects are read: of roles, and of the daemon itself. Decides when a session is renewed; `sts`
//! does the asking. It reads no object.
//!
//! Invariants: one session per (role, external id, region), however many sources and clients use it. One renewal at a
//! time: while the old credentials hold, everybody else goes on with them. A failure is answered from memory for a
//! while, so that many objects of a source whose role refuses don't become as many calls of STS.
//!
//! This is the only cache of credentials for reading: the SDK's own, one for each client, would make every request wait
//! for a renewal, would fail while the old ones still hold, and could not be told that a role was deleted and made
//! anew. The clients of S3 and STS switch it off.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_config::identity::IdentityCache;
use aws_config::{Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use time::OffsetDateTime;

use super::sts::{Failure, Origin, Role};
use crate::model::Access;
use crate::runtime::{Backoff, SharedClock};

/// Credentials are renewed this long before they end.
const EARLY: Duration = Duration::from_secs(300);

/// Credentials are thrown away at most so often: what refuses new ones as well would else make a loop of it.
const FORGET_EVERY: Duration = Duration::from_secs(30);

/// After a failure, and where new credentials end as soon as the old ones.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(60));

/// Role, external id, region.
type SessionKey = (Option<String>, Option<String>, Option<String>);

/// The identities under which objects are read.
pub struct Roles {
    sdk: SdkConfig,
    clock: SharedClock,
    own: Arc<Session>,
    sessions: Mutex<HashMap<SessionKey, Arc<Session>>>,
}

impl Roles {
    pub fn new(sdk: SdkConfig, clock: SharedClock) -> Roles {
        let own = Arc::new(Session::new(Origin::Own(sdk.credentials_provider()), clock.clone()));
        Roles { sdk, clock, own, sessions: Mutex::default() }
    }

    /// The session of a source: of its role, or of the daemon itself. Nothing is asked of STS before the first request.
    /// Sources that share a role share its session, which carries the name of the source that came first.
    pub fn session(&self, access: &Access) -> Arc<Session> {
        let Some(arn) = &access.role_arn else { return self.own.clone() };
        let key = (access.role_arn.clone(), access.external_id.clone(), access.region.clone());
        let new = || Arc::new(Session::new(Origin::Role(self.role(arn, access)), self.clock.clone()));
        locked(&self.sessions).entry(key).or_insert_with(new).clone()
    }

    fn role(&self, arn: &str, access: &Access) -> Role {
        // STS is asked in the daemon's region; a source's region is the next best where it has none.
        let region = self.sdk.region().cloned().or_else(|| access.region.clone().map(Region::new));
        let config = aws_sdk_sts::config::Builder::from(&self.sdk)
            .region(region)
            .credentials_provider(SharedCredentialsProvider::from(self.own.clone() as Arc<dyn ProvideCredentials>))
            .identity_cache(IdentityCache::no_cache())
            .build();
        Role {
            sts: aws_sdk_sts::Client::from_conf(config),
            own: self.own.clone(),
            arn: arn.to_owned(),
            session_name: session_name(&access.source),
            external_id: access.external_id.clone(),
        }
    }
}

/// Credentials that renew themselves.
pub struct Session {
    origin: Origin,
    clock: SharedClock,
    state: Mutex<State>,
    /// Held by the one who renews.
    renewing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    credentials: Option<Credentials>,
    forgotten: Option<OffsetDateTime>,
    failure: Option<Failure>,
    /// In a row.
    failures: u32,
    /// Nothing is asked before.
    not_before: Option<OffsetDateTime>,
}

/// What is known without asking.
enum Known {
    Good(Credentials),
    /// Still valid, and not for long.
    Ending(Credentials),
    Failed(Failure),
    Nothing,
}

impl Session {
    fn new(origin: Origin, clock: SharedClock) -> Session {
        Session { origin, clock, state: Mutex::default(), renewing: tokio::sync::Mutex::default() }
    }

    /// Throws the credentials of this access key id away because S3 or STS does not know them any more, for instance
    /// because the role was deleted and made anew. Many requests on their way tell so of the same ones: those that come
    /// after the first find others, or none yet, and only have to ask again. False when credentials were thrown away
    /// just now, and that did not help.
    pub fn forget(&self, refused: &str) -> bool {
        let now = self.clock.now();
        let mut state = locked(&self.state);
        if state.credentials.as_ref().is_none_or(|held| held.access_key_id() != refused) {
            return true;
        }
        if state.forgotten.is_some_and(|forgotten| now - forgotten < FORGET_EVERY) {
            return false;
        }
        state.forgotten = Some(now);
        (state.credentials, state.not_before) = (None, None);
        true
    }

    async fn current(&self) -> provider::Result {
        match self.known() {
            Known::Good(credentials) => return Ok(credentials),
            Known::Failed(failure) => return Err(failure.into()),
            Known::Ending(credentials) => {
                let Ok(_only) = self.renewing.try_lock() else { return Ok(credentials) };
                return Ok(self.renew().await.unwrap_or(credentials));
            }
            Known::Nothing => {}
        }
        let _only = self.renewing.lock().await;
        match self.known() {
            Known::Good(credentials) | Known::Ending(credentials) => Ok(credentials),
            Known::Failed(failure) => Err(failure.into()),
            Known::Nothing => self.renew().await.map_err(Into::into),
        }
    }

    fn known(&self) -> Known {
        let now = self.clock.now();
        let state = locked(&self.state);
        let waits = state.not_before.is_some_and(|until| now < until);
        let left = |credentials: &Credentials| credentials.expiry().map(|end| OffsetDateTime::from(end) - now);
        match (&state.credentials, &state.failure) {
            (Some(credentials), _) if left(credentials).is_none_or(|left| left > EARLY) => {
                Known::Good(credentials.clone())
            }
            (Some(credentials), _) if left(credentials).is_some_and(|left| left.is_positive()) => match waits {
                true => Known::Good(credentials.clone()),
                false => Known::Ending(credentials.clone()),
            },
            (_, Some(failure)) if waits => Known::Failed(failure.clone()),
            _ => Known::Nothing,
        }
    }

    /// Only by who holds `renewing`.
    async fn renew(&self) -> Result<Credentials, Failure> {
        let outcome = self.origin.ask().await;
        let now = self.clock.now();
        let mut state = locked(&self.state);
        state.failures = if outcome.is_ok() { 0 } else { state.failures.saturating_add(1) };
        state.not_before = Some(now + BACKOFF.delay(state.failures.saturating_sub(1)));
        match &outcome {
            Ok(credentials) => {
                (state.credentials, state.failure) = (Some(credentials.clone()), None);
            }
            Err(failure) => state.failure = Some(failure.clone()),
        }
        outcome
    }
}

impl ProvideCredentials for Session {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.current())
    }
}

/// Without the credentials.
impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let role = match &self.origin {
            Origin::Own(_) => "margay's own",
            Origin::Role(role) => &role.arn,
        };
        f.debug_tuple("Session").field(&role).finish()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding the sessions or a session's state")
}

/// `margay-<source>` in the alphabet and length that STS accepts; what it refuses becomes `-`.
pub fn session_name(source: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "_+=,.@-".contains(c) { c } else { '-' };
    "margay-".chars().chain(source.chars().map(allowed)).take(64).collect()
}

#[cfg(test)]
mod tests;
