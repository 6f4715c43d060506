//! Imports the modules of a rule set: helpers, data models, rules. What does not import is reported and the rest is loaded.
//!
//! Every rule is a module object of its own under an internal name, so that two rules with one file name never meet.
//! Helpers are imported on demand, which orders them by their own imports; a cycle among them is an error of the modules in it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rustpython_vm::builtins::{PyBaseExceptionRef, PyDictRef, PyModule};
use rustpython_vm::{AsObject, PyObjectRef, PyResult, VirtualMachine};

use super::data_model::{DataModel, Target};
use super::fault::{self, Origins};
use super::functions::Function;
use super::interpreter::Python;
use super::jsonpath::JsonPath;
use super::seal::PRIVATE;
use super::watch::{Watch, Work};
use crate::detect::declared::Declared;
use crate::detect::protocol::{
    DataModelSource, Fault, LoadFault, MappingTarget, ModuleSource, Place, RuleKind, RuleSource, Sources,
};

/// So many rules are loaded between two looks at what all share: a look takes about as long as loading a rule.
const GROUP: usize = 32;

/// A loaded rule set.
#[derive(Default)]
pub(super) struct Loaded {
    /// By index; a rule that did not load is represented by the reason.
    pub(super) rules: Vec<Result<Rule, Fault>>,
    /// By log type.
    pub(super) models: HashMap<String, Arc<DataModel>>,
    pub(super) origins: Origins,
    pub(super) faults: Vec<LoadFault>,
}

pub(super) struct Rule {
    pub(super) id: String,
    pub(super) kind: RuleKind,
    /// The namespace of its module.
    pub(super) namespace: PyDictRef,
    /// `None` only where the YAML decides, and for a scheduled rule without `rule`, which matches every row.
    pub(super) rule: Option<PyObjectRef>,
    pub(super) declared: Declared,
    pub(super) auxiliary: Vec<(Function, PyObjectRef)>,
}

/// What went wrong with one module.
struct Problem {
    fault: Fault,
    line: Option<u32>,
}

/// `announce` is told each module before it runs, so that one that ends the process is known.
pub(super) fn load(
    python: &Python,
    sources: &Sources,
    watch: &Watch,
    announce: &mut dyn FnMut(Place),
    vm: &VirtualMachine,
) -> Loaded {
    let mut loader = Loader { python, announce, watch, vm, loaded: Loaded::default() };
    loader.globals(&sources.globals);
    for (at, source) in sources.data_models.iter().enumerate() {
        loader.data_model(at as u32, source);
    }
    loader.rules(&sources.rules);
    loader.loaded
}

struct Loader<'a> {
    python: &'a Python,
    announce: &'a mut dyn FnMut(Place),
    watch: &'a Watch,
    vm: &'a VirtualMachine,
    loaded: Loaded,
}

