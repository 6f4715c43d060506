//! The API for alerts and searches, JSON in and out, below `/api/v1`. Every request is authenticated before anything of it is looked
//! at; every change is written down with the name of the token that made it.

mod alerts;
mod attributes;
mod auth;
mod query;
mod rules;
mod search;

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

pub use auth::Access;

use super::Surface;
use super::server::Peer;
use crate::model::Receiver;
use crate::runtime::SharedClock;
use crate::search::queries::Queries;
use crate::state::{StateError, StateStore};

/// What the API works on.
pub struct Desk {
    pub state: Arc<dyn StateStore>,
    /// The latest are what alerts may go to.
    pub receivers: watch::Receiver<Arc<[Receiver]>>,
    pub clock: SharedClock,
    /// Notified when something is to be sent.
    pub wake: Arc<Notify>,
    /// None where no events are kept.
    pub search: Option<Queries>,
    /// Fields by which a rule, as it runs now, wants its alerts summed up.
    pub attributes: AttributesOf,
}

pub type AttributesOf = Arc<dyn Fn(&str) -> Vec<String> + Send + Sync>;

/// The server is there before the state store is: until that is given, the API answers that it is not ready.
#[derive(Clone, Default)]
pub struct Api {
    pub access: Arc<Access>,
    desk: Arc<OnceLock<Desk>>,
}

impl Api {
    pub fn new(access: Access) -> Api {
        Api { access: Arc::new(access), desk: Arc::default() }
    }

    /// Once.
    pub fn open(&self, desk: Desk) {
        if self.desk.set(desk).is_err() {
            unreachable!("the API is opened once");
        }
    }
}

/// Who asks, by the name of the token; handlers find it in the request.
#[derive(Clone)]
pub(super) struct Caller(pub(super) String);

pub(super) fn router(surface: Surface) -> Router<Surface> {
    Router::new()
        .route("/api/v1/alerts", get(alerts::list).patch(alerts::change_many))
        .route("/api/v1/alerts/summary", get(alerts::summary))
        .route("/api/v1/alerts/{id}", get(alerts::show).patch(alerts::change))
        .route("/api/v1/alerts/{id}/events", get(alerts::events))
        .route("/api/v1/alerts/{id}/attributes", get(attributes::show))
        .route("/api/v1/alerts/{id}/history", get(alerts::history))
        .route("/api/v1/alerts/{id}/deliveries", axum::routing::post(alerts::resend))
        .route("/api/v1/rules/stopped", get(rules::stopped_rules))
        .route("/api/v1/rules/{id}/lift", axum::routing::post(rules::lift))
        .route("/api/v1/search", get(search::list).post(search::submit))
        .route("/api/v1/search/saved", get(search::saved))
        .route("/api/v1/search/scheduled", get(search::scheduled))
        .route("/api/v1/search/databases", get(search::databases))
        .route("/api/v1/search/databases/{database}/tables", get(search::tables))
        .route("/api/v1/search/databases/{database}/tables/{table}", get(search::columns))
        .route("/api/v1/search/{id}", get(search::show).delete(search::cancel))
        .route("/api/v1/search/{id}/rows", get(search::rows))
        .route("/api/v1/search/{id}/download", get(search::download))
        .layer(middleware::from_fn_with_state(surface, authenticated))
}

async fn authenticated(State(surface): State<Surface>, peer: Peer, mut request: Request, next: Next) -> Response {
    match surface.api.access.admit(request.headers(), peer.0) {
        Ok(caller) => {
            request.extensions_mut().insert(Caller(caller));
            let mut answer = next.run(request).await;
            // Alerts and events are nobody's business but the caller's.
            answer.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
            answer
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// What is not a success: a status and a sentence that says what to do.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) StatusCode, pub(super) String);

impl Refusal {
    fn bad(text: impl Into<String>) -> Refusal {
        Refusal(StatusCode::BAD_REQUEST, text.into())
    }

    fn no_alert(id: &str) -> Refusal {
        Refusal(StatusCode::NOT_FOUND, format!("there is no alert `{id}`"))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Refusal(status, error) = self;
        let mut answer = (status, json_text(&json!({ "error": error }))).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let scheme = header::HeaderValue::from_static("Bearer");
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        answer
    }
}

/// The cause of a failure stands in the log; what a store says is not for callers.
fn failed(surface: &Surface, error: &StateError) -> Refusal {
    surface.telemetry.state_failed("answer a request", error);
    Refusal(StatusCode::INTERNAL_SERVER_ERROR, "the state store failed; the log of margay says why".into())
}

fn json_text(value: &Value) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string())
}

/// A body of JSON. The type must be said: a page in somebody's browser can't say it without asking first.
fn body<T: DeserializeOwned>(headers: &HeaderMap, bytes: &Bytes) -> Result<T, Refusal> {
    let is_json = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|value| {
        value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
    });
    if !is_json {
        let text = "send JSON, with `Content-Type: application/json`";
        return Err(Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, text.into()));
    }
    serde_json::from_slice(bytes).map_err(|error| Refusal::bad(format!("the body can't be used: {error}")))
}

impl Surface {
    fn desk(&self) -> Result<&Desk, Refusal> {
        let starting = || Refusal(StatusCode::SERVICE_UNAVAILABLE, "margay is starting; ask again in a moment".into());
        self.api.desk.get().ok_or_else(starting)
    }
}

#[cfg(test)]
mod search_tests;
#[cfg(test)]
mod tests;
