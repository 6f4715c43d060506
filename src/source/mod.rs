//! Which source an object belongs to, and the identity that reads it.
//!
//! `check` finds what is wrong with the configuration with the help of `name`, `table` matches objects to sources (all
//! pure); `role` keeps the sessions of roles, `sts` asks for them; `keys` is the port that tells how a key is, `kms` its
//! adapter; `template` writes what the accounts around a source need. Nothing here reads an object.

mod check;
mod keys;
pub mod kms;
mod name;
mod role;
mod sts;
mod table;
pub mod template;

use serde::{Deserialize, Serialize};

use crate::model::{OnMissing, StreamType};
pub use keys::{KeyError, KeyState, Keys};
pub use role::{Roles, Session, session_name};
pub use table::{Candidate, Owner, Routing, Scope, SourceTable};

/// One `[[sources]]` entry: a bucket of an account, and what lies under which prefix of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// Unique; becomes `p_source_label` and part of the role session's name.
    pub name: String,
    /// The objects of a source that is switched off are unrouted.
    #[serde(default = "yes")]
    pub enabled: bool,
    pub bucket: String,
    /// Account that owns the bucket, 12 digits.
    #[serde(default)]
    pub account_id: Option<String>,
    #[serde(default)]
    pub region: Option<String>,
    /// Role to assume for reading; without it the daemon reads as itself.
    #[serde(default)]
    pub role_arn: Option<String>,
    /// The same by its name in the account of `account_id`; `default` is [`SourceConfig::default_role_name`].
    #[serde(default)]
    pub role_name: Option<String>,
    #[serde(default)]
    pub external_id: Option<String>,
    /// Key that encrypts the objects, of any account and region.
    #[serde(default)]
    pub kms_key_arn: Option<String>,
    #[serde(default)]
    pub requester_pays: bool,
    /// Address of a store that is not AWS's own.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// As `fetch.path_style`, for this source.
    #[serde(default)]
    pub path_style: Option<bool>,
    #[serde(default)]
    pub on_missing: OnMissing,
    /// Whether an object that is brought back from an archive is read, as a new one is.
    #[serde(default)]
    pub include_restored: bool,
    /// An alert tells when no event has come for so long, from 15; 0: never.
    #[serde(default = "a_day")]
    pub silent_after_minutes: u32,
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

fn yes() -> bool {
    true
}

fn a_day() -> u32 {
    24 * 60
}

impl SourceConfig {
    /// A source with the defaults for everything else.
    pub fn new(name: impl Into<String>, bucket: impl Into<String>, prefixes: Vec<PrefixConfig>) -> SourceConfig {
        SourceConfig {
            name: name.into(),
            enabled: true,
            bucket: bucket.into(),
            account_id: None,
            region: None,
            role_arn: None,
            role_name: None,
            external_id: None,
            kms_key_arn: None,
            requester_pays: false,
            endpoint: None,
            path_style: None,
            on_missing: OnMissing::default(),
            include_restored: false,
            silent_after_minutes: a_day(),
            stream_type: StreamType::default(),
            json_array_envelope_field: None,
            retain_envelope_fields: None,
            xml_root_element: None,
            prefixes,
        }
    }

    /// The role that reads the source: the configured ARN, or the one that `role_name` means.
    fn role(&self) -> Option<String> {
        if self.role_arn.is_some() {
            return self.role_arn.clone();
        }
        let (name, account) = (self.role_name.as_ref()?, self.account_id.as_ref()?);
        let name = if name == DEFAULT_ROLE { self.default_role_name() } else { name.clone() };
        let partition = self.region.as_deref().map_or("aws", name::partition);
        Some(format!("arn:{partition}:iam::{account}:role/{name}"))
    }

    /// `MargayLogProcessingRole-<label>`: the source's name in lower case, and a hyphen for what a role's name can't
    /// have.
    pub fn default_role_name(&self) -> String {
        let fitting = |c: char| if name::is_role_name_char(c) { c.to_ascii_lowercase() } else { '-' };
        format!("MargayLogProcessingRole-{}", self.name.trim().chars().map(fitting).collect::<String>())
    }
}

/// The value of `role_name` that stands for the role's generated name.
const DEFAULT_ROLE: &str = "default";

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
        SourceConfig::new(name, bucket, prefixes.into_iter().collect())
    }

    pub(super) fn prefix(prefix: &str, log_type: &str) -> PrefixConfig {
        PrefixConfig { prefix: prefix.into(), log_types: vec![log_type.into()], ..PrefixConfig::default() }
    }

    #[test]
    fn a_role_by_name_is_in_the_account_and_in_the_partition_of_the_region() {
        let mut trail = source("Prod Trail: 1", "logs", []);
        trail.account_id = Some("012345678901".into());
        for (name, region, arn) in [
            ("default", None, "arn:aws:iam::012345678901:role/MargayLogProcessingRole-prod-trail--1"),
            ("Reader", Some("eu-central-1"), "arn:aws:iam::012345678901:role/Reader"),
            ("Reader", Some("us-gov-west-1"), "arn:aws-us-gov:iam::012345678901:role/Reader"),
            ("Reader", Some("cn-north-1"), "arn:aws-cn:iam::012345678901:role/Reader"),
        ] {
            (trail.role_name, trail.region) = (Some(name.into()), region.map(Into::into));
            assert_eq!(trail.role().as_deref(), Some(arn));
        }
    }
}
