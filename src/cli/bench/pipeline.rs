//! `margay bench pipeline`: what the whole path costs, from files to rows of the lake that are committed, and which stage
//! has what share. State, lake and rule workers are the real ones, in a folder that goes with the measurement.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::cpu::{cpu_seconds, thread_seconds, worker_seconds};
use super::daemon::{self, BUCKET, Parts};
use super::stages::engine;
use crate::app;
use crate::cli::{complain, print};
use crate::decode::{Decoder, Pace, Piece};
use crate::fetch::directory::DirectoryStore;
use crate::lake::Lake;
use crate::lake::none::NoLake;
use crate::logtype::{Context, Registry, guess};
use crate::model::{ObjectId, Record, Stream, StreamType, is_unfinished_name};
use crate::pipeline;
use crate::runtime::{Clock, SystemClock, Tasks, files_below};
use crate::source::{PrefixConfig, SourceConfig};
use crate::state::{SqliteConfig, sqlite::SqliteStore};
use crate::telemetry::{Stage, Telemetry};

/// The threads of the state store and of the lake's catalog, as their library names them.
const SQLITE_THREADS: &str = "sqlx-sqlite";

/// Of so many files it is guessed what the folder holds …
const SAMPLED_FILES: usize = 16;

/// … from so many records of each, or from its first MiB.
const SAMPLED_RECORDS: usize = 50;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Folder with the objects, read recursively.
    #[arg(long, value_name = "DIR")]
    input: PathBuf,
    /// Folder with the rules to run.
    #[arg(long, value_name = "DIR")]
    rules: PathBuf,
    /// What the records are; may be repeated. Without it, all log types are tried on some of the files.
    #[arg(long = "log-type", value_name = "NAME")]
    log_type: Vec<String>,
    /// Rule workers; by default one per core.
    #[arg(long, default_value_t = 0)]
    workers: usize,
    /// Keep the lake, in this folder, which must not exist.
    #[arg(long, value_name = "DIR", conflicts_with = "no_lake")]
    lake: Option<PathBuf>,
    /// Keep no events.
    #[arg(long)]
    no_lake: bool,
    #[arg(long, value_enum, default_value = "text")]
    format: super::rules::Format,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let keys = keys(&arguments.input)?;
    let log_types = Arc::new(Registry::built_in());
    let names = match arguments.log_type.is_empty() {
        true => guessed(&arguments.input, &keys, &log_types)?,
        false => arguments.log_type.clone(),
    };
    let measured = measure(arguments, &keys, names, log_types).await?;
    match arguments.format {
        super::rules::Format::Json => print(&format!("{measured}\n"))?,
        super::rules::Format::Text => print(&text(&measured))?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn measure(
    arguments: &Arguments,
    keys: &[String],
    names: Vec<String>,
    log_types: Arc<Registry>,
) -> anyhow::Result<Value> {
    let folder = tempfile::tempdir().context("could not make a folder for state and lake")?;
    let telemetry = Telemetry::new();
    let state = Arc::new(SqliteStore::open(&SqliteConfig { path: folder.path().join("state.db") }).await?);
    let tasks = Tasks::new();
    let lake: Arc<dyn Lake> = match arguments.no_lake {
        true => Arc::new(NoLake),
        false => {
            let path = arguments.lake.clone().unwrap_or_else(|| folder.path().join("lake"));
            anyhow::ensure!(!path.exists(), "{} exists; name a folder that does not", path.display());
            app::local_lake(path, log_types.clone(), state.clone(), telemetry.clone(), &tasks).await?
        }
    };
    let source = SourceConfig {
        stream_type: StreamType::Auto,
        ..SourceConfig::new(BUCKET, BUCKET, vec![PrefixConfig { log_types: names.clone(), ..PrefixConfig::default() }])
    };
    let parts = Parts {
        objects: Arc::new(DirectoryStore::new(&arguments.input, BUCKET)?),
        state,
        lake,
        engine: engine(&arguments.rules, arguments.workers, telemetry.clone()).await?,
        source,
        log_types,
        telemetry: telemetry.clone(),
    };
    // What was spent on loading rules is no part of the path.
    let before = Spent::now(&telemetry);
    let started = Instant::now();
    daemon::work_off(parts, keys.iter().cloned()).await?;
    let wall_seconds = started.elapsed().as_secs_f64();
    let spent = Spent::now(&telemetry).since(&before);
    tasks.shut_down();
    let metrics = &telemetry.metrics;
    let committed = metrics.objects_total.get([BUCKET, "committed"]);
    let others = metrics.objects_total.sum() - committed;
    if others > 0 {
        complain(format_args!("{others} of {} objects ended otherwise than committed", keys.len()));
    }
    Ok(json!({
        "objects": committed,
        "log_types": names,
        "bytes_compressed": metrics.object_bytes_total.sum(),
        "bytes": metrics.decoded_bytes_total.sum(),
        "events": metrics.events_total.sum(),
        "rejects": metrics.classification_failures_total.sum(),
        "matches": metrics.rule_matches_total.sum(),
        "wall_seconds": wall_seconds,
        "cpu_seconds": spent.all,
        "cpu_seconds_by_stage": spent.by_stage(),
    }))
}

/// CPU seconds at a moment, or between two.
struct Spent {
    all: f64,
    stages: [f64; Stage::ALL.len()],
    rules: f64,
    state: f64,
}

impl Spent {
    fn now(telemetry: &Telemetry) -> Spent {
        Spent {
            all: cpu_seconds(),
            stages: Stage::ALL.map(|stage| telemetry.metrics.stage_cpu_seconds_total.get([stage.as_str()])),
            rules: worker_seconds(),
            state: thread_seconds(SQLITE_THREADS),
        }
    }

    fn since(&self, before: &Spent) -> Spent {
        Spent {
            all: self.all - before.all,
            stages: std::array::from_fn(|at| self.stages[at] - before.stages[at]),
            rules: self.rules - before.rules,
            state: self.state - before.state,
        }
    }

    /// `other` is what no stage has: reading files, the queue, pipes to the workers, writing files, and the runtime.
    fn by_stage(&self) -> Map<String, Value> {
        let measured = Stage::ALL.iter().zip(self.stages).map(|(stage, spent)| (stage.as_str(), spent));
        let measured: Vec<(&str, f64)> =
            measured.chain([("rules_in_python", self.rules), ("state_and_catalog", self.state)]).collect();
        let other = self.all - measured.iter().map(|(_, spent)| spent).sum::<f64>();
        let all = measured.into_iter().chain([("other", other)]);
        all.map(|(name, spent)| (name.to_owned(), json!((spent * 1000.0).round() / 1000.0))).collect()
    }
}

fn keys(input: &Path) -> anyhow::Result<Vec<String>> {
    let mut keys = Vec::new();
    for path in files_below(input) {
        let path = path.map_err(|(path, reason)| anyhow::anyhow!("{} {reason}", path.display()))?;
        if path.file_name().is_none_or(is_unfinished_name) {
            continue;
        }
        let key = path.strip_prefix(input).expect("a file below a folder begins with it");
        keys.push(key.to_str().with_context(|| format!("the name of {} is not UTF-8", path.display()))?.to_owned());
    }
    anyhow::ensure!(!keys.is_empty(), "{} holds no file", input.display());
    Ok(keys)
}

/// The log types that fit files of a folder best, one a file.
fn guessed(input: &Path, keys: &[String], log_types: &Registry) -> anyhow::Result<Vec<String>> {
    let context = Context {
        object: ObjectId([0; 16]),
        address: None,
        source: BUCKET.into(),
        parse_time: SystemClock.now(),
        keep_unknown: true,
        guard_event_time: true,
    };
    let mut names = BTreeSet::new();
    for key in keys.iter().step_by(keys.len().div_ceil(SAMPLED_FILES)) {
        let path = input.join(key);
        let records = sample(&path).with_context(|| path.display().to_string())?;
        if let Some(best) = guess(log_types, &records, &context).first() {
            names.insert(best.schema.name.to_string());
        }
    }
    anyhow::ensure!(!names.is_empty(), "no log type fits the files of {}; name it with --log-type", input.display());
    Ok(names.into_iter().collect())
}

fn sample(path: &Path) -> anyhow::Result<Vec<Record>> {
    let mut head = Vec::new();
    std::fs::File::open(path)?.take(1024 * 1024).read_to_end(&mut head)?;
    let stream =
        Stream { kind: StreamType::Auto, json_array_envelope_field: "Records".to_owned(), ..Stream::default() };
    let mut decoder = Decoder::new(&stream, pipeline::Config::default().limits());
    let (mut rest, mut pieces) = (&head[..], Vec::new());
    while pieces.len() < SAMPLED_RECORDS && matches!(decoder.push(&mut rest, &mut pieces), Ok(Pace::More)) {}
    if pieces.len() < SAMPLED_RECORDS {
        // What a short file ends with; of a long one it is torn, and no record.
        let _ = decoder.finish(&mut pieces);
    }
    let records = pieces.into_iter().filter_map(|piece| match piece {
        Piece::Record(record) => Some(record),
        Piece::Reject(_) => None,
    });
    Ok(records.take(SAMPLED_RECORDS).collect())
}

fn text(measured: &Value) -> String {
    let mut lines = Vec::new();
    for (name, value) in measured.as_object().into_iter().flatten() {
        match value {
            Value::Object(stages) => {
                let all = measured["cpu_seconds"].as_f64().unwrap_or_default();
                lines.extend(stages.iter().map(|(stage, spent)| {
                    let share = spent.as_f64().unwrap_or_default() / all * 100.0;
                    format!("  {stage:<22}{spent:>12}{share:>8.1} %\n")
                }));
            }
            value => lines.push(format!("{name:<24}{value:>12}\n")),
        }
    }
    let rate = |seconds: &str| measured["bytes"].as_f64().zip(measured[seconds].as_f64());
    for (name, seconds) in [("MB/s", "wall_seconds"), ("MB/s of one core", "cpu_seconds")] {
        if let Some((bytes, seconds)) = rate(seconds) {
            lines.push(format!("{name:<24}{:>12.1}\n", bytes / 1e6 / seconds));
        }
    }
    lines.concat()
}
