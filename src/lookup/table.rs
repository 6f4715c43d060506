//! One table: its rows and the index that finds them. Immutable; made by `read`, or by `maxmind`.

use std::borrow::Cow;
use std::net::IpAddr;

use time::OffsetDateTime;

use super::index::{Networks, Texts};
use super::maxmind::MaxMind;
use super::rows::{Rows, with_match};
use crate::model::{Map, Value};

pub struct Table(pub(super) Contents);

pub(super) enum Contents {
    Rows { rows: Rows, index: Index },
    MaxMind(MaxMind),
}

pub(super) enum Index {
    /// Values that equal the key, as text.
    Texts(Texts),
    /// Addresses in the network that the key is.
    Networks(Networks),
}

/// A row that a value found.
pub(super) struct Hit<'t, 'v> {
    row: Row<'t>,
    /// The value.
    pub(super) found_by: Cow<'v, str>,
}

enum Row<'t> {
    Text(&'t str),
    Map(Map),
}

impl Table {
    /// Rows that count at some time.
    pub fn rows(&self) -> usize {
        match &self.0 {
            Contents::Rows { rows, .. } => rows.len(),
            Contents::MaxMind(database) => database.records(),
        }
    }

    /// A row by its place, as the JSON text that it is; a MaxMind database only answers for an address.
    pub fn text_of(&self, row: usize) -> Option<&str> {
        match &self.0 {
            Contents::Rows { rows, .. } => Some(rows.text_of(u32::try_from(row).ok()?)),
            Contents::MaxMind(_) => None,
        }
    }

    /// The row whose primary key the value matches.
    pub fn row(&self, value: &Value, now: OffsetDateTime) -> Option<Map> {
        self.find(value, now).map(Hit::into_map)
    }

    /// The text of the row whose primary key a text matches.
    pub(super) fn text(&self, key: &str, now: OffsetDateTime) -> Option<Cow<'_, str>> {
        Some(match self.find(&Value::str(key), now)?.row {
            Row::Text(text) => Cow::Borrowed(text),
            Row::Map(map) => Cow::Owned(serde_json::to_string(&map).expect("a row has string keys")),
        })
    }

    pub(super) fn find<'v>(&self, value: &'v Value, now: OffsetDateTime) -> Option<Hit<'_, 'v>> {
        let found_by = text_of(value)?;
        let row = match &self.0 {
            Contents::Rows { rows, index } => {
                let row = match index {
                    Index::Texts(texts) => texts.find(&found_by).filter(|row| rows.counts(*row, now))?,
                    Index::Networks(networks) => networks.find(address(&found_by)?, |row| rows.counts(row, now))?,
                };
                Row::Text(rows.text_of(row))
            }
            Contents::MaxMind(database) => Row::Map(database.find(address(&found_by)?)?),
        };
        Some(Hit { row, found_by })
    }
}

/// Most that is no address shows it in its first letter, and parsing costs more than that.
fn address(text: &str) -> Option<IpAddr> {
    let first = text.as_bytes().first().filter(|first| first.is_ascii_hexdigit() || **first == b':');
    first.and_then(|_| text.parse().ok())
}

impl Hit<'_, '_> {
    /// Bytes of the row, as JSON.
    pub(super) fn size(&self) -> usize {
        match &self.row {
            Row::Text(text) => text.len(),
            Row::Map(map) => serde_json::to_string(map).map_or(usize::MAX, |text| text.len()),
        }
    }

    /// The row with the value that found it.
    pub(super) fn into_map(self) -> Map {
        let row = match self.row {
            Row::Text(text) => serde_json::from_str(text).expect("a row is what was written, and not deep"),
            Row::Map(map) => map,
        };
        with_match(&row, &self.found_by)
    }
}

/// A scalar as the text that keys are compared with.
pub fn text_of(value: &Value) -> Option<Cow<'_, str>> {
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
