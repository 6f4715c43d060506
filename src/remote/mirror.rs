//! Brings what is below a prefix into its copy, when it is another than there is.

use std::io::Write;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};

use super::copy::{Copy, Writing};
use super::listing::{Listing, MOST_FILE_BYTES, MOST_FILES, Sums, Wanted};
use super::{Config, Prefix};
use crate::fetch::{FetchError, Listed, ObjectStore};
use crate::model::{Access, ObjectRef};
use crate::runtime::blocking;

/// Files that are read at once.
const AT_ONCE: usize = 8;

/// A prefix and its copy.
pub struct Mirror {
    pub(super) prefix: Prefix,
    copy: Copy,
    access: Access,
    store: Arc<dyn ObjectStore>,
    /// The listing that was found last, while it is not known to stand still.
    seen: Option<String>,
    /// A listing that can't be used; it is not read again.
    refused: Option<(String, String)>,
    /// Another listing than the copy, whole and on disk.
    ready: Option<Ready>,
}

struct Ready {
    id: String,
    writing: Writing,
    files: usize,
    bytes: u64,
}

/// What a look at the prefix came to.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// The copy is what is there.
    Unchanged,
    /// Something else is there and may still be changing; to be looked at again soon.
    Unsettled,
    /// Something else is there, and on disk; [`Mirror::take`] brings it into use.
    Ready,
    Fetched {
        files: usize,
        bytes: u64,
    },
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// What is there can't be a copy, until somebody changes it.
    #[error("{0}")]
    Refused(String),
    /// S3 or the disk; may work later.
    #[error("{0}")]
    Failed(String),
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Failure {
        Failure::Failed(error.to_string())
    }
}

impl Mirror {
    pub fn new(prefix: Prefix, config: &Config, store: Arc<dyn ObjectStore>) -> Mirror {
        let copy = Copy::at(prefix.place(&config.path));
        Mirror { prefix, copy, access: config.access(), store, seen: None, refused: None, ready: None }
    }

    /// Whether there is something to go on with.
    pub(super) fn has_copy(&self) -> bool {
        self.copy.current().is_some()
    }

    /// Looks once, and takes what is there if that is complete and other than the copy.
    pub(super) async fn look(&mut self) -> Result<Outcome, Failure> {
        match self.prepare().await? {
            Outcome::Ready => self.take().await,
            other => Ok(other),
        }
    }

    /// Brings what was prepared into use.
    pub(super) async fn take(&mut self) -> Result<Outcome, Failure> {
        let Some(Ready { id, writing, files, bytes }) = self.ready.take() else { return Ok(Outcome::Unchanged) };
        blocking(move || writing.swap(&id)).await.map_err(|error| self.disk(&error))?;
        self.seen = None;
        Ok(Outcome::Fetched { files, bytes })
    }

    /// Looks once, and has what is there on disk if that is complete and other than the copy.
    pub(super) async fn prepare(&mut self) -> Result<Outcome, Failure> {
        let listing = self.list().await?;
        let id = listing.id();
        if self.ready.as_ref().is_some_and(|ready| ready.id == id) {
            return Ok(Outcome::Ready);
        }
        self.ready = None;
        if let Some((refused, why)) = &self.refused
            && *refused == id
        {
            return Err(Failure::Refused(why.clone()));
        }
        if self.copy.current().is_some_and(|current| current == id) {
            self.seen = None;
            return Ok(Outcome::Unchanged);
        }
        let stands_still = self.seen.replace(id.clone()).is_some_and(|seen| seen == id);
        if listing.sums().is_none() && !stands_still {
            return Ok(Outcome::Unsettled);
        }
        let fetched = self.fetch(&listing, &id).await;
        if let Err(Failure::Refused(why)) = &fetched {
            self.refused = Some((id, why.clone()));
        }
        fetched
    }

