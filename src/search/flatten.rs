//! `LATERAL FLATTEN(input => list) f`, a row for each element: written out as a query over the table whose list it is, which
//! the elements are columns of. `TABLE(GENERATOR(ROWCOUNT => n))` is n rows of nothing. Pure.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, JoinConstraint, JoinOperator, Query,
    Select, SetExpr, Statement, TableFactor, TableWithJoins, Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::SearchError;
use super::variant::{LIST, LIST_OR_NULL};

/// More rows of nothing are a mistake.
const MOST_ROWS: u64 = 1_000_000;

/// Whether a table function is one of these.
pub(super) fn is_known(factor: &TableFactor) -> bool {
    called(factor).is_some()
}

/// Writes out whatever needs it.
pub(super) fn write_out(statement: &mut Statement) -> Result<(), SearchError> {
    match statement.visit(&mut Writer) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Writer;

impl VisitorMut for Writer {
    type Break = SearchError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<SearchError> {
        in_body(&mut query.body)
    }
}

fn in_body(body: &mut SetExpr) -> ControlFlow<SearchError> {
    match body {
        SetExpr::Select(select) => match in_select(select) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        },
        SetExpr::SetOperation { left, right, .. } => {
            in_body(left)?;
            in_body(right)
        }
        _ => ControlFlow::Continue(()),
    }
}

/// What a table function is called with, and as what.
struct Called {
    function: Function,
    alias: Option<String>,
}

enum Function {
    Flatten {
        input: Box<Expr>,
        outer: bool,
    },
    Generator {
        rows: u64,
    },
    /// Known, and called in a way that is not.
    Wrong(String),
}

/// `None` where a factor is none of the known functions.
fn called(factor: &TableFactor) -> Option<Called> {
    let (name, arguments, alias) = match factor {
        TableFactor::Function { name, args, alias, .. } => (name, args, alias),
        TableFactor::TableFunction { expr: Expr::Function(function), alias } => match &function.args {
            FunctionArguments::List(list) => (&function.name, &list.args, alias),
            _ => return None,
        },
        _ => return None,
    };
    let name = name.to_string().to_lowercase();
    let named = |wanted: &str, position: usize| {
        let by_name = arguments.iter().find_map(|argument| match argument {
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. }
                if name.value.eq_ignore_ascii_case(wanted) =>
            {
                Some(value)
            }
            _ => None,
        });
        by_name.or_else(|| match arguments.get(position) {
            Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(value))) => Some(value),
            _ => None,
        })
    };
    let function = match name.as_str() {
        "flatten" => match named("input", 0) {
            Some(input) => {
                let outer =
                    named("outer", usize::MAX).is_some_and(|outer| outer.to_string().eq_ignore_ascii_case("true"));
                Function::Flatten { input: Box::new(input.clone()), outer }
            }
            None => Function::Wrong("FLATTEN needs `input => …`, the list whose elements become rows".into()),
        },
        "generator" => match named("rowcount", 0).and_then(|rows| rows.to_string().parse().ok()) {
            Some(rows @ 0..=MOST_ROWS) => Function::Generator { rows },
            _ => Function::Wrong(format!("GENERATOR needs `rowcount => …`, a number up to {MOST_ROWS}")),
        },
        _ => return None,
    };
    Some(Called { function, alias: alias.as_ref().map(|alias| alias.name.value.clone()) })
}

/// A flattened list: by which name the query calls it, and the table that has its elements now.
struct Flattened {
    alias: Option<String>,
    table: String,
}

impl Flattened {
    fn column(&self, part: &str) -> String {
        format!("{}__{part}", self.alias.as_deref().unwrap_or("flatten").to_lowercase())
    }
}

fn in_select(select: &mut Select) -> Result<(), SearchError> {
    let has_any =
        |table: &TableWithJoins| is_known(&table.relation) || table.joins.iter().any(|join| is_known(&join.relation));
    if !select.from.iter().any(has_any) {
        return Ok(());
    }
    let wants_index = mentions_index(select);
    let mut done: Vec<Flattened> = Vec::new();
    let mut made: Vec<TableWithJoins> = Vec::new();
    let mut conditions: Vec<Expr> = Vec::new();
    for mut table in std::mem::take(&mut select.from) {
        let joins = std::mem::take(&mut table.joins);
        place(table, &mut made, &mut done, wants_index, false)?;
        for mut join in joins {
            if is_known(&join.relation) {
                let (condition, keeps_all) = joined(join.join_operator)?;
                let table = TableWithJoins { relation: join.relation, joins: Vec::new() };
                place(table, &mut made, &mut done, wants_index, keeps_all)?;
                conditions.extend(condition);
            } else {
                let mut naming = Naming { done: &done };
                let _ = VisitMut::visit(&mut join, &mut naming);
                made.last_mut().expect("a join has a left side").joins.push(join);
            }
        }
    }
    select.from = made;
    for condition in conditions {
        let condition = Expr::Nested(Box::new(condition));
        select.selection = Some(match select.selection.take() {
            None => condition,
            Some(other) => Expr::BinaryOp {
                left: Box::new(Expr::Nested(Box::new(other))),
                op: BinaryOperator::And,
                right: Box::new(condition),
            },
        });
    }
    // Selected by its bare name, an element is called by that.
    let _ = select.visit(&mut Naming { done: &done });
    Ok(())
}

