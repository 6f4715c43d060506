//! Names of columns in any case, and paths into structs and JSON, written out for DataFusion. Pure.
//!
//! `USERIDENTITY.Arn` is the field of a struct, `requestParameters.bucketName` and `requestParameters:bucketName::string`
//! are values within a JSON text. What is no name of a table's column (an alias of the query's own) is left alone.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, DataType as SqlType, Expr, Ident, Query, Select, SelectItem, SetExpr,
    Statement, TableFactor, VisitMut, VisitorMut,
};

use super::literal::{Literal, kind_of};
use super::steps::{Step, accessed, element_step, into, literal, parsed, quoted, steps, steps_into};
use crate::lake::names::TableId;

/// The columns that every table has beside its own, computed from the time of the event.
const COMPUTED: [(&str, &str); 5] = [
    ("year", "CAST(date_part('year', {}) AS INT)"),
    ("month", "CAST(date_part('month', {}) AS INT)"),
    ("day", "CAST(date_part('day', {}) AS INT)"),
    ("hour", "CAST(date_part('hour', {}) AS INT)"),
    ("partition_time", "CAST(date_part('epoch', date_trunc('hour', {})) AS BIGINT)"),
];

/// Resolves the names of a statement over these tables, which it names by their full names.
pub(super) fn resolve(statement: &mut Statement, tables: &[(TableId, SchemaRef)]) {
    let mut aliases = Aliases::default();
    let _ = statement.visit(&mut aliases);
    let _ = statement.visit(&mut Resolver { tables, aliases: aliases.0, scopes: Vec::new() });
}

/// By which names the statement calls its tables, as it writes them.
#[derive(Default)]
struct Aliases(BTreeSet<String>);

impl VisitorMut for Aliases {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
                self.0.insert(alias.name.value.clone());
            }
            TableFactor::Table { name, .. } => {
                self.0.extend(name.0.last().and_then(|part| part.as_ident()).map(|name| name.value.clone()));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

struct Resolver<'a> {
    tables: &'a [(TableId, SchemaRef)],
    aliases: BTreeSet<String>,
    /// What the queries around the present place read from, the innermost last.
    scopes: Vec<Vec<Source<'a>>>,
}

/// What a query reads from, by the name that it calls it.
struct Source<'a> {
    name: String,
    schemas: Vec<&'a SchemaRef>,
    /// The statement makes it itself, and may have given it other columns.
    is_made: bool,
}

impl VisitorMut for Resolver<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let mut scope = Vec::new();
        self.collect_sources(&query.body, &mut scope);
        self.scopes.push(scope);
        self.in_body(&mut query.body);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.scopes.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        if let Expr::BinaryOp { left, op, right } = expression
            && is_comparison(op)
        {
            self.compare_as(left, right, op);
            self.compare_as(right, left, op);
        }
        if let Expr::Cast { kind, expr, data_type, .. } = expression
            && matches!(kind, CastKind::DoubleColon | CastKind::Cast | CastKind::TryCast)
            && self.is_json(expr)
        {
            // JSON may hold anything; what is no such value is NULL.
            *kind = CastKind::TryCast;
            if is_text(data_type) {
                let text = (**expr).clone();
                *expression = text;
            }
        }
        let written = match self.path(expression) {
            Some((column, path)) => self.written(column, &path),
            None => steps_into(expression),
        };
        if let Some(written) = written {
            *expression = written;
        }
        ControlFlow::Continue(())
    }
}

/// The column of a table, with the table's alias before it.
struct Column<'a> {
    alias: Option<String>,
    field: Found<'a>,
}

