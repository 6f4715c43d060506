//! One HTTP request over one connection. The host is resolved once, every address of it is checked, and the connection
//! goes to one of the checked addresses: a name that resolves otherwise a moment later changes nothing. Redirects are not
//! followed and no proxy is asked. Alerts are rare, so no connection is kept.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use url::Url;

use super::guard::{self, Policy};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// From the first byte of the request to the last of the answer that is kept.
const TOTAL_LIMIT: Duration = Duration::from_secs(20);
/// For what comes behind the head of an answer, within that time.
const BODY_PATIENCE: Duration = Duration::from_secs(5);
/// Of an answer; the rest is not read.
const BODY_LIMIT: usize = 4096;
/// Of an answer that is read.
const OBJECT_LIMIT: usize = 512 * 1024;

/// What is to be sent. A header value with a line end in it can't be made.
pub struct Request {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Bytes of the answer's body that are kept.
    pub kept: usize,
}

impl Request {
    /// A question without a body.
    pub fn get(url: Url) -> Request {
        Request { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new(), kept: BODY_LIMIT }
    }

    /// The same by another method.
    pub fn by(self, method: Method) -> Request {
        Request { method, ..self }
    }

    /// The same, with as much of the answer as an object of a vendor takes.
    pub fn keeping_all(self) -> Request {
        Request { kept: OBJECT_LIMIT, ..self }
    }

    pub fn json(url: Url, body: &serde_json::Value) -> Request {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Request { method: Method::POST, url, headers, body: body.to_string().into(), kept: BODY_LIMIT }
    }

    /// The value is not shown in any debug output. A value that is no header value is an error without the value.
    pub fn secret_header(mut self, name: HeaderName, value: &str) -> Result<Request, String> {
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| format!("the value of the header `{name}` has characters that none can have"))?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(self)
    }
}

/// The beginning of an answer.
#[derive(Debug)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Names to addresses; a test has its own.
#[async_trait]
pub trait Resolve: Send + Sync {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The resolver of the system.
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Client {
    resolver: Arc<dyn Resolve>,
    tls: TlsConnector,
}

impl Client {
    /// With the certificate authorities of the system.
    pub fn new() -> Result<Client, String> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (used, _) = roots.add_parsable_certificates(found.certs);
        if used == 0 {
            let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
            return Err(format!(
                "this system has no certificate authorities{why}; install its package `ca-certificates`"
            ));
        }
        Ok(Client::with(Arc::new(SystemResolver), roots))
    }

    /// Trusts nobody over https.
    pub fn without_authorities() -> Client {
        Client::with(Arc::new(SystemResolver), RootCertStore::empty())
    }

    pub fn with(resolver: Arc<dyn Resolve>, roots: RootCertStore) -> Client {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Client { resolver, tls: TlsConnector::from(Arc::new(tls)) }
    }

