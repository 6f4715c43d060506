//! The `parser` part of a schema, compiled.

use std::collections::BTreeMap;

use serde_saphyr::{Location, Spanned};

use super::document::{CsvDoc, FastmatchDoc, ParserDoc, RegexDoc};
use crate::logtype::parser::{
    Columns, Csv, Fastmatch, Matcher, Native, Options, Parser, RegexParser, Template, TextParser, redefined,
};

/// Takes a fault and where it is.
type Report<'r> = &'r mut dyn FnMut(Location, String);

/// Why there is no `script`: a function in Starlark would see every byte that a stranger can get into a log, in the
/// daemon's own process. An interpreter counts steps and live memory between its steps, but one step alone may ask for
/// more memory than there is, and that ends the process and with it everything in work. Rules, which have the same
/// problem, run in processes of their own; a crossing into one for every record costs more than the rest of the parsing.
/// No published schema has a `script`.
const NO_SCRIPT: &str = "`script` parsers are not supported, because code that reads hostile input may not run inside the \
    daemon; describe the format with csv, regex or fastmatch (several schemas for several shapes of a record), take values \
    apart with `split` and `copy`, or turn the records into JSON before they are stored";

pub(super) fn compile(doc: &Spanned<ParserDoc>, report: Report<'_>) -> Parser {
    let ParserDoc { csv, fastmatch, regex, native, script } = &doc.value;
    let chosen = [csv.is_some(), fastmatch.is_some(), regex.is_some(), native.is_some(), script.is_some()];
    if chosen.into_iter().filter(|chosen| *chosen).count() != 1 {
        report(doc.referenced, "`parser` needs exactly one of csv, fastmatch, regex and native".into());
        return Parser::Json;
    }
    if let Some(doc) = csv {
        return Parser::Text(self::csv(doc, report));
    }
    if let Some(doc) = fastmatch {
        return Parser::Text(self::fastmatch(doc, report));
    }
    if let Some(doc) = regex {
        return Parser::Text(self::regex(doc, report));
    }
    if let Some(script) = script {
        report(script.referenced, NO_SCRIPT.into());
    }
    native.as_ref().and_then(|native| Native::by_name(&native.name.value)).map_or(Parser::Json, Parser::Native)
}

fn csv(spanned: &Spanned<CsvDoc>, report: Report<'_>) -> TextParser {
    let doc = &spanned.value;
    let columns = match (&doc.columns, doc.has_header) {
        (Some(columns), false) => Columns::Named(columns.clone()),
        (Some(columns), true) => Columns::BehindHeader(columns.clone()),
        (None, true) => Columns::FromHeader,
        (None, false) => {
            report(spanned.referenced, "csv needs `hasHeader: true` or `columns`".into());
            Columns::FromHeader
        }
    };
    if doc.columns.as_ref().is_some_and(|columns| columns.iter().all(String::is_empty)) {
        report(spanned.referenced, "`columns` names no column".into());
    }
    let delimiter = match &doc.delimiter {
        None => b',',
        Some(delimiter) => match delimiter.value.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\'' | b'`' | b'\n' | b'\r') => *byte,
            _ => {
                let message = "`delimiter` must be one ASCII character that is no quote, such as \",\" or \"\\t\"";
                report(delimiter.referenced, message.into());
                b','
            }
        },
    };
    let expand = expansions(&doc.expand_fields, spanned.referenced, report);
    let options = options(doc.skip_lines, &doc.skip_prefix, doc.trim_space, &doc.empty_values, expand);
    TextParser { options, matcher: Matcher::Csv(Csv { delimiter, columns }) }
}

fn fastmatch(spanned: &Spanned<FastmatchDoc>, report: Report<'_>) -> TextParser {
    let doc = &spanned.value;
    if doc.patterns.is_empty() {
        report(spanned.referenced, "`match` is empty".into());
    }
    let mut matcher = Fastmatch::new();
    for pattern in &doc.patterns {
        if let Err(message) = matcher.add(&pattern.value) {
            report(pattern.referenced, message);
        }
    }
    let expand = expansions(&doc.expand_fields, spanned.referenced, report);
    let options = options(doc.skip_lines, &doc.skip_prefix, doc.trim_space, &doc.empty_values, expand);
    TextParser { options, matcher: Matcher::Fastmatch(matcher) }
}

fn regex(spanned: &Spanned<RegexDoc>, report: Report<'_>) -> TextParser {
    let doc = &spanned.value;
    let expand = expansions(&doc.expand_fields, spanned.referenced, report);
    let options = options(doc.skip_lines, &doc.skip_prefix, doc.trim_space, &doc.empty_values, expand);
    for name in redefined(&doc.pattern_definitions) {
        let message = format!("the pattern `{name}` is built in and cannot be redefined; choose another name");
        report(spanned.referenced, message);
    }
    let matcher = match RegexParser::compile(&doc.parts, &doc.pattern_definitions) {
        Ok(matcher) => Matcher::Regex(matcher),
        Err(message) => {
            report(spanned.referenced, message);
            Matcher::Fastmatch(Fastmatch::new())
        }
    };
    TextParser { options, matcher }
}

fn expansions(fields: &BTreeMap<String, String>, location: Location, report: Report<'_>) -> Vec<(String, Template)> {
    let mut expansions = Vec::new();
    for (name, template) in fields {
        match Template::compile(template) {
            Ok(template) => expansions.push((name.clone(), template)),
            Err(message) => report(location, format!("in `expandFields`: {message}")),
        }
    }
    expansions
}

fn options(
    skip_lines: u64,
    skip_prefix: &Option<String>,
    trim_space: bool,
    empty_values: &[String],
    expand_fields: Vec<(String, Template)>,
) -> Options {
    Options {
        skip_lines,
        skip_prefix: skip_prefix.clone().filter(|prefix| !prefix.is_empty()),
        trim_space,
        empty_values: empty_values.to_vec(),
        expand_fields,
    }
}
