//! A table of the lake as DataFusion reads it: its files, planned by the lake, through DataFusion's own Parquet reader.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{DFSchema, DataFusionError, Result, Statistics};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::object_store::ObjectStore;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::union::UnionExec;

use super::live::LiveProvider;
use super::remote::{self, Remote};
use super::scans::Scans;
use super::skip::Needle;
use super::{SearchError, partition, skip};
use crate::lake::names::TableId;
use crate::lake::tables::{Condition, ParquetFile, Snapshot, Tables};

/// Opens a table that is there.
pub(super) async fn open(
    tables: &dyn Tables,
    id: &TableId,
) -> std::result::Result<Arc<dyn TableProvider>, SearchError> {
    match tables.open(id).await? {
        Some(snapshot) => {
            let schema = as_read(&snapshot.schema(), snapshot.json_columns());
            Ok(Arc::new(LakeTable { id: id.clone(), schema, snapshot }))
        }
        None => Err(SearchError::new(format!("table `{id}` is gone"))),
    }
}

/// The columns of a table whose text is JSON.
pub(super) fn json_columns(table: &Arc<dyn TableProvider>) -> &[String] {
    let table = table.as_any();
    match table.downcast_ref::<LakeTable>() {
        Some(table) => table.snapshot.json_columns(),
        None => table.downcast_ref::<LiveProvider>().map_or(&[], |table| &table.json_columns),
    }
}

/// Text is read as views of the pages that it stands in, without a copy. What is JSON goes through functions that want it
/// in one piece.
fn as_read(schema: &SchemaRef, json_columns: &[String]) -> SchemaRef {
    let field = |field: &FieldRef| match field.data_type() {
        DataType::Utf8 if !json_columns.contains(field.name()) => {
            Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View))
        }
        _ => field.clone(),
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<FieldRef>>()))
}

struct LakeTable {
    id: TableId,
    schema: SchemaRef,
    snapshot: Arc<dyn Snapshot>,
}

impl fmt::Debug for LakeTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {}", self.id)
    }
}

#[async_trait]
impl TableProvider for LakeTable {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// They skip files here; which rows they let through, the reader of the files decides. Conditions on a time alone are
    /// not asked of files that all meet them, so nobody else needs to ask them either.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| match skip::of_time(filter, &self.schema) {
            Some(_) => TableProviderFilterPushDown::Exact,
            None => TableProviderFilterPushDown::Inexact,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let conditions = partition::conditions(filters, &self.schema);
        let files = self.snapshot.files(&conditions).await;
        let files = files.map_err(|error| DataFusionError::External(error.0.into()))?;
        let timed = filters.iter().filter_map(|filter| Some((filter.clone(), skip::of_time(filter, &self.schema)?)));
        let (timed, moments): (Vec<Expr>, Vec<Condition>) = timed.unzip();
        let meets =
            |file: &ParquetFile, moment: &Condition| file.times.as_ref().is_some_and(|times| times.meet(moment));
        let (within, across): (Vec<ParquetFile>, Vec<ParquetFile>) =
            files.into_iter().partition(|file| moments.iter().all(|moment| meets(file, moment)));
        let mut statistics = Statistics::new_unknown(&self.schema);
        if filters.len() == timed.len()
            && let Some(rows) = within.iter().map(|file| file.rows).sum::<Option<u64>>()
        {
            statistics.num_rows = Precision::Exact(usize::try_from(rows).unwrap_or(usize::MAX));
        }
        let needles = skip::needles(filters);
        let within = self.left(state, within, &needles).await?;
        let across = self.left(state, across, &needles).await?;
        // A look at some rows, or their count, reads little of a table.
        let is_look = filters.is_empty() && (limit.is_some() || projection.is_some_and(Vec::is_empty));
        if !is_look && let Some(scans) = state.config().get_extension::<Scans>() {
            let all = within.iter().chain(&across);
            scans.planned(&self.id, &conditions, all.map(|file| file.object_meta.size).sum())?;
        }
        if across.is_empty() {
            return self.read(state, within, statistics, projection, limit);
        }
        let filtered = self.filtered(state, across, &timed, &moments, projection)?;
        if within.is_empty() {
            return Ok(filtered);
        }
        UnionExec::try_new(vec![self.read(state, within, statistics, projection, limit)?, filtered])
    }
}

