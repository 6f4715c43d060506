//! The tables that a statement names, in any of the ways in which people name them. Pure.
//!
//! `aws_cloudtrail`, `margay_logs.aws_cloudtrail`, `panther_logs.aws_cloudtrail` and `panther_logs.public.aws_cloudtrail` are
//! one table. Each name is replaced by the full one.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Ident, ObjectName, Query, Spanned, Statement, VisitMut, VisitorMut};

use super::SearchError;
use super::views::{EVENT, View};
use crate::lake::names::TableId;
use crate::logtype::schema::suggestion;

/// What saved queries of Panther call the prefix of the namespaces.
const ALIAS: &str = "panther_";

/// What a statement reads from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Named {
    Table(TableId),
    /// With the whole event of each row, where the statement speaks of it.
    View(TableId, View, bool),
}

/// Finds the tables, and writes their full names into the statement.
pub(super) fn resolve(
    statement: &mut Statement,
    prefix: &str,
    all: &[TableId],
) -> Result<BTreeSet<Named>, SearchError> {
    let mut common = CommonTables::default();
    let _ = statement.visit(&mut common);
    let with_event = common.with_event;
    let mut visitor = Resolver { prefix, all, common: common.names, with_event, found: BTreeSet::new() };
    match statement.visit(&mut visitor) {
        ControlFlow::Continue(()) => Ok(visitor.found),
        ControlFlow::Break(error) => Err(error),
    }
}

/// The names that the statement itself defines, and whether it asks for the whole event.
#[derive(Default)]
struct CommonTables {
    names: BTreeSet<String>,
    with_event: bool,
}

impl VisitorMut for CommonTables {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        self.names.extend(tables.map(|table| table.alias.name.value.to_lowercase()));
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        let name = match expression {
            Expr::Identifier(name) => Some(&*name),
            // The column of a table, or a path into the event.
            Expr::CompoundIdentifier(names) => names.iter().take(2).find(|name| is_event(name)),
            _ => None,
        };
        self.with_event |= name.is_some_and(is_event);
        ControlFlow::Continue(())
    }
}

fn is_event(name: &Ident) -> bool {
    name.value.eq_ignore_ascii_case(EVENT)
}

struct Resolver<'a> {
    prefix: &'a str,
    all: &'a [TableId],
    common: BTreeSet<String>,
    with_event: bool,
    found: BTreeSet<Named>,
}

impl VisitorMut for Resolver<'_> {
    type Break = SearchError;

    fn post_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<SearchError> {
        let idents: Option<Vec<&Ident>> = relation.0.iter().map(|part| part.as_ident()).collect();
        let Some(idents) = idents else {
            return ControlFlow::Break(SearchError::new(format!("`{relation}` is not the name of a table")));
        };
        let parts: Vec<String> = idents.iter().map(|ident| ident.value.to_lowercase()).collect();
        if let [name] = &parts[..]
            && self.common.contains(name)
        {
            return ControlFlow::Continue(());
        }
        match self.named(&parts, &relation.to_string()) {
            Ok(named) => {
                let (Named::Table(id) | Named::View(id, ..)) = &named;
                let full = [&id.namespace, &id.name].map(|part| Ident::with_quote('"', part));
                *relation = ObjectName::from(full.to_vec());
                self.found.insert(named);
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error.at(relation.span().start)),
        }
    }
}

