//! An interpreter inside a test's own process, for tests of other rooms that compare with what Python says.

use std::sync::Arc;

use super::key_value::doubles::Kept;
use super::runner::{Listener, Runner};
use super::watch::Watch;
use crate::detect::protocol::{EventCalls, Functions, LoadFault, Outcome, Sources};
use crate::model::Map;

pub(in crate::detect) struct Probe {
    runner: Runner,
    kept: Arc<Kept>,
}

impl Probe {
    pub(in crate::detect) fn load(sources: &Sources) -> (Probe, Vec<LoadFault>) {
        let kept = Arc::new(Kept::default());
        let mut runner = Runner::start(Arc::new(Watch::default()), kept.clone()).unwrap();
        let faults = runner.load(sources, &mut |_| ());
        (Probe { runner, kept }, faults)
    }

    /// What each of the rules says about the event; a rule that doesn't match is left out.
    pub(in crate::detect) fn evaluate(&self, rules: &[u32], event: &Map) -> Vec<(u32, Functions)> {
        self.heard(rules, &[], event)
    }

    /// The same of rules that are known to match: without the function `rule`.
    pub(in crate::detect) fn evaluate_matching(&self, rules: &[u32], event: &Map) -> Vec<(u32, Functions)> {
        self.heard(rules, rules, event)
    }

    /// Every call with which rules have kept something so far, in order.
    pub(in crate::detect) fn kept(&self) -> Vec<String> {
        self.kept.calls()
    }

    fn heard(&self, rules: &[u32], matching: &[u32], event: &Map) -> Vec<(u32, Functions)> {
        let event = serde_json::value::to_raw_value(event).unwrap();
        let mut heard = Heard::default();
        let calls = EventCalls { rules: rules.to_vec(), matching: matching.to_vec(), event };
        self.runner.evaluate(&[calls], &mut heard);
        heard.0
    }
}

#[derive(Default)]
struct Heard(Vec<(u32, Functions)>);

impl Listener for Heard {
    fn calling(&mut self, _event: u32, _rule: u32) {}

    fn outcome(&mut self, outcome: Outcome) {
        self.0.push((outcome.rule, outcome.functions));
    }

    fn event_done(&mut self, _event: u32) {}
}
