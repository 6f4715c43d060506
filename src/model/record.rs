//! What decoding takes out of an object: records, and the pieces that could not become one.

use std::sync::Arc;

use bytes::Bytes;

/// One log entry of an object, not yet classified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Position among the records and rejects of the object, from 0.
    pub ordinal: u64,
    pub bytes: Bytes,
    pub origin: Option<Box<Origin>>,
}

/// What the transport says about a record beside its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Milliseconds since 1970: the time of a record whose text has none.
    pub timestamp: Option<i64>,
    pub id: Option<String>,
    /// Where the source retains it; one for all records that came in it.
    pub envelope: Option<Arc<Envelope>>,
}

/// The envelope of a CloudWatch Logs subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    pub owner: Option<String>,
    pub log_group: Option<String>,
    pub log_stream: Option<String>,
    pub subscription_filters: Vec<String>,
}

/// A piece of an object that became no event. It is kept, with the reason, and never only logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    pub ordinal: u64,
    /// At most [`Reject::RAW_LIMIT`] bytes of the piece.
    pub raw: Bytes,
    pub reason: String,
}

impl Reject {
    pub const RAW_LIMIT: usize = 1024 * 1024;

    pub fn new(ordinal: u64, raw: &Bytes, reason: impl Into<String>) -> Reject {
        // A copy where the piece is cut, so that a small reject does not keep a large buffer alive.
        let raw =
            if raw.len() > Self::RAW_LIMIT { Bytes::copy_from_slice(&raw[..Self::RAW_LIMIT]) } else { raw.clone() };
        Reject { ordinal, raw, reason: reason.into() }
    }
}
