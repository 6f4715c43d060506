//! S3 event notifications, versions 2.0 to 2.3, as S3 sends them to SQS or SNS. Keys are form-encoded.
//!
//! Source: Amazon S3 user guide, "Event message structure". `ObjectCreated:*` announces bytes to read, and
//! `ObjectRestore:Completed` does where the source wants them; a record without `eventName` counts, since some
//! emulators leave it out. Names may have the prefix `s3:` (MinIO, Ceph).

use serde_json::Value;

use crate::model::ObjectRef;
use crate::notify::body::{Body, at, text};
use crate::notify::{BadBody, Cause, Format, Notice, Reading, key};

pub(super) const FORMAT: Format = Format { name: "s3-event", read: parse };

fn parse(body: &Body<'_>) -> Option<Result<Notice, BadBody>> {
    let records = body.at(&["Records"])?.as_array()?;
    // One record about S3 makes it an S3 event; what is wrong with the others is told record by record.
    records.iter().any(|record| at(record, &["s3"]).is_some()).then_some(())?;
    Some(Ok(Notice::from_records(FORMAT.name, records.iter().map(reading))))
}

fn reading(record: &Value) -> Reading {
    let cause = match at(record, &["eventName"]) {
        None | Some(Value::Null) => Cause::Created,
        Some(Value::String(name)) => match name.strip_prefix("s3:").unwrap_or(name) {
            "ObjectRestore:Completed" => Cause::Restored,
            name if name.starts_with("ObjectCreated:") => Cause::Created,
            other => return Reading::Other(other.to_owned()),
        },
        Some(_) => return Reading::bad(record, "the record's eventName is not a text"),
    };
    object(record, cause)
}

fn object(record: &Value, cause: Cause) -> Reading {
    let Some(bucket) = text(record, &["s3", "bucket", "name"]) else {
        return Reading::bad(record, "the record has no s3.bucket.name");
    };
    let Some(encoded) = text(record, &["s3", "object", "key"]) else {
        return Reading::bad(record, format!("the record has no s3.object.key; its bucket is {bucket:?}"));
    };
    let key = match key::decode_form(encoded) {
        Ok(key) => key,
        Err(reason) => return Reading::bad_key(record, reason),
    };
    let object = at(record, &["s3", "object"]).unwrap_or(&Value::Null);
    let part = |name| text(object, &[name]).map(str::to_owned);
    let decoded = ObjectRef {
        bucket: bucket.to_owned(),
        key,
        version_id: part("versionId"),
        etag: part("eTag"),
        size: at(object, &["size"]).and_then(Value::as_u64),
        region: text(record, &["awsRegion"]).map(str::to_owned),
        sequencer: part("sequencer"),
    };
    Reading::Object(key::decoded(decoded, encoded, cause))
}
