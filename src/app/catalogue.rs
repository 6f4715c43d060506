//! From the configuration to the catalogue of log types and sources, with everything that is wrong with either, and to
//! the next catalogue while the daemon runs, with the destinations of alerts.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::destinations::destinations;
use super::revisions;
use super::secrets::forget_others;
use crate::alert;
use crate::alert::destination::Line;
use crate::aws::vault::Vault;
use crate::config::{self, Config};
use crate::logtype::{LoadErrors, Registry, is_schema_file};
use crate::pipeline::{Catalogue, Pipeline};
use crate::runtime::{Watch, Watched, blocking, files_below};
use crate::source::SourceTable;
use crate::telemetry::Telemetry;

/// Reads the log types and checks the sources; all that is wrong with either.
pub fn catalogue(config: &Config) -> Result<Catalogue, Vec<String>> {
    let mut problems = config.remote.missing();
    let log_types = log_types(&config.log_types.directories).map_err(|found| problems.extend(found)).map(Arc::new).ok();
    let sources = SourceTable::new(&config.sources).map_err(|found| problems.extend(found)).ok();
    for source in &config.sources {
        let names = source.prefixes.iter().flat_map(|prefix| &prefix.log_types);
        let unknown = names.filter_map(|name| log_types.as_ref()?.get(name).err());
        problems.extend(unknown.map(|unknown| format!("source {:?}: {unknown}", source.name)));
    }
    match (log_types, sources) {
        (Some(log_types), Some(sources)) if problems.is_empty() => Ok(Catalogue { log_types, sources }),
        _ => Err(problems),
    }
}

/// The built-in log types and those below these folders; everything that is wrong with the latter.
pub fn log_types(folders: &[PathBuf]) -> Result<Registry, Vec<String>> {
    let mut files = Vec::new();
    for entry in folders.iter().flat_map(|folder| files_below(folder)) {
        let file = entry.map_err(|(path, reason)| vec![format!("{}: {reason}", path.display())])?;
        if is_schema_file(&file) {
            files.push(file);
        }
    }
    let loaded = Registry::built_in().with_files(&files);
    loaded.map_err(|LoadErrors(errors)| errors.iter().map(ToString::to_string).collect())
}

/// A watch over the configuration file and the folders with log types. Its first look comes at once: so a change between
/// the start and the watch is seen too.
pub(super) fn watch(path: &Path, config: &Config, debounce: Duration, telemetry: Telemetry) -> Watch {
    let folders = config.log_types.directories.clone();
    let watched = Watched { folders, counts: is_schema_file, files: vec![path.to_owned()] };
    Watch::new(watched, debounce, move |reason, interval| {
        telemetry.files_not_watched("configuration", reason, interval);
    })
}

/// What asks for a load beside changes of files.
pub(super) struct Prompts {
    pub(super) hangups: Signal,
    /// Some secret there is another one now.
    pub(super) vault: Arc<Vault>,
}

impl Prompts {
    async fn next(&mut self) {
        tokio::select! {
            // Nothing ends the stream of signals.
            _ = self.hangups.recv() => self.vault.expire().await,
            () = self.vault.changed() => {}
        }
    }
}

/// Loads file, log types and sources anew until `shutdown`: when they changed, and at a SIGHUP. What can't be used is
/// refused whole, and told once. `started` is what the other parts were built from.
pub(super) async fn reload(
    pipeline: Arc<Pipeline>,
    path: PathBuf,
    started: Config,
    lines: watch::Sender<Vec<Line>>,
    mut watch: Watch,
    mut prompts: Prompts,
    shutdown: CancellationToken,
) {
    let telemetry = &pipeline.telemetry;
    let (mut alerts, vault) = (started.alerts.clone(), prompts.vault.clone());
    // A load that was asked for and refused is made up for by the next that is not.
    let mut is_owed = false;
    loop {
        let prompt = pin!(prompts.next());
        let look = tokio::select! {
            () = shutdown.cancelled() => return,
            look = watch.next(prompt) => look,
        };
        watch.accept(&look);
        // What a secret names may have changed where the configuration has not.
        is_owed |= look.asked;
        let in_use = (!is_owed).then_some(&alerts);
        match load(path.clone(), &pipeline, in_use, &vault).await {
            Ok((config, catalogue, built)) => {
                is_owed = false;
                if let Some(built) = built {
                    pipeline.destinations.send_replace(config.alerts.receivers().into());
                    lines.send_replace(built);
                    alerts.clone_from(&config.alerts);
                    forget_others(&config, &started, &vault).await;
                }
                let (sources, log_types) = (config.sources.len(), catalogue.log_types.names().count());
                pipeline.catalogue.swap(catalogue);
                pipeline.engine.reload_tables().await;
                telemetry.configuration_loaded(sources, log_types, pipeline.clock.now());
                let others = config::changed_keys(&started, &config);
                if !others.is_empty() {
                    telemetry.restart_needed(&others.join(", "));
                }
                watch.turn_to(&config.log_types.directories);
            }
            Err(reason) => telemetry.configuration_refused(&reason),
        }
    }
}

/// All of it, or everything that is wrong. Destinations come with it when they are not as those `in_use`.
async fn load(
    path: PathBuf,
    pipeline: &Pipeline,
    in_use: Option<&alert::Config>,
    vault: &Vault,
) -> Result<(Config, Catalogue, Option<Vec<Line>>), String> {
    let file = path.clone();
    let (config, catalogue) = blocking(move || {
        let config = config::load(&file).map_err(|problems| problems.to_string())?;
        let catalogue = catalogue(&config).map_err(|problems| problems.join("\n"))?;
        Ok::<_, String>((config, catalogue))
    })
    .await?;
    let is_same =
        in_use.is_some_and(|own| own.destinations == config.alerts.destinations && own.stdout == config.alerts.stdout);
    let lines = if is_same { None } else { Some(destinations(&path, &config, vault).await) };
    let lines = lines.transpose().map_err(|problems| problems.join("\n"))?;
    let settled = revisions::settled(catalogue, &config, &*pipeline.state, pipeline.clock.now()).await;
    Ok((config, settled.map_err(|problems| problems.join("\n"))?, lines))
}
