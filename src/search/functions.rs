//! Functions and operators that public queries use and DataFusion has not, or has under another name or in another order,
//! written out in those that it has. Pure. What depends on the types of its arguments is done by [`super::variant`].

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments,
    Query, SetExpr, SetOperator, Statement, UnaryOperator, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::SearchError;
use super::variant::LIST;

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
        minus_is_except(&mut query.body);
        ControlFlow::Continue(())
    }

    /// From the inside out.
    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<SearchError> {
        let written = match &*expression {
            Expr::Function(function) => called(function),
            other => operator(other).map(Ok),
        };
        match written {
            None => ControlFlow::Continue(()),
            Some(Ok(written)) => {
                *expression = written;
                ControlFlow::Continue(())
            }
            Some(Err(error)) => ControlFlow::Break(error),
        }
    }
}

fn minus_is_except(body: &mut SetExpr) {
    if let SetExpr::SetOperation { op, left, right, .. } = body {
        if *op == SetOperator::Minus {
            *op = SetOperator::Except;
        }
        minus_is_except(left);
        minus_is_except(right);
    }
}

/// `None` for a function that stays.
fn called(function: &Function) -> Option<Result<Expr, SearchError>> {
    let name = function.name.to_string().to_lowercase();
    if let Some(aggregate) = aggregate(&name, function) {
        return Some(Ok(Expr::Function(aggregate)));
    }
    let arguments = arguments(function)?;
    let over = function.over.as_ref().map(|over| format!(" OVER {}", Over(over))).unwrap_or_default();
    let text = written(&name, &arguments)?;
    Some(
        text.and_then(|text| {
            if text.len() > 4 * super::statement::LONGEST {
                return Err(SearchError::new("the query becomes too long with this written out"));
            }
            parsed(&format!("{text}{over}")).ok_or_else(|| SearchError::new(format!("{name} can't be used so")))
        })
        .map_err(|error| error.about(&name)),
    )
}

/// A window after `OVER`, in its brackets.
struct Over<'a>(&'a datafusion::sql::sqlparser::ast::WindowType);

impl std::fmt::Display for Over<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use datafusion::sql::sqlparser::ast::WindowType;
        match self.0 {
            WindowType::WindowSpec(window) => write!(f, "({window})"),
            WindowType::NamedWindow(name) => write!(f, "{name}"),
        }
    }
}

/// Aggregates that differ in what they leave out: arrays are made of what is there.
fn aggregate(name: &str, function: &Function) -> Option<Function> {
    if !matches!(name, "array_agg" | "array_unique_agg") || function.filter.is_some() || function.over.is_some() {
        return None;
    }
    let mut made = function.clone();
    let FunctionArguments::List(list) = &mut made.args else { return None };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(value))] = &list.args[..] else { return None };
    let value = value.clone();
    if name == "array_unique_agg" {
        made.name = datafusion::sql::sqlparser::ast::ObjectName::from(vec!["array_agg".into()]);
        list.duplicate_treatment = Some(datafusion::sql::sqlparser::ast::DuplicateTreatment::Distinct);
    }
    let order = std::mem::take(&mut made.within_group);
    if !order.is_empty() {
        list.clauses.push(FunctionArgumentClause::OrderBy(order));
    }
    made.filter = Some(Box::new(Expr::IsNotNull(Box::new(value))));
    Some(made)
}

/// The text of what stands for a function; `None` for one that stays.
fn written(name: &str, arguments: &[Expr]) -> Option<Result<String, SearchError>> {
    let texts: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let text = conditional(name, &texts)
        .or_else(|| list(name, &texts))
        .or_else(|| text(name, &texts))
        .or_else(|| converted(name, &texts))
        .or_else(|| aggregated(name, &texts));
    match text {
        Some(text) => Some(Ok(text)),
        None => time(name, arguments, &texts),
    }
}

