//! Events of the Falcon sensor that have no log type of their own: what every event says of itself becomes columns, and
//! the whole event is kept beside them.

use super::{Each, Entry, Memory};
use crate::logtype::json::Doc;

/// Events of these names have a log type of their own.
const NAMED: [&str; 9] = [
    "DnsRequest",
    "GroupIdentity",
    "NetworkConnectIP4",
    "NetworkConnectIP6",
    "NetworkListenIP4",
    "NetworkListenIP6",
    "ProcessRollup2",
    "SyntheticProcessRollup2",
    "UserIdentity",
];

/// What every event has.
const COMMON: [&str; 22] = [
    "event_simpleName",
    "name",
    "aid",
    "aip",
    "cid",
    "id",
    "event_platform",
    "timestamp",
    "_time",
    "ComputerName",
    "ConfigBuild",
    "ConfigStateHash",
    "Entitlements",
    "TreeId",
    "TreeId_decimal",
    "ContextThreadId",
    "ContextThreadId_decimal",
    "ContextTimeStamp",
    "ContextTimeStamp_decimal",
    "ContextProcessId",
    "ContextProcessId_decimal",
    "InContext",
];

pub(super) fn unnamed(entry: &Entry<'_>, _: &mut Memory, each: Each<'_>) -> Result<(), String> {
    let record = entry.object()?;
    match record.get("event_simpleName").and_then(|name| name.text()) {
        None | Some("") => return Err("the record has no `event_simpleName`".into()),
        Some(name) if NAMED.contains(&name) => return Err(format!("events `{name}` have a log type of their own")),
        Some(_) => {}
    }
    let mut fields = Doc::of(entry.text, 64);
    for name in COMMON {
        if let Some(value) = record.get(name) {
            fields.copy(name, value);
        }
    }
    fields.copy("unknown_payload", record);
    each(fields.root())
}
