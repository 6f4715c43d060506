//! When a failed delivery is tried again, and when not any more. Pure, but for the jitter.

use std::time::Duration;

use crate::alert::destination::Failure;
use crate::runtime::Backoff;

/// An alert that nobody took is given up after so many attempts…
pub(super) const MAX_ATTEMPTS: u32 = 10;
/// …and no sooner than in this time: a destination that is down for a day or a weekend loses nothing.
pub(super) const PATIENCE: time::Duration = time::Duration::days(3);
/// Of one that was refused.
pub(super) const REFUSED_ATTEMPTS: u32 = 3;

const BACKOFF: Backoff = Backoff::new(Duration::from_secs(30), Duration::from_secs(30 * 60));

/// The delay of the next attempt; `None`: there is none. `before` is the number of attempts before the one that failed,
/// `age` that of the alert.
pub(super) fn next_attempt(failure: Failure, before: u32, age: time::Duration) -> Option<Duration> {
    let attempts = before + 1;
    let delay = BACKOFF.delay(before);
    match failure {
        Failure::Permanent => None,
        Failure::Refused => (attempts < REFUSED_ATTEMPTS).then_some(delay),
        Failure::Unavailable(_) if attempts >= MAX_ATTEMPTS && age >= PATIENCE => None,
        Failure::Unavailable(after) => Some(delay.max(after.unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_down_is_waited_for_and_what_refuses_is_not() {
        let down = Failure::Unavailable(None);
        let day = time::Duration::DAY;
        assert!(next_attempt(down, 100, day).is_some());
        assert!(next_attempt(down, MAX_ATTEMPTS - 2, day * 30).is_some());
        assert_eq!(next_attempt(down, MAX_ATTEMPTS - 1, day * 3), None);
        assert!(next_attempt(Failure::Refused, 1, day).is_some());
        assert_eq!(next_attempt(Failure::Refused, 2, time::Duration::ZERO), None);
        assert_eq!(next_attempt(Failure::Permanent, 0, time::Duration::ZERO), None);
    }

    #[test]
    fn a_destination_that_says_when_is_not_asked_sooner() {
        let hour = Duration::from_secs(3600);
        assert_eq!(next_attempt(Failure::Unavailable(Some(hour)), 0, time::Duration::ZERO), Some(hour));
    }
}
