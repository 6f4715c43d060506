//! `margay backtest`: rules over raw logs, through the decoder, classifier, guards and workers of the daemon, and what would
//! come of it. Changes nothing and keeps nothing: batches go to the rules and are forgotten.

mod inputs;
mod report;
mod rules;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use futures_util::stream::{StreamExt, TryStreamExt, try_unfold};
use tokio::time::Instant;

use self::inputs::{Input, Source};
use self::report::Report;
use super::{block_on, complain, folders, print, usage};
use crate::app;
use crate::config::{self, Config};
use crate::detect::Engine;
use crate::lookup::{Refresher, Surroundings};
use crate::model::StreamType;
use crate::pipeline::Catalogue;
use crate::pipeline::scan::{ScanError, Scanner};
use crate::runtime::{SystemClock, Tasks};
use crate::telemetry::Telemetry;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Rules, each by its id or by its YAML file, or folders of rules. Without any, all rules that are enabled.
    #[arg(value_name = "RULE|PATH")]
    rules: Vec<String>,
    /// Raw logs: files, folders, or `s3://bucket/prefix`; compressed or not.
    #[arg(long, value_name = "FILE|FOLDER|s3://…", num_args = 1.., required = true)]
    input: Vec<String>,
    /// What log types the records may be of; without any, those of the rules, or of the source that an object belongs to.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    log_type: Vec<String>,
    /// How the bytes are split into records: `Auto`, `Lines`, `JSON`, `JsonArray`, `CloudWatchLogs`, `XML`, `Parquet`.
    #[arg(long, value_name = "TYPE", value_parser = stream_type)]
    stream_type: Option<StreamType>,
    /// Folder with rules, helpers and data models; may be given several times. Else those of the configuration, or
    /// `rules`.
    #[arg(long = "path", value_name = "FOLDER")]
    folders: Vec<PathBuf>,
    /// Configuration file with log types of one's own, sources and their roles.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Send every event to Python.
    #[arg(long)]
    no_guards: bool,
    /// Rule workers; by default one per core.
    #[arg(long, default_value_t = 0)]
    workers: usize,
    /// Show so many dedup strings and errors.
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// `text` for people, `json` (one object) for programs.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

/// As in the configuration, in any case.
fn stream_type(text: &str) -> Result<StreamType, String> {
    use StreamType::{Auto, CloudWatchLogs, Json, JsonArray, Lines, Parquet, Xml};
    let all = [Auto, Lines, Json, JsonArray, CloudWatchLogs, Xml, Parquet];
    let found = all.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text));
    found.ok_or_else(|| format!("it is one of {}", all.map(StreamType::as_str).join(", ")))
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let config = match &arguments.config {
        Some(path) => match config::load(path) {
            Ok(config) => config,
            Err(problems) => return usage(&problems),
        },
        None => Config::default(),
    };
    let catalogue = match app::catalogue(&config) {
        Ok(catalogue) => catalogue,
        Err(problems) => return usage(&problems.join("\n")),
    };
    let inputs = match arguments.input.iter().map(|text| Input::parse(text)).collect::<Result<Vec<_>, _>>() {
        Ok(inputs) => inputs,
        Err(problem) => return usage(&problem),
    };
    if let Some(unknown) = arguments.log_type.iter().find_map(|name| catalogue.log_types.get(name).err()) {
        return usage(&unknown);
    }
    block_on(backtest(arguments, config, catalogue, inputs))
}

