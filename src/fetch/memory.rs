//! The honest fake: objects in memory, with the failures that tests ask for.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::{Body, FetchError, Listed, ObjectStore, Page, Refusal};
use crate::model::{Access, ObjectRef};

/// Bytes of one chunk, small so that small objects of tests have several.
const CHUNK: usize = 1024;

/// Objects of one page of a listing, few so that small tests have several pages.
const PAGE: usize = 3;

/// A store without versions: putting a key again replaces its object.
pub struct MemoryStore {
    objects: Mutex<HashMap<(String, String), Stored>>,
    chunk: usize,
    puts: AtomicU64,
}

impl Default for MemoryStore {
    fn default() -> MemoryStore {
        MemoryStore::with_chunks(CHUNK)
    }
}

struct Stored {
    bytes: Bytes,
    etag: String,
    /// The seconds of no clock: how many objects were put before.
    modified: OffsetDateTime,
    forbidden: bool,
    /// Where the next reading breaks.
    break_at: Option<usize>,
    /// What the next reading gives instead of the bytes.
    damaged: Option<Bytes>,
}

impl MemoryStore {
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// A store whose bodies come in chunks of so many bytes.
    pub fn with_chunks(chunk: usize) -> MemoryStore {
        MemoryStore { objects: Mutex::default(), chunk, puts: AtomicU64::new(0) }
    }

    /// Stores an object and returns it as a notification would announce it.
    pub fn put(&self, bucket: &str, key: &str, bytes: impl Into<Bytes>) -> ObjectRef {
        let bytes = bytes.into();
        let etag: String = Sha256::digest(&bytes)[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        let object = ObjectRef {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            version_id: None,
            etag: Some(etag.clone()),
            size: Some(bytes.len() as u64),
            region: None,
            sequencer: None,
        };
        let mut objects = self.objects();
        self.puts.fetch_add(1, Ordering::Relaxed);
        let modified = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(self.puts.load(Ordering::Relaxed));
        let stored = Stored { bytes, etag, modified, forbidden: false, break_at: None, damaged: None };
        objects.insert((bucket.to_owned(), key.to_owned()), stored);
        object
    }

    pub fn remove(&self, bucket: &str, key: &str) {
        self.objects().remove(&(bucket.to_owned(), key.to_owned()));
    }

    /// Refuses the object to everybody from now on, until it is put again.
    pub fn forbid(&self, bucket: &str, key: &str) {
        self.change(bucket, key, |stored| stored.forbidden = true);
    }

    /// The next reading of the object gives these bytes, as if they had changed on the way; the one after it gives its
    /// own.
    pub fn damage_once(&self, bucket: &str, key: &str, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        self.change(bucket, key, |stored| stored.damaged = Some(bytes));
    }

    /// The next reading of the object ends with an error after so many bytes; the one after it works.
    pub fn break_after(&self, bucket: &str, key: &str, bytes: usize) {
        self.change(bucket, key, |stored| stored.break_at = Some(bytes));
    }

    fn change(&self, bucket: &str, key: &str, change: impl FnOnce(&mut Stored)) {
        let mut objects = self.objects();
        change(
            objects.get_mut(&(bucket.to_owned(), key.to_owned())).expect("a test changes an object that it has put"),
        );
    }

    fn objects(&self) -> MutexGuard<'_, HashMap<(String, String), Stored>> {
        self.objects.lock().expect("nobody panics while holding the objects")
    }
}

/// What is stored under an object's name, if it may be read and is the object that is meant.
fn found<'o>(
    objects: &'o mut HashMap<(String, String), Stored>,
    object: &ObjectRef,
) -> Result<&'o mut Stored, FetchError> {
    let Some(stored) = objects.get_mut(&(object.bucket.clone(), object.key.clone())) else {
        return Err(FetchError::Missing(format!("{object} does not exist")));
    };
    if stored.forbidden {
        return Err(FetchError::Forbidden(Refusal::AccessDenied, format!("{object} is refused")));
    }
    if object.etag.as_deref().is_some_and(|announced| announced.trim_matches('"') != stored.etag) {
        return Err(FetchError::Superseded(format!("{object} was overwritten")));
    }
    Ok(stored)
}

