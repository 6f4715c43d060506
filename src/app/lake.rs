//! The lake of the configuration, and the task without which nothing of it is committed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use aws_config::SdkConfig;
use aws_credential_types::provider::SharedCredentialsProvider;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;

use super::duty::{Duty, Turn};
use super::{LAST_MOMENT, log_types};
use crate::aws::{self, vault::Vault};
use crate::config::Config;
use crate::lake::committer::Committer;
use crate::lake::families::FAMILIES;
use crate::lake::iceberg::maintain::{Done, Goals};
use crate::lake::iceberg::{
    self, GlueAccess, GluePointers, IcebergCatalog, PostgresPointers, RestAccess, RestHeads, RestProof, Schemas,
    Warehouse,
};
use crate::lake::names::TableId;
use crate::lake::none::NoLake;
use crate::lake::tables::Tables;
use crate::lake::{self, GlueConfig, Kind, Lake, LocalConfig, RestConfig};
use crate::logtype::Registry;
use crate::model::SecretRef;
use crate::pipeline::CurrentCatalogue;
use crate::runtime::{SharedClock, SystemClock, Tasks};
use crate::state::{Leases, StateStore, postgres};
use crate::telemetry::Telemetry;

async fn existing(config: &Config) -> anyhow::Result<IcebergCatalog> {
    match config.lake.kind {
        Kind::Local => {
            let root = &config.lake.local.path;
            let place = root.display();
            anyhow::ensure!(iceberg::exists(root), "there is no lake in {place}; start `margay run` first");
        }
        Kind::None | Kind::Postgres | Kind::Glue | Kind::Rest => {}
    }
    let log_types = log_types(&config.log_types.directories);
    let log_types = log_types.map_err(|problems| anyhow::anyhow!(problems.join("\n")))?;
    let schemas: Schemas = Arc::new(move |name: &str| log_types.get(name).ok().cloned());
    catalog(config, schemas, Arc::new(SystemClock)).await
}

/// The catalog of the configuration, which has one.
async fn catalog(config: &Config, schemas: Schemas, clock: SharedClock) -> anyhow::Result<IcebergCatalog> {
    let (lake, settings) = (&config.lake, config.lake.settings());
    let warehouse = warehouse(lake).await?;
    Ok(match lake.kind {
        Kind::None => anyhow::bail!("`lake.type` is `none`: no events are kept"),
        Kind::Local => IcebergCatalog::embedded(warehouse, settings, schemas, clock).await?,
        Kind::Postgres => {
            let pool = postgres::connections(&config.state.postgres).await?;
            let pointers = PostgresPointers::open(pool).await?;
            IcebergCatalog::pointed(warehouse, Box::new(pointers), settings, schemas, clock)
        }
        Kind::Glue => {
            let pointers = GluePointers::new(glue(&lake.glue).await?, &lake.namespace_prefix, clock.clone())?;
            IcebergCatalog::pointed(warehouse, Box::new(pointers), settings, schemas, clock)
        }
        Kind::Rest => {
            let heads = RestHeads::new(rest(&lake.rest).await?, &lake.namespace_prefix, clock.clone())?;
            IcebergCatalog::new(warehouse, Box::new(heads), settings, schemas, clock)
        }
    })
}

async fn glue(config: &GlueConfig) -> anyhow::Result<GlueAccess> {
    let sdk = aws::sdk_config().await;
    let (credentials, region) = signature(&sdk, config.region.as_deref(), "lake.glue.region")?;
    let endpoint = sdk.endpoint_url().map(str::to_owned);
    Ok(GlueAccess { endpoint, region, credentials, account: config.account.clone() })
}

async fn rest(config: &RestConfig) -> anyhow::Result<RestAccess> {
    // Relative paths were resolved when the configuration was read.
    let wanted = config.token.iter().chain(&config.credential);
    let secrets = super::secrets::secrets(Path::new(""), wanted, &Vault::default()).await;
    let secret = |key: &str, reference: &SecretRef| {
        secrets.get(reference).map_err(|problem| anyhow::anyhow!("`lake.rest.{key}` {problem}"))
    };
    let proof = match config {
        RestConfig { token: Some(token), .. } => RestProof::Token(secret("token", token)?),
        RestConfig { credential: Some(credential), oauth2_uri, scope, .. } => RestProof::Client {
            credential: secret("credential", credential)?,
            uri: oauth2_uri.clone(),
            scope: scope.clone(),
        },
        RestConfig { sign_for: Some(service), region, .. } => {
            let sdk = aws::sdk_config().await;
            let (credentials, region) = signature(&sdk, region.as_deref(), "lake.rest.region")?;
            RestProof::Signed { credentials, region, service: service.service() }
        }
        _ => RestProof::None,
    };
    let uri = config.uri.clone().context("`lake.rest.uri` is missing")?;
    Ok(RestAccess { uri, warehouse: config.warehouse.clone(), proof })
}

/// What requests are signed with.
fn signature(sdk: &SdkConfig, region: Option<&str>, key: &str) -> anyhow::Result<(SharedCredentialsProvider, String)> {
    let region = region.or(sdk.region().map(AsRef::as_ref));
    let region = region.with_context(|| format!("neither `{key}` nor the environment names an AWS region"))?;
    let credentials = sdk.credentials_provider().context("the environment has no AWS credentials")?;
    Ok((credentials, region.to_owned()))
}

