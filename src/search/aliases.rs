//! Aliases of a SELECT that its own other parts use, as Snowflake allows: `SELECT a:b AS c, lower(c) … WHERE c = 'x'`. DataFusion
//! knows them in GROUP BY, HAVING and ORDER BY alone; where it finds no column of a name, what the alias stands for is put
//! there. Pure.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Query, Select, SelectItem, SetExpr, Statement, Visit, VisitMut, Visitor, VisitorMut,
};

/// Puts what an alias stands for in its place, in every SELECT that has it; whether there was one.
pub(super) fn write_out(statement: &mut Statement, alias: &str) -> bool {
    let mut writer = Writer { alias, was_found: false };
    let _ = statement.visit(&mut writer);
    writer.was_found
}

struct Writer<'a> {
    alias: &'a str,
    was_found: bool,
}

impl VisitorMut for Writer<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.in_body(&mut query.body);
        ControlFlow::Continue(())
    }
}

impl Writer<'_> {
    fn in_body(&mut self, body: &mut SetExpr) {
        match body {
            SetExpr::Select(select) => self.in_select(select),
            SetExpr::SetOperation { left, right, .. } => {
                self.in_body(left);
                self.in_body(right);
            }
            _ => {}
        }
    }

    fn in_select(&mut self, select: &mut Select) {
        let defined = select.projection.iter().enumerate().find_map(|(at, item)| match item {
            SelectItem::ExprWithAlias { expr, alias } if alias.value.eq_ignore_ascii_case(self.alias) => {
                Some((at, expr.clone()))
            }
            _ => None,
        });
        // One that stands for something of its own name is that, a column.
        let Some((at, stands_for)) = defined.filter(|(_, expr)| !mentions(expr, self.alias)) else { return };
        let mut putter = Putter {
            alias: self.alias,
            size: stands_for.to_string().len(),
            stands_for,
            room: MOST_BYTES,
            was_put: false,
        };
        for (place, item) in select.projection.iter_mut().enumerate() {
            if place != at {
                let _ = item.visit(&mut putter);
            }
        }
        for part in [&mut select.selection, &mut select.having, &mut select.qualify].into_iter().flatten() {
            let _ = part.visit(&mut putter);
        }
        let _ = VisitMut::visit(&mut select.group_by, &mut putter);
        for table in &mut select.from {
            for join in &mut table.joins {
                let _ = VisitMut::visit(&mut join.join_operator, &mut putter);
            }
        }
        self.was_found |= putter.was_put;
    }
}

struct Putter<'a> {
    alias: &'a str,
    stands_for: Expr,
    /// Bytes that may still be put.
    room: usize,
    size: usize,
    was_put: bool,
}

/// Of all that is put in one round: an alias of aliases doubles with each.
const MOST_BYTES: usize = 256 * 1024;

impl VisitorMut for Putter<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        let is_alias = matches!(expression, Expr::Identifier(name) if name.value.eq_ignore_ascii_case(self.alias));
        if is_alias && self.size > self.room {
            return ControlFlow::Break(());
        }
        if is_alias {
            self.room -= self.size;
            *expression = Expr::Nested(Box::new(self.stands_for.clone()));
            self.was_put = true;
        }
        ControlFlow::Continue(())
    }
}

fn mentions(expression: &Expr, name: &str) -> bool {
    struct Mention<'a>(&'a str);
    impl Visitor for Mention<'_> {
        type Break = ();

        fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
            match expression {
                Expr::Identifier(own) if own.value.eq_ignore_ascii_case(self.0) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    expression.visit(&mut Mention(name)).is_break()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::statement::parse;

    fn written_out(sql: &str, alias: &str) -> Option<String> {
        let mut statement = parse(sql).unwrap().sql;
        write_out(&mut statement, alias).then(|| statement.to_string())
    }

    #[test]
    fn an_alias_is_put_wherever_its_select_uses_it() {
        assert_eq!(
            written_out("SELECT a + 1 AS c, C * 2 AS d FROM t WHERE c = 3 GROUP BY c HAVING c > 1", "c").unwrap(),
            "SELECT a + 1 AS c, (a + 1) * 2 AS d FROM t WHERE (a + 1) = 3 GROUP BY (a + 1) HAVING (a + 1) > 1"
        );
        assert_eq!(written_out("SELECT lower(c) AS c FROM t WHERE c = 'x'", "c"), None);
        assert_eq!(written_out("SELECT a AS c FROM t WHERE d = 'x'", "d"), None);
    }
}
