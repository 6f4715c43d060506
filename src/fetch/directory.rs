//! A directory as one bucket: a key is the path of a file below it. Belongs to `queue/directory`, which announces them.
//!
//! Invariant: no key leads out of the directory. A link that somebody put into it does; that was their decision.

use std::io;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::try_unfold;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::{Body, FetchError, ObjectStore, Refusal};
use crate::model::{Access, ObjectRef, file_etag};

/// Bytes of one chunk.
const CHUNK: usize = 256 * 1024;

pub struct DirectoryStore {
    root: PathBuf,
    bucket: String,
}

impl DirectoryStore {
    /// `bucket` is the name under which the directory's files are announced. The directory must exist.
    pub fn new(root: impl Into<PathBuf>, bucket: impl Into<String>) -> Result<DirectoryStore, FetchError> {
        let root = root.into();
        if !root.is_dir() {
            return Err(FetchError::Missing(format!(
                "{} is not a directory that margay can see; create it, or change queue.directory.path",
                root.display()
            )));
        }
        Ok(DirectoryStore { root, bucket: bucket.into() })
    }

    fn path(&self, object: &ObjectRef) -> Result<PathBuf, FetchError> {
        if object.bucket != self.bucket {
            return Err(FetchError::Missing(format!(
                "{object} is in another bucket than {:?}, the name of directory {}; read it from S3, or correct \
                 queue.directory.bucket",
                self.bucket,
                self.root.display()
            )));
        }
        let key = Path::new(&object.key);
        let inside = key.components().all(|part| matches!(part, Component::Normal(_)));
        if !inside || object.key.is_empty() || object.key.contains('\0') {
            let text = format!("{object} is not read: its key leads out of directory {}", self.root.display());
            return Err(FetchError::Forbidden(Refusal::AccessDenied, text));
        }
        Ok(self.root.join(key))
    }

    fn reading(&self, object: &ObjectRef) -> Result<Reading, FetchError> {
        let path = self.path(object)?;
        Ok(Reading { path, object: object.clone(), file: None, etag: String::new(), left: 0 })
    }
}

#[async_trait]
impl ObjectStore for DirectoryStore {
    async fn open(&self, _access: &Access, object: &ObjectRef) -> Result<Body, FetchError> {
        let (size, reading) = self.reading(object)?.open().await?;
        let completed = ObjectRef { size: Some(size), etag: Some(reading.etag.clone()), ..object.clone() };
        let chunks =
            try_unfold(reading, |mut reading| async move { Ok(reading.next().await?.map(|chunk| (chunk, reading))) });
        Ok(Body { object: completed, chunks: chunks.boxed() })
    }

    async fn range(&self, _access: &Access, object: &ObjectRef, range: Range<u64>) -> Result<Bytes, FetchError> {
        let (size, mut reading) = self.reading(object)?.open().await?;
        reading.part(range.start.min(size)..range.end.min(size)).await
    }

    fn most_held(&self, _object: &ObjectRef) -> u64 {
        CHUNK as u64
    }
}

/// A file that is being read.
struct Reading {
    path: PathBuf,
    object: ObjectRef,
    file: Option<File>,
    /// Of the file when it was opened.
    etag: String,
    left: u64,
}

impl Reading {
    async fn open(mut self) -> Result<(u64, Reading), FetchError> {
        let file = File::open(&self.path).await.map_err(|error| self.failure(&error))?;
        let metadata = file.metadata().await.map_err(|error| self.failure(&error))?;
        if !metadata.is_file() {
            return Err(FetchError::Missing(format!("{} is not a file: {}", self.object, self.path.display())));
        }
        self.etag = etag(&metadata).map_err(|error| self.failure(&error))?;
        if self.object.etag.as_deref().is_some_and(|announced| announced.trim_matches('"') != self.etag) {
            return Err(self.changed());
        }
        self.file = Some(file);
        self.left = metadata.len();
        Ok((metadata.len(), self))
    }

