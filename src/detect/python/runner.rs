//! Runs rules: production mode over batches, test mode over one event.
//!
//! Whatever a rule raises becomes a [`Fault`] and never ends the worker. Defaults for what a rule does not say are the
//! daemon's to apply. The functions of one rule run back to back on one event, in one module instance.

use std::cell::RefCell;
use std::sync::Arc;

use rustpython_vm::builtins::PyBaseExceptionRef;
use rustpython_vm::{AsObject, PyObject, PyObjectRef, PyPayload, PyResult, VirtualMachine};
use serde_json::value::RawValue;

use super::declared;
use super::deep::parse;
use super::event::{self, PantherEvent};
use super::fault;
use super::functions::{Function, Refused, Returned};
use super::interpreter::{Python, StartError};
use super::key_value::Ask;
use super::loader::{self, Loaded, Rule};
use super::lookup::Lookups;
use super::mocks::Mocked;
use super::output::Watcher;
use super::watch::{Watch, Work};
use crate::detect::protocol::{EventCalls, Fault, Functions, LoadFault, Mock, Outcome, Place, RuleKind, Sources, Step};
use crate::model::{Map, Value};

/// An interpreter with a rule set.
pub(super) struct Runner {
    python: Python,
    loaded: Loaded,
    watch: Arc<Watch>,
    lookups: Arc<Lookups>,
    /// Of the test that runs now.
    watcher: RefCell<Option<Watcher>>,
}

/// One rule on one event.
struct Call<'a> {
    event: u32,
    rule_at: u32,
    rule: &'a Rule,
    argument: PyObjectRef,
}

/// Told what happens during a batch, as it happens.
pub(super) trait Listener {
    /// Before a rule runs.
    fn calling(&mut self, event: u32, rule: u32);
    fn outcome(&mut self, outcome: Outcome);
    /// All rules of the event have run.
    fn event_done(&mut self, event: u32);
}

impl Runner {
    /// To be called on the thread that will run the rules.
    pub(super) fn start(watch: Arc<Watch>, asks: Arc<dyn Ask>) -> Result<Runner, StartError> {
        let python = Python::start(asks.clone(), watch.clone())?;
        let lookups = Arc::new(Lookups::new(asks, watch.clone()));
        Ok(Runner { python, loaded: Loaded::default(), watch, lookups, watcher: RefCell::default() })
    }

    /// `announce` is told each module before it runs.
    pub(super) fn load(&mut self, sources: &Sources, announce: &mut dyn FnMut(Place)) -> Vec<LoadFault> {
        let python = &self.python;
        self.loaded = python.interpreter.enter(|vm| loader::load(python, sources, &self.watch, announce, vm));
        self.python.output.clear();
        std::mem::take(&mut self.loaded.faults)
    }

    /// What a rule has changed of what all rules share, if any has.
    pub(super) fn tampering(&self) -> Option<String> {
        self.python.tampering()
    }

    /// Production mode.
    pub(super) fn evaluate(&self, calls: &[EventCalls], listener: &mut impl Listener) {
        self.lookups.begin(false);
        self.python.interpreter.enter(|vm| {
            for (event, call) in calls.iter().enumerate() {
                let event = event as u32;
                let fields = parse(&call.event);
                // One object for all rules: it cannot be changed, so they cannot disturb each other.
                let shared = fields.as_ref().ok().map(|fields| self.event_object(fields, vm));
                for rule in &call.rules {
                    listener.calling(event, *rule);
                    let functions = match (&fields, &shared) {
                        (Ok(fields), Some(shared)) => {
                            let matches = call.matching.contains(rule);
                            self.evaluate_rule((event, *rule), matches, fields, shared, vm)
                        }
                        (Err(said), _) => Some(failed(fault::plain("ValueError", said, vm))),
                        (Ok(_), None) => None,
                    };
                    if let Some(functions) = functions {
                        listener.outcome(Outcome { event, rule: *rule, functions });
                    }
                }
                listener.event_done(event);
            }
        });
    }