async fn warehouse(lake: &lake::Config) -> anyhow::Result<Warehouse> {
    let Some(place) = &lake.warehouse else { return Ok(Warehouse::folder(&lake.local.path).await?) };
    if !place.starts_with("s3://") {
        return Ok(Warehouse::folder(Path::new(place)).await?);
    }
    let sdk = aws::sdk_config().await;
    let mut s3 = aws_sdk_s3::config::Builder::from(&sdk).force_path_style(lake.s3.path_style);
    if let Some(region) = &lake.s3.region {
        s3 = s3.region(aws_sdk_s3::config::Region::new(region.clone()));
    }
    Ok(Warehouse::bucket(place, aws_sdk_s3::Client::from_conf(s3.build()))?)
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

/// Tables that are looked at, or made, at once when the daemon starts.
const TABLES_AT_ONCE: usize = 8;

/// A lake in a new folder, which commits until `tasks` end: for benchmarks.
pub async fn local_lake(
    folder: PathBuf,
    log_types: Arc<Registry>,
    state: Arc<dyn StateStore>,
    telemetry: Telemetry,
    tasks: &Tasks,
) -> anyhow::Result<Arc<dyn Lake>> {
    let config = lake::Config { local: LocalConfig { path: folder }, ..lake::Config::default() };
    let schemas: Schemas = Arc::new(move |name: &str| log_types.get(name).ok().cloned());
    let clock: SharedClock = Arc::new(SystemClock);
    let catalog = IcebergCatalog::open(config.settings(), schemas, clock.clone()).await?.telling(telemetry.clone());
    let committer = Arc::new(Committer::new(Arc::new(catalog), state, clock, telemetry, config.limits()));
    let (running, end) = (committer.clone(), tasks.token().clone());
    tasks.spawn(async move { running.run(end.clone(), end).await });
    Ok(committer)
}

/// A lake that is not committing yet.
pub(super) enum BuiltLake {
    None,
    Iceberg { catalog: Arc<IcebergCatalog>, committer: Arc<Committer<IcebergCatalog>>, upkeep: Option<Box<Round>> },
}

impl BuiltLake {
    pub(super) async fn build(
        config: &Config,
        catalogue: &CurrentCatalogue,
        state: Arc<dyn StateStore>,
        clock: SharedClock,
        telemetry: Telemetry,
    ) -> anyhow::Result<BuiltLake> {
        if config.lake.kind == Kind::None {
            return Ok(BuiltLake::None);
        }
        let catalog = catalog(config, schemas(catalogue), clock.clone()).await?.telling(telemetry.clone());
        make_tables(&catalog, catalogue).await?;
        let (catalog, limits) = (Arc::new(catalog), config.lake.limits());
        let leases: Arc<dyn Leases> = state.clone();
        let committer = Committer::new(catalog.clone(), state, clock.clone(), telemetry.clone(), limits);
        let interval = Duration::from_secs(config.lake.maintain_seconds);
        let upkeep = (!interval.is_zero()).then(|| {
            let duty = Duty { name: "upkeep of the lake", every: interval, leases, clock, telemetry };
            Box::new(Round { goals: config.lake.goals(), duty })
        });
        Ok(BuiltLake::Iceberg { catalog, committer: Arc::new(committer), upkeep })
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

/// Upkeep again and again, by one daemon of all at a time. What two of them would do beside each other is lost work and
/// nothing worse: every change of a table is a commit on the head that it was made for.
pub(super) struct Round {
    goals: Goals,
    duty: Duty,
}

impl Round {
    /// Until the lake ends. An error is of one table, and the next round tries it again.
    async fn run(self, catalog: Arc<IcebergCatalog>, end: CancellationToken) {
        let rounds = async {
            loop {
                tokio::time::sleep(self.duty.look()).await;
                match self.duty.turn(self.maintain_all(&catalog)).await {
                    Ok(Turn::Done | Turn::NotNow) => {}
                    Ok(Turn::Lost) => tracing::warn!("another daemon took over the upkeep of the lake"),
                    Err(error) => self.duty.telemetry.state_failed("ask for the upkeep of the lake", &error),
                }
            }
        };
        tokio::select! {
            () = end.cancelled() => {}
            () = rounds => {}
        }
    }

    async fn maintain_all(&self, catalog: &IcebergCatalog) {
        match catalog.list().await {
            Ok(tables) => self.maintain(catalog, &tables).await,
            Err(error) => self.duty.telemetry.lake_not_maintained(&"any", &error),
        }
    }

    async fn maintain(&self, catalog: &IcebergCatalog, tables: &[TableId]) {
        for table in tables {
            match catalog.maintain(table, &self.goals).await {
                Ok(done) => self.duty.telemetry.lake_maintained(table, done.files_before, done.files_after),
                Err(error) => self.duty.telemetry.lake_not_maintained(table, &error),
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

/// The tables for each log type of a source, and those that there is one of, so that no search finds that one is missing.
async fn make_tables(catalog: &IcebergCatalog, catalogue: &CurrentCatalogue) -> anyhow::Result<()> {
    let catalogue = catalogue.get();
    let named: BTreeSet<&str> = catalogue.sources.log_types().collect();
    let tables = FAMILIES.into_iter().flat_map(|family| named.iter().map(|log_type| family.table(log_type)));
    let tables: BTreeSet<Arc<str>> = tables.collect();
    let made = stream::iter(tables).map(|table| async move { catalog.ensure(&table).await.map(|_| ()) });
    made.buffer_unordered(TABLES_AT_ONCE).try_collect::<()>().await?;
    Ok(())
}
