//! Unions over many tables, made when a query is planned and so always current: the `p_` columns of every table, where it
//! came from, and nothing of what only one of them has, unless `p_event` is asked for.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::compute::can_cast_types;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::functions::expr_fn::{date_part, date_trunc};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Union, cast, col, lit};
use futures_util::stream::{StreamExt, TryStreamExt, iter};

use super::{SearchError, event_json, table};
use crate::lake::columns::{Column, EVENT_TIME, Shape, columns};
use crate::lake::families::{Family, LOGS, RULE_ERRORS, RULE_MATCHES, SIGNALS};
use crate::lake::names::TableId;
use crate::lake::tables::Tables;

/// Tables that are opened at once.
const AT_ONCE: usize = 16;

/// The whole event as JSON: a column of every view, which is there when it is asked for by its name.
pub(super) const EVENT: &str = "p_event";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum View {
    Logs,
    RuleMatches,
    RuleErrors,
    Signals,
    /// For queries that were written for Panther: there are none here.
    Cloudsecurity,
    Databases,
}

impl View {
    pub(super) const ALL: [View; 6] =
        [View::Logs, View::RuleMatches, View::RuleErrors, View::Signals, View::Cloudsecurity, View::Databases];

    pub(super) fn name(self) -> &'static str {
        match self {
            View::Logs => "all_logs",
            View::RuleMatches => "all_rule_matches",
            View::RuleErrors => "all_rule_errors",
            View::Signals => "all_signals",
            View::Cloudsecurity => "all_cloudsecurity",
            View::Databases => "all_databases",
        }
    }

    pub(super) fn by_name(name: &str) -> Option<View> {
        View::ALL.into_iter().find(|view| view.name() == name)
    }

    /// Whose tables are part of it.
    fn families(self) -> &'static [&'static Family] {
        static ALL: [&Family; 4] = [&LOGS, &RULE_MATCHES, &RULE_ERRORS, &SIGNALS];
        match self {
            View::Logs => &ALL[..1],
            View::RuleMatches => &ALL[1..2],
            View::RuleErrors => &ALL[2..3],
            View::Signals => &ALL[3..],
            View::Cloudsecurity => &[],
            View::Databases => &ALL,
        }
    }

    /// Whether tables of the namespace, which is without its prefix, are part of it.
    fn has(self, namespace: &str) -> bool {
        self.families().iter().any(|family| family.namespace == namespace)
    }

    /// The columns that it has whatever tables there are: those of its families that no log type brings.
    fn known_columns(self) -> Vec<Column> {
        let families = self.families().iter().flat_map(|family| family.columns(None));
        let mut all = columns(None);
        for column in families.filter(|column| column.name.starts_with("p_")) {
            if !all.iter().any(|known| known.name == column.name) {
                all.push(column);
            }
        }
        all
    }
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
    with_event: bool,
    all: &[TableId],
) -> Result<Arc<dyn TableProvider>, SearchError> {
    let is_member = |id: &&TableId| id.namespace.strip_prefix(tables.prefix()).is_some_and(|of| view.has(of));
    let ids: Vec<TableId> = all.iter().filter(is_member).cloned().collect();
    let opened = iter(ids).map(|id| open_member(tables, id));
    let mut members: Vec<(TableId, Arc<dyn TableProvider>)> = opened.buffered(AT_ONCE).try_collect().await?;
    // Another engine may have made a table there that is none of events.
    members.retain(|(_, table)| has_times(table));
    let schema = schema(view, members.iter().map(|(_, table)| table));
    let mut plans = Vec::with_capacity(members.len());
    for (id, table) in members {
        plans.push(Arc::new(member(&id, table, &schema, with_event)?));
    }
    let plan = match plans.len() {
        0 => nothing(&schema, with_event)?,
        1 => Arc::unwrap_or_clone(plans.remove(0)),
        // In one, however many they are: unions of unions would nest as deeply as there are tables.
        _ => LogicalPlan::Union(Union::try_new_with_loose_types(plans)?),
    };
    Ok(Arc::new(ViewTable::new(plan, None)))
}

fn has_times(table: &Arc<dyn TableProvider>) -> bool {
    let schema = table.schema();
    schema.field_with_name(EVENT_TIME).is_ok_and(|field| matches!(field.data_type(), DataType::Timestamp(..)))
}

