//! A table of the lake as DataFusion reads it: its files, planned by the lake, through DataFusion's own Parquet reader.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;

use super::remote::{self, Remote};
use super::scans::Scans;
use super::{SearchError, partition, skip};
use crate::lake::names::TableId;
use crate::lake::tables::{ParquetFile, Snapshot, Tables};

/// Opens a table that is there.
pub(super) async fn open(
    tables: &dyn Tables,
    id: &TableId,
) -> std::result::Result<Arc<dyn TableProvider>, SearchError> {
    match tables.open(id).await? {
        Some(snapshot) => Ok(Arc::new(LakeTable { id: id.clone(), schema: snapshot.schema(), snapshot })),
        None => Err(SearchError::new(format!("table `{id}` is gone"))),
    }
}

/// The columns of a table whose text is JSON.
pub(super) fn json_columns(table: &Arc<dyn TableProvider>) -> &[String] {
    table.as_any().downcast_ref::<LakeTable>().map_or(&[], |table| table.snapshot.json_columns())
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

    /// They skip files here; which rows they let through, the reader of the files decides.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
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
        let needles = skip::needles(filters);
        let mut statistics = Statistics::new_unknown(&self.schema);
        if filters.is_empty()
            && let Some(rows) = files.iter().map(|file| file.rows).sum::<Option<u64>>()
        {
            statistics.num_rows = Precision::Exact(usize::try_from(rows).unwrap_or(usize::MAX));
        }
        let (url, files) = match self.snapshot.remote() {
            None => (ObjectStoreUrl::local_filesystem(), files.iter().map(local).collect()),
            Some(ranges) => {
                let url = ObjectStoreUrl::parse("lake://files")?;
                state.runtime_env().register_object_store(url.as_ref(), Arc::new(Remote(ranges)));
                (url, files.iter().map(distant).collect())
            }
        };
        let store = state.runtime_env().object_store(&url)?;
        let footers = state.runtime_env().cache_manager.get_file_metadata_cache();
        let files = skip::by_blooms(files, &needles, &store, &footers).await?;
        // A look at some rows, or their count, reads little of a table.
        let is_look = filters.is_empty() && (limit.is_some() || projection.is_some_and(Vec::is_empty));
        if !is_look && let Some(scans) = state.config().get_extension::<Scans>() {
            scans.planned(&self.id, &conditions, files.iter().map(|file| file.object_meta.size).sum())?;
        }
        let groups = groups(files, state.config().target_partitions());
        let options = state.config().options().execution.parquet.clone();
        let reader = CachedParquetFileReaderFactory::new(store, footers);
        let source = ParquetSource::new(self.schema.clone())
            .with_parquet_file_reader_factory(Arc::new(reader))
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
