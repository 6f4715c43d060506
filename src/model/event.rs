//! A typed event and the batch in which it travels to the rules and the lake.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::object::ObjectId;
use super::record::Reject;
use super::value::Map;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Identity of one event: the same object read twice gives the same ids. 32 hex digits as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId(pub [u8; 16]);

impl RowId {
    /// `index` tells apart the events that one record gave (an envelope may hold several).
    pub fn new(object: ObjectId, ordinal: u64, index: u32) -> RowId {
        let mut hash = Sha256::new();
        hash.update(object.0);
        hash.update(ordinal.to_le_bytes());
        hash.update(index.to_le_bytes());
        RowId(hash.finalize()[..16].try_into().expect("a SHA-256 digest has 32 bytes"))
    }

    pub fn digits(self) -> [u8; 32] {
        let mut digits = [0; 32];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        digits
    }
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).expect("hex digits are ASCII"))
    }
}

impl fmt::Debug for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where an event stands in its object: the record that gave it, and which of that record's events it is. The same at
/// every reading, and growing from each event to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    pub ordinal: u64,
    pub index: u32,
}

/// One event in its stored form: typed fields in schema order, then the `p_` fields. Immutable and cheap to share.
#[derive(Clone, Debug)]
pub struct Event {
    pub log_type: Arc<str>,
    pub row_id: RowId,
    pub position: Position,
    /// UTC; what `p_event_time` says.
    pub time: OffsetDateTime,
    pub fields: Map,
}

/// Events of one object, in the order of the object. Shared by detection and lake.
#[derive(Debug)]
pub struct EventBatch {
    pub object: ObjectId,
    /// Name of the source.
    pub source: Arc<str>,
    pub events: Vec<Event>,
    pub rejects: Vec<Reject>,
    /// Decompressed bytes of the records behind this batch.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_ids_depend_on_every_part_and_on_nothing_else() {
        let (a, b) = (ObjectId([1; 16]), ObjectId([2; 16]));
        assert_eq!(RowId::new(a, 7, 0), RowId::new(a, 7, 0));
        for other in [RowId::new(b, 7, 0), RowId::new(a, 8, 0), RowId::new(a, 7, 1)] {
            assert_ne!(RowId::new(a, 7, 0), other);
        }
        assert_eq!(RowId::new(a, 7, 0).to_string().len(), 32);
    }
}
