//! One daemon of the world: started, then crashed or ended in order, then started anew.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::bodies::StoreView;
use super::content;
use super::ports::{CatalogView, QueueView};
use super::state::StateView;
use super::world::{Fault, LEASE, World};
use crate::detect::{DetectError, Engine};
use crate::lake::Lake;
use crate::lake::committer::{Committer, Limits};
use crate::model::{Detections, EventBatch, Match, Receiver};
use crate::pipeline::{Catalogue, Config, CurrentCatalogue, Discoveries, Pipeline, Slots, Unrouted, run};
use crate::runtime::{ByteBudget, Clock, Tasks};
use crate::state::fixtures;
use crate::telemetry::Telemetry;

/// A process: what it does reaches the world only while it lives.
pub(super) struct Life {
    pub(super) world: Arc<World>,
    name: String,
    dead: AtomicBool,
    died: Notify,
    tasks: Tasks,
    /// The committer's, which outlasts the work.
    committing: Tasks,
}

impl Life {
    /// One await point: the process may die here, or wait.
    pub(super) async fn step(&self, what: &str) {
        self.while_alive().await;
        if self.world.happens(Fault::Crash) {
            self.crash(what);
            pending::<()>().await;
        }
        let delay = self.world.delay();
        if !delay.is_zero() {
            self.note(format!("{what} takes {delay:?}"));
            tokio::time::sleep(delay).await;
            self.while_alive().await;
        }
    }

    async fn while_alive(&self) {
        if self.dead.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
    }

    pub(super) fn note(&self, what: String) {
        self.world.note(format!("{}: {what}", self.name));
    }

    fn crash(&self, at: &str) {
        self.note(format!("crashes at {at}"));
        self.end();
    }

    fn end(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.tasks.crash();
        self.committing.crash();
        self.died.notify_one();
    }
}

/// Its daemon's time of day: the runtime's, a little wrong.
struct SkewedClock(Arc<World>, time::Duration);

impl Clock for SkewedClock {
    fn now(&self) -> OffsetDateTime {
        fixtures::START + self.0.now() + self.1
    }
}

/// Starts daemon after daemon. The last one runs on when the faults have stopped.
pub(super) async fn keep_alive(world: Arc<World>, slot: u64) {
    for number in 0.. {
        let name = format!("daemon {slot}.{number}");
        let life = Life {
            world: world.clone(),
            name,
            dead: AtomicBool::new(false),
            died: Notify::new(),
            tasks: Tasks::new(),
            committing: Tasks::new(),
        };
        let life = Arc::new(life);
        let (pipeline, lake) = start(&life);
        let ends_after = Duration::from_millis(world.dice().u64(1_000..400_000));
        tokio::select! {
            biased;
            () = life.died.notified() => {}
            () = tokio::time::sleep(ends_after) => {
                if world.is_calm() {
                    life.died.notified().await;
                } else if world.dice().bool() {
                    life.crash("any moment");
                } else {
                    shut_down(&life, &pipeline, &*lake).await;
                }
            }
        }
        let pause = world.dice().u64(..60_000);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

fn start(life: &Arc<Life>) -> (Arc<Pipeline>, Arc<Committer<CatalogView>>) {
    life.note("starts".into());
    let world = &life.world;
    let skew = time::Duration::milliseconds(world.dice().i64(-5_000..5_000));
    let clock = Arc::new(SkewedClock(world.clone(), skew));
    let state = Arc::new(StateView(life.clone()));
    let limits = limits(&mut world.dice());
    let catalog = Arc::new(CatalogView(life.clone()));
    let lake = Arc::new(Committer::new(catalog, state.clone(), clock.clone(), Telemetry::new(), limits));
    let detecting = life.clone();
    let found_by = Arc::new(fixtures::rule("r"));
    let telemetry = Telemetry::new();
    let (in_flight, slots_telemetry) = (world.dice().usize(1..6), telemetry.clone());
    let room = world.dice().u64(1..=3);
    let pipeline = Arc::new(Pipeline {
        queue: Arc::new(QueueView(life.clone())),
        objects: Arc::new(StoreView(life.clone())),
        confirmations: Arc::new(crate::topic::memory::MemoryTopics::default()),
        state,
        lake: lake.clone(),
        engine: Engine::evaluating(move |batch| {
            if detecting.world.happens(Fault::DetectFails) {
                return Err(DetectError::Empty);
            }
            Ok(found(&found_by, batch))
        }),
        catalogue: CurrentCatalogue::new(Catalogue { sources: content::sources(), log_types: world.log_types.clone() }),
        clock,
        telemetry,
        // As many objects at once.
        budget: ByteBudget::new(room * 25 * 1024 * 1024),
        limits: Config::default().limits(),
        // The same number of cores everywhere, or a seed would mean something else on another machine.
        slots: Slots::with_cores(in_flight, 2, slots_telemetry),
        unrouted: Unrouted::default(),
        discoveries: Discoveries::default(),
        poison_after: Config::default().poison_after,
        lease: LEASE,
        destinations: watch::Sender::new(vec![Receiver::accepting_all("stdout")].into()),
        alert_opened: Arc::new(Notify::new()),
        trouble: watch::Sender::new(None),
        abandon: CancellationToken::new(),
    });
    let tasks = &life.tasks;
    tasks.spawn(run(pipeline.clone(), tasks.clone(), tasks.token().clone()));
    let (committer, draining, end) = (lake.clone(), tasks.token().clone(), life.committing.token().clone());
    life.committing.spawn(async move { committer.run(draining, end).await });
    (pipeline, lake)
}

fn found(rule: &Arc<crate::model::RuleMeta>, batch: &EventBatch) -> Detections {
    let rows = batch.events.iter().filter(|event| content::matches(event.row_id));
    let matches = rows.map(|event| Match { row_id: event.row_id, ..fixtures::matched(rule, 0) });
    fixtures::matches(matches.collect::<Vec<_>>())
}

fn limits(dice: &mut fastrand::Rng) -> Limits {
    Limits {
        flush_bytes: dice.u64(200..20_000),
        flush_age: Duration::from_millis(dice.u64(100..60_000)),
        flush_waiting: dice.usize(1..5),
        buffer_bytes: dice.u64(1..64) * 1024,
        retries: dice.u32(..4),
        patience: Duration::from_secs(20),
        ..Limits::default()
    }
}

/// As the composition root does it.
async fn shut_down(life: &Life, pipeline: &Pipeline, lake: &dyn Lake) {
    life.note("is asked to end".into());
    life.tasks.shut_down();
    let end = async {
        lake.flush().await.ok();
        if !life.tasks.drained(Duration::from_secs(25)).await {
            pipeline.abandon.cancel();
            life.tasks.drained(Duration::from_secs(5)).await;
        }
        life.committing.shut_down();
        life.committing.drained(Duration::from_secs(5)).await;
    };
    tokio::select! {
        biased;
        () = life.died.notified() => return,
        () = end => {}
    }
    life.note("ends".into());
    life.end();
    life.died.notified().await;
}
