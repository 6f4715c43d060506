//! One table: its rows and the index that finds them. Immutable; made by `read`.

use std::borrow::Cow;
use std::net::IpAddr;

use time::OffsetDateTime;

use super::index::{Networks, Texts};
use super::rows::Rows;
use crate::model::{Map, Value};

pub struct Table {
    pub(super) rows: Rows,
    pub(super) index: Index,
}

pub(super) enum Index {
    /// Values that equal the key, as text.
    Texts(Texts),
    /// Addresses in the network that the key is.
    Networks(Networks),
}

/// A row that a value found.
pub(super) struct Hit<'v> {
    pub(super) row: u32,
    /// The value.
    pub(super) found_by: Cow<'v, str>,
}

impl Table {
    /// Rows that count at some time.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// A row by its place, as the JSON text that it is.
    pub fn text_of(&self, row: usize) -> &[u8] {
        self.rows.text_of(u32::try_from(row).unwrap_or(u32::MAX))
    }

    /// The row whose primary key the value matches.
    pub fn row(&self, value: &Value, now: OffsetDateTime) -> Option<Map> {
        self.find(value, now).map(|hit| self.rows.get(hit.row, &hit.found_by))
    }

    pub(super) fn find<'v>(&self, value: &'v Value, now: OffsetDateTime) -> Option<Hit<'v>> {
        let found_by = text_of(value)?;
        let row = match &self.index {
            Index::Texts(texts) => texts.find(&found_by).filter(|row| self.rows.counts(*row, now))?,
            Index::Networks(networks) => {
                // Most that is no address shows it in its first letter, and parsing costs more than that.
                let first = found_by.as_bytes().first().filter(|first| first.is_ascii_hexdigit() || **first == b':');
                let address: IpAddr = first.and_then(|_| found_by.parse().ok())?;
                networks.find(address, |row| self.rows.counts(row, now))?
            }
        };
        Some(Hit { row, found_by })
    }
}

/// A scalar as the text that keys are compared with.
pub(super) fn text_of(value: &Value) -> Option<Cow<'_, str>> {
    Some(match value {
        Value::Str(text) => Cow::Borrowed(&**text),
        Value::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
        Value::Int(value) => Cow::Owned(value.to_string()),
        Value::UInt(value) => Cow::Owned(value.to_string()),
        // As in JSON and in Python: 1.0.
        Value::Float(value) => Cow::Owned(serde_json::Number::from_f64(*value)?.to_string()),
        Value::Null | Value::List(_) | Value::Map(_) => return None,
    })
}
