//! What of the modules of a rule set may change after it was loaded, whoever changes it.
//!
//! Each module says what it hands on and sets under the names it has for it ([`super::uses`]); here that is followed
//! through imports to the module that owns it. A module that is handed on as a whole can be changed in all its names,
//! and so can what it imports.

use std::collections::{HashMap, HashSet};

use super::module::{Module, first};
use super::uses;

/// What the functions that guards know are made of, of modules outside of the rule set.
const BELOW: &[(&str, &[&str])] = &[
    ("collections", &["abc"]),
    ("fnmatch", &["functools", "itertools", "os", "posixpath", "re"]),
    ("ipaddress", &["functools"]),
    ("re", &["copyreg", "enum", "functools"]),
];

/// Modules of which guards know objects, and what of these can be handed on: functions, exceptions and numbers. Whoever
/// holds one of their classes can change what its objects do.
const OBJECTS_OF: &[(&str, &[&str])] = &[
    ("ipaddress", &["AddressValueError", "NetmaskValueError", "ip_address", "ip_interface", "ip_network"]),
    (
        "re",
        &[
            "A",
            "ASCII",
            "DOTALL",
            "I",
            "IGNORECASE",
            "M",
            "MULTILINE",
            "S",
            "VERBOSE",
            "X",
            "compile",
            "error",
            "escape",
            "findall",
            "finditer",
            "fullmatch",
            "match",
            "search",
            "split",
            "sub",
            "subn",
        ],
    ),
];

/// Whether guards know objects of the module.
pub(super) fn has_objects(module: &str) -> bool {
    OBJECTS_OF.iter().any(|(of, _)| *of == module)
}

/// All names of a module.
const ALL: &str = "*";

#[derive(Default)]
pub(super) struct Changes<'a> {
    /// Module and name: the object may be changed.
    objects: HashSet<(usize, &'a str)>,
    /// The name may get to stand for something else.
    names: HashSet<(usize, &'a str)>,
    /// Modules outside of the rule set of which the same is true.
    outside: HashSet<&'a str>,
    /// Code may run that nobody sees called: when objects are compared, or dropped.
    hidden_calls: bool,
}

impl<'a> Changes<'a> {
    /// `named` has the modules that can be imported.
    pub(super) fn find(modules: &[Module<'a>], named: &HashMap<&'a str, usize>) -> Changes<'a> {
        let mut finder = Finder { modules, named, changes: Changes::default(), followed: HashSet::new() };
        // Whoever puts another function in the place of a builtin one gets to see what it is called with.
        let hides =
            |module: &Module<'_>| module.rebound.iter().any(|(_, attribute)| uses::BUILTINS.contains(attribute));
        let operators = modules.iter().any(|module| module.has_operators || hides(module));
        finder.changes.hidden_calls = operators || modules.iter().any(|module| module.has_finalizers);
        for (at, module) in modules.iter().enumerate() {
            module.escaped.iter().for_each(|(name, attribute)| finder.escape(at, name, *attribute));
            if operators {
                module.looked_at.iter().for_each(|(name, attribute)| finder.escape(at, name, *attribute));
            }
            module.rebound.iter().for_each(|(name, attribute)| finder.rebind(at, name, attribute));
            module.reached.iter().for_each(|name| finder.module(name));
            if module.reflection.is_some() {
                finder.whole(at);
            }
            let stars = module.imports.iter().filter(|import| import.name == Some(ALL));
            stars.for_each(|import| finder.module(import.module));
            if module.registers {
                finder.changes.outside.insert("collections");
            }
            if module.finds_classes {
                finder.changes.outside.extend(OBJECTS_OF.iter().map(|(of, _)| *of));
            }
        }
        finder.changes
    }

    pub(super) fn of_object(&self, module: usize, name: &'a str) -> bool {
        self.objects.contains(&(module, name)) || self.objects.contains(&(module, ALL))
    }

    pub(super) fn of_name(&self, module: usize, name: &'a str) -> bool {
        self.names.contains(&(module, name)) || self.names.contains(&(module, ALL))
    }

    pub(super) fn hidden_calls(&self) -> bool {
        self.hidden_calls
    }

    pub(super) fn outside(&self, module: &str) -> bool {
        let module = first(module);
        let below = BELOW.iter().filter(|(of, _)| *of == module).flat_map(|(_, below)| *below);
        self.outside.contains(module) || below.into_iter().any(|below| self.outside.contains(below))
    }
}

struct Finder<'m, 'a> {
    modules: &'m [Module<'a>],
    named: &'m HashMap<&'a str, usize>,
    changes: Changes<'a>,
    followed: HashSet<(usize, &'a str, Option<&'a str>)>,
}

impl<'a> Finder<'_, 'a> {
    /// Somebody holds what the name, or an attribute of it, stands for.
    fn escape(&mut self, at: usize, name: &'a str, attribute: Option<&'a str>) {
        if !self.followed.insert((at, name, attribute)) {
            return;
        }
        self.changes.objects.insert((at, name));
        let modules = self.modules;
        for import in modules[at].imports.iter().filter(|import| import.alias == name) {
            match (import.name, self.named.get(import.module).copied(), attribute) {
                (None, Some(_), None) => self.module(import.module),
                (None, Some(owner), Some(attribute)) => self.escape(owner, attribute, None),
                (Some(name), Some(owner), _) => self.escape(owner, name, attribute),
                (None, None, None) => drop(self.changes.outside.insert(first(import.module))),
                // The one module inside another that guards know.
                (None, None, Some("abc")) | (Some("abc"), None, None) => {
                    self.changes.outside.insert(first(import.module));
                }
                (part, None, attribute) => {
                    let part = part.or(attribute).unwrap_or_default();
                    let known = OBJECTS_OF.iter().find(|(of, _)| *of == import.module);
                    if known.is_some_and(|(_, parts)| !parts.contains(&part)) {
                        self.changes.outside.insert(first(import.module));
                    }
                }
            }
        }
    }

    /// Somebody sets an attribute of what the name stands for.
    fn rebind(&mut self, at: usize, name: &'a str, attribute: &'a str) {
        let modules = self.modules;
        for import in modules[at].imports.iter().filter(|import| import.alias == name) {
            match (import.name, self.named.get(import.module).copied()) {
                (None, Some(owner)) => drop(self.changes.names.insert((owner, attribute))),
                // If that is a module, then all of it may change.
                (Some(name), Some(owner)) => self.escape(owner, name, None),
                (_, None) => drop(self.changes.outside.insert(first(import.module))),
            }
        }
    }

    /// Somebody holds a module.
    fn module(&mut self, name: &'a str) {
        match self.named.get(name) {
            Some(at) => self.whole(*at),
            None => drop(self.changes.outside.insert(first(name))),
        }
    }

    fn whole(&mut self, at: usize) {
        self.changes.objects.insert((at, ALL));
        if self.changes.names.insert((at, ALL)) {
            let modules = self.modules;
            modules[at].imports.iter().for_each(|import| self.escape(at, import.alias, None));
        }
    }
}
