//! What Security Lake sends to its subscribers: S3's EventBridge event without a `detail-type`.
//!
//! Source: Amazon Security Lake user guide, "Sample event message" of data access subscribers.

use super::eventbridge::{event_of_s3, object};
use crate::notify::body::{Body, text};
use crate::notify::{BadBody, Cause, Format, Notice};

pub(super) const FORMAT: Format = Format { name: "security-lake", read: parse };

fn parse(body: &Body<'_>) -> Option<Result<Notice, BadBody>> {
    let event = event_of_s3(body)?;
    (text(event, &["detail", "requester"])? == "securitylake.amazonaws.com").then_some(())?;
    text(event, &["detail-type"]).is_none().then_some(())?;
    Some(Ok(Notice::from_records(FORMAT.name, [object(event, Cause::Created)])))
}
