//! Access logs of application load balancers: values separated by spaces, some of them in quotes, `-` for nothing.
//! Source: Elastic Load Balancing User Guide, "Access logs for your Application Load Balancer".
//!
//! Addresses and ports, and the parts of the request line, become fields of their own. URLs may hold spaces, so the
//! request line is split at its first and its last one.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::{Each, Entry, Memory, present};
use crate::logtype::json::Raw;

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

/// A quoted value, in which a quote is escaped, or a bare one.
static VALUE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"^(?:"((?:[^"\\]|\\.)*)"|([^" ]+))(?: |$)"#).expect("the pattern is constant"));

type Fields<'a> = Vec<(Cow<'a, str>, Raw<'a>)>;

pub(super) fn parse(entry: &Entry<'_>, _: &mut Memory, each: Each<'_>) -> Result<(), String> {
    let values = values(entry.text)?;
    if values.len() < LEAST_COLUMNS {
        return Err(format!("the record has {} columns, at least {LEAST_COLUMNS} were expected", values.len()));
    }
    let mut fields = Fields::new();
    for (column, value) in COLUMNS.into_iter().zip(values) {
        let Some(value) = present(value) else { continue };
        match column {
            ":client" => endpoint(value, "clientIp", "clientPort", &mut fields)?,
            ":target" => endpoint(value, "targetIp", "targetPort", &mut fields)?,
            ":request" => request(value, &mut fields)?,
            _ => match column.strip_prefix('[') {
                Some(column) => {
                    let items = value.split([',', ' ']).filter(|item| !item.is_empty());
                    fields.push((column.into(), Raw::List(items.map(|item| Raw::Str(item.into())).collect())));
                }
                None => fields.push((column.into(), Raw::Str(value.into()))),
            },
        }
    }
    each(&Raw::Map(fields))
}

fn values(mut rest: &str) -> Result<Vec<&str>, String> {
    let mut values = Vec::with_capacity(COLUMNS.len());
    while !rest.is_empty() {
        let found = VALUE.captures(rest).ok_or("the record does not have the shape of an ALB access log")?;
        values.push(found.get(1).or(found.get(2)).map_or("", |value| value.as_str()));
        rest = &rest[found[0].len()..];
    }
    Ok(values)
}

fn endpoint<'a>(value: &'a str, ip: &'static str, port: &'static str, fields: &mut Fields<'a>) -> Result<(), String> {
    let parts = value.rsplit_once(':').ok_or_else(|| format!("`{value}` is not an address with a port"))?;
    fields.push((ip.into(), Raw::Str(parts.0.trim_start_matches('[').trim_end_matches(']').into())));
    if let Some(number) = present(parts.1) {
        fields.push((port.into(), Raw::Str(number.into())));
    }
    Ok(())
}

fn request<'a>(value: &'a str, fields: &mut Fields<'a>) -> Result<(), String> {
    let parts = value.split_once(' ').and_then(|(method, rest)| Some((method, rest.rsplit_once(' ')?)));
    let (method, (url, version)) = parts.ok_or_else(|| format!("`{value}` is not a request line"))?;
    for (name, value) in [("requestHttpMethod", method), ("requestUrl", url), ("requestHttpVersion", version)] {
        if let Some(value) = present(value) {
            fields.push((name.into(), Raw::Str(value.into())));
        }
    }
    Ok(())
}
