//! Events -> Arrow, driven by the columns that the table has. Pure and synchronous.
//!
//! One walk over an event fills every column; what a column can't hold (a field that the table does not know, a value of
//! another type, digits beyond microseconds) goes into `p_extra` in the shape of the event, so that no value is lost and
//! one odd value never costs a row.

mod cells;
mod time_text;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use super::columns::{Column, EVENT_TIME, EXTRA, LOG_TYPE, PARSE_TIME, ROW_ID, Shape};
use crate::model::{Event, MapBuilder, Value};
use cells::Fields;
pub(super) use time_text::microseconds;

/// Times that margay gives: digits beyond microseconds are no data, and would fill `p_extra` in every row. Those of a log
/// stay in the field that they came in.
const OWN_TIMES: [&str; 2] = [EVENT_TIME, PARSE_TIME];

/// Makes record batches of one table.
pub(super) struct Encoder {
    schema: SchemaRef,
    fields: Fields,
    /// Where `p_extra` is; a table that others made may have none.
    extra: Option<usize>,
}

impl Encoder {
    /// `columns` tell which text is JSON; whatever else the table has stays empty.
    pub(super) fn new(schema: SchemaRef, columns: &[Column]) -> Encoder {
        let fields = Fields::new(schema.fields(), columns);
        let extra = schema.index_of(EXTRA).ok();
        Encoder { schema, fields, extra }
    }

    pub(super) fn push(&mut self, event: &Event) {
        let mut rest = MapBuilder::default();
        self.fields.begin();
        for (key, value) in event.fields.iter() {
            let left = match self.fields.position(key) {
                Some(at) if Some(at) != self.extra => self.fields.put(at, value),
                _ => Some(value.clone()),
            };
            if let Some(left) = left.filter(|_| !OWN_TIMES.contains(&&**key)) {
                rest.insert(key.clone(), left);
            }
        }
        // The lake relies on these, whoever made the event.
        for (name, value) in [
            (LOG_TYPE, Value::Str(event.log_type.clone())),
            (ROW_ID, Value::str(event.row_id.to_string())),
            (EVENT_TIME, Value::str(crate::model::stored_time(event.time))),
        ] {
            if let Some(at) = self.fields.position(name)
                && !self.fields.has(at)
            {
                self.fields.put(at, &value);
            }
        }
        let rest = rest.build();
        if let Some(extra) = self.extra
            && !rest.is_empty()
        {
            self.fields.put(extra, &Value::Map(rest));
        }
        self.fields.end();
    }

    /// The rows since the last batch.
    pub(super) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        RecordBatch::try_new(self.schema.clone(), self.fields.finish())
    }
}

#[cfg(test)]
mod tests;
