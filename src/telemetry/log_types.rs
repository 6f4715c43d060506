//! Facts about log types: fields that no schema has, and bytes that no event has.

use super::Telemetry;
use crate::model::{ObjectRef, UnknownField};

impl Telemetry {
    /// Told once for each field. Its name comes from a log: it is written with its strange characters escaped.
    pub fn field_discovered(&self, log_type: &str, field: &UnknownField) {
        self.metrics.fields_discovered_total.inc([log_type]);
        let UnknownField { path, kind } = field;
        tracing::info!(target: "margay::logtype", log_type, ?path, kind,
            "records have a field that the schema has not; `margay schema fields` lists all of them");
    }

    /// Field names look like data.
    pub fn fields_not_bounded(&self, log_type: &str, limit: u32) {
        tracing::warn!(target: "margay::logtype", log_type, limit,
            "records have more unknown fields than are remembered; a field whose keys are data should be of type json");
    }

    /// Records of an object went on behind the JSON that made the event.
    pub fn trailing_bytes(&self, object: &ObjectRef, source: &str, bytes: u64) {
        self.metrics.trailing_bytes_total.add([source], bytes);
        if bytes > 0 {
            tracing::warn!(target: "margay::logtype", %object, source, bytes,
                "bytes behind the JSON of records are in no event; is `stream_type` right?");
        }
    }
}