enum Found<'a> {
    Own(&'a Field),
    Computed(&'static str),
}

impl<'a> Resolver<'a> {
    fn collect_sources(&self, body: &SetExpr, scope: &mut Vec<Source<'a>>) {
        match body {
            SetExpr::Select(select) => {
                let factors = select.from.iter().flat_map(|table| {
                    std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation))
                });
                scope.extend(factors.map(|factor| self.source(factor)));
            }
            SetExpr::SetOperation { left, right, .. } => {
                self.collect_sources(left, scope);
                self.collect_sources(right, scope);
            }
            _ => {}
        }
    }

    fn source(&self, factor: &TableFactor) -> Source<'a> {
        match factor {
            TableFactor::Table { name, alias, .. } => {
                let parts: Vec<&str> =
                    name.0.iter().filter_map(|part| part.as_ident()).map(|part| &*part.value).collect();
                let own = parts.last().copied().unwrap_or_default();
                let table = self.tables.iter().find(|(id, _)| parts == [&*id.namespace, &*id.name]);
                let name = alias.as_ref().map_or(own, |alias| &*alias.name.value).to_owned();
                Source {
                    name,
                    schemas: table.map(|(_, schema)| schema).into_iter().collect(),
                    is_made: table.is_none(),
                }
            }
            TableFactor::Derived { subquery, alias, .. } => {
                let mut inner = Vec::new();
                self.collect_sources(&subquery.body, &mut inner);
                let name = alias.as_ref().map(|alias| alias.name.value.clone()).unwrap_or_default();
                Source { name, schemas: inner.into_iter().flat_map(|source| source.schemas).collect(), is_made: true }
            }
            _ => Source { name: String::new(), schemas: Vec::new(), is_made: true },
        }
    }

    fn in_body(&self, body: &mut SetExpr) {
        match body {
            SetExpr::Select(select) => self.name_paths(select),
            SetExpr::SetOperation { left, right, .. } => {
                self.in_body(left);
                self.in_body(right);
            }
            _ => {}
        }
    }

    /// A path that is selected is called by its last step.
    fn name_paths(&self, select: &mut Select) {
        for item in &mut select.projection {
            let SelectItem::UnnamedExpr(expression) = item else { continue };
            let inner = if let Expr::Cast { expr, .. } = &*expression { expr } else { &*expression };
            let path = self.path(inner).map(|(_, path)| path).or_else(|| steps(inner).map(|(_, path)| path));
            if let Some(Step::Key(key)) = path.as_ref().and_then(|path| path.last()) {
                *item = SelectItem::ExprWithAlias { alias: Ident::with_quote('"', key), expr: expression.clone() };
            }
        }
    }

    /// What of JSON is compared with a number or a truth value is taken for one.
    fn compare_as(&self, value: &mut Expr, other: &Expr, operator: &BinaryOperator) {
        let is_equality = matches!(operator, BinaryOperator::Eq | BinaryOperator::NotEq);
        let data_type = match kind_of(other) {
            Some(Literal::Boolean) => "BOOLEAN",
            // Exact for large ones, which ids are.
            Some(Literal::Whole) if is_equality => "BIGINT",
            Some(Literal::Whole | Literal::Number) => "DOUBLE",
            None => return,
        };
        if self.is_json(value)
            && let Some(mut cast) = parsed(&format!("TRY_CAST(1 AS {data_type})"))
            && let Expr::Cast { expr, .. } = &mut cast
        {
            std::mem::swap(&mut **expr, value);
            *value = cast;
        }
    }

    /// Whether an expression leads into JSON, as far as can be told from here.
    fn is_json(&self, expression: &Expr) -> bool {
        match self.path(expression) {
            Some((Column { field: Found::Own(field), .. }, path)) => leads_into_json(field.data_type(), &path),
            Some(_) => false,
            None => steps(expression).is_some(),
        }
    }

    /// The column that an expression begins with, and the steps from there; `None` where it is something else.
    fn path(&self, expression: &Expr) -> Option<(Column<'a>, Vec<Step>)> {
        match expression {
            Expr::Identifier(name) => self.names(std::slice::from_ref(name)),
            Expr::CompoundIdentifier(names) => self.names(names),
            Expr::CompoundFieldAccess { root, access_chain } => {
                let (mut names, mut accesses) = (names_of(root)?, access_chain.iter().peekable());
                while let Some(AccessExpr::Dot(Expr::Identifier(name))) = accesses.peek() {
                    names.push(name.clone());
                    accesses.next();
                }
                let (column, mut path) = self.names(&names)?;
                for access in accesses {
                    path.push(accessed(access)?);
                }
                Some((column, path))
            }
            Expr::JsonAccess { value, path: steps } => {
                let (column, mut path) = self.path(value)?;
                for element in &steps.path {
                    path.push(element_step(element)?);
                }
                Some((column, path))
            }
            _ => None,
        }
    }

    fn names(&self, names: &[Ident]) -> Option<(Column<'a>, Vec<Step>)> {
        let steps = |names: &[Ident]| names.iter().map(|name| Step::Key(name.value.clone())).collect();
        // The table's own name may have a database before it.
        let is_after_database = names.first().is_some_and(|first| self.field(None, first).is_none());
        let mut places = (0..names.len().saturating_sub(1)).take(if is_after_database { 3 } else { 1 });
        if let Some(at) = places.find(|at| self.alias(&names[*at]).is_some())
            && let [alias, column, rest @ ..] = &names[at..]
        {
            let alias = self.alias(alias)?;
            let field = self.field(Some(alias), column)?;
            return Some((Column { alias: Some(alias.clone()), field }, steps(rest)));
        }
        let (first, rest) = names.split_first()?;
        Some((Column { alias: None, field: self.field(None, first)? }, steps(rest)))
    }

    fn alias(&self, name: &Ident) -> Option<&String> {
        self.aliases.get(&name.value).or_else(|| {
            let mut aliases = self.aliases.iter();
            aliases.find(|alias| name.quote_style.is_none() && alias.eq_ignore_ascii_case(&name.value))
        })
    }

    /// Of what the innermost query reads from that has one; of any table, where a query makes what another reads.
    fn field(&self, alias: Option<&str>, name: &Ident) -> Option<Found<'a>> {
        let (mut is_made, mut was_seen) = (self.scopes.is_empty(), false);
        for scope in self.scopes.iter().rev() {
            let is_meant = |source: &&Source<'a>| alias.is_none_or(|alias| source.name.eq_ignore_ascii_case(alias));
            let sources: Vec<&Source<'a>> = scope.iter().filter(is_meant).collect();
            if let Some(field) = column(sources.iter().flat_map(|source| source.schemas.iter().copied()), name) {
                return Some(Found::Own(field));
            }
            is_made |= sources.iter().any(|source| source.is_made);
            was_seen |= !sources.is_empty();
            if alias.is_some() && was_seen {
                break;
            }
        }
        if is_made && let Some(field) = column(self.tables.iter().map(|(_, schema)| schema), name) {
            return Some(Found::Own(field));
        }
        let mut computed = COMPUTED.iter().filter(|_| was_seen && !self.tables.is_empty());
        computed.find(|(known, _)| known.eq_ignore_ascii_case(&name.value)).map(|(_, text)| Found::Computed(text))
    }

    /// `None` where the path leads to nothing that a column has, which DataFusion then tells.
    fn written(&self, column: Column<'a>, path: &[Step]) -> Option<Expr> {
        let alias = column.alias.map(|alias| format!("{}.", quoted(&alias))).unwrap_or_default();
        let field = match column.field {
            Found::Own(field) => field,
            Found::Computed(text) => {
                return parsed(&text.replace("{}", &format!("{alias}p_event_time"))).filter(|_| path.is_empty());
            }
        };
        let mut text = format!("{alias}{}", quoted(field.name()));
        let mut data_type = field.data_type();
        for (at, step) in path.iter().enumerate() {
            match (data_type, step) {
                (DataType::Struct(fields), Step::Key(key)) => {
                    let exact = fields.iter().find(|field| field.name() == key);
                    let Some(field) =
                        exact.or_else(|| fields.iter().find(|field| field.name().eq_ignore_ascii_case(key)))
                    else {
                        return into(&text, &path[at..]);
                    };
                    text = format!("get_field({text}, {})", literal(field.name()));
                    data_type = field.data_type();
                }
                // Counted from 0 as in JSON, where DataFusion counts from 1.
                (DataType::List(item), Step::Index(index)) => {
                    text = format!("array_element({text}, {index} + 1)");
                    data_type = item.data_type();
                }
                (DataType::Utf8 | DataType::Utf8View, _) => {
                    let keys = path[at..].iter().map(Step::as_sql);
                    return parsed(&format!("json_as_text({text}, {})", keys.collect::<Vec<_>>().join(", ")));
                }
                _ => return into(&text, &path[at..]),
            }
        }
        parsed(&text)
    }
}