    /// Sends the request and reads the beginning of the answer. The error names host and cause and never the path, which
    /// may be a secret.
    pub async fn send(&self, policy: &Policy, request: Request) -> Result<Response, String> {
        let host = request.url.host_str().unwrap_or_default().to_owned();
        let end = Instant::now() + TOTAL_LIMIT;
        match timeout_at(end, self.exchange(policy, request, end)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("`{host}` did not answer within {} s", TOTAL_LIMIT.as_secs())),
        }
    }

    async fn exchange(&self, policy: &Policy, request: Request, end: Instant) -> Result<Response, String> {
        policy.check_url(&request.url)?;
        let host = request.url.host().expect("a checked URL names a host").to_owned();
        let name = host.to_string();
        let port = request.url.port_or_known_default().expect("http and https have a port");
        let addresses = self.addresses(policy, &request.url).await?;
        let stream = connect(&name, &addresses, port).await?;
        if request.url.scheme() == "http" {
            return talk(stream, &name, request, end).await;
        }
        let server = ServerName::try_from(name.trim_matches(['[', ']']).to_owned());
        let server = server.map_err(|_| format!("`{name}` is no name that a certificate can have"))?;
        let stream = self.tls.connect(server, stream).await;
        let stream = stream.map_err(|error| format!("no secure connection with `{name}`: {error}"))?;
        talk(stream, &name, request, end).await
    }

    /// Addresses of the URL's host, each of which may be reached.
    async fn addresses(&self, policy: &Policy, url: &Url) -> Result<Vec<IpAddr>, String> {
        let host = url.host().expect("a checked URL names a host");
        match guard::literal(&host) {
            Some(address) => {
                policy.check_address(&host.to_string(), address)?;
                Ok(vec![address])
            }
            None => self.checked_addresses(policy, &host.to_string()).await,
        }
    }

    /// Resolves a name. One address that may not be reached refuses them all: a name that has one is not to be trusted.
    pub async fn checked_addresses(&self, policy: &Policy, host: &str) -> Result<Vec<IpAddr>, String> {
        let resolved = tokio::time::timeout(CONNECT_LIMIT, self.resolver.resolve(host)).await;
        let resolved =
            resolved.map_err(|_| format!("`{host}` was not resolved within {} s", CONNECT_LIMIT.as_secs()))?;
        let addresses = resolved.map_err(|error| format!("`{host}` can't be resolved: {error}"))?;
        if addresses.is_empty() {
            return Err(format!("`{host}` has no address"));
        }
        for address in &addresses {
            policy.check_address(host, *address)?;
        }
        Ok(addresses)
    }
}

/// The first address that answers.
async fn connect(host: &str, addresses: &[IpAddr], port: u16) -> Result<TcpStream, String> {
    let mut failure = String::new();
    for address in addresses {
        let connecting = TcpStream::connect(SocketAddr::new(*address, port));
        match tokio::time::timeout(CONNECT_LIMIT, connecting).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = error.to_string(),
            Err(_) => failure = format!("no answer within {} s", CONNECT_LIMIT.as_secs()),
        }
    }
    Err(format!("can't connect to `{host}`, port {port}: {failure}"))
}

async fn talk<S>(stream: S, host: &str, request: Request, end: Instant) -> Result<Response, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: hyper::Error| format!("the exchange with `{host}` failed: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let Request { method, url, headers, body, kept } = request;
    let mut sent = hyper::Request::new(Full::new(body));
    *sent.method_mut() = method;
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    *sent.uri_mut() = target.parse().map_err(|_| format!("the URL of `{host}` has a path that HTTP can't carry"))?;
    *sent.headers_mut() = headers;
    let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let authority = HeaderValue::from_str(authority).map_err(|_| format!("`{host}` is no name of a host"))?;
    sent.headers_mut().insert(header::HOST, authority);
    sent.headers_mut()
        .insert(header::USER_AGENT, HeaderValue::from_static(concat!("margay/", env!("CARGO_PKG_VERSION"))));
    let answer = async {
        let response = sender.send_request(sent).await.map_err(failed)?;
        let (head, body) = response.into_parts();
        // Sooner than the exchange ends: then the status would be lost, and what it told of done again.
        let end = (Instant::now() + BODY_PATIENCE).min(end - Duration::from_millis(100));
        Ok(Response { status: head.status, headers: head.headers, body: beginning(body, kept, end).await })
    };
    // The connection is driven here, beside the exchange, and ends with it.
    tokio::pin!(connection);
    tokio::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // A server may close without a farewell behind its answer, which is there all the same.
        ended = &mut connection => match (answer.await, ended) {
            (Err(_), Err(error)) => Err(failed(error)),
            (answer, _) => answer,
        },
    }
}

/// What comes before the limit, a fault or the `end`: the status has said already how it went.
async fn beginning(mut body: hyper::body::Incoming, limit: usize, end: Instant) -> Bytes {
    let mut kept = Vec::new();
    while let Ok(Some(Ok(frame))) = timeout_at(end, body.frame()).await {
        if let Ok(data) = frame.into_data() {
            let room = limit - kept.len();
            kept.extend_from_slice(&data[..data.len().min(room)]);
        }
        if kept.len() == limit {
            break;
        }
    }
    kept.into()
}

#[cfg(test)]
mod tests;