fn conditional(name: &str, arguments: &[&str]) -> Option<String> {
    Some(match (name, arguments) {
        ("iff" | "if", [condition, yes, no]) => format!("CASE WHEN {condition} THEN {yes} ELSE {no} END"),
        ("nvl2", [value, yes, no]) => format!("CASE WHEN {value} IS NOT NULL THEN {yes} ELSE {no} END"),
        ("ifnull", [value, other]) => format!("coalesce({value}, {other})"),
        ("zeroifnull", [value]) => format!("coalesce({value}, 0)"),
        ("div0", [value, by]) => format!("CASE WHEN {by} = 0 THEN 0 ELSE {value} / {by} END"),
        ("is_null_value", [value]) => format!("{value} IS NULL"),
        ("equal_null", [left, right]) => format!("{left} IS NOT DISTINCT FROM {right}"),
        _ => return None,
    })
}

fn list(name: &str, arguments: &[&str]) -> Option<String> {
    let list = |value: &str| format!("{LIST}({value})");
    let two = |function: &str, a: &str, b: &str| format!("{function}({}, {})", list(a), list(b));
    Some(match (name, arguments) {
        ("array_construct", values) => format!("make_array({})", values.join(", ")),
        ("array_construct_compact", values) => format!("array_compact(make_array({}))", values.join(", ")),
        // From 0 and without its end, where DataFusion counts from 1 and with it.
        ("array_slice", [value, from, to]) => format!("array_slice({}, {from} + 1, {to})", list(value)),
        ("array_intersection", [a, b]) => two("array_intersect", a, b),
        ("array_except", [a, b]) => two("array_except", a, b),
        ("arrays_overlap", [a, b]) => two("array_has_any", a, b),
        ("array_cat", [a, b]) => two("array_concat", a, b),
        ("array_to_string", [value, between]) => format!("array_to_string({}, {between})", list(value)),
        ("object_keys", [value]) => format!("json_object_keys({value})"),
        _ => return None,
    })
}

fn text(name: &str, arguments: &[&str]) -> Option<String> {
    Some(match (name, arguments) {
        ("len", [value]) => format!("length({value})"),
        ("charindex" | "position", [part, value]) => format!("strpos({value}, {part})"),
        ("startswith", [value, part]) => format!("starts_with({value}, {part})"),
        ("endswith", [value, part]) => format!("ends_with({value}, {part})"),
        ("split", [value, by]) => format!("string_to_array({value}, {by})"),
        ("rlike", [value, pattern]) => format!("regexp_like({value}, concat('^(?:', {pattern}, ')$'))"),
        ("regexp_replace", [value, pattern]) => format!("regexp_replace({value}, {pattern}, '', 'g')"),
        ("regexp_replace", [value, pattern, with]) => format!("regexp_replace({value}, {pattern}, {with}, 'g')"),
        ("regexp_substr", [value, pattern]) => matched(value, pattern, "''", "0"),
        ("regexp_substr", [value, pattern, "1", "1"]) => matched(value, pattern, "''", "0"),
        ("regexp_substr", [value, pattern, "1", "1", flags]) => {
            matched(value, pattern, flags, if flags.contains('e') { "1" } else { "0" })
        }
        ("regexp_substr", [value, pattern, "1", "1", flags, group]) => matched(value, pattern, flags, group),
        _ => return None,
    })
}

/// Of the groups of a pattern, where 0 is all of it.
fn matched(value: &str, pattern: &str, flags: &str, group: &str) -> String {
    let flags = flags.replace(['c', 'e'], "");
    let flags = if flags == "''" { String::new() } else { format!(", {flags}") };
    format!("array_element(regexp_match({value}, concat('(', {pattern}, ')'){flags}), {group} + 1)")
}

fn converted(name: &str, arguments: &[&str]) -> Option<String> {
    let [value] = arguments else { return None };
    Some(match name {
        // JSON is its text.
        "parse_json" | "to_json" | "to_variant" | "to_object" | "check_json" => format!("({value})"),
        "to_array" => format!("{LIST}({value})"),
        "to_varchar" | "to_char" | "as_varchar" | "as_char" => format!("CAST({value} AS VARCHAR)"),
        "to_number" | "to_decimal" | "to_numeric" | "to_double" => format!("CAST({value} AS DOUBLE)"),
        "try_to_number" | "try_to_decimal" | "try_to_numeric" | "try_to_double" => {
            format!("TRY_CAST({value} AS DOUBLE)")
        }
        "as_integer" => format!("TRY_CAST({value} AS BIGINT)"),
        "to_boolean" => format!("CAST({value} AS BOOLEAN)"),
        "try_to_boolean" => format!("TRY_CAST({value} AS BOOLEAN)"),
        "date" => format!("CAST({value} AS DATE)"),
        "try_to_date" => format!("TRY_CAST({value} AS DATE)"),
        "to_timestamp_ntz" | "to_timestamp_ltz" | "to_timestamp_tz" => format!("to_timestamp({value})"),
        "try_to_timestamp" | "try_to_timestamp_ntz" => format!("TRY_CAST({value} AS TIMESTAMP(6))"),
        _ => return None,
    })
}

