//! A source as the pipeline needs it: whose identity reads an object, how its bytes are split, what it may hold.
//!
//! `source/` owns the configuration and the matching; these are the values it hands on.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Whose identity reads the objects of a source. `None` everywhere means the daemon's own identity and region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Access {
    /// Name of the source; becomes part of the role session's name.
    pub source: String,
    pub role_arn: Option<String>,
    pub external_id: Option<String>,
    pub region: Option<String>,
    /// Sent as the expected bucket owner when it is known.
    pub account_id: Option<String>,
    /// The key that encrypts the objects, to name it where it is refused.
    pub kms_key_arn: Option<String>,
    /// The reader pays for requests and transfer.
    pub requester_pays: bool,
    /// Address of a store that is not AWS's own, instead of the daemon's.
    pub endpoint: Option<String>,
    /// Buckets as `endpoint/bucket/key`; `None` as the daemon does it.
    pub path_style: Option<bool>,
}

/// What becomes of an announced object that does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnMissing {
    /// Looked for a few times, then it is recorded as missing.
    #[default]
    Accept,
    /// Its message stays in the queue until it is there, or the queue gives the message up.
    Retry,
}

/// How the bytes of an object are split into records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamType {
    /// Decided per object from its first bytes.
    #[default]
    Auto,
    Lines,
    #[serde(rename = "JSON")]
    Json,
    /// One record per element of the array; the array is found under the envelope field, when there is one.
    JsonArray,
    /// One record per log event in the envelopes of a CloudWatch Logs subscription.
    CloudWatchLogs,
    /// One record per child element of the root element.
    #[serde(rename = "XML")]
    Xml,
    /// One record per row, as JSON.
    Parquet,
}

impl StreamType {
    /// As in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            StreamType::Auto => "Auto",
            StreamType::Lines => "Lines",
            StreamType::Json => "JSON",
            StreamType::JsonArray => "JsonArray",
            StreamType::CloudWatchLogs => "CloudWatchLogs",
            StreamType::Xml => "XML",
            StreamType::Parquet => "Parquet",
        }
    }
}

/// A stream type with its options, those that the log types of the object imply among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    pub kind: StreamType,
    /// Dot-separated keys that lead to the array of [`StreamType::JsonArray`]; empty: the document is the array. With
    /// [`StreamType::Auto`] an array there is preferred to everything else.
    pub json_array_envelope_field: String,
    /// Whether records of [`StreamType::CloudWatchLogs`] carry the envelope they came in.
    pub retain_envelope_fields: bool,
    /// The element whose children are the records of [`StreamType::Xml`]; without it the outermost elements are.
    /// [`StreamType::Auto`] considers XML only with it.
    pub xml_root_element: Option<String>,
    /// When not empty, lines are records of delimited text: a quoted value, which begins behind one of these
    /// delimiters or a line end, may hold line ends.
    pub csv_delimiters: Vec<u8>,
}

/// The decision about one object: which source it belongs to and how to read it.
#[derive(Clone, Debug)]
pub struct Route {
    pub access: Arc<Access>,
    /// Candidates for classification, in configured order.
    pub log_types: Arc<[Arc<str>]>,
    pub stream: Arc<Stream>,
    pub on_missing: OnMissing,
}

impl Route {
    pub fn source(&self) -> &str {
        &self.access.source
    }
}
