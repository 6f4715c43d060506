//! SQL over the lake, read only.
//!
//! A query is one statement. [`statement`] parses it, in the [`dialect`] of public queries, and lets nothing through that
//! could change anything, or is more than a process can bear ([`bounds`]); [`relations`] finds the tables that it names; [`macros`], [`columns`] with [`steps`], [`aliases`],
//! [`flatten`] and [`functions`] write out what people need not, or say in another dialect: time predicates, names in any case, paths
//! into JSON. DataFusion plans and runs the rest over [`table`], which opens only the files and row groups that may hold
//! what is looked for ([`skip`], [`partition`]), on this machine or another ([`remote`]); [`scans`] keeps an eye on what
//! that is, and [`variant`] are the functions over JSON that it lacks. [`views`] are unions over many tables, [`dry`] are
//! tables without rows, to try a query on, [`live`] those that are no files. [`rows`] is an answer as it comes, [`output`] prints rows.
//!
//! [`indicators`] and [`attributes`] make queries of their own, of values from anywhere and of the events of an alert.
//!
//! [`queries`] runs the queries of many callers in the daemon, each within its limits; [`saved`] are those that have a name.

mod aliases;
pub mod attributes;
mod bounds;
mod columns;
mod dialect;
pub mod dry;
mod error;
mod flatten;
mod functions;
mod event_json;
pub mod indicators;
pub mod live;
mod literal;
mod macros;
pub mod output;
mod partition;
pub mod queries;
mod relations;
mod remote;
mod rows;
pub mod saved;
mod scans;
mod skip;
mod statement;
mod steps;
mod table;
mod variant;
mod views;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider, TableProvider};
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::time::{Instant, timeout_at};

use crate::lake::names::TableId;
use crate::lake::tables::Tables;
pub use error::{Place, SearchError};
use live::LiveTables;
use relations::Named;
pub use rows::{Answer, Rows};
use scans::Scans;

const MIB: u64 = 1024 * 1024;

/// Searches of the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where answers and the history are kept; a folder of this daemon alone. Relative to the configuration file.
    pub path: PathBuf,
    /// Queries at a time, over all callers and of one.
    pub max_running: usize,
    pub max_running_per_user: usize,
    /// Queries that wait for their turn.
    pub max_waiting: usize,
    /// Threads for all of them; they yield to the work on events.
    pub threads: usize,
    /// Of one query.
    pub timeout_seconds: u64,
    pub memory_mib: u64,
    pub max_rows: usize,
    pub max_result_mib: u64,
    /// What a query without a condition on time may read.
    pub max_unbounded_scan_mib: u64,
    /// How long answers are kept, and how much of them; older ones go first.
    pub keep_hours: u64,
    pub keep_mib: u64,
    /// Rows of a scheduled query that its rules are given.
    pub max_scheduled_rows: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            path: "var/search".into(),
            max_running: 4,
            max_running_per_user: 2,
            max_waiting: 100,
            threads: 2,
            timeout_seconds: 600,
            memory_mib: 512,
            max_rows: 1_000_000,
            max_result_mib: 1024,
            max_unbounded_scan_mib: 1024 * 1024,
            keep_hours: 24,
            keep_mib: 4096,
            max_scheduled_rows: 10_000,
        }
    }
}

impl Config {
    /// What one query may use.
    pub fn limits(&self) -> Limits {
        Limits {
            rows: self.max_rows,
            bytes: self.max_result_mib * MIB,
            time: Duration::from_secs(self.timeout_seconds),
            memory: usize::try_from(self.memory_mib * MIB).unwrap_or(usize::MAX),
            unbounded_scan: self.max_unbounded_scan_mib * MIB,
            threads: self.threads.max(1),
        }
    }
}

/// What a search may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub rows: usize,
    /// Of the answer, as it is in memory.
    pub bytes: u64,
    pub time: Duration,
    /// For sorting, grouping and joining.
    pub memory: usize,
    /// Bytes of files that are read without a condition on time.
    pub unbounded_scan: u64,
    /// Files, or parts of the answer, that are worked on at a time.
    pub threads: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { rows: 1000, memory: 1024 * 1024 * 1024, ..Config::default().limits() }
    }
}

