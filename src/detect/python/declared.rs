//! What the YAML of a rule says, among what its functions say. A function wins.

use rustpython_vm::VirtualMachine;

use super::fault;
use super::functions::{Function, bounded_context, bounded_text};
use super::loader::Rule;
use crate::detect::declared::Undecided;
use crate::detect::protocol::{Fault, Functions};
use crate::model::Map;

/// Whether the event matches, where the YAML alone decides that; `None` when `rule` has to be asked.
pub(super) fn decision(rule: &Rule, event: &Map, vm: &VirtualMachine) -> Result<Option<bool>, Fault> {
    let fault = |undecided: Undecided| fault::plain("ConditionError", &undecided.to_string(), vm);
    if !rule.declared.admits(event).map_err(fault)? {
        return Ok(Some(false));
    }
    rule.declared.detects(event).transpose().map_err(fault)
}

/// Adds the title, context and so on that the YAML has and the Python file has not.
pub(super) fn complete(rule: &Rule, event: &Map, functions: &mut Functions, vm: &VirtualMachine) {
    let declared = &rule.declared;
    if declared.is_empty() {
        return;
    }
    let faults = &mut functions.faults;
    let mut give = |function: Function, given: Option<Result<String, Undecided>>| {
        if rule.auxiliary.iter().any(|(defined, _)| *defined == function) {
            return None;
        }
        given?
            .map_err(|said| {
                let fault = fault::plain("ConditionError", &said.to_string(), vm);
                faults.insert(function.name(rule.kind).to_owned(), fault);
            })
            .ok()
    };
    let title = give(Function::Title, declared.title(event)).map(bounded_text);
    let dedup = give(Function::Dedup, declared.dedup(event)).map(bounded_text);
    let severity = declared.severity(event).map(|given| given.map(|severity| severity.to_string()));
    let severity = give(Function::Severity, severity);
    let context = declared.context(event).map(|given| given.map(|context| context.to_string()));
    let context = give(Function::AlertContext, context).map(bounded_context);
    functions.title = functions.title.take().or(title);
    functions.dedup = functions.dedup.take().or(dedup);
    functions.severity = functions.severity.take().or(severity);
    functions.alert_context = functions.alert_context.take().or(context);
}
