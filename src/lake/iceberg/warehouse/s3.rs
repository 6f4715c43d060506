//! The storage of the Iceberg crate on S3, through the SDK that reads logs, too: the crate's own way there would bring a
//! second client, with credentials and time-outs of its own.
//!
//! A file is sent whole, in parts when it is large; S3 shows it when all of it is there. Uploads that were broken off are
//! aborted, and where even that fails, a lifecycle rule of the bucket should end them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::DisplayErrorContext;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt, iter};
use iceberg::io::{FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage, StorageConfig, StorageFactory};
use iceberg::{Error, ErrorKind, Result};
use serde::{Deserialize, Deserializer, Serialize};
use time::OffsetDateTime;
use tokio::sync::Semaphore;

use crate::lake::catalog::CatalogError;
use crate::lake::tables::Ranges;
use crate::model::s3_path;
use crate::runtime::Backoff;

/// Larger files are sent in parts of this size: one has to be through before the SDK's time-out.
const PART: usize = 8 * 1024 * 1024;

/// Parts of one file that are under way at once.
const PARTS_AT_ONCE: usize = 4;

/// Requests for bytes that are under way at once, over all searches and upkeep.
const READS_AT_ONCE: usize = 64;

/// An answer that breaks off in its middle is asked for again; the SDK repeats only what did not begin.
const READS: u32 = 4;
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));

/// Later than any file was written.
const FAR: OffsetDateTime = time::macros::datetime!(9999-12-31 0:00 UTC);

/// A bucket and a key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    bucket: String,
    key: String,
}

impl Place {
    /// Of `s3://BUCKET/KEY`, or with the schemes that other engines write for the same.
    pub(super) fn of(location: &str) -> Result<Place> {
        let (bucket, key) =
            s3_path(location).map(|rest| rest.split_once('/').unwrap_or((rest, ""))).unwrap_or_default();
        if bucket.is_empty() {
            return Err(Error::new(ErrorKind::DataInvalid, format!("`{location}` is not like `s3://BUCKET/KEY`")));
        }
        Ok(Place { bucket: bucket.to_owned(), key: key.to_owned() })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

fn failed(attempted: &str, place: &Place, error: impl std::error::Error) -> Error {
    let said = DisplayErrorContext(&error).to_string();
    let elsewhere = ["PermanentRedirect", "AuthorizationHeaderMalformed"].iter().any(|code| said.contains(code));
    let remedy = if elsewhere { "; let `lake.s3.region` name the region of the bucket" } else { "" };
    Error::new(ErrorKind::Unexpected, format!("could not {attempted} {place}: {said}{remedy}"))
}

/// What a client may read and write.
#[derive(Debug)]
pub(super) struct S3 {
    client: Client,
    reads: Semaphore,
}

impl S3 {
    pub(super) fn new(client: Client) -> S3 {
        S3 { client, reads: Semaphore::new(READS_AT_ONCE) }
    }

    /// Bytes of a file, all of those that are asked for.
    async fn get(&self, location: &str, range: Option<Range<u64>>) -> Result<Bytes> {
        if range.as_ref().is_some_and(Range::is_empty) {
            return Ok(Bytes::new());
        }
        let place = Place::of(location)?;
        let _turn = self.reads.acquire().await.expect("nobody closes it");
        let mut tries = 0;
        loop {
            let get = self.client.get_object().bucket(&place.bucket).key(&place.key);
            let get = get.set_range(range.as_ref().map(|range| format!("bytes={}-{}", range.start, range.end - 1)));
            let answer = get.send().await.map_err(|error| failed("read", &place, error))?;
            let error = match answer.body.collect().await {
                Ok(bytes) => {
                    let bytes = bytes.into_bytes();
                    let wanted = range.as_ref().map(|range| range.end - range.start);
                    if wanted.is_none_or(|wanted| wanted == bytes.len() as u64) {
                        return Ok(bytes);
                    }
                    let text = format!("{place} has {} bytes of {range:?}; the file is damaged", bytes.len());
                    Error::new(ErrorKind::DataInvalid, text)
                }
                Err(error) => failed("read on in", &place, error),
            };
            tries += 1;
            if tries == READS {
                return Err(error);
            }
            tokio::time::sleep(BACKOFF.delay(tries)).await;
        }
    }

    async fn put(&self, location: &str, bytes: Bytes) -> Result<()> {
        let place = Place::of(location)?;
        if bytes.len() > PART {
            return self.put_parts(&place, bytes).await;
        }
        let put = self.client.put_object().bucket(&place.bucket).key(&place.key).body(ByteStream::from(bytes));
        put.send().await.map_err(|error| failed("write", &place, error))?;
        Ok(())
    }

    async fn put_parts(&self, place: &Place, bytes: Bytes) -> Result<()> {
        let begin = self.client.create_multipart_upload().bucket(&place.bucket).key(&place.key).send().await;
        let begun = begin.map_err(|error| failed("begin to write", place, error))?;
        let id = begun.upload_id.unwrap_or_default();
        let sent = async {
            let parts = (0..bytes.len()).step_by(PART).zip(1..).map(|(at, number)| {
                let bytes = bytes.slice(at..bytes.len().min(at + PART));
                self.put_part(place, &id, number, bytes)
            });
            let parts: Vec<CompletedPart> = iter(parts).buffered(PARTS_AT_ONCE).try_collect().await?;
            let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
            let end = self.client.complete_multipart_upload().bucket(&place.bucket).key(&place.key);
            let end = end.upload_id(&id).multipart_upload(parts).send().await;
            end.map(drop).map_err(|error| failed("finish writing", place, error))
        };
        let sent = sent.await;
        if sent.is_err() {
            let abort = self.client.abort_multipart_upload().bucket(&place.bucket).key(&place.key).upload_id(&id);
            // The failure that is told is the one that led here.
            let _ = abort.send().await;
        }
        sent
    }

    async fn put_part(&self, place: &Place, id: &str, number: i32, bytes: Bytes) -> Result<CompletedPart> {
        let part = self.client.upload_part().bucket(&place.bucket).key(&place.key).upload_id(id).part_number(number);
        let sent = part.body(ByteStream::from(bytes)).send().await;
        let sent = sent.map_err(|error| failed(&format!("write part {number} of"), place, error))?;
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(sent.e_tag)
            .set_checksum_crc32(sent.checksum_crc32)
            .set_checksum_crc64_nvme(sent.checksum_crc64_nvme)
            .build())
    }

    /// The size of a file; `None` where there is none.
    async fn size(&self, location: &str) -> Result<Option<u64>> {
        let place = Place::of(location)?;
        match self.client.head_object().bucket(&place.bucket).key(&place.key).send().await {
            Ok(head) => Ok(Some(head.content_length.and_then(|size| u64::try_from(size).ok()).unwrap_or(0))),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_not_found()) => Ok(None),
            Err(error) => Err(failed("look for", &place, error)),
        }
    }

