//! Text -> one statement that reads. Pure.

use datafusion::sql::sqlparser::ast::{SetExpr, Statement, TableFactor, TableWithJoins};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::SearchError;

/// A statement that may be run.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) sql: Statement,
    pub(super) question: Question,
}

#[derive(Debug, PartialEq)]
pub(super) enum Question {
    /// `SHOW TABLES`
    Tables,
    Query,
}

/// Deeper nesting is refused instead of running out of stack.
const DEEPEST: usize = 24;

pub(super) fn parse(sql: &str) -> Result<Parsed, SearchError> {
    let parser = Parser::new(&GenericDialect {}).with_recursion_limit(DEEPEST).try_with_sql(sql);
    let statements = parser.and_then(|mut parser| parser.parse_statements());
    let statements = statements.map_err(|error| {
        let text = error.to_string();
        SearchError(text.strip_prefix("sql parser error: ").unwrap_or(&text).to_owned())
    })?;
    let [statement] = <[Statement; 1]>::try_from(statements).map_err(|statements| match statements.len() {
        0 => SearchError("there is no statement to run".into()),
        n => SearchError(format!("there are {n} statements; write one query")),
    })?;
    let question = match &statement {
        Statement::ShowTables { .. } => Question::Tables,
        Statement::Query(query) if reads(&query.body) => Question::Query,
        Statement::Explain { statement, .. } if matches!(&**statement, Statement::Query(query) if reads(&query.body)) => {
            Question::Query
        }
        Statement::ExplainTable { .. } => Question::Query,
        other => return Err(refused(other)),
    };
    Ok(Parsed { sql: statement, question })
}

fn reads(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => select.into.is_none() && select.from.iter().all(is_named),
        SetExpr::Query(query) => reads(&query.body),
        SetExpr::SetOperation { left, right, .. } => reads(left) && reads(right),
        SetExpr::Values(_) => true,
        _ => false,
    }
}

/// No table function: some of them read files.
fn is_named(table: &TableWithJoins) -> bool {
    let named = |factor: &TableFactor| match factor {
        TableFactor::Table { args, .. } => args.is_none(),
        TableFactor::Function { .. } | TableFactor::TableFunction { .. } => false,
        _ => true,
    };
    named(&table.relation) && table.joins.iter().all(|join| named(&join.relation))
}

fn refused(statement: &Statement) -> SearchError {
    let text = statement.to_string();
    let word = text.split_whitespace().next().unwrap_or_default().to_uppercase();
    SearchError(format!(
        "`{word}` is not run here: a search only reads, with SELECT, WITH, EXPLAIN, SHOW TABLES or DESCRIBE, and without \
         table functions"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_taken() {
        for sql in [
            "SELECT 1",
            "select a from b where c = 'x';",
            "WITH x AS (SELECT 1) SELECT * FROM x UNION ALL SELECT 2",
            "EXPLAIN SELECT * FROM t",
            "SELECT a:b.c::string, d['e'] FROM t",
            "DESCRIBE t",
        ] {
            assert_eq!(parse(sql).unwrap().question, Question::Query, "{sql}");
        }
        assert_eq!(parse("SHOW TABLES").unwrap().question, Question::Tables);
    }

    #[test]
    fn whatever_could_change_something_is_refused() {
        for sql in [
            "DROP TABLE t",
            "INSERT INTO t VALUES (1)",
            "DELETE FROM t",
            "CREATE TABLE t AS SELECT 1",
            "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
            "COPY t TO 'x'",
            "SET a = 1",
            "SELECT * INTO x FROM t",
            "SELECT * FROM read_csv('/etc/passwd')",
            "EXPLAIN DELETE FROM t",
            "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
        ] {
            assert!(parse(sql).is_err(), "{sql}");
        }
    }

    #[test]
    fn errors_tell_the_place() {
        let error = parse("SELECT a FROM t WHERE\n  = 3").unwrap_err().to_string();
        assert!(error.contains("Line: 2"), "{error}");
        assert!(parse("SELECT 1; SELECT 2").unwrap_err().to_string().contains("2 statements"));
        assert!(parse(" ").is_err());
        let deep = format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000));
        assert!(parse(&deep).is_err());
    }
}
