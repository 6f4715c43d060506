//! An immutable rule set: which rules an event visits, and what stands in for a rule that did not load. Pure.
//!
//! A rule set is built from [`Content`], tried in a worker, mended with the last good versions of what failed, and then
//! never changed: a new state of the rules is a new set.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::content::{Content, LookupTable, Problem, Rule};
use super::guard::{Admitted, Guards, Reach, Reflection, Scratch};
use super::protocol::{Fault, LoadFault, Place, RuleKind, RuleSource, Sources};
use super::scheduled::is_topic;
use crate::model::{Map, RuleMeta};

/// The rules that events can visit.
pub struct RuleSet {
    pub sources: Arc<Sources>,
    pub rules: Vec<Arc<RuleMeta>>,
    by_log_type: HashMap<String, Vec<u32>>,
    /// None when they are switched off.
    guards: Option<Guards>,
    /// Rules that did not load and have no last good version, by log type: each is a fault of the first event it would
    /// have seen in a batch.
    broken: HashMap<String, Vec<(Arc<RuleMeta>, Fault)>>,
}

impl RuleSet {
    /// `content` holds only what is to run; `faults` are what remained when it was loaded.
    pub fn new(content: &Content, sources: Arc<Sources>, faults: &[LoadFault]) -> RuleSet {
        let faults: HashMap<u32, &Fault> = faults
            .iter()
            .filter_map(|fault| match fault.place {
                Place::Rule(index) => Some((index, &fault.fault)),
                _ => None,
            })
            .collect();
        let mut by_log_type: HashMap<String, Vec<u32>> = HashMap::new();
        let mut broken: HashMap<String, Vec<(Arc<RuleMeta>, Fault)>> = HashMap::new();
        for (index, rule) in (0u32..).zip(&content.rules) {
            let log_types: HashSet<&String> = rule.log_types.iter().collect();
            for log_type in log_types {
                match faults.get(&index) {
                    Some(fault) => {
                        broken.entry(log_type.clone()).or_default().push((rule.meta.clone(), (*fault).clone()));
                    }
                    None => by_log_type.entry(log_type.clone()).or_default().push(index),
                }
            }
        }
        let rules = content.rules.iter().map(|rule| rule.meta.clone()).collect();
        RuleSet { sources, rules, by_log_type, guards: None, broken }
    }

    /// Lets guards decide what they can. They are derived here, which wants a deep stack.
    pub fn guarded(mut self, faults: &[LoadFault]) -> RuleSet {
        self.guards = Some(Guards::derive(&self.sources, &self.by_log_type, faults));
        self
    }

    /// What takes the guards of rules away.
    pub fn reflections(&self) -> &[(Place, Reflection)] {
        self.guards.as_ref().map_or(&[], Guards::reflections)
    }

    /// The rules of a log type that Python has to run over an event of it, with these fields.
    pub fn for_event(&self, log_type: &str, fields: &Map, scratch: &mut Scratch) -> Admitted {
        let rules = self.for_log_type(log_type);
        match &self.guards {
            // Rows of a query are few, and may be called what no log type calls them.
            Some(guards) if !rules.is_empty() && !is_topic(log_type) => {
                guards.admitted(log_type, fields, rules, scratch)
            }
            _ => Admitted { rules: rules.to_vec(), matching: Vec::new() },
        }
    }

    /// Rules of a log type, by index, in the order of their ids' files.
    pub fn for_log_type(&self, log_type: &str) -> &[u32] {
        self.by_log_type.get(log_type).map_or(&[], Vec::as_slice)
    }

    pub fn broken_for(&self, log_type: &str) -> &[(Arc<RuleMeta>, Fault)] {
        self.broken.get(log_type).map_or(&[], Vec::as_slice)
    }

    /// Of events, and not of what queries find.
    pub fn log_types(&self) -> impl Iterator<Item = &str> {
        let all = self.by_log_type.keys().chain(self.broken.keys()).map(String::as_str);
        all.filter(|log_type| !is_topic(log_type))
    }
}

