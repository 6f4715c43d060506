//! What of a table need not be opened: conditions for the lake to skip files by, and Bloom filters of lists to skip row
//! groups by, which DataFusion asks for single values only.

use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::{DataType, Schema, TimeUnit};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetAccessPlan;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};
use datafusion::object_store::ObjectStore;
use futures_util::stream::{StreamExt, TryStreamExt, iter};
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::arrow::async_reader::ParquetObjectReader;

use crate::lake::tables::{Comparison, Condition, Scalar};

/// Files whose Bloom filters are read at once.
const AT_ONCE: usize = 16;

/// What the filters demand of single columns. All of them must hold.
pub(super) fn conditions(filters: &[Expr], schema: &Schema) -> Vec<Condition> {
    let mut conditions = Vec::new();
    filters.iter().for_each(|filter| collect(filter, schema, &mut conditions));
    conditions
}

fn collect(filter: &Expr, schema: &Schema, conditions: &mut Vec<Condition>) {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            collect(left, schema, conditions);
            collect(right, schema, conditions);
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let Some(comparison) = comparison(*op) else { return };
            let condition = condition(left, comparison, right, schema)
                .or_else(|| condition(right, turned_round(comparison), left, schema));
            conditions.extend(condition);
        }
        Expr::Between(Between { expr, negated: false, low, high }) => {
            conditions.extend(condition(expr, Comparison::GreaterOrEqual, low, schema));
            conditions.extend(condition(expr, Comparison::LessOrEqual, high, schema));
        }
        _ => {}
    }
}

/// A filter that is nothing but a comparison of a time with a moment. Of these a file may prove that all its rows pass.
pub(super) fn of_time(filter: &Expr, schema: &Schema) -> Option<Condition> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else { return None };
    let is_exact = |column: &Expr, value: &Expr| {
        matches!(column, Expr::Column(_))
            && matches!(value, Expr::Literal(ScalarValue::TimestampMicrosecond(Some(_), None), _))
    };
    if !is_exact(left, right) && !is_exact(right, left) {
        return None;
    }
    let comparison = comparison(*op)?;
    let found = condition(left, comparison, right, schema);
    let found = found.or_else(|| condition(right, turned_round(comparison), left, schema))?;
    let kind = schema.field_with_name(&found.column).ok()?.data_type();
    (*kind == DataType::Timestamp(TimeUnit::Microsecond, None)).then_some(found)
}

fn comparison(operator: Operator) -> Option<Comparison> {
    Some(match operator {
        Operator::Eq => Comparison::Equal,
        Operator::Lt => Comparison::Less,
        Operator::LtEq => Comparison::LessOrEqual,
        Operator::Gt => Comparison::Greater,
        Operator::GtEq => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn turned_round(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Equal => Comparison::Equal,
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
    }
}

fn condition(column: &Expr, comparison: Comparison, value: &Expr, schema: &Schema) -> Option<Condition> {
    let column = column_of(column)?;
    let Expr::Literal(value, _) = value else { return None };
    let data_type = schema.field_with_name(column).ok()?.data_type();
    Some(Condition { column: column.to_owned(), comparison, value: scalar(value, data_type)? })
}

/// A column, which a time may have been cast for.
pub(super) fn column_of(expression: &Expr) -> Option<&str> {
    match expression {
        Expr::Column(column) => Some(&column.name),
        Expr::Cast(cast) if matches!(cast.data_type, DataType::Timestamp(..)) => column_of(&cast.expr),
        _ => None,
    }
}

fn scalar(value: &ScalarValue, data_type: &DataType) -> Option<Scalar> {
    match (value, data_type) {
        (
            ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text),
            DataType::Utf8 | DataType::Utf8View,
        ) => text.clone().map(Scalar::Text),
        (ScalarValue::TimestampSecond(at, _), DataType::Timestamp(..)) => Some(Scalar::Time(at.as_ref()? * 1_000_000)),
        (ScalarValue::TimestampMillisecond(at, _), DataType::Timestamp(..)) => Some(Scalar::Time(at.as_ref()? * 1000)),
        (ScalarValue::TimestampMicrosecond(at, _), DataType::Timestamp(..)) => at.map(Scalar::Time),
        // A finer time than the tables have would have to be rounded up or down by what it is compared for.
        (ScalarValue::TimestampNanosecond(Some(at), _), DataType::Timestamp(..)) if at % 1000 == 0 => {
            Some(Scalar::Time(at / 1000))
        }
        (ScalarValue::Int32(number), DataType::Int32 | DataType::Int64) => number.map(|it| Scalar::Number(it.into())),
        (ScalarValue::Int64(number), DataType::Int32 | DataType::Int64) => number.map(Scalar::Number),
        _ => None,
    }
}

/// Rows that are looked for have one of these texts in the list of this name.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Needle {
    any_of: Vec<(String, String)>,
}

