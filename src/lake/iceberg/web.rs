//! HTTP to catalogs: one request, one answer, with a proof of who asks.
//!
//! Not the clients of the AWS SDK: that of Glue alone would take as long to compile as all the others together, for
//! five calls of JSON, and there is none for REST catalogs.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use time::OffsetDateTime;
use tokio::sync::Mutex;

use crate::runtime::{Backoff, SharedClock, WebClient, web_client};

/// From the first byte of a request to the last of its answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Of an answer: metadata of a table with many snapshots and columns have a few megabytes.
const LARGEST: usize = 64 * 1024 * 1024;

/// A question that changes nothing is asked so often, when no answer comes or the server is busy.
const TRIES: u32 = 4;
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));

/// Credentials are replaced so long before they end, so that no request starts with dying ones.
const BEFORE_END: time::Duration = time::Duration::minutes(5);

/// What is asked of a catalog.
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// Cheap to clone; clones share their connections.
#[derive(Clone)]
pub(super) struct Web(WebClient);

impl Web {
    /// With the certificate authorities of the system.
    pub(super) fn new() -> Result<Web, String> {
        web_client().map(Web)
    }

    /// Asks once. After an error nobody knows whether the question arrived.
    pub(super) async fn ask(&self, question: &Question, proof: &Proof) -> Result<Answer, String> {
        let request = proof.of(question).await?;
        match tokio::time::timeout(PATIENCE, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        }
    }

    /// Asks until there is an answer: for questions that change nothing, or that may be asked twice.
    pub(super) async fn ask_again(&self, question: &Question, proof: &Proof) -> Result<Answer, String> {
        for attempt in 0..TRIES - 1 {
            match self.ask(question, proof).await {
                Ok(answer) if !is_busy(answer.status) => return Ok(answer),
                Ok(_) | Err(_) => tokio::time::sleep(BACKOFF.delay(attempt)).await,
            }
        }
        self.ask(question, proof).await
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let response = self.0.request(request).await.map_err(|error| with_causes(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST).collect().await;
        let body = body.map_err(|error| format!("the answer broke off: {error}"))?.to_bytes();
        Ok(Answer { status, body })
    }
}

fn is_busy(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        said += &format!(": {next}");
        cause = next.source();
    }
    said
}

/// Who asks.
pub(super) enum Proof {
    None,
    Bearer(HeaderValue),
    Signed(Signer),
}

impl Proof {
    async fn of(&self, question: &Question) -> Result<Request<Full<Bytes>>, String> {
        let request = Request::builder().method(&question.method).uri(&question.url);
        let mut request = request.body(Full::new(question.body.clone())).map_err(|error| error.to_string())?;
        request.headers_mut().extend(question.headers.iter().cloned());
        match self {
            Proof::None => {}
            Proof::Bearer(token) => {
                request.headers_mut().insert(AUTHORIZATION, token.clone());
            }
            Proof::Signed(signer) => signer.sign(question, &mut request).await?,
        }
        Ok(request)
    }
}

/// Signs requests as AWS wants it.
pub struct Signer {
    credentials: SharedCredentialsProvider,
    held: Mutex<Option<Credentials>>,
    region: String,
    /// As AWS calls it in signatures.
    service: &'static str,
    clock: SharedClock,
}

impl Signer {
    pub(super) fn new(
        credentials: SharedCredentialsProvider,
        region: String,
        service: &'static str,
        clock: SharedClock,
    ) -> Signer {
        Signer { credentials, held: Mutex::default(), region, service, clock }
    }

    /// The provider asks the metadata service or STS each time.
    async fn credentials(&self, now: OffsetDateTime) -> Result<Credentials, String> {
        let mut held = self.held.lock().await;
        let is_fresh =
            |held: &Credentials| held.expiry().is_none_or(|end| now + BEFORE_END < OffsetDateTime::from(end));
        if let Some(fresh) = held.as_ref().filter(|held| is_fresh(held)) {
            return Ok(fresh.clone());
        }
        let new = self.credentials.provide_credentials().await;
        let new = new.map_err(|error| format!("there are no AWS credentials: {}", with_causes(&error)))?;
        *held = Some(new.clone());
        Ok(new)
    }

    async fn sign(&self, question: &Question, request: &mut Request<Full<Bytes>>) -> Result<(), String> {
        let now = self.clock.now();
        let identity = self.credentials(now).await?.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(self.service)
            .time(now.into())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| error.to_string())?
            .into();
        let headers = request.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let body = SignableBody::Bytes(&question.body);
        let signable = SignableRequest::new(question.method.as_str(), &question.url, headers, body);
        let signable = signable.map_err(|error| error.to_string())?;
        let (instructions, _) = sign(signable, &parameters).map_err(|error| error.to_string())?.into_parts();
        instructions.apply_to_request_http1x(request);
        Ok(())
    }
}
