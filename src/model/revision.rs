//! What is remembered of log types from one start to the next: the last revision of a schema, and fields that it does
//! not have.

use time::OffsetDateTime;

/// One revision of a schema. Names of log types are equal in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    pub log_type: String,
    /// From 1; grows by one with every accepted change.
    pub version: u32,
    /// The YAML.
    pub text: String,
}

/// A field that records have and their schema has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownField {
    /// Keys from the top, joined by dots. Whoever writes a log chooses them: they are bounded in length, and may hold
    /// anything else.
    pub path: String,
    /// What the first value was, as messages to people call it: `a string`.
    pub kind: String,
}

/// An unknown field, and when it was seen first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenField {
    pub field: UnknownField,
    pub since: OffsetDateTime,
}
