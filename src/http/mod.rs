//! The HTTP server: health, readiness, metrics, the log levels of the running process, and the API for alerts and searches.
//!
//! Holds no state of its own and does no work; it shows what others know. It is bound before any work starts and stops
//! last, so that a draining daemon can still be watched. The API has its own authentication; of the rest, what changes
//! something is for callers on the same host only.

mod api;
mod filter;
mod findings;
mod readiness;
mod server;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use api::{Access, Api, AttributesOf, Desk};
pub use findings::Findings;
pub use readiness::Readiness;

use crate::model::SecretRef;
use crate::telemetry::{LogHandle, Telemetry};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub listen: SocketAddr,
    /// Connections at the same time.
    pub max_connections: usize,
    /// Who may use the API.
    pub tokens: Vec<TokenConfig>,
    /// The API is open to callers on the same host; for that the address must be of this host only.
    pub api_without_token: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// Who has it, for the history of alerts.
    pub name: String,
    pub token: SecretRef,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: (Ipv4Addr::LOCALHOST, 9600).into(),
            max_connections: 256,
            tokens: Vec::new(),
            api_without_token: false,
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("can't listen for HTTP on {listen}; change `http.listen` or end what else uses the address")]
pub struct BindError {
    listen: SocketAddr,
    source: io::Error,
}

/// What the server shows.
#[derive(Clone)]
pub struct Surface {
    pub readiness: Readiness,
    pub findings: Findings,
    pub telemetry: Telemetry,
    pub log: LogHandle,
    pub api: Api,
}

/// The largest request body, in bytes; a change of 500 alerts with a long comment is smaller, and so is the longest query.
const BODY_LIMIT: usize = 128 * 1024;

const PATHS: &str = "/healthz     200 while the process lives
/readyz      200 while it takes work in, else 503 and the reason
/metrics     Prometheus text format
/sources     how the way to each source was examined last, as JSON
/rules       what each rule has cost since the start, as JSON
/log/filter  GET the log filter, PUT another one; from the same host only
/api/v1      alerts and searches, for who has a token
";

/// Takes the address. Called before any work starts, so that a second daemon does none.
pub async fn bind(config: &Config) -> Result<TcpListener, BindError> {
    let listen = config.listen;
    TcpListener::bind(listen).await.map_err(|source| BindError { listen, source })
}

/// Serves until `shutdown`, then lets open requests end for a moment.
pub async fn serve(
    listener: TcpListener,
    surface: Surface,
    max_connections: usize,
    shutdown: CancellationToken,
) -> io::Result<()> {
    server::serve(listener, router(surface), max_connections, shutdown).await
}

fn router(surface: Surface) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/sources", get(sources))
        .route("/rules", get(rules))
        .route("/log/filter", get(filter::show).put(filter::change))
        .merge(api::router(surface.clone()))
        .fallback(|| async { (StatusCode::NOT_FOUND, format!("no such path; there are\n{PATHS}")) })
        .method_not_allowed_fallback(|| async {
            (StatusCode::METHOD_NOT_ALLOWED, format!("this path does not take that method; there are\n{PATHS}"))
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn(server::limited))
        .with_state(surface)
}

async fn ready(State(surface): State<Surface>) -> Response {
    match surface.readiness.hindrance() {
        None => "ready\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")).into_response(),
    }
}

async fn metrics(State(surface): State<Surface>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], surface.telemetry.encode())
}

async fn sources(State(surface): State<Surface>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], surface.findings.get())
}

async fn rules(State(surface): State<Surface>) -> impl IntoResponse {
    let profiles = serde_json::json!({ "rules": surface.telemetry.rule_profiles() });
    ([(header::CONTENT_TYPE, "application/json")], profiles.to_string())
}

#[cfg(test)]
mod tests;
