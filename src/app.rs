//! The composition root: the only place that names adapters. Builds the parts from the configuration, starts them in
//! order, and ends them in the reverse order. `catalogue` makes sources and log types of the configuration, again when
//! it changes, which `revisions` holds to what events are stored in; `errand`, `explain` and `examine` compose the same
//! parts for commands, `pointed` is a store for what a command is pointed at, `stores` are those of commands, `lake` is
//! where events are kept, `search` what asks for them (`live`: also for what is no file), `lookups` keeps the tables of
//! buckets fresh, `remote` takes what lies in S3, `secrets` reads what the configuration refers to, `traces` sends
//! traces, `upkeep` is what the daemon does for its state beside its work, `tally` tells what rules do, `duty` what one
//! of many daemons does at a time, `signals` what it listens to.

mod catalogue;
mod destinations;
mod drain;
mod duty;
pub mod errand;
mod examine;
mod explain;
mod lake;
mod live;
mod lookups;
mod pointed;
mod remote;
mod revisions;
mod search;
mod secrets;
mod signals;
mod stores;
mod tally;
mod traces;
mod upkeep;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use aws_credential_types::provider::ProvideCredentials;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

pub use catalogue::{catalogue, log_types};
use destinations::Outlets;
pub use destinations::destinations;
use drain::{LAST_MOMENT, drain};
pub use examine::examiner;
pub use explain::explainer;
use lake::{BuiltLake, RunningLake};
pub use lake::{lake_upkeep, local_lake, tables_for_reading};
pub use pointed::{bucket_store, folder_store};
pub use remote::{Copies, copies};
pub use revisions::{Held, held_to_revisions};
pub use search::{dry_search, planned_queries, saved_queries, search_for_reading, summary_attributes};
pub use secrets::api;
use signals::{Hangups, Signals};
pub use stores::{state_for_changing, state_for_reading, store_for_listing};
pub use traces::exporter;

use crate::alert::delivery::{self, Delivery};
use crate::aws;
pub use crate::aws::vault::Vault;
use crate::config::Config;
use crate::detect::{Engine, KeyValues, reload};
use crate::fetch::{self, ObjectStore};
use crate::http::{self, Desk, Findings, Readiness, Surface};
use crate::lookup::{Refresher, Surroundings};
use crate::model::Access;
use crate::pipeline::{self, Catalogue, CurrentCatalogue, Discoveries, Pipeline, Slots, Unrouted};
use crate::queue::{self, MessageQueue};
use crate::runtime::{ByteBudget, SharedClock, SystemClock, Tasks, Watch};
use crate::source::Roles;
use crate::state::postgres::PostgresStore;
use crate::state::sqlite::SqliteStore;
use crate::state::{self, StateStore};
use crate::telemetry::{LogHandle, Telemetry};
use crate::topic::{Confirmations, none::NoTopics, sns::SnsTopics};

/// How often the queue is asked for its backlog.
const BACKLOG_INTERVAL: Duration = Duration::from_secs(15);

/// The binary that runs, for starting rule workers. On Linux through `/proc`, which still works after the file was
/// replaced by an upgrade.
pub fn program() -> anyhow::Result<PathBuf> {
    let own = PathBuf::from("/proc/self/exe");
    if own.exists() {
        return Ok(own);
    }
    std::env::current_exe().context("could not find the running binary, which rule workers are started from")
}