    async fn delete(&self, location: &str) -> Result<()> {
        let place = Place::of(location)?;
        let delete = self.client.delete_object().bucket(&place.bucket).key(&place.key).send().await;
        delete.map(drop).map_err(|error| failed("remove", &place, error))
    }

    /// Whether there is no file below a folder.
    pub(super) async fn is_empty(&self, folder: &str) -> Result<bool> {
        let place = Place::of(&format!("{}/", folder.trim_end_matches('/')))?;
        let one = self.client.list_objects_v2().bucket(&place.bucket).prefix(&place.key).max_keys(1).send().await;
        let one = one.map_err(|error| failed("list files below", &place, error))?;
        Ok(one.contents.unwrap_or_default().is_empty())
    }

    /// Files below a folder that were written before a moment.
    pub(super) async fn older(&self, folder: &str, before: OffsetDateTime) -> Result<Vec<String>> {
        let place = Place::of(&format!("{}/", folder.trim_end_matches('/')))?;
        let list = self.client.list_objects_v2().bucket(&place.bucket).prefix(&place.key);
        let mut pages = list.into_paginator().send();
        let mut files = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| failed("list files below", &place, error))?;
            for object in page.contents.unwrap_or_default() {
                let modified = object.last_modified.and_then(|at| at.to_millis().ok());
                let is_old = modified.is_some_and(|at| i128::from(at) * 1_000_000 < before.unix_timestamp_nanos());
                if let Some(key) = object.key.filter(|_| is_old) {
                    files.push(Place { bucket: place.bucket.clone(), key }.to_string());
                }
            }
        }
        Ok(files)
    }
}

#[async_trait]
impl Ranges for S3 {
    async fn read(&self, location: &str, range: Range<u64>) -> std::result::Result<Bytes, CatalogError> {
        self.get(location, Some(range)).await.map_err(|error| CatalogError(error.to_string()))
    }
}

/// What the Iceberg crate makes its storage with.
#[derive(Debug, Serialize)]
pub(super) struct Factory {
    #[serde(skip)]
    s3: Arc<S3>,
}

impl Factory {
    pub(super) fn of(s3: Arc<S3>) -> Factory {
        Factory { s3 }
    }
}

