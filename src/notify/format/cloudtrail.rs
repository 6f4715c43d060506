//! What CloudTrail sends to the SNS topic of a trail. Keys are verbatim; size and ETag are learned when reading.
//!
//! Source: AWS CloudTrail user guide, "Configuring Amazon SNS notifications for CloudTrail".

use serde_json::Value;

use crate::model::ObjectRef;
use crate::notify::body::Body;
use crate::notify::{BadBody, Cause, Format, Notice, Reading, key};

pub(super) const FORMAT: Format = Format { name: "cloudtrail", read: parse };

fn parse(body: &Body<'_>) -> Option<Result<Notice, BadBody>> {
    let bucket = body.text_at(&["s3Bucket"])?;
    let keys = body.at(&["s3ObjectKey"])?.as_array().filter(|keys| !keys.is_empty())?;
    Some(Ok(Notice::from_records(FORMAT.name, keys.iter().map(|key| object(bucket, key)))))
}

fn object(bucket: &str, key: &Value) -> Reading {
    if bucket.is_empty() {
        return Reading::bad(key, "the notification of CloudTrail names no bucket");
    }
    match key.as_str() {
        Some(key) if !key.is_empty() => {
            let object = ObjectRef {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
                version_id: None,
                etag: None,
                size: None,
                region: None,
                sequencer: None,
            };
            Reading::Object(key::verbatim(object, Cause::Created))
        }
        _ => Reading::bad(key, format!("a key of bucket {bucket:?} in CloudTrail's notification is not a text")),
    }
}