    /// `None` when the rule had nothing to say; `matches` when it is known to match.
    fn evaluate_rule(
        &self,
        (event, rule_at): (u32, u32),
        matches: bool,
        fields: &Map,
        shared: &PyObject,
        vm: &VirtualMachine,
    ) -> Option<Functions> {
        let rule = match self.rule(rule_at, vm) {
            Ok(rule) => rule,
            Err(fault) => return Some(failed(fault)),
        };
        self.python.output.clear();
        self.watch.begin_evaluation();
        let argument = match rule.kind {
            RuleKind::Policy => event::to_plain(&Value::Map(fields.clone()), vm),
            RuleKind::Rule | RuleKind::ScheduledRule => Ok(shared.to_owned()),
        };
        let decided = argument.map_err(|error| self.describe(&error, vm)).and_then(|argument| {
            let call = Call { event, rule_at, rule, argument };
            // A guard that says so for certain has seen that nothing else has a say.
            let decided = if matches { Some(true) } else { declared::decision(rule, fields, vm)? };
            let alerts = match decided {
                Some(alerts) => alerts,
                None => self.decide(&call, vm)?,
            };
            Ok((call, alerts))
        });
        let mut functions = match decided {
            Ok((_, false)) => return None,
            Err(fault) => failed(fault),
            Ok((call, true)) => {
                let mut functions = Functions { rule: Some(rule.kind != RuleKind::Policy), ..Functions::default() };
                for (function, object) in &rule.auxiliary {
                    self.run(&call, *function, object, &mut functions, vm);
                }
                declared::complete(rule, fields, &mut functions, vm);
                functions
            }
        };
        functions.output = self.python.output.take();
        Some(functions)
    }

    /// Whether the event alerts. The hot path: for nearly all calls this is all that happens.
    fn decide(&self, call: &Call<'_>, vm: &VirtualMachine) -> Result<bool, Fault> {
        let Some(object) = &call.rule.rule else { return Ok(true) };
        let alerting = call.rule.kind != RuleKind::Policy;
        let running = self.watch.enter(call.work(Function::Rule));
        let result = object.call((call.argument.clone(),), vm);
        if let Ok(value) = &result {
            if value.is(&vm.ctx.true_value) {
                return Ok(alerting);
            }
            if value.is(&vm.ctx.false_value) {
                return Ok(!alerting);
            }
        }
        let mut functions = Functions::default();
        self.store(call, Function::Rule, result, &mut functions, vm);
        drop(running);
        match functions.faults.pop_first() {
            Some((_, fault)) => Err(fault),
            None => Ok(functions.rule == Some(alerting)),
        }
    }

    /// Test mode: every function runs, whatever the others said. A `watcher` is told what happens meanwhile.
    pub(super) fn test(&self, rule_at: u32, event: &RawValue, mocks: &[Mock], watcher: Option<Watcher>) -> Functions {
        self.python.output.watch(watcher.clone());
        *self.watcher.borrow_mut() = watcher;
        let functions = self.tested(rule_at, event, mocks);
        self.python.output.watch(None);
        *self.watcher.borrow_mut() = None;
        functions
    }

    fn tested(&self, rule_at: u32, event: &RawValue, mocks: &[Mock]) -> Functions {
        self.lookups.begin(true);
        self.python.interpreter.enter(|vm| {
            self.python.output.clear();
            let mut functions = match (self.rule(rule_at, vm), parse(event)) {
                (Err(fault), _) => failed(fault),
                (_, Err(said)) => failed(fault::plain("ValueError", &said, vm)),
                (Ok(rule), Ok(fields)) => self
                    .test_case(rule_at, rule, &fields, mocks, vm)
                    .unwrap_or_else(|error| failed(self.describe(&error, vm))),
            };
            functions.output = self.python.output.take();
            functions
        })
    }

