//! What a message of the queue says: which objects are new, or what became of the notifications themselves.
//!
//! One file a format, one table of formats ([`FORMATS`]). Pure: no I/O, no clock, nothing is fetched. A body is
//! either a notice or a [`BadBody`]; one unusable record of a notice is a [`BadRecord`] that leaves the others alone.
//!
//! To add a format: a file below `format/`, a line in [`FORMATS`], a body in `tests/corpus/notifications/`.

mod announcement;
mod body;
mod format;
mod key;

#[cfg(test)]
mod tests;

use std::collections::HashSet;

use crate::model::{Code, ObjectId, ObjectRef, TopicArn};
pub use announcement::announce;
use body::Body;
pub use format::FORMATS;

/// What a body says.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Name of the innermost format, as in [`FORMATS`].
    pub format: &'static str,
    /// The objects to read, in the order of the body; the same object is named once for each [`Cause`].
    pub objects: Vec<Announced>,
    /// Records about something else than a new object; what each is about.
    pub ignored: Vec<String>,
    pub bad: Vec<BadRecord>,
    /// Said instead of objects.
    pub setup: Option<SetUp>,
}

/// An object that a record names.
#[derive(Clone, Debug, PartialEq)]
pub struct Announced {
    pub object: ObjectRef,
    pub cause: Cause,
    /// The key as the other reading of its spelling has it, where that is another key: verbatim for a format whose keys
    /// are form-encoded, decoded for one whose keys are verbatim. Senders confuse the two.
    pub other_key: Option<String>,
}

/// Why an object is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    Created,
    /// Brought back from an archive; whether that is wanted is the source's to say.
    Restored,
}

/// A message about the notifications themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetUp {
    /// Sent when notifications were set up, to see that they arrive. S3 names its bucket, CloudTrail names nothing.
    Test { bucket: Option<String> },
    /// SNS asks whether the topic may send to this queue; the token is the answer.
    Confirm { topic: TopicArn, token: String },
    /// The topic will send no more.
    Ended { topic: String },
}

/// A record of a notice that names no object that could be read. It is kept with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRecord {
    /// The record as JSON.
    pub raw: String,
    pub code: Code,
    pub reason: String,
}

/// The whole body is not a notification that can be acted upon; the text says why and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadBody(pub String);

/// One notification format.
pub struct Format {
    /// Unique; the value of the `format` label of metrics, and the start of its bodies' names in the corpus.
    pub name: &'static str,
    /// `None` when the body has another format.
    read: fn(&Body<'_>) -> Option<Result<Notice, BadBody>>,
}

/// SNS topics that forward to each other wrap a message again each time; deeper than this is a loop or an attack.
const MAX_ENVELOPES: u8 = 3;

/// Reads the body of a message.
pub fn parse(body: &str) -> Result<Notice, BadBody> {
    read(&Body::new(body, 0))
}

/// The first format that recognises the body reads it.
fn read(body: &Body<'_>) -> Result<Notice, BadBody> {
    FORMATS.iter().find_map(|format| (format.read)(body)).unwrap_or_else(|| Err(body.unrecognised()))
}

impl Notice {
    fn empty(format: &'static str) -> Notice {
        Notice { format, objects: Vec::new(), ignored: Vec::new(), bad: Vec::new(), setup: None }
    }

    fn about(format: &'static str, setup: SetUp) -> Notice {
        Notice { setup: Some(setup), ..Notice::empty(format) }
    }

    /// Collects records one by one.
    fn from_records(format: &'static str, records: impl IntoIterator<Item = Reading>) -> Notice {
        let mut notice = Notice::empty(format);
        let mut seen: HashSet<(ObjectId, Cause)> = HashSet::new();
        for record in records {
            match record {
                Reading::Object(announced) => {
                    if seen.insert((announced.object.id(), announced.cause)) {
                        notice.objects.push(announced);
                    }
                }
                Reading::Other(what) => notice.ignored.push(what),
                Reading::Bad(bad) => notice.bad.push(bad),
            }
        }
        notice
    }
}

/// What one record of a notification turned out to be.
enum Reading {
    Object(Announced),
    /// About something else than bytes to read: a removal, a tag. The name that its sender has for it.
    Other(String),
    Bad(BadRecord),
}

impl Reading {
    fn bad(record: &serde_json::Value, reason: impl Into<String>) -> Reading {
        Reading::Bad(BadRecord { raw: record.to_string(), code: Code::BadRecord, reason: reason.into() })
    }

    fn bad_key(record: &serde_json::Value, reason: String) -> Reading {
        Reading::Bad(BadRecord { raw: record.to_string(), code: Code::BadKey, reason })
    }
}