impl LakeTable {
    fn store(&self, state: &dyn Session) -> Result<(ObjectStoreUrl, Arc<dyn ObjectStore>)> {
        let url = match self.snapshot.remote() {
            None => ObjectStoreUrl::local_filesystem(),
            Some(ranges) => {
                let url = ObjectStoreUrl::parse("lake://files")?;
                state.runtime_env().register_object_store(url.as_ref(), Arc::new(Remote(ranges)));
                url
            }
        };
        let store = state.runtime_env().object_store(&url)?;
        Ok((url, store))
    }

    /// The files without those that have none of the needles.
    async fn left(
        &self,
        state: &dyn Session,
        files: Vec<ParquetFile>,
        needles: &[Needle],
    ) -> Result<Vec<PartitionedFile>> {
        let (_, store) = self.store(state)?;
        let of = if self.snapshot.remote().is_some() { distant } else { local };
        skip::by_blooms(files.iter().map(of).collect(), needles, &store).await
    }

    fn read(
        &self,
        state: &dyn Session,
        files: Vec<PartitionedFile>,
        statistics: Statistics,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (url, _) = self.store(state)?;
        let groups = groups(files, state.config().target_partitions());
        let options = state.config().options().execution.parquet.clone();
        let source = ParquetSource::new(self.schema.clone())
            .with_pushdown_filters(options.pushdown_filters)
            .with_reorder_filters(options.reorder_filters)
            .with_enable_page_index(true)
            .with_bloom_filter_on_read(true);
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    /// The rows of files that meet conditions on times. DataFusion moves the filter into the reader.
    fn filtered(
        &self,
        state: &dyn Session,
        files: Vec<PartitionedFile>,
        timed: &[Expr],
        moments: &[Condition],
        projection: Option<&Vec<usize>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let mut columns = wanted.clone();
        for moment in moments {
            let column = self.schema.index_of(&moment.column)?;
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        let read = self.read(state, files, Statistics::new_unknown(&self.schema), Some(&columns), None)?;
        let schema = DFSchema::try_from(read.schema().as_ref().clone())?;
        let filter = conjunction(timed.iter().cloned()).expect("without a condition every file is within it");
        let filter = state.create_physical_expr(filter, &schema)?;
        let filtered: Arc<dyn ExecutionPlan> = Arc::new(FilterExec::try_new(filter, read)?);
        if columns.len() == wanted.len() {
            return Ok(filtered);
        }
        let column = |(at, field): (usize, &FieldRef)| {
            let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), at));
            ProjectionExpr { expr: column, alias: field.name().clone() }
        };
        let fields = filtered.schema();
        let columns: Vec<ProjectionExpr> = fields.fields().iter().take(wanted.len()).enumerate().map(column).collect();
        Ok(Arc::new(ProjectionExec::try_new(columns, filtered)?))
    }
}

fn local(file: &ParquetFile) -> PartitionedFile {
    let path = file.location.strip_prefix("file:").unwrap_or(&file.location);
    PartitionedFile::new(path, file.bytes)
}

fn distant(file: &ParquetFile) -> PartitionedFile {
    let mut file = PartitionedFile::new(remote::path(&file.location), file.bytes);
    file.metadata_size_hint = Some(remote::FOOTER);
    file
}

/// As many groups as are read at once, of about the same size.
fn groups(mut files: Vec<PartitionedFile>, count: usize) -> Vec<FileGroup> {
    files.sort_by_key(|file| std::cmp::Reverse(file.object_meta.size));
    let mut groups: Vec<(u64, Vec<PartitionedFile>)> = vec![(0, Vec::new()); count.clamp(1, files.len().max(1))];
    for file in files {
        let smallest = groups.iter_mut().min_by_key(|(bytes, _)| *bytes).expect("there is at least one group");
        smallest.0 += file.object_meta.size;
        smallest.1.push(file);
    }
    groups.into_iter().map(|(_, files)| FileGroup::new(files)).collect()
}
