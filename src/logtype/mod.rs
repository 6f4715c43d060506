//! Log types: what a record may be and how it becomes a typed event. Pure and synchronous; only
//! [`Registry::with_files`] reads files, once, at load.
//!
//! A [`schema`] is YAML; [`registry`] holds them by name. [`classify`] takes a record through the candidates: a
//! [`parser`] makes raw fields of it, [`coerce`] makes typed ones, collecting indicators and the event time on the way.
//! Most records of JSON have nothing unusual about them, and [`direct`] makes their typed fields in one pass.
//! [`rows`] does the same for records that are rows of lookup tables.
//! To add a log type, put a YAML into `config/log_types/` and samples into `tests/corpus/log_types/`.

mod aws;
pub mod batch;
pub mod cases;
mod classify;
mod coerce;
mod columns;
mod direct;
mod discovery;
pub mod evolve;
mod guess;
mod header;
mod indicator;
pub mod infer;
mod json;
mod lexer;
mod parser;
mod put;
mod registry;
pub mod revision;
mod rows;
pub mod schema;
mod standard;
mod stream;
mod time_format;
mod transform;

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod hostile_tests;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use classify::{Classified, Classifier, Context};
pub use guess::{Guess, guess};
pub use indicator::{Kind as IndicatorKind, Scanner};
pub use registry::{LoadErrors, Origin, Registry, UnknownLogType, is_schema_file, is_schema_tests};
pub use rows::{PrimaryKey, RowReader};
pub use schema::{Schema, SchemaError};
pub use stream::stream_of;
pub use time_format::TimeFormat;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folders with more log types, one YAML each; one of a built-in name replaces it. Relative to the configuration
    /// file.
    pub directories: Vec<PathBuf>,
    /// A schema may widen the integers of its last revision.
    pub allow_widening: bool,
}
