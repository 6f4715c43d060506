//! What CrowdStrike's Falcon Data Replicator sends for each batch of files that it has put into its bucket. Keys are
//! verbatim; ETags are learned when reading, because its checksums are not those of S3.
//!
//! Source: CrowdStrike documentation, "Falcon Data Replicator", message format.

use serde_json::Value;

use crate::model::ObjectRef;
use crate::notify::body::{Body, at, text};
use crate::notify::{BadBody, Cause, Format, Notice, Reading, key};

pub(super) const FORMAT: Format = Format { name: "crowdstrike-fdr", read: parse };

fn parse(body: &Body<'_>) -> Option<Result<Notice, BadBody>> {
    let bucket = body.text_at(&["bucket"]).filter(|bucket| !bucket.is_empty())?;
    let files = body.at(&["files"])?.as_array().filter(|files| !files.is_empty())?;
    // Others list files, too; the customer's id makes it a message of the replicator.
    body.text_at(&["cid"])?;
    Some(Ok(Notice::from_records(FORMAT.name, files.iter().map(|file| object(bucket, file)))))
}

fn object(bucket: &str, file: &Value) -> Reading {
    let Some(path) = text(file, &["path"]) else {
        return Reading::bad(file, format!("a file of bucket {bucket:?} in the replicator's message has no path"));
    };
    let object = ObjectRef {
        bucket: bucket.to_owned(),
        key: path.to_owned(),
        version_id: None,
        etag: None,
        size: at(file, &["size"]).and_then(Value::as_u64),
        region: None,
        sequencer: None,
    };
    Reading::Object(key::verbatim(object, Cause::Created))
}
