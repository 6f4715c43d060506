//! The tables that the saved queries of the content read, and which of their names nobody knows. Pure.
//!
//! Only as much of SQL is understood as names of tables need: comments, texts and quoted names, the parentheses of queries
//! and those of other things, and the names that a `WITH` gives. What is not understood names no table.

use std::collections::BTreeSet;

use crate::detect::content::{Problem, Query};

/// Names that queries may use. In a pattern `*` stands for any characters; case does not matter.
#[derive(Clone, Debug, Default)]
pub struct TableNames(pub Vec<String>);

/// What is there wherever Panther's queries run: each log type's table, the views over them, and the warehouse's own records.
const ALWAYS: [&str; 2] = ["*.public.*", "snowflake.account_usage.*"];

impl TableNames {
    /// One problem for each query that reads a table which is not known.
    pub(super) fn problems(&self, queries: &[Query]) -> Vec<Problem> {
        let problem = |query: &Query| {
            let sql = query.spec.with_our_tables().unwrap_or_default();
            let unknown: Vec<String> = tables(sql).into_iter().filter(|name| !self.knows(name)).collect();
            let names = unknown.join(", ");
            let said = format!(
                "no table is known as {names}; write `panther_logs.public.NAME`, or name it with `--valid-table-names`"
            );
            let item = Some(query.spec.query_name.clone());
            (!unknown.is_empty()).then(|| Problem { file: query.origin.clone(), line: None, item, message: said })
        };
        queries.iter().filter_map(problem).collect()
    }

    fn knows(&self, name: &str) -> bool {
        let own = self.0.iter().map(String::as_str);
        // Three parts where two of the pattern are open: no `*` of these takes a dot too many.
        ALWAYS.into_iter().any(|pattern| name.split('.').count() == 3 && is_like(pattern, name))
            || own.into_iter().any(|pattern| is_like(&pattern.to_lowercase(), name))
    }
}

/// Whether a pattern fits the whole of a text.
fn is_like(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(start) else { return false };
    // Between two stars the first place that fits is as good as any other.
    let (middle, end) = rest.rsplit_once('*').map_or((None, rest), |(middle, end)| (Some(middle), end));
    let Some(mut text) = text.strip_suffix(end) else { return false };
    for part in middle.into_iter().flat_map(|middle| middle.split('*')) {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    true
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// In small letters.
    Word(String),
    Sign(char),
}

/// Names of tables in small letters, without those that the query itself makes.
fn tables(sql: &str) -> BTreeSet<String> {
    // A template becomes a query only when it is filled in.
    if sql.contains("{{") || sql.contains("{%") {
        return BTreeSet::new();
    }
    let tokens = tokens(sql);
    let word = |at: usize| match tokens.get(at) {
        Some(Token::Word(word)) => Some(word.as_str()),
        _ => None,
    };
    let sign = |at: usize, wanted: char| tokens.get(at) == Some(&Token::Sign(wanted));
    let (mut found, mut made) = (BTreeSet::new(), BTreeSet::new());
    // Of each open parenthesis whether a query is in it, and whether that is in its list of tables.
    let mut open = vec![(true, false)];
    let mut at = 0;
    while at < tokens.len() {
        let (is_query, in_tables) = *open.last().unwrap_or(&(true, false));
        match &tokens[at] {
            Token::Sign('(') => {
                let query = matches!(word(at + 1), Some("select" | "with"));
                // `FROM (a JOIN b)`
                let nested = !query && in_tables && is_query && is_table_place(&tokens, at);
                open.push((query || nested, nested));
            }
            Token::Sign(')') if open.len() > 1 => drop(open.pop()),
            Token::Word(name) if word(at + 1) == Some("as") && sign(at + 2, '(') && word(at + 3).is_some() => {
                made.insert(name.clone());
            }
            Token::Word(first) if in_tables && is_query && is_table_place(&tokens, at) && !ends(first) => {
                let mut name = word(at).unwrap_or_default().to_owned();
                while sign(at + 1, '.') {
                    let Some(part) = word(at + 2) else { break };
                    name = format!("{name}.{part}");
                    at += 2;
                }
                // A function that gives rows is no table, and neither is the word for one.
                if !sign(at + 1, '(') && !["lateral", "table", "unnest", "values", "only"].contains(&name.as_str()) {
                    found.insert(name);
                }
            }
            Token::Word(word) if is_query => {
                if let Some(top) = open.last_mut() {
                    top.1 = match word.as_str() {
                        "from" | "join" => true,
                        word if ends(word) => false,
                        _ => in_tables,
                    };
                }
            }
            _ => {}
        }
        at += 1;
    }
    found.retain(|name| !made.contains(name));
    found
}

/// Whether this word ends a list of tables.
fn ends(word: &str) -> bool {
    ["where", "group", "order", "having", "limit", "qualify", "union", "select", "window"].contains(&word)
}

/// Whether a table may stand here, in a list of tables: behind the word that begins it, or behind a comma.
fn is_table_place(tokens: &[Token], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| tokens.get(before));
    match before {
        Some(Token::Word(word)) => word == "from" || word == "join",
        Some(Token::Sign(sign)) => *sign == ',' || *sign == '(',
        None => false,
    }
}

