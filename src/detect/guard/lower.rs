//! From syntax trees to a [`Program`]: functions with their statements. Expressions are in [`super::lower_expr`].
//!
//! Every function is read once, when a rule, another function or a data model first calls it.

use std::collections::HashMap;
use std::sync::Arc;

use ruff_python_ast::visitor::{self, Visitor};
use ruff_python_ast::{self as ast, Expr as Tree, ExprContext, Stmt as Statement};
use ruff_text_size::{Ranged, TextSize};

use super::changes::Changes;
use super::constant::Const;
use super::exception::{Catches, Exception};
use super::module::{Binding, Module, line};
use super::program::{Expr, For, Function, Handler, Parameter, Program, Slot, Stmt, Target, Try, Type, Unknown};

/// An import can lead to an import, and so on.
const IMPORT_STEPS: usize = 8;

pub(super) struct Lower<'a> {
    pub(super) modules: Vec<Module<'a>>,
    /// Modules that others can import, by name; none for those that did not load.
    importable: HashMap<&'a str, Option<usize>>,
    pub(super) changes: Changes<'a>,
    pub(super) program: Program,
    functions: HashMap<(usize, &'a str), usize>,
    pub(super) constants: HashMap<(usize, &'a str), Option<Arc<Const>>>,
    /// The module of the rule that is being read, when its names may be reset.
    resets: Option<usize>,
    pub(super) paths: HashMap<Vec<Arc<str>>, usize>,
}

/// What a name of a module stands for in the end.
pub(super) enum Meaning<'a> {
    Function(usize, &'a ast::StmtFunctionDef),
    Value(usize, &'a str, &'a Tree),
    /// A name of a module outside of the rule set.
    Native(&'a str, &'a str),
    Module(&'a str),
    Builtin,
    Unknown,
}

/// The function that is being read.
pub(super) struct Scope<'a> {
    pub(super) module: usize,
    pub(super) locals: HashMap<&'a str, Slot>,
    /// Names of comprehensions, which hide locals; innermost last.
    pub(super) inner: Vec<(&'a str, Slot)>,
    pub(super) slots: usize,
    pub(super) calls: Vec<usize>,
    pub(super) unknown: Vec<usize>,
    /// Comprehensions and lambdas around: what they assign depends on how often they run.
    pub(super) nested: usize,
}

impl<'a> Lower<'a> {
    pub(super) fn new(
        modules: Vec<Module<'a>>,
        importable: HashMap<&'a str, Option<usize>>,
        changes: Changes<'a>,
    ) -> Lower<'a> {
        Lower {
            modules,
            importable,
            changes,
            program: Program::default(),
            functions: HashMap::new(),
            constants: HashMap::new(),
            resets: None,
            paths: HashMap::new(),
        }
    }

    /// What a name stands for inside a module.
    pub(super) fn meaning(&self, module: usize, name: &'a str) -> Meaning<'a> {
        let bound = self.modules[module].binding(name).is_some();
        // A name that is imported from a module without it may be anything, but no builtin.
        if bound || self.changes.of_name(module, name) { self.attribute_of(module, name) } else { Meaning::Builtin }
    }

    /// What an attribute of a module stands for.
    pub(super) fn attribute_of(&self, module: usize, name: &'a str) -> Meaning<'a> {
        let (mut module, mut name) = (module, name);
        for _ in 0..IMPORT_STEPS {
            // Were there a way to have mocks outside of tests, then names could be set for them.
            let mocked =
                self.modules[module].outer_names.set_for_mocks.contains(name) && self.finds_mocks_elsewhere(module);
            if mocked || self.changes.of_name(module, name) {
                return Meaning::Unknown;
            }
            match self.modules[module].binding(name) {
                Some(Binding::Function(def)) => return Meaning::Function(module, def),
                Some(Binding::Value(value)) => return Meaning::Value(module, name, value),
                Some(Binding::Module(module)) => return Meaning::Module(module),
                Some(Binding::Imported { module: from, name: imported }) => match self.importable.get(from) {
                    Some(Some(owner)) => (module, name) = (*owner, imported),
                    Some(None) => return Meaning::Unknown,
                    None => return self.outside(from, imported),
                },
                Some(Binding::Several) | None => return Meaning::Unknown,
            }
        }
        Meaning::Unknown
    }

    /// Whether what tells a mock may come to mean something else.
    fn finds_mocks_elsewhere(&self, module: usize) -> bool {
        let words = ["isinstance", "MagicMock", "Mock"];
        self.changes.outside("unittest.mock") || words.iter().any(|word| self.changes.of_name(module, word))
    }

    /// What `module.name` stands for, where `module` was imported under that name.
    pub(super) fn member(&self, module: &'a str, name: &'a str) -> Meaning<'a> {
        match self.importable.get(module) {
            Some(Some(owner)) => self.attribute_of(*owner, name),
            Some(None) => Meaning::Unknown,
            None => self.outside(module, name),
        }
    }

    fn outside(&self, module: &'a str, name: &'a str) -> Meaning<'a> {
        if self.changes.outside(module) { Meaning::Unknown } else { Meaning::Native(module, name) }
    }

    /// The function that a module binds to a name.
    pub(super) fn function_named(&mut self, module: usize, name: &'a str) -> Option<usize> {
        match self.meaning(module, name) {
            Meaning::Function(owner, def) => Some(self.function(owner, def)),
            _ => None,
        }
    }

    /// The function that decides, of the module of a rule.
    pub(super) fn rule(&mut self, module: usize) -> Option<usize> {
        let Meaning::Function(owner, def) = self.meaning(module, "rule") else { return None };
        let names = &self.modules[module].outer_names;
        let private = names.are_private(&self.modules[module]) && !self.changes.hidden_calls();
        // Nobody can import the module of a rule.
        self.resets = (private && owner == module).then_some(module);
        let function = self.function(owner, def);
        self.resets = None;
        Some(function)
    }

    pub(super) fn function(&mut self, module: usize, def: &'a ast::StmtFunctionDef) -> usize {
        if let Some(known) = self.functions.get(&(module, def.name.as_str())) {
            return *known;
        }
        let at = self.program.functions.len();
        self.functions.insert((module, &def.name), at);
        self.program.functions.push(Function { body: vec![Stmt::Unknown], ..Function::default() });
        let mut scope = Scope {
            module,
            locals: HashMap::new(),
            inner: Vec::new(),
            slots: 0,
            calls: Vec::new(),
            unknown: Vec::new(),
            nested: 0,
        };
        let mut function = self.body(def, &mut scope);
        function.slots = scope.slots;
        function.calls = scope.calls;
        function.unknown = scope.unknown;
        self.program.functions[at] = function;
        at
    }

    fn body(&mut self, def: &'a ast::StmtFunctionDef, scope: &mut Scope<'a>) -> Function {
        let mut locals = Locals::default();
        def.body.iter().for_each(|statement| locals.visit_stmt(statement));
        let refused = if !def.decorator_list.is_empty() {
            Some("a decorated function")
        } else if def.is_async || locals.generator {
            Some("a generator or coroutine")
        } else if def.parameters.kwarg.is_some() {
            Some("parameters by any name")
        } else {
            locals.refused
        };
        if let Some(reason) = refused {
            self.unknown(reason, def.start(), scope);
            return Function { body: vec![Stmt::Unknown], ..Function::default() };
        }
        let parameters = &def.parameters;
        let plain = parameters.posonlyargs.iter().map(|parameter| (parameter, true));
        let plain = plain.chain(parameters.args.iter().map(|parameter| (parameter, false)));
        let plain = plain.map(|(parameter, by_place)| Parameter { by_place, ..self.parameter(parameter, scope) });
        let plain: Vec<Parameter> = plain.collect();
        let rest = parameters.vararg.as_ref().map(|rest| scope.local(&rest.name));
        let keyword_only = parameters.kwonlyargs.iter().map(|parameter| self.parameter(parameter, scope)).collect();
        for name in locals.names.into_iter().filter(|name| !locals.global.contains(name)) {
            scope.local(name);
        }
        let (resets, after) = def.body.split_at(self.resets(def, scope));
        let mut body: Vec<Stmt> = resets.iter().map(|_| Stmt::Reset).collect();
        body.extend(self.block(after, scope));
        Function { parameters: plain, rest, keyword_only, body, ..Function::default() }
    }

    /// How many statements at the beginning do nothing but give names of the module values that are always the same.
    fn resets(&mut self, def: &'a ast::StmtFunctionDef, scope: &Scope<'a>) -> usize {
        // The functions that a rule calls are read meanwhile; those do not begin each run.
        if self.resets.take() != Some(scope.module) || *def.name != *"rule" {
            return 0;
        }
        let mut last = 0;
        for (at, statement) in def.body.iter().enumerate() {
            match statement {
                Statement::Global(_) => {}
                Statement::Expr(value) if value.value.is_string_literal_expr() => {}
                Statement::Assign(assign) => match &*assign.targets {
                    [Tree::Name(name)]
                        if scope.slot(&name.id).is_none() && self.literal(scope.module, &assign.value).is_some() =>
                    {
                        last = at + 1;
                    }
                    _ => break,
                },
                _ => break,
            }
        }
        last
    }

    fn parameter(&mut self, parameter: &'a ast::ParameterWithDefault, scope: &mut Scope<'a>) -> Parameter {
        let default = parameter.default.as_deref().map(|default| match self.constant(scope.module, default) {
            // It is made once, so that what is inside of it may have been changed by the last call.
            Some(value) if !value.is_mutable() => Expr::Const(Arc::new(value.with_opaque_parts())),
            _ => self.unknown("a default that can change or is computed", default.start(), scope),
        });
        let name = parameter.parameter.name.as_str();
        Parameter { name: name.into(), slot: scope.local(name), default, by_place: false }
    }

    fn block(&mut self, body: &'a [Statement], scope: &mut Scope<'a>) -> Vec<Stmt> {
        body.iter().map(|statement| self.statement(statement, scope)).collect()
    }

    fn statement(&mut self, statement: &'a Statement, scope: &mut Scope<'a>) -> Stmt {
        match statement {
            Statement::Expr(value) => match &*value.value {
                Tree::StringLiteral(_) | Tree::EllipsisLiteral(_) => Stmt::Pass,
                value => Stmt::Do(self.expr(value, scope)),
            },
            Statement::Assign(assign) => match &*assign.targets {
                [target] => self.assign(target, &assign.value, scope),
                _ => self.unknown_statement("an assignment to several names", statement.start(), scope),
            },
            Statement::AnnAssign(assign) => match &assign.value {
                Some(value) => self.assign(&assign.target, value, scope),
                None if assign.target.is_name_expr() => Stmt::Pass,
                None => self.unknown_statement("a type of something but a name", statement.start(), scope),
            },
            Statement::If(branch) => {
                let test = self.expr(&branch.test, scope);
                // Nothing that a guard sees is a mock.
                let never = matches!(&test, Expr::IsInstance(_, types) if types.iter().all(|of| *of == Type::Mock));
                let body = if never { vec![Stmt::Unknown] } else { self.block(&branch.body, scope) };
                let mut branches = vec![(test, body)];
                let mut orelse = Vec::new();
                for clause in &branch.elif_else_clauses {
                    match &clause.test {
                        Some(test) => branches.push((self.expr(test, scope), self.block(&clause.body, scope))),
                        None => orelse = self.block(&clause.body, scope),
                    }
                }
                Stmt::If(branches, orelse)
            }
            Statement::For(each) if !each.is_async => {
                let over = self.expr(&each.iter, scope);
                let Some(target) = self.target(&each.target, scope) else {
                    return self.unknown_statement("a loop over something but names", each.start(), scope);
                };
                let (body, orelse) = (self.block(&each.body, scope), self.block(&each.orelse, scope));
                Stmt::For(Box::new(For { target, over, body, orelse }))
            }
            Statement::Try(attempt) => {
                let handlers = attempt.handlers.iter().map(|ast::ExceptHandler::ExceptHandler(handler)| Handler {
                    catches: match &handler.type_ {
                        _ if attempt.is_star => Catches::Unknown,
                        // A name of the module, which others see.
                        _ if handler.name.as_ref().is_some_and(|name| scope.slot(name).is_none()) => Catches::Unknown,
                        None => Catches::All,
                        Some(classes) => self.exceptions(classes, scope).map_or(Catches::Unknown, Catches::These),
                    },
                    name: handler.name.as_ref().and_then(|name| scope.slot(name)),
                    body: self.block(&handler.body, scope),
                });
                Stmt::Try(Box::new(Try {
                    handlers: handlers.collect(),
                    body: self.block(&attempt.body, scope),
                    orelse: self.block(&attempt.orelse, scope),
                    last: self.block(&attempt.finalbody, scope),
                }))
            }
            Statement::Return(returned) => Stmt::Return(match &returned.value {
                Some(value) => self.expr(value, scope),
                None => Expr::Const(Arc::new(Const::None)),
            }),
            Statement::Pass(_) | Statement::Global(_) => Stmt::Pass,
            Statement::Break(_) => Stmt::Break,
            Statement::Continue(_) => Stmt::Continue,
            other => self.unknown_statement(kind(other), other.start(), scope),
        }
    }

    /// `None` unless all of them are known.
    fn exceptions(&self, classes: &'a Tree, scope: &Scope<'a>) -> Option<Vec<Exception>> {
        match classes {
            Tree::Tuple(several) => {
                let each = several.elts.iter().map(|one| self.exceptions(one, scope));
                Some(each.collect::<Option<Vec<_>>>()?.concat())
            }
            one => match (self.named(one, scope)?, one) {
                (Meaning::Builtin, Tree::Name(name)) => Exception::builtin(&name.id).map(|class| vec![class]),
                (Meaning::Native("ipaddress", "AddressValueError"), _) => Some(vec![Exception::AddressValueError]),
                _ => None,
            },
        }
    }

    /// What `name` or `module.name` stands for, unless it is a local's.
    pub(super) fn named(&self, tree: &'a Tree, scope: &Scope<'a>) -> Option<Meaning<'a>> {
        match tree {
            Tree::Name(name) if scope.slot(&name.id).is_none() => Some(self.meaning(scope.module, &name.id)),
            Tree::Attribute(attribute) => match self.named(&attribute.value, scope)? {
                Meaning::Module(module) => Some(self.member(module, &attribute.attr)),
                _ => None,
            },
            _ => None,
        }
    }

    fn assign(&mut self, target: &'a Tree, value: &'a Tree, scope: &mut Scope<'a>) -> Stmt {
        let value = self.expr(value, scope);
        match self.target(target, scope) {
            Some(target) => Stmt::Assign(target, value),
            None => self.unknown_statement("an assignment to something but names", target.start(), scope),
        }
    }

    /// `None` for what is no name and no tuple of names.
    pub(super) fn target(&mut self, target: &'a Tree, scope: &Scope<'a>) -> Option<Target> {
        match target {
            Tree::Name(name) => scope.slot(&name.id).map(Target::Slot),
            Tree::Tuple(ast::ExprTuple { elts, .. }) | Tree::List(ast::ExprList { elts, .. }) => {
                let targets = elts.iter().map(|target| self.target(target, scope));
                targets.collect::<Option<_>>().map(Target::Several)
            }
            _ => None,
        }
    }

    fn unknown_statement(&mut self, reason: &str, at: TextSize, scope: &mut Scope<'a>) -> Stmt {
        self.unknown(reason, at, scope);
        Stmt::Unknown
    }

    pub(super) fn unknown(&mut self, reason: &str, at: TextSize, scope: &mut Scope<'a>) -> Expr {
        let source = self.modules[scope.module].source;
        let unknown =
            Unknown { file: source.file.as_str().into(), line: line(&source.source, at), reason: reason.to_owned() };
        scope.unknown.push(self.program.unknown.len());
        self.program.unknown.push(unknown);
        Expr::Unknown
    }
}

