//! Tables without rows, made from log types: whether a query can be planned at all tells without a lake.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef, TimeUnit};
use async_trait::async_trait;

use crate::lake::catalog::CatalogError;
use crate::lake::columns::{Shape, columns};
use crate::lake::names::TableId;
use crate::lake::tables::{Condition, ParquetFile, Snapshot, Tables};
use crate::logtype::Schema;

pub struct DryTables {
    prefix: String,
    tables: Vec<(TableId, SchemaRef)>,
}

impl DryTables {
    /// One for each log type.
    pub fn new<'a>(prefix: &str, log_types: impl Iterator<Item = &'a Arc<Schema>>) -> DryTables {
        let table = |schema: &Arc<Schema>| {
            let fields = columns(Some(schema)).into_iter();
            let fields = fields.map(|column| Field::new(&*column.name, data_type(&column.shape), true));
            (TableId::of_logs(prefix, &schema.name), Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>())))
        };
        let mut tables: Vec<(TableId, SchemaRef)> = log_types.map(table).collect();
        tables.sort_by(|a, b| a.0.cmp(&b.0));
        DryTables { prefix: prefix.to_owned(), tables }
    }
}

/// As the lake stores it.
fn data_type(shape: &Shape) -> DataType {
    match shape {
        Shape::Text | Shape::Json => DataType::Utf8,
        Shape::Int => DataType::Int32,
        Shape::Long => DataType::Int64,
        Shape::Double => DataType::Float64,
        Shape::Boolean => DataType::Boolean,
        Shape::Time => DataType::Timestamp(TimeUnit::Microsecond, None),
        Shape::List(item) => DataType::List(Arc::new(Field::new("element", data_type(item), true))),
        Shape::Struct(columns) => {
            let field =
                |column: &crate::lake::columns::Column| Field::new(&*column.name, data_type(&column.shape), true);
            DataType::Struct(columns.iter().map(field).collect())
        }
    }
}

#[async_trait]
impl Tables for DryTables {
    fn prefix(&self) -> &str {
        &self.prefix
    }

    async fn list(&self) -> Result<Vec<TableId>, CatalogError> {
        Ok(self.tables.iter().map(|(id, _)| id.clone()).collect())
    }

    async fn open(&self, table: &TableId) -> Result<Option<Arc<dyn Snapshot>>, CatalogError> {
        let found = self.tables.iter().find(|(id, _)| id == table);
        Ok(found.map(|(_, schema)| Arc::new(DrySnapshot(schema.clone())) as Arc<dyn Snapshot>))
    }
}

struct DrySnapshot(SchemaRef);

#[async_trait]
impl Snapshot for DrySnapshot {
    fn schema(&self) -> SchemaRef {
        self.0.clone()
    }

    async fn files(&self, _: &[Condition]) -> Result<Vec<ParquetFile>, CatalogError> {
        Ok(Vec::new())
    }
}