impl Content {
    /// Leaves what the daemon runs: enabled rules over events and over what queries find, enabled data models and lookup
    /// tables.
    pub fn retain_runnable(&mut self) {
        self.rules.retain(|rule| rule.enabled && rule.kind != RuleKind::Policy);
        self.data_models.retain(|model| model.enabled);
        self.tables.retain(|table| table.enabled);
    }

    /// Leaves these rules, and has them enabled.
    pub fn retain_only(&mut self, ids: &BTreeSet<String>) {
        self.rules.retain(|rule| ids.contains(&*rule.meta.id));
        self.rules.iter_mut().for_each(|rule| rule.enabled = true);
    }

    /// What a worker imports.
    pub fn sources(&self) -> Sources {
        let rule = |rule: &Rule| RuleSource {
            id: rule.meta.id.to_string(),
            module: rule.module.clone(),
            declared: rule.declared.clone(),
            kind: rule.kind,
        };
        Sources {
            globals: self.globals.iter().map(|global| global.module.clone()).collect(),
            rules: self.rules.iter().map(rule).collect(),
            data_models: self.data_models.iter().map(|model| model.source.clone()).collect(),
        }
    }

    /// Takes over from `last_good` what stood in the files and folders that could not be read this time.
    pub fn restore_unreadable(&mut self, last_good: &Content) {
        let unreadable: HashSet<PathBuf> = self.problems.iter().map(|problem| problem.file.clone()).collect();
        let lost = |origin: &Path| origin.ancestors().any(|path| unreadable.contains(path));
        carry_over(&mut self.rules, &last_good.rules, |rule| (&*rule.meta.id, lost(&rule.origin)));
        carry_over(&mut self.globals, &last_good.globals, |global| (&global.module.name, lost(&global.origin)));
        carry_over(&mut self.data_models, &last_good.data_models, |model| (&model.source.id, lost(&model.origin)));
        carry_over(&mut self.tables, &last_good.tables, |LookupTable { definition, .. }| {
            (&*definition.name, lost(&definition.origin))
        });
        carry_over(&mut self.queries, &last_good.queries, |query| (&query.spec.query_name, lost(&query.origin)));
    }

    /// Puts the last good version in the place of each item that did not import; false when there was nothing to put.
    /// Only the fault's own item is replaced: a rule that fails because a helper failed is whole again with the helper.
    pub fn restore_faulted(&mut self, faults: &[LoadFault], last_good: &Content) -> bool {
        let mut restored = false;
        let mut helpers_restored = false;
        // A rule that is as it was and fails now was broken by a helper that imports well.
        let unchanged = |rule: &Rule| {
            last_good.rules.iter().any(|good| good.meta.id == rule.meta.id && good.meta.version == rule.meta.version)
        };
        let broken_by_helper = faults
            .iter()
            .any(|fault| matches!(fault.place, Place::Rule(index) if unchanged(&self.rules[index as usize])));
        for (index, global) in (0..).zip(&mut self.globals) {
            let faulted = faults.iter().any(|fault| fault.place == Place::Global(index));
            let good = last_good.globals.iter().find(|good| good.module.name == global.module.name);
            if let Some(good) = good.filter(|good| (faulted || broken_by_helper) && good.module != global.module) {
                *global = good.clone();
                helpers_restored = true;
            }
        }
        if helpers_restored {
            return true;
        }
        for fault in faults {
            match fault.place {
                Place::Rule(index) => {
                    let rule = &mut self.rules[index as usize];
                    let good = last_good.rules.iter().find(|good| good.meta.id == rule.meta.id);
                    if let Some(good) = good.filter(|good| good.meta.version != rule.meta.version) {
                        *rule = good.clone();
                        restored = true;
                    }
                }
                Place::DataModel(index) => {
                    let model = &mut self.data_models[index as usize];
                    let good = last_good.data_models.iter().find(|good| good.source.id == model.source.id);
                    if let Some(good) = good.filter(|good| good.source != model.source) {
                        *model = good.clone();
                        restored = true;
                    }
                }
                Place::Global(_) => {}
            }
        }
        restored
    }