    async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        let Some(mut file) = self.file.take() else { return Ok(None) };
        if self.left == 0 {
            return self.unchanged(&file).await.map(|()| None);
        }
        let wanted = usize::try_from(self.left).map_or(CHUNK, |left| left.min(CHUNK));
        let mut chunk = BytesMut::with_capacity(wanted);
        // `take` holds back what was appended since; it belongs to the next version.
        let read = (&mut file).take(wanted as u64).read_buf(&mut chunk).await.map_err(|error| self.failure(&error))?;
        if read == 0 {
            return Err(self.changed());
        }
        self.left -= read as u64;
        self.file = Some(file);
        Ok(Some(chunk.freeze()))
    }

    /// The bytes of an open file from one offset to another.
    async fn part(&mut self, range: Range<u64>) -> Result<Bytes, FetchError> {
        let wanted = range.end.saturating_sub(range.start);
        let (Some(mut file), 1..) = (self.file.take(), wanted) else { return Ok(Bytes::new()) };
        file.seek(io::SeekFrom::Start(range.start)).await.map_err(|error| self.failure(&error))?;
        let mut part = Vec::new();
        (&mut file).take(wanted).read_to_end(&mut part).await.map_err(|error| self.failure(&error))?;
        self.unchanged(&file).await?;
        Ok(part.into())
    }

    /// A file that was written to meanwhile may be half old and half new.
    async fn unchanged(&self, file: &File) -> Result<(), FetchError> {
        let metadata = file.metadata().await.map_err(|error| self.failure(&error))?;
        let now = etag(&metadata).map_err(|error| self.failure(&error))?;
        if now == self.etag { Ok(()) } else { Err(self.changed()) }
    }

    fn changed(&self) -> FetchError {
        FetchError::Superseded(format!("{} was changed since it was announced; it is announced again", self.object))
    }

    fn failure(&self, error: &io::Error) -> FetchError {
        let path = self.path.display();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename => {
                FetchError::Missing(format!("{} does not exist: {path} was removed before it was read", self.object))
            }
            io::ErrorKind::PermissionDenied => {
                let text = format!("{} can't be read: let margay read the file {path}", self.object);
                FetchError::Forbidden(Refusal::AccessDenied, text)
            }
            _ => FetchError::Unavailable(format!("reading {} from {path}: {error}", self.object)),
        }
    }
}

fn etag(metadata: &std::fs::Metadata) -> io::Result<String> {
    Ok(file_etag(metadata.len(), metadata.modified()?))
}

#[cfg(test)]
mod tests {
    use super::super::contract::{self, read};
    use super::*;
    use tempfile::TempDir;

    struct Subject(TempDir, DirectoryStore);

    fn subject() -> Subject {
        let folder = TempDir::new().unwrap();
        let store = DirectoryStore::new(folder.path(), "local").unwrap();
        Subject(folder, store)
    }

    impl contract::Subject for Subject {
        type Store = DirectoryStore;

        fn store(&self) -> &DirectoryStore {
            &self.1
        }

        async fn put(&self, key: &str, bytes: &[u8]) -> ObjectRef {
            let path = self.0.path().join(key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
            let etag = Some(etag(&std::fs::metadata(&path).unwrap()).unwrap());
            ObjectRef { etag, ..contract::object("local", key) }
        }

        async fn remove(&self, key: &str) {
            std::fs::remove_file(self.0.path().join(key)).unwrap();
        }
    }

    #[tokio::test]
    async fn keeps_the_contract() {
        contract::check(async || subject()).await;
    }

    #[test]
    fn a_directory_that_does_not_exist_is_told_at_once() {
        let missing = TempDir::new().unwrap().path().join("missing");
        let error = DirectoryStore::new(missing, "local").err().unwrap().to_string();
        assert!(error.contains("missing") && error.contains("queue.directory.path"), "{error}");
    }

    #[tokio::test]
    async fn no_key_leads_out() {
        let Subject(_folder, store) = subject();
        for key in ["../a", "a/../../b", "/etc/passwd", "", ".", "a\0b", "a/.."] {
            let refused = store.open(&Access::default(), &contract::object("local", key)).await;
            assert!(matches!(refused, Err(FetchError::Forbidden(..))), "{key:?}");
        }
    }

    #[tokio::test]
    async fn another_bucket_and_a_folder_are_missing() {
        let Subject(folder, store) = subject();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        for (bucket, key) in [("other", "a"), ("local", "sub"), ("local", "sub/a/b")] {
            let missing = store.open(&Access::default(), &contract::object(bucket, key)).await;
            assert!(matches!(missing, Err(FetchError::Missing(_))), "{bucket} {key}");
        }
    }

    #[tokio::test]
    async fn a_file_that_changes_while_it_is_read_ends_with_an_error() {
        let Subject(folder, store) = subject();
        let path = folder.path().join("a");
        std::fs::write(&path, vec![7; 3 * CHUNK]).unwrap();
        let mut body = store.open(&Access::default(), &contract::object("local", "a")).await.unwrap();
        body.chunks.next().await.unwrap().unwrap();
        std::fs::write(&path, vec![8; 3 * CHUNK + 1]).unwrap();
        assert!(matches!(read(body).await, Err(FetchError::Superseded(_))));
    }
}
