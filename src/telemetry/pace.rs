//! How fast the queue is worked off: what happened in the last minutes, kept minute by minute. Gauges are made of it
//! when the metrics are read.
//!
//! SQS tells the age of its oldest message only to CloudWatch, so it is taken from the messages that were received.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// How many minutes are looked back, the current one included.
const MINUTES: u64 = 5;

/// No queue keeps a message longer than SQS, which does for 14 days: a backlog that takes longer is lost in part.
const LONGEST: u64 = 14 * 24 * 60 * 60;

pub(super) struct Pace {
    started: Instant,
    minutes: Mutex<VecDeque<Minute>>,
}

#[derive(Default)]
struct Minute {
    number: u64,
    acknowledged: u64,
    oldest: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { started: Instant::now(), minutes: Mutex::default() }
    }
}

impl Pace {
    pub(super) fn acknowledged(&self) {
        self.in_this_minute(|minute| minute.acknowledged += 1);
    }

    /// A message was received that was sent so long ago.
    pub(super) fn received(&self, age: Duration) {
        self.in_this_minute(|minute| minute.oldest = minute.oldest.max(age));
    }

    /// Seconds; 0 when no message came in the last minutes.
    pub(super) fn oldest_age(&self) -> u64 {
        self.of_the_last_minutes(|minutes| minutes.map(|minute| minute.oldest.as_secs()).max().unwrap_or(0))
    }

    /// Seconds until `waiting` messages are worked off at the rate of the last minutes, 14 days at most.
    pub(super) fn drain_seconds(&self, waiting: u64) -> u64 {
        if waiting == 0 {
            return 0;
        }
        let acknowledged: u64 = self.of_the_last_minutes(|minutes| minutes.map(|minute| minute.acknowledged).sum());
        let elapsed = self.started.elapsed().as_secs_f64();
        let looked_back = elapsed.min((MINUTES - 1) as f64 * 60.0 + elapsed % 60.0).max(1.0);
        let rate = acknowledged as f64 / looked_back;
        // A rate of zero gives infinity, which becomes the limit.
        (waiting as f64 / rate).min(LONGEST as f64).ceil() as u64
    }

    fn in_this_minute(&self, change: impl FnOnce(&mut Minute)) {
        let number = self.number();
        let mut minutes = self.minutes.lock().unwrap_or_else(PoisonError::into_inner);
        if minutes.back().is_none_or(|minute| minute.number < number) {
            minutes.push_back(Minute { number, ..Minute::default() });
        }
        while minutes.front().is_some_and(|minute| minute.number + MINUTES <= number) {
            minutes.pop_front();
        }
        change(minutes.back_mut().expect("there is this minute at least"));
    }

    fn of_the_last_minutes<T>(&self, read: impl FnOnce(&mut dyn Iterator<Item = &Minute>) -> T) -> T {
        let number = self.number();
        let minutes = self.minutes.lock().unwrap_or_else(PoisonError::into_inner);
        read(&mut minutes.iter().filter(|minute| minute.number + MINUTES > number))
    }

    fn number(&self) -> u64 {
        self.started.elapsed().as_secs() / MINUTE.as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_oldest_message_of_the_last_minutes_counts() {
        let pace = Pace::default();
        assert_eq!(pace.oldest_age(), 0);
        pace.received(Duration::from_secs(70));
        tokio::time::advance(MINUTE * 2).await;
        pace.received(Duration::from_secs(5));
        assert_eq!(pace.oldest_age(), 70);
        tokio::time::advance(MINUTE * 4).await;
        assert_eq!(pace.oldest_age(), 5);
        tokio::time::advance(MINUTE * 9).await;
        assert_eq!(pace.oldest_age(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_backlog_drains_at_the_rate_of_the_last_minutes() {
        let pace = Pace::default();
        assert_eq!(pace.drain_seconds(0), 0);
        assert_eq!(pace.drain_seconds(1), LONGEST);
        for _ in 0..120 {
            tokio::time::advance(Duration::from_millis(500)).await;
            pace.acknowledged();
        }
        // Two a second.
        assert_eq!(pace.drain_seconds(1000), 500);
        tokio::time::advance(MINUTE * 3).await;
        assert_eq!(pace.drain_seconds(1000), 2000);
        tokio::time::advance(MINUTE * 9).await;
        assert_eq!(pace.drain_seconds(1000), LONGEST);
        assert_eq!(pace.drain_seconds(0), 0);
    }
}
