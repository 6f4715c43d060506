//! What of a batch goes to the rule workers: the events that guards let through, each with the rules that Python has to run.

use std::collections::BTreeMap;

use super::guard::Admitted;
use super::protocol::EventCalls;
use super::ruleset::RuleSet;
use crate::model::EventBatch;

/// A batch is cut once it has more than a MiB of records, so one of more than this has a record that is not worth the
/// time of a guard: its rules are Python's, which runs within limits of time and memory.
const MOST_GUARDED_BYTES: u64 = 2 * 1024 * 1024;

pub(super) struct Plan {
    /// Of each call's event in the batch.
    pub(super) positions: Vec<usize>,
    pub(super) calls: Vec<EventCalls>,
    pub(super) tally: Tally,
}

/// Who decided how often.
#[derive(Default)]
pub(super) struct Tally {
    /// Events by log type, of those that any rule waits for.
    events: BTreeMap<String, u64>,
    /// Calls that go to Python, by rule.
    asked: BTreeMap<u32, u64>,
    /// Events times the rules of their log type.
    evaluations: u64,
}

impl Plan {
    /// CPU work: the caller runs it where it may block.
    pub(super) fn of(set: &RuleSet, batch: &EventBatch) -> Plan {
        let mut plan = Plan { positions: Vec::new(), calls: Vec::new(), tally: Tally::default() };
        for (at, event) in batch.events.iter().enumerate() {
            let all = set.for_log_type(&event.log_type).len() as u64;
            if all == 0 {
                continue;
            }
            plan.tally.evaluations += all;
            match plan.tally.events.get_mut(&*event.log_type) {
                Some(count) => *count += 1,
                None => drop(plan.tally.events.insert(event.log_type.to_string(), 1)),
            }
            let Admitted { rules, matching } = match batch.bytes {
                ..=MOST_GUARDED_BYTES => set.for_event(event),
                _ => Admitted { rules: set.for_log_type(&event.log_type).to_vec(), matching: Vec::new() },
            };
            if rules.is_empty() {
                continue;
            }
            for rule in &rules {
                *plan.tally.asked.entry(*rule).or_default() += 1;
            }
            let event = serde_json::value::to_raw_value(&event.fields).expect("an event has string keys");
            plan.positions.push(at);
            plan.calls.push(EventCalls { rules, matching, event });
        }
        plan
    }
}

impl Tally {
    pub(super) fn evaluations(&self) -> u64 {
        self.evaluations
    }

    pub(super) fn python_calls(&self) -> u64 {
        self.asked.values().sum()
    }

    /// Calls of this rule that go to Python.
    pub(super) fn asked(&self, rule: u32) -> u64 {
        self.asked.get(&rule).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, other: &Tally) {
        for (log_type, events) in &other.events {
            match self.events.get_mut(log_type) {
                Some(sum) => *sum += events,
                None => drop(self.events.insert(log_type.clone(), *events)),
            }
        }
        for (rule, asked) in &other.asked {
            *self.asked.entry(*rule).or_default() += asked;
        }
        self.evaluations += other.evaluations;
    }

    /// How many events each rule had to decide on, by whomever it was decided.
    pub(super) fn visits(&self, set: &RuleSet) -> BTreeMap<u32, u64> {
        let mut visits: BTreeMap<u32, u64> = BTreeMap::new();
        for (log_type, events) in &self.events {
            for rule in set.for_log_type(log_type) {
                *visits.entry(*rule).or_default() += events;
            }
        }
        visits
    }
}
