//! Steps into a value, `a.b[0]['c']`, as people write them and as functions. Pure.

use datafusion::sql::sqlparser::ast::{AccessExpr, Expr, JsonPathElem, Subscript, Value};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::variant::PATH;

/// One step into a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Key(String),
    Index(String),
}

impl Step {
    pub(super) fn as_sql(&self) -> String {
        match self {
            Step::Key(key) => literal(key),
            Step::Index(index) => index.clone(),
        }
    }
}

/// Steps into something that is no column of a table: of a type that only the plan knows.
pub(super) fn steps(expression: &Expr) -> Option<(&Expr, Vec<Step>)> {
    match expression {
        Expr::JsonAccess { value, path } => {
            let inner: Option<Vec<Step>> = path.path.iter().map(element_step).collect();
            let (root, mut steps) = steps(value).unwrap_or((value, Vec::new()));
            steps.extend(inner?);
            Some((root, steps))
        }
        Expr::CompoundFieldAccess { root, access_chain } => {
            let inner: Option<Vec<Step>> = access_chain.iter().map(accessed).collect();
            let (root, mut steps) = steps(root).unwrap_or((root, Vec::new()));
            steps.extend(inner?);
            Some((root, steps))
        }
        _ => None,
    }
}

pub(super) fn steps_into(expression: &Expr) -> Option<Expr> {
    let (root, path) = steps(expression)?;
    into(&root.to_string(), &path)
}

pub(super) fn into(root: &str, path: &[Step]) -> Option<Expr> {
    let keys: Vec<String> = path.iter().map(Step::as_sql).collect();
    parsed(&format!("{PATH}({root}, {})", keys.join(", ")))
}

pub(super) fn accessed(access: &AccessExpr) -> Option<Step> {
    match access {
        AccessExpr::Dot(Expr::Identifier(name)) => Some(Step::Key(name.value.clone())),
        AccessExpr::Subscript(Subscript::Index { index }) => step(index),
        _ => None,
    }
}

pub(super) fn element_step(element: &JsonPathElem) -> Option<Step> {
    match element {
        JsonPathElem::Dot { key, .. } => Some(Step::Key(key.clone())),
        JsonPathElem::Bracket { key } => step(key),
    }
}

pub(super) fn step(expression: &Expr) -> Option<Step> {
    let Expr::Value(value) = expression else { return None };
    match &value.value {
        Value::SingleQuotedString(key) | Value::DoubleQuotedString(key) => Some(Step::Key(key.clone())),
        Value::Number(index, _) => Some(Step::Index(index.clone())),
        _ => None,
    }
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The text is made here, of names that were parsed before.
pub(super) fn parsed(text: &str) -> Option<Expr> {
    let parser = Parser::new(&GenericDialect {}).try_with_sql(text);
    parser.and_then(|mut parser| parser.parse_expr()).ok()
}
