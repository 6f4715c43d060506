//! Objects that no source takes, counted by bucket: which of them get a row of the ledger, and when the log names their
//! bucket.
//!
//! Such objects can come in any number: a bucket into which margay itself writes, or that gets the access logs of what
//! it reads, announces a new object for each one that was read. So rows and lines are rationed; all objects are
//! counted.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Rows of one bucket in one window.
const ROWS: u32 = 1000;
const WINDOW: Duration = Duration::from_secs(3600);

/// Between two lines about one bucket.
const QUIET: Duration = Duration::from_secs(300);

/// Buckets that are told apart. Whoever can send notifications can name any number of them; beyond this they share one
/// ration.
const MOST_BUCKETS: usize = 1000;

/// What stands for the buckets that are not told apart.
const OTHERS: &str = "";

/// Shared by all work.
#[derive(Default)]
pub struct Unrouted(Mutex<HashMap<String, Bucket>>);

struct Bucket {
    told: Option<Instant>,
    /// Since then.
    line: Line,
    window: Instant,
    rows: u32,
    /// Some object of the window has no row.
    is_short: bool,
}

/// What becomes of an object.
#[derive(Debug, PartialEq)]
pub(super) struct Seen {
    /// It is recorded in the ledger, and so can be replayed.
    pub(super) row: bool,
    /// It is time to tell of the bucket.
    pub(super) line: Option<Line>,
}

/// Objects of a bucket since it was told of last.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Line {
    pub(super) objects: u64,
    /// Of these, those that the ledger does not know.
    pub(super) without_row: u64,
}

impl Unrouted {
    pub(super) fn seen(&self, bucket: &str, now: Instant) -> Seen {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !buckets.contains_key(bucket) && buckets.len() >= MOST_BUCKETS {
            buckets.retain(|_, bucket| now.duration_since(bucket.window) < WINDOW);
        }
        let is_known = buckets.contains_key(bucket) || buckets.len() < MOST_BUCKETS;
        let new = || Bucket { told: None, line: Line::default(), window: now, rows: 0, is_short: false };
        let entry = buckets.entry(if is_known { bucket } else { OTHERS }.to_owned()).or_insert_with(new);
        if now.duration_since(entry.window) >= WINDOW {
            (entry.window, entry.rows, entry.is_short) = (now, 0, false);
        }
        let row = entry.rows < ROWS;
        entry.rows += u32::from(row);
        entry.line.objects += 1;
        entry.line.without_row += u64::from(!row);
        // From the first one without a row on, `replay` does not do everything: that is told at once, for nothing
        // further may come.
        let begins_to_be_short = !row && !std::mem::replace(&mut entry.is_short, true);
        let is_due = begins_to_be_short || entry.told.is_none_or(|told| now.duration_since(told) >= QUIET);
        let line = is_due.then(|| {
            entry.told = Some(now);
            std::mem::take(&mut entry.line)
        });
        Seen { row, line }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(unrouted: &Unrouted, bucket: &str, now: Instant) -> u32 {
        (0..2 * ROWS).map(|_| u32::from(unrouted.seen(bucket, now).row)).sum()
    }

    #[test]
    fn a_bucket_is_named_at_once_and_then_now_and_then_with_its_counts() {
        let (unrouted, start) = (Unrouted::default(), Instant::now());
        let line = |objects, without_row| Some(Line { objects, without_row });
        assert_eq!(unrouted.seen("a", start).line, line(1, 0));
        for _ in 1..ROWS {
            assert_eq!(unrouted.seen("a", start + QUIET / 2).line, None);
        }
        assert_eq!(unrouted.seen("b", start + QUIET / 2).line, line(1, 0), "another bucket is another matter");
        assert_eq!(unrouted.seen("a", start + QUIET / 2).line, line(1000, 1), "the first that has no row");
        assert_eq!(unrouted.seen("a", start + QUIET).line, None);
        assert_eq!(unrouted.seen("a", start + QUIET * 2).line, line(2, 2));
        let next = start + WINDOW;
        assert_eq!(unrouted.seen("a", next).line, line(1, 0));
        for _ in 1..ROWS {
            assert_eq!(unrouted.seen("a", next).line, None);
        }
        assert_eq!(unrouted.seen("a", next).line, line(1000, 1), "each window has its first");
    }

    #[test]
    fn each_bucket_has_its_rows_in_each_window() {
        let (unrouted, start) = (Unrouted::default(), Instant::now());
        for (bucket, now, expected) in
            [("a", start, ROWS), ("b", start, ROWS), ("a", start, 0), ("a", start + WINDOW, ROWS)]
        {
            assert_eq!(rows(&unrouted, bucket, now), expected, "{bucket}");
        }
    }

    #[test]
    fn any_number_of_buckets_costs_a_bounded_number_of_entries_lines_and_rows() {
        let (unrouted, start) = (Unrouted::default(), Instant::now());
        let seen: Vec<Seen> = (0..10 * MOST_BUCKETS).map(|n| unrouted.seen(&n.to_string(), start)).collect();
        assert_eq!(seen.iter().filter(|seen| seen.line.is_some()).count(), MOST_BUCKETS + 2);
        assert_eq!(seen.iter().filter(|seen| seen.row).count(), MOST_BUCKETS + ROWS as usize);
        assert_eq!(unrouted.0.lock().unwrap().len(), MOST_BUCKETS + 1);
        assert!(unrouted.seen("new", start + WINDOW).line.is_some(), "those of long ago make room");
    }
}