/// Runs queries.
#[derive(Clone)]
pub struct Search {
    tables: Arc<dyn Tables>,
    live: Option<Arc<dyn LiveTables>>,
    limits: Limits,
    lookback: time::Duration,
}

impl Search {
    pub fn new(tables: Arc<dyn Tables>, limits: Limits) -> Search {
        Search { tables, live: None, limits, lookback: time::Duration::ZERO }
    }

    /// The same with tables that are no files.
    pub fn with_live(self, live: Arc<dyn LiveTables>) -> Search {
        Search { live: Some(live), ..self }
    }

    /// The same within other limits.
    pub fn within(&self, limits: Limits) -> Search {
        Search { limits, ..self.clone() }
    }

    /// The same where the ranges of time macros begin so much earlier.
    pub fn looking_back(self, lookback: Duration) -> Search {
        let lookback = time::Duration::try_from(lookback).unwrap_or(time::Duration::MAX);
        Search { lookback, ..self }
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether a text is a query at all; whether its names are right, only [`Search::start`] can tell.
    pub fn check(sql: &str) -> Result<(), SearchError> {
        statement::parse(sql).map(|_| ())
    }

    /// Every table, sorted.
    pub async fn tables(&self) -> Result<Vec<TableId>, SearchError> {
        let mut all = self.tables.list().await?;
        if let Some(live) = &self.live {
            all.extend(live.list());
            all.sort();
            all.dedup();
        }
        Ok(all)
    }

    /// The columns of a table, by any of its names.
    pub async fn columns(&self, table: &str) -> Result<SchemaRef, SearchError> {
        let sql = format!("SELECT * FROM {table} LIMIT 0");
        Ok(self.start(&sql, OffsetDateTime::UNIX_EPOCH).await?.schema().clone())
    }

    /// Answers a query with all of its rows; `now` is what its macros count from.
    pub async fn run(&self, sql: &str, now: OffsetDateTime) -> Result<Answer, SearchError> {
        self.start(sql, now).await?.collect().await
    }

    /// Plans a query. Its rows are read as they are asked for; the limit of time counts from here.
    pub async fn start(&self, sql: &str, now: OffsetDateTime) -> Result<Rows, SearchError> {
        let deadline = Instant::now() + self.limits.time;
        match timeout_at(deadline, self.planned(sql, now, deadline)).await {
            Ok(rows) => rows.map_err(|error| error.located(sql)),
            Err(_) => Err(rows::too_slow(&self.limits)),
        }
    }

    async fn planned(&self, sql: &str, now: OffsetDateTime, deadline: Instant) -> Result<Rows, SearchError> {
        let statement = statement::parse(sql)?;
        if let statement::Question::Tables = statement.question {
            return Ok(Rows::of(output::names(&self.tables().await?)));
        }
        let scans = Arc::new(Scans::new(self.limits.unbounded_scan));
        let context = self.context(scans.clone())?;
        let plan = self.logical(&context, statement.sql, now).await?;
        let frame = context.execute_logical_plan(plan).await?;
        let task = Arc::new(frame.task_ctx());
        let plan = frame.create_physical_plan().await?;
        Ok(Rows::start(plan, task, &self.limits, deadline, scans.warnings())?)
    }

    async fn logical(
        &self,
        context: &SessionContext,
        mut sql: datafusion::sql::sqlparser::ast::Statement,
        now: OffsetDateTime,
    ) -> Result<LogicalPlan, SearchError> {
        let all = self.tables().await?;
        let named = relations::resolve(&mut sql, self.tables.prefix(), &all)?;
        let mut tables = Vec::new();
        for relation in named {
            let (id, provider) = self.provider(relation, &all).await?;
            register(context, &id, provider.clone())?;
            tables.push((id, provider.schema()));
        }
        macros::expand(&mut sql, macros::Moment { now, lookback: self.lookback })?;
        flatten::write_out(&mut sql)?;
        functions::write_out(&mut sql)?;
        let plan = with_aliases(context, sql, &tables).await?;
        SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false)
            .verify_plan(&plan)?;
        Ok(plan)
    }

