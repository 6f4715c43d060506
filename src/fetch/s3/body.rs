//! The bytes of one object as they come, resumed where they break.
//!
//! Invariant: bytes of two versions are never mixed. Every request after the first carries the ETag of the first
//! answer, and the chunks add up to its length and checksum, or the stream ends with an error.

use std::time::Duration;

use aws_sdk_s3::error::DisplayErrorContext;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::try_unfold;

use super::Get;
use super::checksum::Checksum;
use crate::fetch::{Body, FetchError};
use crate::model::ObjectRef;
use crate::runtime::Backoff;

/// How often a transfer is resumed without getting ahead.
pub(super) const RESUMES: u32 = 6;

/// A transfer that came this much further since it broke last is doing well, and may break as often again.
const PROGRESS: u64 = 8 * 1024 * 1024;

const BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(20));

pub(super) struct Transfer {
    get: Get,
    etag: Option<String>,
    total: u64,
    offset: u64,
    stream: ByteStream,
    checksum: Option<Checksum>,
    /// Since the last progress.
    resumes: u32,
    broke_at: u64,
}

impl Transfer {
    pub(super) fn start(get: Get, answer: GetObjectOutput) -> Result<Body, FetchError> {
        let Some(total) = answer.content_length.and_then(|length| u64::try_from(length).ok()) else {
            return Err(FetchError::Unavailable(format!("reading {}: the answer has no length", get.object)));
        };
        let etag = answer.e_tag().map(|etag| etag.trim_matches('"').to_owned());
        let object = ObjectRef {
            size: Some(total),
            etag: etag.clone().or_else(|| get.object.etag.clone()),
            version_id: get.object.version_id.clone().or_else(|| answer.version_id().map(str::to_owned)),
            region: Some(get.region.clone()),
            ..get.object.clone()
        };
        let checksum = Checksum::of(&answer);
        let transfer = Transfer { get, etag, total, offset: 0, stream: answer.body, checksum, resumes: 0, broke_at: 0 };
        let chunks =
            try_unfold(
                transfer,
                |mut transfer| async move { Ok(transfer.next().await?.map(|chunk| (chunk, transfer))) },
            );
        Ok(Body { object, chunks: chunks.boxed() })
    }

    /// The next bytes, or `None` when all have come and the checksum holds.
    async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            let cause = match self.stream.next().await {
                Some(Ok(chunk)) if chunk.is_empty() => continue,
                Some(Ok(chunk)) => return self.came(chunk).map(Some),
                None if self.offset == self.total => return self.ended().map(|()| None),
                None => "the connection ended early".to_owned(),
                Some(Err(error)) => DisplayErrorContext(error).to_string(),
            };
            self.resume(cause).await?;
        }
    }

    fn came(&mut self, chunk: Bytes) -> Result<Bytes, FetchError> {
        self.offset += chunk.len() as u64;
        if self.offset > self.total {
            return Err(self.unavailable("more bytes came than the object has"));
        }
        if let Some(checksum) = &mut self.checksum {
            checksum.update(&chunk);
        }
        Ok(chunk)
    }

    fn ended(&mut self) -> Result<(), FetchError> {
        match self.checksum.take().map(Checksum::verify) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(difference)) => Err(self.unavailable(&format!("{difference}; it was damaged on its way"))),
        }
    }

    /// Goes on at the offset with a new request.
    async fn resume(&mut self, mut cause: String) -> Result<(), FetchError> {
        if self.offset == self.total {
            // All bytes are here and only the end of the stream is broken; a range after the last byte is no range.
            self.stream = ByteStream::default();
            return Ok(());
        }
        if self.offset >= self.broke_at + PROGRESS {
            self.resumes = 0;
        }
        self.broke_at = self.offset;
        if self.etag.is_none() && self.get.object.version_id.is_none() {
            return Err(self.unavailable(&format!("{cause}; without an ETag it can't be resumed")));
        }
        while self.resumes < RESUMES {
            tokio::time::sleep(BACKOFF.delay(self.resumes)).await;
            self.resumes += 1;
            tracing::debug!(object = %self.get.object, offset = self.offset, %cause, "resuming a broken transfer");
            match self.get.send(Some(self.offset), self.etag.as_deref()).await {
                Ok(answer) if self.goes_on(&answer) => {
                    self.stream = answer.body;
                    return Ok(());
                }
                Ok(_) => cause = "the store does not answer with the range that was asked for".into(),
                Err(error) => match self.get.failure(&error) {
                    FetchError::Unavailable(text) => cause = text,
                    refused => return Err(refused),
                },
            }
        }
        Err(self.unavailable(&format!("{cause}; given up after it was resumed {RESUMES} times")))
    }

    /// Whether an answer starts at the offset, in an object of the same length.
    fn goes_on(&self, answer: &GetObjectOutput) -> bool {
        let (start, end) = (format!("bytes {}-", self.offset), format!("/{}", self.total));
        answer.content_range().is_some_and(|range| range.starts_with(&start) && range.ends_with(&end))
    }

    fn unavailable(&self, cause: &str) -> FetchError {
        let Transfer { get, offset, total, .. } = self;
        FetchError::Unavailable(format!("reading {} broke at byte {offset} of {total}: {cause}", get.object))
    }
}
