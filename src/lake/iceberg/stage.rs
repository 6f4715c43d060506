//! Rows -> data files: one for each partition that they fall into.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef as ArrowSchemaRef;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::io::FileIO;
use iceberg::spec::{DataFile, Literal, SchemaRef, Struct};
use iceberg::table::Table;

use super::evolve::{self, Written};
use super::files::{self, Encoded};
use super::snapshot::unique;
use super::{Granularity, failed};
use crate::lake::catalog::CatalogError;
use crate::lake::columns::Column;
use crate::lake::encode::Encoder;
use crate::lake::rows::Rows;
use crate::model::Event;
use crate::runtime::blocking;
use crate::state::CommitId;
use crate::telemetry::{Stage, Telemetry};

/// Rows of a record batch.
const BATCH: usize = 8 * 1024;

/// Writes the rows of a commit.
pub(super) async fn write(
    table: &Table,
    columns: Vec<Column>,
    rows: &Rows,
    commit: CommitId,
    telemetry: &Telemetry,
) -> Result<Vec<DataFile>, CatalogError> {
    let name = table.identifier();
    let schema = table.metadata().current_schema().clone();
    let arrow = schema_to_arrow_schema(&schema).map_err(|error| failed(&format!("write rows of {name}"), &error))?;
    let (arrow, rows) = (Arc::new(arrow), rows.clone());
    let written =
        evolve::written(table.metadata()).map_err(|error| failed(&format!("write rows of {name}"), &error))?;
    let (by, telemetry) = (written.by, telemetry.clone());
    let encoded = blocking(move || telemetry.work(Stage::Encode, || encode(&arrow, &columns, &rows, by))).await;
    let encoded = encoded.map_err(|error| failed(&format!("encode rows of {name}"), &error))?;
    let mut staged = Vec::with_capacity(encoded.len());
    for (partition, encoded) in encoded {
        let partition = Struct::from_iter(by.map(|by| match by {
            Granularity::Day => Some(Literal::date(partition)),
            Granularity::Hour => Some(Literal::int(partition)),
        }));
        let folder = folder(&written, &partition, &schema);
        let path = format!("{}/data/{folder}{commit}-{}.parquet", table.metadata().location(), unique());
        let file = files::data_file(written.spec.spec_id(), &schema, path.clone(), partition, &encoded)
            .map_err(|error| failed(&format!("describe a file of {name}"), &error))?;
        put(table.file_io(), &path, encoded.bytes)
            .await
            .map_err(|error| failed(&format!("write a file of {name}"), &error))?;
        staged.push(file);
    }
    Ok(staged)
}

/// A file for each partition.
fn encode(
    arrow: &ArrowSchemaRef,
    columns: &[Column],
    rows: &Rows,
    by: Option<Granularity>,
) -> Result<Vec<(i32, Encoded)>, String> {
    let mut encoder = Encoder::new(arrow.clone(), columns);
    let mut encoded: Vec<(i32, Encoded)> = Vec::new();
    for (partition, events) in partitions(rows, by) {
        let batches = batches(&mut encoder, &events)?;
        let sorted = batches.iter().cloned().map(Ok);
        let file = files::encode(arrow.clone(), columns, &batches, sorted).map_err(|error| error.to_string())?;
        encoded.push((partition, file));
    }
    Ok(encoded)
}

/// Writes a file so that it survives a crash of the machine.
pub(super) async fn put(io: &FileIO, path: &str, bytes: Vec<u8>) -> iceberg::Result<()> {
    let mut writer = io.new_output(path)?.writer().await?;
    writer.write(bytes.into()).await?;
    writer.close().await
}

/// Of the files of a partition, with a `/` at its end.
pub(super) fn folder(written: &Written, partition: &Struct, schema: &SchemaRef) -> String {
    let folder = written.spec.partition_to_path(partition, schema.clone());
    if folder.is_empty() { folder } else { format!("{folder}/") }
}

/// By partition, each sorted by time.
fn partitions(rows: &Rows, by: Option<Granularity>) -> BTreeMap<i32, Vec<&Event>> {
    let mut partitions: BTreeMap<i32, Vec<&Event>> = BTreeMap::new();
    for event in rows.iter() {
        let partition = match by {
            Some(Granularity::Hour) => event.time.unix_timestamp().div_euclid(3600),
            Some(Granularity::Day) => event.time.unix_timestamp().div_euclid(86_400),
            None => 0,
        };
        let partition = i32::try_from(partition).expect("years have four digits");
        partitions.entry(partition).or_default().push(event);
    }
    // The events lie all over the memory: each is asked once.
    partitions.values_mut().for_each(|events| events.sort_by_cached_key(|event| event.time.unix_timestamp_nanos()));
    partitions
}

fn batches(encoder: &mut Encoder, events: &[&Event]) -> Result<Vec<RecordBatch>, String> {
    let mut batches = Vec::with_capacity(events.len() / BATCH + 1);
    for events in events.chunks(BATCH) {
        events.iter().for_each(|event| encoder.push(event));
        batches.push(encoder.finish().map_err(|error| error.to_string())?);
    }
    Ok(batches)
}
