//! Text -> one statement that reads. Pure.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{SetExpr, Statement, TableFactor, Visit, Visitor};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, TokenWithSpan, Tokenizer, TokenizerError};

use super::dialect::LakeDialect;
use super::{SearchError, bounds, flatten, macros};

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

/// Longer ones are written by programs, and say less by it.
pub(super) const LONGEST: usize = 64 * 1024;

/// The words and signs of a query with their places.
pub(super) fn tokens(sql: &str) -> Result<Vec<TokenWithSpan>, SearchError> {
    let tokens = Tokenizer::new(&LakeDialect, sql).tokenize_with_location();
    tokens.map_err(|TokenizerError { message, location }| SearchError::new(message).at(location))
}

pub(super) fn parse(sql: &str) -> Result<Parsed, SearchError> {
    if sql.len() > LONGEST {
        return Err(SearchError::new(format!("the query has more than {} KiB", LONGEST / 1024)));
    }
    if sql.contains("{%") || sql.contains("{{") {
        let text = "the query is a template (`{%`, `{{`), which is not filled in here; write the query out";
        return Err(SearchError::new(text));
    }
    let tokens = tokens(sql)?;
    bounds::check_tokens(&tokens)?;
    let tokens = macros::arguments_as_sql(tokens);
    let mut parser = Parser::new(&LakeDialect).with_recursion_limit(DEEPEST).with_tokens_with_locations(tokens);
    let statements = parser.parse_statements().map_err(|error| unparsable(error, sql))?;
    let [statement] = <[Statement; 1]>::try_from(statements).map_err(|statements| match statements.len() {
        0 => SearchError::new("there is no statement to run"),
        n => SearchError::new(format!("there are {n} statements; write one query")),
    })?;
    let question = match &statement {
        Statement::ShowTables { .. } => Question::Tables,
        Statement::Query(query) => reads(&query.body).then_some(Question::Query).ok_or_else(|| refused(&statement))?,
        Statement::Explain { statement: inner, .. } => match &**inner {
            Statement::Query(query) if reads(&query.body) => Question::Query,
            _ => return Err(refused(&statement)),
        },
        Statement::ExplainTable { .. } => Question::Query,
        other => return Err(refused(other)),
    };
    if statement.visit(&mut TableFunctions).is_break() {
        return Err(refused(&statement));
    }
    bounds::check_sizes(&statement)?;
    Ok(Parsed { sql: statement, question })
}

/// The parser writes the place at the end of its sentence, and none for the end of the text.
fn unparsable(error: ParserError, sql: &str) -> SearchError {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
        ParserError::RecursionLimitExceeded => return SearchError::new("the query is nested too deeply"),
    };
    let Some((message, place)) = text.rsplit_once(" at Line: ") else {
        let lines = sql.trim_end().lines();
        let last = lines.clone().last().unwrap_or_default().chars().count();
        return SearchError::new(text).at(Location::new(lines.count() as u64, last as u64 + 1));
    };
    let mut numbers = place.split(", Column: ").map(|number| number.trim().parse().unwrap_or(0));
    let (line, column) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    SearchError::new(message).at(Location::new(line, column))
}

fn reads(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => select.into.is_none(),
        SetExpr::Query(query) => reads(&query.body),
        SetExpr::SetOperation { left, right, .. } => reads(left) && reads(right),
        SetExpr::Values(_) => true,
        _ => false,
    }
}

/// Looks for table functions, anywhere: some of them read files. Those that are written out here do not.
struct TableFunctions;

impl Visitor for TableFunctions {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let is_named = match factor {
            TableFactor::Table { args, .. } => args.is_none(),
            TableFactor::Function { .. } | TableFactor::TableFunction { .. } => flatten::is_known(factor),
            _ => true,
        };
        if is_named { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

fn refused(statement: &Statement) -> SearchError {
    let text = statement.to_string();
    let word = text.split_whitespace().next().unwrap_or_default().to_uppercase();
    SearchError::new(format!(
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
            "SELECT 1 WHERE 1 IN (SELECT a FROM (SELECT * FROM t, read_csv('/etc/passwd')))",
            "SELECT * FROM TABLE(read_csv('/etc/passwd'))",
            "EXPLAIN DELETE FROM t",
            "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
        ] {
            assert!(parse(sql).is_err(), "{sql}");
        }
    }

    #[test]
    fn errors_tell_the_place() {
        let error = parse("SELECT a FROM t WHERE\n  = 3").unwrap_err().to_string();
        assert!(error.starts_with("line 2, column 3: "), "{error}");
        let error = parse("SELECT a\nFROM").unwrap_err().to_string();
        assert_eq!(error, "line 2, column 5: Expected: identifier, found: EOF");
        assert!(parse("SELECT 1; SELECT 2").unwrap_err().to_string().contains("2 statements"));
        assert!(parse(" ").is_err());
        let deep = format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000));
        assert!(parse(&deep).is_err());
    }
}
