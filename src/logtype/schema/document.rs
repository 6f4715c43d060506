//! The YAML of a schema as it is written: names of keys and shapes of values, with their places. What the values mean
//! is decided in [`compile`](super::compile).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Document {
    /// Published schemas leave it out now and then.
    pub(super) version: Option<Spanned<i64>>,
    pub(super) schema: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) description: String,
    #[serde(rename = "referenceURL")]
    pub(super) reference_url: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) field_discovery_enabled: bool,
    #[serde(default)]
    pub(super) strict_arrays: bool,
    #[serde(default)]
    pub(super) catch_all: bool,
    #[serde(default, rename = "override")]
    pub(super) overrides: bool,
    #[serde(default)]
    pub(super) definitions: BTreeMap<String, Spanned<FieldDoc>>,
    pub(super) fields: Spanned<Vec<Spanned<FieldDoc>>>,
    pub(super) parser: Option<Spanned<ParserDoc>>,
}

/// A field or a value. Which keys may stand where is checked when it is compiled, so that the error can say more.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct FieldDoc {
    pub(super) name: Option<Spanned<String>>,
    #[serde(rename = "type")]
    pub(super) kind: Option<Spanned<String>>,
    pub(super) required: Option<bool>,
    pub(super) description: Option<String>,
    pub(super) indicators: Option<Vec<Spanned<String>>>,
    pub(super) validate: Option<Spanned<ValidateDoc>>,
    pub(super) time_format: Option<Spanned<String>>,
    pub(super) time_formats: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) is_event_time: Option<bool>,
    pub(super) is_expiration: Option<bool>,
    #[serde(rename = "isEmbeddedJSON")]
    pub(super) is_embedded_json: Option<bool>,
    pub(super) element: Option<Box<Spanned<FieldDoc>>>,
    pub(super) fields: Option<Spanned<Vec<Spanned<FieldDoc>>>>,
    pub(super) target: Option<Spanned<String>>,
    pub(super) rename: Option<FromDoc>,
    pub(super) copy: Option<FromDoc>,
    pub(super) split: Option<SplitDoc>,
    pub(super) concat: Option<ConcatDoc>,
    pub(super) mask: Option<Spanned<MaskDoc>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ValidateDoc {
    pub(super) allow: Option<Vec<String>>,
    pub(super) deny: Option<Vec<String>>,
    pub(super) allow_contains: Option<Vec<String>>,
    pub(super) deny_contains: Option<Vec<String>>,
    pub(super) ip: Option<IpDoc>,
    pub(super) cidr: Option<IpDoc>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum IpDoc {
    Ipv4,
    Ipv6,
    Any,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FromDoc {
    pub(super) from: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SplitDoc {
    pub(super) from: Option<String>,
    pub(super) separator: String,
    pub(super) index: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConcatDoc {
    #[serde(default)]
    pub(super) separator: String,
    pub(super) paths: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MaskDoc {
    #[serde(rename = "type")]
    pub(super) kind: MaskKind,
    pub(super) salt: Option<String>,
    pub(super) to: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum MaskKind {
    Hash,
    Redact,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ParserDoc {
    pub(super) csv: Option<Spanned<CsvDoc>>,
    pub(super) fastmatch: Option<Spanned<FastmatchDoc>>,
    pub(super) regex: Option<Spanned<RegexDoc>>,
    pub(super) native: Option<NativeDoc>,
    pub(super) script: Option<Spanned<ScriptDoc>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct CsvDoc {
    pub(super) delimiter: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) has_header: bool,
    pub(super) columns: Option<Vec<String>>,
    #[serde(default)]
    pub(super) skip_lines: u64,
    pub(super) skip_prefix: Option<String>,
    #[serde(default)]
    pub(super) trim_space: bool,
    #[serde(default)]
    pub(super) empty_values: Vec<String>,
    #[serde(default)]
    pub(super) expand_fields: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct FastmatchDoc {
    #[serde(rename = "match")]
    pub(super) patterns: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) skip_lines: u64,
    pub(super) skip_prefix: Option<String>,
    #[serde(default)]
    pub(super) trim_space: bool,
    #[serde(default)]
    pub(super) empty_values: Vec<String>,
    #[serde(default)]
    pub(super) expand_fields: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RegexDoc {
    #[serde(rename = "match")]
    pub(super) parts: Vec<String>,
    /// The second spelling is that of an older schema file.
    #[serde(default, alias = "patternDefintions")]
    pub(super) pattern_definitions: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) skip_lines: u64,
    pub(super) skip_prefix: Option<String>,
    #[serde(default)]
    pub(super) trim_space: bool,
    #[serde(default)]
    pub(super) empty_values: Vec<String>,
    #[serde(default)]
    pub(super) expand_fields: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NativeDoc {
    pub(super) name: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScriptDoc {
    #[serde(rename = "function")]
    pub(super) _function: String,
}
