//! `any(name == f(x) for x in …)` over texts that stand in the source is a question of membership: it is asked with one
//! look at a table, and the index sees it, where a walk would make and compare a text for each element of every event.

use std::sync::Arc;

use super::constant::{Const, Items};
use super::lower::Lower;
use super::program::{Compare, Comprehension, Expr, Slot, Stmt, Target};

impl Lower<'_> {
    /// Nothing that is left out can raise: texts are joined with texts, and any value may be compared with one. The name is
    /// read at least once either way.
    pub(super) fn membership(&self, over: &Comprehension) -> Option<Expr> {
        let [(Target::Slot(element), texts, conditions)] = &*over.clauses else { return None };
        let Expr::Compare(left, rest) = &over.element else { return None };
        let [(Compare::Equal, right)] = &**rest else { return None };
        let (name, made) = match (&**left, right) {
            (Expr::Slot(name), made) | (made, Expr::Slot(name)) if name != element => (*name, made),
            _ => return None,
        };
        let texts = self.texts(texts).filter(|texts| !texts.is_empty() && conditions.is_empty())?;
        let all = texts.iter().map(|text| made_of(made, *element, text).map(|text| Const::Str(text.into())));
        let all = Const::Tuple(Items::new(all.collect::<Option<_>>()?));
        Some(Expr::Compare(Box::new(Expr::Slot(name)), vec![(Compare::In, Expr::Const(Arc::new(all)))]))
    }

    /// The texts of a literal, or of one that a function without parameters returns and nothing else.
    fn texts<'e>(&'e self, list: &'e Expr) -> Option<Vec<&'e str>> {
        match list {
            Expr::Const(list) => match &**list {
                Const::List(items) | Const::Tuple(items) => items.list.iter().map(text).collect(),
                _ => None,
            },
            Expr::List(items) | Expr::Tuple(items) => {
                let texts = items.iter().map(|item| if let Expr::Const(item) = item { text(item) } else { None });
                texts.collect()
            }
            Expr::Call(function, arguments) if arguments.plain.is_empty() && arguments.named.is_empty() => {
                let function = &self.program.functions[*function];
                let is_plain =
                    function.parameters.is_empty() && function.rest.is_none() && function.keyword_only.is_empty();
                let mut body = function.body.iter().filter(|statement| !says_nothing(statement));
                match (body.next(), body.next()) {
                    (Some(Stmt::Return(list @ (Expr::List(_) | Expr::Tuple(_) | Expr::Const(_)))), None)
                        if is_plain =>
                    {
                        self.texts(list)
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

/// A comment that is a text.
fn says_nothing(statement: &Stmt) -> bool {
    matches!(statement, Stmt::Pass | Stmt::Do(Expr::Const(_)))
}

fn text(of: &Const) -> Option<&str> {
    if let Const::Str(text) = of { Some(text) } else { None }
}

/// What an expression of the element is, when the element is a text.
fn made_of(made: &Expr, element: Slot, is: &str) -> Option<String> {
    match made {
        Expr::Slot(slot) if *slot == element => Some(is.to_owned()),
        Expr::Const(of) => text(of).map(str::to_owned),
        Expr::Add(parts) => Some(made_of(&parts[0], element, is)? + &made_of(&parts[1], element, is)?),
        Expr::Format(parts) => parts.iter().map(|part| made_of(part, element, is)).collect(),
        _ => None,
    }
}
