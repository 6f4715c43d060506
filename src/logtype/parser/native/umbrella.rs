//! Logs of Cisco Umbrella: comma-separated quoted values without a header, of which some are lists themselves.
//! Source: Cisco Umbrella documentation, "Log formats and versioning".
//!
//! The formats grow at their end, so a record may have more or fewer columns than are known, but never fewer than the
//! oldest version has. Values are never JSON.

use super::{Each, Entry, Memory, present};
use crate::logtype::json::Doc;

/// Columns in order; those in brackets are lists.
const DNS: &[&str] = &[
    "timestamp",
    "policyIdentity",
    "[identities",
    "internalIp",
    "externalIp",
    "action",
    "queryType",
    "responseCode",
    "domain",
    "[categories",
    "policyIdentityType",
    "[identityTypes",
    "[blockedCategories",
];

const IP: &[&str] = &[
    "timestamp",
    "identity",
    "sourceIp",
    "sourcePort",
    "destinationIp",
    "destinationPort",
    "[categories",
    "[identityTypes",
];

const PROXY: &[&str] = &[
    "timestamp",
    "policyIdentity",
    "[identities",
    "internalIp",
    "externalIp",
    "destinationIp",
    "contentType",
    "verdict",
    "url",
    "referer",
    "userAgent",
    "statusCode",
    "requestSize",
    "responseSize",
    "responseBodySize",
    "sha",
    "[categories",
    "[avDetections",
    "[puas",
    "ampDisposition",
    "ampMalwareName",
    "ampScore",
    "identityType",
    "[blockedCategories",
    "[allIdentities",
    "[identityTypes",
];

const FIREWALL: &[&str] = &[
    "timestamp",
    "[originId",
    "identity",
    "identityType",
    "direction",
    "ipProtocol",
    "packetSize",
    "sourceIp",
    "sourcePort",
    "destinationIp",
    "destinationPort",
    "dataCenter",
    "ruleId",
    "verdict",
];

pub(super) fn dns(entry: &Entry<'_>, _: &mut Memory, each: Each<'_>) -> Result<(), String> {
    parse(entry, DNS, 10, each)
}

pub(super) fn ip(entry: &Entry<'_>, _: &mut Memory, each: Each<'_>) -> Result<(), String> {
    parse(entry, IP, 7, each)
}

pub(super) fn proxy(entry: &Entry<'_>, _: &mut Memory, each: Each<'_>) -> Result<(), String> {
    parse(entry, PROXY, 21, each)
}

pub(super) fn firewall(entry: &Entry<'_>, _: &mut Memory, each: Each<'_>) -> Result<(), String> {
    parse(entry, FIREWALL, 14, each)
}

fn parse(entry: &Entry<'_>, columns: &[&'static str], least: usize, each: Each<'_>) -> Result<(), String> {
    if !entry.text.starts_with('"') {
        return Err("the record does not begin with a quoted value".into());
    }
    let values = values(entry.text)?;
    if values.len() < least {
        return Err(format!("the record has {} columns, at least {least} were expected", values.len()));
    }
    let mut fields = Doc::of(entry.text, columns.len());
    for (column, value) in columns.iter().zip(&values) {
        if present(value).is_none() {
            continue;
        }
        let Some(column) = column.strip_prefix('[') else {
            fields.text(column, value.as_str());
            continue;
        };
        // The origin of the firewall log is written with brackets around it.
        let items = value.trim_start_matches('[').trim_end_matches(']').split(',').map(str::trim);
        fields.list(column, items.filter(|item| !item.is_empty()));
    }
    each(fields.root())
}

/// The quoted values of a record; a doubled quote stands for one.
fn values(text: &str) -> Result<Vec<String>, String> {
    let mut values = Vec::new();
    let mut rest = text;
    loop {
        let mut value = String::new();
        rest = rest.strip_prefix('"').ok_or_else(|| format!("column {} is not quoted", values.len() + 1))?;
        loop {
            let end = rest.find('"').ok_or_else(|| format!("column {} has no closing quote", values.len() + 1))?;
            value.push_str(&rest[..end]);
            rest = &rest[end + 1..];
            let Some(after) = rest.strip_prefix('"') else { break };
            value.push('"');
            rest = after;
        }
        values.push(value);
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.is_empty() => return Ok(values),
            None => return Err(format!("text follows the closing quote of column {}", values.len())),
        }
    }
}
