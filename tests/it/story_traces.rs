//! Traces, as a collector gets them from the real binary: an object from its notification to the acknowledgement, one
//! that is refused, a collector that is down for a while, and the last spans of a daemon that ends.

use serde_json::{Value, json};

use crate::aws::{gzip, python};
use crate::cloud::{Cloud, Effect, Moment, Op, Refusal, on};
use crate::daemon::Setup;
use crate::events::{COUNT_EACH, logins_of};
use crate::vendor::{Sent, Vendor};

fn setup(cloud: &Cloud, collector: &Vendor) -> Setup {
    let setup = Setup::new().rule("Count", COUNT_EACH).reading_cloud(cloud);
    setup.with_variable("OTLP_KEY", "hunter2-of-the-collector").configured(&format!(
        "[telemetry]\notlp_endpoint = \"{}\"\notlp_headers = {{ x-key = \"env:OTLP_KEY\" }}\n\
         [lake]\ntype = \"local\"\nflush_seconds = 1\n[lake.local]\npath = \"lake\"\n",
        collector.url
    ))
}

/// Reads each request as OpenTelemetry's own messages, strictly, and gives the names of the spans.
const JUDGE: &str = r#"
import base64, json, sys
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
def plain(value):
    # Ids in hexadecimal are what sets this JSON apart from that of every other message.
    if isinstance(value, dict):
        ids = ("traceId", "spanId", "parentSpanId")
        return {k: base64.b64encode(bytes.fromhex(v)).decode() if k in ids else plain(v) for k, v in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value
names = []
for request in json.load(sys.stdin):
    read = json_format.ParseDict(plain(request), ExportTraceServiceRequest())
    for span in read.resource_spans[0].scope_spans[0].spans:
        assert len(span.trace_id) == 16 and len(span.span_id) == 8 and len(span.parent_span_id) in (0, 8), span
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano, span
        names.append(span.name)
print(json.dumps(names))
"#;

/// All spans that the collector has taken.
fn spans(sent: &[Sent]) -> Vec<Value> {
    let of_request = |one: &Sent| one.body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone();
    let spans: Vec<Value> = sent.iter().flat_map(of_request).collect();
    let requests: Vec<&Value> = sent.iter().map(|one| &one.body).collect();
    let names: Vec<&Value> = spans.iter().map(|span| &span["name"]).collect();
    assert_eq!(python::evaluate(JUDGE, &json!(requests).to_string()), json!(names));
    spans
}

fn attribute<'a>(span: &'a Value, key: &str) -> &'a Value {
    let attributes = span["attributes"].as_array().unwrap();
    attributes.iter().find(|one| one["key"] == key).map_or(&Value::Null, |one| &one["value"])
}

fn named<'a>(spans: &'a [Value], name: &str) -> &'a Value {
    spans.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("no span {name}: {spans:#?}"))
}

fn nanoseconds(span: &Value, key: &str) -> u64 {
    span[key].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_followed_from_its_notification_to_the_acknowledgement() {
    let (cloud, collector) = (Cloud::start(), Vendor::answering(200));
    let setup = setup(&cloud, &collector);
    let daemon = setup.start().await;
    let message = cloud.put("a.jsonl.gz", gzip(logins_of("ana", 700)));
    daemon.until(|_| !collector.sent().is_empty()).await;

    let sent = collector.sent();
    assert!(sent[0].head.starts_with("post /hook/v1/traces http/1.1"), "{}", sent[0].head);
    assert_eq!(sent[0].header("content-type"), Some("application/json"));
    assert_eq!(sent[0].header("x-key"), Some("hunter2-of-the-collector"));
    let resource = &sent[0].body["resourceSpans"][0]["resource"];
    assert_eq!(attribute(resource, "service.name")["stringValue"], "margay");

    let spans = tokio::task::block_in_place(|| spans(&sent));
    let root = named(&spans, "notification");
    assert_eq!(attribute(root, "messaging.message.id")["stringValue"], message);
    assert_eq!(attribute(root, "margay.outcome")["stringValue"], "acknowledged");
    let object = named(&spans, "object");
    for (key, value) in [("aws.s3.key", "a.jsonl.gz"), ("margay.source", "remote"), ("margay.state", "committed")] {
        assert_eq!(attribute(object, key)["stringValue"], value, "{key}");
    }
    assert_eq!(attribute(object, "margay.events")["intValue"], "700");
    for child in ["object", "acknowledge"] {
        assert_eq!(named(&spans, child)["parentSpanId"], root["spanId"], "{child}");
    }
    for step in ["wait", "claim", "fetch", "decode", "parse", "detect", "record", "buffer", "commit", "finish"] {
        let span = named(&spans, step);
        assert_eq!(span["parentSpanId"], object["spanId"], "{step}");
        assert_eq!(span["traceId"], root["traceId"], "{step}");
        let (began, ended) = (nanoseconds(span, "startTimeUnixNano"), nanoseconds(span, "endTimeUnixNano"));
        assert!(nanoseconds(object, "startTimeUnixNano") <= began && began <= ended, "{step}");
        assert!(ended <= nanoseconds(object, "endTimeUnixNano"), "{step}");
    }
    assert_eq!(attribute(named(&spans, "detect"), "margay.pieces")["intValue"], "2", "one for each batch");
    let all = spans.len() as f64;
    daemon.until(|daemon| daemon.metrics().get("margay_trace_spans_total{outcome=\"sent\"}") >= all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_down_gets_them_later_and_those_of_a_daemon_that_ends() {
    let (cloud, collector) = (Cloud::start(), Vendor::answering(503));
    cloud.fault(
        on(Op::GetObject)
            .about("refused")
            .times(100)
            .does(Effect::Refuse(Moment::Before, Refusal::new(403, "AccessDenied", "no"))),
    );
    let setup = setup(&cloud, &collector);
    let mut daemon = setup.start().await;
    cloud.put("refused", gzip(logins_of("ana", 1)));
    daemon.until(|_| !collector.sent().is_empty()).await;
    let of_refused = collector.sent().len();
    collector.answer(200);
    daemon.until(|daemon| daemon.metrics().get("margay_trace_spans_total{outcome=\"sent\"}") > 0.0).await;
    let sent = collector.sent();
    assert!(sent.len() > of_refused);
    assert_eq!(sent[0].body, sent.last().unwrap().body, "the same once more");
    let refused = spans(&sent[..1]);
    for (name, told) in [("object", "forbidden: access_denied"), ("notification", "released: forbidden")] {
        let status = &named(&refused, name)["status"];
        assert!(status["code"] == 2 && status["message"].as_str().unwrap().starts_with(told), "{name}: {status}");
    }

    let taken = collector.sent().len();
    let message = cloud.put("last", gzip(logins_of("ana", 1)));
    daemon.until(|_| cloud.deleted().contains(&message)).await;
    daemon.signal("TERM");
    assert!(daemon.ended().success());
    let last = spans(&collector.sent()[taken..]);
    let keys: Vec<&Value> = last.iter().map(|span| &attribute(span, "aws.s3.key")["stringValue"]).collect();
    assert!(keys.contains(&&Value::from("last")), "{keys:?}");
}

#[test]
fn a_secret_that_is_missing_is_told_before_the_start() {
    let setup = Setup::new().rule("Count", COUNT_EACH).watching_directory().configured(
        "[telemetry]\notlp_endpoint = \"http://127.0.0.1:9\"\notlp_headers = { x-key = \"env:NOT_SET\" }\n",
    );
    let output = setup.margay(&["check", "--config", "margay.toml"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success() && said.contains("telemetry.otlp_headers.x-key"), "{said}");
}
