//! Objects that no source takes, counted by bucket, so that the log names each such bucket now and then and not each object.
//!
//! Such objects can come in any number: a bucket into which margay itself writes, or that gets the access logs of what it
//! reads, announces a new object for each one that was read.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Between two lines about one bucket.
const QUIET: Duration = Duration::from_secs(300);

/// Buckets that are remembered. Whoever can send notifications can name any number of them; beyond this they share one line.
const MOST_BUCKETS: usize = 1000;

/// What stands for the buckets that are not remembered.
const OTHERS: &str = "";

/// Shared by all work.
#[derive(Default)]
pub struct Unrouted(Mutex<HashMap<String, Bucket>>);

struct Bucket {
    told: Instant,
    /// Since then.
    objects: u64,
}

impl Unrouted {
    /// Counts an object; how many there were since the last line, when it is time for one.
    pub(super) fn seen(&self, bucket: &str, now: Instant) -> Option<u64> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !buckets.contains_key(bucket) && buckets.len() >= MOST_BUCKETS {
            buckets.retain(|_, bucket| now.duration_since(bucket.told) < QUIET);
        }
        let is_known = buckets.contains_key(bucket) || buckets.len() < MOST_BUCKETS;
        let name = if is_known { bucket } else { OTHERS };
        let Some(entry) = buckets.get_mut(name) else {
            buckets.insert(name.to_owned(), Bucket { told: now, objects: 0 });
            return Some(1);
        };
        entry.objects += 1;
        if now.duration_since(entry.told) < QUIET {
            return None;
        }
        entry.told = now;
        Some(std::mem::take(&mut entry.objects))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_named_at_once_and_then_now_and_then_with_its_count() {
        let (unrouted, start) = (Unrouted::default(), Instant::now());
        assert_eq!(unrouted.seen("a", start), Some(1));
        for _ in 0..100 {
            assert_eq!(unrouted.seen("a", start + QUIET / 2), None);
        }
        assert_eq!(unrouted.seen("b", start + QUIET / 2), Some(1), "another bucket is another matter");
        assert_eq!(unrouted.seen("a", start + QUIET), Some(101));
        assert_eq!(unrouted.seen("a", start + QUIET), None);
    }

    #[test]
    fn any_number_of_buckets_costs_a_bounded_number_of_entries_and_lines() {
        let (unrouted, start) = (Unrouted::default(), Instant::now());
        let lines = (0..10 * MOST_BUCKETS).filter_map(|n| unrouted.seen(&n.to_string(), start)).count();
        assert_eq!(lines, MOST_BUCKETS + 1);
        assert_eq!(unrouted.0.lock().unwrap().len(), MOST_BUCKETS + 1);
        assert_eq!(unrouted.seen("new", start + QUIET), Some(1), "those of long ago make room");
    }
}
