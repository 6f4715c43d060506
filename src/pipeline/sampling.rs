//! Which objects that no source takes get a row of the ledger: so many of each bucket in an hour. All are counted.

use std::collections::HashMap;
use std::sync::Mutex;

use time::{Duration, OffsetDateTime};

/// Rows of one bucket in one window.
const ROWS: u32 = 1000;
const WINDOW: Duration = Duration::HOUR;

/// Buckets that are told apart. What names a bucket comes from outside, and may name a new one each time.
const BUCKETS: usize = 1000;

#[derive(Default)]
pub struct Sampler(Mutex<HashMap<String, Window>>);

struct Window {
    started: OffsetDateTime,
    rows: u32,
}

impl Sampler {
    pub fn admits(&self, bucket: &str, now: OffsetDateTime) -> bool {
        let mut windows = self.0.lock().expect("no holder of this lock panics");
        let is_over = |window: &Window| now - window.started >= WINDOW;
        if windows.len() >= BUCKETS && !windows.contains_key(bucket) {
            windows.retain(|_, window| !is_over(window));
        }
        // Those that are too many share one window.
        let name = if windows.len() >= BUCKETS && !windows.contains_key(bucket) { "" } else { bucket };
        let window = windows.entry(name.to_owned()).or_insert(Window { started: now, rows: 0 });
        if is_over(window) {
            *window = Window { started: now, rows: 0 };
        }
        window.rows += 1;
        window.rows <= ROWS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: OffsetDateTime = time::macros::datetime!(2026-01-02 03:04 UTC);

    fn admitted(sampler: &Sampler, bucket: &str, now: OffsetDateTime) -> usize {
        (0..2 * ROWS).filter(|_| sampler.admits(bucket, now)).count()
    }

    #[test]
    fn each_bucket_has_its_rows_in_each_window() {
        let sampler = Sampler::default();
        for (bucket, now, rows) in
            [("a", START, ROWS), ("b", START, ROWS), ("a", START, 0), ("a", START + WINDOW, ROWS)]
        {
            assert_eq!(admitted(&sampler, bucket, now), rows as usize, "{bucket} {now}");
        }
    }

    #[test]
    fn endless_names_share_one_window() {
        let sampler = Sampler::default();
        let admitted = (0..10_000).filter(|n| sampler.admits(&format!("bucket-{n}"), START)).count();
        assert_eq!(admitted, BUCKETS + ROWS as usize);
        assert!(sampler.0.lock().unwrap().len() <= BUCKETS + 1);
    }
}
