//! Parsers for formats that the schema language cannot describe, one file each and one line in the table.
//!
//! A schema selects one with `parser: {native: {name: …}}`. A name that is not in the table means plain JSON of the
//! schema's fields, which is what most published schemas with a native parser are.

mod alb;
mod cloudtrail;
mod gitlab_production;
mod s3_access;
mod syslog;
mod umbrella;
mod vpc_flow;

use super::{AsIs, Each, Entry, Memory};

#[derive(Debug)]
pub(crate) struct Native {
    pub(crate) name: &'static str,
    /// Whether the first record of an object names the values of the others.
    pub(super) has_header: bool,
    pub(super) as_is: AsIs,
    pub(super) parse: fn(&Entry<'_>, &mut Memory, Each<'_>) -> Result<(), String>,
}

const TABLE: &[Native] = &[
    Native { name: "AWS.ALB", has_header: false, as_is: AsIs::Never, parse: alb::parse },
    Native {
        name: "AWS.CloudTrail",
        has_header: false,
        as_is: AsIs::Unless(cloudtrail::RECORDS),
        parse: cloudtrail::parse,
    },
    Native {
        name: "AWS.CloudTrailInsight",
        has_header: false,
        as_is: AsIs::Unless(cloudtrail::RECORDS),
        parse: cloudtrail::parse,
    },
    Native { name: "AWS.S3ServerAccess", has_header: false, as_is: AsIs::Never, parse: s3_access::parse },
    Native { name: "AWS.VPCFlow", has_header: true, as_is: AsIs::Never, parse: vpc_flow::parse },
    Native { name: "CiscoUmbrella.CloudFirewall", has_header: false, as_is: AsIs::Never, parse: umbrella::firewall },
    Native { name: "CiscoUmbrella.DNS", has_header: false, as_is: AsIs::Never, parse: umbrella::dns },
    Native { name: "CiscoUmbrella.IP", has_header: false, as_is: AsIs::Never, parse: umbrella::ip },
    Native { name: "CiscoUmbrella.Proxy", has_header: false, as_is: AsIs::Never, parse: umbrella::proxy },
    Native { name: "GitLab.Production", has_header: false, as_is: AsIs::Never, parse: gitlab_production::parse },
    Native { name: "Syslog.RFC3164", has_header: false, as_is: AsIs::Never, parse: syslog::rfc3164 },
    Native { name: "Syslog.RFC5424", has_header: false, as_is: AsIs::Never, parse: syslog::rfc5424 },
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
