//! Parsers for formats that the schema language cannot describe, one file each and one line in the table.
//!
//! A schema selects one with `parser: {native: {name: …}}`. A name that is not in the table means plain JSON of the
//! schema's fields, which is what most published schemas with a native parser are.

mod cloudtrail;
mod s3_access;
mod vpc_flow;

use super::{Each, Entry, Memory};

#[derive(Debug)]
pub(crate) struct Native {
    pub(crate) name: &'static str,
    pub(super) parse: fn(&Entry<'_>, &mut Memory, Each<'_>) -> Result<(), String>,
}

const TABLE: &[Native] = &[
    Native { name: "AWS.CloudTrail", parse: cloudtrail::parse },
    Native { name: "AWS.S3ServerAccess", parse: s3_access::parse },
    Native { name: "AWS.VPCFlow", parse: vpc_flow::parse },
];

impl Native {
    pub(crate) fn by_name(name: &str) -> Option<&'static Native> {
        TABLE.iter().find(|native| native.name == name)
    }
}

/// The value of a column in formats that write `-` for nothing.
fn present(value: &str) -> Option<&str> {
    (!matches!(value, "-" | "")).then_some(value)
}
