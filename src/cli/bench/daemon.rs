//! The daemon of a benchmark: the pipeline as it is, on a queue in memory that holds everything from the start.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::detect::Engine;
use crate::fetch::ObjectStore;
use crate::lake::Lake;
use crate::logtype::Registry;
use crate::pipeline::{self, Catalogue, CurrentCatalogue, Pipeline, Slots, Unrouted};
use crate::queue::memory::MemoryQueue;
use crate::runtime::{ByteBudget, SystemClock, Tasks};
use crate::source::{SourceConfig, SourceTable};
use crate::state::StateStore;
use crate::telemetry::Telemetry;
use crate::topic::none::NoTopics;

/// The bucket of all objects, and the name of their source.
pub(super) const BUCKET: &str = "bench";

const LEASE: Duration = Duration::from_secs(60);

/// What differs between benchmarks.
pub(super) struct Parts {
    pub(super) objects: Arc<dyn ObjectStore>,
    pub(super) state: Arc<dyn StateStore>,
    pub(super) lake: Arc<dyn Lake>,
    pub(super) engine: Engine,
    pub(super) source: SourceConfig,
    pub(super) log_types: Arc<Registry>,
    pub(super) telemetry: Telemetry,
}

/// Works off the objects with these keys. An object that can't be worked on at once is an error: a second try would be
/// measured as if it were another object.
pub(super) async fn work_off(parts: Parts, keys: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let queue = Arc::new(MemoryQueue::new(LEASE));
    for key in keys {
        queue.send(serde_json::json!({ "s3Bucket": BUCKET, "s3ObjectKey": [key] }).to_string());
    }
    let (lake, telemetry) = (parts.lake.clone(), parts.telemetry.clone());
    let pipeline = Arc::new(pipeline(parts, queue.clone())?);
    let tasks = Tasks::new();
    tasks.spawn(pipeline::run(pipeline, tasks.clone(), tasks.token().clone()));
    while !queue.is_empty() {
        let released = telemetry.metrics.messages_released_total.sum();
        anyhow::ensure!(released == 0, "{released} objects could not be worked on at the first try");
        if queue.len() == queue.in_flight() {
            // Nothing more comes: as at a shutdown, rows are not kept waiting for others.
            lake.flush().await?;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The last long poll ends with the process: waiting for it here would be measured.
    tasks.shut_down();
    Ok(())
}

fn pipeline(parts: Parts, queue: Arc<MemoryQueue>) -> anyhow::Result<Pipeline> {
    let Parts { objects, state, lake, engine, source, log_types, telemetry } = parts;
    let config = pipeline::Config::default();
    let sources = SourceTable::new(&[source]).map_err(|problems| anyhow::anyhow!(problems.join("\n")))?;
    Ok(Pipeline {
        queue,
        objects,
        confirmations: Arc::new(NoTopics),
        state,
        lake,
        engine,
        catalogue: CurrentCatalogue::new(Catalogue { sources, log_types }),
        clock: Arc::new(SystemClock),
        budget: ByteBudget::new(config.memory_budget_mib * 1024 * 1024),
        limits: config.limits(),
        slots: Slots::new(config.max_in_flight, telemetry.clone()),
        telemetry,
        unrouted: Unrouted::default(),
        discoveries: pipeline::Discoveries::default(),
        poison_after: config.poison_after,
        lease: LEASE,
        destinations: watch::Sender::new(Vec::new().into()),
        alert_opened: Arc::new(Notify::new()),
        trouble: watch::Sender::new(None),
        abandon: CancellationToken::new(),
    })
}
