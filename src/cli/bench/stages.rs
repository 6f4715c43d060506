//! The measured stages.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::events::Objects;
use super::{Arguments, Stage};
use crate::app;
use crate::decode::{Piece, decode_all};
use crate::detect::{self, Engine};
use crate::fetch::memory::MemoryStore;
use crate::lake::none::NoLake;
use crate::logtype::{Classified, Classifier, Context, Registry};
use crate::model::{EventBatch, ObjectId, Stream, StreamType};
use crate::pipeline::{self, Catalogue, CurrentCatalogue, Pipeline, Slots, Unrouted};
use crate::queue::memory::MemoryQueue;
use crate::runtime::{ByteBudget, Clock, SystemClock, Tasks};
use crate::source::{PrefixConfig, SourceConfig, SourceTable};
use crate::state::{SqliteConfig, sqlite::SqliteStore};
use crate::telemetry::Telemetry;
use crate::topic::none::NoTopics;

const LOG_TYPE: &str = "AWS.CloudTrail";
const BUCKET: &str = "bench";

/// About what an HTTP client hands out at once.
const CHUNK: usize = 64 * 1024;

pub(super) async fn measure(objects: &Objects, arguments: &Arguments) -> anyhow::Result<Vec<Stage>> {
    let log_types = Arc::new(Registry::built_in());
    let engine = engine(arguments).await?;
    let mut batches = Vec::new();
    Ok(vec![
        timed("baseline: gunzip + JSON parse", async { baseline(objects) }).await?,
        timed("decode", async { decode(objects) }).await?,
        timed("decode + classify", async {
            batches = classify(objects, &log_types)?;
            Ok(())
        })
        .await?,
        timed("rules alone", detect(&engine, &batches)).await?,
        timed("everything, message to acknowledged", whole(objects, log_types, engine)).await?,
    ])
}

async fn engine(arguments: &Arguments) -> anyhow::Result<Engine> {
    let config = detect::Config {
        directories: vec![arguments.rules.clone()],
        workers: arguments.workers,
        ..detect::Config::default()
    };
    let (engine, report) = Engine::start(&config, app::program()?, Telemetry::new(), super::surroundings()).await?;
    anyhow::ensure!(report.rules > 0, "no rule could be loaded from {}", arguments.rules.display());
    Ok(engine)
}

async fn timed(name: &'static str, work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<Stage> {
    let (started, cpu) = (Instant::now(), cpu_seconds());
    work.await?;
    Ok(Stage { name, seconds: started.elapsed().as_secs_f64(), cpu_seconds: cpu_seconds() - cpu })
}

fn baseline(objects: &Objects) -> anyhow::Result<()> {
    for body in &objects.bodies {
        let mut text = Vec::new();
        MultiGzDecoder::new(&body[..]).read_to_end(&mut text)?;
        std::hint::black_box(serde_json::from_slice::<serde_json::Value>(&text)?);
    }
    Ok(())
}

fn pieces(body: &Bytes) -> anyhow::Result<Vec<Piece>> {
    let limits = pipeline::Config::default().limits();
    let stream =
        Stream { kind: StreamType::JsonArray, json_array_envelope_field: "Records".to_owned(), ..Stream::default() };
    let mut pieces = Vec::new();
    decode_all(&stream, limits, body, &mut pieces)?;
    Ok(pieces)
}

fn decode(objects: &Objects) -> anyhow::Result<()> {
    for body in &objects.bodies {
        std::hint::black_box(pieces(body)?);
    }
    Ok(())
}

pub(super) fn classify(objects: &Objects, log_types: &Registry) -> anyhow::Result<Vec<Arc<EventBatch>>> {
    let mut batches = Vec::new();
    for (index, body) in objects.bodies.iter().enumerate() {
        let object = ObjectId((index as u128).to_le_bytes());
        let context = Context {
            object,
            address: None,
            source: BUCKET.into(),
            parse_time: SystemClock.now(),
            keep_unknown: true,
            guard_event_time: true,
        };
        let mut classifier = Classifier::new(log_types, &[LOG_TYPE.into()], context)?;
        let mut events = Vec::new();
        for piece in pieces(body)? {
            let Piece::Record(record) = piece else { anyhow::bail!("a record of the bench was rejected") };
            match classifier.classify(&record) {
                Classified::Events(found) => events.extend(found),
                other => anyhow::bail!("an event of the bench was not classified: {other:?}"),
            }
        }
        batches.push(Arc::new(EventBatch { object, source: BUCKET.into(), events, rejects: Vec::new(), bytes: 0 }));
    }
    Ok(batches)
}

