//! The client of HTTP for servers that the configuration names: catalogs and collectors. What alerts are sent to is
//! named by people who may not be trusted with the daemon's network, and has a client of its own.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

const CONNECT: Duration = Duration::from_secs(5);

/// Cheap to clone; clones share their connections.
pub type WebClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// With the certificate authorities of the system. It sets no time for an answer: who asks does.
pub fn web_client() -> Result<WebClient, String> {
    let builder = hyper_rustls::HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
        .map_err(|error| format!("could not read the certificate authorities of this system: {error}"))?;
    let mut tcp = HttpConnector::new();
    tcp.set_connect_timeout(Some(CONNECT));
    tcp.enforce_http(false);
    let connector = builder.https_or_http().enable_http1().wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

/// An error with what it came from. Debug output is left out: an answer may stand in it.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        said += &format!(": {next}");
        cause = next.source();
    }
    said
}
