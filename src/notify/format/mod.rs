//! The table of formats, in the order in which they are tried.

mod cloudtrail;
mod crowdstrike;
mod eventbridge;
mod s3_event;
mod security_lake;
mod silent;
mod sns;
mod subscription;

use super::Format;

/// Every format, the first that recognises a body wins. Security Lake's events are EventBridge events that lack what
/// EventBridge's own always have, so they are asked first.
pub static FORMATS: &[Format] = &[
    sns::FORMAT,
    subscription::CONFIRMATION,
    subscription::END,
    cloudtrail::FORMAT,
    s3_event::FORMAT,
    security_lake::FORMAT,
    eventbridge::FORMAT,
    crowdstrike::FORMAT,
    silent::S3_TEST_EVENT,
    silent::CLOUDTRAIL_VALIDATION,
    silent::EMPTY_S3_EVENT,
];
