//! From the syntax trees of calls to those of a [`super::program::Program`]: what is called, with which arguments.

use std::sync::Arc;

use ruff_python_ast::{self as ast, Expr as Tree};
use ruff_text_size::Ranged;

use super::address::Made;
use super::constant::Const;
use super::lower::{Lower, Meaning, Scope};
use super::program::{Arguments, Builtin, Expr, Method, Quantifier, Reduce};

impl<'a> Lower<'a> {
    pub(super) fn call(&mut self, call: &'a ast::ExprCall, scope: &mut Scope<'a>) -> Expr {
        match &*call.func {
            Tree::Name(name) if scope.slot(&name.id).is_some() => {
                self.unknown("a call of a local", call.start(), scope)
            }
            Tree::Name(name) => {
                let meaning = self.meaning(scope.module, &name.id);
                self.call_of(meaning, &name.id, call, scope)
            }
            Tree::Attribute(attribute) => {
                if let Tree::Name(name) = &*attribute.value
                    && scope.slot(&name.id).is_none()
                    && let Meaning::Module(module) = self.meaning(scope.module, &name.id)
                {
                    let meaning = self.member(module, &attribute.attr);
                    return self.call_of(meaning, &attribute.attr, call, scope);
                }
                // A subscript refuses what it can't take in other words than a call of `__getitem__`.
                let named = Method::named(&attribute.attr).filter(|method| *method != Method::Item);
                let Some(method) = named else {
                    return self.unknown(&format!("the method `{}`", attribute.attr), call.start(), scope);
                };
                let of = self.expr(&attribute.value, scope);
                match self.arguments(&call.arguments, Some(method), scope) {
                    Some(arguments) => Expr::Method(Box::new(of), method, arguments),
                    None => self.unknown("these arguments", call.start(), scope),
                }
            }
            _ => self.unknown("a call of something computed", call.start(), scope),
        }
    }

