//! Asks a bucket slower after it has said that it is asked too fast, and faster again while it is content.
//!
//! One bucket's limit is nobody else's: a bucket that was never throttled is never slowed. Source: Amazon S3 user
//! guide, "Best practices design patterns" (request rates are limited per prefix; clients reduce theirs after a 503).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

/// Between requests after the first refusal.
const FIRST_GAP: Duration = Duration::from_millis(50);

const WIDEST_GAP: Duration = Duration::from_secs(2);

/// A smaller gap is none.
const NO_GAP: Duration = Duration::from_millis(5);

/// Refusals of requests that were on their way at the same moment count as one.
const MOMENT: Duration = Duration::from_millis(500);

/// The buckets that are slowed down, which are a few of the configured ones.
#[derive(Default)]
pub(super) struct Pace(Mutex<HashMap<String, Slowed>>);

struct Slowed {
    gap: Duration,
    /// When the next request may go.
    next: Instant,
    widened: Instant,
}

impl Pace {
    /// Waits for the turn of a request. Turns are given in the order of asking.
    pub(super) async fn turn(&self, bucket: &str) {
        let turn = {
            let mut buckets = self.locked();
            let Some(slowed) = buckets.get_mut(bucket) else { return };
            let turn = slowed.next.max(Instant::now());
            slowed.next = turn + slowed.gap;
            turn
        };
        tokio::time::sleep_until(turn).await;
    }

    pub(super) fn refused(&self, bucket: &str) {
        let now = Instant::now();
        let mut buckets = self.locked();
        match buckets.get_mut(bucket) {
            Some(slowed) if now < slowed.widened + MOMENT => {}
            Some(slowed) => {
                slowed.gap = (slowed.gap * 2).min(WIDEST_GAP);
                slowed.widened = now;
            }
            None => {
                let slowed = Slowed { gap: FIRST_GAP, next: now + FIRST_GAP, widened: now };
                buckets.insert(bucket.to_owned(), slowed);
            }
        }
    }

    pub(super) fn went_well(&self, bucket: &str) {
        let mut buckets = self.locked();
        if let Some(slowed) = buckets.get_mut(bucket) {
            slowed.gap = slowed.gap * 9 / 10;
            if slowed.gap < NO_GAP {
                buckets.remove(bucket);
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<String, Slowed>> {
        self.0.lock().expect("nobody panics while holding the paces")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long so many requests take one after the other.
    async fn took(pace: &Pace, bucket: &str, requests: u32) -> Duration {
        let start = Instant::now();
        for _ in 0..requests {
            pace.turn(bucket).await;
        }
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_bucket_is_asked_slower_and_no_other_one() {
        let pace = Pace::default();
        assert_eq!(took(&pace, "a", 10).await, Duration::ZERO);
        for _ in 0..8 {
            pace.refused("a");
        }
        assert!(took(&pace, "a", 10).await.abs_diff(FIRST_GAP * 10) < Duration::from_millis(20), "one moment");
        assert_eq!(took(&pace, "b", 10).await, Duration::ZERO);
        for _ in 0..20 {
            tokio::time::sleep(MOMENT).await;
            pace.refused("a");
        }
        pace.turn("a").await;
        assert!(took(&pace, "a", 3).await.abs_diff(WIDEST_GAP * 3) < Duration::from_millis(20), "never slower");
        for _ in 0..100 {
            pace.went_well("a");
        }
        assert_eq!(took(&pace, "a", 10).await, Duration::ZERO);
    }
}
