//! What the names of a module stand for.
//!
//! A name counts only when the module binds it once, at its top level. Everything else about it is unknown. What the
//! module does with its names is in [`super::uses`].

use std::collections::{HashMap, HashSet};

use ruff_python_ast::visitor::{self, Visitor};
use ruff_python_ast::{self as ast, Expr, ExprContext, Stmt};
use ruff_text_size::TextSize;

use super::outer_names::OuterNames;
use super::reflection::{self, Reach, Reflection};
use super::uses;
use crate::detect::protocol::ModuleSource;

/// A module of the rule set, as it was parsed.
pub(super) struct Module<'a> {
    pub(super) source: &'a ModuleSource,
    bindings: HashMap<&'a str, Binding<'a>>,
    /// Every import, wherever it stands and whatever else its name means.
    pub(super) imports: Vec<Import<'a>>,
    /// Names whose object is handed to something that may change it; with an attribute, of what the name stands for.
    pub(super) escaped: HashSet<Use<'a>>,
    /// The same for what is only looked at, unless a class has operators of its own.
    pub(super) looked_at: HashSet<Use<'a>>,
    /// Attributes that are set, of what a name stands for.
    pub(super) rebound: HashSet<(&'a str, &'a str)>,
    /// Modules that are reached by a text.
    pub(super) reached: Vec<&'a str>,
    /// It has objects that get to see what they are compared with.
    pub(super) has_operators: bool,
    /// It makes classes pass for others.
    pub(super) registers: bool,
    /// It gets at classes, or at what they share, through their objects.
    pub(super) finds_classes: bool,
    /// A class has code that runs when an object is dropped.
    pub(super) has_finalizers: bool,
    pub(super) outer_names: OuterNames<'a>,
    pub(super) reflection: Option<Reflection>,
    /// Its names are unknown.
    opaque: bool,
}

pub(super) type Use<'a> = (&'a str, Option<&'a str>);

/// `import module as alias`, or `from module import name as alias`.
pub(super) struct Import<'a> {
    pub(super) alias: &'a str,
    pub(super) module: &'a str,
    pub(super) name: Option<&'a str>,
    pub(super) at: TextSize,
}

#[derive(Clone, Copy)]
pub(super) enum Binding<'a> {
    Function(&'a ast::StmtFunctionDef),
    Imported { module: &'a str, name: &'a str },
    Module(&'a str),
    Value(&'a Expr),
    Several,
}

impl<'a> Module<'a> {
    pub(super) fn read(source: &'a ModuleSource, tree: &'a ast::ModModule) -> Module<'a> {
        let mut module = Module {
            source,
            bindings: HashMap::new(),
            imports: Vec::new(),
            escaped: HashSet::new(),
            looked_at: HashSet::new(),
            rebound: HashSet::new(),
            reached: Vec::new(),
            has_operators: false,
            registers: false,
            finds_classes: false,
            has_finalizers: false,
            outer_names: OuterNames::default(),
            reflection: None,
            opaque: false,
        };
        tree.body.iter().for_each(|statement| module.top_level(statement));
        uses::find(&mut module, tree);
        module.outer_names = OuterNames::find(&module, tree);
        let set: Vec<&str> = module.outer_names.set.iter().copied().collect();
        set.into_iter().for_each(|name| module.unbind(name));
        module.opaque |= module.reflection.is_some();
        module
    }

    /// The name means something else than what the top level says.
    pub(super) fn unbind(&mut self, name: &'a str) {
        self.bindings.insert(name, Binding::Several);
    }

    /// Notes where it reflects: the first place of those that reach furthest.
    pub(super) fn reflects(&mut self, what: String, at: TextSize, reach: Reach) {
        let further = self.reflection.as_ref().is_none_or(|known| known.reach == Reach::Own && reach != Reach::Own);
        if further {
            self.reflection = Some(Reflection { line: line(&self.source.source, at), what, reach });
        }
    }

    /// Of its imports, those that are neither of the rule set nor known to be harmless.
    pub(super) fn check_imports(&mut self, of_rule_set: impl Fn(&str) -> bool, exists: impl Fn(&str) -> bool) {
        let bad = |import: &&Import<'a>| {
            let name = import.module;
            // Rules and data models are modules of the interpreter as well.
            let found = exists(name) || exists(first(name)) || name.starts_with("margay");
            !of_rule_set(name) && !reflection::is_harmless_module(name) && found
        };
        if let Some(import) = self.imports.iter().find(bad) {
            let (what, at) = (format!("imports `{}`", import.module), import.at);
            self.reflects(what, at, Reach::Everything);
            self.opaque = true;
        }
    }

    /// Modules that the name is imported for.
    pub(super) fn modules_named(&self, alias: &str) -> impl Iterator<Item = &'a str> {
        let imports = self.imports.iter().filter(move |import| import.alias == alias && import.name.is_none());
        imports.map(|import| import.module)
    }

    /// `None` when the module doesn't bind the name.
    pub(super) fn binding(&self, name: &str) -> Option<Binding<'a>> {
        if self.opaque { Some(Binding::Several) } else { self.bindings.get(name).copied() }
    }

    fn bind(&mut self, name: &'a str, binding: Binding<'a>) {
        let again = self.bindings.contains_key(name);
        self.bindings.insert(name, if again { Binding::Several } else { binding });
    }

    fn top_level(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::FunctionDef(def) => {
                self.bind(&def.name, Binding::Function(def));
                Stores(self).signature(def);
            }
            Stmt::Import(import) => {
                for alias in &import.names {
                    match &alias.asname {
                        Some(name) => self.bind(name, Binding::Module(&alias.name)),
                        None if alias.name.contains('.') => {
                            let first = alias.name.split('.').next().unwrap_or_default();
                            self.bindings.insert(first, Binding::Several);
                        }
                        None => self.bind(&alias.name, Binding::Module(&alias.name)),
                    }
                }
            }
            Stmt::ImportFrom(import) => {
                for alias in &import.names {
                    let name = alias.asname.as_ref().unwrap_or(&alias.name);
                    let binding = match &import.module {
                        Some(module) if import.level == 0 => Binding::Imported { module, name: &alias.name },
                        _ => Binding::Several,
                    };
                    self.opaque |= *alias.name == *"*";
                    self.bind(name, binding);
                }
            }
            Stmt::Assign(assign) => {
                match &*assign.targets {
                    [Expr::Name(name)] => self.bind(&name.id, Binding::Value(&assign.value)),
                    targets => targets.iter().for_each(|target| Stores(self).visit_expr(target)),
                }
                Stores(self).visit_expr(&assign.value);
            }
            Stmt::AnnAssign(ast::StmtAnnAssign { target, value: Some(value), .. }) => {
                match &**target {
                    Expr::Name(name) => self.bind(&name.id, Binding::Value(value)),
                    target => Stores(self).visit_expr(target),
                }
                Stores(self).visit_expr(value);
            }
            other => Stores(self).visit_stmt(other),
        }
    }
}