/// What the filters demand of lists: `array_has(list, 'x')`, or several of them with OR between.
pub(super) fn needles(filters: &[Expr]) -> Vec<Needle> {
    let mut needles = Vec::new();
    filters.iter().for_each(|filter| collect_needles(filter, &mut needles));
    needles
}

fn collect_needles(filter: &Expr, needles: &mut Vec<Needle>) {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            collect_needles(left, needles);
            collect_needles(right, needles);
        }
        other => needles.extend(needle(other)),
    }
}

fn needle(filter: &Expr) -> Option<Needle> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let (mut left, right) = (needle(left)?, needle(right)?);
            left.any_of.extend(right.any_of);
            Some(left)
        }
        Expr::ScalarFunction(function) if function.name() == "array_has" => {
            let [list, Expr::Literal(value, _)] = &function.args[..] else { return None };
            let column = list_of(list)?;
            Some(Needle { any_of: vec![(column.to_owned(), text_of(value)?)] })
        }
        Expr::ScalarFunction(function) if function.name() == "array_has_any" => {
            let [list, Expr::Literal(ScalarValue::List(values), _)] = &function.args[..] else { return None };
            let column = list_of(list)?;
            let values = values.value(0);
            let text = |at| ScalarValue::try_from_array(&values, at).ok().as_ref().and_then(text_of);
            let texts: Option<Vec<String>> = (0..values.len()).map(text).collect();
            Some(Needle { any_of: texts?.into_iter().map(|text| (column.to_owned(), text)).collect() })
        }
        _ => None,
    }
}

fn text_of(value: &ScalarValue) -> Option<String> {
    match value {
        ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => Some(text.clone()),
        _ => None,
    }
}

/// A list, whose elements may have been given another name.
fn list_of(expression: &Expr) -> Option<&str> {
    match expression {
        Expr::Column(column) => Some(&column.name),
        Expr::Cast(cast) if matches!(cast.data_type, DataType::List(_)) => list_of(&cast.expr),
        _ => None,
    }
}

/// Leaves out row groups that have none of the needles for certain, and files without a row group left.
pub(super) async fn by_blooms(
    files: Vec<PartitionedFile>,
    needles: &[Needle],
    store: &Arc<dyn ObjectStore>,
) -> Result<Vec<PartitionedFile>> {
    if needles.is_empty() {
        return Ok(files);
    }
    let asked = iter(files).map(|file| with_access_plan(file, needles, store.clone()));
    let kept: Vec<Option<PartitionedFile>> = asked.buffered(AT_ONCE).try_collect().await?;
    Ok(kept.into_iter().flatten().collect())
}

async fn with_access_plan(
    file: PartitionedFile,
    needles: &[Needle],
    store: Arc<dyn ObjectStore>,
) -> Result<Option<PartitionedFile>> {
    let reader =
        ParquetObjectReader::new(store, file.object_meta.location.clone()).with_file_size(file.object_meta.size);
    let mut reader = ParquetRecordBatchStreamBuilder::new(reader).await?;
    let metadata = reader.metadata().clone();
    let mut plan = ParquetAccessPlan::new_all(metadata.num_row_groups());
    for group in 0..metadata.num_row_groups() {
        for needle in needles {
            let mut is_possible = false;
            for (column, text) in &needle.any_of {
                let path = [column, "list", "element"];
                let chunks = metadata.row_group(group).columns();
                let column = chunks.iter().position(|chunk| chunk.column_path().parts() == path);
                is_possible = match column {
                    Some(column) => may_have(&mut reader, group, column, text).await?,
                    // Where the file has nothing of it, it is older than the column; another engine may lay lists out in its
                    // own way.
                    None => chunks.iter().any(|chunk| chunk.column_path().parts()[0] == path[0]),
                };
                if is_possible {
                    break;
                }
            }
            if !is_possible {
                plan.skip(group);
                break;
            }
        }
    }
    let is_left = plan.row_group_index_iter().next().is_some();
    Ok(is_left.then(|| file.with_extensions(Arc::new(plan))))
}

async fn may_have(
    reader: &mut ParquetRecordBatchStreamBuilder<ParquetObjectReader>,
    group: usize,
    column: usize,
    text: &str,
) -> Result<bool> {
    let bloom = reader.get_row_group_column_bloom_filter(group, column).await;
    let bloom = bloom.map_err(|error| DataFusionError::ParquetError(Box::new(error)))?;
    Ok(bloom.is_none_or(|bloom| bloom.check(text)))
}