async fn backtest(
    arguments: &Arguments,
    mut config: Config,
    catalogue: Catalogue,
    inputs: Vec<Input>,
) -> anyhow::Result<ExitCode> {
    let folders = match (&arguments.folders[..], &config.rules.directories[..]) {
        // Where rules are named by their files, they may be all that there is.
        ([], []) if !arguments.rules.is_empty() && !Path::new("rules").is_dir() => folders::read_whole(&[]),
        ([], []) => folders::read_whole(&[PathBuf::from("rules")]),
        ([], configured) => folders::read_whole(configured),
        (given, _) => folders::read_for(given),
    };
    let chosen = match rules::choose(&arguments.rules, folders).await {
        Ok(chosen) => chosen,
        Err(problem) => return Ok(usage(&problem)),
    };
    let log_types = log_types(arguments, &chosen, &catalogue);
    if log_types.is_empty() {
        return Ok(usage(&"no log type of the rules is known here; name some with `--log-type`"));
    }
    config.rules.directories = chosen.folders;
    config.rules.guards &= !arguments.no_guards;
    config.rules.workers = arguments.workers;
    let telemetry = Telemetry::new();
    let surroundings = Surroundings::fixed(catalogue.log_types.clone(), Arc::new(SystemClock));
    let (ids, program) = (chosen.ids.clone(), app::program()?);
    let (engine, loaded) = Engine::start_only(&config.rules, ids, program, telemetry.clone(), surroundings).await?;
    let of_chosen = |item: &Option<String>| item.as_ref().is_none_or(|id| chosen.ids.contains(id));
    for problem in loaded.problems.iter().filter(|problem| of_chosen(&problem.item)) {
        complain(format_args!("{problem}"));
    }
    anyhow::ensure!(loaded.rules > 0, "none of the rules could be loaded");
    let work = Tasks::new();
    read_tables(&engine, &config, &work, &telemetry, arguments.config.is_some()).await;
    let mut run = Run {
        engine,
        at_once: match arguments.workers {
            _ if chosen.keep => 1,
            0 => crate::detect::cores(),
            workers => workers,
        },
        report: Report::new(chosen.ids.len(), loaded.rules, &log_types),
    };
    let started = Instant::now();
    for input in &inputs {
        let source = Source::open(input, &config, &catalogue, &work, &log_types, arguments).await;
        match source {
            Ok(source) => run.source(&source, &config, &catalogue).await?,
            Err(error) => run.report.failed(&input.to_string(), &format!("{error:#}")),
        }
    }
    work.shut_down();
    let Run { engine, report, .. } = run;
    let told = report.tell(started.elapsed(), &engine.usage(), &telemetry.rule_profiles(), arguments.top);
    print(&match arguments.format {
        Format::Text => told.text(),
        Format::Json => told.json(),
    })?;
    Ok(if told.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Those that are asked for, or those that the rules wait for and that are known.
fn log_types(arguments: &Arguments, chosen: &rules::Chosen, catalogue: &Catalogue) -> Vec<Arc<str>> {
    if !arguments.log_type.is_empty() {
        return arguments.log_type.iter().map(|name| Arc::from(name.as_str())).collect();
    }
    let (known, unknown): (Vec<_>, Vec<_>) =
        chosen.log_types.iter().partition(|name| catalogue.log_types.get(name).is_ok());
    if !unknown.is_empty() {
        complain(format_args!("rules wait for log types that are not known here: {unknown:?}"));
    }
    known.into_iter().map(|name| Arc::from(name.as_str())).collect()
}

/// Lookup tables of buckets are read as whom the configuration says; without one there is nobody to read them as.
async fn read_tables(engine: &Engine, config: &Config, work: &Tasks, telemetry: &Telemetry, is_configured: bool) {
    let wanted = engine.tables().wanted();
    if wanted.is_empty() {
        return;
    }
    if !is_configured {
        let names: Vec<&str> = wanted.iter().map(|one| &*one.definition.name).collect();
        complain(format_args!("lookup tables of buckets are read with `--config` only, and empty here: {names:?}"));
        return;
    }
    let mut refresher = Refresher::new(app::bucket_store(config, work).await, telemetry.clone());
    engine.refresh(&mut refresher).await;
    for (name, _) in engine.tables().sizes().filter(|(_, rows)| rows.is_none()) {
        complain(format_args!("lookup table {name} could not be read, and is empty here"));
    }
}

struct Run {
    engine: Engine,
    /// Batches that are evaluated at the same time.
    at_once: usize,
    report: Report,
}

impl Run {
    /// Every object of a source. One that can't be read is told, and the others are read.
    async fn source(&mut self, source: &Source, config: &Config, catalogue: &Catalogue) -> anyhow::Result<()> {
        let scanner = Scanner {
            objects: &*source.store,
            log_types: &catalogue.log_types,
            limits: config.pipeline.limits(),
            clock: Arc::new(SystemClock),
        };
        let mut objects = source.objects();
        let mut any = false;
        while let Some(listed) = objects.next().await {
            any = true;
            match listed {
                Ok(object) => {
                    if let Err(stop) = self.object(&scanner, source, catalogue, &object).await {
                        match stop {
                            Stop::Scan(error) => self.report.failed(&source.name_of(&object), &error.to_string()),
                            Stop::Detect(error) => return Err(error.into()),
                        }
                    }
                }
                Err(error) => self.report.failed(&source.name, &error.to_string()),
            }
        }
        if !any {
            self.report.failed(&source.name, "there is no object");
        }
        Ok(())
    }

    async fn object(
        &mut self,
        scanner: &Scanner<'_>,
        source: &Source,
        catalogue: &Catalogue,
        object: &crate::model::ObjectRef,
    ) -> Result<(), Stop> {
        let route = source.route(object, catalogue);
        let mut scan = scanner.open(object, &route).await?;
        let engine = &self.engine;
        let batches = try_unfold(&mut scan, |scan| async move { Ok(scan.next().await?.map(|batch| (batch, scan))) });
        let evaluated = batches.map_ok(Arc::new).map(|batch: Result<_, ScanError>| async move {
            let batch = batch?;
            let detections = engine.evaluate(&batch).await.map_err(Stop::Detect)?;
            Ok::<_, Stop>((batch, detections))
        });
        let ended = {
            // In order, so that the same logs always give the same.
            let mut evaluated = std::pin::pin!(evaluated.buffered(self.at_once));
            loop {
                match evaluated.next().await {
                    Some(Ok((batch, detections))) => self.report.add(&batch, &detections),
                    Some(Err(stop)) => break Err(stop),
                    None => break Ok(()),
                }
            }
        };
        self.report.read(scan.stored_bytes(), scan.decoded_bytes());
        ended
    }
}

/// What ends the reading of an object.
enum Stop {
    Scan(ScanError),
    Detect(crate::detect::DetectError),
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Stop {
        Stop::Scan(error)
    }
}
