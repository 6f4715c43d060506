//! Detections.

pub mod protocol;
pub mod python;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folders with rules, helpers and data models, read recursively. Relative to the configuration file.
    pub directories: Vec<PathBuf>,
    /// Worker processes; 0 means one per core.
    pub workers: usize,
    /// Wall time of one function call of a rule, in milliseconds.
    pub call_timeout_ms: u64,
    /// Address space of one worker process, in MiB.
    pub worker_memory_mib: u64,
    /// A change of the rules is loaded after this much quiet, in milliseconds.
    pub reload_debounce_ms: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            directories: Vec::new(),
            workers: 0,
            call_timeout_ms: 1000,
            worker_memory_mib: 1024,
            reload_debounce_ms: 500,
        }
    }
}