    fn test_case(
        &self,
        rule_at: u32,
        rule: &Rule,
        fields: &Map,
        mocks: &[Mock],
        vm: &VirtualMachine,
    ) -> PyResult<Functions> {
        let argument = match rule.kind {
            RuleKind::Policy => event::to_plain(&Value::Map(fields.clone()), vm)?,
            RuleKind::Rule | RuleKind::ScheduledRule => self.event_object(fields, vm),
        };
        self.watch.begin_evaluation();
        let mocked = Mocked::apply(&rule.namespace, mocks, vm)?;

        let call = Call { event: 0, rule_at, rule, argument };
        let mut functions = Functions::default();
        for function in [Function::Rule].into_iter().chain(Function::AUXILIARY) {
            if function == Function::Rule {
                match declared::decision(rule, fields, vm) {
                    Ok(None) => {}
                    Ok(decided) => {
                        functions.rule = decided;
                        continue;
                    }
                    Err(fault) => {
                        functions.faults.insert("rule".to_owned(), fault);
                        continue;
                    }
                }
            }
            // Looked up anew: a mock may stand in its place.
            match rule.namespace.get_item_opt(function.name(rule.kind), vm)? {
                Some(object) => {
                    self.tell(|| Step::Calling(function.name(rule.kind).to_owned()));
                    self.run(&call, function, &object, &mut functions, vm);
                }
                None if function == Function::Rule => functions.rule = Some(true),
                None => {}
            }
        }
        declared::complete(rule, fields, &mut functions, vm);
        mocked.restore(vm)?;
        Ok(functions)
    }

    /// Calls one function and stores its result or its fault.
    fn run(&self, call: &Call<'_>, function: Function, object: &PyObject, into: &mut Functions, vm: &VirtualMachine) {
        let running = self.watch.enter(call.work(function));
        let result = object.call((call.argument.clone(),), vm);
        self.store(call, function, result, into, vm);
        drop(running);
    }

    /// Reading a result runs Python too (a subclass of dict, the text of an exception), so this belongs to the call.
    fn store(&self, call: &Call<'_>, function: Function, result: PyResult, into: &mut Functions, vm: &VirtualMachine) {
        let Rule { id, kind, .. } = call.rule;
        let stored = result
            .map_err(Refused::Raised)
            .and_then(|value| Returned { rule: id, kind: *kind, function, value: &value }.store(into, vm));
        let fault = match stored {
            Ok(()) => return,
            Err(Refused::Fault(fault)) => fault,
            Err(Refused::Raised(error)) => self.describe(&error, vm),
        };
        // A policy's verdict stands in `rule` as well.
        let name = if function == Function::Rule { "rule" } else { function.name(*kind) };
        into.faults.insert(name.to_owned(), fault);
    }

    fn rule(&self, at: u32, vm: &VirtualMachine) -> Result<&Rule, Fault> {
        match self.loaded.rules.get(at as usize) {
            Some(Ok(rule)) => Ok(rule),
            Some(Err(fault)) => Err(fault.clone()),
            None => Err(fault::plain("LookupError", &format!("the rule set has no rule number {at}"), vm)),
        }
    }

    fn event_object(&self, fields: &Map, vm: &VirtualMachine) -> PyObjectRef {
        let log_type = fields.get("p_log_type").and_then(Value::as_str);
        let model = log_type.and_then(|log_type| self.loaded.models.get(log_type)).cloned();
        PantherEvent::new(fields.clone(), model, Some(self.lookups.clone())).into_pyobject(vm)
    }

    fn describe(&self, error: &PyBaseExceptionRef, vm: &VirtualMachine) -> Fault {
        let mut fault = fault::describe(error, &self.loaded.origins, vm);
        if self.watcher.borrow().is_some() {
            fault.traceback = fault::traceback(error, &self.loaded.origins, vm);
        }
        fault
    }

    fn tell(&self, step: impl FnOnce() -> Step) {
        if let Some(watcher) = &*self.watcher.borrow() {
            watcher(step());
        }
    }
}

impl Call<'_> {
    fn work(&self, function: Function) -> Work {
        Work::Call { event: self.event, rule: self.rule_at, function, kind: self.rule.kind }
    }
}

/// The results of a rule that could not decide.
fn failed(fault: Fault) -> Functions {
    Functions { faults: [("rule".to_owned(), fault)].into(), ..Functions::default() }
}

#[cfg(test)]
mod tests;