/// The condition of a join with a flattened list, and whether rows whose list is empty stay.
fn joined(operator: JoinOperator) -> Result<(Option<Expr>, bool), SearchError> {
    use JoinOperator::{CrossJoin, Inner, Join, Left, LeftOuter};
    let is_true = |condition: &Expr| condition.to_string().eq_ignore_ascii_case("true");
    match operator {
        CrossJoin(JoinConstraint::None) | Inner(JoinConstraint::None) | Join(JoinConstraint::None) => Ok((None, false)),
        Inner(JoinConstraint::On(condition)) | Join(JoinConstraint::On(condition)) => {
            Ok(((!is_true(&condition)).then_some(condition), false))
        }
        Left(JoinConstraint::None) | LeftOuter(JoinConstraint::None) => Ok((None, true)),
        Left(JoinConstraint::On(condition)) | LeftOuter(JoinConstraint::On(condition)) if is_true(&condition) => {
            Ok((None, true))
        }
        _ => Err(SearchError::new("FLATTEN can be joined by CROSS, INNER or LEFT JOIN, the last without a condition")),
    }
}

/// Puts a table in its place; a function becomes part of the table whose list it takes.
fn place(
    table: TableWithJoins,
    made: &mut Vec<TableWithJoins>,
    done: &mut Vec<Flattened>,
    wants_index: bool,
    keeps_all: bool,
) -> Result<(), SearchError> {
    let Some(Called { function, alias }) = called(&table.relation) else {
        made.push(table);
        return Ok(());
    };
    match function {
        Function::Wrong(text) => Err(SearchError::new(text)),
        Function::Generator { rows } => {
            let alias = alias.unwrap_or_else(|| "generator".into());
            let text = format!("(SELECT unnest(generate_series(1, {rows})) AS generated) AS {}", quoted(&alias));
            made.push(TableWithJoins { relation: parsed(&text)?, joins: Vec::new() });
            Ok(())
        }
        Function::Flatten { mut input, outer } => {
            let _ = VisitMut::visit(&mut *input, &mut Naming { done });
            let first = first_name(&input);
            let owner = made.iter_mut().flat_map(factors).fold(None, |owner: Option<&mut TableFactor>, factor| {
                let is_named = first.as_ref().is_some_and(|first| name_of(factor).eq_ignore_ascii_case(first));
                // The one that the list names, else the last before it.
                match owner {
                    Some(owner) if !is_named => {
                        let was_named = first.as_ref().is_some_and(|first| name_of(owner).eq_ignore_ascii_case(first));
                        Some(if was_named { owner } else { factor })
                    }
                    _ => Some(factor),
                }
            });
            let owner =
                owner.ok_or_else(|| SearchError::new("FLATTEN needs a table before it, whose list it takes"))?;
            let flattened = Flattened { alias, table: name_of(owner) };
            let list = if outer || keeps_all { LIST_OR_NULL } else { LIST };
            let list = format!("{list}({input})");
            let index = if wants_index {
                format!(", unnest(range(0, array_length({list}))) AS {}", quoted(&flattened.column("index")))
            } else {
                String::new()
            };
            let text = format!(
                "(SELECT *, unnest({list}) AS {}{index} FROM {owner}) AS {}",
                quoted(&flattened.column("value")),
                quoted(&flattened.table)
            );
            *owner = parsed(&text)?;
            done.push(flattened);
            Ok(())
        }
    }
}

fn factors(table: &mut TableWithJoins) -> impl Iterator<Item = &mut TableFactor> {
    std::iter::once(&mut table.relation).chain(table.joins.iter_mut().map(|join| &mut join.relation))
}

/// What columns of it are called by.
fn name_of(factor: &TableFactor) -> String {
    match factor {
        TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
            alias.name.value.clone()
        }
        TableFactor::Table { name, .. } => {
            name.0.last().and_then(|part| part.as_ident()).map(|name| name.value.clone()).unwrap_or_default()
        }
        _ => "flattened".into(),
    }
}

/// The first name in a path with more than one.
fn first_name(expression: &Expr) -> Option<String> {
    match expression {
        Expr::CompoundIdentifier(names) => names.first().map(|name| name.value.clone()),
        Expr::CompoundFieldAccess { root, .. } => first_name(root),
        Expr::JsonAccess { value, .. } => first_name(value),
        _ => None,
    }
}