fn aggregated(name: &str, arguments: &[&str]) -> Option<String> {
    Some(match (name, arguments) {
        ("count_if", [condition]) => format!("count(CASE WHEN {condition} THEN 1 END)"),
        ("any_value", [value]) => format!("first_value({value})"),
        ("max_by", [value, by]) => format!("first_value({value} ORDER BY {by} DESC NULLS LAST)"),
        ("min_by", [value, by]) => format!("first_value({value} ORDER BY {by} ASC NULLS LAST)"),
        ("approx_count_distinct", [value]) => format!("approx_distinct({value})"),
        ("listagg", [value]) => format!("string_agg({value}, '')"),
        ("listagg", [value, between]) => format!("string_agg({value}, {between})"),
        // With `table(generator(…))`, which is written out by `flatten`.
        ("seq1" | "seq2" | "seq4" | "seq8", _) => "(CAST(row_number() OVER () AS BIGINT) - 1)".into(),
        _ => return None,
    })
}

/// Units with their names and seconds; those of the calendar have none.
const UNITS: [(&str, &[&str], Option<i64>); 9] = [
    ("second", &["second", "seconds", "sec", "secs", "s"], Some(1)),
    ("minute", &["minute", "minutes", "min", "mins", "mi", "m"], Some(60)),
    ("hour", &["hour", "hours", "hr", "hrs", "hh", "h"], Some(3600)),
    ("day", &["day", "days", "dd", "d", "dayofmonth"], Some(86_400)),
    ("week", &["week", "weeks", "wk", "w"], Some(604_800)),
    ("month", &["month", "months", "mon", "mons", "mm"], None),
    ("quarter", &["quarter", "quarters", "qtr", "q"], None),
    ("year", &["year", "years", "yr", "yrs", "yyyy", "yy", "y"], None),
    ("millisecond", &["millisecond", "milliseconds", "ms", "msec"], None),
];

fn unit(expression: &Expr) -> Result<(&'static str, Option<i64>), SearchError> {
    let name = match expression {
        Expr::Identifier(name) => name.value.clone(),
        other => literal(other).unwrap_or_else(|| other.to_string()),
    };
    let known = UNITS.iter().find(|(_, names, _)| names.contains(&&*name.to_lowercase()));
    known.map(|(unit, _, seconds)| (*unit, *seconds)).ok_or_else(|| {
        SearchError::new(format!("`{name}` is no unit of time; there are second, minute, hour, day, week, month, year"))
            .about(&name)
    })
}

fn time(name: &str, arguments: &[Expr], texts: &[&str]) -> Option<Result<String, SearchError>> {
    let part = |part: &str| Some(Ok(format!("CAST(date_part('{part}', {}) AS BIGINT)", texts[0])));
    match (name, texts) {
        ("dateadd" | "timeadd" | "timestampadd" | "date_add", [_, count, at]) => {
            Some(unit(&arguments[0]).map(|unit| added(unit, &arguments[1], count, at)))
        }
        ("datediff" | "timediff" | "timestampdiff" | "date_diff", [_, from, to]) => {
            Some(unit(&arguments[0]).and_then(|(unit, seconds)| between(unit, seconds, from, to)))
        }
        ("time_slice", [at, count, _] | [at, count, _, _]) => {
            Some(unit(&arguments[2]).map(|(unit, _)| format!("date_bin(INTERVAL '{count} {unit}', {at})")))
        }
        ("dayofweek", [_]) => part("dow"),
        ("dayofweekiso", [_]) => Some(Ok(format!("((CAST(date_part('dow', {}) AS BIGINT) + 6) % 7 + 1)", texts[0]))),
        ("dayofyear", [_]) => part("doy"),
        ("week" | "weekofyear" | "weekiso", [_]) => part("week"),
        ("year" | "quarter" | "month" | "hour" | "minute" | "second", [_]) => part(name),
        ("day" | "dayofmonth", [_]) => part("day"),
        ("last_day", [at]) => {
            Some(Ok(format!("CAST(date_trunc('month', {at}) + INTERVAL '1 month' - INTERVAL '1 day' AS DATE)")))
        }
        _ => None,
    }
}

