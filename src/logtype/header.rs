//! `p_header`: the envelope of CloudWatch Logs that a record came in.

use super::standard;
use crate::model::{Key, Leaf, Origin, Writer};

/// Writes the envelope that the record came in, when it is retained. False: it is not.
pub(super) fn put(origin: &Origin, out: &mut Writer<'_>) -> bool {
    let Some(envelope) = origin.envelope.as_deref() else { return false };
    let header = out.begin(standard::HEADER);
    let mut members = 1;
    for (name, text) in [
        ("accountId", &envelope.owner),
        ("logGroup", &envelope.log_group),
        ("logStream", &envelope.log_stream),
        ("id", &origin.id),
    ] {
        if let Some(text) = text {
            let key = out.key(name);
            out.put_text(key, text);
            members += 1;
        }
    }
    if let Some(timestamp) = origin.timestamp {
        let key = out.key("timestamp");
        out.put(key, Leaf::Int(timestamp));
        members += 1;
    }
    let key = out.key("subscriptionFilters");
    let filters = out.begin(key);
    envelope.subscription_filters.iter().for_each(|filter| out.put_text(Key::NONE, filter));
    out.end_list(filters, envelope.subscription_filters.len());
    out.end_map(header, members);
    true
}
