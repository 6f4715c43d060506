//! Exponential back-off with full jitter, for what is retried forever or handed back to a queue.

use std::time::Duration;

/// Delays that double from `first` up to `limit`; each is a random part of its step, at least a tenth. The randomness
/// is the thread's, so that a test on one thread can seed it.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    limit: Duration,
}

impl Backoff {
    pub const fn new(first: Duration, limit: Duration) -> Backoff {
        Backoff { first, limit }
    }

    /// The delay before retry number `attempt` (0 is the first retry).
    pub fn delay(&self, attempt: u32) -> Duration {
        let step = self.first.saturating_mul(1 << attempt.min(20)).min(self.limit);
        step.mul_f64(0.1 + 0.9 * fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_limit_and_stay_within_their_step() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        for (attempt, step) in [(0, 1), (1, 2), (5, 32), (6, 60), (1000, 60)] {
            let step = Duration::from_secs(step);
            for _ in 0..50 {
                let delay = backoff.delay(attempt);
                assert!(delay <= step && delay >= step / 11, "{delay:?} for step {step:?}");
            }
        }
    }
}