    async fn provider(
        &self,
        relation: Named,
        all: &[TableId],
    ) -> Result<(TableId, Arc<dyn TableProvider>), SearchError> {
        match relation {
            Named::Table(id) => {
                if let Some(live) = &self.live
                    && let Some(table) = live.open(&id).await
                {
                    let provider = live::provider(&id, &table)?;
                    return Ok((id, provider));
                }
                let provider = table::open(&*self.tables, &id).await?;
                Ok((id, provider))
            }
            Named::View(id, view, with_event) => {
                let provider = views::open(&*self.tables, view, with_event, all).await?;
                Ok((id, provider))
            }
        }
    }

    fn context(&self, scans: Arc<Scans>) -> Result<SessionContext, SearchError> {
        let mut config = SessionConfig::new()
            .with_default_catalog_and_schema(CATALOG, "none")
            .with_information_schema(false)
            .with_target_partitions(self.limits.threads)
            .with_extension(scans);
        let options = config.options_mut();
        // Names are resolved here, in any case; what is left is taken as it is written.
        options.sql_parser.enable_ident_normalization = false;
        // With two fields of one struct beside an IN with a subquery it loses columns.
        options.optimizer.enable_leaf_expression_pushdown = false;
        options.execution.parquet.pushdown_filters = true;
        options.execution.parquet.reorder_filters = true;
        // What does not fit into the memory of a query is an error, not a file that fills the disk.
        let no_files = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
        let runtime = RuntimeEnvBuilder::new().with_memory_limit(self.limits.memory, 1.0);
        let runtime = runtime.with_disk_manager_builder(no_files).build_arc()?;
        let mut context = SessionContext::new_with_config_rt(config, runtime);
        datafusion_functions_json::register_all(&mut context)?;
        variant::register(&context);
        context.register_catalog(CATALOG, Arc::new(MemoryCatalogProvider::new()));
        Ok(context)
    }
}

/// Plans a statement; what DataFusion knows as no column, and is an alias, is put in its place.
async fn with_aliases(
    context: &SessionContext,
    mut sql: datafusion::sql::sqlparser::ast::Statement,
    tables: &[(TableId, SchemaRef)],
) -> Result<LogicalPlan, SearchError> {
    for _ in 0..MOST_ALIASES {
        let mut resolved = sql.clone();
        columns::resolve(&mut resolved, tables);
        let planned = context.state().statement_to_plan(Statement::Statement(Box::new(resolved))).await;
        let error = match planned {
            Ok(plan) => return Ok(plan),
            Err(error) => error,
        };
        let unknown = error::unknown_column(&error);
        if !unknown.is_some_and(|name| aliases::write_out(&mut sql, &name)) {
            return Err(error.into());
        }
        if sql.to_string().len() > 4 * statement::LONGEST {
            return Err(SearchError::new("the query becomes too long with its aliases written out"));
        }
    }
    Err(SearchError::new("the query uses too many of its own aliases"))
}

/// That a query uses outside of GROUP BY, HAVING and ORDER BY.
const MOST_ALIASES: usize = 32;

/// By this name DataFusion knows what a query may reach: nothing but the tables that it names.
const CATALOG: &str = "lake";

fn register(context: &SessionContext, id: &TableId, provider: Arc<dyn TableProvider>) -> Result<(), SearchError> {
    let catalog = context.catalog(CATALOG).expect("it was registered with the context");
    let namespace: Arc<dyn SchemaProvider> = match catalog.schema(&id.namespace) {
        Some(namespace) => namespace,
        None => {
            let namespace = Arc::new(MemorySchemaProvider::new());
            catalog.register_schema(&id.namespace, namespace.clone())?;
            namespace
        }
    };
    if !namespace.table_exist(&id.name) {
        namespace.register_table(id.name.clone(), provider)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod view_tests;
