//! From the syntax trees of expressions to those of a [`super::program::Program`].

use std::sync::Arc;

use ruff_python_ast::{self as ast, Expr as Tree, InterpolatedStringElement, UnaryOp};
use ruff_text_size::Ranged;

use super::address::Property;
use super::constant::Const;
use super::lower::{Lower, Meaning, Scope};
use super::lower_call::starred;
use super::program::{Arguments, Compare, Comprehension, Expr, Method, Type};

impl<'a> Lower<'a> {
    pub(super) fn expr(&mut self, tree: &'a Tree, scope: &mut Scope<'a>) -> Expr {
        match tree {
            Tree::Name(name) => self.name(name, scope),
            Tree::BoolOp(chain) => {
                let operands = self.exprs(&chain.values, scope);
                if chain.op == ast::BoolOp::And { Expr::And(operands) } else { Expr::Or(operands) }
            }
            Tree::UnaryOp(unary) => match unary.op {
                UnaryOp::Not => Expr::Not(Box::new(self.expr(&unary.operand, scope))),
                UnaryOp::USub => Expr::Negative(Box::new(self.expr(&unary.operand, scope))),
                UnaryOp::UAdd | UnaryOp::Invert => self.unknown("this operator", tree.start(), scope),
            },
            Tree::If(choice) => {
                Expr::If(Box::new([&choice.test, &choice.body, &choice.orelse].map(|part| self.expr(part, scope))))
            }
            Tree::Compare(compare) => {
                let first = Box::new(self.expr(&compare.left, scope));
                let rest = compare.ops.iter().zip(&*compare.comparators);
                Expr::Compare(first, rest.map(|(op, side)| (comparison(*op), self.expr(side, scope))).collect())
            }
            Tree::BinOp(ast::ExprBinOp { left, op: ast::Operator::Add, right, .. }) => {
                Expr::Add(Box::new([left, right].map(|side| self.expr(side, scope))))
            }
            Tree::BinOp(_) => self.unknown("this operator", tree.start(), scope),
            Tree::List(ast::ExprList { elts, .. }) if !starred(elts) => Expr::List(self.exprs(elts, scope)),
            Tree::Tuple(ast::ExprTuple { elts, .. }) if !starred(elts) => Expr::Tuple(self.exprs(elts, scope)),
            Tree::Set(ast::ExprSet { elts, .. }) if !starred(elts) => Expr::Set(self.exprs(elts, scope)),
            Tree::FString(text) => self.format(text, scope),
            Tree::Subscript(subscript) => match &*subscript.slice {
                Tree::Slice(slice) if slice.step.is_none() => {
                    let of = self.expr(&subscript.value, scope);
                    let [from, to] =
                        [&slice.lower, &slice.upper].map(|bound| bound.as_ref().map(|bound| self.expr(bound, scope)));
                    Expr::Slice(Box::new((of, from, to)))
                }
                Tree::Slice(_) => self.unknown("a slice with a step", tree.start(), scope),
                at @ Tree::StringLiteral(_) => {
                    let of = self.expr(&subscript.value, scope);
                    let mut arguments =
                        Arguments { plain: vec![(self.expr(at, scope), false)], ..Arguments::default() };
                    arguments.path = self.path(&arguments.plain);
                    Expr::Method(Box::new(of), Method::Item, arguments)
                }
                at => Expr::Subscript(Box::new([&subscript.value, at].map(|part| self.expr(part, scope)))),
            },
            Tree::ListComp(list) => match self.comprehension(&list.elt, &list.generators, scope) {
                Some(comprehension) => Expr::Comprehension(Box::new(comprehension)),
                None => Expr::Unknown,
            },
            Tree::Named(named) => {
                let value = Box::new(self.expr(&named.value, scope));
                match &*named.target {
                    Tree::Name(name) if scope.nested == 0 && scope.locals.contains_key(&*name.id) => {
                        Expr::Named(scope.local(&name.id), value)
                    }
                    _ => self.unknown("this assignment", tree.start(), scope),
                }
            }
            Tree::Call(call) => self.call(call, scope),
            Tree::Attribute(attribute) => match (self.attribute(attribute, scope), Property::named(&attribute.attr)) {
                (Some(value), _) => Expr::Const(value),
                (None, Some(property)) => Expr::Property(Box::new(self.expr(&attribute.value, scope)), property),
                (None, None) => self.unknown("an attribute", tree.start(), scope),
            },
            // A container is made anew by each evaluation, and nothing here changes it.
            other => match self.literal(scope.module, other).or_else(|| self.table(scope.module, other)) {
                Some(value) => Expr::Const(Arc::new(value)),
                None => self.unknown(kind(other), other.start(), scope),
            },
        }
    }

    pub(super) fn exprs(&mut self, trees: &'a [Tree], scope: &mut Scope<'a>) -> Vec<Expr> {
        trees.iter().map(|tree| self.expr(tree, scope)).collect()
    }

    fn name(&mut self, name: &'a ast::ExprName, scope: &mut Scope<'a>) -> Expr {
        if let Some(slot) = scope.slot(&name.id) {
            return Expr::Slot(slot);
        }
        match self.meaning(scope.module, &name.id) {
            Meaning::Value(owner, owned, value) => match self.constant_named(owner, owned, value) {
                Some(value) => Expr::Const(value),
                None => {
                    let reason = format!("`{}`, which may change or is computed", name.id);
                    self.unknown(&reason, name.start(), scope)
                }
            },
            _ => self.unknown(&format!("`{}` as a value", name.id), name.start(), scope),
        }
    }

