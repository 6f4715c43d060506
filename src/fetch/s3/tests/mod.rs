//! S3 as a script of answers, in place of the HTTP client. `transfer` tests what becomes of the bytes, `refusals` what
//! each error comes to.

mod refusals;
mod transfer;

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use aws_config::Region;
use aws_credential_types::Credentials;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;

use super::*;
use crate::fetch::Refusal;
use crate::fetch::contract::{object, read};

/// One answer; its body breaks after its bytes where `breaks` says so.
#[derive(Clone, Default)]
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    breaks: bool,
}

/// Answers requests in order, the last one again and again, and keeps what was asked.
#[derive(Clone)]
struct Script {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    asked: Arc<Mutex<Vec<HttpRequest>>>,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Script")
    }
}

impl HttpConnector for Script {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        self.asked.lock().unwrap().push(request);
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }.unwrap();
        let length = answer.body.len();
        let frames = [Ok(answer.body)].into_iter().chain(answer.breaks.then(|| Err(io::Error::other("reset"))));
        let body = SdkBody::from_body_1_x(Frames(frames.collect()));
        let mut response = HttpResponse::new(answer.status.try_into().unwrap(), body);
        if !answer.headers.iter().any(|(name, _)| *name == "content-length") {
            response.headers_mut().insert("content-length", length.to_string());
        }
        for (name, value) in answer.headers {
            response.headers_mut().insert(name, value);
        }
        HttpConnectorFuture::ready(Ok(response))
    }
}

impl HttpClient for Script {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

struct Frames(VecDeque<Result<Bytes, io::Error>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, io::Error>>> {
        Poll::Ready(self.0.pop_front().map(|frame| frame.map(http_body::Frame::data)))
    }
}

impl Script {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Script {
        Script { answers: Arc::new(Mutex::new(answers.into_iter().collect())), asked: Arc::default() }
    }

    /// A store that talks to the script, as the daemon itself.
    async fn store(&self) -> S3Store {
        self.store_with(never_new()).await
    }

    async fn store_with(&self, forget: Forget) -> S3Store {
        let sdk = self.sdk().await;
        let credentials = sdk.credentials_provider().unwrap();
        let identity = Identity { credentials, forget };
        let config = Config { path_style: true, ..Config::default() };
        S3Store::new(&sdk, &config, Arc::new(move |_| identity.clone()), Tasks::new())
    }

    async fn sdk(&self) -> SdkConfig {
        crate::aws::loader()
            .http_client(self.clone())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
            .load()
            .await
    }

    fn requests(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn asked(&self, index: usize, header: &str) -> Option<String> {
        self.asked.lock().unwrap()[index].headers().get(header).map(str::to_owned)
    }
}

type Forget = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// There are no new credentials.
fn never_new() -> Forget {
    Arc::new(|_| false)
}

/// The whole of an object that has this ETag.
fn whole(body: &'static str) -> Answer {
    Answer { status: 200, headers: vec![("etag", "\"e1\"".into())], body: body.into(), breaks: false }
}

/// The first bytes of an object of `total`, and then a broken connection.
fn broken(body: &'static str, total: u64) -> Answer {
    let mut answer = Answer { breaks: true, ..whole(body) };
    answer.headers.push(("content-length", total.to_string()));
    answer
}

/// The bytes of an object of `total` that begin at `start`.
fn part(body: impl Into<Bytes>, start: usize, total: usize) -> Answer {
    let body = body.into();
    let range = format!("bytes {start}-{}/{total}", start + body.len().max(1) - 1);
    Answer { status: 206, headers: vec![("etag", "\"e1\"".into()), ("content-range", range)], body, breaks: false }
}

fn refusal(status: u16, code: &str, message: &str) -> Answer {
    let body = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    Answer { status, body: body.into(), ..Answer::default() }
}

fn announced() -> ObjectRef {
    ObjectRef { etag: Some("e1".into()), region: Some("eu-west-1".into()), ..object("logs", "a b.json") }
}

/// Opens and reads the announced object.
async fn fetch(script: &Script) -> Result<Vec<u8>, FetchError> {
    read(script.store().await.open(&Access::default(), &announced()).await?).await
}
