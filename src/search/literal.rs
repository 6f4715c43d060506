//! What kind of value a literal of a query is. Pure.

use datafusion::sql::sqlparser::ast::{Expr, UnaryOperator, Value};

pub(super) enum Literal {
    Boolean,
    Whole,
    Number,
}

/// `None` of what is no literal, and of text.
pub(super) fn kind_of(expression: &Expr) -> Option<Literal> {
    match expression {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => kind_of(expr),
        Expr::Value(value) => match &value.value {
            Value::Boolean(_) => Some(Literal::Boolean),
            Value::Number(number, _) if number.parse::<i64>().is_ok() => Some(Literal::Whole),
            Value::Number(..) => Some(Literal::Number),
            _ => None,
        },
        _ => None,
    }
}
