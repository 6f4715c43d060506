//! Brings what is below a prefix into its copy, when it is another than there is.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};

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
}

/// What a look at the prefix came to.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// The copy is what is there.
    Unchanged,
    /// Something else is there and may still be changing; to be looked at again soon.
    Unsettled,
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
        Mirror { prefix, copy, access: config.access(), store, seen: None, refused: None }
    }

    /// Whether there is something to go on with.
    pub(super) fn has_copy(&self) -> bool {
        self.copy.current().is_some()
    }

    /// Looks once, and takes what is there if that is complete and other than the copy.
    pub(super) async fn look(&mut self) -> Result<Outcome, Failure> {
        let listing = self.list().await?;
        let id = listing.id();
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
        let id = id.to_owned();
        blocking(move || writing.swap(&id)).await.map_err(|error| self.disk(&error))?;
        self.seen = None;
        Ok(Outcome::Fetched { files, bytes })
    }

    async fn fetch_file(&self, wanted: Wanted, writing: Arc<Writing>) -> Result<u64, Failure> {
        let bytes = self.read(&wanted.object).await?;
        wanted.check(&bytes).map_err(Failure::Refused)?;
        let size = bytes.len() as u64;
        let written = blocking(move || writing.file(&wanted.path, &bytes)).await;
        written.map_err(|error| self.disk(&error))?;
        Ok(size)
    }

    /// The bytes of an object as it was listed: of another the ETag or the length differs.
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
            return Err(Failure::Failed(format!("{object} has another length than it was listed with")));
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
