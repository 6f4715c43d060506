//! The lake of the configuration, and the task without which nothing of it is committed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{LAST_MOMENT, log_types};
use crate::config::Config;
use crate::lake::committer::Committer;
use crate::lake::iceberg::maintain::{Done, Goals};
use crate::lake::iceberg::{self, IcebergCatalog, Schemas};
use crate::lake::names::TableId;
use crate::lake::none::NoLake;
use crate::lake::tables::Tables;
use crate::lake::{Kind, Lake};
use crate::pipeline::CurrentCatalogue;
use crate::runtime::{SharedClock, SystemClock, Tasks};
use crate::state::StateStore;
use crate::telemetry::Telemetry;

async fn existing(config: &Config) -> anyhow::Result<IcebergCatalog> {
    match config.lake.kind {
        Kind::None => anyhow::bail!("`lake.type` is `none`: no events are kept"),
        Kind::Local => {
            let settings = config.lake.settings();
            let root = settings.root.display();
            anyhow::ensure!(iceberg::exists(&settings.root), "there is no lake in {root}; start `margay run` first");
            let log_types = log_types(&config.log_types.directories);
            let log_types = log_types.map_err(|problems| anyhow::anyhow!(problems.join("\n")))?;
            let schemas: Schemas = Arc::new(move |name: &str| log_types.get(name).ok().cloned());
            Ok(IcebergCatalog::open(settings, schemas, Arc::new(SystemClock)).await?)
        }
    }
}

/// The tables, for commands beside a running daemon.
pub async fn tables_for_reading(config: &Config) -> anyhow::Result<Arc<dyn Tables>> {
    Ok(Arc::new(existing(config).await?))
}

/// Upkeep of the tables, for a command.
pub struct Upkeep {
    catalog: IcebergCatalog,
    goals: Goals,
}

impl Upkeep {
    pub async fn tables(&self) -> anyhow::Result<Vec<TableId>> {
        Ok(self.catalog.list().await?)
    }

    pub async fn maintain(&self, table: &TableId) -> anyhow::Result<Done> {
        Ok(self.catalog.maintain(table, &self.goals).await?)
    }
}

pub async fn lake_upkeep(config: &Config) -> anyhow::Result<Upkeep> {
    Ok(Upkeep { catalog: existing(config).await?, goals: config.lake.goals() })
}

/// A lake that is not committing yet.
pub(super) enum BuiltLake {
    None,
    Iceberg { catalog: Arc<IcebergCatalog>, committer: Arc<Committer<IcebergCatalog>>, upkeep: Option<Round> },
}

impl BuiltLake {
    pub(super) async fn build(
        config: &Config,
        catalogue: &CurrentCatalogue,
        state: Arc<dyn StateStore>,
        clock: SharedClock,
        telemetry: Telemetry,
    ) -> anyhow::Result<BuiltLake> {
        match config.lake.kind {
            Kind::None => Ok(BuiltLake::None),
            Kind::Local => {
                let catalog = IcebergCatalog::open(config.lake.settings(), schemas(catalogue), clock.clone()).await?;
                make_tables(&catalog, catalogue).await?;
                let (catalog, limits) = (Arc::new(catalog), config.lake.limits());
                let committer = Committer::new(catalog.clone(), state, clock, telemetry.clone(), limits);
                let interval = Duration::from_secs(config.lake.maintain_seconds);
                let upkeep = (!interval.is_zero()).then(|| Round { goals: config.lake.goals(), interval, telemetry });
                Ok(BuiltLake::Iceberg { catalog, committer: Arc::new(committer), upkeep })
            }
        }
    }

    pub(super) fn lake(&self) -> Arc<dyn Lake> {
        match self {
            BuiltLake::None => Arc::new(NoLake),
            BuiltLake::Iceberg { committer, .. } => committer.clone(),
        }
    }

    /// What searches read.
    pub(super) fn tables(&self) -> Option<Arc<dyn Tables>> {
        match self {
            BuiltLake::None => None,
            BuiltLake::Iceberg { catalog, .. } => Some(catalog.clone()),
        }
    }

    /// Commits from now on; everything at once when `work` is to end.
    pub(super) fn start(self, work: &Tasks) -> RunningLake {
        let tasks = Tasks::new();
        if let BuiltLake::Iceberg { catalog, committer, upkeep } = self {
            let (draining, end) = (work.token().clone(), tasks.token().clone());
            tasks.spawn_critical("lake", async move { committer.run(draining, end).await });
            if let Some(round) = upkeep {
                tasks.spawn_critical("upkeep of the lake", round.run(catalog, tasks.token().clone()));
            }
        }
        RunningLake(tasks)
    }
}

/// Upkeep again and again.
pub(super) struct Round {
    goals: Goals,
    interval: Duration,
    telemetry: Telemetry,
}

impl Round {
    /// Until the lake ends: the first round comes after an interval, so that a daemon that is started again and again is
    /// not kept busy by it. An error is of one table, and the next round tries it again.
    async fn run(self, catalog: Arc<IcebergCatalog>, end: CancellationToken) {
        let rounds = async {
            loop {
                tokio::time::sleep(self.interval).await;
                match catalog.list().await {
                    Ok(tables) => self.maintain(&catalog, &tables).await,
                    Err(error) => self.telemetry.lake_not_maintained(&"any", &error),
                }
            }
        };
        tokio::select! {
            () = end.cancelled() => {}
            () = rounds => {}
        }
    }

    async fn maintain(&self, catalog: &IcebergCatalog, tables: &[TableId]) {
        for table in tables {
            match catalog.maintain(table, &self.goals).await {
                Ok(done) => self.telemetry.lake_maintained(table, done.files_before, done.files_after),
                Err(error) => self.telemetry.lake_not_maintained(table, &error),
            }
        }
    }
}

/// Ends apart from the work whose rows it commits, and after it.
pub(super) struct RunningLake(Tasks);

impl RunningLake {
    pub(super) async fn ended_by_itself(&self) {
        self.0.token().cancelled().await;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.0.token().is_cancelled()
    }

    pub(super) async fn end(&self, grace: Duration) {
        self.0.shut_down();
        if !self.0.drained(grace.max(LAST_MOMENT)).await {
            tracing::warn!("commits to the lake are unfinished; the objects of their rows come again");
        }
    }
}

fn schemas(catalogue: &CurrentCatalogue) -> Schemas {
    let catalogue = catalogue.clone();
    Arc::new(move |name: &str| catalogue.get().log_types.get(name).ok().cloned())
}

/// A table for each log type of a source, so that no search finds that one is missing.
async fn make_tables(catalog: &IcebergCatalog, catalogue: &CurrentCatalogue) -> anyhow::Result<()> {
    let catalogue = catalogue.get();
    let named: BTreeSet<&str> = catalogue.sources.log_types().collect();
    for log_type in named {
        catalog.ensure(log_type).await?;
    }
    Ok(())
}
