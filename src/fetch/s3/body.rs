//! All bytes of an object in order: the first range as it comes, each further one in memory before it is needed.
//!
//! The first request asks for the whole object, because only then S3 tells the checksum of the whole, and because an
//! object that is no larger than one range costs one request so, whether or not the notification knows its size (an
//! empty one too, of which no range could be had). Of a larger object it gives the first range, and its connection is
//! closed.
//!
//! Ranges are read whole, so that no answer of S3 is held open while detection or the lake are slow.
//!
//! Invariants: at most two ranges are in memory, the one that is handed out and the next. The chunks add up to the
//! object's length and checksum, or the stream ends with an error.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::try_unfold;
use tokio_util::task::AbortOnDropHandle;

use super::checksum::Checksum;
use super::part::{Part, Pinned};
use super::request::{Answer, Request};
use crate::fetch::{Body, FetchError};
use crate::model::ObjectRef;

pub(super) struct Transfer {
    object: Pinned,
    /// Handed out.
    offset: u64,
    /// Asked for.
    asked: u64,
    first: Part,
    /// The next range on its way. Ends with the transfer.
    ahead: Option<AbortOnDropHandle<Result<Bytes, FetchError>>>,
    checksum: Option<Checksum>,
}

impl Transfer {
    /// Of the answer to a request for the whole object.
    pub(super) fn start(request: Arc<Request>, answer: Answer) -> Result<Body, FetchError> {
        let Answer { output, region } = answer;
        let Some(total) = output.content_length.and_then(|length| u64::try_from(length).ok()) else {
            return Err(FetchError::Unavailable(format!("reading {}: the answer has no length", request.object)));
        };
        let etag = output.e_tag().map(|etag| etag.trim_matches('"').to_owned());
        let object = ObjectRef {
            size: Some(total),
            etag: etag.clone().or_else(|| request.object.etag.clone()),
            version_id: request.object.version_id.clone().or_else(|| output.version_id().map(str::to_owned)),
            region: Some(region),
            ..request.object.clone()
        };
        let checksum = Checksum::of(&output);
        let pinned = Pinned { request, etag, total };
        let asked = if pinned.holds() { total.min(pinned.request.shared.range) } else { total };
        let first = Part::new(pinned.clone(), output.body, 0..asked);
        let transfer = Transfer { object: pinned, offset: 0, asked, first, ahead: None, checksum };
        let chunks =
            try_unfold(
                transfer,
                |mut transfer| async move { Ok(transfer.next().await?.map(|chunk| (chunk, transfer))) },
            );
        Ok(Body { object, chunks: chunks.boxed() })
    }

    /// The next bytes, or `None` when all have come and the checksum holds.
    async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        self.look_ahead();
        if let Some(chunk) = self.first.next().await? {
            return Ok(Some(self.came(chunk)));
        }
        let Some(ahead) = self.ahead.take() else { return self.ended().map(|()| None) };
        let range = match ahead.await {
            Ok(range) => range?,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return Err(FetchError::Unavailable("the daemon is ending".into())),
        };
        self.look_ahead();
        Ok(Some(self.came(range)))
    }

    /// Starts the next range, if there is one and none is on its way.
    fn look_ahead(&mut self) {
        if self.ahead.is_some() || self.asked == self.object.total {
            return;
        }
        let shared = &self.object.request.shared;
        let range = self.asked..self.object.total.min(self.asked + shared.range);
        self.asked = range.end;
        self.ahead = Some(AbortOnDropHandle::new(shared.tasks.spawn(self.object.clone().read(range))));
    }

    fn came(&mut self, chunk: Bytes) -> Bytes {
        self.offset += chunk.len() as u64;
        if let Some(checksum) = &mut self.checksum {
            checksum.update(&chunk);
        }
        chunk
    }

    fn ended(&mut self) -> Result<(), FetchError> {
        let Pinned { request, total, .. } = &self.object;
        if self.offset != *total {
            let (object, offset) = (&request.object, self.offset);
            return Err(FetchError::Unavailable(format!("reading {object}: {offset} bytes came of {total}")));
        }
        match self.checksum.take().map(Checksum::verify) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(difference)) => Err(FetchError::Unavailable(format!(
                "reading {}: {difference}; it was damaged on its way",
                request.object
            ))),
        }
    }
}
