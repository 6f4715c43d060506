//! The record that is being collected, and the numbering of what leaves.

use bytes::{Bytes, BytesMut};

use super::Piece;
use crate::model::{Record, Reject};

/// Where finished pieces go.
pub(super) struct Emit<'a> {
    pub(super) out: &'a mut Vec<Piece>,
    pub(super) next: &'a mut u64,
}

impl Emit<'_> {
    fn record(&mut self, bytes: Bytes) {
        if let Err(error) = std::str::from_utf8(&bytes) {
            let reason = format!("the record is not UTF-8 (first invalid byte at {})", error.valid_up_to());
            return self.reject(&bytes, reason);
        }
        let ordinal = self.number();
        self.out.push(Piece::Record(Record { ordinal, bytes }));
    }

    fn reject(&mut self, raw: &Bytes, reason: impl Into<String>) {
        let ordinal = self.number();
        self.out.push(Piece::Reject(Reject::new(ordinal, raw, reason)));
    }

    fn number(&mut self) -> u64 {
        let ordinal = *self.next;
        *self.next += 1;
        ordinal
    }
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

    pub(super) fn last(&self) -> Option<u8> {
        self.bytes.last().copied()
    }

    /// Ends the record, without its last `strip` bytes.
    pub(super) fn record(&mut self, strip: usize, emit: &mut Emit<'_>) {
        let (total, limit) = (self.total, self.limit);
        let mut bytes = self.take();
        if total > limit {
            let reason = format!("the record has {total} bytes, more than the {limit} allowed; raise `max_record_mib`");
            return emit.reject(&bytes, reason);
        }
        bytes.truncate(bytes.len() - strip);
        emit.record(bytes);
    }

    pub(super) fn reject(&mut self, reason: impl Into<String>, emit: &mut Emit<'_>) {
        emit.reject(&self.take(), reason);
    }

    fn take(&mut self) -> Bytes {
        self.total = 0;
        self.bytes.split().freeze()
    }
}
