//! Small files of a partition -> one that is sorted and has all columns of the table.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, StructArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options, interleave_record_batch};
use arrow::datatypes::{DataType, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use bytes::Bytes;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{DataFile, ManifestContentType, Operation};
use iceberg::table::Table;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{Goals, live};
use crate::lake::catalog::CatalogError;
use crate::lake::columns::{Column, EVENT_TIME};
use crate::lake::iceberg::files::{self, Encoded};
use crate::lake::iceberg::snapshot::unique;
use crate::lake::iceberg::{IcebergCatalog, TABLE, evolve, failed, stage};
use crate::lake::names::TableId;
use crate::runtime::blocking;

impl IcebergCatalog {
    /// How many small files were put together, and into how many.
    pub(super) async fn compact(&self, id: &TableId, goals: &Goals) -> Result<(usize, usize), CatalogError> {
        let table = self.existing(id).await?;
        let name = table.metadata().properties().get(TABLE).cloned();
        let columns = self.columns(name.as_deref().unwrap_or_default());
        let (mut before, mut after) = (0, 0);
        for bin in bins(&table, goals).await.map_err(|error| failed(&format!("list files of table {id}"), &error))? {
            let file = merged(&table, &bin, columns.clone()).await?;
            let path = file.file_path().to_owned();
            if self.replace(id, &bin, vec![file], Operation::Replace).await? {
                (before, after) = (before + bin.len(), after + 1);
            } else {
                self.forget(&path).await;
            }
        }
        Ok((before, after))
    }
}

/// Small files of one partition that make about one file of the size that is aimed at.
async fn bins(table: &Table, goals: &Goals) -> iceberg::Result<Vec<Vec<DataFile>>> {
    let spec = evolve::written(table.metadata())?.spec.spec_id();
    let mut partitions: BTreeMap<String, Vec<DataFile>> = BTreeMap::new();
    let all = live(table).await?;
    // Files are read by the names of their columns here.
    if evolve::misread(table.metadata()).is_some() {
        return Ok(Vec::new());
    }
    // Rows that another engine deleted in place are deleted from these very files: in a new one they would be back.
    if all.iter().any(|(manifest, entries)| manifest.content == ManifestContentType::Deletes && !entries.is_empty()) {
        return Ok(Vec::new());
    }
    for (manifest, entries) in all {
        for entry in entries.iter().filter(|_| manifest.partition_spec_id == spec) {
            let file = entry.data_file();
            if file.file_size_in_bytes() < goals.file_bytes / 4 * 3 {
                partitions.entry(format!("{:?}", file.partition())).or_default().push(file.clone());
            }
        }
    }
    let mut bins = Vec::new();
    for files in partitions.into_values() {
        let (mut bin, mut bytes) = (Vec::new(), 0);
        for file in files {
            bytes += file.file_size_in_bytes();
            bin.push(file);
            if bytes >= goals.file_bytes {
                bins.push(std::mem::take(&mut bin));
                bytes = 0;
            }
        }
        bins.push(bin);
    }
    bins.retain(|bin| bin.len() >= goals.least_files.max(2));
    Ok(bins)
}

/// Writes all rows of these files into one.
async fn merged(table: &Table, bin: &[DataFile], columns: Vec<Column>) -> Result<DataFile, CatalogError> {
    let name = table.identifier();
    let failed = |error: iceberg::Error| failed(&format!("merge files of {name}"), &error);
    let schema = table.metadata().current_schema().clone();
    let arrow = Arc::new(schema_to_arrow_schema(&schema).map_err(failed)?);
    let mut inputs = Vec::with_capacity(bin.len());
    for file in bin {
        inputs.push(table.file_io().new_input(file.file_path()).map_err(failed)?.read().await.map_err(failed)?);
    }
    let encoded = blocking(move || encode(arrow, &columns, inputs)).await;
    let encoded = encoded.map_err(|error| CatalogError(format!("could not merge files of {name}: {error}")))?;
    let partition = bin.first().expect("a bin has files").partition().clone();
    let written = evolve::written(table.metadata()).map_err(failed)?;
    let folder = stage::folder(&written, &partition, &schema);
    let path = format!("{}/data/{folder}merged-{}.parquet", table.metadata().location(), unique());
    let file = files::data_file(written.spec.spec_id(), &schema, path.clone(), partition, &encoded).map_err(failed)?;
    stage::put(table.file_io(), &path, encoded.bytes).await.map_err(failed)?;
    Ok(file)
}

/// Rows of a record batch: of those that are read, and of those that are written.
const BATCH: usize = 8 * 1024;

/// All rows are in memory once: in the order of their times they are put together bit by bit.
fn encode(arrow: SchemaRef, columns: &[Column], inputs: Vec<Bytes>) -> Result<Encoded, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut batches = Vec::new();
    for input in inputs {
        let reader = ParquetRecordBatchReaderBuilder::try_new(input);
        let reader = reader.and_then(|reader| reader.with_batch_size(BATCH).build());
        for batch in reader.map_err(|error| text(&error))? {
            batches.push(fitted(&arrow, &batch.map_err(|error| text(&error))?).map_err(|error| text(&error))?);
        }
    }
    let (order, all) = (in_time(&batches), batches.iter().collect::<Vec<&RecordBatch>>());
    let sorted = order.chunks(BATCH).map(|places| interleave_record_batch(&all, places));
    files::encode(arrow, columns, &batches, sorted).map_err(|error| text(&error))
}

/// The rows, each by its batch and its place there, by their time, else as they came. Rows without a time are the first.
fn in_time(batches: &[RecordBatch]) -> Vec<(usize, usize)> {
    let mut rows: Vec<(Option<i64>, usize, usize)> = Vec::new();
    for (number, batch) in batches.iter().enumerate() {
        let times = batch.column_by_name(EVENT_TIME);
        let times = times.and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
        let time = |row: usize| times.filter(|times| times.is_valid(row)).map(|times| times.value(row));
        rows.extend((0..batch.num_rows()).map(|row| (time(row), number, row)));
    }
    rows.sort_unstable();
    rows.into_iter().map(|(_, batch, row)| (batch, row)).collect()
}

/// A batch of an older file with the columns of the table.
fn fitted(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let column = |name: &str| batch.column_by_name(name).cloned();
    let columns = schema.fields().iter().map(|field| match column(field.name()) {
        Some(column) => fit(&column, field.data_type()),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    });
    RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)
}

fn fit(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    Ok(match (data_type, array.data_type()) {
        (DataType::Struct(fields), DataType::Struct(_)) => {
            let from = array.as_struct();
            let columns = fields.iter().map(|field| match from.column_by_name(field.name()) {
                Some(column) => fit(column, field.data_type()),
                None => Ok(new_null_array(field.data_type(), from.len())),
            });
            let columns = columns.collect::<Result<_, _>>()?;
            Arc::new(StructArray::try_new(fields.clone(), columns, from.nulls().cloned())?)
        }
        (DataType::List(field), DataType::List(_)) => {
            let from = array.as_list::<i32>();
            let values = fit(from.values(), field.data_type())?;
            Arc::new(ListArray::try_new(field.clone(), from.offsets().clone(), values, from.nulls().cloned())?)
        }
        (wanted, has) if wanted == has => array.clone(),
        // Another engine may have made the column wider, or writes the same values in another form.
        (wanted, _) => cast_with_options(array, wanted, &CastOptions { safe: false, ..CastOptions::default() })?,
    })
}