impl Loader<'_> {
    fn globals(&mut self, sources: &[ModuleSource]) {
        let mut names = HashSet::new();
        let mut good = Vec::new();
        for (at, source) in sources.iter().enumerate() {
            let place = Place::Global(at as u32);
            let state = &self.vm.state;
            if state.frozen.contains_key(source.name.as_str()) || state.module_defs.contains_key(source.name.as_str()) {
                let said = format!("a helper module cannot be named '{}': the standard library is", source.name);
                self.refuse(place, "ImportError", &said);
            } else if !names.insert(source.name.as_str()) {
                let said = format!("another helper module is named '{}' as well", source.name);
                self.refuse(place, "ImportError", &said);
            } else {
                good.push((place, source));
            }
        }
        // All are known before the first is imported, since they import each other.
        for (place, source) in &good {
            self.loaded.origins.insert(&source.name, &source.source);
            if let Err(error) = self.make_known(source) {
                self.report(*place, &error, &source.name);
            }
        }
        for (place, source) in good {
            (self.announce)(place);
            let running = self.watch.enter(Work::Load(place));
            if let Err(error) = self.vm.import(&self.vm.ctx.new_str(source.name.as_str()), 0) {
                self.report(place, &error, &source.name);
            }
            drop(running);
            if let Err(Problem { fault, line }) = self.tampering(&source.file) {
                self.loaded.faults.push(LoadFault { place, fault, line });
            }
        }
    }

    fn make_known(&self, source: &ModuleSource) -> PyResult<()> {
        let vm = self.vm;
        let entry = vec![vm.ctx.new_str(source.file.as_str()).into(), vm.ctx.new_str(source.source.as_str()).into()];
        self.python.sandbox.get_attr("helpers", vm)?.set_item(source.name.as_str(), vm.ctx.new_tuple(entry).into(), vm)
    }

    fn rules(&mut self, sources: &[RuleSource]) {
        for (number, group) in sources.chunks(GROUP).enumerate() {
            let first = number * GROUP;
            let faults = self.loaded.faults.len();
            (first..).zip(group).for_each(|(at, source)| self.rule(at as u32, source, false));
            if self.tampering("").is_err() {
                // One of them did it, and those after it may have seen it.
                self.loaded.rules.truncate(first);
                self.loaded.faults.truncate(faults);
                (first..).zip(group).for_each(|(at, source)| self.rule(at as u32, source, true));
            }
        }
    }

    fn rule(&mut self, at: u32, source: &RuleSource, looking: bool) {
        let place = Place::Rule(at);
        let name = format!("{PRIVATE}rule_{at}");
        (self.announce)(place);
        let running = self.watch.enter(Work::Load(place));
        let rule = self.module(&name, &source.module, looking).and_then(|namespace| self.functions(source, namespace));
        drop(running);
        self.loaded.rules.push(rule.map_err(|problem| {
            let fault = problem.fault.clone();
            self.loaded.faults.push(LoadFault { place, fault: problem.fault, line: problem.line });
            fault
        }));
    }

    fn functions(&self, source: &RuleSource, namespace: PyDictRef) -> Result<Rule, Problem> {
        let main = Function::Rule.name(source.kind);
        let rule = self.callable(&namespace, main)?;
        if rule.is_none() && source.kind != RuleKind::ScheduledRule && !source.declared.decides() {
            let said = format!("{} has no function '{main}'", source.module.file);
            return Err(self.problem("AttributeError", &said));
        }
        let mut auxiliary = Vec::new();
        for function in Function::AUXILIARY {
            if let Some(object) = self.callable(&namespace, function.name(source.kind))? {
                auxiliary.push((function, object));
            }
        }
        let declared = source.declared.clone();
        Ok(Rule { id: source.id.clone(), kind: source.kind, namespace, rule, declared, auxiliary })
    }

    /// A function of a module; `None` when the name is not there, a problem when it is something else.
    fn callable(&self, namespace: &PyDictRef, name: &str) -> Result<Option<PyObjectRef>, Problem> {
        let found = namespace.get_item_opt(name, self.vm);
        match found.map_err(|error| self.described(&error, ""))? {
            Some(object) if object.is_callable() => Ok(Some(object)),
            Some(object) => {
                Err(self.problem("TypeError", &format!("'{name}' must be a function, not {}", object.class().name())))
            }
            None => Ok(None),
        }
    }

    fn data_model(&mut self, at: u32, source: &DataModelSource) {
        let place = Place::DataModel(at);
        if self.loaded.models.contains_key(&source.log_type) {
            self.refuse(place, "ValueError", &format!("log type '{}' has a data model already", source.log_type));
            return;
        }
        let name = format!("{PRIVATE}data_model_{at}");
        let mut namespace = None;
        if let Some(module) = &source.module {
            (self.announce)(place);
            let running = self.watch.enter(Work::Load(place));
            match self.module(&name, module, true) {
                Ok(loaded) => namespace = Some(loaded),
                Err(problem) => {
                    self.loaded.faults.push(LoadFault { place, fault: problem.fault, line: problem.line });
                }
            }
            drop(running);
        }
        // Methods of a module that did not load were reported with it.
        let module_failed = source.module.is_some() && namespace.is_none();
        let mut targets = HashMap::new();
        for mapping in &source.mappings {
            match self.target(&mapping.target, namespace.as_ref()) {
                Ok(target) => {
                    targets.insert(mapping.name.clone(), target);
                }
                Err(_) if module_failed && matches!(mapping.target, MappingTarget::Method(_)) => {}
                Err(said) => self.refuse(place, "ValueError", &format!("mapping '{}': {said}", mapping.name)),
            }
        }
        let model = DataModel { id: source.id.clone(), targets };
        self.loaded.models.insert(source.log_type.clone(), Arc::new(model));
    }

    fn target(&self, target: &MappingTarget, namespace: Option<&PyDictRef>) -> Result<Target, String> {
        match target {
            MappingTarget::Path(text) => match JsonPath::parse(text) {
                Ok(path) => Ok(Target::Path { text: text.clone(), path }),
                Err(error) => Err(error.to_string()),
            },
            MappingTarget::Method(name) => {
                let namespace = namespace.ok_or_else(|| format!("method '{name}' needs a module"))?;
                match self.callable(namespace, name) {
                    Ok(Some(function)) => Ok(Target::Method { name: name.clone(), function }),
                    Ok(None) => Err(format!("the module has no function '{name}'")),
                    Err(problem) => Err(problem.fault.message),
                }
            }
        }
    }

    /// Runs a module that only its owner knows.
    fn module(&mut self, name: &str, source: &ModuleSource, looking: bool) -> Result<PyDictRef, Problem> {
        self.loaded.origins.insert(name, &source.source);
        let load = || -> PyResult<PyDictRef> {
            let arguments = (name.to_owned(), source.file.clone(), source.source.clone());
            let module = self.vm.call_method(&self.python.sandbox, "load", arguments)?;
            let module = module.downcast::<PyModule>();
            module.map(|module| module.dict()).map_err(|_| self.vm.new_type_error("a module was expected"))
        };
        let loaded = load().map_err(|error| self.described(&error, name));
        if looking {
            self.tampering(&source.file)?;
        }
        loaded
    }

    /// A module that changes what all share is not loaded, and leaves no trace.
    fn tampering(&self, file: &str) -> Result<(), Problem> {
        match self.python.undo_tampering(self.vm) {
            Ok(None) => Ok(()),
            Ok(Some(what)) => {
                Err(self.problem("RuleTampering", &format!("{file} changes {what}, which all rules share")))
            }
            Err(error) => Err(self.described(&error, "")),
        }
    }

    fn described(&self, error: &PyBaseExceptionRef, module: &str) -> Problem {
        let fault = fault::describe(error, &self.loaded.origins, self.vm);
        Problem { fault, line: fault::line_in(error, module, self.vm) }
    }

    fn problem(&self, error_type: &str, said: &str) -> Problem {
        Problem { fault: fault::plain(error_type, said, self.vm), line: None }
    }

    fn report(&mut self, place: Place, error: &PyBaseExceptionRef, module: &str) {
        let Problem { fault, line } = self.described(error, module);
        self.loaded.faults.push(LoadFault { place, fault, line });
    }

    fn refuse(&mut self, place: Place, error_type: &str, said: &str) {
        let Problem { fault, line } = self.problem(error_type, said);
        self.loaded.faults.push(LoadFault { place, fault, line });
    }
}
