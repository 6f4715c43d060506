//! `margay bench rules`: what the rules of a folder cost over the events of a file.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::{StreamExt, TryStreamExt};
use serde_json::json;
use tokio::time::Instant;

use super::stages::cpu_seconds;
use crate::app;
use crate::cli::{block_on, print};
use crate::detect::{self, Engine};
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
enum Format {
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
        let (engine, report) = Engine::start(&config, app::program()?, Telemetry::new()).await?;
        anyhow::ensure!(report.rules > 0, "no rule could be loaded from {}", arguments.folder.display());
        let (started, cpu) = (Instant::now(), cpu_seconds());
        let workers = if arguments.workers == 0 { detect::cores() } else { arguments.workers };
        let (matches, errors) = futures_util::stream::iter(&batches)
            .map(|batch| engine.evaluate(batch))
            .buffer_unordered(workers)
            .try_fold((0, 0), |(matches, errors), found| async move {
                Ok((matches + found.matches.len(), errors + found.faults.len()))
            })
            .await?;
        let (wall, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        let events: usize = batches.iter().map(|batch| batch.events.len()).sum();
        let result = json!({
            "rules": report.rules,
            "events": events,
            "bytes": bytes,
            "matches": matches,
            "errors": errors,
            "python_calls": engine.python_calls(),
            "wall_seconds": wall,
            "cpu_seconds": cpu,
            "events_per_cpu_second": events as f64 / cpu,
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
