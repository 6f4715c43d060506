//! S3's events on EventBridge. Keys are verbatim, and `etag` and `version-id` are spelled unlike in S3 events.
//!
//! Source: Amazon S3 user guide, "EventBridge event message structure" and "Using EventBridge", whose `Object Restore
//! Completed` is the S3 event `ObjectRestore:Completed`.

use serde_json::Value;

use crate::model::ObjectRef;
use crate::notify::body::{Body, at, text};
use crate::notify::{BadBody, Cause, Format, Notice, Reading, key};

pub(super) const FORMAT: Format = Format { name: "eventbridge", read: parse };

fn parse(body: &Body<'_>) -> Option<Result<Notice, BadBody>> {
    let event = event_of_s3(body)?;
    let reading = match at(event, &["detail-type"]) {
        Some(Value::String(kind)) if kind == "Object Created" => object(event, Cause::Created),
        Some(Value::String(kind)) if kind == "Object Restore Completed" => object(event, Cause::Restored),
        Some(Value::String(kind)) => Reading::Other(kind.clone()),
        // Without it nothing tells a creation from a deletion.
        _ => {
            Reading::bad(event, "the EventBridge event has no detail-type; pass it on in the rule's input transformer")
        }
    };
    Some(Ok(Notice::from_records(FORMAT.name, [reading])))
}

/// The body, if it is an event of S3 as EventBridge delivers it.
pub(super) fn event_of_s3<'b>(body: &'b Body<'_>) -> Option<&'b Value> {
    (body.text_at(&["source"])? == "aws.s3").then_some(())?;
    body.at(&["detail"])?.as_object()?;
    body.whole()
}

/// The object that such an event names.
pub(super) fn object(event: &Value, cause: Cause) -> Reading {
    let Some(bucket) = text(event, &["detail", "bucket", "name"]) else {
        return Reading::bad(event, "the event has no detail.bucket.name");
    };
    let Some(key) = text(event, &["detail", "object", "key"]) else {
        return Reading::bad(event, format!("the event has no detail.object.key; its bucket is {bucket:?}"));
    };
    let part = |name| text(event, &["detail", "object", name]).map(str::to_owned);
    let object = ObjectRef {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        version_id: part("version-id"),
        etag: part("etag"),
        size: at(event, &["detail", "object", "size"]).and_then(Value::as_u64),
        region: text(event, &["region"]).map(str::to_owned),
        sequencer: part("sequencer"),
    };
    Reading::Object(key::verbatim(object, cause))
}
