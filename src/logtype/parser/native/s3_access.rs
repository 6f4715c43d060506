//! S3 server access logs: values separated by spaces, three of them in quotes, the time in brackets, `-` for nothing.
//! Source: Amazon S3 User Guide, "Amazon S3 server access log format".
//!
//! Quotes within a quoted value are not escaped, and the requester chooses what stands there. So a value does not end
//! at the first quote before a space, but where everything behind it has the shape that the format demands.

use std::sync::LazyLock;

use regex::Regex;

use super::{Each, Entry, Memory, present};
use crate::logtype::json::Doc;

/// Up to here every log has values.
const COLUMNS: [&str; 18] = [
    "bucketowner",
    "bucket",
    "time",
    "remoteip",
    "requester",
    "requestid",
    "operation",
    "key",
    "requesturi",
    "httpstatus",
    "errorcode",
    "bytessent",
    "objectsize",
    "totaltime",
    "turnaroundtime",
    "referrer",
    "useragent",
    "versionid",
];

/// The format gained these later.
const LATER_COLUMNS: [&str; 6] =
    ["hostid", "signatureversion", "ciphersuite", "authenticationtype", "hostheader", "tlsVersion"];

/// Values of columns that are newer still.
const ADDITIONAL: &str = "additionalFields";

/// One group a column, and one for everything later. No later value has quotes, so the user agent reaches to the last
/// one.
static LINE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r#"^(\S+) (\S+) \[([^\]]+)\] (\S+) (\S+) (\S+) (\S+) (\S+) (".*?"|-) "#,
        r#"([0-9]{3}|-) (\S+) ([0-9]+|-) ([0-9]+|-) ([0-9]+|-) ([0-9]+|-) (".*?"|-) (".*"|-) ([^ "]+)((?: [^ "]+)*)$"#,
    ))
    .expect("the pattern is constant and a test uses it")
});

pub(super) fn parse(entry: &Entry<'_>, _: &mut Memory, each: Each<'_>) -> Result<(), String> {
    let captures = LINE.captures(entry.text).ok_or("the record does not have the shape of an S3 access log")?;
    let group = |index: usize| captures.get(index).map_or("", |found| found.as_str());
    let mut later = group(COLUMNS.len() + 1).split_ascii_whitespace();

    let first = COLUMNS.iter().enumerate().map(|(index, name)| (*name, unquoted(group(index + 1))));
    let second: Vec<_> = LATER_COLUMNS.into_iter().zip(later.by_ref()).collect();
    let named = first.chain(second).filter(|(_, value)| present(value).is_some());
    let mut fields = Doc::of(entry.text, COLUMNS.len() + LATER_COLUMNS.len());
    named.for_each(|(name, value)| fields.text(name, value));
    let mut additional = later.peekable();
    if additional.peek().is_some() {
        fields.list(ADDITIONAL, additional);
    }
    each(fields.root())
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}
