//! Constants of modules, and literals: values that an expression always has.

use std::collections::HashSet;
use std::sync::Arc;

use ruff_python_ast::{self as ast, Expr as Tree, Number, UnaryOp};

use super::constant::{Const, Items};
use super::lower::{Lower, Meaning};
use super::pattern::{Flags, Pattern};

impl<'a> Lower<'a> {
    pub(super) fn constant_named(&mut self, owner: usize, name: &'a str, value: &'a Tree) -> Option<Arc<Const>> {
        if let Some(known) = self.constants.get(&(owner, name)) {
            return known.clone();
        }
        // A constant that names itself is none.
        self.constants.insert((owner, name), None);
        let changes = self.changes.of_object(owner, name);
        let constant = self.constant(owner, value).filter(|value| !value.is_mutable() || !changes);
        let constant = constant.map(|value| Arc::new(value.with_opaque_parts()));
        self.constants.insert((owner, name), constant.clone());
        constant
    }

    /// What an expression gives that consists of literals only, whatever the names around it mean.
    pub(super) fn literal(&mut self, module: usize, tree: &'a Tree) -> Option<Const> {
        let named = ast::helpers::any_over_expr(tree, |part: &Tree| matches!(part, Tree::Name(_) | Tree::Call(_)));
        self.constant(module, tree).filter(|value| !named && value.is_whole())
    }

    /// A dictionary that a function makes of texts and what belongs to them, which may be a function without a name: of that
    /// only its being there is known.
    pub(super) fn table(&mut self, module: usize, tree: &'a Tree) -> Option<Const> {
        let Tree::Dict(dict) = tree else { return None };
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for item in &dict.items {
            let key = item.key.as_ref().filter(|key| key.is_string_literal_expr())?;
            keys.push(self.literal(module, key)?);
            values.push(match &item.value {
                Tree::Lambda(lambda)
                    if lambda.parameters.iter().all(|all| all.iter().all(|one| one.default().is_none())) =>
                {
                    Const::Opaque
                }
                value => self.literal(module, value)?,
            });
        }
        let Const::Set(keys) = hashed(Items::new(keys))? else { return None };
        Some(Const::Dict(keys, values))
    }

    /// What a module's expression gives, when it is always the same.
    pub(super) fn constant(&mut self, module: usize, tree: &'a Tree) -> Option<Const> {
        Some(match tree {
            Tree::NoneLiteral(_) => Const::None,
            Tree::BooleanLiteral(literal) => Const::Bool(literal.value),
            Tree::NumberLiteral(literal) => match &literal.value {
                Number::Int(value) => Const::Int(value.as_i64()?),
                Number::Float(value) => Const::Float(*value),
                Number::Complex { .. } => return None,
            },
            // The parser puts this character where it can't represent one.
            Tree::StringLiteral(literal) => {
                let text = literal.value.to_str();
                if text.contains('\u{fffd}') {
                    return None;
                }
                Const::Str(text.into())
            }
            Tree::List(list) => Const::List(self.items(module, &list.elts)?),
            Tree::Tuple(tuple) => Const::Tuple(self.items(module, &tuple.elts)?),
            Tree::Set(set) => hashed(self.items(module, &set.elts)?)?,
            Tree::Dict(dict) => {
                let keys = dict.items.iter().map(|item| self.constant(module, item.key.as_ref()?));
                let keys = keys.collect::<Option<Vec<_>>>()?;
                let values = dict.items.iter().map(|item| self.constant(module, &item.value).unwrap_or(Const::Opaque));
                let values = values.collect();
                let Const::Set(keys) = hashed(Items::new(keys))? else { return None };
                Const::Dict(keys, values)
            }
            Tree::UnaryOp(ast::ExprUnaryOp { op: UnaryOp::USub, operand, .. }) => {
                match self.constant(module, operand)? {
                    Const::Int(value) => Const::Int(value.checked_neg()?),
                    Const::Float(value) => Const::Float(-value),
                    _ => return None,
                }
            }
            Tree::BinOp(ast::ExprBinOp { left, op: ast::Operator::Add, right, .. }) => {
                match (self.constant(module, left)?, self.constant(module, right)?) {
                    (Const::List(a), Const::List(b)) => Const::List(Items::new([a.list, b.list].concat())),
                    (Const::Tuple(a), Const::Tuple(b)) => Const::Tuple(Items::new([a.list, b.list].concat())),
                    (Const::Str(a), Const::Str(b)) => Const::Str(format!("{a}{b}").into()),
                    _ => return None,
                }
            }
            Tree::Name(name) => match self.meaning(module, &name.id) {
                Meaning::Value(owner, owned, value) => (*self.constant_named(owner, owned, value)?).clone(),
                _ => return None,
            },
            Tree::Call(call) => self.constant_call(module, call)?,
            _ => return None,
        })
    }

