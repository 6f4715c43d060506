//! Tables without rows, made from log types: whether a query can be planned at all tells without a lake.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef, TimeUnit};
use async_trait::async_trait;

use crate::lake::catalog::CatalogError;
use crate::lake::columns::{Column, Shape};
use crate::lake::families::{FAMILIES, Named};
use crate::lake::names::TableId;
use crate::lake::tables::{Condition, ParquetFile, Ranges, Snapshot, Tables};
use crate::logtype::Schema;

pub struct DryTables {
    prefix: String,
    tables: Vec<(TableId, DryTable)>,
}

#[derive(Clone)]
struct DryTable {
    schema: SchemaRef,
    json_columns: Vec<String>,
}

impl DryTables {
    /// Those of a lake that has events of these log types.
    pub fn new<'a>(prefix: &str, log_types: impl Iterator<Item = &'a Arc<Schema>>) -> DryTables {
        let table = |columns: &[Column]| {
            let fields = columns.iter().map(|column| Field::new(&*column.name, data_type(&column.shape), true));
            let schema_of_table = Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>()));
            let json = columns.iter().filter(|column| column.shape == Shape::Json);
            let json_columns = json.map(|column| column.name.to_string()).collect();
            DryTable { schema: schema_of_table, json_columns }
        };
        let log_types: Vec<&Arc<Schema>> = log_types.collect();
        let mut tables: Vec<(TableId, DryTable)> = Vec::new();
        for family in FAMILIES {
            for log_type in &log_types {
                let id = TableId::of(prefix, &family.table(&log_type.name));
                if family.tables != Named::ByLogType && tables.iter().any(|(known, _)| *known == id) {
                    break;
                }
                tables.push((id, table(&family.columns(Some(log_type)))));
            }
        }
        tables.sort_by(|a, b| a.0.cmp(&b.0));
        DryTables { prefix: prefix.to_owned(), tables }
    }
}

/// As the lake stores it.
pub(super) fn data_type(shape: &Shape) -> DataType {
    match shape {
        Shape::Text | Shape::Json => DataType::Utf8,
        Shape::Int => DataType::Int32,
        Shape::Long => DataType::Int64,
        Shape::Double => DataType::Float64,
        Shape::Boolean => DataType::Boolean,
        Shape::Time => DataType::Timestamp(TimeUnit::Microsecond, None),
        Shape::List(item) => DataType::List(Arc::new(Field::new("element", data_type(item), true))),
        Shape::Struct(columns) => {
            let field = |column: &Column| Field::new(&*column.name, data_type(&column.shape), true);
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
        Ok(found.map(|(_, table)| Arc::new(table.clone()) as Arc<dyn Snapshot>))
    }
}

#[async_trait]
impl Snapshot for DryTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn json_columns(&self) -> &[String] {
        &self.json_columns
    }

    fn remote(&self) -> Option<Arc<dyn Ranges>> {
        None
    }

    async fn files(&self, _: &[Condition]) -> Result<Vec<ParquetFile>, CatalogError> {
        Ok(Vec::new())
    }
}
