//! What the calls of rules cost in this process, added up by rule. One look at the clock ends a call and begins the next:
//! a call into Python takes microseconds, and measuring it must not be what it costs.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::detect::protocol::Spent;

#[derive(Default)]
pub(super) struct Laps {
    rules: BTreeMap<u32, Spent>,
    running: Option<(u32, Instant)>,
}

impl Laps {
    /// A call of this rule begins; the one before has ended.
    pub(super) fn begin(&mut self, rule: u32) {
        let now = Instant::now();
        self.end_at(now);
        self.running = Some((rule, now));
    }

    /// What runs now is no rule's.
    pub(super) fn end(&mut self) {
        if self.running.is_some() {
            self.end_at(Instant::now());
        }
    }

    /// Takes what has ended.
    pub(super) fn take(&mut self) -> Vec<Spent> {
        std::mem::take(&mut self.rules).into_values().collect()
    }

    fn end_at(&mut self, now: Instant) {
        let Some((rule, since)) = self.running.take() else { return };
        let nanos = u64::try_from((now - since).as_nanos()).unwrap_or(u64::MAX);
        let spent = self.rules.entry(rule).or_insert(Spent { rule, calls: 0, nanos: 0, longest_nanos: 0 });
        spent.calls += 1;
        spent.nanos = spent.nanos.saturating_add(nanos);
        spent.longest_nanos = spent.longest_nanos.max(nanos);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_added_up_by_rule_and_told_once() {
        let mut laps = Laps::default();
        for rule in [3, 1, 3] {
            laps.begin(rule);
        }
        let ended: Vec<_> = laps.take().into_iter().map(|spent| (spent.rule, spent.calls)).collect();
        assert_eq!(ended, [(1, 1), (3, 1)], "the last call has not ended");
        laps.end();
        laps.end();
        let ended = laps.take();
        assert_eq!((ended.len(), ended[0].rule, ended[0].calls), (1, 3, 1));
        assert_eq!(ended[0].longest_nanos, ended[0].nanos);
        assert_eq!(laps.take(), []);
    }
}