impl<'a> Scope<'a> {
    pub(super) fn local(&mut self, name: &'a str) -> Slot {
        let slots = &mut self.slots;
        *self.locals.entry(name).or_insert_with(|| {
            *slots += 1;
            *slots - 1
        })
    }

    /// A name that only the comprehension or lambda that is being read has.
    pub(super) fn enter(&mut self, name: &'a str) -> Slot {
        self.inner.push((name, self.slots));
        self.slots += 1;
        self.slots - 1
    }

    pub(super) fn slot(&self, name: &str) -> Option<Slot> {
        let inner = self.inner.iter().rev().find(|(inner, _)| *inner == name).map(|(_, slot)| *slot);
        inner.or_else(|| self.locals.get(name).copied())
    }
}

fn kind(statement: &Statement) -> &'static str {
    match statement {
        Statement::FunctionDef(_) => "a function inside a function",
        Statement::ClassDef(_) => "a class inside a function",
        Statement::AugAssign(_) => "an assignment that changes a value",
        Statement::While(_) => "a `while` loop",
        Statement::With(_) => "a `with` statement",
        Statement::Raise(_) => "an exception",
        Statement::Assert(_) => "an assertion",
        Statement::Import(_) | Statement::ImportFrom(_) => "an import inside a function",
        Statement::Delete(_) => "a deletion",
        _ => "a statement of this kind",
    }
}

