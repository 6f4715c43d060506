//! S3 event notifications, versions 2.0 to 2.3, as S3 sends them to SQS or SNS. Keys are form-encoded.
//!
//! Source: Amazon S3 user guide, "Event message structure". Only `ObjectCreated:*` announces bytes to read; a record
//! without `eventName` counts, since some emulators leave it out.

use serde_json::Value;

use crate::model::ObjectRef;
use crate::notify::body::{Body, at, text};
use crate::notify::key::decode_form;
use crate::notify::{BadBody, Format, Notice, Reading};

pub(super) const FORMAT: Format = Format { name: "s3-event", read: parse };

fn parse(body: &Body<'_>) -> Option<Result<Notice, BadBody>> {
    let records = body.at(&["Records"])?.as_array()?;
    // One record about S3 makes it an S3 event; what is wrong with the others is told record by record.
    records.iter().any(|record| at(record, &["s3"]).is_some()).then_some(())?;
    Some(Ok(Notice::from_records(FORMAT.name, records.iter().map(reading))))
}

fn reading(record: &Value) -> Reading {
    match at(record, &["eventName"]) {
        None | Some(Value::Null) => {}
        Some(Value::String(name)) => {
            if !name.strip_prefix("s3:").unwrap_or(name).starts_with("ObjectCreated:") {
                return Reading::Other;
            }
        }
        Some(_) => return Reading::bad(record, "the record's eventName is not a text"),
    }
    object(record).map_or_else(|reason| Reading::bad(record, reason), Reading::New)
}

fn object(record: &Value) -> Result<ObjectRef, String> {
    let bucket = text(record, &["s3", "bucket", "name"]).ok_or("the record has no s3.bucket.name")?;
    let key = text(record, &["s3", "object", "key"])
        .ok_or_else(|| format!("the record has no s3.object.key; its bucket is {bucket:?}"))?;
    let object = at(record, &["s3", "object"]).unwrap_or(&Value::Null);
    let part = |name| text(object, &[name]).map(str::to_owned);
    Ok(ObjectRef {
        bucket: bucket.to_owned(),
        key: decode_form(key)?,
        version_id: part("versionId"),
        etag: part("eTag"),
        size: at(object, &["size"]).and_then(Value::as_u64),
        region: text(record, &["awsRegion"]).map(str::to_owned),
        sequencer: part("sequencer"),
    })
}
