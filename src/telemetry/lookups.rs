//! What there is to tell about lookup tables of buckets.

use time::OffsetDateTime;

use super::Telemetry;

impl Telemetry {
    /// The first of several in a row.
    pub fn lookup_refresh_failed(&self, table: &str, reason: &str) {
        tracing::warn!(target: "margay::lookup", table, reason, "lookup table not refreshed; it stays as it was, and is tried again every minute");
    }

    /// A rule asked for a row.
    pub fn lookup_called(&self, outcome: &str) {
        self.metrics.lookup_calls_total.inc([outcome]);
    }

    /// Not for so long that somebody has to know.
    pub fn lookup_overdue(&self, table: &str, since: OffsetDateTime, reason: &str) {
        self.metrics.lookup_table_overdue.set([table], 1);
        tracing::error!(target: "margay::lookup", table, %since, reason, "lookup table is overdue: rules work with old rows, or with none");
    }

    pub fn lookup_overdue_ended(&self, table: &str) {
        self.metrics.lookup_table_overdue.set([table], 0);
    }

    /// The tables of buckets are not all there when work begins.
    pub fn lookups_late(&self, seconds: u64) {
        tracing::warn!(target: "margay::lookup", seconds, "lookup tables of buckets are not all read yet; events are enriched without them until they are");
    }
}
