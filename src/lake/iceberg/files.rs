//! Record batches -> one Parquet file, and what Iceberg's manifests say about it.
//!
//! Rows come sorted by event time. Text that margay itself writes as JSON has no statistics, because no search compares it.
//! Indicators and row ids have Bloom filters where a file is large enough to be skipped by them. Text that hardly repeats
//! has no dictionary.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef as ArrowSchemaRef;
use arrow::error::ArrowError;
use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, PrimitiveType, Schema, Struct};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnPath;

use crate::lake::columns::{Column, ROW_ID, Shape};

/// Rows of a row group: smaller ones did not pay when they were measured.
const ROW_GROUP: usize = 128 * 1024;

/// Below this many rows, reading the file costs no more than asking its Bloom filters.
const BLOOM_FROM: usize = 8 * 1024;

const BLOOM_FALSE_POSITIVES: f64 = 0.01;

/// Much of a log is text that does not compress: ids, and hashes. Higher levels look for repetitions in it that are none,
/// take longer, and for that the files of measured events became larger.
const ZSTD: i32 = 1;

/// A column is judged by so many of its rows.
const SAMPLE: usize = 2048;

/// Of the values of a sample, so few are of a kind that a dictionary would be all of them once more.
const SELDOM: f64 = 0.8;

/// Fewer values say nothing about a column.
const LEAST_VALUES: usize = 64;

/// A file that is written but in no table.
pub(super) struct Encoded {
    pub(super) bytes: Vec<u8>,
    metadata: ParquetMetaData,
}

/// Pure: to be called where blocking is allowed. `known` are all rows, in any order, and `sorted` the same in the order of
/// the file.
pub(super) fn encode(
    schema: ArrowSchemaRef,
    columns: &[Column],
    known: &[RecordBatch],
    sorted: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
) -> parquet::errors::Result<Encoded> {
    let mut bytes = Vec::new();
    let properties = properties(columns, known);
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, Some(properties))?;
    for batch in sorted {
        writer.write(&batch?)?;
    }
    let metadata = writer.close()?;
    Ok(Encoded { bytes, metadata })
}

