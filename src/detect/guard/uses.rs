//! What a module does with its names: which objects it hands to code that may change them, which attributes it sets, and
//! where it reflects. Scopes are not told apart, which can only find too much.

use std::collections::HashSet;

use ruff_python_ast::visitor::{self, Visitor};
use ruff_python_ast::{self as ast, Expr, ExprContext, InterpolatedStringElement, Stmt};
use ruff_text_size::{Ranged, TextSize};

use super::changes::has_objects;
use super::imported;
use super::module::{Import, Module};
use super::reflection::{self, Reach};

/// Methods of lists, sets, dictionaries and strings that change nothing.
const READING: &[&str] = &["copy", "count", "get", "index", "items", "keys", "lower", "split", "upper", "values"];

/// Of sets and texts, and they do not hand out their arguments either.
const READING_ARGUMENTS: &[&str] =
    &["difference", "endswith", "intersection", "isdisjoint", "issubset", "issuperset", "join", "startswith", "union"];

/// Builtin functions that keep no hold of their arguments.
pub(super) const BUILTINS: &[&str] = &[
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

/// Methods of a namespace that reach one name at a time.
const BY_NAME: &[&str] = &["get", "pop", "setdefault", "update"];

pub(super) fn find<'a>(module: &mut Module<'a>, tree: &'a ast::ModModule) {
    imported::find(module, tree);
    let mut uses = Uses { module, stored: imported::bound(tree), depth: 0 };
    tree.body.iter().for_each(|statement| uses.visit_stmt(statement));
}

struct Uses<'m, 'a> {
    module: &'m mut Module<'a>,
    /// Every name that is bound anywhere in the module: it may hide a builtin function.
    stored: HashSet<&'a str>,
    /// Functions and classes around.
    depth: usize,
}

/// From an object to its class, or to what its class shares among objects.
fn leads_to_class(attribute: &str) -> bool {
    matches!(attribute, "__class__" | "_constants" | "_netmask_cache")
}

/// The name at the bottom of `name.a.b`, and the attributes.
fn chain(expr: &Expr) -> Option<(&ast::ExprName, Vec<&str>)> {
    match expr {
        Expr::Name(name) => Some((name, Vec::new())),
        Expr::Attribute(attribute) => {
            let (name, mut attributes) = chain(&attribute.value)?;
            attributes.push(&attribute.attr);
            Some((name, attributes))
        }
        _ => None,
    }
}

