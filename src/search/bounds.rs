//! What a query may ask for before it is planned: expressions that recursion can walk, and functions whose results are no
//! larger than a batch of them can be held. Neither is bounded by the limits of a running query: a stack that overflows and
//! an allocation that fails end the process. Pure.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Statement, UnaryOperator, Value, Visit, Visitor,
};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::SearchError;

/// Operators of a query: a chain of them makes a tree as deep as it is long.
const MOST_OPERATORS: usize = 128;

/// Elements of a list, characters of a text: for each row of a batch, of which there are some thousands.
const MOST_SIZE: i64 = 1000;

/// Functions whose result is as large as an argument says, and where that stands; `None`: anywhere.
const SIZED: [(&str, Option<usize>); 11] = [
    ("array_generate_range", None),
    ("array_repeat", Some(1)),
    ("array_resize", Some(1)),
    ("generate_series", None),
    ("list_repeat", Some(1)),
    ("list_resize", Some(1)),
    ("lpad", Some(1)),
    ("range", None),
    ("repeat", Some(1)),
    ("rpad", Some(1)),
    ("space", Some(0)),
];

pub(super) fn check_tokens(tokens: &[TokenWithSpan]) -> Result<(), SearchError> {
    let operators = tokens.iter().filter(|token| is_operator(&token.token)).count();
    if operators <= MOST_OPERATORS {
        return Ok(());
    }
    let text = format!("the query has more than {MOST_OPERATORS} operators; write long lists as `IN (…)`");
    Err(SearchError::new(text))
}

fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => {
            let text = word.value.to_lowercase();
            word.quote_style.is_none() && ["and", "or", "like", "ilike", "rlike", "div"].contains(&&*text)
        }
        Token::Plus | Token::Minus | Token::Mul | Token::Div | Token::Mod | Token::StringConcat => true,
        Token::Ampersand | Token::Pipe | Token::Caret => true,
        _ => false,
    }
}

/// Refuses sized functions whose size is not written down, is too large, or multiplies with that of another.
pub(super) fn check_sizes(statement: &Statement) -> Result<(), SearchError> {
    match statement.visit(&mut Sizes) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Sizes;

impl Visitor for Sizes {
    type Break = SearchError;

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<SearchError> {
        let Expr::Function(function) = expression else { return ControlFlow::Continue(()) };
        let Some((name, place)) = sized(function) else { return ControlFlow::Continue(()) };
        let arguments = arguments(function);
        let is_size = |at: usize| place.is_none_or(|place| place == at);
        let sizes = arguments.iter().enumerate().filter(|(at, _)| is_size(*at));
        let is_bounded = sizes.clone().all(|(_, size)| number(size).is_some_and(|size| size.abs() <= MOST_SIZE));
        if !is_bounded || arguments.iter().any(|argument| argument.visit(&mut Nested).is_break()) {
            let text =
                format!("{name} needs a size that is written as a number, {MOST_SIZE} at the most, and no other");
            return ControlFlow::Break(SearchError::new(text).about(name));
        }
        ControlFlow::Continue(())
    }
}

/// Looks for a sized function.
struct Nested;

impl Visitor for Nested {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        match expression {
            Expr::Function(function) if sized(function).is_some() => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn sized(function: &Function) -> Option<(&'static str, Option<usize>)> {
    let name = function.name.to_string().to_lowercase();
    SIZED.into_iter().find(|(sized, _)| name == *sized)
}

fn arguments(function: &Function) -> Vec<&Expr> {
    let FunctionArguments::List(list) = &function.args else { return Vec::new() };
    list.args.iter().filter_map(expression).collect()
}

fn expression(argument: &FunctionArg) -> Option<&Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => Some(expression),
        FunctionArg::Named { arg: FunctionArgExpr::Expr(expression), .. } => Some(expression),
        _ => None,
    }
}

fn number(expression: &Expr) -> Option<i64> {
    match expression {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => number(expr).map(|number| -number),
        Expr::Nested(inner) => number(inner),
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => number.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::search::statement::parse;

    fn refused(sql: &str) -> Option<String> {
        parse(sql).err().map(|error| error.to_string())
    }

    #[test]
    fn results_without_a_bound_are_refused() {
        for sql in [
            "SELECT range(0, 10000000000000)",
            "SELECT repeat('x', 2000000000 - a) FROM t",
            "SELECT lpad(a, b) FROM t",
            "SELECT repeat(repeat('x', 1000), 1000)",
            "SELECT array_repeat(1, 1001)",
            "SELECT generate_series(1, a) FROM t",
        ] {
            let refused = refused(sql).unwrap_or_else(|| panic!("{sql} is taken"));
            assert!(refused.contains("needs a size"), "{sql}: {refused}");
        }
        for sql in ["SELECT lpad(a, 10, '0') FROM t", "SELECT range(0, 24)", "SELECT repeat('-', 80)"] {
            assert_eq!(refused(sql), None, "{sql}");
        }
    }

    #[test]
    fn chains_that_no_stack_holds_are_refused() {
        let chain = |terms: usize| format!("SELECT 1 FROM t WHERE a = 0{}", " OR a = 1".repeat(terms));
        // As deep a stack as whoever parses has.
        let thread = std::thread::Builder::new().stack_size(64 * 1024 * 1024);
        let taken = thread.spawn(move || refused(&chain(120))).unwrap().join().unwrap();
        assert_eq!(taken, None);
        let chain = format!("SELECT 1 FROM t WHERE a = 0{}", " OR a = 1".repeat(200));
        assert!(refused(&chain).unwrap().contains("IN (…)"));
        assert!(refused(&format!("SELECT 1{}", "+1".repeat(30_000))).unwrap().contains("operators"));
    }
}