fn properties(columns: &[Column], batches: &[RecordBatch]) -> WriterProperties {
    let level = ZstdLevel::try_new(ZSTD).expect("it is one of zstd's levels");
    let mut properties = WriterProperties::builder()
        .set_created_by(format!("margay {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP));
    for column in columns.iter().filter(|column| column.shape == Shape::Json) {
        properties = properties.set_column_statistics_enabled(ColumnPath::from(&*column.name), EnabledStatistics::None);
    }
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if let Some(batch) = batches.first() {
        let len = batch.num_rows().min(SAMPLE);
        let sample = batch.slice((batch.num_rows() - len) / 2, len);
        for (field, column) in sample.schema().fields().iter().zip(sample.columns()) {
            properties = without_dictionaries(properties, &mut vec![field.name().clone()], column);
        }
    }
    if rows >= BLOOM_FROM {
        properties = with_blooms(properties, columns, batches, rows);
    }
    properties.build()
}

/// For text whose values hardly repeat. Lists of text keep theirs: what is in them is in many rows.
fn without_dictionaries(
    mut properties: WriterPropertiesBuilder,
    path: &mut Vec<String>,
    column: &ArrayRef,
) -> WriterPropertiesBuilder {
    if let Some(fields) = column.as_struct_opt() {
        for (field, column) in fields.fields().iter().zip(fields.columns()) {
            path.push(field.name().clone());
            properties = without_dictionaries(properties, path, column);
            path.pop();
        }
    } else if let Some(texts) = column.as_string_opt::<i32>() {
        let values = texts.len() - texts.null_count();
        let distinct: HashSet<&str> = texts.iter().flatten().collect();
        if values >= LEAST_VALUES && distinct.len() as f64 > values as f64 * SELDOM {
            properties = properties.set_column_dictionary_enabled(ColumnPath::new(path.clone()), false);
        }
    }
    properties
}

fn with_blooms(
    mut properties: WriterPropertiesBuilder,
    columns: &[Column],
    batches: &[RecordBatch],
    rows: usize,
) -> WriterPropertiesBuilder {
    for column in columns {
        let (path, distinct) = if *column.name == *ROW_ID {
            (vec![ROW_ID.to_owned()], rows)
        } else if column.name.starts_with("p_any_") {
            let path = vec![column.name.to_string(), "list".to_owned(), "element".to_owned()];
            (path, distinct_elements(&column.name, batches))
        } else {
            continue;
        };
        if distinct > 0 {
            let path = ColumnPath::new(path);
            properties = properties
                .set_column_bloom_filter_enabled(path.clone(), true)
                .set_column_bloom_filter_fpp(path.clone(), BLOOM_FALSE_POSITIVES)
                .set_column_bloom_filter_ndv(path, distinct.min(ROW_GROUP) as u64);
        }
    }
    properties
}

/// About how many there are: counted by the marks that they leave, which is quicker than to keep them.
fn distinct_elements(column: &str, batches: &[RecordBatch]) -> usize {
    let lists = batches.iter().filter_map(|batch| batch.column_by_name(column)?.as_list_opt::<i32>());
    let texts: Vec<&StringArray> = lists.filter_map(|list| list.values().as_string_opt::<i32>()).collect();
    let count: usize = texts.iter().map(|texts| texts.len() - texts.null_count()).sum();
    // Two marks for each at the least, so that few fall on one.
    let places = (2 * count).next_power_of_two().max(64);
    let mut marks = vec![0u64; places / 64];
    let hashes = BuildHasherDefault::<DefaultHasher>::default();
    for text in texts.iter().flat_map(|texts| texts.iter().flatten()) {
        let place = hashes.hash_one(text) as usize & (places - 1);
        marks[place / 64] |= 1 << (place % 64);
    }
    let free: u32 = marks.iter().map(|word| word.count_zeros()).sum();
    let (places, free) = (places as f64, f64::from(free.max(1)));
    ((places * (places / free).ln()).round() as usize).min(count)
}

/// What a manifest says about a file.
pub(super) fn data_file(
    spec: i32,
    schema: &Schema,
    path: String,
    partition: Struct,
    encoded: &Encoded,
) -> iceberg::Result<DataFile> {
    let mut figures = Figures::default();
    for group in encoded.metadata.row_groups() {
        for chunk in group.columns() {
            figures.add(schema, chunk);
        }
    }
    let groups = encoded.metadata.row_groups().iter();
    let rows = encoded.metadata.file_metadata().num_rows();
    let built = DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(path)
        .file_format(DataFileFormat::Parquet)
        .partition(partition)
        .partition_spec_id(spec)
        .record_count(u64::try_from(rows).unwrap_or(0))
        .file_size_in_bytes(encoded.bytes.len() as u64)
        .column_sizes(figures.sizes)
        .value_counts(figures.values)
        .null_value_counts(figures.nulls)
        .lower_bounds(figures.least)
        .upper_bounds(figures.most)
        .split_offsets(Some(groups.filter_map(|group| group.file_offset()).collect()))
        .build();
    built.map_err(|error| iceberg::Error::new(iceberg::ErrorKind::Unexpected, error.to_string()))
}

/// Per column, by field id.
#[derive(Default)]
struct Figures {
    sizes: HashMap<i32, u64>,
    values: HashMap<i32, u64>,
    nulls: HashMap<i32, u64>,
    least: HashMap<i32, Datum>,
    most: HashMap<i32, Datum>,
    /// Where a row group has no exact bounds, the file has none.
    unbounded: HashSet<i32>,
}

impl Figures {
    fn add(&mut self, schema: &Schema, chunk: &ColumnChunkMetaData) {
        let info = chunk.column_descr().self_type().get_basic_info();
        if !info.has_id() {
            return;
        }
        let id = info.id();
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        *self.sizes.entry(id).or_default() += count(chunk.compressed_size());
        *self.values.entry(id).or_default() += count(chunk.num_values());
        let Some(statistics) = chunk.statistics() else {
            self.unbound(id);
            return;
        };
        let nulls = statistics.null_count_opt();
        *self.nulls.entry(id).or_default() += nulls.unwrap_or(0);
        // Bounds of the elements of lists are of no use to anybody: predicates are about rows.
        let kind = schema.field_by_id(id).and_then(|field| field.field_type.as_primitive_type());
        if chunk.column_descr().max_rep_level() > 0 || nulls == Some(count(chunk.num_values())) {
            return;
        }
        match kind.and_then(|kind| bounds(kind, statistics)) {
            Some((least, most)) if !self.unbounded.contains(&id) => {
                let kept = self.least.entry(id).or_insert_with(|| least.clone());
                if least < *kept {
                    *kept = least;
                }
                let kept = self.most.entry(id).or_insert_with(|| most.clone());
                if most > *kept {
                    *kept = most;
                }
            }
            _ => self.unbound(id),
        }
    }

    fn unbound(&mut self, id: i32) {
        self.unbounded.insert(id);
        self.least.remove(&id);
        self.most.remove(&id);
    }
}

/// Of a row group; `None` where they are not exact, because text was cut.
fn bounds(kind: &PrimitiveType, statistics: &Statistics) -> Option<(Datum, Datum)> {
    if !statistics.min_is_exact() || !statistics.max_is_exact() {
        return None;
    }
    fn both<T>(least: Option<T>, most: Option<T>, datum: impl Fn(T) -> Datum) -> Option<(Datum, Datum)> {
        Some((datum(least?), datum(most?)))
    }
    match (kind, statistics) {
        (PrimitiveType::Boolean, Statistics::Boolean(of)) => both(of.min_opt(), of.max_opt(), |it| Datum::bool(*it)),
        (PrimitiveType::Int, Statistics::Int32(of)) => both(of.min_opt(), of.max_opt(), |it| Datum::int(*it)),
        (PrimitiveType::Long, Statistics::Int64(of)) => both(of.min_opt(), of.max_opt(), |it| Datum::long(*it)),
        (PrimitiveType::Double, Statistics::Double(of)) => both(of.min_opt(), of.max_opt(), |it| Datum::double(*it)),
        (PrimitiveType::Timestamp, Statistics::Int64(of)) => {
            both(of.min_opt(), of.max_opt(), |it| Datum::timestamp_micros(*it))
        }
        (PrimitiveType::String, Statistics::ByteArray(of)) => {
            let text = |bytes: Option<&parquet::data_type::ByteArray>| bytes?.as_utf8().ok().map(str::to_owned);
            both(text(of.min_opt()), text(of.max_opt()), Datum::string)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::ListArray;
    use arrow::array::builder::{ListBuilder, StringBuilder};
    use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
    use std::sync::Arc;

    use super::*;

    fn lists(texts: impl Iterator<Item = String>) -> RecordBatch {
        let mut list = ListBuilder::new(StringBuilder::new());
        for text in texts {
            list.values().append_value(text);
            list.append(true);
        }
        let list: ListArray = list.finish();
        let field = Field::new("p_any_ip_addresses", list.data_type().clone(), true);
        RecordBatch::try_new(Arc::new(ArrowSchema::new(vec![field])), vec![Arc::new(list)]).unwrap()
    }

    #[test]
    fn distinct_elements_are_counted_well_enough_for_a_filter() {
        for (distinct, each) in [(0, 1), (1, 1000), (700, 20), (20_000, 1)] {
            let all = (0..distinct * each).map(|n| format!("10.0.{}", n % distinct));
            let found = distinct_elements("p_any_ip_addresses", &[lists(all)]);
            assert!(found.abs_diff(distinct) <= distinct / 20, "{found} of {distinct}");
        }
        assert_eq!(distinct_elements("p_any_emails", &[lists(std::iter::empty())]), 0);
    }

    #[test]
    fn only_text_that_repeats_has_a_dictionary() {
        let names = ["id", "kind", "few"];
        let text = |value: &dyn Fn(usize) -> Option<String>| -> ArrayRef {
            Arc::new((0..3000).map(value).collect::<StringArray>())
        };
        let columns = vec![
            text(&|n| Some(format!("{n:032x}"))),
            text(&|n| Some(format!("kind {}", n % 9))),
            text(&|n| (n % 500 == 0).then(|| n.to_string())),
        ];
        let fields: Vec<Field> = names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect();
        let batch = RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), columns).unwrap();
        let properties = properties(&[], &[batch]);
        let has = names.map(|name| properties.dictionary_enabled(&ColumnPath::from(name)));
        assert_eq!(has, [false, true, true]);
    }
}
