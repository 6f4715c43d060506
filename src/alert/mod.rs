//! Alerts on their way to people: delivery from the outbox to destinations, and how an alert looks as text.
//!
//! Grouping is decided in `state/window` and routing in `state/route`, inside the transaction that opens an alert.
//!
//! To add a destination: one file in `destination/`, its settings in [`Config`], one line where the application is
//! composed.

pub mod delivery;
pub mod destination;
pub mod render;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub stdout: StdoutConfig,
}

/// New alerts on standard output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StdoutConfig {
    pub enabled: bool,
    pub format: OutputFormat,
}

impl Default for StdoutConfig {
    fn default() -> StdoutConfig {
        StdoutConfig { enabled: true, format: OutputFormat::Auto }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputFormat {
    /// Human-readable on a terminal, else JSON lines.
    Auto,
    Human,
    Json,
}