/// Marks every name that is bound in some way as unknown.
struct Stores<'m, 'a>(&'m mut Module<'a>);

impl<'a> Stores<'_, 'a> {
    /// What a definition evaluates where it stands.
    fn signature(&mut self, def: &'a ast::StmtFunctionDef) {
        def.decorator_list.iter().for_each(|decorator| self.visit_decorator(decorator));
        self.visit_parameters(&def.parameters);
        def.returns.iter().for_each(|returns| self.visit_expr(returns));
    }
}

impl<'a> Visitor<'a> for Stores<'_, 'a> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::FunctionDef(def) => {
                self.0.unbind(&def.name);
                self.signature(def);
            }
            Stmt::ClassDef(class) => {
                self.0.unbind(&class.name);
                class.decorator_list.iter().for_each(|decorator| self.visit_decorator(decorator));
                class.arguments.iter().for_each(|arguments| self.visit_arguments(arguments));
            }
            Stmt::Import(ast::StmtImport { names, .. }) | Stmt::ImportFrom(ast::StmtImportFrom { names, .. }) => {
                for alias in names {
                    if *alias.name == *"*" {
                        self.0.opaque = true;
                    }
                    let name: &'a str = alias.asname.as_ref().unwrap_or(&alias.name);
                    let first = name.split('.').next().unwrap_or_default();
                    self.0.bindings.insert(first, Binding::Several);
                }
            }
            Stmt::Match(_) | Stmt::TypeAlias(_) => self.0.opaque = true,
            other => visitor::walk_stmt(self, other),
        }
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Name(name) if name.ctx != ExprContext::Load => {
                self.0.bindings.insert(&name.id, Binding::Several);
            }
            other => visitor::walk_expr(self, other),
        }
    }

    fn visit_except_handler(&mut self, handler: &'a ast::ExceptHandler) {
        let ast::ExceptHandler::ExceptHandler(inner) = handler;
        if let Some(name) = &inner.name {
            self.0.bindings.insert(name, Binding::Several);
        }
        visitor::walk_except_handler(self, handler);
    }
}

/// Number of a line, from 1.
pub(super) fn line(text: &str, at: TextSize) -> usize {
    1 + text.as_bytes()[..at.to_usize().min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}

/// Of a dotted name.
pub(super) fn first(module: &str) -> &str {
    module.split('.').next().unwrap_or_default()
}