fn added((unit, seconds): (&str, Option<i64>), count: &Expr, text: &str, at: &str) -> String {
    let (unit, times) = if unit == "quarter" { ("month", 3) } else { (unit, 1) };
    // A number in the query becomes a constant, which the plan can prune by.
    match (whole(count), seconds) {
        (Some(count), _) => format!("({at} + INTERVAL '{} {unit}')", count.saturating_mul(times)),
        (None, Some(seconds)) => {
            format!("({at} + arrow_cast(CAST({text} AS BIGINT) * {seconds} * 1000000, 'Duration(Microsecond)'))")
        }
        (None, None) => format!("({at} + ({text}) * {times} * INTERVAL '1 {unit}')"),
    }
}

/// The number of borders of this unit between two times.
fn between(unit: &str, seconds: Option<i64>, from: &str, to: &str) -> Result<String, SearchError> {
    let months = |at: &str, months: i64| {
        format!("CAST(floor((date_part('year', {at}) * 12 + date_part('month', {at}) - 1) / {months}.0) AS BIGINT)")
    };
    let whole = |at: &str, seconds: i64| {
        format!("CAST(floor(date_part('epoch', date_trunc('{unit}', {at})) / {seconds}) AS BIGINT)")
    };
    Ok(match (unit, seconds) {
        (_, Some(seconds)) => format!("({} - {})", whole(to, seconds), whole(from, seconds)),
        ("month", _) => format!("({} - {})", months(to, 1), months(from, 1)),
        ("quarter", _) => format!("({} - {})", months(to, 3), months(from, 3)),
        ("year", _) => format!("({} - {})", months(to, 12), months(from, 12)),
        _ => return Err(SearchError::new(format!("`{unit}` is no unit that times are counted in"))),
    })
}

