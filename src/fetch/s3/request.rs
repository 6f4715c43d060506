//! One object asked for, again where that helps: slower when S3 throttles, in the region that it names, with new
//! credentials when the old ones are not known any more, and after a pause when it or the network fails.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use aws_sdk_s3::types::RequestPayer;

use super::Shared;
use super::failure::{self, Remedy};
use super::signed::Signed;
use crate::fetch::FetchError;
use crate::model::{Access, ObjectRef};
use crate::runtime::Backoff;

/// How often one request is made in all, when S3 throttles, fails or does not answer.
pub(super) const ATTEMPTS: u32 = 8;

pub(super) const BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(20));

/// How often one request may be sent to another region.
const MOVES: u32 = 2;

pub(super) type GetError = SdkError<GetObjectError, HttpResponse>;

/// An object and as whom it is asked for.
pub(super) struct Request {
    pub(super) shared: Arc<Shared>,
    pub(super) access: Access,
    pub(super) object: ObjectRef,
}

/// What S3 said, and in which region.
pub(super) struct Answer<T = GetObjectOutput> {
    pub(super) output: T,
    pub(super) region: String,
}

/// Why it said nothing that can be used.
pub(super) enum Refused {
    /// The range starts behind the last byte.
    NoSuchRange,
    Final(FetchError),
}

impl Refused {
    /// Where the range is known to exist.
    pub(super) fn into_error(self, object: &ObjectRef) -> FetchError {
        match self {
            Refused::Final(error) => error,
            Refused::NoSuchRange => {
                FetchError::Unavailable(format!("reading {object}: the store has less of it than it said"))
            }
        }
    }
}

impl Request {
    /// The whole object or a range of it; only if the ETag still holds, when there is one.
    pub(super) async fn get(&self, range: Option<Range<u64>>, etag: Option<&str>) -> Result<Answer, Refused> {
        self.persist(|client, signed| {
            let range = range.clone();
            async move { self.send(&client, signed, range, etag).await }
        })
        .await
    }

    /// Sends a request about the object until it is answered, or refused for good. It has to carry the [`Signed`].
    pub(super) async fn persist<T, F>(&self, send: impl Fn(Client, Signed) -> F) -> Result<Answer<T>, Refused>
    where
        F: Future<Output = Result<T, GetError>> + Send,
    {
        let Shared { clients, pace, .. } = &*self.shared;
        let bucket = &self.object.bucket;
        let (mut attempts, mut moves, mut renewed) = (0, 0, false);
        loop {
            let region = self.shared.region(&self.access, &self.object).name;
            let (client, identity) = clients.get(&self.access, &region);
            pace.turn(bucket).await;
            let signed = Signed::default();
            let error = match send(client.clone(), signed.clone()).await {
                Ok(output) => {
                    pace.went_well(bucket);
                    return Ok(Answer { output, region });
                }
                Err(error) => error,
            };
            match failure::remedy(&error) {
                Remedy::Elsewhere(named) if moves < MOVES => {
                    let named = match named {
                        Some(named) => Some(named),
                        None => self.region_of_bucket(&client).await,
                    };
                    match named.filter(|named| *named != region) {
                        Some(named) => self.shared.moved(bucket, named),
                        None => return Err(Refused::Final(self.failure(&error, &region))),
                    }
                    moves += 1;
                    continue;
                }
                Remedy::Renew if !renewed => {
                    renewed = true;
                    if signed.access_key().is_some_and(|key| (identity.forget)(&key)) {
                        tracing::info!(source = %self.access.source, "S3 does not know the credentials any more; getting new ones");
                        continue;
                    }
                    return Err(Refused::Final(self.failure(&error, &region)));
                }
                Remedy::Slower => pace.refused(bucket),
                Remedy::Again => {}
                Remedy::NoRange => return Err(Refused::NoSuchRange),
                Remedy::Elsewhere(_) | Remedy::Renew | Remedy::None => {
                    return Err(Refused::Final(self.failure(&error, &region)));
                }
            }
            attempts += 1;
            if attempts == ATTEMPTS {
                return Err(Refused::Final(self.failure(&error, &region)));
            }
            tokio::time::sleep(BACKOFF.delay(attempts - 1)).await;
        }
    }

    async fn send(
        &self,
        client: &Client,
        signed: Signed,
        range: Option<Range<u64>>,
        etag: Option<&str>,
    ) -> Result<GetObjectOutput, GetError> {
        let whole = range.is_none();
        client
            .get_object()
            .bucket(&self.object.bucket)
            .key(&self.object.key)
            .set_version_id(self.object.version_id.clone())
            .set_if_match(etag.map(|etag| format!("\"{}\"", etag.trim_matches('"'))))
            .set_range(range.map(|range| format!("bytes={}-{}", range.start, range.end - 1)))
            .set_expected_bucket_owner(self.access.account_id.clone())
            .set_request_payer(self.access.requester_pays.then_some(RequestPayer::Requester))
            .customize()
            .interceptor(signed)
            // Asked for behind the SDK's back: told of the checksum, it would check it itself.
            .mutate_request(move |request| {
                if whole {
                    request.headers_mut().insert("x-amz-checksum-mode", "ENABLED");
                }
            })
            .send()
            .await
    }

    /// Where the bucket is, when the refusal of a read does not say so. Any answer to this question does.
    async fn region_of_bucket(&self, client: &Client) -> Option<String> {
        let asked = client
            .head_bucket()
            .bucket(&self.object.bucket)
            .set_expected_bucket_owner(self.access.account_id.clone())
            .send()
            .await;
        match asked {
            Ok(answer) => answer.bucket_region,
            Err(error) => error.raw_response()?.headers().get(failure::REGION).map(str::to_owned),
        }
    }

    fn failure(&self, error: &GetError, region: &str) -> FetchError {
        failure::classify(error, &self.access, &self.object, region)
    }
}
