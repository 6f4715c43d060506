//! `margay bench rules`: what the rules of a folder cost over the events of a file, and `margay bench events`: such a file.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::{StreamExt, TryStreamExt};
use serde_json::json;
use tokio::time::Instant;

use super::cpu::cpu_seconds;
use crate::app;
use crate::cli::{block_on, complain, print};
use crate::detect::{self, Engine, Usage};
use crate::model::{Event, EventBatch, Map, ObjectId, Position, RowId, Value};
use crate::runtime::{Clock, SystemClock};
use crate::telemetry::Telemetry;

/// Events of one batch, as objects of the daemon hold them.
const BATCH: usize = 1000;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Folder with detections, read recursively.
    folder: PathBuf,
    /// Events, one JSON object a line, each with its `p_log_type`.
    #[arg(long, value_name = "FILE")]
    events: PathBuf,
    /// Send every event to Python.
    #[arg(long)]
    no_guards: bool,
    /// Rule workers; by default one per core.
    #[arg(long, default_value_t = 0)]
    workers: usize,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, clap::ValueEnum)]
pub(super) enum Format {
    Text,
    Json,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    block_on(async {
        let (batches, bytes) = batches(&arguments.events)?;
        let config = detect::Config {
            guards: !arguments.no_guards,
            directories: vec![arguments.folder.clone()],
            workers: arguments.workers,
            ..detect::Config::default()
        };
        let measured = measure(&config, &batches).await?;
        let result = json!({
            "rules": measured.rules,
            "events": measured.events,
            "bytes": bytes,
            "matches": measured.matches,
            "errors": measured.errors,
            "python_calls": measured.python_calls,
            "wall_seconds": measured.wall_seconds,
            "cpu_seconds": measured.cpu_seconds,
            "events_per_cpu_second": measured.events as f64 / measured.cpu_seconds,
            "events_per_second": measured.events as f64 / measured.wall_seconds,
            "workers": measured.workers,
            "load_seconds": measured.load_seconds,
            "guard_seconds": measured.usage.guard_time.as_secs_f64(),
            "python_seconds": measured.usage.python_time.as_secs_f64(),
            "events_crossed": measured.usage.events_crossed,
            "crossing_seconds": measured.usage.crossing_time.as_secs_f64(),
            "crossing_us_per_event": crossing_us(&measured.usage),
        });
        match arguments.format {
            Format::Json => print(&format!("{result}\n"))?,
            Format::Text => {
                let lines = result.as_object().into_iter().flatten();
                print(&lines.map(|(name, value)| format!("{name:<22}{value}\n")).collect::<String>())?;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// What it costs an event to cross the pipe to a worker, with its part of the answer; waiting for a core is in it.
fn crossing_us(usage: &Usage) -> f64 {
    match usage.events_crossed {
        0 => 0.0,
        events => usage.crossing_time.as_secs_f64() * 1e6 / events as f64,
    }
}

/// What rules cost, without the time to load them.
pub(super) struct Measured {
    pub(super) rules: usize,
    pub(super) events: usize,
    pub(super) matches: usize,
    pub(super) errors: usize,
    pub(super) python_calls: u64,
    pub(super) usage: Usage,
    pub(super) workers: usize,
    pub(super) load_seconds: f64,
    pub(super) wall_seconds: f64,
    pub(super) cpu_seconds: f64,
}

pub(super) async fn measure(config: &detect::Config, batches: &[Arc<EventBatch>]) -> anyhow::Result<Measured> {
    let loading = Instant::now();
    let (engine, report) = Engine::start(config, app::program()?, Telemetry::new(), super::surroundings()).await?;
    let load_seconds = loading.elapsed().as_secs_f64();
    report.problems.iter().for_each(|problem| complain(format_args!("{problem}")));
    anyhow::ensure!(report.rules > 0, "no rule could be loaded from {:?}", config.directories);
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let workers = if config.workers == 0 { detect::cores() } else { config.workers };
    let (matches, errors) = futures_util::stream::iter(batches)
        .map(|batch| engine.evaluate(batch))
        .buffer_unordered(workers)
        .try_fold((0, 0), |(matches, errors), found| async move {
            Ok((matches + found.matches.len(), errors + found.faults.len()))
        })
        .await?;
    let (wall_seconds, cpu_seconds) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let usage = engine.usage();
    Ok(Measured {
        rules: report.rules,
        events: batches.iter().map(|batch| batch.events.len()).sum(),
        matches,
        errors,
        python_calls: usage.python_calls,
        usage,
        workers,
        load_seconds,
        wall_seconds,
        cpu_seconds,
    })
}

fn batches(path: &Path) -> anyhow::Result<(Vec<Arc<EventBatch>>, usize)> {
    let named = || path.display().to_string();
    let file = std::fs::File::open(path).with_context(named)?;
    let object = ObjectId([0; 16]);
    let (mut events, mut bytes) = (Vec::new(), 0);
    for (at, line) in (0u64..).zip(BufReader::new(file).lines()) {
        let line = line.with_context(named)?;
        bytes += line.len() + 1;
        let fields: Map = serde_json::from_str(&line).with_context(|| format!("{}:{}", path.display(), at + 1))?;
        let log_type = fields.get("p_log_type").and_then(Value::as_str);
        let log_type = log_type.with_context(|| format!("{}:{}: no `p_log_type`", path.display(), at + 1))?;
        events.push(Event {
            log_type: log_type.into(),
            row_id: RowId::new(object, at, 0),
            position: Position { ordinal: at, index: 0 },
            time: SystemClock.now(),
            fields,
        });
    }
    anyhow::ensure!(!events.is_empty(), "{} holds no event", path.display());
    let batch = |events: &[Event]| EventBatch {
        object,
        source: "bench".into(),
        events: events.to_vec(),
        rejects: Vec::new(),
        bytes: 0,
    };
    Ok((events.chunks(BATCH).map(batch).map(Arc::new).collect(), bytes))
}
