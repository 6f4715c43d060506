//! Feedback loops: logs about who reads a bucket that come into this bucket. margay reads them, that is logged, and the
//! new log is read. Seen by what such logs say, because where a bucket's access logs go is nowhere else to be seen.
//!
//! Pure. Objects that no source takes have no such records; their number is held down by [`Unrouted`](super::Unrouted).

use crate::model::{Event, EventBatch, ObjectRef};
use crate::source::{Routing, SourceTable};

/// How many of these events tell that an object was read which itself holds events of their log type. `bucket` is the
/// one that they came from.
pub(super) fn count(batch: &EventBatch, bucket: &str, sources: &SourceTable) -> u64 {
    let tells = |event: &&Event| {
        let Some((read_from, key)) = read_object(event) else { return false };
        read_from == bucket && holds(sources, bucket, key, &event.log_type)
    };
    batch.events.iter().filter(tells).count() as u64
}

/// Bucket and key of the object that an event says was read.
fn read_object(event: &Event) -> Option<(&str, &str)> {
    let text = |name: &str| event.fields.get(name)?.as_str();
    match &*event.log_type {
        "AWS.S3ServerAccess" if text("operation")? == "REST.GET.OBJECT" => Some((text("bucket")?, text("key")?)),
        "AWS.CloudTrail" if text("eventName")? == "GetObject" => {
            let parameters = event.fields.get("requestParameters")?.as_map()?;
            Some((parameters.get("bucketName")?.as_str()?, parameters.get("key")?.as_str()?))
        }
        _ => None,
    }
}

fn holds(sources: &SourceTable, bucket: &str, key: &str, log_type: &str) -> bool {
    let object = ObjectRef {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        version_id: None,
        etag: None,
        size: None,
        region: None,
        sequencer: None,
    };
    match sources.route(&object) {
        Routing::Route(route) => route.log_types.iter().any(|of_key| **of_key == *log_type),
        Routing::Excluded(_) | Routing::Unrouted => false,
    }
}
