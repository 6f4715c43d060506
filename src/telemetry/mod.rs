//! Logs and metrics. Every metric of margay is declared in `metrics`, once.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub format: LogFormat,
    /// Level, or level per module: `info`, `info,margay::fetch=debug`.
    pub filter: String,
}

impl Default for Config {
    fn default() -> Config {
        Config { format: LogFormat::Auto, filter: "info".into() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Human-readable on a terminal, else JSON.
    Auto,
    Human,
    Json,
}