/// As many batches at once as there are rule workers, as in the daemon.
async fn detect(engine: &Engine, batches: &[Arc<EventBatch>]) -> anyhow::Result<()> {
    use futures_util::{StreamExt, TryStreamExt};
    futures_util::stream::iter(batches)
        .map(|batch| engine.evaluate(batch))
        .buffer_unordered(detect::cores())
        .try_for_each(|_| async { Ok(()) })
        .await?;
    Ok(())
}

/// A daemon on fakes of queue, store and lake, with the real state store.
async fn whole(objects: &Objects, log_types: Arc<Registry>, engine: Engine) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("could not make a folder for the state")?;
    let state = SqliteStore::open(&SqliteConfig { path: folder.path().join("bench.db") }).await?;
    let (queue, store) =
        (Arc::new(MemoryQueue::new(Duration::from_secs(60))), Arc::new(MemoryStore::with_chunks(CHUNK)));
    for (index, body) in objects.bodies.iter().enumerate() {
        let key = format!("{index}.json.gz");
        store.put(BUCKET, &key, body.clone());
        queue.send(format!(r#"{{"s3Bucket":"{BUCKET}","s3ObjectKey":["{key}"]}}"#));
    }
    let prefix = PrefixConfig { log_types: vec![LOG_TYPE.into()], ..PrefixConfig::default() };
    let source = SourceConfig {
        stream_type: StreamType::JsonArray,
        json_array_envelope_field: Some("Records".into()),
        ..SourceConfig::new(BUCKET, BUCKET, vec![prefix])
    };
    let config = pipeline::Config::default();
    let pipeline = Arc::new(Pipeline {
        queue: queue.clone(),
        objects: store,
        confirmations: Arc::new(NoTopics),
        state: Arc::new(state),
        lake: Arc::new(NoLake),
        engine,
        catalogue: CurrentCatalogue::new(Catalogue {
            sources: SourceTable::new(&[source]).map_err(|problems| anyhow::anyhow!(problems.join("\n")))?,
            log_types,
        }),
        clock: Arc::new(SystemClock),
        telemetry: Telemetry::new(),
        budget: ByteBudget::new(config.memory_budget_mib * 1024 * 1024),
        limits: config.limits(),
        slots: Slots::new(config.max_in_flight, Telemetry::new()),
        unrouted: Unrouted::default(),
        discoveries: pipeline::Discoveries::default(),
        poison_after: config.poison_after,
        lease: Duration::from_secs(60),
        destinations: Vec::new(),
        alert_opened: Arc::new(Notify::new()),
        trouble: watch::Sender::new(None),
        abandon: CancellationToken::new(),
    });
    let tasks = Tasks::new();
    tasks.spawn(pipeline::run(pipeline, tasks.clone(), tasks.token().clone()));
    while !queue.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The last long poll ends with the process: waiting for it here would be measured.
    tasks.shut_down();
    Ok(())
}

/// CPU time of this process and of its rule workers, in seconds. From `/proc`, because the workers still run and are
/// no part of what the system counts for ended children.
pub(super) fn cpu_seconds() -> f64 {
    let own = std::process::id();
    let mut seconds = process_seconds(own);
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok())
            && parent(pid) == Some(own)
        {
            seconds += process_seconds(pid);
        }
    }
    seconds
}

fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses, which may contain anything; what counts comes after it.
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

fn process_seconds(pid: u32) -> f64 {
    /// `sysconf(_SC_CLK_TCK)` is 100 on every Linux that margay runs on.
    const TICKS_PER_SECOND: f64 = 100.0;
    let ticks = |at: usize| stat(pid).and_then(|fields| fields.get(at)?.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}
