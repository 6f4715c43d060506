//! Alerts as text: a table and entries for people, lines of JSON for programs. Pure.
//!
//! What is printed was written by attackers: no character that a terminal acts upon, or that reorders or hides other
//! text, leaves this module as it is.

use std::fmt::Write as _;

use super::OutputFormat;
use serde::Serialize;

use crate::model::{Alert, AlertKind, Severity, rfc3339};

/// The look of an output, decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Json,
    Plain,
    /// For people, on a terminal.
    Coloured,
}

impl Style {
    pub fn choose(format: OutputFormat, is_terminal: bool) -> Style {
        match (format, is_terminal) {
            (OutputFormat::Json, _) | (OutputFormat::Auto, false) => Style::Json,
            (OutputFormat::Human, false) => Style::Plain,
            (OutputFormat::Human | OutputFormat::Auto, true) => Style::Coloured,
        }
    }
}

/// One alert that has just been raised, with its line end.
pub fn one(alert: &Alert, style: Style) -> String {
    match style {
        Style::Json => json_line(alert),
        Style::Plain => entry(alert, false),
        Style::Coloured => entry(alert, true),
    }
}

/// Aligned columns with a header; the title comes last, because it may be long.
pub fn table(alerts: &[Alert]) -> String {
    let rows: Vec<[String; COLUMNS]> = alerts.iter().map(cells).collect();
    let header = HEADER.map(String::from);
    let mut widths = [0; COLUMNS - 1];
    for row in rows.iter().chain([&header]) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    [header].iter().chain(&rows).map(|row| table_row(row, &widths)).collect()
}

/// A line of JSON for each alert.
pub fn jsonl(alerts: &[Alert]) -> String {
    alerts.iter().map(json_line).collect()
}

/// One line of JSON. Equal to what any JSON writer gives, but with every hostile character escaped. The value has string
/// keys and no failing serializer.
pub fn json_line(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).expect("it has string keys and no failing serializer");
    let mut line = String::with_capacity(json.len() + 1);
    for char in json.chars() {
        if is_hostile(char) {
            // Outside of strings JSON has only ASCII that is not hostile, so this is in a string.
            for unit in char.encode_utf16(&mut [0; 2]) {
                write!(line, "\\u{unit:04x}").expect("a string takes any text");
            }
        } else {
            line.push(char);
        }
    }
    line.push('\n');
    line
}

/// Two lines: what happened, and where to look.
fn entry(alert: &Alert, coloured: bool) -> String {
    let kind = match alert.kind {
        AlertKind::Rule => "",
        AlertKind::RuleError => "rule error: ",
        AlertKind::SystemError => "system error: ",
    };
    let events = if alert.event_count == 1 { "event" } else { "events" };
    format!(
        "{severity}  {time}  {kind}{title}\n{indent:10}rule {rule}, {count} {events}, alert {id}\n",
        severity = severity_cell(alert.severity, coloured),
        time = rfc3339(alert.created_at),
        title = safe(&alert.title),
        indent = "",
        rule = safe(&alert.rule_id),
        count = alert.event_count,
        id = safe(&alert.id),
    )
}

const COLUMNS: usize = 7;
const HEADER: [&str; COLUMNS] = ["CREATED", "SEVERITY", "TYPE", "EVENTS", "ALERT", "RULE", "TITLE"];

fn cells(alert: &Alert) -> [String; COLUMNS] {
    [
        // Whole seconds, so that the column is even.
        rfc3339(alert.created_at.replace_nanosecond(0).unwrap_or(alert.created_at)),
        alert.severity.to_string(),
        alert.kind.as_str().to_owned(),
        alert.event_count.to_string(),
        safe(&alert.id),
        safe(&alert.rule_id),
        safe(&alert.title),
    ]
}

fn table_row(cells: &[String; COLUMNS], widths: &[usize; COLUMNS - 1]) -> String {
    let [columns @ .., last] = cells;
    let padded = columns.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}  "));
    padded.collect::<String>() + last + "\n"
}

fn severity_cell(severity: Severity, coloured: bool) -> String {
    let cell = format!("{severity:8}");
    if coloured { paint(severity, &cell) } else { cell }
}

fn paint(severity: Severity, text: &str) -> String {
    let colour = match severity {
        Severity::Critical => "1;31",
        Severity::High => "31",
        Severity::Medium => "33",
        Severity::Low => "36",
        Severity::Info => "32",
    };
    format!("\x1b[{colour}m{text}\x1b[0m")
}

/// The text with hostile characters spelled out, on one line.
pub fn safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for char in text.chars() {
        if is_hostile(char) {
            safe.extend(char.escape_default());
        } else {
            safe.push(char);
        }
    }
    safe
}

