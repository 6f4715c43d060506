//! Spans as a request of OTLP over HTTP, in its JSON encoding: ids in hexadecimal, 64-bit numbers as text.
//!
//! <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>. Written here, because the crates for it bring
//! threads, a clock and a client of their own, for eighty lines.

use serde_json::{Value as Json, json};
use time::OffsetDateTime;

use super::span::{Span, Value};

const CONSUMER: u8 = 5;
const INTERNAL: u8 = 1;
const ERROR: u8 = 2;

/// `instance` tells this process from others.
pub(super) fn request(instance: &str, spans: &[Span]) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let resource = [("service.name", "margay"), ("service.version", version), ("service.instance.id", instance)]
        .map(|(key, value)| attribute(key, &Value::text(value)));
    let spans: Vec<Json> = spans.iter().map(span).collect();
    let request = json!({
        "resourceSpans": [{
            "resource": { "attributes": resource },
            "scopeSpans": [{ "scope": { "name": "margay", "version": version }, "spans": spans }],
        }],
    });
    request.to_string().into_bytes()
}

fn span(span: &Span) -> Json {
    let attributes: Vec<Json> = span.attributes.iter().map(|(key, value)| attribute(key, value)).collect();
    let mut told = json!({
        "traceId": span.trace.to_string(),
        "spanId": span.id.to_string(),
        "name": span.name,
        "kind": if span.is_consumer { CONSUMER } else { INTERNAL },
        "startTimeUnixNano": nanoseconds(span.began),
        "endTimeUnixNano": nanoseconds(span.ended),
        "attributes": attributes,
    });
    if let Some(parent) = span.parent {
        told["parentSpanId"] = parent.to_string().into();
    }
    if let Some(fault) = &span.fault {
        told["status"] = json!({ "code": ERROR, "message": fault });
    }
    told
}

fn attribute(key: &str, value: &Value) -> Json {
    let value = match value {
        Value::Text(text) => json!({ "stringValue": text }),
        Value::Count(count) => json!({ "intValue": i64::try_from(*count).unwrap_or(i64::MAX).to_string() }),
        Value::Seconds(seconds) => json!({ "doubleValue": seconds }),
    };
    json!({ "key": key, "value": value })
}

fn nanoseconds(moment: OffsetDateTime) -> String {
    moment.unix_timestamp_nanos().max(0).to_string()
}

/// How many spans the collector has not taken, though it has answered well, and why.
pub(super) fn refused(answer: &[u8]) -> (u64, String) {
    let answer: Json = serde_json::from_slice(answer).unwrap_or_default();
    let partial = &answer["partialSuccess"];
    let spans = &partial["rejectedSpans"];
    let spans = spans.as_u64().or_else(|| spans.as_str()?.parse().ok()).unwrap_or_default();
    (spans, partial["errorMessage"].as_str().unwrap_or_default().to_owned())
}
