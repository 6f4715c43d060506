//! A token bucket: attempts to one destination in a minute. What finds no token waits in the outbox. Pure.

use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Rate {
    per_second: f64,
    most: f64,
    tokens: f64,
    filled: Instant,
}

impl Rate {
    pub(super) fn new(per_minute: u32, now: Instant) -> Rate {
        // At once there may go what is due in ten seconds, and one in any case.
        let most = (f64::from(per_minute) / 6.0).max(1.0);
        Rate { per_second: f64::from(per_minute) / 60.0, most, tokens: most, filled: now }
    }

    /// Whole tokens.
    pub(super) fn room(&mut self, now: Instant) -> u32 {
        let passed = now.duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.most);
        self.filled = now;
        // Saturates, and was at least 0 before.
        self.tokens as u32
    }

    /// Not more than there was room for.
    pub(super) fn take(&mut self, attempts: usize) {
        self.tokens = (self.tokens - attempts as f64).max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_minute_has_no_more_attempts_than_it_may() {
        let start = Instant::now();
        let mut rate = Rate::new(60, start);
        assert_eq!(rate.room(start), 10);
        rate.take(10);
        assert_eq!(rate.room(start), 0);
        assert_eq!(rate.room(start + Duration::from_millis(1500)), 1);
        assert_eq!(rate.room(start + Duration::from_secs(3600)), 10);
        assert_eq!(Rate::new(1, start).room(start), 1);
        assert!(Rate::new(u32::MAX, start).room(start) > 1_000_000);
    }
}
