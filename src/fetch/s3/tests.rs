//! S3 as a script of answers, in place of the HTTP client: what is asked, and what each answer comes to.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;

use super::body::RESUMES;
use super::*;
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
        let sdk = self.sdk().await;
        let own = sdk.credentials_provider().unwrap();
        S3Store::new(&sdk, &Config { path_style: true }, Arc::new(move |_| own.clone()))
    }

    async fn sdk(&self) -> SdkConfig {
        crate::aws::loader()
            .http_client(self.clone())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
            .load()
            .await
    }

    fn asked(&self, index: usize, header: &str) -> Option<String> {
        self.asked.lock().unwrap()[index].headers().get(header).map(str::to_owned)
    }
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

fn range(body: &'static str, start: usize, total: usize) -> Answer {
    let mut answer = Answer { status: 206, ..whole(body) };
    answer.headers.push(("content-range", format!("bytes {start}-{}/{total}", total - 1)));
    answer
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

#[tokio::test(start_paused = true)]
async fn a_broken_transfer_goes_on_where_it_broke() {
    let script = Script::new([broken("01234", 10), broken_range("567", 5), range("89", 8, 10)]);
    assert_eq!(fetch(&script).await.unwrap(), b"0123456789");
    assert_eq!(script.asked(0, "if-match").as_deref(), Some("\"e1\""));
    assert_eq!(script.asked(0, "range"), None);
    for (index, expected) in [(1, "bytes=5-"), (2, "bytes=8-")] {
        assert_eq!(script.asked(index, "range").as_deref(), Some(expected));
        assert_eq!(script.asked(index, "if-match").as_deref(), Some("\"e1\""));
    }
}

fn broken_range(body: &'static str, start: usize) -> Answer {
    Answer { breaks: true, ..range(body, start, 10) }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_changes_while_it_is_read_is_superseded_and_never_mixed() {
    let script = Script::new([broken("01234", 10), refusal(412, "PreconditionFailed", "no")]);
    assert!(matches!(fetch(&script).await, Err(FetchError::Superseded(_))));
}

#[tokio::test(start_paused = true)]
async fn a_store_without_ranges_and_a_line_that_always_breaks_are_given_up() {
    let ignored = Script::new([broken("01234", 10), whole("0123456789")]);
    let error = fetch(&ignored).await.unwrap_err().to_string();
    assert!(error.contains("byte 5 of 10") && error.contains("range"), "{error}");

    let cut = Script::new([broken("01234", 10), Answer { breaks: true, ..range("", 5, 10) }]);
    let error = fetch(&cut).await.unwrap_err().to_string();
    assert!(error.contains("reset"), "{error}");
    assert_eq!(cut.asked.lock().unwrap().len() as u32, 1 + RESUMES);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_ends_early_without_an_error_is_noticed() {
    let short = Answer { breaks: false, ..broken("01234", 10) };
    assert_eq!(fetch(&Script::new([short, range("56789", 5, 10)])).await.unwrap(), b"0123456789");
}

#[tokio::test(start_paused = true)]
async fn the_checksum_is_compared_even_across_a_resumed_transfer() {
    // CRC-32 of "0123456789" is a684c7c6.
    for (crc32, good) in [("poTHxg==", true), ("AAAAAA==", false), ("AAAAAA==-2", true)] {
        let mut first = broken("01234", 10);
        first.headers.push(("x-amz-checksum-crc32", crc32.into()));
        let script = Script::new([first, range("56789", 5, 10)]);
        let outcome = fetch(&script).await;
        assert_eq!(outcome.is_ok(), good, "{crc32}: {outcome:?}");
        assert_eq!(script.asked(0, "x-amz-checksum-mode").as_deref(), Some("ENABLED"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_is_asked_for_by_its_id_and_the_bucket_by_its_owner() {
    let script = Script::new([whole("x")]);
    let access = Access { account_id: Some("111122223333".into()), ..Access::default() };
    let versioned = ObjectRef { version_id: Some("v1".into()), ..announced() };
    script.store().await.open(&access, &versioned).await.unwrap();
    assert_eq!(script.asked(0, "if-match"), None);
    assert_eq!(script.asked(0, "x-amz-expected-bucket-owner").as_deref(), Some("111122223333"));
    let uri = script.asked.lock().unwrap()[0].uri().to_owned();
    assert!(uri.contains("/logs/a%20b.json") && uri.contains("versionId=v1") && uri.contains("eu-west-1"), "{uri}");
}

#[tokio::test(start_paused = true)]
async fn the_region_that_s3_names_is_used_and_remembered() {
    let mut elsewhere = refusal(301, "PermanentRedirect", "use another endpoint");
    elsewhere.headers.push(("x-amz-bucket-region", "ap-south-1".into()));
    let script = Script::new([elsewhere, whole("x")]);
    let store = script.store().await;
    for _ in 0..2 {
        let body = store.open(&Access::default(), &announced()).await.unwrap();
        assert_eq!(body.object.region.as_deref(), Some("ap-south-1"));
    }
    assert_eq!(script.asked.lock().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn each_error_of_s3_has_its_disposition_and_its_remedy() {
    let cases = [
        (404, "NoSuchKey", "", "Missing", "deleted before it was read"),
        (404, "NoSuchVersion", "", "Missing", "version"),
        (404, "NoSuchBucket", "", "Missing", "source's bucket"),
        (405, "MethodNotAllowed", "", "Missing", "delete marker"),
        (403, "AccessDenied", "Access Denied", "Forbidden", "s3:ListBucket"),
        (403, "AccessDenied", "not authorized to perform: kms:Decrypt", "Forbidden", "kms:Decrypt in"),
        (400, "KMS.DisabledException", "", "Forbidden", "enabled"),
        (403, "InvalidAccessKeyId", "", "Forbidden", "s3:GetObject"),
        (403, "InvalidObjectState", "", "Archived", "s3:RestoreObject"),
        (412, "PreconditionFailed", "", "Superseded", "overwritten"),
        (503, "SlowDown", "", "Unavailable", "throttling"),
        (500, "InternalError", "", "Unavailable", "tried again"),
        (400, "ExpiredToken", "", "Unavailable", "clock"),
        (301, "PermanentRedirect", "", "Unavailable", "region"),
    ];
    for (status, code, message, disposition, remedy) in cases {
        let error = fetch(&Script::new([refusal(status, code, message)])).await.unwrap_err();
        assert!(format!("{error:?}").starts_with(disposition), "{code}: {error:?}");
        let text = error.to_string();
        assert!(text.contains(remedy) && text.contains("logs"), "{code}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_role_that_refuses_is_named_with_what_to_allow() {
    let denied = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not authorized</Message></Error>\
                  <RequestId>r</RequestId></ErrorResponse>";
    let script = Script::new([Answer { status: 403, body: denied.into(), ..Answer::default() }]);
    let sdk = script.sdk().await;
    let role = "arn:aws:iam::111122223333:role/logs";
    let provider = AssumeRoleProvider::builder(role).session_name("s").configure(&sdk).build().await;
    let provider = SharedCredentialsProvider::new(provider);
    let store = S3Store::new(&sdk, &Config::default(), Arc::new(move |_| provider.clone()));
    let access = Access { source: "trail".into(), role_arn: Some(role.into()), ..Access::default() };
    let error = store.open(&access, &announced()).await.err().unwrap();
    assert!(matches!(error, FetchError::Forbidden(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(role) && text.contains("\"trail\"") && text.contains("trust policy"), "{text}");
}
