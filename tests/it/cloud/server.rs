//! The HTTP of the stand-in: accepts connections, tells the services apart, and closes a connection where a fault says
//! so.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::faults::{Refusal, Reset};
use super::state::State;
use super::{s3, sqs, sts};

/// A call, its body read.
pub struct Asked {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Access key and region of the signature.
    pub fn signer(&self) -> (&str, &str) {
        let scope = self.header("authorization").split("Credential=").nth(1).unwrap_or_default();
        let mut parts = scope.split('/');
        (parts.next().unwrap_or_default(), parts.nth(1).unwrap_or_default())
    }
}

/// Listens on a free port; the address as a URL.
pub fn start(runtime: &Runtime, state: Arc<State>) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind a free port");
    listener.set_nonblocking(true).expect("tokio needs it");
    let address = listener.local_addr().expect("it is bound");
    let handle = runtime.handle().clone();
    runtime.handle().spawn(async move {
        let listener = TcpListener::from_std(listener).expect("it is bound and does not block");
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("it is a TCP connection");
            let state = state.clone();
            let service = service_fn(move |request| answer(state.clone(), request));
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // An error is a client that went away, or a fault.
            handle.spawn(async move { connection.await.ok() });
        }
    });
    format!("http://{address}")
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Body>, Reset> {
    let (head, body) = request.into_parts();
    // A client that went away in the middle of its question gets no answer.
    let body = axum::body::to_bytes(Body::new(body), 4 << 20).await.map_err(|_| Reset)?;
    let asked = Asked {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body: body.to_vec(),
    };
    if let Some(action) = asked.header("x-amz-target").strip_prefix("AmazonSQS.") {
        return sqs::answer(&state, action, &asked).await;
    }
    if asked.method == Method::POST {
        return sts::answer(&state, &asked).await;
    }
    s3::answer(&state, &asked).await
}

pub fn response(status: u16, content_type: &str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).expect("tests give statuses that exist");
    response.headers_mut().insert("content-type", content_type.parse().expect("it is ASCII"));
    response.headers_mut().insert("x-amz-request-id", "TESTS".parse().expect("it is ASCII"));
    response
}

/// An error of the services that speak XML, `around` its `<Error>`.
pub fn xml_error(refusal: &Refusal, around: Option<&str>) -> Response<Body> {
    let Refusal { status, code, message } = refusal;
    let message = message.replace('&', "&amp;").replace('<', "&lt;");
    let error = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    let body = match around {
        Some(name) => format!("<{name}>{error}<RequestId>TESTS</RequestId></{name}>"),
        None => error,
    };
    response(*status, "application/xml", body)
}
