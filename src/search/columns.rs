//! Names of columns in any case, and paths into structs and JSON, written out for DataFusion. Pure.
//!
//! `USERIDENTITY.Arn` is the field of a struct, `requestParameters.bucketName` and `requestParameters:bucketName::string`
//! are values within a JSON text. What is no name of a table's column (an alias of the query's own) is left alone.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::sql::sqlparser::ast::{
    AccessExpr, CastKind, DataType as SqlType, Expr, Ident, JsonPathElem, Query, SelectItem, SetExpr, Statement,
    Subscript, TableFactor, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

/// The columns that every table has beside its own, computed from the time of the event.
const COMPUTED: [(&str, &str); 5] = [
    ("year", "CAST(date_part('year', {}) AS INT)"),
    ("month", "CAST(date_part('month', {}) AS INT)"),
    ("day", "CAST(date_part('day', {}) AS INT)"),
    ("hour", "CAST(date_part('hour', {}) AS INT)"),
    ("partition_time", "CAST(date_part('epoch', date_trunc('hour', {})) AS BIGINT)"),
];

/// Resolves the names of a statement over tables with these schemas.
pub(super) fn resolve(statement: &mut Statement, schemas: &[SchemaRef]) {
    let mut aliases = Aliases::default();
    let _ = statement.visit(&mut aliases);
    let _ = statement.visit(&mut Resolver { schemas, aliases: aliases.0 });
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
    schemas: &'a [SchemaRef],
    aliases: BTreeSet<String>,
}

impl VisitorMut for Resolver<'_> {
    type Break = ();

    /// A path that is selected is called by its last step.
    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let SetExpr::Select(select) = &mut *query.body else { return ControlFlow::Continue(()) };
        for item in &mut select.projection {
            let SelectItem::UnnamedExpr(expression) = item else { continue };
            let inner = if let Expr::Cast { expr, .. } = &*expression { expr } else { &*expression };
            let Some((_, path)) = self.path(inner) else { continue };
            if let Some(Step::Key(key)) = path.last() {
                *item = SelectItem::ExprWithAlias { alias: Ident::with_quote('"', key), expr: expression.clone() };
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        if let Expr::Cast { kind: CastKind::DoubleColon | CastKind::Cast, expr, data_type, .. } = expression
            && let Some((column, path)) = self.path(expr)
            && let Some(typed) = json_getter(data_type)
            && let Some(written) = self.written(column, &path, typed)
        {
            *expression = written;
            return ControlFlow::Continue(());
        }
        if let Some((column, path)) = self.path(expression)
            && let Some(written) = self.written(column, &path, "json_as_text")
        {
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

/// One step into a value.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Key(String),
    Index(String),
}

impl<'a> Resolver<'a> {
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
                    path.push(match access {
                        AccessExpr::Dot(Expr::Identifier(name)) => Step::Key(name.value.clone()),
                        AccessExpr::Subscript(Subscript::Index { index }) => step(index)?,
                        _ => return None,
                    });
                }
                Some((column, path))
            }
            Expr::JsonAccess { value, path: steps } => {
                let (column, mut path) = self.path(value)?;
                for element in &steps.path {
                    path.push(match element {
                        JsonPathElem::Dot { key, .. } => Step::Key(key.clone()),
                        JsonPathElem::Bracket { key } => step(key)?,
                    });
                }
                Some((column, path))
            }
            _ => None,
        }
    }

    fn names(&self, names: &[Ident]) -> Option<(Column<'a>, Vec<Step>)> {
        let steps = |names: &[Ident]| names.iter().map(|name| Step::Key(name.value.clone())).collect();
        let alias = |name: &Ident| {
            self.aliases.get(&name.value).or_else(|| {
                let mut aliases = self.aliases.iter();
                aliases.find(|alias| name.quote_style.is_none() && alias.eq_ignore_ascii_case(&name.value))
            })
        };
        if let [first, second, rest @ ..] = names
            && let Some(alias) = alias(first)
        {
            let field = self.field(second)?;
            return Some((Column { alias: Some(alias.clone()), field }, steps(rest)));
        }
        let (first, rest) = names.split_first()?;
        Some((Column { alias: None, field: self.field(first)? }, steps(rest)))
    }

    /// Of any of the tables, the exact name first.
    fn field(&self, name: &Ident) -> Option<Found<'a>> {
        let fields = || self.schemas.iter().flat_map(|schema| schema.fields().iter());
        let exact = fields().find(|field| *field.name() == name.value);
        let any_case = || fields().find(|field| field.name().eq_ignore_ascii_case(&name.value));
        let computed = || {
            let mut computed = COMPUTED.iter().filter(|_| !self.schemas.is_empty());
            computed.find(|(known, _)| known.eq_ignore_ascii_case(&name.value)).map(|(_, text)| Found::Computed(text))
        };
        let found = exact.or_else(|| if name.quote_style.is_none() { any_case() } else { None });
        found.map(|field| Found::Own(field)).or_else(computed)
    }

    /// `None` where the path leads to nothing that a column has, which DataFusion then tells.
    fn written(&self, column: Column<'a>, path: &[Step], json: &str) -> Option<Expr> {
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
                    let field = exact.or_else(|| fields.iter().find(|field| field.name().eq_ignore_ascii_case(key)))?;
                    text = format!("get_field({text}, {})", literal(field.name()));
                    data_type = field.data_type();
                }
                // Counted from 0 as in JSON, where DataFusion counts from 1.
                (DataType::List(item), Step::Index(index)) => {
                    text = format!("array_element({text}, {index} + 1)");
                    data_type = item.data_type();
                }
                (DataType::Utf8, _) => {
                    let keys = path[at..].iter().map(|step| match step {
                        Step::Key(key) => literal(key),
                        Step::Index(index) => index.clone(),
                    });
                    return parsed(&format!("{json}({text}, {})", keys.collect::<Vec<_>>().join(", ")));
                }
                _ => return None,
            }
        }
        // A cast of a whole column is a cast.
        (json == "json_as_text").then(|| parsed(&text)).flatten()
    }
}