async fn open_member(tables: &dyn Tables, id: TableId) -> Result<(TableId, Arc<dyn TableProvider>), SearchError> {
    let table = table::open(tables, &id).await?;
    Ok((id, table))
}

/// The `p_` columns of any member, the known ones first.
fn schema<'t>(view: View, members: impl Iterator<Item = &'t Arc<dyn TableProvider>>) -> Schema {
    let of = |shape: &Shape| if *shape == Shape::Text { DataType::Utf8View } else { data_type(shape) };
    let known = |column: &Column| Arc::new(Field::new(&*column.name, of(&column.shape), true));
    let mut fields: Vec<Arc<Field>> = view.known_columns().iter().map(known).collect();
    let mut names: HashSet<String> = fields.iter().map(|field| field.name().clone()).collect();
    for table in members {
        let schema = table.schema();
        for field in schema.fields().iter().filter(|field| field.name().starts_with("p_")) {
            if names.insert(field.name().clone()) {
                fields.push(field.clone());
            }
        }
    }
    Schema::new(fields)
}

/// The columns of the view out of one table.
fn member(
    id: &TableId,
    table: Arc<dyn TableProvider>,
    schema: &Schema,
    with_event: bool,
) -> Result<LogicalPlan, SearchError> {
    let has = table.schema();
    let column = |field: &Arc<Field>| {
        let own = || col(format!("\"{}\"", field.name()));
        let value = match has.field_with_name(field.name()) {
            Ok(of) if of.data_type() == field.data_type() => own(),
            Ok(of) if can_cast_types(of.data_type(), field.data_type()) => cast(own(), field.data_type().clone()),
            _ => cast(lit(ScalarValue::Null), field.data_type().clone()),
        };
        named(value, field.name())
    };
    let mut columns: Vec<Expr> = schema.fields().iter().map(column).collect();
    columns.extend(of_time(col(EVENT_TIME)));
    columns.push(named(lit(id.namespace.clone()), "p_db_name"));
    columns.push(named(lit(id.name.clone()), "p_table_name"));
    if with_event {
        let whole = if has.field_with_name("event").is_ok_and(|_| id.namespace.ends_with(SIGNALS.namespace)) {
            // A signal has the event as it came.
            col("event")
        } else {
            event_json::call(&has, table::json_columns(&table))
        };
        columns.push(named(whole, EVENT));
    }
    let scan = LogicalPlanBuilder::scan(id.to_string(), provider_as_source(table), None)?;
    Ok(scan.project(columns)?.build()?)
}

/// What tables have by name alone, a view has as columns, so that `SELECT *` shows them.
fn of_time(time: Expr) -> Vec<Expr> {
    let part = |name: &str| named(cast(date_part(lit(name), time.clone()), DataType::Int32), name);
    let hour = date_part(lit("epoch"), date_trunc(lit("hour"), time.clone()));
    let mut parts: Vec<Expr> = ["year", "month", "day", "hour"].into_iter().map(part).collect();
    parts.push(named(cast(hour, DataType::Int64), "partition_time"));
    parts
}

/// A column of the view. With a name before it, as those of the table have one: else the optimiser, which moves paths into
/// JSON towards the table, takes the two for one.
fn named(value: Expr, name: &str) -> Expr {
    value.alias_qualified(Some("view"), name)
}

/// No table yet: the columns, and no row.
fn nothing(schema: &Schema, with_event: bool) -> Result<LogicalPlan, SearchError> {
    let null = |data_type: &DataType| cast(lit(ScalarValue::Null), data_type.clone());
    let mut columns: Vec<Expr> =
        schema.fields().iter().map(|field| named(null(field.data_type()), field.name())).collect();
    columns.extend(of_time(null(&DataType::Timestamp(TimeUnit::Microsecond, None))));
    let texts = ["p_db_name", "p_table_name"].into_iter().chain(with_event.then_some(EVENT));
    columns.extend(texts.map(|name| named(null(&DataType::Utf8), name)));
    let empty = LogicalPlanBuilder::empty(true).project(columns)?;
    Ok(empty.filter(lit(false))?.build()?)
}
