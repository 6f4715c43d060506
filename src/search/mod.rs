//! SQL over the lake, read only.
//!
//! A query is one statement. [`statement`] parses it and lets nothing through that could change anything; [`relations`]
//! finds the tables that it names; [`macros`] and [`columns`] write out what people need not: time predicates, names in
//! any case, paths into JSON. DataFusion plans and runs the rest over [`table`], which opens only the files and row groups
//! that may hold what is looked for ([`skip`], [`partition`]), on this machine or another ([`remote`]). [`views`] are unions
//! over many tables. [`output`] prints rows.

mod columns;
mod event_json;
pub mod indicators;
mod macros;
pub mod output;
mod partition;
mod relations;
mod remote;
mod skip;
mod statement;
mod table;
mod views;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider, TableProvider};
use datafusion::common::{DataFusionError, SchemaError};
use datafusion::execution::context::SQLOptions;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use futures_util::StreamExt;
use time::OffsetDateTime;

use crate::lake::catalog::CatalogError;
use crate::lake::names::TableId;
use crate::lake::tables::Tables;
use crate::logtype::schema::suggestion;
use relations::Named;

/// What a search may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub rows: usize,
    pub time: Duration,
    /// For sorting, grouping and joining.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { rows: 1000, time: Duration::from_secs(600), memory: 1024 * 1024 * 1024 }
    }
}

/// Rows, all of one schema.
#[derive(Debug)]
pub struct Answer {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
    /// There were more rows than the limit.
    pub is_cut: bool,
}

impl Answer {
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

/// Says what is wrong with the query, where, and what was probably meant.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SearchError(pub String);

impl From<DataFusionError> for SearchError {
    fn from(error: DataFusionError) -> SearchError {
        if let DataFusionError::SchemaError(problem, _) = error.find_root()
            && let SchemaError::FieldNotFound { field, valid_fields } = &**problem
        {
            let near = suggestion(&field.name, valid_fields.iter().map(|valid| valid.name.as_str()));
            let near = near.map(|near| format!("; did you mean `{near}`?"));
            let near = near.unwrap_or_else(|| "; DESCRIBE with the name of the table lists its columns".into());
            return SearchError(format!("there is no column `{}`{near}", field.name));
        }
        SearchError(error.strip_backtrace())
    }
}

impl From<CatalogError> for SearchError {
    fn from(error: CatalogError) -> SearchError {
        SearchError(error.0)
    }
}

/// Runs queries.
pub struct Search {
    tables: Arc<dyn Tables>,
    limits: Limits,
}

impl Search {
    pub fn new(tables: Arc<dyn Tables>, limits: Limits) -> Search {
        Search { tables, limits }
    }

    /// Answers a query; `now` is what its macros count from.
    pub async fn run(&self, sql: &str, now: OffsetDateTime) -> Result<Answer, SearchError> {
        match tokio::time::timeout(self.limits.time, self.answer(sql, now)).await {
            Ok(answer) => answer,
            Err(_) => Err(SearchError(format!(
                "the query took longer than {} s and was stopped; narrow its time range (p_occurs_since('1 day'))",
                self.limits.time.as_secs()
            ))),
        }
    }

    async fn answer(&self, sql: &str, now: OffsetDateTime) -> Result<Answer, SearchError> {
        let mut statement = statement::parse(sql)?;
        let all = self.tables.list().await?;
        if let statement::Question::Tables = statement.question {
            return Ok(output::names(&all));
        }
        let named = relations::resolve(&mut statement.sql, self.tables.prefix(), &all)?;
        let context = self.context()?;
        let mut schemas = Vec::new();
        for relation in named {
            let (id, provider) = self.provider(relation, &all).await?;
            schemas.push(provider.schema());
            register(&context, &id, provider)?;
        }
        macros::expand(&mut statement.sql, now)?;
        columns::resolve(&mut statement.sql, &schemas);
        let state = context.state();
        let plan = state.statement_to_plan(Statement::Statement(Box::new(statement.sql))).await?;
        SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false)
            .verify_plan(&plan)?;
        let frame = context.execute_logical_plan(plan).await?;
        self.collect(frame).await
    }

    async fn collect(&self, frame: datafusion::dataframe::DataFrame) -> Result<Answer, SearchError> {
        let mut stream = frame.execute_stream().await?;
        let (schema, mut batches, mut room) = (stream.schema(), Vec::new(), self.limits.rows);
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            if batch.num_rows() > room {
                batches.push(batch.slice(0, room));
                return Ok(Answer { schema, batches, is_cut: true });
            }
            room -= batch.num_rows();
            batches.push(batch);
        }
        Ok(Answer { schema, batches, is_cut: false })
    }

    async fn provider(
        &self,
        relation: Named,
        all: &[TableId],
    ) -> Result<(TableId, Arc<dyn TableProvider>), SearchError> {
        match relation {
            Named::Table(id) => {
                let provider = table::open(&*self.tables, &id).await?;
                Ok((id, provider))
            }
            Named::View(id, view, with_event) => {
                let provider = views::open(&*self.tables, view, with_event, all).await?;
                Ok((id, provider))
            }
        }
    }

    fn context(&self) -> Result<SessionContext, SearchError> {
        let mut config =
            SessionConfig::new().with_default_catalog_and_schema(CATALOG, "none").with_information_schema(false);
        let options = config.options_mut();
        // Names are resolved here, in any case; what is left is taken as it is written.
        options.sql_parser.enable_ident_normalization = false;
        options.execution.parquet.pushdown_filters = true;
        options.execution.parquet.reorder_filters = true;
        let runtime = RuntimeEnvBuilder::new().with_memory_limit(self.limits.memory, 1.0).build_arc()?;
        let mut context = SessionContext::new_with_config_rt(config, runtime);
        datafusion_functions_json::register_all(&mut context)?;
        context.register_catalog(CATALOG, Arc::new(MemoryCatalogProvider::new()));
        Ok(context)
    }
}

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
