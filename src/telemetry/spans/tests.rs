//! What is told of messages and objects, as a collector would read it.

use std::time::Duration;

use serde_json::{Value as Json, json};
use time::OffsetDateTime;
use time::macros::datetime;

use super::*;
use crate::model::ObjectRef;

const SENT: OffsetDateTime = datetime!(2026-01-15 10:00:00 UTC);
const RECEIVED: OffsetDateTime = datetime!(2026-01-15 10:00:30 UTC);

fn message() -> Message {
    Message { id: "m1".into(), body: String::new(), receive_count: 2, sent_at: Some(SENT) }
}

fn object() -> ObjectRef {
    let (bucket, key) = ("logs".into(), "okta/a.json".into());
    ObjectRef { bucket, key, version_id: None, etag: None, size: Some(7), region: None, sequencer: None }
}

/// The spans that wait, as they are sent.
fn sent(waiting: &Waiting) -> Vec<Json> {
    let request: Json = serde_json::from_slice(&otlp::request("i", &waiting.take())).unwrap();
    request["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone()
}

fn named<'a>(spans: &'a [Json], name: &str) -> &'a Json {
    spans.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("no span {name} in {spans:#?}"))
}

fn attribute<'a>(span: &'a Json, key: &str) -> &'a Json {
    let attributes = span["attributes"].as_array().unwrap();
    attributes.iter().find(|one| one["key"] == key).map_or(&Json::Null, |one| &one["value"])
}

fn nanoseconds(moment: OffsetDateTime) -> Json {
    moment.unix_timestamp_nanos().to_string().into()
}

#[tokio::test(start_paused = true)]
async fn an_object_is_followed_from_the_sending_of_its_message_to_the_acknowledgement() {
    let telemetry = Telemetry::new();
    let waiting = telemetry.collect_spans(1.0);
    let spans = telemetry.message_spans(&message(), RECEIVED);
    spans.format("s3");
    let one = spans.object(&object());
    let pause = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
    for _ in 0..2 {
        one.time(Step::Fetch, pause(2)).await;
        one.time(Step::Decode, pause(1)).await;
    }
    one.computed(Duration::from_millis(300), Duration::from_millis(700));
    one.ended("okta", "committed", 5, 1, 70);
    drop(one);
    spans.acknowledging(pause(1)).await;
    spans.ended("acknowledged", "");
    assert!(waiting.take().is_empty(), "nothing is told before the end");
    drop(spans);

    let spans = sent(&waiting);
    let names: Vec<&str> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["fetch", "decode", "parse", "object", "acknowledge", "queued", "notification"]);
    let root = named(&spans, "notification");
    assert_eq!((root["kind"].as_u64(), &root["parentSpanId"], &root["status"]), (Some(5), &Json::Null, &Json::Null));
    assert_eq!(root["startTimeUnixNano"], nanoseconds(SENT));
    assert_eq!(root["endTimeUnixNano"], nanoseconds(RECEIVED + Duration::from_secs(7)));
    assert_eq!(attribute(root, "margay.receive_count"), &json!({ "intValue": "2" }));
    assert_eq!(attribute(root, "margay.outcome"), &json!({ "stringValue": "acknowledged" }));
    for child in ["queued", "object", "acknowledge"] {
        assert_eq!(named(&spans, child)["parentSpanId"], root["spanId"], "{child}");
    }
    assert!(spans.iter().all(|span| span["traceId"] == root["traceId"]));
    assert_eq!(root["traceId"].as_str().unwrap().len(), 32);
    assert_eq!(named(&spans, "queued")["endTimeUnixNano"], nanoseconds(RECEIVED));

    let object = named(&spans, "object");
    assert_eq!(object["spanId"].as_str().unwrap().len(), 16);
    assert_eq!(attribute(object, "aws.s3.key"), &json!({ "stringValue": "okta/a.json" }));
    assert_eq!(attribute(object, "margay.events"), &json!({ "intValue": "5" }));
    let fetch = named(&spans, "fetch");
    assert_eq!(fetch["parentSpanId"], object["spanId"]);
    assert_eq!(fetch["endTimeUnixNano"], nanoseconds(RECEIVED + Duration::from_secs(5)), "the end of its last piece");
    assert_eq!(attribute(fetch, "margay.pieces"), &json!({ "intValue": "2" }));
    assert_eq!(attribute(fetch, "margay.busy_seconds"), &json!({ "doubleValue": 4.0 }));
    assert_eq!(attribute(named(&spans, "parse"), "margay.cpu_seconds"), &json!({ "doubleValue": 0.7 }));
}

#[tokio::test(start_paused = true)]
async fn work_that_is_broken_off_tells_how_far_it_came() {
    let telemetry = Telemetry::new();
    let waiting = telemetry.collect_spans(1.0);
    let spans = telemetry.message_spans(&message(), RECEIVED);
    let one = spans.object(&object());
    let fetch = one.time(Step::Fetch, std::future::pending::<()>());
    tokio::time::timeout(Duration::from_secs(3), fetch).await.unwrap_err();
    drop(one);
    spans.ended("lease_lost", "another has it");
    drop(spans);

    let spans = sent(&waiting);
    assert_eq!(attribute(named(&spans, "fetch"), "margay.busy_seconds"), &json!({ "doubleValue": 3.0 }));
    assert_eq!(named(&spans, "object")["status"], json!({ "code": 2, "message": "broken off" }));
    let root = named(&spans, "notification");
    assert_eq!(root["status"], json!({ "code": 2, "message": "lease_lost: another has it" }));
}

#[test]
fn nothing_is_collected_without_a_collector_or_outside_of_the_sample() {
    let telemetry = Telemetry::new();
    drop(telemetry.message_spans(&message(), RECEIVED));
    let waiting = telemetry.collect_spans(0.0);
    for _ in 0..100 {
        telemetry.message_spans(&message(), RECEIVED).object(&object()).failed("store", "down");
    }
    assert!(waiting.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_takes_is_bounded_and_counted() {
    let telemetry = Telemetry::new();
    let waiting = telemetry.collect_spans(1.0);
    // Of 1,001 objects the last has no span; the message itself and its time in the queue have.
    let told = 1002;
    for _ in 0..10 {
        let spans = telemetry.message_spans(&message(), RECEIVED);
        (0..1001).for_each(|_| drop(spans.object(&object())));
    }
    let mut kept = 0;
    loop {
        match waiting.take().len() {
            0 => break,
            some => kept += some as u64,
        }
    }
    let dropped = telemetry.metrics.trace_spans_total.get(["dropped"]);
    assert_eq!(kept, 8192);
    assert_eq!(dropped, 10 * (told + 1) - kept);
}

#[test]
fn a_collector_says_which_spans_it_did_not_take() {
    let partial = br#"{"partialSuccess": {"rejectedSpans": "3", "errorMessage": "too old"}}"#;
    assert_eq!(otlp::refused(partial), (3, "too old".to_owned()));
    assert_eq!(otlp::refused(b"{}"), (0, String::new()));
    assert_eq!(otlp::refused(b""), (0, String::new()));
}
