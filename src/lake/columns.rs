//! The columns of a table: those of its log type in schema order, then the `p_` columns that every table has.
//!
//! A schema says what a column is; what a table has by now may differ (`iceberg/evolve`), because columns are never dropped
//! or retyped. `p_extra` takes what no column of the table can hold.

use std::sync::Arc;

use crate::logtype::schema::{Field, Kind, Width};
use crate::logtype::{IndicatorKind, Schema};

/// Holds what the other columns could not, as a JSON object in the shape of the event.
pub const EXTRA: &str = "p_extra";

/// Says when an event happened; tables of events are partitioned by it.
pub const EVENT_TIME: &str = "p_event_time";

/// Says when margay read an event; tables of what came of events are partitioned by it.
pub const PARSE_TIME: &str = "p_parse_time";

pub const ROW_ID: &str = "p_row_id";
pub const LOG_TYPE: &str = "p_log_type";

#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub name: Arc<str>,
    pub description: String,
    pub shape: Shape,
}

/// What a column holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    Text,
    /// Any JSON value, as its text.
    Json,
    Int,
    Long,
    Double,
    Boolean,
    /// Microseconds, UTC.
    Time,
    List(Box<Shape>),
    Struct(Vec<Column>),
}

/// The columns of the events of a log type; without it, those that all events have.
pub fn columns(log_type: Option<&Schema>) -> Vec<Column> {
    let fields = log_type.iter().flat_map(|schema| &schema.fields.fields);
    let extra = own(EXTRA, Shape::Json, "What the other columns can't hold, in the shape of the event");
    fields.map(of_field).chain(standard()).chain([extra]).collect()
}

fn of_field(field: &Field) -> Column {
    Column { name: field.column.clone(), description: field.description.clone(), shape: shape(&field.kind) }
}

fn shape(kind: &Kind) -> Shape {
    match kind {
        Kind::String(_) => Shape::Text,
        Kind::Int(Width::Small | Width::Int) => Shape::Int,
        Kind::Int(Width::Big) => Shape::Long,
        Kind::Float => Shape::Double,
        Kind::Boolean => Shape::Boolean,
        Kind::Timestamp(_) => Shape::Time,
        Kind::Array { element, .. } => Shape::List(Box::new(shape(element))),
        // A struct without fields can't be stored.
        Kind::Object { object, .. } if object.fields.is_empty() => Shape::Json,
        Kind::Object { object, .. } => Shape::Struct(object.fields.iter().map(of_field).collect()),
        Kind::Json(_) => Shape::Json,
    }
}

pub(super) fn own(name: &str, shape: Shape, description: &str) -> Column {
    Column { name: name.into(), description: description.to_owned(), shape }
}

fn standard() -> impl Iterator<Item = Column> {
    let texts = || Shape::List(Box::new(Shape::Text));
    let first = [
        (LOG_TYPE, Shape::Text, "Log type of the event"),
        (ROW_ID, Shape::Text, "The same whenever the same record of the same object is read"),
        (EVENT_TIME, Shape::Time, "When the event happened; when it was read, where it does not say"),
        (PARSE_TIME, Shape::Time, "When margay read the event"),
        ("p_source_id", Shape::Text, "Source of the object"),
        ("p_source_label", Shape::Text, "Name of the source"),
        ("p_schema_version", Shape::Int, "Revision of the log type"),
        ("p_object", Shape::Text, "Bucket and key of the object"),
        ("p_offset", Shape::Long, "Position of the record in its object, from 0"),
        ("p_header", Shape::Json, "What the transport says about the record"),
    ];
    let indicators = IndicatorKind::ALL.into_iter().map(move |kind| (kind.field(), texts(), "Indicators of the event"));
    first.into_iter().chain(indicators).map(|(name, shape, description)| own(name, shape, description))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logtype::Registry;

    fn names(columns: &[Column]) -> Vec<&str> {
        columns.iter().map(|column| &*column.name).collect()
    }

    #[test]
    fn a_table_has_the_fields_of_its_log_type_and_the_standard_columns() {
        let registry = Registry::built_in();
        let columns = columns(Some(registry.get("AWS.CloudTrail").unwrap()));
        let names = names(&columns);
        assert!(names.contains(&"eventName") && names.contains(&"p_any_ip_addresses"), "{names:?}");
        assert_eq!(names.last(), Some(&EXTRA));
        let identity = columns.iter().find(|column| &*column.name == "userIdentity").unwrap();
        assert!(matches!(&identity.shape, Shape::Struct(fields) if fields.iter().any(|field| &*field.name == "arn")));
    }

    #[test]
    fn no_table_has_a_column_twice() {
        let registry = Registry::built_in();
        for schema in registry.schemas() {
            let columns = columns(Some(schema));
            let mut names: Vec<String> = names(&columns).iter().map(|name| name.to_lowercase()).collect();
            names.sort();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count, "{}", schema.name);
        }
    }

    #[test]
    fn rows_of_a_log_type_that_is_gone_have_the_standard_columns() {
        assert_eq!(&*columns(None)[0].name, LOG_TYPE);
    }
}