fn names_of(expression: &Expr) -> Option<Vec<Ident>> {
    match expression {
        Expr::Identifier(name) => Some(vec![name.clone()]),
        Expr::CompoundIdentifier(names) => Some(names.clone()),
        _ => None,
    }
}

fn step(expression: &Expr) -> Option<Step> {
    let Expr::Value(value) = expression else { return None };
    match &value.value {
        Value::SingleQuotedString(key) | Value::DoubleQuotedString(key) => Some(Step::Key(key.clone())),
        Value::Number(index, _) => Some(Step::Index(index.clone())),
        _ => None,
    }
}

/// What takes a value of this type out of JSON.
fn json_getter(data_type: &SqlType) -> Option<&'static str> {
    let name = data_type.to_string().to_lowercase();
    Some(match name.split('(').next().unwrap_or_default() {
        "string" | "varchar" | "text" | "char" => "json_as_text",
        "int" | "integer" | "bigint" | "smallint" => "json_get_int",
        "float" | "double" | "real" | "double precision" => "json_get_float",
        "bool" | "boolean" => "json_get_bool",
        _ => return None,
    })
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The text is made here, of names that were parsed before.
fn parsed(text: &str) -> Option<Expr> {
    let parser = Parser::new(&GenericDialect {}).try_with_sql(text);
    parser.and_then(|mut parser| parser.parse_expr()).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Schema;

    use super::*;
    use crate::search::statement::parse;

    fn resolved(select: &str) -> String {
        let inner = vec![Field::new("arn", DataType::Utf8, true)];
        let schema = Arc::new(Schema::new(vec![
            Field::new("eventName", DataType::Utf8, true),
            Field::new("requestParameters", DataType::Utf8, true),
            Field::new("userIdentity", DataType::Struct(inner.clone().into()), true),
            Field::new_list("resources", Field::new("element", DataType::Struct(inner.into()), true), true),
        ]));
        let mut statement = parse(&format!("SELECT {select} FROM trail AS t")).unwrap().sql;
        resolve(&mut statement, &[schema]);
        let text = statement.to_string();
        text.trim_start_matches("SELECT ").trim_end_matches(" FROM trail AS t").to_owned()
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
            ("requestParameters:n::int", r#"json_get_int("requestParameters", 'n') AS "n""#),
            ("CAST(eventName AS INT)", r#"CAST("eventName" AS INT)"#),
        ] {
            assert_eq!(resolved(select), expected, "{select}");
        }
    }
}
