//! The time macros of saved queries, written out as comparisons of `p_event_time` before the query is planned. Pure.
//!
//! | macro | rows |
//! |---|---|
//! | `p_occurs_between(start, end)` | from start to end, both included |
//! | `p_occurs_since('2 hours')` | of the last two hours; a number is seconds |
//! | `p_occurs_after(time)`, `p_occurs_before(time)` | later, earlier |
//! | `p_occurs_on('2026-01-31')` | of that day in UTC |
//! | `p_occurs_around(time, '10 m')` | within ten minutes of it |
//!
//! Each takes the alias of a table and another column of time after these, and either may be left empty:
//! `p_occurs_since(1d, , end_time)`. `p_current_timestamp()`, and every other way to ask for the time, is the time that all
//! of them count from: so a query that runs late, or again, has the same answer.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Spanned, Statement, Value, visit_expressions_mut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime, PrimitiveDateTime};

use super::SearchError;
use crate::logtype::schema::suggestion;

/// The macros with the number of arguments that they need.
const MACROS: [(&str, usize); 6] = [
    ("p_occurs_between", 2),
    ("p_occurs_since", 1),
    ("p_occurs_after", 1),
    ("p_occurs_before", 1),
    ("p_occurs_on", 1),
    ("p_occurs_around", 2),
];

/// Ways to ask for the time.
const NOW: [&str; 7] =
    ["p_current_timestamp", "current_timestamp", "localtimestamp", "now", "sysdate", "systimestamp", "getdate"];

/// What begins a macro.
const MACRO: &str = "p_occurs_";

/// Arguments of macros as people write them and SQL does not know them: `1h`, `1 hour`, and none between two commas.
pub(super) fn arguments_as_sql(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut written = Vec::with_capacity(tokens.len());
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let is_macro = match &token.token {
            Token::Word(word) => word.value.to_lowercase().starts_with(MACRO),
            _ => false,
        };
        written.push(token);
        if !is_macro || tokens.peek().is_none_or(|next| next.token != Token::LParen) {
            continue;
        }
        written.extend(tokens.next());
        let (mut argument, mut depth, mut count) = (Vec::new(), 0_usize, 0);
        for token in tokens.by_ref() {
            match token.token {
                Token::LParen => depth += 1,
                Token::RParen if depth > 0 => depth -= 1,
                Token::RParen => {
                    written.extend(argument_as_sql(std::mem::take(&mut argument), count > 0, &token));
                    written.push(token);
                    break;
                }
                Token::Comma if depth == 0 => {
                    written.extend(argument_as_sql(std::mem::take(&mut argument), true, &token));
                    written.push(token);
                    count += 1;
                    continue;
                }
                _ => {}
            }
            argument.push(token);
        }
        // Without an end, which the parser tells.
        written.append(&mut argument);
    }
    written
}

fn argument_as_sql(argument: Vec<TokenWithSpan>, is_wanted: bool, end: &TokenWithSpan) -> Vec<TokenWithSpan> {
    let said: Vec<&TokenWithSpan> =
        argument.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).collect();
    match &said[..] {
        [] if is_wanted => vec![TokenWithSpan::new(Token::make_keyword("NULL"), end.span)],
        [number, unit] => match (&number.token, &unit.token) {
            (Token::Number(number_text, _), Token::Word(word)) => {
                let text = format!("{number_text} {}", word.value);
                vec![TokenWithSpan::new(Token::SingleQuotedString(text), number.span)]
            }
            _ => argument,
        },
        _ => argument,
    }
}

/// What macros count from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: OffsetDateTime,
    /// Ranges of time that begin somewhere begin so much earlier.
    pub(super) lookback: Duration,
}