/// The daemon, from its start to its end. Whatever can be wrong with the configuration, which is in the file `path`,
/// was found before.
pub async fn run(
    path: &Path,
    config: Config,
    catalogue: Catalogue,
    copies: Copies,
    log: LogHandle,
) -> anyhow::Result<()> {
    // Before anything starts, so that no signal of these ends the process in the middle of its start.
    let mut signals = Signals::new()?;
    let hangups = Hangups::new()?;
    let telemetry = copies.telemetry.clone();
    count_dropped_lines(&telemetry, log.clone());
    let readiness = Readiness::new();
    // Bound first: a second daemon on this address ends here, before it touches anything.
    let listener = http::bind(&config.http).await?;
    tracing::info!(address = %listener.local_addr()?, "HTTP server listening");
    for warning in catalogue.sources.warnings() {
        tracing::warn!("{warning}");
    }
    for warning in catalogue.log_types.warnings() {
        tracing::warn!(target: "margay::logtype", "{warning}");
    }
    // Before anything is opened, too: a secret that is missing ends the start.
    let vault = Arc::new(Vault::default());
    let destinations =
        destinations(path, &config, &vault).await.map_err(|problems| anyhow::anyhow!(problems.join("\n")))?;
    let front = Tasks::new();
    traces::export(path, &config, &telemetry, &front)?;
    let api = api(path, &config, &vault).await?;
    let findings = Findings::default();
    let surface = Surface {
        readiness: readiness.clone(),
        findings: findings.clone(),
        telemetry: telemetry.clone(),
        log,
        api: api.clone(),
    };
    let (end, connections) = (front.token().clone(), config.http.max_connections);
    front.spawn_critical("http", async move {
        if let Err(error) = http::serve(listener, surface, connections, end).await {
            tracing::error!(%error, "the HTTP server failed");
        }
    });

    let work = Tasks::new();
    let parts = Parts::build(&config, catalogue, telemetry, &work).await?;
    copies.keep(&work);
    let queries = search::queries(&config, &parts, &work).await?;
    let delivery = Tasks::new();
    let parts = parts.start(path, &config, Outlets { lines: destinations, vault }, &work, &delivery, hangups);
    let Pipeline { state, destinations: receivers, clock, alert_opened: wake, engine, .. } = &*parts.pipeline;
    let attributes = search::attributes_of(engine.clone());
    let (state, receivers, clock, wake) = (state.clone(), receivers.subscribe(), clock.clone(), wake.clone());
    api.open(Desk { state, receivers, clock, wake, search: queries.clone(), attributes });
    if let Some(queries) = &queries {
        let scheduler = search::scheduler(&config, parts.pipeline.clone(), queries.clone());
        work.spawn_critical("scheduled queries", scheduler.run(work.token().clone()));
    }
    work.spawn(examine::rounds(parts.pipeline.clone(), config.clone(), findings, work.clone()));
    let trouble = parts.pipeline.trouble.subscribe();
    work.spawn_critical("readiness", show_trouble(readiness.clone(), trouble, work.token().clone()));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "margay runs");

    let reason = tokio::select! {
        name = signals.next() => name,
        () = work.token().cancelled() => "a task of the pipeline ended",
        () = delivery.token().cancelled() => "the delivery of alerts ended",
        () = front.token().cancelled() => "the HTTP server ended",
        () = parts.lake.ended_by_itself() => "the commits to the lake ended",
    };
    tracing::info!(reason, "shutting down");
    let ended = [work.token(), delivery.token(), front.token()].iter().any(|token| token.is_cancelled());
    let failed = ended || parts.lake.has_ended();
    readiness.drain();
    let grace = Duration::from_secs(config.pipeline.shutdown_grace_seconds);
    drain(&parts.pipeline, grace, &work, signals.next()).await;
    if let Some(queries) = queries {
        queries.shut_down(LAST_MOMENT).await;
    }
    parts.lake.end(grace).await;
    delivery.shut_down();
    if !delivery.drained(LAST_MOMENT).await {
        tracing::warn!("deliveries are unfinished; the outbox keeps them for the next start");
    }
    front.shut_down();
    front.drained(LAST_MOMENT).await;
    anyhow::ensure!(!failed, "the daemon ended because {reason}; the log says why");
    Ok(())
}

/// The built parts of a daemon.
struct Parts {
    pipeline: Arc<Pipeline>,
    lake: BuiltLake,
    /// Has seen the rule folders as they were before the first load.
    rules: Watch,
    /// Has read the lookup tables of buckets once.
    tables: Refresher,
}

/// What differs between the daemon and an errand.
struct Adapters {
    state: Arc<dyn StateStore>,
    queue: Arc<dyn MessageQueue>,
    objects: Arc<dyn ObjectStore>,
    confirmations: Arc<dyn Confirmations>,
    /// Length of a lease of the queue.
    lease: Duration,
    clock: SharedClock,
}

impl Parts {
    async fn build(config: &Config, catalogue: Catalogue, telemetry: Telemetry, work: &Tasks) -> anyhow::Result<Parts> {
        let clock: SharedClock = Arc::new(SystemClock);
        let state: Arc<dyn StateStore> = match config.state.kind {
            state::Kind::Sqlite => Arc::new(SqliteStore::open(&config.state.sqlite).await?),
            state::Kind::Postgres => Arc::new(PostgresStore::open(&config.state.postgres).await?),
        };
        let (queue, objects, confirmations, lease) = intake_adapters(config, &clock, work).await?;
        let adapters = Adapters { state, queue, objects, confirmations, lease, clock };
        Parts::assemble(config, catalogue, telemetry, adapters).await
    }

