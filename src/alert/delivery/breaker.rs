//! Leaves a destination alone that is down: after several failures in a row, or when it asks for it, nothing is sent for a
//! while, then a few deliveries to see. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row.
const PATIENCE: u32 = 5;
/// Sent when the time is over. More than one, so that a bad payload alone does not decide.
const PROBES: u32 = 3;
const FIRST: Duration = Duration::from_secs(15);
const LONGEST: Duration = Duration::from_secs(5 * 60);

#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// Since the last success.
    failures: u32,
    /// How often it has opened since then.
    opened: u32,
    until: Option<Instant>,
}

impl Breaker {
    pub(super) fn is_open(&self) -> bool {
        self.until.is_some()
    }

    /// How many may be sent at once.
    pub(super) fn room(&self, now: Instant) -> u32 {
        match self.until {
            None => u32::MAX,
            Some(until) if now < until => 0,
            Some(_) => PROBES,
        }
    }

    pub(super) fn succeeded(&mut self) {
        *self = Breaker::default();
    }

    /// `after` is what the destination asked for.
    pub(super) fn failed(&mut self, now: Instant, after: Option<Duration>) {
        self.failures += 1;
        let is_waiting = self.until.is_some_and(|until| now < until);
        if self.failures >= PATIENCE && !is_waiting {
            let pause = FIRST.saturating_mul(1 << self.opened.min(10)).min(LONGEST);
            self.until = Some(now + pause);
            self.opened += 1;
        }
        if let Some(after) = after {
            self.until = Some(self.until.unwrap_or(now).max(now + after));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row_and_closes_with_one_success() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        for _ in 1..PATIENCE {
            breaker.failed(start, None);
        }
        assert_eq!(breaker.room(start), u32::MAX);
        breaker.failed(start, None);
        assert_eq!((breaker.room(start), breaker.room(start + FIRST)), (0, PROBES));
        breaker.failed(start + FIRST, None);
        assert_eq!((breaker.room(start + FIRST * 2), breaker.room(start + FIRST * 3)), (0, PROBES));
        for _ in 0..20 {
            breaker.failed(start + LONGEST * 100, None);
        }
        assert_eq!(breaker.room(start + LONGEST * 101), PROBES);
        breaker.succeeded();
        assert_eq!(breaker.room(start), u32::MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_destination_that_asks_for_time_has_it() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        breaker.failed(start, Some(Duration::from_secs(40)));
        assert_eq!(breaker.room(start + Duration::from_secs(39)), 0);
        assert_eq!(breaker.room(start + Duration::from_secs(40)), PROBES);
    }
}