    fn format(&mut self, text: &'a ast::ExprFString, scope: &mut Scope<'a>) -> Expr {
        let mut parts = Vec::new();
        for part in text.value.as_slice() {
            let elements = match part {
                ast::FStringPart::Literal(literal) => {
                    parts.push(Expr::Const(Arc::new(Const::Str((*literal.value).into()))));
                    continue;
                }
                ast::FStringPart::FString(text) => &text.elements,
            };
            for element in elements.iter() {
                parts.push(match element {
                    InterpolatedStringElement::Literal(literal) => {
                        Expr::Const(Arc::new(Const::Str((*literal.value).into())))
                    }
                    InterpolatedStringElement::Interpolation(inner)
                        if inner.debug_text.is_none()
                            && inner.format_spec.is_none()
                            && inner.conversion == ast::ConversionFlag::None =>
                    {
                        self.expr(&inner.expression, scope)
                    }
                    _ => return self.unknown("a text with a format", text.start(), scope),
                });
            }
        }
        let odd = |part: &Expr| matches!(part, Expr::Const(value) if matches!(&**value, Const::Str(text) if text.contains('\u{fffd}')));
        if parts.iter().any(odd) { self.unknown("this text", text.start(), scope) } else { Expr::Format(parts) }
    }

    /// `None` after noting why.
    pub(super) fn comprehension(
        &mut self,
        element: &'a Tree,
        clauses: &'a [ast::Comprehension],
        scope: &mut Scope<'a>,
    ) -> Option<Comprehension> {
        let depth = scope.inner.len();
        scope.nested += 1;
        let mut first = clauses.first().map(|clause| self.expr(&clause.iter, scope));
        // Its names are its own in all of it but there, also before they are bound.
        for name in clauses.iter().flat_map(|clause| names_of(&clause.target)) {
            scope.enter(name);
        }
        let mut read = Some(Vec::new());
        for clause in clauses {
            let over = first.take().unwrap_or_else(|| self.expr(&clause.iter, scope));
            let target = self.target(&clause.target, scope).filter(|_| !clause.is_async);
            match (target, &mut read) {
                (Some(target), Some(read)) => read.push((target, over, self.exprs(&clause.ifs, scope))),
                _ => read = None,
            }
        }
        let read = read.map(|clauses| Comprehension { element: self.expr(element, scope), clauses });
        scope.inner.truncate(depth);
        scope.nested -= 1;
        if read.is_none() {
            self.unknown("this comprehension", element.start(), scope);
        }
        read
    }

    /// `helper.NAME`, where the helper is a module of the rule set.
    fn attribute(&mut self, attribute: &'a ast::ExprAttribute, scope: &Scope<'a>) -> Option<Arc<Const>> {
        let Tree::Name(name) = &*attribute.value else { return None };
        if scope.slot(&name.id).is_some() {
            return None;
        }
        let Meaning::Module(module) = self.meaning(scope.module, &name.id) else { return None };
        match self.member(module, &attribute.attr) {
            Meaning::Value(owner, owned, value) => self.constant_named(owner, owned, value),
            _ => None,
        }
    }

    pub(super) fn types(&mut self, tree: &'a Tree, scope: &Scope<'a>) -> Option<Vec<Type>> {
        match tree {
            Tree::Tuple(several) => {
                Some(several.elts.iter().map(|one| self.types(one, scope)).collect::<Option<Vec<_>>>()?.concat())
            }
            Tree::Name(name) if scope.slot(&name.id).is_none() => {
                let one = match (self.meaning(scope.module, &name.id), &*name.id) {
                    (Meaning::Builtin, "bool") => Type::Bool,
                    (Meaning::Builtin, "dict") => Type::Dict,
                    (Meaning::Builtin, "float") => Type::Float,
                    (Meaning::Builtin, "int") => Type::Int,
                    (Meaning::Builtin, "list") => Type::List,
                    (Meaning::Builtin, "set") => Type::Set,
                    (Meaning::Builtin, "str") => Type::Str,
                    (Meaning::Builtin, "tuple") => Type::Tuple,
                    (Meaning::Native("collections.abc", "Mapping"), _) => Type::Mapping,
                    (Meaning::Native("collections.abc", "Sequence"), _) => Type::Sequence,
                    (Meaning::Native("unittest.mock", "MagicMock" | "Mock"), _) => Type::Mock,
                    _ => return None,
                };
                Some(vec![one])
            }
            _ => None,
        }
    }
}

fn names_of(target: &Tree) -> Vec<&str> {
    match target {
        Tree::Name(name) => vec![&*name.id],
        Tree::Tuple(ast::ExprTuple { elts, .. }) | Tree::List(ast::ExprList { elts, .. }) => {
            elts.iter().flat_map(names_of).collect()
        }
        _ => Vec::new(),
    }
}

fn comparison(operator: ast::CmpOp) -> Compare {
    match operator {
        ast::CmpOp::Eq => Compare::Equal,
        ast::CmpOp::NotEq => Compare::NotEqual,
        ast::CmpOp::Lt => Compare::Less,
        ast::CmpOp::LtE => Compare::LessOrEqual,
        ast::CmpOp::Gt => Compare::Greater,
        ast::CmpOp::GtE => Compare::GreaterOrEqual,
        ast::CmpOp::Is => Compare::Is,
        ast::CmpOp::IsNot => Compare::IsNot,
        ast::CmpOp::In => Compare::In,
        ast::CmpOp::NotIn => Compare::NotIn,
    }
}

fn kind(tree: &Tree) -> &'static str {
    match tree {
        Tree::Lambda(_) => "a lambda",
        Tree::Attribute(_) => "an attribute",
        Tree::Dict(_) | Tree::DictComp(_) => "a dictionary",
        Tree::SetComp(_) | Tree::Generator(_) => "a comprehension of this kind",
        _ => "an expression of this kind",
    }
}
