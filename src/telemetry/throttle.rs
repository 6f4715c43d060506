//! Keeps a line that anybody can cause from filling the log: the first is written, then one an interval, and each says
//! how many were left out before it. Metrics count every one.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Between two lines about the same.
const INTERVAL: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Throttle(Mutex<State>);

#[derive(Default)]
struct State {
    last: Option<Instant>,
    left_out: u64,
}

impl Throttle {
    /// Whether to write a line now, and then how many were left out since the last.
    pub(super) fn admit(&self) -> Option<u64> {
        let now = Instant::now();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| now - last < INTERVAL) {
            state.left_out += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_line_an_interval_that_says_what_was_left_out() {
        let throttle = Throttle::default();
        let told: Vec<Option<u64>> = (0..3).map(|_| throttle.admit()).collect();
        assert_eq!(told, [Some(0), None, None]);
        tokio::time::advance(INTERVAL).await;
        assert_eq!(throttle.admit(), Some(2));
        assert_eq!(throttle.admit(), None);
    }
}
