//! The measured stages.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use tokio::time::Instant;

use super::cpu::cpu_seconds;
use super::daemon::{self, BUCKET, Parts};
use super::events::Objects;
use super::{Arguments, Stage};
use crate::app;
use crate::cli::complain;
use crate::decode::{Piece, decode_all};
use crate::detect::{self, Engine};
use crate::fetch::memory::MemoryStore;
use crate::lake::none::NoLake;
use crate::logtype::{Classified, Classifier, Context, Registry};
use crate::model::{EventBatch, ObjectId, Stream, StreamType};
use crate::pipeline;
use crate::runtime::{Clock, SystemClock};
use crate::source::{PrefixConfig, SourceConfig};
use crate::state::{SqliteConfig, sqlite::SqliteStore};
use crate::telemetry::Telemetry;

const LOG_TYPE: &str = "AWS.CloudTrail";

/// About what an HTTP client hands out at once.
const CHUNK: usize = 64 * 1024;

pub(super) async fn measure(objects: &Objects, arguments: &Arguments) -> anyhow::Result<Vec<Stage>> {
    let log_types = Arc::new(Registry::built_in());
    let engine = engine(&arguments.rules, arguments.workers, Telemetry::new()).await?;
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

pub(super) async fn engine(rules: &Path, workers: usize, telemetry: Telemetry) -> anyhow::Result<Engine> {
    let config = detect::Config { directories: vec![rules.to_owned()], workers, ..detect::Config::default() };
    let (engine, report) = Engine::start(&config, app::program()?, telemetry, super::surroundings()).await?;
    report.problems.iter().for_each(|problem| complain(format_args!("{problem}")));
    anyhow::ensure!(report.rules > 0, "no rule could be loaded from {}", rules.display());
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
    let store = Arc::new(MemoryStore::with_chunks(CHUNK));
    let key = |index: usize| format!("{index}.json.gz");
    for (index, body) in objects.bodies.iter().enumerate() {
        store.put(BUCKET, &key(index), body.clone());
    }
    let prefix = PrefixConfig { log_types: vec![LOG_TYPE.into()], ..PrefixConfig::default() };
    let source = SourceConfig {
        stream_type: StreamType::JsonArray,
        json_array_envelope_field: Some("Records".into()),
        ..SourceConfig::new(BUCKET, BUCKET, vec![prefix])
    };
    let parts = Parts {
        objects: store,
        state: Arc::new(state),
        lake: Arc::new(NoLake),
        engine,
        source,
        log_types,
        telemetry: Telemetry::new(),
    };
    daemon::work_off(parts, (0..objects.bodies.len()).map(key)).await
}