    async fn list(&self) -> Result<Listing, Failure> {
        let mut listed: Vec<Listed> = Vec::new();
        loop {
            let after = listed.last().map(|listed| listed.object.key.clone());
            let (bucket, start) = (self.prefix.bucket(), self.prefix.start());
            let page = self.store.list(&self.access, bucket, start, after.as_deref()).await?;
            listed.extend(page.objects);
            // Markers of folders and hidden files are not counted as files, and neither may there be more of them.
            if listed.len() > 2 * MOST_FILES {
                let prefix = &self.prefix;
                return Err(Failure::Refused(format!(
                    "{prefix} holds more than {MOST_FILES} objects; name a smaller one"
                )));
            }
            if !page.more {
                return Listing::new(&self.prefix, listed).map_err(Failure::Refused);
            }
        }
    }

    async fn fetch(&mut self, listing: &Listing, id: &str) -> Result<Outcome, Failure> {
        let sums = match listing.sums() {
            Some(object) => Some(Sums::parse(&self.read(object).await?).map_err(Failure::Refused)?),
            None => None,
        };
        let wanted = listing.wanted(sums.as_ref()).map_err(Failure::Refused)?;
        let copy = self.copy.clone();
        let Some(writing) = blocking(move || copy.write()).await.map_err(|error| self.disk(&error))? else {
            // Another process has begun; what it takes is seen at the next look.
            return Ok(Outcome::Unsettled);
        };
        let writing = Arc::new(writing);
        let files = wanted.len();
        let this = &*self;
        let sizes = stream::iter(wanted).map(|wanted| this.fetch_file(wanted, writing.clone()));
        let bytes = sizes.buffer_unordered(AT_ONCE).try_fold(0, async |sum, size| Ok(sum + size)).await?;
        if sums.is_none() && self.list().await?.id() != id {
            // It was changed while it was read.
            return Ok(Outcome::Unsettled);
        }
        let writing = Arc::into_inner(writing).expect("every file is written");
        self.ready = Some(Ready { id: id.to_owned(), writing, files, bytes });
        Ok(Outcome::Ready)
    }

    async fn fetch_file(&self, wanted: Wanted, writing: Arc<Writing>) -> Result<u64, Failure> {
        let object = &wanted.object;
        let mut body = self.store.open(&self.access, object).await?;
        let path = wanted.path.clone();
        let mut file = blocking(move || writing.file(&path)).await.map_err(|error| self.disk(&error))?;
        let (mut hash, mut size) = (Sha256::new(), 0);
        // No more than a chunk is in memory: data may be large.
        while let Some(chunk) = body.chunks.try_next().await? {
            size += chunk.len() as u64;
            if object.size.is_none_or(|listed| size > listed) {
                return Err(other_length(object));
            }
            hash.update(&chunk);
            let written = blocking(move || file.write_all(&chunk).map(|()| file)).await;
            file = written.map_err(|error| self.disk(&error))?;
        }
        if object.size != Some(size) {
            return Err(other_length(object));
        }
        wanted.check(hash).map_err(Failure::Refused)?;
        blocking(move || file.sync_all()).await.map_err(|error| self.disk(&error))?;
        Ok(size)
    }

    /// The bytes of a small object as it was listed: of another the ETag or the length differs.
    async fn read(&self, object: &ObjectRef) -> Result<Vec<u8>, Failure> {
        let mut body = self.store.open(&self.access, object).await?;
        let most = object.size.unwrap_or(MOST_FILE_BYTES).min(MOST_FILE_BYTES);
        let mut bytes = Vec::new();
        while let Some(chunk) = body.chunks.try_next().await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > most {
                break;
            }
        }
        if object.size != Some(bytes.len() as u64) {
            return Err(other_length(object));
        }
        Ok(bytes)
    }

    fn disk(&self, error: &std::io::Error) -> Failure {
        let folder = self.copy.place();
        Failure::Failed(format!(
            "the copy of {} could not be written in {}: {error}; `remote.path` must be a folder that margay may write to",
            self.prefix,
            folder.display()
        ))
    }
}

fn other_length(object: &ObjectRef) -> Failure {
    Failure::Failed(format!("{object} has another length than it was listed with"))
}
