//! What all rules of a worker share must be the same for each of them. A rule that puts something of its own into a module
//! of the standard library, into margay's own, into builtins or into a class of these, changes what other rules say.
//!
//! Nothing is made read-only: reading is what rules do all the time, and it must stay as fast as it is; and a rule that puts
//! things back before its call ends (`contextlib.redirect_stdout`) harms nobody. Instead, the names are compared with
//! what they were before any outcome leaves the process, which costs some ten microseconds a batch. During a load
//! what was changed is put back; later the process ends, and its batch is evaluated again without the offender.
//!
//! Seen are functions, classes and constants that a name is bound to. Not seen: names that the library itself rebinds
//! (caches, counters), native classes, and what a container holds. Helper modules are the rule set's own; of them only
//! functions and classes count.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use rustpython_vm::builtins::{
    PyClassMethod, PyDictRef, PyFrozenSet, PyModule, PyProperty, PyStaticMethod, PyStr, PyTuple, PyType, PyTypeRef,
};
use rustpython_vm::types::PyTypeFlags;
use rustpython_vm::{AsObject, Context, PyObject, PyObjectRef, PyResult, VirtualMachine};

use super::output::RuleOutput;

/// Prefix of the internal names of rules and data models, which are nobody's but their own.
pub(super) const PRIVATE: &str = "margay_of_one_";

pub(super) struct Seal {
    spaces: Vec<Space>,
    /// Modules and classes that have been looked at, by address; `spaces` keeps those alive that count.
    known: HashSet<usize>,
    modules: PyDictRef,
    /// How many modules there were at the last look.
    imported: usize,
}

/// Names, and what each was bound to.
struct Space {
    name: String,
    holder: Holder,
    entries: Vec<(PyObjectRef, PyObjectRef)>,
    /// Of each entry among all values, until a look finds it elsewhere.
    places: Vec<usize>,
    /// A class has a number that changes with it; zero says nothing.
    version: u32,
    /// A new name is a change as well: it would be seen from everywhere.
    complete: Option<usize>,
}

enum Holder {
    Dict(PyDictRef),
    Class(PyTypeRef),
}

impl Seal {
    /// `builtins` are dicts that stand behind every module, by name.
    pub(super) fn new(modules: PyDictRef, builtins: Vec<(&str, PyDictRef)>) -> Seal {
        let mut seal = Seal { spaces: Vec::new(), known: HashSet::new(), modules, imported: 0 };
        for (name, dict) in builtins {
            let mut space = Space::new(name, Holder::Dict(dict), |_, _| true);
            space.complete = Some(space.entries.len());
            seal.spaces.push(space);
        }
        seal
    }

    /// Takes in what was imported since. `helpers` are the rule set's own modules.
    pub(super) fn extend(&mut self, helpers: &PyDictRef) {
        if self.modules.__len__() == self.imported {
            return;
        }
        let modules = self.modules.items_vec();
        self.imported = modules.len();
        let mut imported = HashSet::new();
        for (key, module) in modules {
            if !self.known.insert(module.get_id()) {
                continue;
            }
            let Some(name) = key.downcast_ref::<PyStr>().map(|name| name.to_string_lossy().into_owned()) else {
                continue;
            };
            if name.starts_with(PRIVATE) {
                continue;
            }
            if let Some(module) = module.downcast_ref::<PyModule>() {
                let own = helpers.items_vec().iter().any(|(helper, _)| same_text(helper, &key));
                self.take_in(&name, module.dict(), own);
            }
            imported.insert(module.get_id());
        }
        if !imported.is_empty() {
            let holder = Holder::Dict(self.modules.clone());
            self.spaces.push(Space::new("sys.modules", holder, |_, module| imported.contains(&module.get_id())));
        }
    }

    fn take_in(&mut self, name: &str, dict: PyDictRef, helper: bool) {
        let counts =
            |key: &PyObject, value: &PyObject| is_code(value) || (!helper && is_constant(value) && !is_of_import(key));
        let space = Space::new(name, Holder::Dict(dict), counts);
        for (_, value) in &space.entries {
            let Ok(class) = value.clone().downcast::<PyType>() else { continue };
            // What is native and can be changed all the same (`ast.AST`) belongs to the process: each interpreter in it
            // sets it up once more.
            let flags = &class.slots.flags;
            let made_here = flags.has_feature(PyTypeFlags::HEAPTYPE) && !flags.has_feature(PyTypeFlags::IMMUTABLETYPE);
            if made_here && self.known.insert(class.get_id()) {
                self.spaces.push(Space::of_class(class));
            }
        }
        self.spaces.push(space);
    }

    /// What is not as it was, as a person would name it.
    pub(super) fn changed(&mut self) -> Option<String> {
        self.spaces.iter_mut().find_map(|space| space.changed().map(|at| space.names(at)))
    }

    /// Puts back what was changed, and tells the first of it.
    pub(super) fn restore(&mut self, vm: &VirtualMachine) -> PyResult<Option<String>> {
        let mut first = None;
        for space in &mut self.spaces {
            while let Some(at) = space.changed() {
                first.get_or_insert_with(|| space.names(at));
                space.put_back(vm)?;
            }
        }
        Ok(first)
    }
}

