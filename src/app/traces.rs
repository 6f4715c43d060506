//! Traces for the daemon: sent, as long as it runs, to the collector that the configuration names.

use std::path::Path;

use crate::config::{Config, Secrets};
use crate::runtime::Tasks;
use crate::telemetry::{Exporter, Telemetry};

/// Starts to collect and to send, as a task of `front`: the last spans are those of the end.
pub(super) fn export(path: &Path, config: &Config, telemetry: &Telemetry, front: &Tasks) -> anyhow::Result<()> {
    if let Some(exporter) = exporter(path, config, telemetry)? {
        front.spawn(exporter.run(front.token().clone()));
    }
    Ok(())
}

/// What sends traces, with the secrets read; nothing where there is no collector.
pub fn exporter(path: &Path, config: &Config, telemetry: &Telemetry) -> anyhow::Result<Option<Exporter>> {
    let secrets = Secrets::beside(path);
    let mut headers = Vec::new();
    for (name, reference) in &config.telemetry.otlp_headers {
        let value = secrets.get(reference);
        let value = value.map_err(|problem| anyhow::anyhow!("`telemetry.otlp_headers.{name}` {problem}"))?;
        headers.push((name.clone(), value));
    }
    Exporter::new(&config.telemetry, headers, telemetry).map_err(anyhow::Error::msg)
}