/// Controls (C0, DEL, C1), line and paragraph separators, and the invisible characters of format: those that reorder
/// text (bidirectional embeddings, overrides, isolates, marks), that have no width, and tags.
pub(super) fn is_hostile(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::RuleMeta;
    use crate::state::fixtures::{alert, rule};

    const HOSTILE: &str = "a\u{1b}[31m\r\n\u{9b}2J\u{202e}b\u{e0041}\u{7f}\t";

    fn titled(title: &str) -> Alert {
        Alert { title: title.into(), ..alert(rule("AWS.Root")) }
    }

    #[test]
    fn the_format_and_the_terminal_decide_the_style() {
        use OutputFormat::{Auto, Human, Json};
        let chosen = [(Auto, true), (Auto, false), (Human, true), (Human, false), (Json, true), (Json, false)]
            .map(|(format, is_terminal)| Style::choose(format, is_terminal));
        assert_eq!(chosen, [Style::Coloured, Style::Json, Style::Coloured, Style::Plain, Style::Json, Style::Json]);
    }

    #[test]
    fn an_entry_says_what_happened_and_where_to_look() {
        let alert = Alert { id: "b90c".into(), event_count: 5, ..titled("Root login in [prod]") };
        assert_eq!(
            one(&alert, Style::Plain),
            "HIGH      2026-01-02T03:04:05.75Z  Root login in [prod]\n          rule AWS.Root, 5 events, alert b90c\n"
        );
        assert!(one(&alert, Style::Coloured).starts_with("\x1b[31mHIGH    \x1b[0m  2026"));
        let error = Alert { kind: AlertKind::RuleError, event_count: 1, ..alert };
        assert!(one(&error, Style::Plain).contains("  rule error: Root login"));
        assert!(one(&error, Style::Plain).contains(" 1 event, "));
    }

    #[test]
    fn columns_are_aligned() {
        let long =
            Alert { event_count: 12_345_678, ..alert(RuleMeta { severity: Severity::Info, ..rule("longer-é") }) };
        let table = table(&[titled("first"), long]);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].starts_with("CREATED               SEVERITY  TYPE  EVENTS    ALERT"), "{table}");
        let column = |line: &str, text: &str| line[..line.find(text).unwrap()].chars().count();
        let title = column(lines[0], "TITLE");
        assert_eq!([column(lines[1], "first"), column(lines[2], "title 1")], [title; 2], "{table}");
        assert_eq!(super::table(&[]).lines().count(), 1);
    }

    #[test]
    fn a_line_of_json_has_the_documented_fields() {
        let line = jsonl(&[titled("t")]);
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        let names: Vec<&String> = json.as_object().unwrap().keys().collect();
        let expected = "id type ruleId ruleVersion ruleDisplayName title severity description reference runbook \
                        context dedup destinations status eventCount logTypes firstEventMatchTime createdAt \
                        updatedAt tags reports deliveryResponses assignee comments lastUpdatedBy lastUpdatedByTime";
        assert_eq!(names, expected.split_whitespace().collect::<Vec<_>>());
        assert_eq!((&json["type"], &json["createdAt"]), (&"RULE".into(), &"2026-01-02T03:04:05.75Z".into()));
        assert_eq!(jsonl(&[]), "");
    }

    #[test]
    fn hostile_characters_are_spelled_out() {
        assert_eq!(safe(HOSTILE), r"a\u{1b}[31m\r\n\u{9b}2J\u{202e}b\u{e0041}\u{7f}\t");
        assert_eq!(safe("Ünïcode 漢字 👍 C:\\dir \"q\""), "Ünïcode 漢字 👍 C:\\dir \"q\"");
    }

    proptest! {
        #[test]
        fn no_hostile_character_is_printed_and_json_keeps_its_meaning(title in "(\\PC|[\\x00-\\xa0]|[\u{2000}-\u{206f}]|[\u{e0000}-\u{e0fff}]){0,40}") {
            let alert = Alert { rule_id: title.clone(), dedup: title.clone(), ..titled(&title) };
            let alerts = std::slice::from_ref(&alert);
            for text in [one(&alert, Style::Plain), one(&alert, Style::Json), table(alerts), jsonl(alerts)] {
                prop_assert!(text.lines().count() <= 2);
                prop_assert!(!text.chars().any(|char| char != '\n' && is_hostile(char)), "{text:?}");
            }
            let json: serde_json::Value = serde_json::from_str(&one(&alert, Style::Json)).unwrap();
            prop_assert_eq!(&json["title"], &serde_json::Value::String(title));
        }
    }
}