impl<'a> Uses<'_, 'a> {
    fn reflects(&mut self, what: impl Into<String>, at: TextSize, reach: Reach) {
        self.module.reflects(what.into(), at, reach);
    }

    /// In a place that only looks at the object.
    fn looked_at(&mut self, expr: &'a Expr) {
        if self.is_own_namespace(expr) {
            return self.reflects("looks into its own namespace", expr.start(), Reach::Own);
        }
        match chain(expr) {
            Some((name, attributes)) => {
                self.check_chain(name, &attributes);
                self.module.looked_at.insert((&name.id, attributes.first().copied()));
            }
            None => self.visit_expr(expr),
        }
    }

    fn escapes(&mut self, name: &'a ast::ExprName, attributes: &[&'a str]) {
        self.check_chain(name, attributes);
        self.may_mock(name);
        self.module.escaped.insert((&name.id, attributes.first().copied()));
    }

    /// Of what is read by names that stand in the text.
    fn check_chain(&mut self, name: &'a ast::ExprName, attributes: &[&'a str]) {
        if reflection::is_reflecting_builtin(&name.id) {
            self.reflects(format!("uses `{}`", name.id), name.start(), Reach::Everything);
        }
        if let Some(attribute) = attributes.iter().find(|name| reflection::is_reflecting_attribute(name)) {
            self.reflects(format!("uses `.{attribute}`"), name.start(), Reach::Everything);
        }
        let modules: Vec<&str> =
            self.module.modules_named(&name.id).filter(|module| reflection::has_parts_only(module)).collect();
        for module in modules {
            match attributes.first() {
                None => self.reflects(format!("hands `{module}` on"), name.start(), Reach::Everything),
                Some(part) if !reflection::is_harmless_part(module, part) => {
                    self.reflects(format!("uses `{module}.{part}`"), name.start(), Reach::Everything);
                }
                Some(_) => {}
            }
        }
        self.module.registers |= attributes.contains(&"register");
        self.module.finds_classes |= *name.id == *"type" || attributes.iter().any(|name| leads_to_class(name));
    }

    /// What stands in for anything keeps what it is compared with.
    fn may_mock(&mut self, name: &'a ast::ExprName) {
        let mocks = |import: &Import<'a>| import.alias == &*name.id && import.module == "unittest.mock";
        self.module.has_operators |= self.module.imports.iter().any(mocks);
    }

    /// `globals()`, and what is the same at the top level.
    fn is_own_namespace(&self, expr: &Expr) -> bool {
        let Expr::Call(call) = expr else { return false };
        let Expr::Name(name) = &*call.func else { return false };
        call.arguments.is_empty() && matches!((&*name.id, self.depth), ("globals", _) | ("locals" | "vars", 0))
    }

    /// `sys.modules`
    fn is_table_of_modules(&self, expr: &Expr) -> bool {
        let Some((name, attributes)) = chain(expr) else { return false };
        *attributes == ["modules"] && self.module.modules_named(&name.id).any(|module| module == "sys")
    }

    /// `None` for what is no call of a builtin function that reflects, in a form that is understood.
    fn understood_reflection(&mut self, call: &'a ast::ExprCall) -> Option<()> {
        let arguments = &*call.arguments.args;
        let (name, attributes) = chain(&call.func)?;
        let imports = *attributes == ["import_module"] && self.module.modules_named(&name.id).any(|m| m == "importlib");
        match (&*name.id, &*attributes, arguments) {
            ("locals", [], []) => {}
            ("vars", [], []) => {}
            ("vars", [], [_]) => {}
            ("getattr" | "setattr" | "delattr", [], [_, Expr::StringLiteral(text), ..])
                if !reflection::is_reflecting_attribute(text.value.to_str()) =>
            {
                self.module.finds_classes |= leads_to_class(text.value.to_str());
            }
            ("__import__", [], [Expr::StringLiteral(text), ..]) => self.reach(text.value.to_str(), call.start()),
            (_, _, [Expr::StringLiteral(text)]) if imports => self.reach(text.value.to_str(), call.start()),
            _ => return None,
        }
        visitor::walk_arguments(self, &call.arguments);
        Some(())
    }

    fn reach(&mut self, module: &'a str, at: TextSize) {
        if reflection::has_parts_only(module) {
            self.reflects(format!("reaches `{module}` by its name"), at, Reach::Everything);
        }
        self.module.imports.push(Import { alias: "", module, name: None, at });
        self.module.reached.push(module);
    }

    fn call(&mut self, call: &'a ast::ExprCall) {
        let mut keeps = true;
        match &*call.func {
            Expr::Name(name) => {
                keeps = !BUILTINS.contains(&&*name.id) || self.stored.contains(&*name.id);
                // A class that is made by a call may have any method.
                self.module.has_operators |= *name.id == *"type" && call.arguments.args.len() > 1;
                self.may_mock(name);
                self.looked_at(&call.func);
            }
            Expr::Attribute(attribute) if self.is_own_namespace(&attribute.value) => {
                let reach = if BY_NAME.contains(&&*attribute.attr) { Reach::Own } else { Reach::Everything };
                self.reflects("reaches into its own namespace", attribute.start(), reach);
            }
            // A call of a function of a module hands on neither.
            Expr::Attribute(attribute) if self.is_of_library(&attribute.value) => self.looked_at(&call.func),
            Expr::Attribute(attribute) if READING.contains(&&*attribute.attr) => self.looked_at(&attribute.value),
            Expr::Attribute(attribute) if READING_ARGUMENTS.contains(&&*attribute.attr) => {
                keeps = !self.is_plain(&attribute.value);
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

    /// A module outside of the rule set of which guards know objects.
    fn is_of_library(&self, expr: &Expr) -> bool {
        let Expr::Name(name) = expr else { return false };
        let mut imports = self.module.imports.iter().filter(|import| import.alias == &*name.id).peekable();
        imports.peek().is_some() && imports.all(|import| import.name.is_none() && has_objects(import.module))
    }

    /// A text or a set, for certain.
    fn is_plain(&self, expr: &Expr) -> bool {
        match expr {
            Expr::StringLiteral(_) | Expr::FString(_) | Expr::Set(_) | Expr::SetComp(_) => true,
            Expr::Call(call) => {
                let Expr::Name(name) = &*call.func else { return false };
                matches!(&*name.id, "set" | "frozenset" | "str") && !self.stored.contains(&*name.id)
            }
            _ => false,
        }
    }

    fn text(&mut self, text: &str, at: TextSize) {
        if reflection::is_reflecting_text(text) {
            self.reflects(format!("has the text {text:?}"), at, Reach::Everything);
        }
    }

    fn class(&mut self, class: &'a ast::StmtClassDef) {
        for statement in &class.body {
            match statement {
                Stmt::FunctionDef(def) => {
                    self.module.has_operators |= reflection::takes_operands(&def.name);
                    self.module.has_finalizers |= *def.name == *"__del__";
                }
                Stmt::Assign(assign) => {
                    for name in assign.targets.iter().filter_map(Expr::as_name_expr) {
                        self.module.has_operators |= reflection::takes_operands(&name.id);
                        self.module.has_finalizers |= *name.id == *"__del__";
                    }
                }
                _ => {}
            }
        }
    }
}

impl<'a> Visitor<'a> for Uses<'_, 'a> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::FunctionDef(_) | Stmt::ClassDef(_) => {
                statement.as_class_def_stmt().into_iter().for_each(|class| self.class(class));
                self.depth += 1;
                visitor::walk_stmt(self, statement);
                self.depth -= 1;
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

    fn visit_comprehension(&mut self, clause: &'a ast::Comprehension) {
        self.looked_at(&clause.iter);
        self.visit_expr(&clause.target);
        clause.ifs.iter().for_each(|test| self.looked_at(test));
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Name(name) if name.ctx == ExprContext::Load => self.escapes(name, &[]),
            Expr::Name(_) => {}
            Expr::Attribute(attribute) if attribute.ctx != ExprContext::Load => match chain(&attribute.value) {
                Some((name, attributes)) if attributes.is_empty() => {
                    self.check_chain(name, &[&attribute.attr]);
                    self.module.rebound.insert((&name.id, &attribute.attr));
                }
                _ => {
                    self.check_attribute(attribute);
                    self.visit_expr(&attribute.value);
                }
            },
            Expr::Attribute(attribute) => match chain(expr) {
                Some((name, attributes)) => self.escapes(name, &attributes),
                None => {
                    self.check_attribute(attribute);
                    self.visit_expr(&attribute.value);
                }
            },
            Expr::Compare(compare) => {
                self.looked_at(&compare.left);
                compare.comparators.iter().for_each(|side| self.looked_at(side));
            }
            Expr::Subscript(subscript) if self.is_own_namespace(&subscript.value) => {
                self.reflects("reaches into its own namespace", subscript.start(), Reach::Own);
                self.visit_expr(&subscript.slice);
            }
            Expr::Subscript(subscript) if self.is_table_of_modules(&subscript.value) => match &*subscript.slice {
                Expr::StringLiteral(text) => self.reach(text.value.to_str(), subscript.start()),
                Expr::Name(name) if *name.id == *"__name__" => {
                    self.reflects("reaches for itself in `sys.modules`", subscript.start(), Reach::Own);
                }
                _ => self.reflects("looks into `sys.modules`", subscript.start(), Reach::Everything),
            },
            Expr::Subscript(subscript) if subscript.ctx == ExprContext::Load => {
                self.looked_at(&subscript.value);
                self.visit_expr(&subscript.slice);
            }
            Expr::UnaryOp(unary) => self.looked_at(&unary.operand),
            Expr::BinOp(binary) => {
                self.looked_at(&binary.left);
                self.looked_at(&binary.right);
            }
            Expr::Starred(starred) if starred.ctx == ExprContext::Load => self.looked_at(&starred.value),
            Expr::If(choice) => {
                self.looked_at(&choice.test);
                self.visit_expr(&choice.body);
                self.visit_expr(&choice.orelse);
            }
            Expr::StringLiteral(literal) => self.text(literal.value.to_str(), literal.start()),
            Expr::FString(text) => {
                for part in text.value.as_slice() {
                    if let ast::FStringPart::Literal(literal) = part {
                        self.text(literal, text.start());
                    }
                }
                for element in text.value.elements() {
                    if let InterpolatedStringElement::Literal(literal) = element {
                        self.text(literal, text.start());
                    }
                }
                visitor::walk_expr(self, expr);
            }
            Expr::Call(call) => {
                if self.is_own_namespace(expr) {
                    return self.reflects("hands its own namespace on", call.start(), Reach::Everything);
                }
                if self.understood_reflection(call).is_none() {
                    self.call(call);
                }
            }
            other => visitor::walk_expr(self, other),
        }
    }
}

impl<'a> Uses<'_, 'a> {
    fn check_attribute(&mut self, attribute: &'a ast::ExprAttribute) {
        if reflection::is_reflecting_attribute(&attribute.attr) {
            self.reflects(format!("uses `.{}`", attribute.attr), attribute.start(), Reach::Everything);
        }
        self.module.registers |= &*attribute.attr == "register";
        self.module.finds_classes |= leads_to_class(&attribute.attr);
    }
}
