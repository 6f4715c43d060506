//! Guards: what rules say, found out without Python.
//!
//! The source of each rule, and of the helpers it calls, is read into a small language (`module`, `lower`, `fold`, `program`)
//! that runs natively on the event (`eval`, `statements`, `fields`, `value`, `methods`, `builtins`, `event`; of Python's library
//! `pattern` and `address`). It answers no or yes when it is certain to do what Python would, and otherwise that Python has
//! to be asked: for what it does not understand, what has effects that somebody could see (`outer_names`), what would raise.
//! There is no other approximation, so a guard is right or silent. `explore` and `index` find the rules that an event has to
//! visit at all by the values of its fields, `places` finds these.
//!
//! What is certain rests on one thing about a rule set: that it is known who can change functions and constants behind
//! their names. `module` and `uses` read that off each module, `changes` follows it to the others. Where a module can reach
//! anything (`reflection`), there are no guards.

mod address;
mod builtins;
mod changes;
mod constant;
mod eval;
mod event;
mod exception;
mod explore;
mod fields;
mod fold;
mod explain;
mod imported;
mod index;
mod lower;
mod lower_call;
mod lower_constant;
mod lower_expr;
mod methods;
mod module;
mod outer_names;
mod pattern;
mod places;
mod program;
mod reflection;
mod statements;
#[cfg(test)]
mod tests;
mod uses;
mod value;

use std::collections::HashMap;

use ruff_python_ast::ModModule;
use ruff_python_parser::parse_module;

use self::changes::Changes;
pub use self::eval::Verdict;
pub use self::explain::Explanation;
use self::fields::RealEvent;
use self::index::{Index, Key};
use self::lower::Lower;
use self::module::Module;
use self::places::Places;
pub use self::places::Scratch;
use self::program::{Program, Udm};
pub use self::reflection::{Reach, Reflection};
use super::protocol::{LoadFault, MappingTarget, ModuleSource, Place, RuleKind, Sources};
use crate::detect::python::{JsonPath, may_have_module};
use crate::model::Map;

/// The guards of a rule set.
#[derive(Default)]
pub struct Guards {
    program: Program,
    /// By rule: its function, unless it has none that could be read.
    rules: Vec<Option<usize>>,
    by_log_type: HashMap<String, Index>,
    /// Where code reaches past names, which takes guards away.
    reflections: Vec<(Place, Reflection)>,
    /// Why there are none at all.
    refused: Option<String>,
}

/// What an event goes to Python for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Admitted {
    pub rules: Vec<u32>,
    /// Of these, the ones that match: Python is there for the functions after `rule`.
    pub matching: Vec<u32>,
}

impl Guards {
    /// Reads the sources; `by_log_type` names the rules that events can visit, `faults` what did not load. Recursive over
    /// text that people write, so it wants a deep stack.
    pub fn derive(sources: &Sources, by_log_type: &HashMap<String, Vec<u32>>, faults: &[LoadFault]) -> Guards {
        let trees = Trees::parse(sources);
        let mut guards = trees.guards(sources, faults);
        for (log_type, rules) in by_log_type {
            let keys = rules.iter().map(|rule| (*rule, guards.keys(*rule, log_type))).collect();
            let index = Index::new(&guards.program, keys);
            guards.by_log_type.insert(log_type.clone(), index);
        }
        guards
    }

    fn keys(&self, rule: u32, log_type: &str) -> Vec<Key> {
        self.rules[rule as usize].map_or_else(Vec::new, |function| index::keys(&self.program, function, log_type))
    }

    pub fn reflections(&self) -> &[(Place, Reflection)] {
        &self.reflections
    }

    /// Of the rules of the event's log type, those that Python has to run.
    pub fn admitted(&self, log_type: &str, fields: &Map, rules: &[u32], scratch: &mut Scratch) -> Admitted {
        let mut visited = std::mem::take(&mut scratch.rules);
        visited.clear();
        let event = RealEvent::new(fields, &self.program, scratch);
        match self.by_log_type.get(log_type) {
            // The index holds for events that say themselves what they are.
            Some(index) if fields.get("p_log_type").and_then(crate::model::Value::as_str) == Some(log_type) => {
                index.visit(&self.program, &event, &mut visited);
            }
            _ => visited.extend(rules),
        }
        let mut admitted = Admitted::default();
        for rule in &visited {
            let verdict = self.decide(*rule, &event);
            if verdict == Verdict::Yes {
                admitted.matching.push(*rule);
            }
            if verdict != Verdict::No {
                admitted.rules.push(*rule);
            }
        }
        scratch.rules = visited;
        admitted
    }