/// Replaces the macros.
pub(super) fn expand(statement: &mut Statement, moment: Moment) -> Result<(), SearchError> {
    let now = moment.now;
    let replaced = visit_expressions_mut(statement, |expression| {
        let Expr::Function(function) = expression else { return ControlFlow::Continue(()) };
        let name = function.name.to_string().to_lowercase();
        let written = match MACROS.iter().find(|(known, _)| *known == name) {
            Some((_, needs)) => written_out(&name, *needs, function, moment),
            None if NOW.contains(&&*name) => parsed(&timestamp(now)),
            None if name == "current_date" => parsed(&format!("CAST('{}' AS DATE)", now.date())),
            None if name.starts_with(MACRO) => {
                let near = suggestion(&name, MACROS.iter().map(|(known, _)| *known));
                Err(format!("there is no such macro; did you mean `{}`?", near.unwrap_or("p_occurs_since")))
            }
            None => return ControlFlow::Continue(()),
        };
        match written {
            Ok(written) => {
                *expression = written;
                ControlFlow::Continue(())
            }
            Err(error) => {
                ControlFlow::Break(SearchError::new(format!("{name}: {error}")).at(function.name.span().start))
            }
        }
    });
    match replaced {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

fn written_out(name: &str, needs: usize, function: &Function, counted: Moment) -> Result<Expr, String> {
    let Moment { now, lookback } = counted;
    let earlier = match lookback.whole_microseconds() {
        0 => String::new(),
        _ => format!(" - INTERVAL '{} seconds'", lookback.whole_seconds()),
    };
    let arguments = arguments(function)?;
    if !(needs..=needs + 2).contains(&arguments.len()) {
        return Err(format!("it takes {needs} to {} arguments and has {}", needs + 2, arguments.len()));
    }
    let named = |at: usize| arguments.get(needs + at).map(name_of).transpose().map(Option::flatten);
    let (alias, column) = (named(0)?, named(1)?);
    let column = column.unwrap_or_else(|| "p_event_time".to_owned());
    let column = alias.map_or(column.clone(), |alias| format!("{alias}.{column}"));
    let text = match name {
        "p_occurs_between" => {
            format!("({column} >= {}{earlier} AND {column} <= {})", time(&arguments[0])?, time(&arguments[1])?)
        }
        "p_occurs_since" => {
            let since = now.checked_sub(offset(&arguments[0])?).and_then(|since| since.checked_sub(lookback));
            let since = since.ok_or("the time is out of range")?;
            format!("({column} >= {})", timestamp(since))
        }
        "p_occurs_after" => format!("({column} > {}{earlier})", time(&arguments[0])?),
        "p_occurs_before" => format!("({column} < {})", time(&arguments[0])?),
        "p_occurs_on" => {
            let day = literal(&arguments[0]).and_then(|text| moment(&text)).ok_or("write the day as '2026-01-31'")?;
            let day = day.date().midnight().assume_utc();
            let next = day.checked_add(Duration::DAY).ok_or("the time is out of range")?;
            format!("({column} >= {} AND {column} < {})", timestamp(day), timestamp(next))
        }
        _ => {
            let at = literal(&arguments[0]).and_then(|text| moment(&text)).ok_or(TIME)?;
            let offset = offset(&arguments[1])?;
            let (from, to) = (at.checked_sub(offset), at.checked_add(offset));
            let (from, to) = (from.ok_or("the time is out of range")?, to.ok_or("the time is out of range")?);
            format!("({column} >= {} AND {column} <= {})", timestamp(from), timestamp(to))
        }
    };
    parsed(&text)
}

/// The text is made here.
fn parsed(text: &str) -> Result<Expr, String> {
    let parser = Parser::new(&GenericDialect {}).try_with_sql(text);
    parser.and_then(|mut parser| parser.parse_expr()).map_err(|error| error.to_string())
}

fn arguments(function: &Function) -> Result<Vec<Expr>, String> {
    let FunctionArguments::List(list) = &function.args else { return Ok(Vec::new()) };
    let argument = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => Ok(expression.clone()),
        other => Err(format!("`{other}` is no argument that it takes")),
    };
    list.args.iter().map(argument).collect()
}

/// An identifier or a string; none for NULL, which stands where nothing was written.
fn name_of(alias: &Expr) -> Result<Option<String>, String> {
    match alias {
        Expr::Identifier(name) => Ok(Some(name.to_string())),
        Expr::Value(value) if value.value == Value::Null => Ok(None),
        other => match literal(other) {
            // As it is written in a query: whatever else it holds would be SQL.
            Some(name) => Ok(Some(format!("\"{}\"", name.replace('"', "\"\"")))),
            None => Err(format!("`{other}` is not the alias of a table")),
        },
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

const TIME: &str = "write a time as '2026-01-31', '2026-01-31 12:00:00' or '2026-01-31T12:00:00Z'; UTC is assumed";

/// A text that is a time, or any expression that gives one.
fn time(expression: &Expr) -> Result<String, String> {
    match literal(expression) {
        Some(text) => moment(&text).map(timestamp).ok_or_else(|| format!("'{text}' is no time; {TIME}")),
        None => Ok(expression.to_string()),
    }
}

/// As SQL, in the precision of the tables.
fn timestamp(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    let text = at.format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]"));
    format!("CAST('{}' AS TIMESTAMP(6))", text.expect("every component is present in a date with time"))
}

pub(super) fn moment(text: &str) -> Option<OffsetDateTime> {
    let text = text.trim();
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        return Some(at);
    }
    let text = text.replacen('T', " ", 1);
    if let Ok(day) = Date::parse(&text, format_description!("[year]-[month]-[day]")) {
        return Some(day.midnight().assume_utc());
    }
    let second = format_description!(
        version = 2,
        "[year]-[month]-[day] [hour]:[minute][optional [:[second][optional [.[subsecond]]]]]"
    );
    PrimitiveDateTime::parse(text.trim_end_matches('Z').trim_end(), second).ok().map(PrimitiveDateTime::assume_utc)
}

/// `3600`, `'2 hours'`, `'10d'`.
fn offset(expression: &Expr) -> Result<Duration, String> {
    let text = match expression {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => number.clone(),
            _ => literal(expression).unwrap_or_default(),
        },
        _ => String::new(),
    };
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let seconds = match text[digits..].trim().to_lowercase().as_str() {
        "" | "s" | "sec" | "second" | "seconds" => 1,
        "m" | "min" | "minute" | "minutes" => 60,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3600,
        "d" | "day" | "days" => 86_400,
        "w" | "wk" | "week" | "weeks" => 604_800,
        unit => {
            return Err(format!(
                "`{unit}` in `{expression}` is no unit at character {}; write a number and s, m, h, d or w",
                digits + 1
            ));
        }
    };
    let count: i64 = text[..digits].parse().map_err(|_| format!("`{expression}` is no length of time"))?;
    count.checked_mul(seconds).map(Duration::seconds).ok_or_else(|| format!("`{expression}` is too long"))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::search::statement::parse;

    fn expanded(condition: &str) -> Result<String, String> {
        expanded_back(condition, Duration::ZERO)
    }

    fn expanded_back(condition: &str, lookback: Duration) -> Result<String, String> {
        let mut statement = parse(&format!("SELECT 1 FROM t WHERE {condition}")).unwrap().sql;
        let moment = Moment { now: datetime!(2026-01-31 12:00 UTC), lookback };
        expand(&mut statement, moment).map_err(|error| error.to_string())?;
        Ok(statement.to_string().trim_start_matches("SELECT 1 FROM t WHERE ").to_owned())
    }

    #[test]
    fn ranges_that_begin_somewhere_begin_earlier_by_what_is_looked_back() {
        for (condition, expected) in [
            ("p_occurs_since('2 hours')", "(p_event_time >= CAST('2026-01-31T09:00:00.000000' AS TIMESTAMP(6)))"),
            ("p_occurs_before(x)", "(p_event_time < x)"),
            ("p_occurs_after(x)", "(p_event_time > x - INTERVAL '3600 seconds')"),
            ("p_occurs_between(x, y)", "(p_event_time >= x - INTERVAL '3600 seconds' AND p_event_time <= y)"),
        ] {
            assert_eq!(expanded_back(condition, Duration::HOUR).unwrap(), expected);
        }
    }

    #[test]
    fn every_macro_becomes_a_range_of_the_event_time() {
        let at = |text: &str| format!("CAST('{text}.000000' AS TIMESTAMP(6))");
        for (condition, expected) in [
            (
                "p_occurs_between('2026-01-01', '2026-01-02T03:04:05Z')",
                format!(
                    "(p_event_time >= {} AND p_event_time <= {})",
                    at("2026-01-01T00:00:00"),
                    at("2026-01-02T03:04:05")
                ),
            ),
            ("P_OCCURS_SINCE('2 hours')", format!("(p_event_time >= {})", at("2026-01-31T10:00:00"))),
            ("p_occurs_since(60, t)", format!("(t.p_event_time >= {})", at("2026-01-31T11:59:00"))),
            ("p_occurs_since('10d', 't')", format!("(\"t\".p_event_time >= {})", at("2026-01-21T12:00:00"))),
            ("p_occurs_after('2026-01-01 10:20')", format!("(p_event_time > {})", at("2026-01-01T10:20:00"))),
            ("p_occurs_since(1 h, , end_time)", format!("(end_time >= {})", at("2026-01-31T11:00:00"))),
            ("p_occurs_since(90m, t, at)", format!("(t.at >= {})", at("2026-01-31T10:30:00"))),
            ("p_occurs_before(now())", format!("(p_event_time < {})", at("2026-01-31T12:00:00"))),
            ("p_occurs_between(a.b, least(c, d))", "(p_event_time >= a.b AND p_event_time <= least(c, d))".to_owned()),
            (
                "p_occurs_on('2026-01-31')",
                format!(
                    "(p_event_time >= {} AND p_event_time < {})",
                    at("2026-01-31T00:00:00"),
                    at("2026-02-01T00:00:00")
                ),
            ),
            (
                "p_occurs_around('2026-01-31T00:10:00+00:00', '10 min')",
                format!(
                    "(p_event_time >= {} AND p_event_time <= {})",
                    at("2026-01-31T00:00:00"),
                    at("2026-01-31T00:20:00")
                ),
            ),
        ] {
            assert_eq!(expanded(condition).unwrap(), expected, "{condition}");
        }
        assert_eq!(expanded("p_current_timestamp() > x").unwrap(), format!("{} > x", at("2026-01-31T12:00:00")));
        assert!(expanded("a = 1 AND (p_occurs_since('1 w') OR b)").unwrap().contains("2026-01-24"));
    }

    #[test]
    fn mistakes_are_told() {
        for (condition, part) in [
            ("p_occurs_since('2 fortnights')", "no unit at character 2"),
            ("p_occurs_since()", "1 to 3 arguments"),
            (
                "p_occurs_sinc(1)",
                "line 1, column 23: p_occurs_sinc: there is no such macro; did you mean `p_occurs_since`?",
            ),
            ("p_occurs_between('yesterday', '2026-01-01')", "'yesterday' is no time"),
            ("p_occurs_on(1)", "write the day"),
            ("p_occurs_since('99999999999999999999 d')", "no length of time"),
        ] {
            let error = expanded(condition).unwrap_err();
            assert!(error.contains(part), "{condition}: {error}");
        }
    }
}
