//! Sends what was collected to a collector, a batch at a time, for as long as the daemon runs. A collector that does
//! not answer loses spans and holds nothing up.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use tokio_util::sync::CancellationToken;

use super::otlp;
use super::span::Span;
use super::waiting::Waiting;
use super::{SpansConfig, Telemetry};
use crate::model::Secret;
use crate::runtime::{Backoff, WebClient, web_client, with_causes};

/// Spans that make no batch wait so long for others.
const INTERVAL: Duration = Duration::from_secs(5);

/// From the first byte of a request to the last of its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a batch is sent to a collector that is busy or does not answer; so long others wait, and then are dropped.
const TRIES: u32 = 4;
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10));

/// Of an answer, which is a few words.
const LARGEST: usize = 64 * 1024;

pub struct Exporter {
    telemetry: Telemetry,
    waiting: Arc<Waiting>,
    client: WebClient,
    url: Uri,
    headers: HeaderMap,
    instance: String,
    /// Told once, until spans are taken again.
    fails: bool,
}

/// What became of a batch.
enum Sent {
    /// All but so many spans, which it does not want.
    Taken(u64),
    /// The collector wants none of it.
    Refused(String),
    /// Later it may.
    Failed(String),
}

impl Exporter {
    /// From here on, spans are collected. `None` when there is nowhere to send them to.
    pub fn new(
        config: &SpansConfig,
        headers: Vec<(String, Secret)>,
        telemetry: &Telemetry,
    ) -> Result<Option<Exporter>, String> {
        let Some(endpoint) = &config.otlp_endpoint else { return Ok(None) };
        let url = url(endpoint).map_err(|problem| format!("`telemetry.otlp_endpoint` {problem}"))?;
        let mut sent = HeaderMap::new();
        for (name, value) in headers {
            let key = HeaderName::try_from(&name)
                .map_err(|_| format!("`telemetry.otlp_headers` has `{name}`, which is no name of a header"))?;
            let mut value = HeaderValue::try_from(value.expose())
                .map_err(|_| format!("`telemetry.otlp_headers.{name}` has a value that no header can have"))?;
            value.set_sensitive(true);
            sent.insert(key, value);
        }
        sent.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(Some(Exporter {
            client: web_client()?,
            waiting: telemetry.collect_spans(config.sample_ratio),
            telemetry: telemetry.clone(),
            url,
            headers: sent,
            instance: format!("{:032x}", fastrand::u128(..)),
            fails: false,
        }))
    }

    /// Sends until `shutdown`, and then what is left.
    pub async fn run(mut self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                () = self.waiting.full() => {}
                () = tokio::time::sleep(INTERVAL) => {}
            }
            while self.send_batch(&shutdown).await {}
        }
    }

    /// Whether it is worth while to send another.
    async fn send_batch(&mut self, shutdown: &CancellationToken) -> bool {
        let batch = self.waiting.take();
        if batch.is_empty() {
            return false;
        }
        let body = Bytes::from(otlp::request(&self.instance, &batch));
        let mut sent = self.send(&body).await;
        for attempt in 0..TRIES - 1 {
            if !matches!(sent, Sent::Failed(_)) || shutdown.is_cancelled() {
                break;
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(BACKOFF.delay(attempt)) => {}
            }
            sent = self.send(&body).await;
        }
        self.tell(&batch, &sent);
        !matches!(sent, Sent::Failed(_))
    }

    async fn send(&self, body: &Bytes) -> Sent {
        let mut request = Request::post(&self.url).body(Full::new(body.clone())).expect("URL and method were checked");
        request.headers_mut().clone_from(&self.headers);
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| with_causes(&error))?;
            let status = response.status();
            let answer = Limited::new(response.into_body(), LARGEST).collect().await;
            let answer = answer.map_err(|error| format!("the answer broke off: {error}"))?.to_bytes();
            Ok::<_, String>((status, answer))
        };
        match tokio::time::timeout(PATIENCE, exchange).await {
            Err(_) => Sent::Failed(format!("no answer within {} s", PATIENCE.as_secs())),
            Ok(Err(error)) => Sent::Failed(error),
            Ok(Ok((status, answer))) if status.is_success() => {
                let (spans, reason) = otlp::refused(&answer);
                if spans > 0 {
                    tracing::debug!(target: "margay::telemetry", spans, reason, "the collector refused some spans");
                }
                Sent::Taken(spans)
            }
            Ok(Ok((status, _))) if may_be_tried_again(status) => Sent::Failed(format!("the answer was {status}")),
            Ok(Ok((status, _))) => Sent::Refused(format!("the answer was {status}")),
        }
    }

    fn tell(&mut self, batch: &[Span], sent: &Sent) {
        let spans = batch.len() as u64;
        let (outcome, refused, reason) = match sent {
            Sent::Taken(refused) => ("sent", (*refused).min(spans), None),
            Sent::Refused(reason) => ("refused", spans, Some(reason)),
            Sent::Failed(reason) => ("failed", 0, Some(reason)),
        };
        let total = &self.telemetry.metrics.trace_spans_total;
        total.add([outcome], spans - refused);
        total.add(["refused"], refused);
        match reason {
            Some(reason) if !self.fails => tracing::warn!(target: "margay::telemetry", url = %self.url, reason,
                "traces can't be sent; the endpoint must take OTLP over HTTP (its usual port is 4318), not over gRPC (4317)"),
            None if self.fails => tracing::info!(target: "margay::telemetry", url = %self.url, "traces are sent again"),
            _ => {}
        }
        self.fails = reason.is_some();
    }
}

/// By the specification, these.
fn may_be_tried_again(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

/// Where traces go at an endpoint.
fn url(endpoint: &str) -> Result<Uri, String> {
    // The path of traces would come behind it.
    if endpoint.contains('?') {
        return Err("has a query; send a key in `telemetry.otlp_headers`".into());
    }
    let base = endpoint.trim_end_matches('/');
    let whole = if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") };
    let url: Uri = whole.parse().map_err(|error: hyper::http::uri::InvalidUri| format!("is no URL: {error}"))?;
    // It is told in the log.
    match url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        true => Err("has a name or a password before its host; send it in `telemetry.otlp_headers`".into()),
        false => Ok(url),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_given_with_or_without_the_path_of_traces() {
        for endpoint in ["http://c:4318", "http://c:4318/", "http://c:4318/v1/traces"] {
            assert_eq!(url(endpoint).unwrap(), "http://c:4318/v1/traces");
        }
        assert_eq!(url("https://otlp.example/otlp").unwrap(), "https://otlp.example/otlp/v1/traces");
        for endpoint in ["https://ana:hunter2@otlp.example", "https://otlp.example/otlp?key=hunter2"] {
            let problem = url(endpoint).unwrap_err();
            assert!(problem.contains("otlp_headers") && !problem.contains("hunter2"), "{problem}");
        }
    }
}
