//! Unions over many tables, made when a query is planned and so always current: the `p_` columns of every table, where it
//! came from, and nothing of what only one of them has.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, col, lit};

use super::{SearchError, table};
use crate::lake::columns::{Column, Shape, columns};
use crate::lake::names::TableId;
use crate::lake::tables::Tables;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum View {
    AllLogs,
}

impl View {
    pub(super) const ALL: [View; 1] = [View::AllLogs];

    pub(super) fn name(self) -> &'static str {
        match self {
            View::AllLogs => "all_logs",
        }
    }

    pub(super) fn by_name(name: &str) -> Option<View> {
        View::ALL.into_iter().find(|view| view.name() == name)
    }

    /// Whether tables of the namespace, which is without its prefix, are part of it.
    fn has(self, namespace: &str) -> bool {
        match self {
            View::AllLogs => namespace == "logs",
        }
    }
}

/// Those of a table without fields of its own.
fn shared_columns() -> Schema {
    let field = |column: &Column| Field::new(&*column.name, data_type(&column.shape), true);
    Schema::new(columns(None).iter().map(field).collect::<Vec<Field>>())
}

fn data_type(shape: &Shape) -> DataType {
    match shape {
        Shape::Text | Shape::Json | Shape::Struct(_) => DataType::Utf8,
        Shape::Int => DataType::Int32,
        Shape::Long => DataType::Int64,
        Shape::Double => DataType::Float64,
        Shape::Boolean => DataType::Boolean,
        Shape::Time => DataType::Timestamp(TimeUnit::Microsecond, None),
        Shape::List(item) => DataType::List(Arc::new(Field::new("element", data_type(item), true))),
    }
}

pub(super) async fn open(
    tables: &dyn Tables,
    view: View,
    all: &[TableId],
) -> Result<Arc<dyn TableProvider>, SearchError> {
    let schema = shared_columns();
    let mut union: Option<LogicalPlanBuilder> = None;
    for id in all {
        let Some(namespace) = id.namespace.strip_prefix(tables.prefix()) else { continue };
        if !view.has(namespace) {
            continue;
        }
        let member = member(id, table::open(tables, id).await?, &schema)?;
        union = Some(match union {
            Some(union) => union.union(member)?,
            None => LogicalPlanBuilder::from(member),
        });
    }
    let plan = match union {
        Some(union) => union.build()?,
        None => nothing(&schema)?,
    };
    Ok(Arc::new(ViewTable::new(plan, None)))
}

/// The columns of the view out of one table.
fn member(id: &TableId, table: Arc<dyn TableProvider>, schema: &Schema) -> Result<LogicalPlan, SearchError> {
    let has = table.schema();
    let column = |field: &Arc<Field>| {
        let value = match has.field_with_name(field.name()) {
            Ok(own) if own.data_type() == field.data_type() => col(format!("\"{}\"", field.name())),
            Ok(_) => cast(col(format!("\"{}\"", field.name())), field.data_type().clone()),
            Err(_) => cast(lit(ScalarValue::Null), field.data_type().clone()),
        };
        value.alias(field.name())
    };
    let mut columns: Vec<Expr> = schema.fields().iter().map(column).collect();
    columns.push(lit(id.namespace.clone()).alias("p_db_name"));
    columns.push(lit(id.name.clone()).alias("p_table_name"));
    let scan = LogicalPlanBuilder::scan(id.to_string(), provider_as_source(table), None)?;
    Ok(scan.project(columns)?.build()?)
}

/// No table yet: the columns, and no row.
fn nothing(schema: &Schema) -> Result<LogicalPlan, SearchError> {
    let texts = ["p_db_name", "p_table_name"].map(|name| Arc::new(Field::new(name, DataType::Utf8, true)));
    let fields = schema.fields().iter().cloned().chain(texts);
    let columns = fields.map(|field| cast(lit(ScalarValue::Null), field.data_type().clone()).alias(field.name()));
    let empty = LogicalPlanBuilder::empty(true).project(columns.collect::<Vec<Expr>>())?;
    Ok(empty.filter(lit(false))?.build()?)
}
