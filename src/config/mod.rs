//! The configuration: one TOML file, overlaid by environment variables, read at start and when it changed.
//!
//! It is the sum of the modules' own `Config` types and nothing else; it builds nothing and opens no socket. What is
//! wrong with it is told all at once: [`load`] gives either a configuration that holds or every [`Problem`] of it.
//!
//! A variable is `MARGAY_` and the key with `__` between its parts: `MARGAY_QUEUE__SQS__URL` is `queue.sqs.url`, and
//! `MARGAY_SOURCES__0__EXTERNAL_ID` is a key of the first `[[sources]]` entry of the file. This is the only place that
//! reads the environment.

mod check;
mod difference;
mod dump;
mod environment;
mod extract;
mod keys;
mod layers;
mod paths;
mod problem;
mod secrets;
mod test_settings;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use difference::changed_keys;
pub use dump::dump;
pub use keys::keys;
pub use problem::{Place, Problem, Problems};
pub use secrets::Secrets;
pub use test_settings::TestSettings;

use crate::{alert, detect, fetch, http, lake, logtype, pipeline, queue, remote, search, source, state, telemetry};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub queue: queue::Config,
    pub fetch: fetch::Config,
    pub state: state::Config,
    pub lake: lake::Config,
    pub log_types: logtype::Config,
    pub rules: detect::Config,
    pub remote: remote::Config,
    pub alerts: alert::Config,
    pub pipeline: pipeline::Config,
    pub http: http::Config,
    pub search: search::Config,
    pub log: telemetry::Config,
    pub telemetry: telemetry::SpansConfig,
    pub sources: Vec<source::SourceConfig>,
}

/// Reads a file and the environment.
pub fn load(path: &Path) -> Result<Config, Problems> {
    load_with(path, environment::variables())
}

/// Reads a file and overlays it with `variables`, names and values, as if they were the environment.
pub fn load_with(path: &Path, variables: Vec<(String, String)>) -> Result<Config, Problems> {
    let file = layers::File::read(path)?;
    let (layers, mut problems) = layers::Layers::new(file, environment::overlays(variables));
    let extracted = extract::extract(layers);
    problems.extend(extracted.problems);
    if let Some(mut config) = extracted.config {
        let folder = path.parent().unwrap_or(Path::new(""));
        paths::resolve(&mut config, &extracted.layers, folder);
        let findings = check::check(&config, &|path| path.is_dir());
        problems.extend(extracted.told.judge(findings, &extracted.layers));
        if problems.is_empty() {
            paths::take_copies(&mut config);
            return Ok(config);
        }
    }
    Err(Problems(problems))
}

#[cfg(test)]
mod tests;