/// Gives the elements of flattened lists the names that they have now.
struct Naming<'a> {
    done: &'a [Flattened],
}

const PARTS: [&str; 3] = ["value", "index", "this"];

impl Naming<'_> {
    fn named(&self, alias: Option<&Ident>, part: &Ident) -> Option<[Ident; 2]> {
        let name = part.value.to_lowercase();
        if !PARTS.contains(&&*name) {
            return None;
        }
        let flattened = match alias {
            Some(alias) => self
                .done
                .iter()
                .find(|flattened| flattened.alias.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(&alias.value)))?,
            None => self.done.last()?,
        };
        Some([&flattened.table, &flattened.column(&name)].map(|name| Ident::with_quote('"', name)))
    }
}

impl VisitorMut for Naming<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        let named = match &*expression {
            Expr::Identifier(part) if part.quote_style.is_none() => self.named(None, part).map(|names| names.to_vec()),
            Expr::CompoundIdentifier(names) => match &names[..] {
                [alias, part, rest @ ..] => {
                    self.named(Some(alias), part).map(|names| names.into_iter().chain(rest.iter().cloned()).collect())
                }
                _ => None,
            },
            _ => None,
        };
        if let Some(names) = named {
            *expression = Expr::CompoundIdentifier(names);
        }
        ControlFlow::Continue(())
    }
}

/// Whether the place of an element is asked for.
fn mentions_index(select: &Select) -> bool {
    struct Index(bool);
    impl Visitor for Index {
        type Break = ();

        fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
            self.0 |= match expression {
                Expr::Identifier(name) => name.value.eq_ignore_ascii_case("index"),
                Expr::CompoundIdentifier(names) => {
                    names.get(1).is_some_and(|name| name.value.eq_ignore_ascii_case("index"))
                }
                _ => false,
            };
            ControlFlow::Continue(())
        }
    }
    let mut found = Index(false);
    let _ = select.visit(&mut found);
    found.0
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The text is made here, of what was parsed before.
fn parsed(factor: &str) -> Result<TableFactor, SearchError> {
    let parser = Parser::new(&GenericDialect {}).try_with_sql(factor);
    parser
        .and_then(|mut parser| parser.parse_table_factor())
        .map_err(|error| SearchError::new(format!("FLATTEN can't be used so: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::statement::parse;

    fn written_out(sql: &str) -> Result<String, String> {
        let mut statement = parse(sql).map_err(|error| error.to_string())?.sql;
        write_out(&mut statement).map_err(|error| error.to_string())?;
        Ok(statement.to_string())
    }

    #[test]
    fn elements_become_columns_of_their_table() {
        for (sql, expected) in [
            (
                "SELECT a, f.value:x FROM t, LATERAL FLATTEN(input => list) f",
                r#"SELECT a, "t"."f__value":x FROM (SELECT *, unnest(margay_list(list)) AS "f__value" FROM t) AS "t""#,
            ),
            (
                "SELECT VALUE FROM u CROSS JOIN LATERAL FLATTEN(u.list) WHERE index = 1",
                r#"SELECT "u"."flatten__value" FROM (SELECT *, unnest(margay_list(u.list)) AS "flatten__value", unnest(range(0, array_length(margay_list(u.list)))) AS "flatten__index" FROM u) AS "u" WHERE "u"."flatten__index" = 1"#,
            ),
            (
                "SELECT b.value FROM t AS x, TABLE(FLATTEN(input => x.l, outer => true)) a, TABLE(FLATTEN(input => a.value:m)) b",
                r#"SELECT "x"."b__value" FROM (SELECT *, unnest(margay_list("x"."a__value":m)) AS "b__value" FROM (SELECT *, unnest(margay_list_or_null(x.l)) AS "a__value" FROM t AS x) AS "x") AS "x""#,
            ),
            ("SELECT value FROM t", "SELECT value FROM t"),
        ] {
            assert_eq!(written_out(sql).unwrap(), expected, "{sql}");
        }
    }

    #[test]
    fn rows_of_nothing_are_generated() {
        assert_eq!(
            written_out("SELECT 1 FROM TABLE(GENERATOR(ROWCOUNT => 90))").unwrap(),
            r#"SELECT 1 FROM (SELECT unnest(generate_series(1, 90)) AS generated) AS "generator""#
        );
        assert!(written_out("SELECT 1 FROM TABLE(GENERATOR(ROWCOUNT => 90000000))").unwrap_err().contains("rowcount"));
        assert!(written_out("SELECT 1 FROM TABLE(read_csv('x'))").unwrap_err().contains("SELECT"));
    }
}
