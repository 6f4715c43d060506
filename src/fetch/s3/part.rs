//! The bytes from one offset of an object to another, resumed where they break.
//!
//! Invariant: bytes of two versions are never mixed. Every request after the first carries the ETag of the first
//! answer, and its bytes start where the ones before ended, in an object of the same length.

use std::ops::Range;
use std::sync::Arc;

use aws_sdk_s3::error::DisplayErrorContext;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use bytes::{Bytes, BytesMut};

use super::request::{BACKOFF, Request};
use crate::fetch::FetchError;

/// How often a transfer is resumed without getting ahead.
pub(super) const RESUMES: u32 = 6;

/// A transfer that came this much further since it broke last is doing well, and may break as often again.
const PROGRESS: u64 = 8 * 1024 * 1024;

/// One version of an object.
#[derive(Clone)]
pub(super) struct Pinned {
    pub(super) request: Arc<Request>,
    pub(super) etag: Option<String>,
    pub(super) total: u64,
}

impl Pinned {
    /// Whether further requests are sure to get the same version.
    pub(super) fn holds(&self) -> bool {
        self.etag.is_some() || self.request.object.is_pinned()
    }

    /// The bytes of a range that lies within the object.
    pub(super) async fn read(self, range: Range<u64>) -> Result<Bytes, FetchError> {
        let mut part = Part::new(self, ByteStream::default(), range);
        part.ask().await?;
        part.all().await
    }

    /// The same, of an answer that has come already.
    pub(super) async fn read_on(self, answer: GetObjectOutput, range: Range<u64>) -> Result<Bytes, FetchError> {
        let mut part = Part::new(self, ByteStream::default(), range);
        part.take(answer)?;
        part.all().await
    }
}

pub(super) struct Part {
    object: Pinned,
    offset: u64,
    end: u64,
    stream: ByteStream,
    /// Since the last progress.
    resumes: u32,
    broke_at: u64,
}

impl Part {
    /// `stream` has the bytes from the start of the range on, and may have more than the range.
    pub(super) fn new(object: Pinned, stream: ByteStream, range: Range<u64>) -> Part {
        Part { object, offset: range.start, end: range.end, stream, resumes: 0, broke_at: range.start }
    }

    /// The next bytes, or `None` at the end of the range.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        while self.offset < self.end {
            let cause = match self.stream.next().await {
                Some(Ok(chunk)) if chunk.is_empty() => continue,
                Some(Ok(mut chunk)) => {
                    let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
                    chunk.truncate(left);
                    self.offset += chunk.len() as u64;
                    return Ok(Some(chunk));
                }
                None => "the connection ended early".to_owned(),
                Some(Err(error)) => DisplayErrorContext(error).to_string(),
            };
            self.resume(cause).await?;
        }
        // What is left of a longer answer is not waited for.
        self.stream = ByteStream::default();
        Ok(None)
    }

    /// Goes on at the offset with a new request, after a pause.
    async fn resume(&mut self, cause: String) -> Result<(), FetchError> {
        if self.offset >= self.broke_at + PROGRESS {
            self.resumes = 0;
        }
        self.broke_at = self.offset;
        if !self.object.holds() {
            return Err(self.broken(&format!("{cause}; without an ETag it can't be resumed")));
        }
        if self.resumes == RESUMES {
            return Err(self.broken(&format!("{cause}; given up after it was resumed {RESUMES} times")));
        }
        let object = &self.object.request.object;
        tracing::debug!(%object, offset = self.offset, %cause, "resuming a broken transfer");
        tokio::time::sleep(BACKOFF.delay(self.resumes)).await;
        self.resumes += 1;
        self.ask().await
    }

    /// Asks for what is missing.
    async fn ask(&mut self) -> Result<(), FetchError> {
        let Pinned { request, etag, .. } = &self.object;
        let asked = request.get(Some(self.offset..self.end), etag.as_deref()).await;
        let answer = asked.map_err(|refused| refused.into_error(&request.object))?.output;
        self.take(answer)
    }

    /// An answer that starts at the offset, in an object of the same length.
    fn take(&mut self, answer: GetObjectOutput) -> Result<(), FetchError> {
        let (start, end) = (format!("bytes {}-", self.offset), format!("/{}", self.object.total));
        if !answer.content_range().is_some_and(|range| range.starts_with(&start) && range.ends_with(&end)) {
            return Err(self.broken("the store does not answer with the range that was asked for"));
        }
        self.stream = answer.body;
        Ok(())
    }

    async fn all(mut self) -> Result<Bytes, FetchError> {
        let mut bytes = BytesMut::with_capacity(usize::try_from(self.end - self.offset).unwrap_or(usize::MAX));
        while let Some(chunk) = self.next().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }

    fn broken(&self, cause: &str) -> FetchError {
        let (object, total) = (&self.object.request.object, self.object.total);
        FetchError::Unavailable(format!("reading {object} broke at byte {} of {total}: {cause}", self.offset))
    }
}
