//! What a module imports and which names it binds, in whatever scope.

use std::collections::HashSet;

use ruff_python_ast::visitor::{self, Visitor};
use ruff_python_ast::{self as ast, Expr, ExprContext, Stmt};
use ruff_text_size::Ranged;

use super::module::{Import, Module};
use super::reflection::{self, Reach};

/// Notes every import, and the first of something that reflects.
pub(super) fn find<'a>(module: &mut Module<'a>, tree: &'a ast::ModModule) {
    let mut imports = Imports { module, found: Vec::new() };
    tree.body.iter().for_each(|statement| imports.visit_stmt(statement));
    module.imports = imports.found;
}

struct Imports<'m, 'a> {
    module: &'m mut Module<'a>,
    found: Vec<Import<'a>>,
}

impl<'a> Visitor<'a> for Imports<'_, 'a> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::Import(import) => {
                for alias in &import.names {
                    let module = match &alias.asname {
                        Some(_) => &alias.name,
                        None => alias.name.split('.').next().unwrap_or_default(),
                    };
                    let parts_only = alias.asname.is_none() && reflection::has_parts_only(&alias.name);
                    if parts_only && alias.name.contains('.') {
                        let what = format!("imports `{}` as a whole", alias.name);
                        self.module.reflects(what, import.start(), Reach::Everything);
                    }
                    let name = alias.asname.as_ref().map_or(module, |name| name.as_str());
                    self.found.push(Import { alias: name, module, name: None, at: import.start() });
                }
            }
            Stmt::ImportFrom(import) => {
                let module = import.module.as_ref().map_or("", |module| module.as_str());
                for alias in &import.names {
                    let name: &str = &alias.name;
                    if !reflection::is_harmless_part(module, name) || reflection::is_reflecting_attribute(name) {
                        let what = format!("imports `{module}.{name}`");
                        self.module.reflects(what, import.start(), Reach::Everything);
                    }
                    let alias = alias.asname.as_ref().map_or(name, |name| name.as_str());
                    self.found.push(Import { alias, module, name: Some(name), at: import.start() });
                }
            }
            other => visitor::walk_stmt(self, other),
        }
    }
}

/// Every name that is bound anywhere.
pub(super) fn bound(tree: &ast::ModModule) -> HashSet<&str> {
    let mut names = Names::default();
    tree.body.iter().for_each(|statement| names.visit_stmt(statement));
    names.0
}

#[derive(Default)]
struct Names<'a>(HashSet<&'a str>);

impl<'a> Visitor<'a> for Names<'a> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::FunctionDef(def) => drop(self.0.insert(&def.name)),
            Stmt::ClassDef(class) => drop(self.0.insert(&class.name)),
            Stmt::Global(global) => self.0.extend(global.names.iter().map(|name| name.as_str())),
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
        visitor::walk_parameter(self, parameter);
    }

    fn visit_except_handler(&mut self, handler: &'a ast::ExceptHandler) {
        let ast::ExceptHandler::ExceptHandler(inner) = handler;
        self.0.extend(inner.name.as_ref().map(|name| name.as_str()));
        visitor::walk_except_handler(self, handler);
    }

    fn visit_pattern(&mut self, pattern: &'a ast::Pattern) {
        let bound = match pattern {
            ast::Pattern::MatchAs(one) => one.name.as_ref(),
            ast::Pattern::MatchStar(rest) => rest.name.as_ref(),
            ast::Pattern::MatchMapping(mapping) => mapping.rest.as_ref(),
            _ => None,
        };
        self.0.extend(bound.map(|name| name.as_str()));
        visitor::walk_pattern(self, pattern);
    }
}
