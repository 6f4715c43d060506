//! Whole folders of detections: every rule's result with and without its guard, over its test events and changes of these.

use std::path::PathBuf;

use super::mutations::Mutator;
use super::*;
use crate::detect::content::{self, Content};
use crate::detect::protocol::Functions;
use crate::detect::python::probe::Probe;
use crate::model::{MapBuilder, Value};

/// Names a folder of detections to be compared as well. With some 350 changes of each test event, Panther's public content
/// makes a million comparisons, which take a quarter of an hour or so.
const FOLDER: &str = "MARGAY_GUARDED_RULES";
/// Changes of each test event.
const CHANGES: &str = "MARGAY_GUARDED_CHANGES";

#[derive(Debug, Default)]
pub(super) struct Compared {
    rules: usize,
    guarded: usize,
    indexed: usize,
    events: usize,
    /// Rules times events, and what the guard said.
    no: usize,
    yes: usize,
    ask: usize,
    /// Of the asked, those in which Python said no.
    asked_for_nothing: usize,
    differences: Vec<String>,
    /// Rules without a guard, and the first thing in them that is not understood.
    unguarded: Vec<String>,
}

#[test]
fn shipped_rules_say_the_same_with_and_without_guards() {
    let compared = compare_folder(concat!(env!("CARGO_MANIFEST_DIR"), "/rules").into(), 20);
    assert_eq!(compared.differences, [] as [String; 0]);
    assert!(compared.guarded > 0 && compared.no > 0 && compared.yes > 0, "{compared:?}");
}

#[test]
fn rules_of_another_folder_say_the_same_when_one_is_named() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let changes = std::env::var_os(CHANGES).and_then(|text| text.to_str()?.parse().ok()).unwrap_or(20);
    let compared = compare_folder(folder.into(), changes);
    let differences = compared.differences.len();
    assert_eq!(differences, 0, "{}", compared.differences[..differences.min(20)].join("\n"));
    // For the person who named the folder.
    eprintln!("{compared:#?}");
}

/// On a thread of its own, since interpreters want a deep stack.
fn compare_folder(folder: PathBuf, changes: usize) -> Compared {
    let work = move || {
        let mut content = content::read(&[folder]);
        content.rules.retain(|rule| rule.kind == RuleKind::Rule);
        content.data_models.retain(|model| model.enabled);
        compare(&content, changes)
    };
    std::thread::Builder::new().stack_size(256 << 20).spawn(work).unwrap().join().unwrap()
}

fn compare(content: &Content, changes: usize) -> Compared {
    let sources = content.sources();
    let (python, faults) = Probe::load(&sources);
    let mut by_log_type: HashMap<String, Vec<u32>> = HashMap::new();
    for (at, rule) in (0u32..).zip(&content.rules) {
        if !faults.iter().any(|fault| fault.place == Place::Rule(at)) {
            rule.log_types.iter().for_each(|log_type| by_log_type.entry(log_type.clone()).or_default().push(at));
        }
    }
    let guards = Guards::derive(&sources, &by_log_type, &faults);
    let mut compared = Compared::default();
    let mut mutator = Mutator::new(7);
    for (at, rule) in (0u32..).zip(&content.rules) {
        let Some(log_type) = rule
            .log_types
            .first()
            .filter(|log_type| by_log_type.get(*log_type).is_some_and(|rules| rules.contains(&at)))
        else {
            continue;
        };
        compared.rules += 1;
        let explanation = guards.explain(at, std::slice::from_ref(log_type));
        compared.guarded += usize::from(explanation.guarded);
        if !explanation.guarded {
            compared.unguarded.push(format!("{}: {explanation}", rule.meta.id));
        }
        compared.indexed += usize::from(explanation.fields.iter().any(|(_, needed)| !needed.is_empty()));
        let events = rule.tests.iter().filter_map(|test| match &test.log {
            serde_json::Value::String(text) => serde_json::from_str::<Map>(text).ok(),
            log => serde_json::from_value(log.clone()).ok(),
        });
        for event in events {
            let typed = with_log_type(&event, log_type);
            mutator.learn(&event);
            for event in [event, typed.clone()] {
                compared.check(&guards, &python, (at, log_type), &event);
            }
            for _ in 0..changes {
                compared.check(&guards, &python, (at, log_type), &mutator.change(&typed));
            }
        }
    }
    compared
}

pub(super) fn with_log_type(event: &Map, log_type: &str) -> Map {
    let mut map = MapBuilder::default();
    event.iter().for_each(|(key, value)| map.insert(key.clone(), value.clone()));
    map.insert("p_log_type", Value::str(log_type));
    map.build()
}

impl Compared {
    pub(super) fn check(&mut self, guards: &Guards, python: &Probe, (rule, log_type): (u32, &str), event: &Map) {
        self.events += 1;
        let verdict = guards.verdict(rule, event);
        let said = python.evaluate(&[rule], event).pop().map(|(_, functions)| functions);
        let visited = guards.admitted(log_type, event, &[rule], &mut Scratch::default()).rules.contains(&rule);
        match verdict {
            No => self.no += 1,
            Yes => self.yes += 1,
            Ask => {
                self.ask += 1;
                self.asked_for_nothing += usize::from(said.is_none());
            }
        }
        let matched = |functions: &Functions| functions.rule == Some(true) && !functions.faults.contains_key("rule");
        let right = match verdict {
            No => said.is_none() && !visited,
            Yes => said.as_ref().is_some_and(matched) && visited,
            Ask => visited || said.is_none(),
        };
        if !right {
            let said = said.map(|functions| (functions.rule, functions.faults.get("rule").cloned()));
            let event = serde_json::to_string(event).unwrap();
            self.differences.push(format!("rule {rule}: {verdict:?}, visited {visited}, Python: {said:?}, {event}"));
        }
    }

    pub(super) fn differences(&self) -> &[String] {
        &self.differences
    }

    /// Guards that said no, yes, nothing.
    pub(super) fn verdicts(&self) -> (usize, usize, usize) {
        (self.no, self.yes, self.ask)
    }
}
