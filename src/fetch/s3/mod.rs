//! The production store: Amazon S3, and what speaks its protocol. The only place that names the S3 SDK.
//!
//! `request` asks, again where that helps, in the `pace` that a bucket bears and through one of the `clients`; `body`
//! and `part` turn the answers into one stream, `checksum` compares what came with what S3 says, `failure` gives every
//! error of S3 its disposition. Whose credentials are used comes in from outside as [`IdentityFor`].

mod body;
mod checksum;
mod clients;
mod encryption;
mod failure;
mod listing;
mod notifications;
mod pace;
mod part;
mod request;
mod signed;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_credential_types::provider::SharedCredentialsProvider;
use bytes::Bytes;

use super::{Body, Config, FetchError, ObjectStore, Page, Region};
use crate::model::{Access, ObjectRef};
use crate::runtime::Tasks;
use body::Transfer;
use clients::Clients;
use pace::Pace;
use part::Pinned;
use request::{Refused, Request};

/// Who reads the objects of a source.
#[derive(Clone)]
pub struct Identity {
    /// Keeps its credentials until they end; nothing here caches them.
    pub credentials: SharedCredentialsProvider,
    /// Told the access key id that S3 does not know any more; false when there are no others to be had.
    pub forget: Arc<dyn Fn(&str) -> bool + Send + Sync>,
}

/// The identity of a source.
pub type IdentityFor = Arc<dyn Fn(&Access) -> Identity + Send + Sync>;

/// Where neither the source, the notification nor the environment names a region.
const DEFAULT_REGION: &str = "us-east-1";

pub struct S3Store(Arc<Shared>);

/// What all transfers share.
struct Shared {
    clients: Clients,
    pace: Pace,
    /// Where S3 itself said that a bucket is, when it was asked in another region.
    moved: Mutex<HashMap<String, String>>,
    /// Bytes.
    range: u64,
    tasks: Tasks,
}

impl S3Store {
    /// `tasks` run the ranges that are read ahead.
    pub fn new(sdk: &SdkConfig, config: &Config, identity: IdentityFor, tasks: Tasks) -> S3Store {
        S3Store(Arc::new(Shared {
            clients: Clients::new(sdk, config.path_style, identity),
            pace: Pace::default(),
            moved: Mutex::default(),
            range: config.range_mib.max(1) * 1024 * 1024,
            tasks,
        }))
    }

    fn request(&self, access: &Access, object: &ObjectRef) -> Request {
        Request { shared: self.0.clone(), access: access.clone(), object: object.clone() }
    }
}

impl Shared {
    /// What S3 has said itself is newest, then the notification (other stores may leave it empty there), the source's
    /// setting, the environment. A wrong one is no loss: S3 answers with the right one, and it is remembered.
    fn region(&self, access: &Access, object: &ObjectRef) -> Region {
        let moved = locked(&self.moved).get(&object.bucket).cloned();
        let announced = object.region.clone().filter(|region| !region.is_empty());
        let known = [
            (moved, "the answer of S3"),
            (announced, "the notification"),
            (access.region.clone(), "the source"),
            (self.clients.region(), "the environment"),
        ];
        let named = known.into_iter().find_map(|(name, from)| Some(Region { name: name?, from }));
        named.unwrap_or_else(|| Region { name: DEFAULT_REGION.to_owned(), from: "the default" })
    }

    fn moved(&self, bucket: &str, region: String) {
        locked(&self.moved).insert(bucket.to_owned(), region);
    }
}

/// The ETag that must still hold; a version that names its bytes is always the same.
fn pin(object: &ObjectRef) -> Option<&str> {
    object.etag.as_deref().filter(|_| !object.is_pinned())
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn open(&self, access: &Access, object: &ObjectRef) -> Result<Body, FetchError> {
        let request = Arc::new(self.request(access, object));
        let answer = request.get(None, pin(object)).await.map_err(|refused| refused.into_error(object))?;
        Transfer::start(request, answer)
    }

    async fn range(&self, access: &Access, object: &ObjectRef, range: Range<u64>) -> Result<Bytes, FetchError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let request = Arc::new(self.request(access, object));
        let answer = match request.get(Some(range.clone()), pin(object)).await {
            Ok(answer) => answer.output,
            Err(Refused::NoSuchRange) if object.size.is_some_and(|size| range.start < size) => {
                return Err(Refused::NoSuchRange.into_error(object));
            }
            Err(Refused::NoSuchRange) => return Ok(Bytes::new()),
            Err(Refused::Final(error)) => return Err(error),
        };
        let Some(total) = answer.content_range().and_then(|range| range.rsplit('/').next()?.parse().ok()) else {
            return Err(FetchError::Unavailable(format!("reading {object}: the store does not answer with a range")));
        };
        // Where nothing else tells two versions apart, their lengths may.
        if let Some(size) = object.size.filter(|size| *size != total) {
            return Err(FetchError::Unavailable(format!(
                "reading {object}: it had {size} bytes and has {total} now; it was overwritten meanwhile"
            )));
        }
        let etag = answer.e_tag().map(str::to_owned);
        let pinned = Pinned { request, etag, total };
        pinned.read_on(answer, range.start..range.end.min(total)).await
    }

    /// What comes from the first request is handed out as it comes; of what is behind it two ranges are held.
    fn most_held(&self, object: &ObjectRef) -> u64 {
        let ahead = object.size.map_or(u64::MAX, |size| size.saturating_sub(self.0.range));
        ahead.min(2 * self.0.range)
    }

    fn region(&self, access: &Access, object: &ObjectRef) -> Option<Region> {
        Some(self.0.region(access, object))
    }

    async fn list(&self, access: &Access, bucket: &str, prefix: &str, after: Option<&str>) -> Result<Page, FetchError> {
        self.page(access, bucket, prefix, after).await
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding the regions")
}
