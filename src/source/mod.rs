//! Which source an object belongs to, and the identity that reads it.
//!
//! `check` finds what is wrong with the configuration, `table` matches objects to sources (both pure); `role` assumes
//! roles. Nothing here reads an object.

mod check;
mod role;
mod table;

use serde::{Deserialize, Serialize};

use crate::model::StreamType;
pub use role::Roles;
pub use table::{Owner, Routing, SourceTable};

/// One `[[sources]]` entry: a bucket of an account, and what lies under which prefix of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// Unique; becomes `p_source_label` and part of the role session's name.
    pub name: String,
    pub bucket: String,
    /// Account that owns the bucket, 12 digits.
    #[serde(default)]
    pub account_id: Option<String>,
    #[serde(default)]
    pub region: Option<String>,
    /// Role to assume for reading; without it the daemon reads as itself.
    #[serde(default)]
    pub role_arn: Option<String>,
    #[serde(default)]
    pub external_id: Option<String>,
    /// Whether an object that is brought back from an archive is read, as a new one is.
    #[serde(default)]
    pub include_restored: bool,
    /// What follows up to the prefixes holds for each of them that does not say otherwise.
    #[serde(default, alias = "log_stream_type")]
    pub stream_type: StreamType,
    /// Dot-separated keys that lead to the array, for `stream_type = "JsonArray"`.
    #[serde(default)]
    pub json_array_envelope_field: Option<String>,
    /// Whether events of CloudWatch Logs get `p_header`.
    #[serde(default)]
    pub retain_envelope_fields: Option<bool>,
    /// The element whose children are the records of XML.
    #[serde(default)]
    pub xml_root_element: Option<String>,
    pub prefixes: Vec<PrefixConfig>,
}

/// What lies under one prefix of a source. The longest matching prefix over all sources wins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrefixConfig {
    /// Byte-wise start of the key; empty matches every key.
    #[serde(default)]
    pub prefix: String,
    #[serde(default)]
    pub excluded_prefixes: Vec<String>,
    pub log_types: Vec<String>,
    #[serde(default, alias = "log_stream_type")]
    pub stream_type: Option<StreamType>,
    #[serde(default)]
    pub json_array_envelope_field: Option<String>,
    #[serde(default)]
    pub retain_envelope_fields: Option<bool>,
    #[serde(default)]
    pub xml_root_element: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn source(name: &str, bucket: &str, prefixes: impl IntoIterator<Item = PrefixConfig>) -> SourceConfig {
        SourceConfig {
            name: name.into(),
            bucket: bucket.into(),
            account_id: None,
            region: None,
            role_arn: None,
            external_id: None,
            include_restored: false,
            stream_type: StreamType::Auto,
            json_array_envelope_field: None,
            retain_envelope_fields: None,
            xml_root_element: None,
            prefixes: prefixes.into_iter().collect(),
        }
    }

    pub(super) fn prefix(prefix: &str, log_type: &str) -> PrefixConfig {
        PrefixConfig { prefix: prefix.into(), log_types: vec![log_type.into()], ..PrefixConfig::default() }
    }
}