    /// A pattern with the flags that it is compiled with.
    pub(super) fn compiled(
        &self,
        module: usize,
        text: &str,
        flags: &'a [Tree],
        named: &'a [ast::Keyword],
    ) -> Option<Const> {
        let flags = match (flags, named) {
            ([], []) => Flags::default(),
            ([flags], []) => self.flags(module, flags)?,
            ([], [named]) if named.arg.as_ref()?.as_str() == "flags" => self.flags(module, &named.value)?,
            _ => return None,
        };
        Some(Const::Pattern(Box::new(Pattern::new(text, flags)?)))
    }

    fn flags(&self, module: usize, tree: &'a Tree) -> Option<Flags> {
        let name = match tree {
            Tree::BinOp(ast::ExprBinOp { left, op: ast::Operator::BitOr, right, .. }) => {
                let (left, right) = (self.flags(module, left)?, self.flags(module, right)?);
                return Some(left.with(right));
            }
            other => match self.outside_name(module, other)? {
                ("re", name) => name,
                _ => return None,
            },
        };
        match name {
            "I" | "IGNORECASE" => Some(Flags { ignore_case: true, ..Flags::default() }),
            "S" | "DOTALL" => Some(Flags { dot_all: true, ..Flags::default() }),
            _ => None,
        }
    }

    /// Of a name, or an attribute of a module, that stands for something outside of the rule set.
    fn outside_name(&self, module: usize, tree: &'a Tree) -> Option<(&'a str, &'a str)> {
        let meaning = match tree {
            Tree::Name(name) => self.meaning(module, &name.id),
            Tree::Attribute(attribute) => match &*attribute.value {
                Tree::Name(name) => match self.meaning(module, &name.id) {
                    Meaning::Module(of) => self.member(of, &attribute.attr),
                    _ => return None,
                },
                _ => return None,
            },
            _ => return None,
        };
        if let Meaning::Native(module, name) = meaning { Some((module, name)) } else { None }
    }

    fn constant_call(&mut self, module: usize, call: &'a ast::ExprCall) -> Option<Const> {
        if self.outside_name(module, &call.func) == Some(("re", "compile")) {
            let [text, flags @ ..] = &*call.arguments.args else { return None };
            let Const::Str(text) = self.constant(module, text)? else { return None };
            return self.compiled(module, &text, flags, &call.arguments.keywords);
        }
        let Tree::Name(name) = &*call.func else { return None };
        let builtin = matches!(self.meaning(module, &name.id), Meaning::Builtin);
        if !builtin || !call.arguments.keywords.is_empty() {
            return None;
        }
        let items = match &*call.arguments.args {
            [] => Items::new(Vec::new()),
            [of] => match self.constant(module, of)? {
                Const::List(items) | Const::Tuple(items) => items,
                Const::Set(items) if matches!(&*name.id, "set" | "frozenset") => items,
                _ => return None,
            },
            _ => return None,
        };
        match &*name.id {
            "set" | "frozenset" => hashed(items),
            "list" => Some(Const::List(items)),
            "tuple" => Some(Const::Tuple(items)),
            _ => None,
        }
    }

    fn items(&mut self, module: usize, trees: &'a [Tree]) -> Option<Items> {
        let mut items = Vec::new();
        for tree in trees {
            match tree {
                Tree::Starred(starred) => match self.constant(module, &starred.value)? {
                    Const::List(more) | Const::Tuple(more) => items.extend(more.list),
                    _ => return None,
                },
                other => items.push(self.constant(module, other).unwrap_or(Const::Opaque)),
            }
        }
        Some(Items::new(items))
    }
}

/// A set, or the keys of a dictionary: each stands there once. `1`, `1.0` and `True` are one key, so of numbers only
/// integers are taken.
fn hashed(items: Items) -> Option<Const> {
    let mut texts = HashSet::new();
    let mut numbers = HashSet::new();
    let once = items.list.iter().all(|item| match item {
        Const::Str(text) => texts.insert(text.clone()),
        Const::Int(number) => numbers.insert(*number),
        other => items.list.len() == 1 && other.is_hashable(),
    });
    once.then_some(Const::Set(items))
}
