//! What the names of a module stand for, and which of its objects may be changed by somebody.
//!
//! A name counts only when the module binds it once, at its top level. Everything else about it is unknown.

use std::collections::{HashMap, HashSet};

use ruff_python_ast::visitor::{self, Visitor};
use ruff_python_ast::{self as ast, Expr, ExprContext, Stmt};
use ruff_text_size::{Ranged, TextSize};

use crate::detect::protocol::ModuleSource;

/// A module of the rule set, as it was parsed.
pub(super) struct Module<'a> {
    pub(super) source: &'a ModuleSource,
    bindings: HashMap<&'a str, Binding<'a>>,
    /// Names whose object is handed to something that may change it; with an attribute, of what the name stands for.
    pub(super) escaped: HashSet<(&'a str, Option<&'a str>)>,
    /// Imports inside of functions.
    pub(super) inner_imports: Vec<(&'a str, &'a str)>,
    /// What in it can change anything anywhere, so that nothing is certain any more.
    pub(super) reflection: Option<String>,
    /// Its names are unknown.
    opaque: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Binding<'a> {
    Function(&'a ast::StmtFunctionDef),
    Imported { module: &'a str, name: &'a str },
    Module(&'a str),
    Value(&'a Expr),
    Several,
}

/// Methods of lists, sets, dictionaries and strings that change nothing.
const READING: &[&str] = &["copy", "count", "get", "index", "items", "keys", "lower", "split", "upper", "values"];

/// The same, and they do not hand out their arguments either.
const READING_ARGUMENTS: &[&str] =
    &["difference", "endswith", "intersection", "isdisjoint", "issubset", "issuperset", "join", "startswith", "union"];

/// Builtin functions that keep no hold of their arguments.
const BUILTINS: &[&str] = &[
    "all",
    "any",
    "bool",
    "dict",
    "enumerate",
    "filter",
    "frozenset",
    "int",
    "isinstance",
    "len",
    "list",
    "map",
    "max",
    "min",
    "print",
    "repr",
    "reversed",
    "set",
    "sorted",
    "str",
    "sum",
    "tuple",
    "zip",
];

/// With these, code reaches objects past their names.
const REFLECTING_NAMES: &[&str] = &["__builtins__", "__import__", "delattr", "globals", "setattr", "vars"];
const REFLECTING_ATTRIBUTES: &[&str] = &[
    "__builtins__",
    "__code__",
    "__defaults__",
    "__delattr__",
    "__dict__",
    "__globals__",
    "__kwdefaults__",
    "__setattr__",
    "__setitem__",
    "__subclasses__",
    "_getframe",
    "f_globals",
    "f_locals",
];
const REFLECTING_MODULES: &[&str] = &["builtins", "gc", "importlib", "inspect", "unittest"];

impl<'a> Module<'a> {
    pub(super) fn read(source: &'a ModuleSource, tree: &'a ast::ModModule) -> Module<'a> {
        let mut module = Module {
            source,
            bindings: HashMap::new(),
            escaped: HashSet::new(),
            inner_imports: Vec::new(),
            reflection: None,
            opaque: false,
        };
        tree.body.iter().for_each(|statement| module.top_level(statement));
        let mut stored = Names::default();
        tree.body.iter().for_each(|statement| stored.visit_stmt(statement));
        let mut uses = Uses { module: &mut module, stored: stored.0, depth: 0 };
        tree.body.iter().for_each(|statement| uses.visit_stmt(statement));
        module
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
                let parameters = def.parameters.iter_non_variadic_params();
                parameters.filter_map(|one| one.default()).for_each(|default| Stores(self).visit_expr(default));
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
                    if *alias.name == *"*" {
                        self.opaque = true;
                        self.inner_imports.extend(import.module.as_ref().map(|module| (module.as_str(), "*")));
                    }
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
            Stmt::AnnAssign(_) => {}
            other => Stores(self).visit_stmt(other),
        }
    }
}

/// Marks every name that is bound in some way as unknown.
struct Stores<'m, 'a>(&'m mut Module<'a>);

impl<'a> Visitor<'a> for Stores<'_, 'a> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::FunctionDef(def) => drop(self.0.bindings.insert(&def.name, Binding::Several)),
            Stmt::ClassDef(class) => drop(self.0.bindings.insert(&class.name, Binding::Several)),
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

/// Every name that is bound anywhere.
#[derive(Default)]
struct Names<'a>(HashSet<&'a str>);

impl<'a> Visitor<'a> for Names<'a> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::FunctionDef(def) => drop(self.0.insert(&def.name)),
            Stmt::ClassDef(class) => drop(self.0.insert(&class.name)),
            _ => {}
        }
        visitor::walk_stmt(self, statement);
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Name(name) if name.ctx != ExprContext::Load => drop(self.0.insert(&name.id)),
            _ => visitor::walk_expr(self, expr),
        }
    }

    fn visit_alias(&mut self, alias: &'a ast::Alias) {
        self.0.insert(alias.asname.as_ref().unwrap_or(&alias.name));
    }

    fn visit_parameter(&mut self, parameter: &'a ast::Parameter) {
        self.0.insert(&parameter.name);
    }
}

/// Finds out what may change what.
struct Uses<'m, 'a> {
    module: &'m mut Module<'a>,
    /// Every name that is bound anywhere in the module: it may hide a builtin function.
    stored: HashSet<&'a str>,
    /// Functions and classes around.
    depth: usize,
}

