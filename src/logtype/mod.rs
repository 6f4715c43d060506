//! Log types: what a record may be and how it becomes a typed event. Pure and synchronous.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folders with more log types, one YAML each; one of a built-in name replaces it. Relative to the configuration file.
    pub directories: Vec<PathBuf>,
}