    async fn assemble(
        config: &Config,
        catalogue: Catalogue,
        telemetry: Telemetry,
        adapters: Adapters,
    ) -> anyhow::Result<Parts> {
        let Adapters { state, queue, objects, confirmations, lease, clock } = adapters;
        let catalogue = revisions::settled(catalogue, config, &*state, clock.now()).await;
        let catalogue = catalogue.map_err(|problems| anyhow::anyhow!(problems.join("\n")))?;
        let catalogue = CurrentCatalogue::new(catalogue);
        let built = BuiltLake::build(config, &catalogue, state.clone(), clock.clone(), telemetry.clone()).await?;
        let mut rules = reload::watch(&config.rules.directories, debounce(config), telemetry.clone());
        let seen = rules.look().await;
        rules.accept(&seen);
        let key_values = KeyValues::new(state.clone(), clock.clone());
        let current = catalogue.clone();
        let log_types = Arc::new(move || current.get().log_types.clone());
        let surroundings = Surroundings { log_types, clock: clock.clone() };
        let started = Engine::start_over(&config.rules, program()?, key_values, telemetry.clone(), surroundings);
        let (engine, _) = started.await?;
        let mut tables = Refresher::new(objects.clone(), telemetry.clone());
        lookups::first(&engine, &mut tables, &telemetry).await;
        let budget = ByteBudget::new(config.pipeline.memory_budget_mib * 1024 * 1024);
        let sampled = budget.clone();
        telemetry.sample_with(move |metrics| metrics.memory_budget_bytes_used.set([], sampled.in_use()));
        let slots = Slots::new(config.pipeline.max_in_flight, telemetry.clone());
        let pipeline = Pipeline {
            queue,
            objects,
            confirmations,
            state,
            lake: built.lake(),
            engine,
            catalogue,
            clock,
            telemetry,
            budget,
            limits: config.pipeline.limits(),
            slots,
            unrouted: Unrouted::default(),
            discoveries: Discoveries::default(),
            poison_after: config.pipeline.poison_after,
            lease,
            destinations: watch::Sender::new(config.alerts.receivers().into()),
            alert_opened: Arc::new(Notify::new()),
            trouble: watch::Sender::new(None),
            abandon: CancellationToken::new(),
        };
        Ok(Parts { pipeline: Arc::new(pipeline), lake: built, rules, tables })
    }

    fn start(
        self,
        path: &Path,
        config: &Config,
        outlets: Outlets,
        work: &Tasks,
        delivery: &Tasks,
        hangups: Hangups,
    ) -> Running {
        let Parts { pipeline, lake, rules, tables } = self;
        let shutdown = work.token().clone();
        work.spawn_critical("lookup tables", lookups::follow(pipeline.engine.clone(), tables, shutdown.clone()));
        let lake = lake.start(work);
        let (Outlets { lines: destinations, vault }, doubt) = (outlets, Arc::<Notify>::default());
        let parts = Delivery {
            outbox: pipeline.state.clone(),
            link_base: config.alerts.link_base.clone(),
            clock: pipeline.clock.clone(),
            telemetry: pipeline.telemetry.clone(),
            backlogs: Arc::default(),
            doubt: doubt.clone(),
        };
        let (wake, end) = (pipeline.alert_opened.clone(), delivery.token().clone());
        let (lines, current) = watch::channel(destinations);
        delivery.spawn_critical("delivery", delivery::run(parts, current, wake, end));
        let (followed, end) = (vault.clone(), shutdown.clone());
        work.spawn_critical("secrets", async move { followed.follow(&doubt, end).await });
        let telemetry = pipeline.telemetry.clone();
        work.spawn_critical(
            "rule reload",
            reload::run(pipeline.engine.clone(), rules, hangups.rules, telemetry.clone(), shutdown.clone()),
        );
        let watch = catalogue::watch(path, config, debounce(config), telemetry);
        let (path, config) = (path.to_owned(), config.clone());
        work.spawn_critical(
            "upkeep",
            upkeep::forget_old(pipeline.clone(), upkeep::Ages::of(&config), shutdown.clone()),
        );
        work.spawn_critical("self check", upkeep::check_itself(pipeline.clone(), config.clone(), shutdown.clone()));
        if config.lake.kind != crate::lake::Kind::None {
            work.spawn_critical("audit", upkeep::audit(pipeline.clone(), config.clone(), shutdown.clone()));
            work.spawn_critical("rule statistics", tally::tell(pipeline.clone(), shutdown.clone()));
        }
        work.spawn_critical("parked objects", upkeep::replay_parked(pipeline.clone(), shutdown.clone()));
        let prompts = catalogue::Prompts { hangups: hangups.catalogue, vault };
        work.spawn_critical(
            "configuration reload",
            catalogue::reload(pipeline.clone(), path, config, lines, watch, prompts, shutdown.clone()),
        );
        work.spawn_critical("backlog", watch_backlog(pipeline.clone(), shutdown.clone()));
        work.spawn_critical("intake", pipeline::run(pipeline.clone(), work.clone(), shutdown));
        Running { pipeline, lake }
    }
}

