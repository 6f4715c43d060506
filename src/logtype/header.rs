//! `p_header`: the envelope of CloudWatch Logs that a record came in.

use crate::model::{Map, MapBuilder, Origin, Value};

/// The envelope that the record came in, when it is retained.
pub(super) fn header(origin: &Origin) -> Option<Map> {
    let envelope = origin.envelope.as_deref()?;
    let mut header = MapBuilder::default();
    for (name, text) in [
        ("accountId", &envelope.owner),
        ("logGroup", &envelope.log_group),
        ("logStream", &envelope.log_stream),
        ("id", &origin.id),
    ] {
        if let Some(text) = text {
            header.insert(name, Value::str(text));
        }
    }
    if let Some(timestamp) = origin.timestamp {
        header.insert("timestamp", Value::Int(timestamp));
    }
    let filters = envelope.subscription_filters.iter().map(Value::str);
    header.insert("subscriptionFilters", Value::List(filters.collect()));
    Some(header.build())
}
