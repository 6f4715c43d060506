//! VPC flow logs: values separated by spaces under a header that names them, `-` for nothing.
//! Source: Amazon VPC User Guide, "Flow log records".

use super::{Each, Entry, Memory, present};
use crate::logtype::json::Doc;
use crate::logtype::parser::Header;

/// Names of the format and of the schema.
const COLUMNS: &[(&str, &str)] = &[
    ("version", "version"),
    ("account-id", "account"),
    ("interface-id", "interfaceId"),
    ("srcaddr", "srcAddr"),
    ("dstaddr", "dstAddr"),
    ("srcport", "srcPort"),
    ("dstport", "dstPort"),
    ("protocol", "protocol"),
    ("packets", "packets"),
    ("bytes", "bytes"),
    ("start", "start"),
    ("end", "end"),
    ("action", "action"),
    ("log-status", "status"),
    ("vpc-id", "vpcId"),
    ("subnet-id", "subnetId"),
    ("instance-id", "instanceId"),
    ("tcp-flags", "tcpFlags"),
    ("type", "trafficType"),
    ("pkt-srcaddr", "pktSrcAddr"),
    ("pkt-dstaddr", "pktDstAddr"),
    ("region", "region"),
    ("az-id", "azId"),
    ("sublocation-type", "sublocationType"),
    ("sublocation-id", "sublocationId"),
    ("pkt-src-aws-service", "pktSrcAwsService"),
    ("pkt-dst-aws-service", "pktDstAwsService"),
    ("flow-direction", "flowDirection"),
    ("traffic-path", "trafficPath"),
    ("reject-reason", "rejectReason"),
    ("resource-id", "resourceId"),
    ("encryption-status", "encryptionStatus"),
];

/// A line with fewer known names is no header.
const LEAST_NAMES: usize = 5;

/// Values beyond the header have no name of their own.
const UNNAMED: &str = "additionalFields";

pub(super) fn parse(entry: &Entry<'_>, memory: &mut Memory, each: Each<'_>) -> Result<(), String> {
    if entry.text.starts_with('{') {
        return Err("the record looks like JSON, not like a flow log".into());
    }
    let Some(header) = memory.header.take() else {
        memory.header = Some(header(entry.text)?);
        return Ok(());
    };
    let result = if header.line == entry.text { Ok(()) } else { record(entry.text, &header, each) };
    memory.header = Some(header);
    result
}

fn header(line: &str) -> Result<Header, String> {
    let known = |name: &str| COLUMNS.iter().find(|(known, _)| *known == name).map(|(_, column)| *column);
    let count = line.split_ascii_whitespace().filter(|name| known(name).is_some()).count();
    if count < LEAST_NAMES {
        return Err("no flow log header has been seen before this record".into());
    }
    let names = line.split_ascii_whitespace().map(|name| known(name).unwrap_or(name).to_string());
    Ok(Header { line: line.to_string(), names: names.collect() })
}

fn record(line: &str, header: &Header, each: Each<'_>) -> Result<(), String> {
    let mut values = line.split_ascii_whitespace();
    let mut fields = Doc::of(line, header.names.len());
    for name in &header.names {
        let value = values.next().ok_or_else(|| format!("the record has no value for the column `{name}`"))?;
        if let Some(value) = present(value) {
            fields.text(name, value);
        }
    }
    let mut unnamed = values.peekable();
    if unnamed.peek().is_some() {
        fields.list(UNNAMED, unnamed);
    }
    each(fields.root())
}