/// The crate wants to be able to send storages to other processes, which nothing here does.
fn not_from_text<'de, D: Deserializer<'de>, T>() -> std::result::Result<T, D::Error> {
    Err(serde::de::Error::custom("a storage holds credentials and is not made from text"))
}

impl<'de> Deserialize<'de> for Factory {
    fn deserialize<D: Deserializer<'de>>(_: D) -> std::result::Result<Factory, D::Error> {
        not_from_text::<D, _>()
    }
}

#[typetag::serde(name = "margay-s3")]
impl StorageFactory for Factory {
    fn build(&self, _config: &StorageConfig) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(S3Storage { s3: self.s3.clone() }))
    }
}

#[derive(Clone, Debug, Serialize)]
struct S3Storage {
    #[serde(skip)]
    s3: Arc<S3>,
}

impl<'de> Deserialize<'de> for S3Storage {
    fn deserialize<D: Deserializer<'de>>(_: D) -> std::result::Result<S3Storage, D::Error> {
        not_from_text::<D, _>()
    }
}

#[async_trait]
#[typetag::serde(name = "margay-s3")]
impl Storage for S3Storage {
    async fn exists(&self, path: &str) -> Result<bool> {
        Ok(self.s3.size(path).await?.is_some())
    }

    async fn metadata(&self, path: &str) -> Result<FileMetadata> {
        let size = self.s3.size(path).await?;
        let size = size.ok_or_else(|| Error::new(ErrorKind::DataInvalid, format!("there is no file {path}")))?;
        Ok(FileMetadata { size })
    }

    async fn read(&self, path: &str) -> Result<Bytes> {
        self.s3.get(path, None).await
    }

    async fn reader(&self, path: &str) -> Result<Box<dyn FileRead>> {
        Ok(Box::new(Reader { s3: self.s3.clone(), path: path.to_owned() }))
    }

    async fn write(&self, path: &str, bytes: Bytes) -> Result<()> {
        self.s3.put(path, bytes).await
    }

    async fn writer(&self, path: &str) -> Result<Box<dyn FileWrite>> {
        Ok(Box::new(Writer { s3: self.s3.clone(), path: path.to_owned(), written: Some(Vec::new()) }))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        self.s3.delete(path).await
    }

    async fn delete_prefix(&self, path: &str) -> Result<()> {
        let everything = self.s3.older(path, FAR).await?;
        iter(everything.iter().map(Ok)).try_for_each(|file| self.s3.delete(file)).await
    }

    async fn delete_stream(&self, mut paths: BoxStream<'static, String>) -> Result<()> {
        while let Some(path) = paths.next().await {
            self.s3.delete(&path).await?;
        }
        Ok(())
    }

    fn new_input(&self, path: &str) -> Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), path.to_owned()))
    }

    fn new_output(&self, path: &str) -> Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), path.to_owned()))
    }
}

struct Reader {
    s3: Arc<S3>,
    path: String,
}

#[async_trait]
impl FileRead for Reader {
    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        self.s3.get(&self.path, Some(range)).await
    }
}

/// Keeps what is written until the file is closed: all who write here hold the whole file anyway.
struct Writer {
    s3: Arc<S3>,
    path: String,
    /// `None` once closed.
    written: Option<Vec<Bytes>>,
}

impl Writer {
    fn closed(&self) -> Error {
        Error::new(ErrorKind::Unexpected, format!("file {} is closed already", self.path))
    }
}

#[async_trait]
impl FileWrite for Writer {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        match &mut self.written {
            Some(written) => {
                written.push(bytes);
                Ok(())
            }
            None => Err(self.closed()),
        }
    }

    async fn close(&mut self) -> Result<()> {
        let mut written = self.written.take().ok_or_else(|| self.closed())?;
        let bytes = if written.len() == 1 { written.remove(0) } else { written.concat().into() };
        self.s3.put(&self.path, bytes).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_a_bucket_and_a_key() {
        let place = Place { bucket: "logs".into(), key: "lake/a b/é=%2F.parquet".into() };
        for scheme in ["s3", "s3a", "s3n"] {
            assert_eq!(Place::of(&format!("{scheme}://logs/lake/a b/é=%2F.parquet")).unwrap(), place);
        }
        assert_eq!(Place::of("s3://logs").unwrap(), Place { bucket: "logs".into(), key: String::new() });
        for wrong in ["logs/a", "file:///a", "s3:///a", "https://logs/a"] {
            assert!(Place::of(wrong).unwrap_err().to_string().contains("s3://BUCKET/KEY"), "{wrong}");
        }
    }
}
