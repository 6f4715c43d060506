//! The rows of a table as the JSON text that they are, one behind the other: nothing is allocated for a row until it is
//! found.

use std::sync::{Arc, LazyLock};

use time::OffsetDateTime;
use time::PrimitiveDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::model::{Map, Value};

/// Tells in a row which value found it.
const MATCH: &str = "p_match";

#[derive(Default)]
pub(super) struct Rows {
    text: Vec<u8>,
    /// Where each row ends.
    ends: Vec<u32>,
    /// Seconds since 1970 at which each row ends to count. Empty where rows count for ever.
    expirations: Vec<i64>,
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    pub(super) fn push(&mut self, row: &Map) {
        serde_json::to_writer(&mut self.text, row).expect("a row has string keys and is written to memory");
        self.ends.push(self.text.len() as u32);
    }

    /// Of the row that was pushed last, in a table whose rows expire.
    pub(super) fn expires(&mut self, at: i64) {
        self.expirations.push(at);
    }

    pub(super) fn finish(mut self) -> Rows {
        self.text.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.expirations.shrink_to_fit();
        self
    }

    pub(super) fn counts(&self, row: u32, now: OffsetDateTime) -> bool {
        self.expirations.get(row as usize).is_none_or(|end| now.unix_timestamp() < *end)
    }

    /// The row as it is.
    pub(super) fn text_of(&self, row: u32) -> &str {
        let start = (row as usize).checked_sub(1).map_or(0, |before| self.ends[before]);
        let text = &self.text[start as usize..self.ends[row as usize] as usize];
        std::str::from_utf8(text).expect("rows are JSON text")
    }
}

/// The row with the value that found it.
pub(super) fn with_match(row: &Map, found_by: &str) -> Map {
    static KEY: LazyLock<Arc<str>> = LazyLock::new(|| MATCH.into());
    row.with(&KEY, Value::str(found_by))
}

/// Seconds since 1970 of a timestamp as rows have it; one that is none never ends.
pub(super) fn expiration(at: &Value) -> i64 {
    const FORM: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    let seconds = at.as_str().and_then(|text| text.get(..19));
    let parsed = seconds.and_then(|text| PrimitiveDateTime::parse(text, FORM).ok());
    parsed.map_or(i64::MAX, |time| time.assume_utc().unix_timestamp())
}