/// The exact name first.
fn column<'a>(schemas: impl Iterator<Item = &'a SchemaRef> + Clone, name: &Ident) -> Option<&'a Field> {
    let fields = || schemas.clone().flat_map(|schema| schema.fields().iter().map(AsRef::as_ref));
    let exact = fields().find(|field: &&Field| *field.name() == name.value);
    exact.or_else(|| {
        let any_case = |field: &&Field| name.quote_style.is_none() && field.name().eq_ignore_ascii_case(&name.value);
        fields().find(any_case)
    })
}

fn is_comparison(operator: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(operator, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

fn leads_into_json(data_type: &DataType, path: &[Step]) -> bool {
    match (data_type, path) {
        (_, []) => false,
        (DataType::Utf8 | DataType::Utf8View, _) => true,
        (DataType::List(item), [_, rest @ ..]) => leads_into_json(item.data_type(), rest),
        (DataType::Struct(fields), [Step::Key(key), rest @ ..]) => {
            let field = fields.iter().find(|field| field.name().eq_ignore_ascii_case(key));
            field.is_some_and(|field| leads_into_json(field.data_type(), rest))
        }
        _ => false,
    }
}

fn names_of(expression: &Expr) -> Option<Vec<Ident>> {
    match expression {
        Expr::Identifier(name) => Some(vec![name.clone()]),
        Expr::CompoundIdentifier(names) => Some(names.clone()),
        _ => None,
    }
}

fn is_text(data_type: &SqlType) -> bool {
    let name = data_type.to_string().to_lowercase();
    matches!(name.split('(').next().unwrap_or_default(), "string" | "varchar" | "text" | "char")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Schema as ArrowSchema;

    use super::*;
    use crate::search::statement::parse;

    fn resolved(select: &str) -> String {
        let inner = vec![Field::new("arn", DataType::Utf8, true)];
        let schema = Arc::new(ArrowSchema::new(vec![
            Field::new("eventName", DataType::Utf8, true),
            Field::new("requestParameters", DataType::Utf8, true),
            Field::new("userIdentity", DataType::Struct(inner.clone().into()), true),
            Field::new_list("resources", Field::new("element", DataType::Struct(inner.into()), true), true),
        ]));
        let table = TableId { namespace: "logs".into(), name: "trail".into() };
        let mut statement = parse(&format!("SELECT {select} FROM logs.trail AS t")).unwrap().sql;
        resolve(&mut statement, &[(table, schema)]);
        let text = statement.to_string();
        text.trim_start_matches("SELECT ").trim_end_matches(" FROM logs.trail AS t").to_owned()
    }

    #[test]
    fn names_are_found_in_any_case() {
        for (select, expected) in [
            ("eventname", r#""eventName""#),
            ("T.EVENTNAME", r#""t"."eventName""#),
            ("count(EventName) AS n", r#"count("eventName") AS n"#),
            ("other", "other"),
            (r#""eventname""#, r#""eventname""#),
            ("year", "CAST(date_part('year', p_event_time) AS INT)"),
        ] {
            assert_eq!(resolved(select), expected, "{select}");
        }
    }

    #[test]
    fn names_are_those_of_the_tables_that_a_query_reads() {
        let table = |name: &str, column: &str| {
            let schema = ArrowSchema::new(vec![Field::new(column, DataType::Utf8, true)]);
            (TableId { namespace: "logs".into(), name: name.into() }, Arc::new(schema))
        };
        let tables = [table("a", "EventType"), table("b", "eventType")];
        for (sql, expected) in [
            (
                "SELECT 1 FROM logs.b WHERE eventtype IN (SELECT eventtype FROM logs.a)",
                r#"SELECT 1 FROM logs.b WHERE "eventType" IN (SELECT "EventType" FROM logs.a)"#,
            ),
            (
                "SELECT x.eventtype FROM logs.a JOIN logs.b AS x ON a.EVENTTYPE = x.EVENTTYPE",
                r#"SELECT "x"."eventType" FROM logs.a JOIN logs.b AS x ON "a"."EventType" = "x"."eventType""#,
            ),
            ("SELECT EVENTTYPE FROM (SELECT * FROM logs.b) c", r#"SELECT "eventType" FROM (SELECT * FROM logs.b) c"#),
        ] {
            let mut statement = parse(sql).unwrap().sql;
            resolve(&mut statement, &tables);
            assert_eq!(statement.to_string(), expected, "{sql}");
        }
    }

    #[test]
    fn paths_lead_into_structs_lists_and_json() {
        for (select, expected) in [
            ("userIdentity.ARN", r#"get_field("userIdentity", 'arn') AS "ARN""#),
            ("t.useridentity:arn", r#"get_field("t"."userIdentity", 'arn') AS "arn""#),
            ("resources[0].arn", r#"get_field(array_element("resources", 0 + 1), 'arn') AS "arn""#),
            ("requestParameters.a.b", r#"json_as_text("requestParameters", 'a', 'b') AS "b""#),
            (
                "requestParameters:a[1]['it''s']::string",
                r#"json_as_text("requestParameters", 'a', 1, 'it''s') AS "it's""#,
            ),
            ("requestParameters:n::int", r#"TRY_CAST(json_as_text("requestParameters", 'n') AS INT) AS "n""#),
            ("requestParameters:n > 5", r#"TRY_CAST(json_as_text("requestParameters", 'n') AS DOUBLE) > 5"#),
            ("true = requestParameters:n", r#"true = TRY_CAST(json_as_text("requestParameters", 'n') AS BOOLEAN)"#),
            ("userIdentity:arn = 5", r#"get_field("userIdentity", 'arn') = 5"#),
            ("f(a)[0]:b", r#"margay_path(f(a), 0, 'b') AS "b""#),
            ("other:b.c", r#"margay_path(other, 'b', 'c') AS "c""#),
            ("panther_logs.public.t.eventname", r#""t"."eventName""#),
            ("CAST(eventName AS INT)", r#"CAST("eventName" AS INT)"#),
        ] {
            assert_eq!(resolved(select), expected, "{select}");
        }
    }
}
