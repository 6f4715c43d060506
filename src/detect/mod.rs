//! Detections: Python rules over events.
//!
//! `engine` is the face to the rest of margay: it evaluates batches on the current rule set. In the order in which a
//! change of the rules travels: `reload` watches the folders, `spec` is the YAML as written, `declared` what it says
//! without Python, `content` folders of it, `load` takes these all the way, `ruleset` is what an event visits, with last
//! good versions, `generation` a rule set with its workers. In the order in which a batch travels: the tables of `crate::lookup` add what they know, `guard`
//! decides what can be decided without Python, `plan` says which events which rules ask
//! Python about, `profile` counts what they cost, `strikes` leaves out rules that are switched off, `worker` is one
//! process, `course` what it may say and when, `key_value` answers what rules in it keep between events, `rows` what
//! lookup tables say when a rule asks, `protocol` what is said over its pipe, `python` the inside of that process, and the
//! only place that names rustpython. `outcome` applies the defaults of production mode, `verdicts` makes matches and
//! faults of them. What queries find travels the same way (`scheduled`).
//!
//! `testing` runs the tests of the content, `survey` tells about its rules.
//!
//! No rule runs in this process, and no event is changed by one.

pub mod content;
mod course;
mod declared;
mod engine;
mod generation;
pub mod guard;
mod key_value;
mod load;
mod outcome;
mod plan;
mod profile;
pub mod protocol;
pub mod python;
pub mod reload;
mod rows;
mod ruleset;
mod scheduled;
mod spec;
mod strikes;
pub mod survey;
pub mod testing;
mod verdicts;
mod worker;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::Alerting;

pub use engine::{DetectError, Engine, Usage};
pub use key_value::KeyValues;
pub use load::LoadReport;
pub use scheduled::{ScheduledQuery, topic};
pub use worker::WorkerCommand;

use crate::lookup::{Fault, Limits};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Decide natively what can be decided without Python.
    pub guards: bool,
    /// Folders with rules, helpers and data models, read recursively. Relative to the configuration file.
    pub directories: Vec<PathBuf>,
    /// Packs whose items are evaluated though they are disabled in their own files, by `PackID`.
    pub packs: Vec<String>,
    /// Worker processes; 0 means one per core.
    pub workers: usize,
    /// Wall time of one function call of a rule, in milliseconds.
    pub call_timeout_ms: u64,
    /// Address space of one worker process, in MiB.
    pub worker_memory_mib: u64,
    /// Rules with a name of their own in the metrics, the first that have something to tell; all others are one.
    pub named_in_metrics: usize,
    /// Refuse to start where the kernel does not filter the system calls of rule workers.
    pub require_seccomp: bool,
    /// A change of the rules, the sources or the log types is loaded after this much quiet, in milliseconds.
    pub reload_debounce_ms: u64,
    pub alerts: Alerting,
    /// Rows of one lookup table.
    pub max_table_rows: u64,
    /// Of one lookup table: its file as it is stored, and its rows in memory.
    pub max_table_mib: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            guards: true,
            directories: Vec::new(),
            packs: Vec::new(),
            workers: 0,
            call_timeout_ms: 1000,
            worker_memory_mib: 1024,
            named_in_metrics: 1000,
            require_seccomp: false,
            reload_debounce_ms: 500,
            alerts: Alerting::default(),
            max_table_rows: 5_000_000,
            max_table_mib: 512,
        }
    }
}

impl Config {
    /// What one lookup table may cost.
    pub fn table_limits(&self) -> Limits {
        Limits { max_rows: self.max_table_rows as usize, max_bytes: self.max_table_mib as usize * 1024 * 1024 }
    }
}

/// What is wrong with a lookup table, as with any other item.
pub fn table_problem(fault: Fault) -> content::Problem {
    let Fault { file, line, table, message, .. } = fault;
    content::Problem { file, line, item: Some(table.to_string()), message }
}

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
