//! Tables that are no files of the lake: what changes under way, as it is at the moment of the query. Their rows are made page
//! by page while the query reads them, so that none is in memory whole.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::json::ReaderBuilder;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::TableType;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use serde_json::{Map, Value};

use super::dry::data_type;
use crate::lake::columns::{Column, Shape};
use crate::lake::names::TableId;

/// Rows of a table, some at a time; an error says why there are no more.
pub type Pages = BoxStream<'static, std::result::Result<Vec<Map<String, Value>>, String>>;

/// A table that is made when it is read.
#[derive(Clone)]
pub struct LiveTable {
    pub columns: Vec<Column>,
    /// Begins with the first row, as often as it is asked.
    pub pages: Arc<dyn Fn() -> Pages + Send + Sync>,
}

/// The tables of this kind, by names that are in lower case.
#[async_trait]
pub trait LiveTables: Send + Sync {
    /// Every table, sorted.
    fn list(&self) -> Vec<TableId>;

    async fn open(&self, table: &TableId) -> Option<LiveTable>;
}

/// A column of such a table.
pub fn column(name: &str, shape: Shape) -> Column {
    Column { name: name.into(), description: String::new(), shape }
}

/// As DataFusion reads it.
pub(super) fn provider(id: &TableId, table: &LiveTable) -> Result<Arc<dyn TableProvider>> {
    let fields = table.columns.iter().map(|column| Field::new(&*column.name, data_type(&column.shape), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let pages = LivePages { id: id.clone(), schema: schema.clone(), pages: table.pages.clone() };
    let inner = StreamingTable::try_new(schema.clone(), vec![Arc::new(pages)])?;
    let json = table.columns.iter().filter(|column| column.shape == Shape::Json);
    let json_columns = json.map(|column| column.name.to_string()).collect();
    Ok(Arc::new(LiveProvider { inner, schema, json_columns }))
}

/// What DataFusion has for streams, which knows besides which columns hold JSON.
#[derive(Debug)]
pub(super) struct LiveProvider {
    inner: StreamingTable,
    schema: SchemaRef,
    pub(super) json_columns: Vec<String>,
}

#[async_trait]
impl TableProvider for LiveProvider {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.inner.scan(state, projection, filters, limit).await
    }
}

struct LivePages {
    id: TableId,
    schema: SchemaRef,
    pages: Arc<dyn Fn() -> Pages + Send + Sync>,
}

impl fmt::Debug for LivePages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {}", self.id)
    }
}

impl PartitionStream for LivePages {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (schema, id) = (self.schema.clone(), self.id.clone());
        let batches = (self.pages)().map(move |page| {
            let failed =
                |reason: String| DataFusionError::External(format!("table {id} could not be read: {reason}").into());
            batch(&schema, page.map_err(failed)?).map_err(|error| failed(error.to_string()))
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), batches))
    }
}

/// Rows as columns. What a column can't hold is its JSON, where it is one of text.
fn batch(
    schema: &SchemaRef,
    rows: Vec<Map<String, Value>>,
) -> std::result::Result<RecordBatch, arrow::error::ArrowError> {
    let texts: Vec<&str> = schema
        .fields()
        .iter()
        .filter(|field| *field.data_type() == DataType::Utf8)
        .map(|field| field.name().as_str())
        .collect();
    let rows: Vec<Map<String, Value>> = rows
        .into_iter()
        .map(|mut row| {
            for (key, value) in &mut row {
                if texts.contains(&key.as_str()) && !matches!(value, Value::String(_) | Value::Null) {
                    *value = Value::String(value.to_string());
                }
            }
            row
        })
        .collect();
    let mut decoder = ReaderBuilder::new(schema.clone()).with_batch_size(rows.len().max(1)).build_decoder()?;
    decoder.serialize(&rows)?;
    Ok(decoder.flush()?.unwrap_or_else(|| RecordBatch::new_empty(schema.clone())))
}