#[async_trait]
impl ObjectStore for MemoryStore {
    async fn open(&self, _access: &Access, object: &ObjectRef) -> Result<Body, FetchError> {
        let mut objects = self.objects();
        let stored = found(&mut objects, object)?;
        let stored_bytes = stored.damaged.take().unwrap_or_else(|| stored.bytes.clone());
        let size = stored_bytes.len();
        let end = stored.break_at.take().unwrap_or(usize::MAX);
        let (bytes, broken) = (stored_bytes.slice(..end.min(size)), end < size);
        let chunk = self.chunk;
        let pieces = (0..bytes.len()).step_by(chunk).map(move |start| {
            let end = (start + chunk).min(bytes.len());
            Ok(bytes.slice(start..end))
        });
        let failure = broken.then(|| Err(FetchError::Unavailable(format!("reading {object} broke at byte {end}"))));
        let completed = ObjectRef { size: Some(size as u64), etag: Some(stored.etag.clone()), ..object.clone() };
        Ok(Body { object: completed, chunks: stream::iter(pieces.chain(failure)).boxed() })
    }

    async fn range(&self, _access: &Access, object: &ObjectRef, range: Range<u64>) -> Result<Bytes, FetchError> {
        let mut objects = self.objects();
        let bytes = &found(&mut objects, object)?.bytes;
        let within = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        let (start, end) = (within(range.start), within(range.end));
        Ok(bytes.slice(start..end.max(start)))
    }

    fn most_held(&self, _object: &ObjectRef) -> u64 {
        self.chunk as u64
    }

    async fn list(
        &self,
        _access: &Access,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<Page, FetchError> {
        let objects = self.objects();
        let behind = |key: &str| after.is_none_or(|after| key > after);
        let mut found: Vec<Listed> = objects
            .iter()
            .filter(|((of, key), _)| of == bucket && key.starts_with(prefix) && behind(key))
            .map(|((_, key), stored)| Listed {
                object: ObjectRef {
                    bucket: bucket.to_owned(),
                    key: key.clone(),
                    version_id: None,
                    etag: Some(stored.etag.clone()),
                    size: Some(stored.bytes.len() as u64),
                    region: None,
                    sequencer: None,
                },
                modified: stored.modified,
            })
            .collect();
        found.sort_by(|a, b| a.object.key.cmp(&b.object.key));
        let more = found.len() > PAGE;
        found.truncate(PAGE);
        Ok(Page { objects: found, more })
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::{self, read};
    use super::*;

    impl contract::Subject for MemoryStore {
        type Store = MemoryStore;

        fn store(&self) -> &MemoryStore {
            self
        }

        async fn put(&self, key: &str, bytes: &[u8]) -> ObjectRef {
            MemoryStore::put(self, "bucket", key, bytes.to_vec())
        }

        async fn remove(&self, key: &str) {
            MemoryStore::remove(self, "bucket", key);
        }
    }

    #[tokio::test]
    async fn keeps_the_contract() {
        contract::check(async || MemoryStore::new()).await;
    }

    #[tokio::test]
    async fn it_breaks_once_and_forbids_until_put_again() {
        let (store, access) = (MemoryStore::new(), Access::default());
        let object = store.put("b", "k", vec![1; 5000]);
        store.break_after("b", "k", 3000);
        assert!(matches!(read(store.open(&access, &object).await.unwrap()).await, Err(FetchError::Unavailable(_))));
        assert_eq!(read(store.open(&access, &object).await.unwrap()).await.unwrap().len(), 5000);
        store.forbid("b", "k");
        assert!(matches!(store.open(&access, &object).await, Err(FetchError::Forbidden(..))));
        store.put("b", "k", vec![1; 5000]);
        assert!(store.open(&access, &object).await.is_ok());
    }
}
