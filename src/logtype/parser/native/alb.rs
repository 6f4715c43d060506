//! Access logs of application load balancers: values separated by spaces, some of them in quotes, `-` for nothing.
//! Source: Elastic Load Balancing User Guide, "Access logs for your Application Load Balancer".
//!
//! Addresses and ports, and the parts of the request line, become fields of their own. URLs may hold spaces, so the
//! request line is split at its first and its last one.

use super::{Each, Entry, Memory, present};
use crate::logtype::json::Doc;

/// Names of the columns in order. Those that begin with `:` are taken apart, those in brackets are lists.
const COLUMNS: [&str; 30] = [
    "type",
    "timestamp",
    "elb",
    ":client",
    ":target",
    "requestProcessingTime",
    "targetProcessingTime",
    "responseProcessingTime",
    "elbStatusCode",
    "targetStatusCode",
    "receivedBytes",
    "sentBytes",
    ":request",
    "userAgent",
    "sslCipher",
    "sslProtocol",
    "targetGroupArn",
    "traceId",
    "domainName",
    "chosenCertArn",
    "matchedRulePriority",
    "requestCreationTime",
    "[actionsExecuted",
    "redirectUrl",
    "errorReason",
    "[targetPortList",
    "[targetStatusCodeList",
    "classification",
    "classificationReason",
    "connectionTraceId",
];

/// A record with fewer columns is none.
const LEAST_COLUMNS: usize = 25;

pub(super) fn parse(entry: &Entry<'_>, _: &mut Memory, each: Each<'_>) -> Result<(), String> {
    let values = values(entry.text)?;
    if values.len() < LEAST_COLUMNS {
        return Err(format!("the record has {} columns, at least {LEAST_COLUMNS} were expected", values.len()));
    }
    let mut fields = Doc::of(entry.text, COLUMNS.len() + 4);
    for (column, value) in COLUMNS.into_iter().zip(values) {
        let Some(value) = present(value) else { continue };
        match column {
            ":client" => endpoint(value, "clientIp", "clientPort", &mut fields)?,
            ":target" => endpoint(value, "targetIp", "targetPort", &mut fields)?,
            ":request" => request(value, &mut fields)?,
            _ => match column.strip_prefix('[') {
                Some(column) => {
                    let items = value.split([',', ' ']).filter(|item| !item.is_empty());
                    fields.list(column, items);
                }
                None => fields.text(column, value),
            },
        }
    }
    each(fields.root())
}

fn values(mut rest: &str) -> Result<Vec<&str>, String> {
    let mut values = Vec::with_capacity(COLUMNS.len());
    while !rest.is_empty() {
        let (value, after) = value(rest).ok_or("the record does not have the shape of an ALB access log")?;
        values.push(value);
        rest = after;
    }
    Ok(values)
}

/// A quoted value, in which a quote is escaped, or a bare one; and what follows the space behind it.
fn value(text: &str) -> Option<(&str, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = memchr::memchr2(b' ', b'"', text.as_bytes()).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return if value.is_empty() { None } else { Some((value, behind_space(rest)?)) };
    };
    let mut end = 0;
    loop {
        end += memchr::memchr2(b'"', b'\\', &quoted.as_bytes()[end..])?;
        if quoted[end..].starts_with('"') {
            return Some((&quoted[..end], behind_space(&quoted[end + 1..])?));
        }
        // Nothing escapes the end of a line.
        let escaped = quoted[end + 1..].chars().next().filter(|escaped| *escaped != '\n')?;
        end += 1 + escaped.len_utf8();
    }
}

fn behind_space(text: &str) -> Option<&str> {
    if text.is_empty() { Some(text) } else { text.strip_prefix(' ') }
}

fn endpoint<'a>(value: &'a str, ip: &'static str, port: &'static str, fields: &mut Doc<'a>) -> Result<(), String> {
    let parts = value.rsplit_once(':').ok_or_else(|| format!("`{value}` is not an address with a port"))?;
    fields.text(ip, parts.0.trim_start_matches('[').trim_end_matches(']'));
    if let Some(number) = present(parts.1) {
        fields.text(port, number);
    }
    Ok(())
}

fn request<'a>(value: &'a str, fields: &mut Doc<'a>) -> Result<(), String> {
    let parts = value.split_once(' ').and_then(|(method, rest)| Some((method, rest.rsplit_once(' ')?)));
    let (method, (url, version)) = parts.ok_or_else(|| format!("`{value}` is not a request line"))?;
    for (name, value) in [("requestHttpMethod", method), ("requestUrl", url), ("requestHttpVersion", version)] {
        if let Some(value) = present(value) {
            fields.text(name, value);
        }
    }
    Ok(())
}
