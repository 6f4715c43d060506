//! Tables for searches: which files a query has to open, by partition and by the bounds of their columns.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use futures_util::TryStreamExt;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::expr::{Predicate, Reference};
use iceberg::spec::{
    DataFileFormat, Datum, Literal, PrimitiveLiteral, PrimitiveType, Struct, TableMetadata, Transform,
};
use iceberg::table::Table;

use super::{IcebergCatalog, TABLE, evolve, failed};
use crate::lake::catalog::CatalogError;
use crate::lake::columns::Shape;
use crate::lake::names::TableId;
use crate::lake::tables::{Comparison, Condition, ParquetFile, Ranges, Scalar, Snapshot, Tables, Times};

#[async_trait]
impl Tables for IcebergCatalog {
    fn prefix(&self) -> &str {
        &self.settings.prefix
    }

    async fn list(&self) -> Result<Vec<TableId>, CatalogError> {
        // A catalog may have tables of others, too.
        let all = self.heads.all().await?;
        Ok(all.into_iter().filter(|table| table.namespace.starts_with(&self.settings.prefix)).collect())
    }

    async fn open(&self, id: &TableId) -> Result<Option<Arc<dyn Snapshot>>, CatalogError> {
        let Some(table) = self.table(id).await? else { return Ok(None) };
        if let Some(problem) = evolve::misread(table.metadata()) {
            return Err(CatalogError(format!(
                "{problem} in table {id}, and margay reads columns of files by their names; query the table with another \
                 engine, or let that engine rewrite its files"
            )));
        }
        let arrow = schema_to_arrow_schema(table.metadata().current_schema());
        let arrow = arrow.map_err(|error| failed(&format!("read the schema of table {id}"), &error))?;
        let schema = Arc::new(Schema::new(arrow.fields().iter().map(plain).collect::<Vec<FieldRef>>()));
        let name = table.metadata().properties().get(TABLE);
        let columns = name.map(|name| self.columns(name)).unwrap_or_default();
        let json_columns = columns.iter().filter(|column| column.shape == Shape::Json);
        let json_columns = json_columns.map(|column| column.name.to_string()).collect();
        let remote = self.warehouse.remote();
        Ok(Some(Arc::new(IcebergSnapshot { id: id.clone(), table, schema, json_columns, remote })))
    }
}

/// Without ids, which files have as metadata of their own.
fn plain(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::List(item) => DataType::List(plain(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain).collect()),
        other => other.clone(),
    };
    Arc::new(Field::new(field.name(), data_type, field.is_nullable()))
}

struct IcebergSnapshot {
    id: TableId,
    table: Table,
    schema: SchemaRef,
    remote: Option<Arc<dyn Ranges>>,
    json_columns: Vec<String>,
}

#[async_trait]
impl Snapshot for IcebergSnapshot {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn json_columns(&self) -> &[String] {
        &self.json_columns
    }

    async fn files(&self, conditions: &[Condition]) -> Result<Vec<ParquetFile>, CatalogError> {
        let failed = |error: iceberg::Error| failed(&format!("plan a search of table {}", self.id), &error);
        let schema = self.table.metadata().current_schema();
        let mut scan = self.table.scan().select_empty();
        if let Some(predicate) = conditions.iter().filter_map(|one| predicate(schema, one)).reduce(Predicate::and) {
            scan = scan.with_filter(predicate);
        }
        let tasks = scan.build().map_err(failed)?.plan_files().await.map_err(failed)?;
        let tasks: Vec<_> = tasks.try_collect().await.map_err(failed)?;
        let file = |task: iceberg::scan::FileScanTask| {
            if !task.deletes.is_empty() || task.data_file_format != DataFileFormat::Parquet {
                return Err(CatalogError(format!(
                    "table {} has files that margay does not read: rows deleted in place, or another format than Parquet; \
                     compact the table with the engine that changed it",
                    self.id
                )));
            }
            let times = task.partition.as_ref().and_then(|partition| times(self.table.metadata(), partition));
            let (bytes, rows) = (task.file_size_in_bytes, task.record_count);
            Ok(ParquetFile { location: task.data_file_path, bytes, rows, times })
        };
        let mut files: Vec<ParquetFile> = tasks.into_iter().map(file).collect::<Result<_, _>>()?;
        files.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(files)
    }

    fn remote(&self) -> Option<Arc<dyn Ranges>> {
        self.remote.clone()
    }
}

/// The hour or day that a partition is of. `None` where the table has been partitioned in several ways: a partition alone
/// does not tell of which it is.
fn times(metadata: &TableMetadata, partition: &Struct) -> Option<Times> {
    let spec = metadata.default_partition_spec();
    let ([field], [Some(Literal::Primitive(PrimitiveLiteral::Int(at)))], 1) =
        (spec.fields(), partition.fields(), metadata.partition_specs_iter().len())
    else {
        return None;
    };
    let width = match field.transform {
        Transform::Hour => HOUR,
        Transform::Day => 24 * HOUR,
        _ => return None,
    };
    let column = metadata.current_schema().field_by_id(field.source_id)?;
    let is_time = column.field_type.as_primitive_type() == Some(&PrimitiveType::Timestamp);
    let from = i64::from(*at).checked_mul(width).filter(|_| is_time)?;
    Some(Times { column: column.name.clone(), from, to: from.checked_add(width)? })
}

/// In microseconds.
const HOUR: i64 = 3_600_000_000;

/// `None` where the manifests tell nothing about it.
fn predicate(schema: &iceberg::spec::Schema, condition: &Condition) -> Option<Predicate> {
    let kind = schema.field_by_name(&condition.column)?.field_type.as_primitive_type()?;
    let datum = match (kind, &condition.value) {
        (PrimitiveType::String, Scalar::Text(text)) => Datum::string(text),
        (PrimitiveType::Int, Scalar::Number(number)) => Datum::int(i32::try_from(*number).ok()?),
        (PrimitiveType::Long, Scalar::Number(number)) => Datum::long(*number),
        (PrimitiveType::Timestamp, Scalar::Time(at)) => Datum::timestamp_micros(*at),
        _ => return None,
    };
    let column = Reference::new(&condition.column);
    Some(match condition.comparison {
        Comparison::Equal => column.equal_to(datum),
        Comparison::Less => column.less_than(datum),
        Comparison::LessOrEqual => column.less_than_or_equal_to(datum),
        Comparison::Greater => column.greater_than(datum),
        Comparison::GreaterOrEqual => column.greater_than_or_equal_to(datum),
    })
}
