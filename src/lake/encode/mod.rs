//! Events -> Arrow, driven by the columns that the table has. Pure and synchronous.
//!
//! One walk over an event fills every column; what a column can't hold (a field that the table does not know, a value of
//! another type, digits beyond microseconds) goes into `p_extra` in the shape of the event, so that no value is lost and
//! one odd value never costs a row.

mod cells;
mod left;
mod time_text;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use super::columns::{Column, EVENT_TIME, EXTRA, LOG_TYPE, PARSE_TIME, ROW_ID, Shape};
use crate::model::{Event, Part, Value};
use cells::Fields;
use left::Left;
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
        let (fields, extra) = (&mut self.fields, self.extra);
        let mut rest = Vec::new();
        fields.begin();
        event.fields.each(&mut |key, part| {
            let left = match fields.position(key) {
                Some(at) if Some(at) != extra => fields.put(at, part),
                _ => Some(Left::Whole(part)),
            };
            rest.extend(left.filter(|_| !OWN_TIMES.contains(&key)).map(|left| (key, left)));
        });
        // The lake relies on these, whoever made the event.
        let mut own = |name: &str, value: &dyn Fn() -> Value| {
            if let Some(at) = fields.position(name).filter(|at| !fields.has(*at)) {
                fields.put(at, Part::Made(&value()));
            }
        };
        own(LOG_TYPE, &|| Value::Str(event.log_type.clone()));
        own(ROW_ID, &|| Value::str(event.row_id.to_string()));
        own(EVENT_TIME, &|| Value::str(crate::model::stored_time(event.time)));
        if let Some(extra) = extra
            && let Some(left) = Left::of_map(rest)
        {
            fields.put_left(extra, &left);
        }
    }

    /// The rows since the last batch.
    pub(super) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        RecordBatch::try_new(self.schema.clone(), self.fields.finish())
    }
}

#[cfg(test)]
mod tests;
