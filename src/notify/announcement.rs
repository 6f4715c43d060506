//! The other way: a body that announces an object, for what no bucket announces any more.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::model::ObjectRef;

/// An S3 event that [`parse`](super::parse) reads as this object. What is not known is left out, so that the answer to
/// the read completes it.
pub fn announce(object: &ObjectRef) -> String {
    let mut told = serde_json::json!({ "key": utf8_percent_encode(&object.key, NON_ALPHANUMERIC).to_string() });
    let texts = [("versionId", &object.version_id), ("eTag", &object.etag), ("sequencer", &object.sequencer)];
    for (name, text) in texts {
        if let Some(text) = text {
            told[name] = text.as_str().into();
        }
    }
    if let Some(size) = object.size {
        told["size"] = size.into();
    }
    let mut record = serde_json::json!({
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": { "bucket": { "name": object.bucket }, "object": told },
    });
    if let Some(region) = &object.region {
        record["awsRegion"] = region.as_str().into();
    }
    serde_json::json!({ "Records": [record] }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_announced_is_read_again(
            bucket in "[a-z0-9.-]{3,20}", key in "\\PC{1,30}", version in proptest::option::of("[A-Za-z0-9._]{1,9}"),
            etag in proptest::option::of("[a-f0-9-]{1,9}"), size in proptest::option::of(any::<u64>()),
            region in proptest::option::of("[a-z0-9-]{1,9}"),
        ) {
            let object = ObjectRef { bucket, key, version_id: version, etag, size, region, sequencer: None };
            let notice = crate::notify::parse(&announce(&object)).unwrap();
            let objects: Vec<ObjectRef> = notice.objects.into_iter().map(|announced| announced.object).collect();
            prop_assert_eq!((objects, notice.bad, notice.ignored), (vec![object], vec![], vec![]));
        }
    }
}