    /// What the rule says about an event, whatever its log type.
    pub fn verdict(&self, rule: u32, fields: &Map) -> Verdict {
        self.decide(rule, &RealEvent::new(fields, &self.program, &mut Scratch::default()))
    }

    fn decide<'e>(&'e self, rule: u32, event: &RealEvent<'e, '_>) -> Verdict {
        match self.rules[rule as usize] {
            Some(function) => eval::verdict(&self.program, function, event),
            None => Verdict::Ask,
        }
    }
}

/// The parsed modules of a rule set: helpers, rules, modules of data models.
struct Trees<'a> {
    sources: Vec<(Place, &'a ModuleSource, ModModule)>,
    /// Positions in `sources`; none for what could not be parsed.
    globals: Vec<Option<usize>>,
    rules: Vec<Option<usize>>,
    models: Vec<Option<usize>>,
}

impl<'a> Trees<'a> {
    fn parse(sources: &'a Sources) -> Trees<'a> {
        let mut parsed_modules = Vec::new();
        // What can't be parsed here is no Python: no worker runs it.
        let mut parse = |place: Place, module: &'a ModuleSource| {
            let parsed = parse_module(&module.source).ok()?;
            parsed_modules.push((place, module, parsed.into_syntax()));
            Some(parsed_modules.len() - 1)
        };
        let globals = (0..).zip(&sources.globals).map(|(at, global)| parse(Place::Global(at), global)).collect();
        let rules = (0..).zip(&sources.rules).map(|(at, rule)| parse(Place::Rule(at), &rule.module)).collect();
        let models = (0..).zip(&sources.data_models);
        let models = models.map(|(at, model)| parse(Place::DataModel(at), model.module.as_ref()?)).collect();
        Trees { sources: parsed_modules, globals, rules, models }
    }

    fn guards(&self, sources: &Sources, faults: &[LoadFault]) -> Guards {
        let mut modules: Vec<Module<'_>> =
            self.sources.iter().map(|(_, source, tree)| Module::read(source, tree)).collect();
        let mut named = HashMap::new();
        let mut importable = HashMap::new();
        for (index, (source, at)) in (0..).zip(sources.globals.iter().zip(&self.globals)) {
            let loaded = at.filter(|_| !faults.iter().any(|fault| fault.place == Place::Global(index)));
            // Of two with one name, workers know the first.
            importable.entry(source.name.as_str()).or_insert(loaded);
            at.iter().for_each(|at| {
                named.entry(source.name.as_str()).or_insert(*at);
            });
        }
        modules
            .iter_mut()
            .for_each(|module| module.check_imports(|name| importable.contains_key(name), may_have_module));
        let reflections = self.sources.iter().zip(&modules);
        let reflections: Vec<_> =
            reflections.filter_map(|((place, ..), module)| Some((*place, module.reflection.clone()?))).collect();
        let far = modules.iter().find_map(|module| {
            Some((module, module.reflection.as_ref()?)).filter(|(_, reflection)| reflection.reach == Reach::Everything)
        });
        if let Some((module, reflection)) = far {
            let refused = Some(format!("{}:{}: {}", module.source.file, reflection.line, reflection.what));
            return Guards { rules: vec![None; sources.rules.len()], reflections, refused, ..Guards::default() };
        }
        let changes = Changes::find(&modules, &named);
        let mut lower = Lower::new(modules, importable, changes);
        for (at, (source, module)) in (0..).zip(sources.data_models.iter().zip(&self.models)) {
            let failed = faults.iter().any(|fault| fault.place == Place::DataModel(at));
            let targets = source.mappings.iter().map(|mapping| {
                let target = match &mapping.target {
                    MappingTarget::Path(path) => Udm::Path(JsonPath::parse(path).ok()?),
                    MappingTarget::Method(name) => Udm::Method(module.and_then(|at| lower.function_named(at, name))),
                };
                Some((mapping.name.clone(), target))
            });
            let model = if failed { None } else { targets.collect() };
            lower.program.models.entry(source.log_type.clone()).or_insert(model);
        }
        let rules = sources.rules.iter().zip(&self.rules);
        let rules = rules.map(|(rule, module)| match (rule.kind, module) {
            // What the YAML decides, or lets through, is asked where it can fail as it would without guards.
            (RuleKind::Rule, Some(at)) if !rule.declared.judges() => lower.rule(*at),
            _ => None,
        });
        let rules = rules.collect();
        lower.program.places = Places::new(&lower.program.paths);
        Guards { program: lower.program, rules, reflections, ..Guards::default() }
    }
}