/// A whole number, written or with a sign.
fn whole(expression: &Expr) -> Option<i64> {
    match expression {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => whole(expr)?.checked_neg(),
        Expr::Nested(inner) => whole(inner),
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => number.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

fn literal(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// `None` for a function with anything but plain arguments.
fn arguments(function: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    if list.duplicate_treatment.is_some() || !list.clauses.is_empty() || function.filter.is_some() {
        return None;
    }
    let argument = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => Some(expression.clone()),
        _ => None,
    };
    list.args.iter().map(argument).collect()
}

fn operator(expression: &Expr) -> Option<Expr> {
    match expression {
        Expr::Like { negated, any: true, expr, pattern, escape_char } => any(*negated, pattern, |pattern| Expr::Like {
            negated: false,
            any: false,
            expr: expr.clone(),
            pattern: Box::new(pattern.clone()),
            escape_char: escape_char.clone(),
        }),
        Expr::ILike { negated, any: true, expr, pattern, escape_char } => {
            any(*negated, pattern, |pattern| Expr::ILike {
                negated: false,
                any: false,
                expr: expr.clone(),
                pattern: Box::new(pattern.clone()),
                escape_char: escape_char.clone(),
            })
        }
        Expr::RLike { negated, expr, pattern, .. } => {
            let not = if *negated { "NOT " } else { "" };
            parsed(&format!("{not}regexp_like({expr}, concat('^(?:', {pattern}, ')$'))"))
        }
        Expr::Cast { expr, data_type, .. } => {
            let name = data_type.to_string().to_lowercase();
            match (data_type, name.as_str()) {
                (_, "variant" | "object" | "array") => Some((**expr).clone()),
                (DataType::Custom(..), "number" | "decimal" | "numeric") => parsed(&format!("CAST({expr} AS DOUBLE)")),
                (_, "timestamp_ntz" | "timestamp_ltz" | "timestamp_tz" | "datetime") => {
                    parsed(&format!("CAST({expr} AS TIMESTAMP(6))"))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// One of the patterns.
fn any(negated: bool, patterns: &Expr, like: impl Fn(&Expr) -> Expr) -> Option<Expr> {
    let likes: Vec<Expr> = match patterns {
        Expr::Tuple(patterns) => patterns.iter().map(like).collect(),
        Expr::Nested(pattern) => vec![like(pattern)],
        pattern => vec![like(pattern)],
    };
    let any = Expr::Nested(Box::new(one_of(&likes)?));
    Some(if negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(any) } } else { any })
}

/// In pairs of pairs, so that many nest no deeper than a few.
fn one_of(conditions: &[Expr]) -> Option<Expr> {
    match conditions {
        [] => None,
        [one] => Some(one.clone()),
        many => {
            let (left, right) = many.split_at(many.len() / 2);
            let (left, right) = (Box::new(one_of(left)?), Box::new(one_of(right)?));
            Some(Expr::Nested(Box::new(Expr::BinaryOp { left, op: BinaryOperator::Or, right })))
        }
    }
}

/// The text is made here, of what was parsed before.
fn parsed(text: &str) -> Option<Expr> {
    let parser = Parser::new(&GenericDialect {}).try_with_sql(text);
    parser.and_then(|mut parser| parser.parse_expr()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::statement::parse;

    fn written_out(select: &str) -> Result<String, String> {
        let mut statement = parse(&format!("SELECT {select} FROM t")).unwrap().sql;
        write_out(&mut statement).map_err(|error| error.to_string())?;
        let text = statement.to_string();
        Ok(text.trim_start_matches("SELECT ").trim_end_matches(" FROM t").to_owned())
    }

    #[test]
    fn functions_are_said_in_other_words() {
        for (select, expected) in [
            ("iff(a > 1, 'x', iff(b, 1, 2))", "CASE WHEN a > 1 THEN 'x' ELSE CASE WHEN b THEN 1 ELSE 2 END END"),
            ("dateadd(minute, -10, t)", "(t + INTERVAL '-10 minute')"),
            ("DATEADD('day', n, t)", "(t + arrow_cast(CAST(n AS BIGINT) * 86400 * 1000000, 'Duration(Microsecond)'))"),
            ("count_if(a = 1)", "count(CASE WHEN a = 1 THEN 1 END)"),
            ("array_unique_agg(a)", "array_agg(DISTINCT a) FILTER (WHERE a IS NOT NULL)"),
            (
                "array_agg(DISTINCT a) WITHIN GROUP (ORDER BY a)",
                "array_agg(DISTINCT a ORDER BY a) FILTER (WHERE a IS NOT NULL)",
            ),
            ("array_slice(a, 0, 100)", "array_slice(margay_list(a), 0 + 1, 100)"),
            ("a LIKE ANY ('x%', 'y%', 'z')", "((a LIKE 'x%' OR (a LIKE 'y%' OR a LIKE 'z')))"),
            ("a NOT ILIKE ANY ('x%')", "NOT (a ILIKE 'x%')"),
            ("a::VARIANT", "a"),
            ("a RLIKE 'x.*'", "regexp_like(a, concat('^(?:', 'x.*', ')$'))"),
            ("regexp_substr(a, '\\\\d+')", "array_element(regexp_match(a, concat('(', '\\d+', ')')), 0 + 1)"),
            ("time_slice(t, 60, 'minute')", "date_bin(INTERVAL '60 minute', t)"),
            ("count_if(a) OVER (PARTITION BY b)", "count(CASE WHEN a THEN 1 END) OVER (PARTITION BY b)"),
            ("max_by(a, b)", "first_value(a ORDER BY b DESC NULLS LAST)"),
            ("other(a, b)", "other(a, b)"),
        ] {
            assert_eq!(written_out(select).unwrap(), expected, "{select}");
        }
        let error = written_out("dateadd(fortnight, 1, t)").unwrap_err();
        assert!(error.contains("`fortnight` is no unit of time"), "{error}");
    }

    #[test]
    fn minus_is_except() {
        let mut statement = parse("SELECT a FROM t MINUS SELECT a FROM u").unwrap().sql;
        write_out(&mut statement).unwrap();
        assert_eq!(statement.to_string(), "SELECT a FROM t EXCEPT SELECT a FROM u");
    }
}