fn tokens(sql: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |at| at + 2),
            '\'' => quoted(rest, '\''),
            '"' | '`' => {
                let end = quoted(rest, first);
                tokens.push(Token::Word(rest[1..end].trim_end_matches(first).to_lowercase()));
                end
            }
            first if is_name(first) => {
                let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..end].to_lowercase()));
                end
            }
            first => {
                if !first.is_whitespace() {
                    tokens.push(Token::Sign(first));
                }
                first.len_utf8()
            }
        };
        rest = &rest[end..];
    }
    tokens
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// Where the text behind the quote at the beginning ends; a quote that is doubled or behind a backslash does not end it.
fn quoted(text: &str, quote: char) -> usize {
    let mut at = 1;
    while let Some(found) = text[at..].find([quote, '\\']) {
        at += found;
        let escaped = text[at..].starts_with('\\') || text[at + 1..].starts_with(quote);
        if !escaped {
            return at + 1;
        }
        at += 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8);
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sql: &str) -> Vec<String> {
        tables(sql).into_iter().collect()
    }

    #[test]
    fn tables_are_found_where_queries_name_them() {
        for (sql, names) in [
            ("SELECT a FROM Db.Public.T WHERE x = 'FROM y'", &["db.public.t"][..]),
            (
                "select * from a, b.c x join \"D\".e on a.x = e.x -- from f\n left join g using (z)",
                &["a", "b.c", "d.e", "g"],
            ),
            (
                "with made as (select 1 from t), more as (select * from made) select * from more join u on 1=1",
                &["t", "u"],
            ),
            ("SELECT EXTRACT(day FROM ts), substring(x from 2) FROM t", &["t"]),
            ("select f.value from t, lateral flatten(input => t.list) f, table(generator(rowcount => 3))", &["t"]),
            ("select * from ((a join b using (c)) join (select d from e) f)", &["a", "b", "e"]),
            ("select * from (select * from inner_one) where a in (select b from c)", &["c", "inner_one"]),
            ("select a, b from t where c in (1, d) group by a, b union all select a, e from u", &["t", "u"]),
            ("/* from x */ delete", &[]),
            ("'unfinished", &[]),
            (r"select 'it\'s from x', 'y''s \\' from t", &["t"]),
            ("select * from a, where b = 1", &["a"]),
            ("{% macro m(t) %} select * from t", &[]),
            ("", &[]),
        ] {
            assert_eq!(of(sql), names, "{sql}");
        }
    }

    #[test]
    fn known_are_public_tables_those_of_the_warehouse_and_what_is_named() {
        let names = TableNames(vec!["datalake.*.h*y".into(), "aws_CloudTrail".into()]);
        for (name, known) in [
            ("panther_logs.public.aws_cloudtrail", true),
            ("snowflake.account_usage.login_history", true),
            ("snowflake.other.login_history", false),
            ("a.b.public.c", false),
            ("datalake.account_usage.login_history", false),
            ("datalake.account_usage.history", true),
            ("aws_cloudtrail", true),
            ("nothing", false),
        ] {
            assert_eq!(names.knows(name), known, "{name}");
        }
        assert!(is_like("a*b*c", "a-b-b-c") && is_like("*", "") && !is_like("a*a", "a") && !is_like("*x*", "y"));
    }
}
