//! Names of a module that its own functions set (`global`), and which of these sets take nothing from a guard.

use std::collections::HashSet;

use ruff_python_ast::visitor::{self, Visitor};
use ruff_python_ast::{self as ast, Expr, ExprContext, Stmt};

use super::module::{Binding, Module};

const EAGER: &[&str] = &["all", "any", "dict", "frozenset", "list", "max", "min", "set", "sorted", "sum", "tuple"];

/// What the functions of a module set.
#[derive(Default)]
pub(super) struct OuterNames<'a> {
    /// In whatever way. The top level does not tell what they stand for.
    pub(super) set: HashSet<&'a str>,
    /// Only while a test has a mock in their place, which nothing else puts there.
    pub(super) set_for_mocks: HashSet<&'a str>,
    /// Functions of the top level.
    functions: HashSet<&'a str>,
    /// There is code that may run when nobody sees a function called by its name.
    has_hidden_calls: bool,
}

impl<'a> OuterNames<'a> {
    pub(super) fn find(module: &Module<'a>, tree: &'a ast::ModModule) -> OuterNames<'a> {
        let mut finder = Finder {
            module,
            inside: 0,
            has_patterns: false,
            declared: HashSet::new(),
            stored: HashSet::new(),
            found: OuterNames::default(),
        };
        tree.body.iter().for_each(|statement| finder.visit_stmt(statement));
        let Finder { has_patterns, mut declared, stored, mut found, .. } = finder;
        declared.retain(|name| has_patterns || stored.contains(name));
        found.set = declared;
        // Some scope has another meaning for what tells a mock.
        if ["isinstance", "MagicMock", "Mock"].iter().any(|word| stored.contains(word)) {
            found.set.extend(found.set_for_mocks.drain());
        }
        found.set_for_mocks.retain(|name| !found.set.contains(name));
        found
    }

    /// Whether only the functions of the module see what its names stand for, and only when they are called by their names.
    pub(super) fn are_private(&self, module: &Module<'a>) -> bool {
        !self.has_hidden_calls && !module.escaped.iter().any(|(name, _)| self.functions.contains(name))
    }
}

/// Scopes are not told apart, which can only find too much.
struct Finder<'m, 'a> {
    module: &'m Module<'a>,
    /// Functions and classes around.
    inside: usize,
    /// What patterns bind is not looked for.
    has_patterns: bool,
    declared: HashSet<&'a str>,
    /// Inside of a function or class.
    stored: HashSet<&'a str>,
    found: OuterNames<'a>,
}

impl<'a> Finder<'_, 'a> {
    fn store(&mut self, name: &'a str) {
        if self.inside > 0 {
            self.stored.insert(name);
        }
    }

    /// A builtin function that takes all of a generator before it returns.
    fn is_eager(&self, function: &Expr) -> bool {
        let Expr::Name(name) = function else { return false };
        EAGER.contains(&&*name.id) && self.module.binding(&name.id).is_none() && !self.stored.contains(&*name.id)
    }

    /// The name in `if isinstance(NAME, MagicMock): NAME = …`.
    fn waits_for_mock(&self, branch: &'a ast::StmtIf) -> Option<&'a str> {
        let name = self.is_mock(&branch.test)?;
        let sets = |statement: &Stmt| match statement {
            Stmt::Assign(assign) => {
                matches!(&*assign.targets, [Expr::Name(target)] if *target.id == *name)
            }
            _ => false,
        };
        branch.body.iter().all(sets).then_some(name)
    }

    /// The name in `isinstance(NAME, MagicMock)`.
    fn is_mock(&self, test: &'a Expr) -> Option<&'a str> {
        let call = test.as_call_expr().filter(|call| call.arguments.keywords.is_empty())?;
        let (Expr::Name(function), [Expr::Name(name), Expr::Name(class)]) = (&*call.func, &*call.arguments.args) else {
            return None;
        };
        let is_class = match self.module.binding(&class.id) {
            Some(Binding::Imported { module: "unittest.mock", name }) => {
                matches!(name, "MagicMock" | "Mock") && *class.id == *name
            }
            _ => false,
        };
        (*function.id == *"isinstance" && self.module.binding("isinstance").is_none() && is_class).then_some(&*name.id)
    }
}

impl<'a> Visitor<'a> for Finder<'_, 'a> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::FunctionDef(def) => {
                self.store(&def.name);
                self.found.functions.insert(&def.name);
                self.found.has_hidden_calls |= self.inside > 0 || !def.decorator_list.is_empty();
            }
            Stmt::ClassDef(class) => {
                self.store(&class.name);
                self.found.has_hidden_calls = true;
            }
            Stmt::Global(global) => self.declared.extend(global.names.iter().map(|name| name.as_str())),
            Stmt::Import(ast::StmtImport { names, .. }) | Stmt::ImportFrom(ast::StmtImportFrom { names, .. }) => {
                for alias in names {
                    let name = alias.asname.as_ref().unwrap_or(&alias.name).as_str();
                    self.store(name.split('.').next().unwrap_or_default());
                }
            }
            Stmt::Match(_) => self.has_patterns = true,
            Stmt::If(branch) => {
                if let Some(name) = self.waits_for_mock(branch) {
                    self.found.set_for_mocks.insert(name);
                    branch
                        .body
                        .iter()
                        .filter_map(Stmt::as_assign_stmt)
                        .for_each(|assign| self.visit_expr(&assign.value));
                    branch.elif_else_clauses.iter().for_each(|clause| self.visit_elif_else_clause(clause));
                    return;
                }
            }
            _ => {}
        }
        let scope = matches!(statement, Stmt::FunctionDef(_) | Stmt::ClassDef(_));
        self.inside += usize::from(scope);
        visitor::walk_stmt(self, statement);
        self.inside -= usize::from(scope);
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Name(name) if name.ctx != ExprContext::Load => self.store(&name.id),
            Expr::Call(call) if self.is_eager(&call.func) => {
                for argument in &call.arguments.args {
                    match argument {
                        Expr::Generator(_) => visitor::walk_expr(self, argument),
                        other => self.visit_expr(other),
                    }
                }
                return call.arguments.keywords.iter().for_each(|keyword| self.visit_expr(&keyword.value));
            }
            // What they return calls a function later.
            Expr::Name(name) if matches!(&*name.id, "map" | "filter") => self.found.has_hidden_calls = true,
            Expr::Lambda(_) | Expr::Generator(_) | Expr::Yield(_) | Expr::YieldFrom(_) | Expr::Await(_) => {
                self.found.has_hidden_calls = true;
            }
            _ => {}
        }
        visitor::walk_expr(self, expr);
    }

    fn visit_parameter(&mut self, parameter: &'a ast::Parameter) {
        self.stored.insert(&parameter.name);
        visitor::walk_parameter(self, parameter);
    }

    fn visit_except_handler(&mut self, handler: &'a ast::ExceptHandler) {
        let ast::ExceptHandler::ExceptHandler(inner) = handler;
        inner.name.iter().for_each(|name| self.store(name));
        visitor::walk_except_handler(self, handler);
    }
}