/// Names that a function binds itself.
#[derive(Default)]
struct Locals<'a> {
    names: Vec<&'a str>,
    global: Vec<&'a str>,
    generator: bool,
    refused: Option<&'static str>,
}

impl<'a> Visitor<'a> for Locals<'a> {
    fn visit_stmt(&mut self, statement: &'a Statement) {
        match statement {
            // Their bodies are scopes of their own; what stands around them is not.
            Statement::FunctionDef(def) => {
                self.names.push(&def.name);
                def.decorator_list.iter().for_each(|decorator| self.visit_decorator(decorator));
                self.visit_parameters(&def.parameters);
                def.returns.iter().for_each(|returns| self.visit_expr(returns));
            }
            Statement::ClassDef(class) => {
                self.names.push(&class.name);
                class.decorator_list.iter().for_each(|decorator| self.visit_decorator(decorator));
                class.arguments.iter().for_each(|arguments| self.visit_arguments(arguments));
            }
            // These names are the module's, which is why they are no constants there and can't be assigned to here.
            Statement::Global(global) => self.global.extend(global.names.iter().map(|name| name.as_str())),
            Statement::Nonlocal(_) => self.refused = Some("a function that sets names outside of it"),
            Statement::Match(_) => self.refused = Some("a `match` statement"),
            Statement::Import(ast::StmtImport { names, .. })
            | Statement::ImportFrom(ast::StmtImportFrom { names, .. }) => {
                let bound = |alias: &'a ast::Alias| alias.asname.as_ref().unwrap_or(&alias.name).split('.').next();
                self.names.extend(names.iter().filter_map(bound));
            }
            other => visitor::walk_stmt(self, other),
        }
    }

    fn visit_except_handler(&mut self, handler: &'a ast::ExceptHandler) {
        let ast::ExceptHandler::ExceptHandler(inner) = handler;
        self.names.extend(inner.name.as_ref().map(|name| name.as_str()));
        visitor::walk_except_handler(self, handler);
    }

    fn visit_comprehension(&mut self, clause: &'a ast::Comprehension) {
        // Its target is its own.
        self.visit_expr(&clause.iter);
        clause.ifs.iter().for_each(|test| self.visit_expr(test));
    }

    fn visit_expr(&mut self, expr: &'a Tree) {
        match expr {
            Tree::Name(name) if name.ctx != ExprContext::Load => self.names.push(&name.id),
            Tree::Yield(_) | Tree::YieldFrom(_) | Tree::Await(_) => self.generator = true,
            Tree::Lambda(lambda) => lambda.parameters.iter().for_each(|parameters| self.visit_parameters(parameters)),
            other => visitor::walk_expr(self, other),
        }
    }
}
