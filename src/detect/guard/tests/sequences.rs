//! Calls of rules one after the other, with and without guards: a call that a guard spares must not be missed later.

use super::*;
use crate::detect::protocol::Functions;
use crate::detect::python::probe::Probe;

/// Of `rules` that share a helper module `helper`, calls in order, and what Python says to each: `None` when it raises.
pub(super) struct Case {
    pub(super) helper: &'static str,
    pub(super) rules: &'static [&'static str],
    pub(super) calls: &'static [(u32, &'static str)],
    pub(super) said: &'static [Option<bool>],
}

/// Groups of rules side by side in one rule set, each group with a helper of its own.
pub(super) struct Cases {
    sources: Sources,
    /// Groups so far.
    groups: usize,
    /// Group, rule in the set, event.
    calls: Vec<(usize, u32, Map)>,
}

/// What the calls give: all of them in Python, and those that guards let through.
pub(super) struct Ran {
    pub(super) without: Vec<Option<Functions>>,
    pub(super) with: Vec<Option<Functions>>,
    pub(super) spared: usize,
    pub(super) faults: usize,
    /// The calls with which rules kept something between events, without guards and with them.
    pub(super) kept: [Vec<String>; 2],
}

impl Cases {
    pub(super) fn none() -> Cases {
        let sources = Sources { globals: Vec::new(), rules: Vec::new(), data_models: Vec::new() };
        Cases { sources, groups: 0, calls: Vec::new() }
    }

    /// A helper may bring others along: `other_1` stands behind a line of `####`, and so on.
    pub(super) fn add(&mut self, helper: &str, rules: &[String], calls: Vec<(u32, Map)>) {
        let group = self.groups;
        self.groups += 1;
        let named = |text: &str| {
            let named = text.replace("helper", &format!("helper_{group}"));
            // But for modules of our own.
            let named = named.replace(&format!("_helper_{group}s"), "_helpers");
            named.replace("other_", &format!("other_{group}_"))
        };
        for (part, text) in helper.split("####\n").enumerate() {
            let name = if part == 0 { "helper".to_owned() } else { format!("other_{part}") };
            self.sources.globals.push(module(&named(&name), &named(text)));
        }
        let first = self.sources.rules.len() as u32;
        for text in rules {
            let id = format!("Rule.{}", self.sources.rules.len());
            let module = module("rule_file", &named(text));
            self.sources.rules.push(RuleSource { id, module, declared: Default::default(), kind: RuleKind::Rule });
        }
        self.calls.extend(calls.into_iter().map(|(rule, event)| (group, first + rule, event)));
    }

    pub(super) fn calls(&self) -> impl Iterator<Item = &(usize, u32, Map)> {
        self.calls.iter()
    }

    /// The helpers of a group and one of its rules.
    pub(super) fn text(&self, group: usize, rule: u32) -> String {
        let of_group = |module: &&ModuleSource| {
            module.name == format!("helper_{group}") || module.name.starts_with(&format!("other_{group}_"))
        };
        let helpers = self.sources.globals.iter().filter(of_group);
        let text: String = helpers.map(|module| format!("{}:\n{}\n", module.name, module.source)).collect();
        text + &self.sources.rules[rule as usize].module.source
    }

    pub(super) fn run(&self) -> Ran {
        let (python, faults) = Probe::load(&self.sources);
        let (guarded, _) = Probe::load(&self.sources);
        let broken: Vec<Place> = faults.iter().map(|fault| fault.place).collect();
        let rules = (0..self.sources.rules.len() as u32).filter(|rule| !broken.contains(&Place::Rule(*rule)));
        let rules: Vec<u32> = rules.collect();
        let guards = Guards::derive(&self.sources, &HashMap::from([("T".to_owned(), rules.clone())]), &faults);
        let mut ran =
            Ran { without: Vec::new(), with: Vec::new(), spared: 0, faults: faults.len(), kept: Default::default() };
        let call = |python: &Probe, rule: u32, event: &Map| python.evaluate(&[rule], event).pop().map(|(_, said)| said);
        for (_, rule, event) in &self.calls {
            ran.without.push(call(&python, *rule, event));
            // A broken rule is never asked.
            let admitted = rules.contains(rule).then(|| guards.admitted("T", event, &[*rule], &mut Scratch::default()));
            let visited = admitted.as_ref().is_none_or(|admitted| admitted.rules.contains(rule));
            let matching = admitted.is_some_and(|admitted| admitted.matching.contains(rule));
            ran.spared += usize::from(!visited || matching);
            ran.with.push(match (visited, matching) {
                (false, _) => None,
                (true, false) => call(&guarded, *rule, event),
                (true, true) => guarded.evaluate_matching(&[*rule], event).pop().map(|(_, said)| said),
            });
        }
        ran.kept = [python.kept(), guarded.kept()];
        ran
    }
}

/// No match is no outcome.
fn said(functions: Option<&Functions>) -> Option<bool> {
    match functions {
        None => Some(false),
        Some(functions) if functions.faults.contains_key("rule") => None,
        Some(functions) => functions.rule,
    }
}

/// Every case gives what it says, with guards and without.
pub(super) fn check(cases: &'static [Case]) {
    let work = move || {
        let mut set = Cases::none();
        for case in cases {
            let rules: Vec<String> = case.rules.iter().map(|&rule| rule.to_owned()).collect();
            set.add(case.helper, &rules, case.calls.iter().map(|(rule, event)| (*rule, map(event))).collect());
        }
        let Ran { without, with, .. } = set.run();
        let expected = cases.iter().flat_map(|case| case.said);
        let mut wrong = Vec::new();
        for (((group, rule, event), expected), (without, with)) in
            set.calls().zip(expected).zip(without.iter().zip(&with))
        {
            for (who, functions) in [("Python", without), ("with guards", with)] {
                let said = said(functions.as_ref());
                if said != *expected {
                    wrong.push(format!("{who}: {said:?} for {event:?}\n{}", set.text(*group, *rule)));
                }
            }
        }
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), set.calls().count(), wrong.join("\n\n"));
    };
    std::thread::Builder::new().stack_size(256 << 20).spawn(work).unwrap().join().unwrap();
}
