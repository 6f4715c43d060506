//! What the earlier tries of an object mean for this one. Pure: the ledger counts, this decides.
//!
//! A message that was received often is no reason for anything: it may have waited for others each time. What counts
//! is how the tries of this object went.

use std::time::Duration;

use crate::model::Code;
use crate::runtime::Backoff;
use crate::state::{Attempts, ObjectOutcome, ObjectState};

/// A missing or forbidden object is looked for this many times before that becomes its outcome: a permission or a
/// replica may be late.
const PATIENCE: u32 = 3;

/// Between those looks, so that the last is within a minute of the first.
pub(super) const PATIENCE_DELAY: Duration = Duration::from_secs(20);

/// Between tries for any other reason, by how often there was that reason. There is no last one: what is out of reach
/// for now (a store, a network, a lake) stays in the queue until it is within reach again.
const RETRY: Backoff = Backoff::new(Duration::from_secs(30), Duration::from_secs(900));

/// Given for a claim that ends because the work panicked.
pub(super) const PANIC: &str = "panic";
pub(super) const PANICKED: &str = "the work on it panicked; this is a bug of margay";

/// The outcome of an object that takes down whoever reads it.
pub(super) fn crash_suspect(attempts: &Attempts, poison_after: u32) -> Option<ObjectOutcome> {
    let crashes = attempts.crashed.saturating_add(attempts.given_up_for(PANIC));
    (crashes >= poison_after).then(|| {
        let reason = Code::CrashSuspect.with(format_args!(
            "it was begun {crashes} times and the work on it never came to an end; look into the log for what ended, \
             then announce the object again"
        ));
        ObjectOutcome::without_events(ObjectState::Quarantined, reason)
    })
}

/// Whether a try that failed like this was the last one that patience allows.
pub(super) fn is_last_look(attempts: &Attempts, reason: &str) -> bool {
    looks_left(attempts, reason) == 0
}

/// Looks that patience has left after one that fails now.
pub(super) fn looks_left(attempts: &Attempts, reason: &str) -> u32 {
    PATIENCE.saturating_sub(attempts.given_up_for(reason) + 1)
}

/// Whether the object was read to a fault before.
pub(super) fn was_partial(attempts: &Attempts) -> bool {
    attempts.given_up_for(ObjectState::Partial.as_str()) > 0
}

/// How long the next try waits after one that failed for this reason.
pub(super) fn delay(attempts: &Attempts, reason: &str) -> Duration {
    RETRY.delay(attempts.given_up_for(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(crashed: u32, given_up: &[(&str, u32)]) -> Attempts {
        let given_up: std::collections::BTreeMap<_, _> =
            given_up.iter().map(|(reason, times)| ((*reason).to_owned(), *times)).collect();
        Attempts { started: crashed + given_up.values().sum::<u32>() + 1, crashed, given_up }
    }

    #[test]
    fn only_crashes_make_a_suspect() {
        assert_eq!(crash_suspect(&attempts(7, &[("fetch", 100), ("partial", 1)]), 8), None);
        for crashed in [attempts(8, &[]), attempts(5, &[(PANIC, 3)])] {
            let outcome = crash_suspect(&crashed, 8).unwrap();
            assert_eq!(outcome.state, ObjectState::Quarantined);
            assert!(outcome.reason.starts_with("crash_suspect: it was begun 8 times"), "{}", outcome.reason);
        }
    }

    #[test]
    fn patience_counts_tries_of_its_own_kind() {
        let tries = attempts(4, &[("fetch", 9), ("missing", 1)]);
        assert!(!is_last_look(&tries, "missing") && !is_last_look(&tries, "forbidden"));
        assert!(is_last_look(&attempts(0, &[("missing", 2)]), "missing"));
    }

    #[test]
    fn delays_grow_with_the_same_failure_and_end_at_a_quarter_of_an_hour() {
        let tries = attempts(0, &[("fetch", 20)]);
        assert!(delay(&tries, "lake") <= Duration::from_secs(30));
        let long = delay(&tries, "fetch");
        assert!(long >= Duration::from_secs(90) && long <= Duration::from_secs(900), "{long:?}");
    }
}
