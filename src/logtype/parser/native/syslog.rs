//! Syslog messages of RFC 3164 and of RFC 5424.
//!
//! RFC 3164 describes what was seen on the wire more than it demands: the time may be one of RFC 3339 as well, and the
//! tag with the process may be missing. A time stamp without a year gets its year where times are read.

use std::sync::LazyLock;

use regex::Regex;

use super::{Each, Entry, Memory, present};
use crate::logtype::json::Doc;

/// `<priority>time host tag[process]: message`
static OLD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?s)^<([0-9]{1,3})>([A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8}|[0-9]{4}-[0-9]{2}-[0-9]{2}T\S+) (\S+) ",
        r"(?:([^\s:\[\]]+)(?:\[([^\]]*)\])?:(?: |$))?(.*)$",
    ))
    .expect("the pattern is constant and a test uses it")
});

/// `<priority>version time host app process id`, and then structured data and the message.
static NEW: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?s)^<([0-9]{1,3})>([1-9][0-9]{0,2}) (\S+) (\S+) (\S+) (\S+) (\S+) (.+)$")
        .expect("the pattern is constant and a test uses it")
});

pub(super) fn rfc3164(entry: &Entry<'_>, _: &mut Memory, each: Each<'_>) -> Result<(), String> {
    let captures = OLD.captures(entry.text).ok_or("the record is not a message of RFC 3164")?;
    let mut fields = Doc::of(entry.text, 10);
    priority(&captures[1], &mut fields)?;
    let names = ["timestamp", "hostname", "appname", "procid", "message"];
    for (name, group) in names.into_iter().zip(captures.iter().skip(2)) {
        if let Some(value) = group.and_then(|group| present(group.as_str())) {
            fields.text(name, value);
        }
    }
    each(fields.root())
}

pub(super) fn rfc5424(entry: &Entry<'_>, _: &mut Memory, each: Each<'_>) -> Result<(), String> {
    let captures = NEW.captures(entry.text).ok_or("the record is not a message of RFC 5424")?;
    let mut fields = Doc::of(entry.text, 10);
    priority(&captures[1], &mut fields)?;
    let names = ["version", "timestamp", "hostname", "appname", "procid", "msgid"];
    for (name, group) in names.into_iter().zip(captures.iter().skip(2)) {
        if let Some(value) = group.and_then(|group| present(group.as_str())) {
            fields.text(name, value);
        }
    }
    let rest = captures.get(8).map_or("", |rest| rest.as_str());
    let message = structured_data(rest, &mut fields)?;
    let message = message.strip_prefix('\u{feff}').unwrap_or(message);
    if !message.is_empty() {
        fields.text("message", message);
    }
    each(fields.root())
}

/// The priority and the two numbers it is made of.
fn priority(text: &str, fields: &mut Doc<'_>) -> Result<(), String> {
    let priority = text.parse::<u8>().ok().filter(|priority| *priority <= 191);
    let priority = priority.ok_or_else(|| format!("the priority {text} is above 191"))?;
    for (name, number) in [("priority", priority), ("facility", priority / 8), ("severity", priority % 8)] {
        fields.text(name, number.to_string());
    }
    Ok(())
}

/// `-`, or elements such as `[id name="value"]` without anything between them; and the message behind.
fn structured_data<'a>(text: &'a str, fields: &mut Doc<'a>) -> Result<&'a str, String> {
    let mut rest = text;
    if let Some(after) = rest.strip_prefix('-') {
        rest = after;
    } else if rest.starts_with('[') {
        let elements = fields.begin("structured_data");
        while let Some(after) = rest.strip_prefix('[') {
            rest = element(after, fields)?;
        }
        fields.end(elements);
    } else {
        return Err("the record has no structured data and no `-` in its place".into());
    }
    match rest.strip_prefix(' ') {
        Some(message) => Ok(message),
        None if rest.is_empty() => Ok(""),
        None => Err("the structured data is not followed by a space".into()),
    }
}

/// One element behind its bracket; what follows it is returned.
fn element<'a>(text: &'a str, fields: &mut Doc<'a>) -> Result<&'a str, String> {
    let end = text.find([' ', ']']).ok_or("an element of the structured data is not closed")?;
    let (id, mut rest) = text.split_at(end);
    let parameters = fields.begin(id);
    loop {
        rest = rest.trim_start_matches(' ');
        if let Some(after) = rest.strip_prefix(']') {
            fields.end(parameters);
            return Ok(after);
        }
        let (name, after) = rest.split_once("=\"").ok_or("a parameter of the structured data has no quoted value")?;
        let (value, after) = quoted(after)?;
        fields.text(name, value);
        rest = after;
    }
}

/// The text up to the closing quote, without its escapes, and what follows.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match (character, characters.peek()) {
            ('"', _) => return Ok((value, &text[at + 1..])),
            ('\\', Some((_, escaped @ ('"' | '\\' | ']')))) => {
                value.push(*escaped);
                characters.next();
            }
            _ => value.push(character),
        }
    }
    Err("a value of the structured data has no closing quote".into())
}
