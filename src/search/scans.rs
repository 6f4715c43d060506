//! What a query reads of the lake, as it is planned: a scan of a whole table is told, and refused when it is too large.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::common::{DataFusionError, Result};

use super::SearchError;
use crate::lake::columns::EVENT_TIME;
use crate::lake::names::TableId;
use crate::lake::tables::Condition;

/// Of one query.
#[derive(Debug)]
pub(super) struct Scans {
    /// The most bytes of files that may be read without a condition on time.
    limit: u64,
    unbounded: AtomicU64,
    tables: Mutex<BTreeSet<String>>,
}

impl Scans {
    pub(super) fn new(limit: u64) -> Scans {
        Scans { limit, unbounded: AtomicU64::new(0), tables: Mutex::default() }
    }

    /// So many bytes of files are what these conditions leave of a table, and are going to be read.
    pub(super) fn planned(&self, table: &TableId, conditions: &[Condition], bytes: u64) -> Result<()> {
        if bytes == 0 || conditions.iter().any(|condition| condition.column == EVENT_TIME) {
            return Ok(());
        }
        let all = self.unbounded.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.tables.lock().expect("no holder of this lock panics").insert(table.to_string());
        if all <= self.limit {
            return Ok(());
        }
        let error = SearchError::new(format!(
            "without a condition on time the query would read {} of {table} and others, and `search.max_unbounded_scan_mib` \
             allows {}; add one such as p_occurs_since('1 day')",
            size(all),
            size(self.limit)
        ));
        Err(DataFusionError::External(error.into()))
    }

    /// What who asks should know.
    pub(super) fn warnings(&self) -> Vec<String> {
        let tables = self.tables.lock().expect("no holder of this lock panics");
        if tables.is_empty() {
            return Vec::new();
        }
        let names = tables.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
        let more = if tables.len() > 3 { format!(" and {} more tables", tables.len() - 3) } else { String::new() };
        let bytes = size(self.unbounded.load(Ordering::Relaxed));
        vec![format!(
            "no condition on time: all of {names}{more} is read, {bytes}; add one such as p_occurs_since('1 day')"
        )]
    }
}

fn size(bytes: u64) -> String {
    const MIB: u64 = 1024 * 1024;
    if bytes < 10 * MIB { format!("{} KiB", bytes.div_ceil(1024)) } else { format!("{} MiB", bytes.div_ceil(MIB)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::tables::{Comparison, Scalar};

    #[test]
    fn only_scans_without_a_time_count() {
        let table = TableId::of_logs("margay_", "AWS.CloudTrail");
        let time =
            Condition { column: EVENT_TIME.into(), comparison: Comparison::GreaterOrEqual, value: Scalar::Time(0) };
        let scans = Scans::new(100);
        scans.planned(&table, &[time], 60).unwrap();
        assert!(scans.warnings().is_empty());
        scans.planned(&table, &[], 60).unwrap();
        assert!(scans.warnings()[0].contains("margay_logs.aws_cloudtrail"), "{:?}", scans.warnings());
        let refused = scans.planned(&table, &[], 60).unwrap_err().to_string();
        assert!(refused.contains("max_unbounded_scan"), "{refused}");
    }
}
