//! The functions of a rule: their names, their order, and what each may return.

use rustpython_vm::builtins::{PyBaseExceptionRef, PyList, PyStr};
use rustpython_vm::{AsObject, PyObject, PyResult, VirtualMachine};

use super::{context, event, fault, text};
use crate::detect::protocol::{Fault, Functions, RuleKind};

/// Characters of a text that a function returns.
const TEXT_LIMIT: usize = 1000;
const DESTINATION_LIMIT: usize = 10;
/// Characters of a serialised alert context.
const CONTEXT_LIMIT: usize = 200 * 1024;
const SEVERITIES: [&str; 6] = ["INFO", "LOW", "MEDIUM", "HIGH", "CRITICAL", "DEFAULT"];

/// In the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Rule,
    Title,
    Description,
    Reference,
    Severity,
    Runbook,
    Destinations,
    Dedup,
    AlertContext,
    Unique,
}

impl Function {
    /// What runs for an event that matched.
    pub(super) const AUXILIARY: [Function; 9] = [
        Function::Title,
        Function::Description,
        Function::Reference,
        Function::Severity,
        Function::Runbook,
        Function::Destinations,
        Function::Dedup,
        Function::AlertContext,
        Function::Unique,
    ];

    pub(super) fn name(self, kind: RuleKind) -> &'static str {
        match self {
            Function::Rule if kind == RuleKind::Policy => "policy",
            Function::Rule => "rule",
            Function::Title => "title",
            Function::Description => "description",
            Function::Reference => "reference",
            Function::Severity => "severity",
            Function::Runbook => "runbook",
            Function::Destinations => "destinations",
            Function::Dedup => "dedup",
            Function::AlertContext => "alert_context",
            Function::Unique => "unique",
        }
    }
}

/// Why a returned value was not taken: an exception raised while reading it, or its type.
pub(super) enum Refused {
    Raised(PyBaseExceptionRef),
    Fault(Fault),
}

impl From<PyBaseExceptionRef> for Refused {
    fn from(error: PyBaseExceptionRef) -> Refused {
        Refused::Raised(error)
    }
}

/// One call whose result is being read.
pub(super) struct Returned<'a> {
    pub(super) rule: &'a str,
    pub(super) kind: RuleKind,
    pub(super) function: Function,
    pub(super) value: &'a PyObject,
}

impl Returned<'_> {
    /// Puts the value into its place among the results.
    pub(super) fn store(&self, into: &mut Functions, vm: &VirtualMachine) -> Result<(), Refused> {
        match self.function {
            Function::Rule => into.rule = Some(self.boolean(vm)?),
            Function::Title => into.title = Some(self.text(vm)?),
            Function::Description => into.description = Some(self.text(vm)?),
            Function::Reference => into.reference = Some(self.text(vm)?),
            Function::Severity => into.severity = Some(self.severity(vm)?),
            Function::Runbook => into.runbook = Some(self.text(vm)?),
            Function::Destinations => into.destinations = self.destinations(vm)?,
            Function::Dedup => into.dedup = Some(self.text(vm)?),
            Function::AlertContext => into.alert_context = Some(self.context(vm)?),
            Function::Unique => into.unique = Some(self.text(vm)?),
        }
        Ok(())
    }

    /// Exactly a boolean: a truthy value is an error, since it is usually a forgotten comparison.
    fn boolean(&self, vm: &VirtualMachine) -> Result<bool, Refused> {
        if self.value.is(&vm.ctx.true_value) {
            Ok(true)
        } else if self.value.is(&vm.ctx.false_value) {
            Ok(false)
        } else {
            Err(self.wrong_type("bool", vm))
        }
    }

    fn text(&self, vm: &VirtualMachine) -> Result<String, Refused> {
        match self.value.downcast_ref::<PyStr>() {
            Some(value) => Ok(bounded_text(value.to_string_lossy().into_owned())),
            None => Err(self.wrong_type("str", vm)),
        }
    }

    fn severity(&self, vm: &VirtualMachine) -> Result<String, Refused> {
        let severity = self.text(vm)?.to_uppercase();
        if SEVERITIES.contains(&severity.as_str()) {
            return Ok(severity);
        }
        let said = format!(
            "detection [{}] function [severity] returned [{severity}], expected one of {}",
            self.rule,
            SEVERITIES.join(", ")
        );
        Err(Refused::Fault(fault::plain("ValueError", &said, vm)))
    }

    fn destinations(&self, vm: &VirtualMachine) -> Result<Option<Vec<String>>, Refused> {
        if vm.is_none(self.value) {
            return Ok(None);
        }
        let Some(list) = self.value.downcast_ref::<PyList>() else { return Err(self.wrong_type("list", vm)) };
        let names: Option<Vec<String>> = list
            .borrow_vec()
            .iter()
            .take(DESTINATION_LIMIT)
            .map(|name| Some(text::shorten(name.downcast_ref::<PyStr>()?.to_string_lossy().into_owned(), TEXT_LIMIT)))
            .collect();
        names.map(Some).ok_or_else(|| self.wrong_type("list of str", vm))
    }

    fn context(&self, vm: &VirtualMachine) -> Result<String, Refused> {
        if !is_mapping_class(self.value, vm)? {
            return Err(self.wrong_type("Mapping", vm));
        }
        Ok(bounded_context(context::to_json(self.value, vm)?))
    }

    fn wrong_type(&self, expected: &str, vm: &VirtualMachine) -> Refused {
        let said = format!(
            "detection [{}] function [{}] returned [{}], expected [{expected}]",
            self.rule,
            self.function.name(self.kind),
            self.value.class().name()
        );
        Refused::Fault(fault::plain("FunctionReturnTypeError", &said, vm))
    }
}

/// A text that a rule gives, within its limit.
pub(super) fn bounded_text(text: String) -> String {
    text::shorten(text, TEXT_LIMIT)
}

/// A serialised alert context, or what stands in the place of one that is too large.
pub(super) fn bounded_context(written: String) -> String {
    let size = written.chars().count();
    if size <= CONTEXT_LIMIT {
        return written;
    }
    let said =
        format!("alert_context size is [{size}] characters, bigger than maximum of [{CONTEXT_LIMIT}] characters");
    format!(r#"{{"_error": "{said}"}}"#)
}

fn is_mapping_class(value: &PyObject, vm: &VirtualMachine) -> PyResult<bool> {
    if value.downcast_ref::<PyStr>().is_some() || value.downcast_ref::<PyList>().is_some() {
        return Ok(false);
    }
    event::is_mapping(value, vm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::protocol::FUNCTION_NAMES;

    #[test]
    fn every_function_has_a_name_that_the_daemon_knows() {
        for function in Function::AUXILIARY.into_iter().chain([Function::Rule]) {
            for kind in [RuleKind::Rule, RuleKind::ScheduledRule, RuleKind::Policy] {
                assert!(FUNCTION_NAMES.contains(&function.name(kind)), "{function:?}");
            }
        }
    }
}
