//! One message from receipt to acknowledgement.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Messages worked on at once.
    pub max_in_flight: usize,
    /// Bytes of fetched, decoded and not yet durable data, in MiB, over all objects.
    pub memory_budget_mib: u64,
    /// One object may decompress to this many bytes, in MiB.
    pub max_object_mib: u64,
    /// One record may have this many bytes, in MiB.
    pub max_record_mib: u64,
    /// Time for work in flight after SIGTERM, in seconds.
    pub shutdown_grace_seconds: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            max_in_flight: 32,
            memory_budget_mib: 512,
            max_object_mib: 32 * 1024,
            max_record_mib: 16,
            shutdown_grace_seconds: 25,
        }
    }
}