impl<'a> Uses<'_, 'a> {
    /// In a place that only looks at the object.
    fn looked_at(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Name(name) if !REFLECTING_NAMES.contains(&&*name.id) => {}
            other => self.visit_expr(other),
        }
    }

    fn reflects(&mut self, what: &str, at: TextSize) {
        let line = line(&self.module.source.source, at);
        self.module.reflection.get_or_insert_with(|| format!("{}:{line}: {what}", self.module.source.file));
    }

    fn import(&mut self, name: &str, at: TextSize) {
        if REFLECTING_MODULES.contains(&name.split('.').next().unwrap_or_default()) {
            self.reflects(&format!("imports `{name}`"), at);
        }
    }
}

impl<'a> Visitor<'a> for Uses<'_, 'a> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::FunctionDef(_) | Stmt::ClassDef(_) => {
                self.depth += 1;
                visitor::walk_stmt(self, statement);
                self.depth -= 1;
            }
            Stmt::Global(global) => {
                for name in &global.names {
                    self.module.bindings.insert(name, Binding::Several);
                }
            }
            Stmt::Import(import) => {
                for alias in &import.names {
                    self.import(&alias.name, import.start());
                    if self.depth > 0 {
                        self.module.inner_imports.push((&alias.name, "*"));
                    }
                }
            }
            Stmt::ImportFrom(import) => {
                let module = import.module.as_ref().map_or("", |module| module.as_str());
                let harmless = |alias: &ast::Alias| matches!(&*alias.name, "MagicMock" | "Mock");
                if module != "unittest.mock" || !import.names.iter().all(harmless) {
                    self.import(module, import.start());
                }
                if self.depth > 0 {
                    self.module.inner_imports.extend(import.names.iter().map(|alias| (module, alias.name.as_str())));
                }
                if module == "sys" && import.names.iter().any(|alias| &*alias.name == "modules") {
                    self.reflects("imports `sys.modules`", import.start());
                }
            }
            Stmt::For(each) => {
                self.looked_at(&each.iter);
                self.visit_expr(&each.target);
                each.body.iter().chain(&each.orelse).for_each(|inner| self.visit_stmt(inner));
            }
            Stmt::If(branch) => {
                self.looked_at(&branch.test);
                branch.body.iter().for_each(|inner| self.visit_stmt(inner));
                for clause in &branch.elif_else_clauses {
                    clause.test.iter().for_each(|test| self.looked_at(test));
                    clause.body.iter().for_each(|inner| self.visit_stmt(inner));
                }
            }
            other => visitor::walk_stmt(self, other),
        }
    }

    fn visit_annotation(&mut self, _expr: &'a Expr) {}

    fn visit_comprehension(&mut self, clause: &'a ast::Comprehension) {
        self.looked_at(&clause.iter);
        self.visit_expr(&clause.target);
        clause.ifs.iter().for_each(|test| self.looked_at(test));
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Name(name) => {
                if REFLECTING_NAMES.contains(&&*name.id) {
                    self.reflects(&format!("uses `{}`", name.id), name.start());
                }
                if name.ctx == ExprContext::Load {
                    self.module.escaped.insert((&name.id, None));
                }
            }
            Expr::Attribute(attribute) => {
                let base = if let Expr::Name(name) = &*attribute.value { Some(&*name.id) } else { None };
                if REFLECTING_ATTRIBUTES.contains(&&*attribute.attr)
                    || (base == Some("sys") && &*attribute.attr == "modules")
                {
                    self.reflects(&format!("uses `.{}`", attribute.attr), attribute.start());
                }
                if attribute.ctx != ExprContext::Load && base != Some("self") && base != Some("cls") {
                    self.reflects("sets an attribute", attribute.start());
                }
                match base {
                    Some(_) => {
                        let Expr::Name(name) = &*attribute.value else { return };
                        self.module.escaped.insert((&name.id, Some(&attribute.attr)));
                    }
                    None => self.visit_expr(&attribute.value),
                }
            }
            Expr::Compare(compare) => {
                self.looked_at(&compare.left);
                compare.comparators.iter().for_each(|side| self.looked_at(side));
            }
            Expr::Subscript(subscript) if subscript.ctx == ExprContext::Load => {
                self.looked_at(&subscript.value);
                self.visit_expr(&subscript.slice);
            }
            Expr::UnaryOp(unary) => self.looked_at(&unary.operand),
            Expr::BinOp(binary) => {
                self.looked_at(&binary.left);
                self.looked_at(&binary.right);
            }
            Expr::Starred(starred) => self.looked_at(&starred.value),
            Expr::If(choice) => {
                self.looked_at(&choice.test);
                self.visit_expr(&choice.body);
                self.visit_expr(&choice.orelse);
            }
            Expr::Call(call) => {
                let mut keeps = true;
                match &*call.func {
                    Expr::Name(name) => {
                        keeps = !BUILTINS.contains(&&*name.id) || self.stored.contains(&*name.id);
                        self.looked_at(&call.func);
                    }
                    Expr::Attribute(attribute) if READING.contains(&&*attribute.attr) => {
                        self.looked_at(&attribute.value);
                    }
                    Expr::Attribute(attribute) if READING_ARGUMENTS.contains(&&*attribute.attr) => {
                        keeps = false;
                        self.looked_at(&attribute.value);
                    }
                    other => self.visit_expr(other),
                }
                let named = call.arguments.keywords.iter().map(|keyword| &keyword.value);
                for argument in call.arguments.args.iter().chain(named) {
                    if keeps {
                        self.visit_expr(argument);
                    } else {
                        self.looked_at(argument);
                    }
                }
            }
            other => visitor::walk_expr(self, other),
        }
    }
}

/// Number of a line, from 1.
pub(super) fn line(text: &str, at: TextSize) -> usize {
    1 + text.as_bytes()[..at.to_usize().min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}
