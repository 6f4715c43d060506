//! What is in the bucket, and what must come out of it.

use std::collections::BTreeSet;

use serde_json::json;

use super::super::{gzip, logins};
use super::world::World;
use crate::logtype::Context;
use crate::model::{EventBatch, ObjectRef, RowId};
use crate::pipeline::Config;
use crate::pipeline::reader::{Advance, RecordReader};
use crate::source::{Routing, SourceTable};
use crate::state::ObjectState;

pub(super) const BUCKET: &str = "b";

/// An object that was stored, and what it holds.
#[derive(Clone)]
pub(super) struct Version {
    pub(super) object: ObjectRef,
    pub(super) events: BTreeSet<RowId>,
    pub(super) rejects: BTreeSet<u64>,
    /// What becomes of it when it is read undisturbed.
    pub(super) end: ObjectState,
}

pub(super) fn sources() -> SourceTable {
    let source = |name: &str, stream: &str, prefix: &str, log_type: &str| {
        serde_json::from_value(json!({
            "name": name, "bucket": BUCKET, "stream_type": stream,
            "prefixes": [{
                "prefix": prefix, "excluded_prefixes": [format!("{prefix}old/")], "log_types": [log_type],
            }],
        }))
        .unwrap()
    };
    SourceTable::new(&[
        source("lines", "Auto", "lines/", "Okta.SystemLog"),
        source("arrays", "JsonArray", "arrays/", "Okta.SystemLog"),
        source("trail", "Auto", "trail/", "AWS.CloudTrail"),
    ])
    .unwrap()
}

/// What a rule matches, by the row alone.
pub(super) fn matches(row: RowId) -> bool {
    row.0[0].is_multiple_of(3)
}

fn trail(count: usize) -> String {
    let record = |n: usize| {
        json!({
            "eventVersion": "1.08", "eventTime": "2026-01-15T09:15:00Z", "eventSource": "iam.amazonaws.com",
            "eventName": "CreateUser", "awsRegion": "us-east-1", "sourceIPAddress": "192.0.2.1",
            "userAgent": "a", "requestID": n.to_string(), "eventID": n.to_string(), "eventType": "AwsApiCall",
            "recipientAccountId": "123456789012", "userIdentity": { "type": "Root" },
        })
    };
    json!({ "Records": (0..count).map(record).collect::<Vec<_>>() }).to_string()
}

/// A key below its prefix and bytes. `number` makes the bytes differ from all others.
pub(super) fn make(dice: &mut fastrand::Rng, number: usize) -> (&'static str, Vec<u8>) {
    let events = dice.usize(1..6);
    let mut lines = String::new();
    for line in logins(events).lines() {
        lines.push_str(line);
        lines.push('\n');
        if dice.u8(..4) == 0 {
            lines.push_str(&format!("no json {number}\n\n"));
        }
    }
    lines.push_str(&format!("end {number}\n"));
    match dice.u8(..20) {
        0 => ("lines/", Vec::new()),
        1 => ("lines/old/", lines.into()),
        2 => ("elsewhere/", lines.into()),
        // Two batches: rejects fill one, too.
        3..=5 => {
            let middle: String = (0..520).map(|n| format!("{n}\n")).collect();
            ("lines/", (lines.clone() + &middle + &lines).into())
        }
        6 | 7 => {
            let whole = gzip(&(0..40).map(|n| format!("{}reject {n} {number}\n", logins(1))).collect::<String>());
            ("lines/", whole[..whole.len() - 8 - dice.usize(1..20)].to_vec())
        }
        8..=10 => ("arrays/", format!("[{}, {number}]", logins(events).trim().replace('\n', ",")).into()),
        11..=13 => ("trail/", gzip(&trail(events + number))),
        14..=16 => ("lines/", gzip(&lines)),
        _ => ("lines/", lines.into()),
    }
}

impl World {
    /// Reads an object undisturbed: what must come out of it in the end.
    pub(super) fn version(&self, sources: &SourceTable, object: &ObjectRef, bytes: &[u8]) -> Version {
        let (mut events, mut rejects) = (BTreeSet::new(), BTreeSet::new());
        let end = match sources.route(object) {
            Routing::Unrouted => ObjectState::Unrouted,
            Routing::Excluded(_) => ObjectState::Excluded,
            Routing::Route(_) if bytes.is_empty() => ObjectState::Empty,
            Routing::Route(route) => {
                let context = Context {
                    object: object.id(),
                    address: Some(object.to_string().into()),
                    source: route.source().into(),
                    parse_time: crate::state::fixtures::START,
                    keep_unknown: true,
                    guard_event_time: true,
                };
                let limits = Config::default().limits();
                let mut reader = RecordReader::new(&route, limits, &self.log_types, context).unwrap();
                let mut input = bytes::Bytes::copy_from_slice(bytes);
                let mut take = |batch: EventBatch| {
                    events.extend(batch.events.iter().map(|event| event.row_id));
                    rejects.extend(batch.rejects.iter().map(|reject| reject.ordinal));
                };
                while let Advance::Batch(batch) = reader.advance(&mut input) {
                    take(batch);
                }
                while let Advance::Batch(batch) = reader.end() {
                    take(batch);
                }
                if reader.failed() { ObjectState::Quarantined } else { ObjectState::Committed }
            }
        };
        Version { object: object.clone(), events, rejects, end }
    }
}