impl Holder {
    fn items(&self) -> Vec<(PyObjectRef, PyObjectRef)> {
        match self {
            Holder::Dict(dict) => dict.items_vec(),
            Holder::Class(class) => class.attributes.entries(),
        }
    }
}

impl Space {
    fn new(name: &str, holder: Holder, counts: impl Fn(&PyObject, &PyObject) -> bool) -> Space {
        let (mut entries, mut places) = (Vec::new(), Vec::new());
        for (place, (key, value)) in holder.items().into_iter().enumerate() {
            if counts(&key, &value) {
                entries.push((key, value));
                places.push(place);
            }
        }
        Space { name: name.to_owned(), holder, entries, places, version: 0, complete: None }
    }

    fn of_class(class: PyTypeRef) -> Space {
        let name = class.slot_name().to_string();
        // A class has no version before it is first asked for something.
        let _ = class.get_attr(Context::genesis().intern_str("__init__"));
        let version = class.tp_version_tag.load(Ordering::Acquire);
        let counts = |key: &PyObject, value: &PyObject| is_code(value) || (is_constant(value) && !is_of_import(key));
        let mut space = Space::new(&name, Holder::Class(class), counts);
        space.version = version;
        space
    }

    /// Position of an entry that is another now, or the number of entries when there is a name too many.
    fn changed(&mut self) -> Option<usize> {
        match &self.holder {
            Holder::Dict(dict) => {
                // The order of names changes only where one was deleted.
                let now = dict.values_vec();
                let bound = |(place, (_, value)): (&usize, &(PyObjectRef, PyObjectRef))| {
                    now.get(*place).is_some_and(|now| now.is(value))
                };
                let grown = self.complete.is_some_and(|complete| now.len() != complete);
                if !grown && self.places.iter().zip(&self.entries).all(bound) {
                    return None;
                }
            }
            Holder::Class(class) => {
                let version = class.tp_version_tag.load(Ordering::Acquire);
                if version != 0 && version == self.version {
                    return None;
                }
                self.version = version;
            }
        }
        let changed = self.search();
        if changed.is_some() {
            self.version = 0;
        }
        changed
    }

    /// The same with a look at the names.
    fn search(&mut self) -> Option<usize> {
        let now = self.holder.items();
        for (at, (key, value)) in self.entries.iter().enumerate() {
            let place = now.iter().position(|(name, _)| name.is(key) || same_text(name, key));
            match place {
                Some(place) if now[place].1.is(value) => self.places[at] = place,
                _ => return Some(at),
            }
        }
        self.complete.is_some_and(|complete| now.len() != complete).then_some(self.entries.len())
    }

    fn names(&self, at: usize) -> String {
        match self.entries.get(at).and_then(|(key, _)| key.downcast_ref::<PyStr>()) {
            Some(key) => format!("{}.{}", self.name, key.to_string_lossy()),
            None => format!("the names in {}", self.name),
        }
    }

    fn put_back(&self, vm: &VirtualMachine) -> PyResult<()> {
        match &self.holder {
            Holder::Dict(dict) => {
                if self.complete.is_some() {
                    for (key, _) in dict.items_vec() {
                        if !self.entries.iter().any(|(known, _)| same_text(known, &key)) {
                            dict.del_item(&*key, vm)?;
                        }
                    }
                }
                self.entries.iter().try_for_each(|(key, value)| dict.set_item(&**key, value.clone(), vm))
            }
            Holder::Class(class) => {
                for (key, value) in &self.entries {
                    if let Some(key) = key.downcast_ref::<PyStr>() {
                        class.set_attr(vm.ctx.intern_str(key.as_wtf8()), value.clone());
                    }
                }
                class.modified();
                Ok(())
            }
        }
    }
}

fn is_code(value: &PyObject) -> bool {
    value.is_callable()
        || value.downcast_ref::<PyProperty>().is_some()
        || value.downcast_ref::<PyClassMethod>().is_some()
        || value.downcast_ref::<PyStaticMethod>().is_some()
        || value.downcast_ref::<PyModule>().is_some()
        || value.downcast_ref::<RuleOutput>().is_some()
}

fn is_constant(value: &PyObject) -> bool {
    value.downcast_ref::<PyStr>().is_some()
        || value.downcast_ref::<PyTuple>().is_some()
        || value.downcast_ref::<PyFrozenSet>().is_some()
}

/// `__name__` and the like, which the machinery of imports sets and corrects.
fn is_of_import(key: &PyObject) -> bool {
    key.downcast_ref::<PyStr>().is_some_and(|key| key.to_string_lossy().starts_with("__"))
}

fn same_text(a: &PyObject, b: &PyObject) -> bool {
    match (a.downcast_ref::<PyStr>(), b.downcast_ref::<PyStr>()) {
        (Some(a), Some(b)) => a.as_wtf8() == b.as_wtf8(),
        _ => false,
    }
}
