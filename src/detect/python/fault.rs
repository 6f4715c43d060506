//! Exceptions as data: what a person needs to find the line, in one text.
//!
//! Making these texts runs Python (`__str__` of an exception is a rule's code), so it happens within a call's time budget
//! and never fails: an exception that cannot be described is named by its class.

use std::collections::HashMap;

use rustpython_vm::builtins::{PyBaseException, PyStr, PyTraceback};
use rustpython_vm::{AsObject, Py, PyRef, VirtualMachine};

use super::text;
use crate::detect::protocol::Fault;

/// Characters kept of `repr`; it becomes the title of an alert.
const SHORT_LIMIT: usize = 1000;
const MESSAGE_LIMIT: usize = 4000;
const NAME_LIMIT: usize = 100;
const TRACEBACK_LIMIT: usize = 64 * 1024;
const FRAME_LIMIT: usize = 200;
/// Exceptions behind exceptions, and the sentences between them.
const CHAIN_LIMIT: usize = 20;

/// The sources of the rule set by the internal name of their module.
#[derive(Default)]
pub(super) struct Origins(HashMap<String, String>);

impl Origins {
    pub(super) fn insert(&mut self, module: &str, source: &str) {
        self.0.insert(module.to_owned(), source.to_owned());
    }

    fn line(&self, module: &str, line: usize) -> Option<&str> {
        self.0.get(module)?.lines().nth(line.checked_sub(1)?).map(str::trim)
    }
}

/// Where an exception came from.
struct Frame {
    module: Option<String>,
    file: String,
    function: String,
    line: usize,
}

pub(super) fn describe(error: &Py<PyBaseException>, origins: &Origins, vm: &VirtualMachine) -> Fault {
    let error_type = class_name(&error.class().name());
    let said =
        error.as_object().str(vm).map_or_else(|_| error_type.clone(), |said| said.to_string_lossy().into_owned());
    let short =
        error.as_object().repr(vm).map_or_else(|_| error_type.clone(), |repr| repr.to_string_lossy().into_owned());
    let message = match last_frame(error, origins, vm) {
        None => said,
        Some(frame) => {
            let module = frame.module.as_deref().unwrap_or_default();
            let source = origins.line(module, frame.line).unwrap_or_default();
            let message = format!("{said}: {}, line {}, in {}    {source}", frame.file, frame.line, frame.function);
            message.trim_end().to_owned()
        }
    };
    Fault {
        error_type,
        short_error: text::shorten(short, SHORT_LIMIT),
        message: text::shorten(message, MESSAGE_LIMIT),
        traceback: String::new(),
    }
}

/// The exception with all its frames, and before it those that it came out of, in the layout of Python.
pub(super) fn traceback(error: &Py<PyBaseException>, origins: &Origins, vm: &VirtualMachine) -> String {
    let mut chain = vec![String::new()];
    let mut next = Some(error.to_owned());
    while let Some(error) = next.take_if(|_| chain.len() <= CHAIN_LIMIT) {
        let mut told = String::from("Traceback (most recent call last):\n");
        for frame in frames(&error, vm).filter(|frame| !frame.file.starts_with('<')).take(FRAME_LIMIT) {
            told += &format!("  File \"{}\", line {}, in {}\n", frame.file, frame.line, frame.function);
            let line = frame.module.and_then(|module| origins.line(&module, frame.line));
            told += &line.map_or_else(String::new, |line| format!("    {line}\n"));
        }
        let said = error.as_object().str(vm).map_or_else(|_| String::new(), |said| said.to_string_lossy().into_owned());
        told += &error.class().name();
        if !said.is_empty() {
            told += &format!(": {said}");
        }
        chain.push(told + "\n");
        next = match (error.__cause__(), error.__context__()) {
            (Some(cause), _) => {
                chain.push("\nThe above exception was the direct cause of the following exception:\n\n".to_owned());
                Some(cause)
            }
            (None, Some(context)) if !is_suppressed(&error, vm) => {
                chain.push("\nDuring handling of the above exception, another exception occurred:\n\n".to_owned());
                Some(context)
            }
            _ => None,
        };
    }
    chain.reverse();
    text::shorten(chain.concat(), TRACEBACK_LIMIT)
}

/// Whether it was raised `from None`.
fn is_suppressed(error: &Py<PyBaseException>, vm: &VirtualMachine) -> bool {
    let suppressed = error.as_object().get_attr("__suppress_context__", vm);
    suppressed.is_ok_and(|suppressed| suppressed.is(&vm.ctx.true_value))
}

/// A class that was made while a rule ran is named by whoever wrote the log, and its name becomes that of an alert and of a
/// line in margay's own log.
fn class_name(name: &str) -> String {
    let plain = name.chars().all(|c| c == '_' || c.is_alphanumeric()) && name.chars().count() <= NAME_LIMIT;
    if plain && !name.is_empty() { name.to_owned() } else { "Exception".to_owned() }
}

/// A fault that is not an exception of Python, written as if it were.
pub(super) fn plain(error_type: &str, said: &str, vm: &VirtualMachine) -> Fault {
    let quoted = vm.ctx.new_str(said).as_object().repr(vm);
    let quoted = quoted.map_or_else(|_| format!("{said:?}"), |quoted| quoted.to_string_lossy().into_owned());
    Fault {
        error_type: error_type.to_owned(),
        short_error: text::shorten(format!("{error_type}({quoted})"), SHORT_LIMIT),
        message: text::shorten(said.to_owned(), MESSAGE_LIMIT),
        traceback: String::new(),
    }
}

/// The line of a module's own source that an exception passed through last, or that a syntax error is about.
pub(super) fn line_in(error: &Py<PyBaseException>, module: &str, vm: &VirtualMachine) -> Option<u32> {
    let own = frames(error, vm).filter(|frame| frame.module.as_deref() == Some(module)).last();
    let line = own.map(|frame| frame.line).or_else(|| {
        if !error.fast_isinstance(vm.ctx.exceptions.syntax_error) {
            return None;
        }
        error.as_object().get_attr("lineno", vm).ok()?.try_into_value::<usize>(vm).ok()
    });
    line.and_then(|line| u32::try_from(line).ok())
}

/// The last frame in the rule set's own code; without one, the last frame there is.
fn last_frame(error: &Py<PyBaseException>, origins: &Origins, vm: &VirtualMachine) -> Option<Frame> {
    let mut last = None;
    let mut own = None;
    for frame in frames(error, vm) {
        match &frame.module {
            Some(module) if origins.0.contains_key(module) => own = Some(frame),
            // The machinery around a module says nothing about a fault in it.
            _ if frame.file.starts_with('<') => {}
            _ => last = Some(frame),
        }
    }
    own.or(last)
}

fn frames<'a>(error: &'a Py<PyBaseException>, vm: &'a VirtualMachine) -> impl Iterator<Item = Frame> + 'a {
    let next = |traceback: &PyRef<PyTraceback>| traceback.next.lock().clone();
    std::iter::successors(error.traceback(), next).map(|traceback| {
        let frame = traceback.frame.iframe();
        let name = frame.globals().get_item_opt("__name__", vm).ok().flatten();
        let path = frame.code().source_path().as_str();
        Frame {
            module: name.and_then(|name| Some(name.downcast_ref::<PyStr>()?.to_string_lossy().into_owned())),
            file: path.rsplit('/').next().unwrap_or(path).to_owned(),
            function: frame.code().obj_name.as_str().to_owned(),
            line: traceback.lineno.get(),
        }
    })
}