/// A daemon at work.
struct Running {
    pipeline: Arc<Pipeline>,
    lake: RunningLake,
}

type IntakeAdapters = (Arc<dyn MessageQueue>, Arc<dyn ObjectStore>, Arc<dyn Confirmations>, Duration);

/// Queue, object store, what confirms the queue's subscriptions, and the length of a lease. A directory queue makes the
/// directory the bucket; SQS goes with S3.
async fn intake_adapters(config: &Config, clock: &SharedClock, work: &Tasks) -> anyhow::Result<IntakeAdapters> {
    match config.queue.kind {
        queue::Kind::Directory => {
            let objects = object_store(config, clock, work).await?;
            let queue = queue::directory::DirectoryQueue::new(&config.queue.directory, clock.clone())?;
            Ok((Arc::new(queue), objects, Arc::new(NoTopics), queue::directory::LEASE))
        }
        queue::Kind::Sqs => {
            let sdk = aws::sdk_config().await;
            let queue = queue::sqs::SqsQueue::new(&sdk, &config.queue.sqs)?;
            let lease = Duration::from_secs(config.queue.sqs.visibility_timeout_seconds.into());
            let objects = object_store(config, clock, work).await?;
            Ok((Arc::new(queue), objects, Arc::new(SnsTopics::new(&sdk)), lease))
        }
    }
}

/// The object store alone. What it reads ahead ends with `work`.
async fn object_store(config: &Config, clock: &SharedClock, work: &Tasks) -> anyhow::Result<Arc<dyn ObjectStore>> {
    match config.queue.kind {
        queue::Kind::Directory => {
            let directory = &config.queue.directory;
            let root = directory.path.clone().context("`queue.directory.path` is missing")?;
            Ok(Arc::new(fetch::directory::DirectoryStore::new(&root, &directory.bucket)?))
        }
        queue::Kind::Sqs => Ok(Arc::new(s3_store(&aws::sdk_config().await, config, clock, work))),
    }
}

fn s3_store(sdk: &aws_config::SdkConfig, config: &Config, clock: &SharedClock, work: &Tasks) -> fetch::s3::S3Store {
    let identity = identities(Roles::new(sdk.clone(), clock.clone()));
    fetch::s3::S3Store::new(sdk, &config.fetch, identity, work.clone())
}

fn count_dropped_lines(telemetry: &Telemetry, log: LogHandle) {
    let counted = AtomicU64::new(0);
    telemetry.sample_with(move |metrics| {
        let dropped = log.dropped();
        let before = counted.swap(dropped, Ordering::Relaxed);
        metrics.log_lines_dropped_total.add([], dropped.saturating_sub(before));
    });
}

/// The sessions of roles as the identities of S3's clients.
pub fn identities(roles: Roles) -> fetch::s3::IdentityFor {
    Arc::new(move |access: &Access| {
        let session = roles.session(access);
        let credentials: Arc<dyn ProvideCredentials> = session.clone();
        fetch::s3::Identity { credentials: credentials.into(), forget: Arc::new(move |key| session.forget(key)) }
    })
}

/// Ready, for as long as the intake has no trouble.
async fn show_trouble(readiness: Readiness, mut trouble: watch::Receiver<Option<String>>, shutdown: CancellationToken) {
    loop {
        match trouble.borrow_and_update().clone() {
            None => readiness.set_ready(),
            Some(reason) => readiness.not_ready(reason),
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = trouble.changed() => if changed.is_err() { return },
        }
    }
}

async fn watch_backlog(pipeline: Arc<Pipeline>, shutdown: CancellationToken) {
    loop {
        let backlog = tokio::select! {
            () = shutdown.cancelled() => return,
            backlog = pipeline.queue.backlog() => backlog,
        };
        match backlog {
            Ok(backlog) => {
                let metrics = &pipeline.telemetry.metrics;
                metrics.queue_messages_waiting.set([], backlog.waiting);
                metrics.queue_messages_in_flight.set([], backlog.in_flight);
            }
            Err(error) => pipeline.telemetry.queue_failed("backlog", &error),
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(BACKLOG_INTERVAL) => {}
        }
    }
}

fn debounce(config: &Config) -> Duration {
    Duration::from_millis(config.rules.reload_debounce_ms)
}
