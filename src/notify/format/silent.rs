//! Messages that name no object and are no fault: what S3 and CloudTrail send when notifications are set up, and an
//! S3 event without records.
//!
//! Sources: Amazon S3 user guide, "Event message structure" (the test message); AWS CloudTrail user guide, "Configuring
//! Amazon SNS notifications for CloudTrail".

use serde_json::Value;

use crate::notify::body::{Body, text};
use crate::notify::{BadBody, Format, Notice, SetUp};

/// S3 sends it to every destination when a notification configuration is saved.
pub(super) const S3_TEST_EVENT: Format = Format { name: "s3-test-event", read: s3_test_event };

/// CloudTrail sends it when a trail's topic is set.
pub(super) const CLOUDTRAIL_VALIDATION: Format = Format { name: "cloudtrail-validation", read: cloudtrail_validation };

pub(super) const EMPTY_S3_EVENT: Format = Format { name: "empty-s3-event", read: empty_s3_event };

fn s3_test_event(body: &Body<'_>) -> Option<Result<Notice, BadBody>> {
    (body.text_at(&["Event"])? == "s3:TestEvent").then_some(())?;
    let bucket = text(body.whole()?, &["Bucket"]).map(str::to_owned);
    Some(Ok(Notice::about(S3_TEST_EVENT.name, SetUp::Test { bucket })))
}

fn cloudtrail_validation(body: &Body<'_>) -> Option<Result<Notice, BadBody>> {
    (body.text.trim_ascii() == "CloudTrail validation message.")
        .then(|| Ok(Notice::about(CLOUDTRAIL_VALIDATION.name, SetUp::Test { bucket: None })))
}

fn empty_s3_event(body: &Body<'_>) -> Option<Result<Notice, BadBody>> {
    let records = body.at(&["Records"]).and_then(Value::as_array)?;
    records.is_empty().then(|| Ok(Notice::empty(EMPTY_S3_EVENT.name)))
}