    fn call_of(&mut self, meaning: Meaning<'a>, name: &'a str, call: &'a ast::ExprCall, scope: &mut Scope<'a>) -> Expr {
        let arguments = &*call.arguments.args;
        let plain = call.arguments.keywords.is_empty() && !starred(arguments);
        match (meaning, name, arguments) {
            (Meaning::Function(owner, def), ..) => {
                let function = self.function(owner, def);
                scope.calls.push(function);
                match self.arguments(&call.arguments, None, scope) {
                    Some(arguments) => Expr::Call(function, arguments),
                    None => self.unknown("these arguments", call.start(), scope),
                }
            }
            (Meaning::Builtin, "isinstance", [of, types]) if plain => match self.types(types, scope) {
                Some(types) => Expr::IsInstance(Box::new(self.expr(of, scope)), types),
                None => self.unknown("this type", types.start(), scope),
            },
            (Meaning::Builtin, "hasattr", [of, Tree::StringLiteral(name)])
                if plain && *name.value.to_str() == *"get" =>
            {
                Expr::HasGet(Box::new(self.expr(of, scope)))
            }
            (Meaning::Native("ipaddress", name), _, [of]) if plain && let Some(made) = Made::named(name) => {
                Expr::Address(made, Box::new(self.expr(of, scope)))
            }
            (Meaning::Native("re", name), _, [pattern, of, flags @ ..])
                if let Some(method @ (Method::Search | Method::Match | Method::FullMatch)) = Method::named(name) =>
            {
                match self.pattern(pattern, flags, &call.arguments.keywords, scope) {
                    Some(pattern) => {
                        let of = self.expr(of, scope);
                        let arguments = Arguments { plain: vec![(of, false)], ..Arguments::default() };
                        Expr::Method(Box::new(Expr::Const(Arc::new(pattern))), method, arguments)
                    }
                    None => self.unknown("this pattern", pattern.start(), scope),
                }
            }
            (Meaning::Native("re", "compile"), _, [pattern, flags @ ..]) => {
                match self.pattern(pattern, flags, &call.arguments.keywords, scope) {
                    Some(pattern) => Expr::Const(Arc::new(pattern)),
                    None => self.unknown("this pattern", pattern.start(), scope),
                }
            }
            (Meaning::Builtin, "any" | "all", [Tree::Generator(generator)]) if plain => {
                let quantifier = if name == "any" { Quantifier::Any } else { Quantifier::All };
                match self.comprehension(&generator.elt, &generator.generators, scope) {
                    Some(over) => match self.membership(&over).filter(|_| quantifier == Quantifier::Any) {
                        Some(member) => member,
                        None => Expr::Quantified(quantifier, Box::new(over)),
                    },
                    None => Expr::Unknown,
                }
            }
            (Meaning::Native("functools", "reduce"), _, [Tree::Lambda(lambda), over, initial]) if plain => {
                self.reduce(lambda, [over, initial], scope)
            }
            (meaning, ..) if plain => match known(&meaning, name) {
                Some(builtin) => {
                    // These go through a generator, to others it is an object of its own.
                    let lists =
                        matches!(builtin, Builtin::All | Builtin::Any | Builtin::List | Builtin::Set | Builtin::Tuple);
                    let argument = |argument: &'a Tree| match argument {
                        argument if lists => self.listed(argument, scope),
                        argument => self.expr(argument, scope),
                    };
                    let arguments = arguments.iter().map(argument).collect();
                    Expr::Builtin(builtin, arguments)
                }
                None => self.unknown(&format!("the function `{name}`"), call.start(), scope),
            },
            _ => self.unknown(&format!("the function `{name}`"), call.start(), scope),
        }
    }

    /// A pattern that stands in the source, or is made there by `re.compile`.
    fn pattern(
        &mut self,
        tree: &'a Tree,
        flags: &'a [Tree],
        named: &'a [ast::Keyword],
        scope: &Scope<'a>,
    ) -> Option<Const> {
        let of_local = |part: &Tree| matches!(part, Tree::Name(name) if scope.slot(&name.id).is_some());
        let mut parts = flags.iter().chain(named.iter().map(|keyword| &keyword.value)).chain([tree]);
        if parts.any(|part| ast::helpers::any_over_expr(part, of_local)) {
            return None;
        }
        match self.constant(scope.module, tree)? {
            Const::Str(text) => self.compiled(scope.module, &text, flags, named),
            pattern @ Const::Pattern(_) if flags.is_empty() && named.is_empty() => Some(pattern),
            _ => None,
        }
    }

    /// An argument of a function that takes all of a generator at once.
    fn listed(&mut self, tree: &'a Tree, scope: &mut Scope<'a>) -> Expr {
        match tree {
            Tree::Generator(generator) => match self.comprehension(&generator.elt, &generator.generators, scope) {
                Some(comprehension) => Expr::Comprehension(Box::new(comprehension)),
                None => Expr::Unknown,
            },
            other => self.expr(other, scope),
        }
    }

    fn reduce(&mut self, lambda: &'a ast::ExprLambda, [over, initial]: [&'a Tree; 2], scope: &mut Scope<'a>) -> Expr {
        let names: Vec<&str> =
            lambda.parameters.iter().flat_map(|all| all.args.iter()).map(|one| one.name().as_str()).collect();
        let only = lambda.parameters.as_ref().is_some_and(|all| all.iter().count() == 2);
        let [left, right] = *names else { return self.unknown("this lambda", lambda.start(), scope) };
        if !only || lambda.parameters.iter().any(|all| all.iter().any(|one| one.default().is_some())) {
            return self.unknown("this lambda", lambda.start(), scope);
        }
        let [over, initial] = [over, initial].map(|tree| self.expr(tree, scope));
        let depth = scope.inner.len();
        let slots = [scope.enter(left), scope.enter(right)];
        scope.nested += 1;
        let body = self.expr(&lambda.body, scope);
        scope.nested -= 1;
        scope.inner.truncate(depth);
        Expr::Reduce(Box::new(Reduce { slots, body, over, initial }))
    }

    fn arguments(
        &mut self,
        arguments: &'a ast::Arguments,
        method: Option<Method>,
        scope: &mut Scope<'a>,
    ) -> Option<Arguments> {
        let mut read = Arguments::default();
        for argument in &arguments.args {
            read.plain.push(match argument {
                Tree::Starred(starred) => (self.expr(&starred.value, scope), true),
                other if method == Some(Method::Join) => (self.listed(other, scope), false),
                other => (self.expr(other, scope), false),
            });
        }
        for keyword in &arguments.keywords {
            let name = keyword.arg.as_ref()?;
            read.named.push((name.as_str().into(), self.expr(&keyword.value, scope)));
        }
        let keys = match method {
            Some(Method::Get) => read.plain.get(..1)?,
            Some(Method::DeepGet) => &read.plain[..],
            _ => return Some(read),
        };
        read.path = self.path(keys);
        Some(read)
    }

    /// The number of a path of constant keys.
    pub(super) fn path(&mut self, keys: &[(Expr, bool)]) -> Option<usize> {
        let key = |(key, unpacked): &(Expr, bool)| match key {
            Expr::Const(value) if !unpacked => {
                if let Const::Str(text) = &**value {
                    Some(text.clone())
                } else {
                    None
                }
            }
            _ => None,
        };
        let path = keys.iter().map(key).collect::<Option<Vec<_>>>().filter(|path| !path.is_empty());
        path.map(|path| {
            *self.paths.entry(path).or_insert_with_key(|path| {
                self.program.paths.push(path.clone());
                self.program.paths.len() - 1
            })
        })
    }
}

fn known(meaning: &Meaning<'_>, name: &str) -> Option<Builtin> {
    Some(match (meaning, name) {
        (Meaning::Builtin, "all") => Builtin::All,
        (Meaning::Builtin, "any") => Builtin::Any,
        (Meaning::Builtin, "bool") => Builtin::Bool,
        (Meaning::Builtin, "int") => Builtin::Int,
        (Meaning::Builtin, "len") => Builtin::Len,
        (Meaning::Builtin, "list") => Builtin::List,
        (Meaning::Builtin, "set") => Builtin::Set,
        (Meaning::Builtin, "str") => Builtin::Str,
        (Meaning::Builtin, "tuple") => Builtin::Tuple,
        (Meaning::Native("fnmatch", "fnmatch" | "fnmatchcase"), _) => Builtin::Fnmatch,
        _ => return None,
    })
}

pub(super) fn starred(trees: &[Tree]) -> bool {
    trees.iter().any(|tree| matches!(tree, Tree::Starred(_)))
}
