//! What the calls of rules cost in this process, added up by rule. One look at the clock ends a call and begins the next:
//! a call into Python takes microseconds, and measuring it must not be what it costs. What a rule waits for the daemon is
//! counted apart: a slow state store is none of its faults.

use std::collections::BTreeMap;
use std::time::Instant;

use super::watch::Watch;
use crate::detect::protocol::Spent;

pub(super) struct Laps<'a> {
    watch: &'a Watch,
    rules: BTreeMap<u32, Spent>,
    running: Option<Running>,
}

struct Running {
    rule: u32,
    since: Instant,
    /// What had been waited until then.
    waited_nanos: u64,
}

impl<'a> Laps<'a> {
    /// `watch` knows what was waited for.
    pub(super) fn new(watch: &'a Watch) -> Laps<'a> {
        Laps { watch, rules: BTreeMap::new(), running: None }
    }

    /// A call of this rule begins; the one before has ended.
    pub(super) fn begin(&mut self, rule: u32) {
        let now = Instant::now();
        self.end_at(now);
        self.running = Some(Running { rule, since: now, waited_nanos: self.watch.waited_nanos() });
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
        let Some(Running { rule, since, waited_nanos }) = self.running.take() else { return };
        let waited = self.watch.waited_nanos().saturating_sub(waited_nanos);
        let nanos = u64::try_from((now - since).as_nanos()).unwrap_or(u64::MAX).saturating_sub(waited);
        let spent = self.rules.entry(rule).or_insert(Spent { rule, ..Spent::default() });
        spent.waited_nanos = spent.waited_nanos.saturating_add(waited);
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
        let watch = Watch::default();
        let mut laps = Laps::new(&watch);
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

    #[test]
    fn a_wait_is_counted_apart() {
        let watch = Watch::default();
        let mut laps = Laps::new(&watch);
        drop(watch.wait());
        let before = watch.waited_nanos();
        laps.begin(1);
        drop(watch.wait());
        laps.begin(2);
        laps.end();
        let [first, second] = laps.take().try_into().unwrap();
        assert_eq!((first.waited_nanos, second.waited_nanos), (watch.waited_nanos() - before, 0));
        assert!(before > 0 && first.waited_nanos > 0);
    }
}
