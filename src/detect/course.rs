//! What a worker may say while it evaluates a batch, and in which order. Whoever has broken out of the interpreter can say
//! anything, so that each reply is one that a worker could give at this point, and there can't be more of them than the
//! batch has calls. Pure.

use std::collections::BTreeSet;

use super::protocol::{EventCalls, Outcome, Spent};
use super::worker::Progress;

pub(super) struct Course<'a> {
    calls: &'a [EventCalls],
    rules: BTreeSet<u32>,
    /// Calls are announced.
    careful: bool,
    /// What was announced last and has not ended.
    calling: Option<(u32, u32)>,
    announced: Option<Turn>,
    /// Nothing comes before it any more.
    last: Turn,
    /// Outcomes that may still come, parts of the answer, and bytes of all outcomes.
    outcomes: usize,
    parts: usize,
    bytes: usize,
}

/// Of the outcomes of one batch, which lie in memory until they are stored. A worker cuts alert contexts long before.
const MOST_BYTES: usize = 1024 * 1024 * 1024;

/// An event, and the place of a rule among those that it is given to, in the order in which they run.
type Turn = (u32, usize);

impl<'a> Course<'a> {
    /// Of calls of which some may be done already.
    pub(super) fn new(calls: &'a [EventCalls], careful: bool) -> Course<'a> {
        let outcomes = calls.iter().map(|call| call.rules.len()).sum();
        Course {
            calls,
            rules: calls.iter().flat_map(|call| &call.rules).copied().collect(),
            careful,
            calling: None,
            announced: None,
            last: (0, 0),
            outcomes,
            // One after an event, one because outcomes are many, and the last.
            parts: calls.len() + outcomes + 1,
            bytes: MOST_BYTES,
        }
    }

    /// The call that is under way, if it is known.
    pub(super) fn calling(&self) -> Option<(u32, u32)> {
        self.calling
    }

    /// Calls that there are to be made.
    pub(super) fn calls(&self) -> usize {
        self.calls.iter().map(|call| call.rules.len()).sum()
    }

    /// Whether the event was to be given to the rule.
    pub(super) fn is_asked(&self, event: u32, rule: u32) -> bool {
        self.turn(event, rule).is_some()
    }

    fn turn(&self, event: u32, rule: u32) -> Option<Turn> {
        let at = self.calls.get(event as usize)?.rules.iter().position(|own| *own == rule)?;
        Some((event, at))
    }

    /// A call is announced, each once and in turn; whether that may be.
    pub(super) fn announces(&mut self, event: u32, rule: u32) -> bool {
        let turn = self.turn(event, rule);
        let is_next = self.careful && turn.is_some_and(|turn| turn >= self.last) && turn > self.announced;
        if is_next {
            (self.calling, self.announced) = (Some((event, rule)), turn);
        }
        is_next
    }

    /// A rule asks for something, in turn, so that a bound on what one asks on one event holds; whether that may be.
    pub(super) fn asks(&mut self, event: u32, rule: u32) -> bool {
        let Some(turn) = self.turn(event, rule).filter(|turn| *turn >= self.last) else { return false };
        self.last = turn;
        true
    }

    /// A part of the answer; whether it may be, and then `progress` has it.
    pub(super) fn goes_on(
        &mut self,
        through: u32,
        outcomes: Vec<Outcome>,
        spent: &[Spent],
        progress: &mut Progress,
    ) -> bool {
        let bytes: usize = outcomes.iter().map(|outcome| outcome.functions.size()).sum();
        let may_be = (progress.through as usize..=self.calls.len()).contains(&(through as usize))
            && self.parts > 0
            && outcomes.len() <= self.outcomes
            && outcomes.iter().all(|outcome| self.is_asked(outcome.event, outcome.rule))
            && outcomes.iter().all(|outcome| outcome.functions.is_plausible())
            && bytes <= self.bytes
            && spent.len() <= self.rules.len()
            && spent.iter().all(|spent| self.rules.contains(&spent.rule));
        if may_be {
            self.parts -= 1;
            self.outcomes -= outcomes.len();
            self.bytes -= bytes;
            self.calling = None;
            self.last = self.last.max((through, 0));
            progress.through = through;
            progress.outcomes.extend(outcomes);
            spent.iter().for_each(|spent| spent.add_to(&mut progress.spent));
        }
        may_be
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::detect::protocol::{Fault, Functions};

    fn calls(rules: &[&[u32]]) -> Vec<EventCalls> {
        let event = || RawValue::from_string("{}".into()).unwrap();
        rules.iter().map(|rules| EventCalls { rules: rules.to_vec(), matching: Vec::new(), event: event() }).collect()
    }

    fn outcome(event: u32, rule: u32) -> Outcome {
        Outcome { event, rule, functions: Functions::default() }
    }

    #[test]
    fn calls_are_announced_once_and_in_turn() {
        let calls = calls(&[&[5, 3], &[], &[3]]);
        let mut course = Course::new(&calls, true);
        for ((event, rule), may_be) in [
            ((0, 9), false),
            ((7, 5), false),
            ((0, 5), true),
            ((0, 5), false),
            ((0, 3), true),
            ((0, 5), false),
            ((2, 3), true),
            ((2, 3), false),
        ] {
            assert_eq!(course.announces(event, rule), may_be, "{event} {rule}");
        }
        assert_eq!(course.calling(), Some((2, 3)));
        assert!(!Course::new(&calls, false).announces(0, 5), "nobody asked for it");
    }

    #[test]
    fn rules_ask_in_turn_and_not_for_what_is_done() {
        let calls = calls(&[&[5, 3], &[3]]);
        let (mut course, mut progress) = (Course::new(&calls, false), Progress::default());
        assert!(course.asks(0, 3) && course.asks(0, 3) && !course.asks(0, 5));
        assert!(course.goes_on(1, Vec::new(), &[], &mut progress));
        assert!(!course.asks(0, 3) && course.asks(1, 3) && !course.asks(1, 5));
    }

    #[test]
    fn outcomes_are_what_a_rule_can_come_to() {
        let calls = calls(&[&[5]]);
        let may_be = |functions: Functions| {
            let outcome = Outcome { event: 0, rule: 5, functions };
            Course::new(&calls, false).goes_on(1, vec![outcome], &[], &mut Progress::default())
        };
        let failed = |function: &str| Functions {
            faults: [(function.to_owned(), Fault::default())].into(),
            ..Functions::default()
        };
        assert!(may_be(failed("alert_context")) && !may_be(failed("a name that a metric would have for ever")));
        let titled = |length: usize| Functions { title: Some("x".repeat(length)), ..Functions::default() };
        assert!(may_be(titled(4000)) && !may_be(titled(5 * 1024 * 1024)));
    }

    #[test]
    fn there_are_no_more_parts_and_outcomes_than_calls() {
        let calls = calls(&[&[5, 3], &[3]]);
        let (mut course, mut progress) = (Course::new(&calls, true), Progress::default());
        let parts = (0..).take_while(|_| course.goes_on(0, Vec::new(), &[], &mut progress)).count();
        assert_eq!(parts, 6);
        let (mut course, mut progress) = (Course::new(&calls, true), Progress::default());
        assert!(!course.goes_on(0, vec![outcome(1, 5)], &[], &mut progress));
        assert!(!course.goes_on(3, Vec::new(), &[], &mut progress));
        assert!(!course.goes_on(0, Vec::new(), &[Spent { rule: 9, ..Spent::default() }], &mut progress));
        assert!(!course.goes_on(0, Vec::new(), &[Spent { rule: 3, ..Spent::default() }; 3], &mut progress));
        let outcomes = (0..).take_while(|_| course.goes_on(0, vec![outcome(0, 5)], &[], &mut progress)).count();
        assert_eq!((outcomes, progress.outcomes.len()), (3, 3));
        assert!(
            course.goes_on(2, Vec::new(), &[], &mut progress) && !course.goes_on(1, Vec::new(), &[], &mut progress)
        );
    }
}
