//! Rules that overran or killed their worker again and again are switched off, for a while that doubles each time. Not
//! for good: the reason may be one hostile stretch of log, which must not silence a rule for ever.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// So many strikes, each within [`FORGIVEN`] of the one before, switch a rule off.
const LIMIT: u32 = 5;
const FORGIVEN: Duration = Duration::from_secs(600);
const FIRST_PAUSE: Duration = Duration::from_secs(600);
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// Of the rules of one generation, by index.
#[derive(Default)]
pub(super) struct Strikes(Mutex<HashMap<u32, Record>>);

struct Record {
    strikes: u32,
    last: Instant,
    /// How often it was switched off.
    pauses: u32,
    off_until: Option<Instant>,
    /// What it did the last time.
    cause: String,
}

/// For how long a rule is switched off from now on, and why.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pause {
    pub(super) rule: u32,
    pub(super) left: Duration,
    pub(super) cause: String,
}

impl Strikes {
    /// Counts a strike, and keeps why; for how long the rule is off when this one switches it off.
    pub(super) fn add(&self, rule: u32, cause: &str) -> Option<Duration> {
        let now = Instant::now();
        let mut records = self.0.lock().expect("no holder of this lock panics");
        let fresh = Record { strikes: 0, last: now, pauses: 0, off_until: None, cause: String::new() };
        let record = records.entry(rule).or_insert(fresh);
        if now - record.last > FORGIVEN {
            record.strikes = 0;
        }
        record.strikes += 1;
        record.last = now;
        cause.clone_into(&mut record.cause);
        if record.strikes < LIMIT {
            return None;
        }
        record.strikes = 0;
        let pause = (FIRST_PAUSE * 2u32.pow(record.pauses.min(10))).min(LONGEST_PAUSE);
        record.off_until = Some(now + pause);
        record.pauses += 1;
        Some(pause)
    }

    /// The rules that are switched off now.
    pub(super) fn disabled(&self) -> Vec<u32> {
        let now = Instant::now();
        let records = self.0.lock().expect("no holder of this lock panics");
        let off = |record: &Record| record.off_until.is_some_and(|until| now < until);
        records.iter().filter(|(_, record)| off(record)).map(|(rule, _)| *rule).collect()
    }

    /// The same with why, and for how long yet.
    pub(super) fn pauses(&self) -> Vec<Pause> {
        let now = Instant::now();
        let records = self.0.lock().expect("no holder of this lock panics");
        let pause = |(rule, record): (&u32, &Record)| {
            let left = record.off_until?.checked_duration_since(now).filter(|left| !left.is_zero())?;
            Some(Pause { rule: *rule, left, cause: record.cause.clone() })
        };
        records.iter().filter_map(pause).collect()
    }

    /// Forgets all that was counted of a rule, which is on from then on.
    pub(super) fn forgive(&self, rule: u32) {
        self.0.lock().expect("no holder of this lock panics").remove(&rule);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn a_rule_is_switched_off_for_a_while_that_doubles() {
        let strikes = Strikes::default();
        for pause in [FIRST_PAUSE, FIRST_PAUSE * 2] {
            let switched: Vec<_> = (0..LIMIT).map(|_| strikes.add(7, "it hung")).collect();
            assert_eq!(switched, [None, None, None, None, Some(pause)]);
            assert_eq!(strikes.disabled(), [7]);
            advance(pause - Duration::from_secs(1)).await;
            assert_eq!(strikes.disabled(), [7]);
            advance(Duration::from_secs(1)).await;
            assert!(strikes.disabled().is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rule_that_is_forgiven_is_on_and_begins_anew() {
        let strikes = Strikes::default();
        for strike in 0..LIMIT {
            strikes.add(7, &format!("strike {strike}"));
        }
        advance(Duration::from_secs(100)).await;
        let left = FIRST_PAUSE - Duration::from_secs(100);
        assert_eq!(strikes.pauses(), [Pause { rule: 7, left, cause: "strike 4".into() }]);
        strikes.forgive(7);
        assert!(strikes.pauses().is_empty() && strikes.disabled().is_empty());
        let again: Vec<_> = (0..LIMIT).map(|_| strikes.add(7, "it hung")).collect();
        assert_eq!(again.last(), Some(&Some(FIRST_PAUSE)), "the first pause is the short one again");
    }

    #[tokio::test(start_paused = true)]
    async fn rare_strikes_are_forgiven() {
        let strikes = Strikes::default();
        for _ in 0..20 {
            assert_eq!(strikes.add(1, "it hung"), None);
            advance(FORGIVEN + Duration::from_secs(1)).await;
        }
    }
}
