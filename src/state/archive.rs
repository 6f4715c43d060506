//! Ids of kept things, as [`Archive`](super::Archive) tells of them: from text to what is looked for in tables.

use sha2::{Digest, Sha256};

/// An id, taken apart.
pub(super) struct KeptId {
    /// `m`, `o` or `r`.
    pub(super) kind: char,
    /// The first six bytes of a hash or object id.
    pub(super) start: Vec<u8>,
    /// Of a record, and of nothing else.
    pub(super) ordinal: Option<i64>,
}

impl KeptId {
    /// `None` for what is no id.
    pub(super) fn parse(id: &str) -> Option<KeptId> {
        let kind = id.chars().next().filter(|kind| matches!(kind, 'm' | 'o' | 'r'))?;
        let (digits, ordinal) = match (kind, id[1..].split_once('-')) {
            ('r', Some((digits, ordinal))) => (digits, Some(ordinal.parse().ok()?)),
            ('r', None) | (_, Some(_)) => return None,
            (_, None) => (&id[1..], None),
        };
        if digits.len() != 12 || !digits.is_ascii() {
            return None;
        }
        let bytes = (0..12).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok());
        Some(KeptId { kind, start: bytes.collect::<Option<_>>()?, ordinal })
    }
}

/// What names the body of a kept message.
pub(super) fn body_hash(body: &[u8]) -> Vec<u8> {
    Sha256::digest(body)[..16].to_vec()
}
