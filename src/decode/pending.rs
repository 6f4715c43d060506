//! The record that is being collected, and the numbering of what leaves.

use std::str::Utf8Error;

use bytes::{Bytes, BytesMut};

use super::Piece;
use crate::model::{Origin, Record, Reject};

/// Where finished pieces go.
pub(super) struct Emit<'a> {
    pub(super) out: &'a mut Vec<Piece>,
    pub(super) next: &'a mut u64,
}

impl Emit<'_> {
    pub(super) fn record(&mut self, bytes: Bytes, origin: Option<Box<Origin>>) {
        if simdutf8::basic::from_utf8(&bytes).is_err()
            && let Err(error) = std::str::from_utf8(&bytes)
        {
            return self.reject(&bytes, not_utf8(error));
        }
        let ordinal = self.number();
        self.out.push(Piece::Record(Record { ordinal, bytes, origin }));
    }

    pub(super) fn reject(&mut self, raw: &Bytes, reason: impl Into<String>) {
        let ordinal = self.number();
        self.out.push(Piece::Reject(Reject::new(ordinal, raw, reason)));
    }

    /// A reject for its content: when that is not UTF-8, this is told first.
    pub(super) fn malformed(&mut self, raw: &Bytes, reason: impl Into<String>) {
        let mut reason = reason.into();
        // A character that the end of the piece cuts is no fault of the text.
        if let Err(error) = std::str::from_utf8(raw)
            && error.error_len().is_some()
        {
            reason = format!("{}; {reason}", not_utf8(error));
        }
        self.reject(raw, reason);
    }

    fn number(&mut self) -> u64 {
        let ordinal = *self.next;
        *self.next += 1;
        ordinal
    }
}

pub(super) fn not_utf8(error: Utf8Error) -> String {
    format!("the record is not UTF-8 (first invalid byte at {})", error.valid_up_to())
}

/// Bytes of one record. Beyond the limit only as much is kept as a reject shows.
pub(super) struct Pending {
    bytes: BytesMut,
    total: usize,
    limit: usize,
}

impl Pending {
    pub(super) fn new(limit: usize) -> Pending {
        Pending { bytes: BytesMut::new(), total: 0, limit }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.total == 0
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.total += bytes.len();
        if self.total <= self.limit {
            self.bytes.extend_from_slice(bytes);
            return;
        }
        let keep = self.limit.min(Reject::RAW_LIMIT);
        self.bytes.truncate(keep);
        let room = keep - self.bytes.len();
        self.bytes.extend_from_slice(&bytes[..room.min(bytes.len())]);
    }

    pub(super) fn clear(&mut self) {
        self.total = 0;
        self.bytes.clear();
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn last(&self) -> Option<u8> {
        self.bytes.last().copied()
    }

    pub(super) fn is_too_long(&self) -> bool {
        self.total > self.limit
    }

    /// Ends the record, without its last `strip` bytes.
    pub(super) fn record(&mut self, strip: usize, emit: &mut Emit<'_>) {
        if let Some(mut bytes) = self.whole(emit) {
            bytes.truncate(bytes.len() - strip);
            emit.record(bytes, None);
        }
    }

    /// What was collected; one that is too long becomes a reject.
    pub(super) fn whole(&mut self, emit: &mut Emit<'_>) -> Option<Bytes> {
        let (total, limit) = (self.total, self.limit);
        let bytes = self.take();
        if total <= limit {
            return Some(bytes);
        }
        let reason = format!("the record has {total} bytes, more than the {limit} allowed; raise `max_record_mib`");
        emit.reject(&bytes, reason);
        None
    }

    /// Ends the record where the object stops: nobody knows what is missing of it.
    pub(super) fn torn(&mut self, emit: &mut Emit<'_>) {
        self.reject("the object stops in the middle of this record", emit);
    }

    pub(super) fn reject(&mut self, reason: impl Into<String>, emit: &mut Emit<'_>) {
        emit.malformed(&self.take(), reason);
    }

    fn take(&mut self) -> Bytes {
        self.total = 0;
        self.bytes.split().freeze()
    }
}