    /// A load fault as a problem of its file.
    pub fn load_problem(&self, fault: &LoadFault) -> Problem {
        let message = format!("{}: {}", fault.fault.error_type, fault.fault.message);
        self.problem_at(fault.place, fault.line.map(u64::from), message)
    }

    /// Reflection as a problem of its file.
    pub fn guard_warning(&self, place: Place, found: &Reflection) -> Problem {
        let costs = match found.reach {
            Reach::Own => "guards take nothing of this module for certain, so Python decides what uses it",
            Reach::Everything => {
                "this can change any module, so no rule has a guard and every event goes to Python; take it out"
            }
        };
        self.problem_at(place, Some(found.line as u64), format!("{}: {costs}", found.what))
    }

    pub(super) fn problem_at(&self, place: Place, line: Option<u64>, message: String) -> Problem {
        let (file, item, module) = match place {
            Place::Global(index) => {
                let global = &self.globals[index as usize];
                (&global.origin, global.module.name.clone(), Some(&global.module))
            }
            Place::Rule(index) => {
                let rule = &self.rules[index as usize];
                (&rule.origin, rule.meta.id.to_string(), Some(&rule.module))
            }
            Place::DataModel(index) => {
                let model = &self.data_models[index as usize];
                (&model.origin, model.source.id.clone(), model.source.module.as_ref())
            }
        };
        let file = module.map_or(file.clone(), |module| file.with_file_name(&module.file));
        Problem { file, line, item: Some(item), message }
    }

    /// Without the items that did not import: what may serve as last good version later.
    pub fn without(mut self, faults: &[LoadFault]) -> Content {
        let at = |wanted: fn(Place) -> Option<u32>| -> HashSet<u32> {
            faults.iter().filter_map(|fault| wanted(fault.place)).collect()
        };
        let rules = at(|place| if let Place::Rule(index) = place { Some(index) } else { None });
        let globals = at(|place| if let Place::Global(index) = place { Some(index) } else { None });
        let models = at(|place| if let Place::DataModel(index) = place { Some(index) } else { None });
        retain_others(&mut self.rules, &rules);
        retain_others(&mut self.globals, &globals);
        retain_others(&mut self.data_models, &models);
        self
    }
}

/// Adds the good items that `look` says are lost, unless one of the same name is there.
fn carry_over<T: Clone>(items: &mut Vec<T>, good: &[T], look: impl Fn(&T) -> (&str, bool)) {
    for candidate in good {
        let (name, lost) = look(candidate);
        if lost && !items.iter().any(|item| look(item).0 == name) {
            items.push(candidate.clone());
        }
    }
}

fn retain_others<T>(items: &mut Vec<T>, dropped: &HashSet<u32>) {
    let mut index = 0;
    items.retain(|_| {
        index += 1;
        !dropped.contains(&(index - 1))
    });
}

#[cfg(test)]
mod tests {
    use super::super::content::Global;
    use super::super::protocol::ModuleSource;
    use super::*;
    use crate::model::Severity;

    fn module(name: &str, source: &str) -> ModuleSource {
        ModuleSource { name: name.into(), file: format!("{name}.py"), source: source.into() }
    }

    fn rule(id: &str, source: &str) -> Rule {
        let meta = RuleMeta {
            id: id.into(),
            version: source.into(),
            display_name: String::new(),
            severity: Severity::Low,
            description: String::new(),
            reference: String::new(),
            runbook: String::new(),
            dedup_period_minutes: 60,
            threshold: 1,
            summary_attributes: Vec::new(),
            create_alert: true,
            tags: Vec::new(),
            reports: Default::default(),
            output_ids: Vec::new(),
            alerting: Default::default(),
        };
        Rule {
            origin: format!("{id}.yml").into(),
            meta: Arc::new(meta),
            enabled: true,
            kind: RuleKind::Rule,
            log_types: vec!["T.A".into(), "T.B".into(), "T.A".into()],
            module: module(id, source),
            declared: Default::default(),
            tests: Vec::new(),
        }
    }

