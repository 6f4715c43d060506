//! The names that a log type shares with its events: those of the standard fields, and those of its own columns.

use std::collections::HashMap;
use std::sync::Arc;

use super::indicator::Kind;
use crate::model::{Key, Names};

pub(super) const LOG_TYPE: Key = Key::numbered(0);
pub(super) const ROW_ID: Key = Key::numbered(1);
pub(super) const EVENT_TIME: Key = Key::numbered(2);
pub(super) const PARSE_TIME: Key = Key::numbered(3);
pub(super) const SOURCE_ID: Key = Key::numbered(4);
pub(super) const SOURCE_LABEL: Key = Key::numbered(5);
pub(super) const HEADER: Key = Key::numbered(6);
pub(super) const SCHEMA_VERSION: Key = Key::numbered(7);
pub(super) const OBJECT: Key = Key::numbered(8);
pub(super) const OFFSET: Key = Key::numbered(9);

/// The names behind the numbers; those of the indicators follow.
const NAMES: [&str; 10] = [
    "p_log_type",
    "p_row_id",
    "p_event_time",
    "p_parse_time",
    "p_source_id",
    "p_source_label",
    "p_header",
    "p_schema_version",
    "p_object",
    "p_offset",
];

impl Kind {
    pub(super) fn key(self) -> Key {
        Key::numbered(NAMES.len() as u32 + self as u32)
    }
}

/// Gives names their numbers.
pub(super) struct NameTable {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

impl NameTable {
    pub(super) fn new() -> NameTable {
        let names = NAMES.into_iter().chain(Kind::ALL.map(Kind::field)).map(Arc::from).collect();
        NameTable { names, numbers: HashMap::new() }
    }

    pub(super) fn key(&mut self, name: &Arc<str>) -> Key {
        let next = u32::try_from(self.names.len()).expect("a schema has a bounded number of types");
        let number = *self.numbers.entry(name.clone()).or_insert(next);
        if number == next {
            self.names.push(name.clone());
        }
        Key::numbered(number)
    }

    pub(super) fn finish(self) -> Names {
        self.names.into()
    }
}