impl Resolver<'_> {
    fn named(&self, parts: &[String], written: &str) -> Result<Named, SearchError> {
        let (namespace, name) = match parts {
            [name] => (None, name),
            [namespace, name] => (Some(namespace), name),
            [namespace, public, name] if public == "public" => (Some(namespace), name),
            [first, ..] if first == "snowflake" => {
                let text = "`{}` is an account table of Snowflake, which there is none of here".replace("{}", written);
                return Err(SearchError::new(text));
            }
            _ => return Err(SearchError::new(format!("`{written}` has too many parts; write `namespace.table`"))),
        };
        let view = |namespace: &str| {
            let id = TableId { namespace: namespace.to_owned(), name: name.clone() };
            View::by_name(name).map(|view| Named::View(id, view, self.with_event))
        };
        let views = format!("{}views", self.prefix);
        let table = |namespace: &str| {
            let found = self.all.iter().find(|table| table.namespace == namespace && table.name == *name);
            found.map(|table| Named::Table(table.clone()))
        };
        let found = match namespace {
            Some(namespace) => {
                let namespace = match namespace.strip_prefix(ALIAS) {
                    Some(rest) => format!("{}{rest}", self.prefix),
                    None => namespace.clone(),
                };
                if namespace == views { view(&namespace) } else { table(&namespace) }
            }
            None => table(&format!("{}logs", self.prefix)).or_else(|| view(&views)),
        };
        found.ok_or_else(|| self.unknown(written, name))
    }

    fn unknown(&self, written: &str, name: &str) -> SearchError {
        let known: Vec<&str> =
            self.all.iter().map(|table| &*table.name).chain(View::ALL.iter().map(|view| view.name())).collect();
        let near = suggestion(name, known.iter().copied());
        let near = near.map(|near| {
            let table = self.all.iter().find(|table| table.name == near);
            let full = table.map_or_else(|| format!("{}views.{near}", self.prefix), ToString::to_string);
            format!("; did you mean `{full}`?")
        });
        let near = near.unwrap_or_else(|| "; SHOW TABLES lists those that there are".into());
        SearchError::new(format!("there is no table `{written}`{near}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::statement::parse;

    fn all() -> Vec<TableId> {
        ["AWS.CloudTrail", "Okta.SystemLog"].map(|log_type| TableId::of_logs("margay_", log_type)).to_vec()
    }

    fn resolved(sql: &str) -> Result<String, String> {
        let mut statement = parse(sql).unwrap().sql;
        let named = resolve(&mut statement, "margay_", &all()).map_err(|error| error.to_string())?;
        let names = named.iter().map(|(Named::Table(id) | Named::View(id, ..))| id.to_string());
        Ok(names.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn one_table_has_many_names() {
        for name in [
            "aws_cloudtrail",
            "AWS_CloudTrail",
            "margay_logs.aws_cloudtrail",
            "panther_logs.aws_cloudtrail",
            "panther_logs.public.aws_cloudtrail",
            "\"panther_logs\".\"aws_cloudtrail\"",
        ] {
            assert_eq!(resolved(&format!("SELECT 1 FROM {name} t")).unwrap(), "margay_logs.aws_cloudtrail", "{name}");
        }
        assert_eq!(resolved("SELECT 1 FROM all_logs").unwrap(), "margay_views.all_logs");
        assert_eq!(
            resolved("SELECT (SELECT max(a) FROM okta_systemlog) FROM panther_logs.aws_cloudtrail").unwrap(),
            "margay_logs.aws_cloudtrail margay_logs.okta_systemlog"
        );
    }

    #[test]
    fn what_the_statement_defines_is_its_own() {
        assert_eq!(
            resolved("WITH okta_systemlog AS (SELECT 1 FROM aws_cloudtrail) SELECT * FROM okta_systemlog").unwrap(),
            "margay_logs.aws_cloudtrail"
        );
    }

    #[test]
    fn unknown_tables_are_told_with_what_was_meant() {
        let error = resolved("SELECT 1 FROM aws_cloudtrial").unwrap_err();
        assert!(error.starts_with("line 1, column 15: ") && error.contains("`margay_logs.aws_cloudtrail`?"), "{error}");
        assert!(resolved("SELECT 1 FROM zzzzzzzz").unwrap_err().contains("SHOW TABLES"));
        assert!(resolved("SELECT 1 FROM snowflake.account_usage.query_history").unwrap_err().contains("Snowflake"));
    }
}