    fn global(name: &str, source: &str) -> Global {
        Global { origin: format!("{name}.yml").into(), module: module(name, source) }
    }

    fn fault(place: Place) -> LoadFault {
        LoadFault { place, fault: Fault::default(), line: Some(3) }
    }

    fn sources_of(content: &Content) -> Vec<&str> {
        content.rules.iter().map(|rule| rule.module.source.as_str()).collect()
    }

    #[test]
    fn a_broken_rule_visits_no_event_and_is_remembered_as_broken() {
        let content = Content { rules: vec![rule("one", "1"), rule("two", "2")], ..Content::default() };
        let set = RuleSet::new(&content, Arc::new(content.sources()), &[fault(Place::Rule(1))]);
        assert_eq!(set.for_log_type("T.A"), [0]);
        assert_eq!(set.for_log_type("T.C"), [] as [u32; 0]);
        assert_eq!(&*set.broken_for("T.B")[0].0.id, "two");
    }

    #[test]
    fn last_good_versions_stand_in() {
        let good = Content { rules: vec![rule("one", "good"), rule("two", "good")], ..Content::default() };
        let mut next = Content { rules: vec![rule("two", "bad")], ..Content::default() };
        next.problems.push(Problem { file: "one.yml".into(), line: None, item: None, message: String::new() });
        next.restore_unreadable(&good);
        assert_eq!(sources_of(&next), ["bad", "good"]);
        assert!(next.restore_faulted(&[fault(Place::Rule(0))], &good));
        assert_eq!(sources_of(&next), ["good", "good"]);
        assert!(!next.restore_faulted(&[fault(Place::Rule(0))], &good), "nothing better is left");
    }

    #[test]
    fn a_folder_that_cannot_be_read_keeps_all_its_rules() {
        let inside = Rule { origin: "rules/deep/one.yml".into(), ..rule("one", "good") };
        let good = Content { rules: vec![inside, rule("elsewhere", "good")], ..Content::default() };
        let mut next = Content::default();
        next.problems.push(Problem { file: "rules".into(), line: None, item: None, message: String::new() });
        next.restore_unreadable(&good);
        assert_eq!(next.rules.len(), 1);
        assert_eq!(&*next.rules[0].meta.id, "one");
    }

    #[test]
    fn a_removed_rule_stays_removed() {
        let good = Content { rules: vec![rule("one", "good")], ..Content::default() };
        let mut next = Content::default();
        next.restore_unreadable(&good);
        assert!(next.rules.is_empty());
    }

    #[test]
    fn a_failing_helper_is_restored_before_the_rules_that_need_it() {
        let good =
            Content { globals: vec![global("h", "good")], rules: vec![rule("one", "old")], ..Content::default() };
        let mut next =
            Content { globals: vec![global("h", "bad")], rules: vec![rule("one", "new")], ..Content::default() };
        assert!(next.restore_faulted(&[fault(Place::Rule(0)), fault(Place::Global(0))], &good));
        assert_eq!(next.globals[0].module.source, "good");
        assert_eq!(sources_of(&next), ["new"]);
    }

    #[test]
    fn what_takes_guards_away_names_the_python_file_and_line() {
        let content = Content { rules: vec![rule("one", "x = 1\nglobals()['x'] = 2\n")], ..Content::default() };
        let set = RuleSet::new(&content, Arc::new(content.sources()), &[]).guarded(&[]);
        let warnings = set.reflections().iter().map(|(place, found)| content.guard_warning(*place, found).to_string());
        let warnings: Vec<String> = warnings.collect();
        assert!(warnings[0].starts_with("one.py:2: one: "), "{warnings:?}");
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn a_load_fault_names_the_python_file_and_line() {
        let content = Content { rules: vec![rule("one", "1")], ..Content::default() };
        let problem = content.load_problem(&fault(Place::Rule(0)));
        assert_eq!((problem.file.to_str(), problem.line), (Some("one.py"), Some(3)));
        assert!(content.without(&[fault(Place::Rule(0))]).rules.is_empty());
    }
}
