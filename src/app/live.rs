//! Tables of searches that are no files: alerts and their deliveries as the store of the state has them now, and the lookup
//! tables that rules see. The store is where people change alerts: a copy in the lake would be of yesterday.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{empty, iter, try_unfold};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::lake::columns::{Column, EVENT_TIME, PARSE_TIME, Shape, columns};
use crate::lake::names::{TableId, table_name};
use crate::logtype::Registry;
use crate::lookup::{Definition, Tables};
use crate::model::{Alert, DeliveryResponse, stored_time};
use crate::search::live::{LiveTable, LiveTables, Pages, column};
use crate::state::{AlertFilter, AlertPlace, StateStore};

/// Alerts, or rows of a lookup table, that are read at a time.
const PAGE: u32 = 500;

/// The store of the state, or why there is none.
pub(super) type State = Arc<dyn Fn() -> BoxFuture<'static, Result<Arc<dyn StateStore>, String>> + Send + Sync>;

pub(super) struct Live {
    pub(super) prefix: String,
    /// Asked when a table of it is read.
    pub(super) state: State,
    /// Names of lookup tables, those tables as they are at the moment, and the log types that their rows are of.
    pub(super) names: Box<dyn Fn() -> Vec<String> + Send + Sync>,
    pub(super) lookups: Box<dyn Fn() -> BoxFuture<'static, Arc<Tables>> + Send + Sync>,
    pub(super) log_types: Box<dyn Fn() -> Arc<Registry> + Send + Sync>,
}

#[derive(Clone, Copy)]
enum Of {
    Alerts,
    Deliveries,
}

impl Of {
    const ALL: [Of; 2] = [Of::Alerts, Of::Deliveries];

    fn name(self) -> &'static str {
        match self {
            Of::Alerts => "alerts",
            Of::Deliveries => "deliveries",
        }
    }

    fn columns(self) -> Vec<Column> {
        let named =
            |columns: &[(&str, Shape)]| columns.iter().map(|(name, shape)| column(name, shape.clone())).collect();
        let texts = || Shape::List(Box::new(Shape::Text));
        match self {
            Of::Alerts => named(&[
                (EVENT_TIME, Shape::Time),
                (PARSE_TIME, Shape::Time),
                ("id", Shape::Text),
                ("type", Shape::Text),
                ("rule_id", Shape::Text),
                ("rule_version", Shape::Text),
                ("rule_display_name", Shape::Text),
                ("title", Shape::Text),
                ("severity", Shape::Text),
                ("status", Shape::Text),
                ("description", Shape::Text),
                ("reference", Shape::Text),
                ("runbook", Shape::Text),
                ("context", Shape::Json),
                ("dedup", Shape::Text),
                ("destinations", texts()),
                ("event_count", Shape::Long),
                ("log_types", texts()),
                ("tags", texts()),
                ("reports", Shape::Json),
                ("first_event_match_time", Shape::Time),
                ("created_at", Shape::Time),
                ("updated_at", Shape::Time),
                ("assignee", Shape::Text),
                ("last_updated_by", Shape::Text),
                ("last_updated_by_time", Shape::Time),
            ]),
            Of::Deliveries => named(&[
                (EVENT_TIME, Shape::Time),
                (PARSE_TIME, Shape::Time),
                ("alert_id", Shape::Text),
                ("rule_id", Shape::Text),
                ("destination", Shape::Text),
                ("attempt", Shape::Long),
                ("dispatched_at", Shape::Time),
                ("status_code", Shape::Int),
                ("success", Shape::Boolean),
                ("message", Shape::Text),
            ]),
        }
    }

    fn rows(self, alert: &Alert) -> Vec<Map<String, Value>> {
        match self {
            Of::Alerts => vec![alert_row(alert)],
            Of::Deliveries => alert.delivery_responses.iter().map(|sent| delivery_row(alert, sent)).collect(),
        }
    }
}

#[async_trait]
impl LiveTables for Live {
    fn list(&self) -> Vec<TableId> {
        listed(&self.prefix, (self.names)().iter().map(String::as_str))
    }

    async fn open(&self, table: &TableId) -> Option<LiveTable> {
        if let Some(of) = of_state(&self.prefix, table) {
            let state = self.state.clone();
            return Some(LiveTable { columns: of.columns(), pages: Arc::new(move || alerts(state.clone(), of)) });
        }
        let name = (self.names)().into_iter().find(|name| of_lookup(&self.prefix, name) == *table)?;
        let lookups = (self.lookups)().await;
        let log_types = (self.log_types)();
        let columns = columns_of(&log_types, &lookups.definition(&name)?.schema)?;
        Some(LiveTable { columns, pages: Arc::new(move || rows_of(lookups.clone(), name.clone())) })
    }
}

/// The same tables without a row, for commands that try queries.
pub(super) struct DryLive {
    pub(super) prefix: String,
    pub(super) lookups: Vec<Arc<Definition>>,
    pub(super) log_types: Arc<Registry>,
}

#[async_trait]
impl LiveTables for DryLive {
    fn list(&self) -> Vec<TableId> {
        listed(&self.prefix, self.lookups.iter().map(|lookup| &*lookup.name))
    }

    async fn open(&self, table: &TableId) -> Option<LiveTable> {
        let columns = match of_state(&self.prefix, table) {
            Some(of) => of.columns(),
            None => {
                let lookup = self.lookups.iter().find(|lookup| of_lookup(&self.prefix, &lookup.name) == *table)?;
                columns_of(&self.log_types, &lookup.schema)?
            }
        };
        Some(LiveTable { columns, pages: Arc::new(no_rows) })
    }
}

fn no_rows() -> Pages {
    empty().boxed()
}

/// With these lookup tables, sorted.
fn listed<'a>(prefix: &str, lookups: impl Iterator<Item = &'a str>) -> Vec<TableId> {
    let of_state = Of::ALL.into_iter().map(|of| id(prefix, "monitor", of.name()));
    let mut all: Vec<TableId> = of_state.chain(lookups.map(|name| of_lookup(prefix, name))).collect();
    all.sort();
    all
}

fn of_state(prefix: &str, table: &TableId) -> Option<Of> {
    Of::ALL.into_iter().find(|of| id(prefix, "monitor", of.name()) == *table)
}

fn of_lookup(prefix: &str, name: &str) -> TableId {
    id(prefix, "lookups", name)
}

fn id(prefix: &str, namespace: &str, name: &str) -> TableId {
    TableId { namespace: format!("{prefix}{namespace}"), name: table_name(name) }
}

/// Of a lookup table, whose rows are of a log type and no events.
fn columns_of(log_types: &Registry, log_type: &str) -> Option<Vec<Column>> {
    let schema = log_types.get(log_type).ok()?;
    let mut columns = columns(Some(schema));
    columns.retain(|column| !column.name.starts_with("p_"));
    Some(columns)
}

/// Newest first, each once: the place of the last one says where the next page begins.
fn alerts(state: State, of: Of) -> Pages {
    let pages = try_unfold((None, None, false), move |(opened, after, is_over)| {
        let state = state.clone();
        async move {
            if is_over {
                return Ok(None);
            }
            let state: Arc<dyn StateStore> = match opened {
                Some(opened) => opened,
                None => state().await?,
            };
            let filter = AlertFilter { after, limit: Some(PAGE), ..AlertFilter::default() };
            let page = state.alerts(&filter).await.map_err(|error| error.to_string())?;
            let rows: Vec<_> = page.iter().flat_map(|alert| of.rows(alert)).collect();
            let is_over = page.len() < PAGE as usize;
            Ok(Some((rows, (Some(state), page.last().map(AlertPlace::from), is_over))))
        }
    });
    pages.boxed()
}

fn rows_of(lookups: Arc<Tables>, name: String) -> Pages {
    let count = lookups.get(&name).map_or(0, |table| table.rows());
    let pages = (0..count).step_by(PAGE as usize).map(move |from| {
        let table = lookups.get(&name).expect("a table that was counted is there");
        let rows = (from..count.min(from + PAGE as usize)).map(|row| match table.text_of(row) {
            Some(text) => serde_json::from_str(text).map_err(|error| error.to_string()),
            None => Err(format!("`{name}` is a MaxMind database, which answers for an address and lists no rows")),
        });
        rows.collect::<Result<Vec<_>, _>>()
    });
    iter(pages).boxed()
}

fn alert_row(alert: &Alert) -> Map<String, Value> {
    let optional = |at: Option<OffsetDateTime>| at.map(stored_time);
    object(json!({
        EVENT_TIME: stored_time(alert.created_at),
        PARSE_TIME: stored_time(alert.updated_at),
        "id": alert.id,
        "type": alert.kind,
        "rule_id": alert.rule_id,
        "rule_version": alert.rule_version,
        "rule_display_name": alert.rule_display_name,
        "title": alert.title,
        "severity": alert.severity,
        "status": alert.status,
        "description": alert.description,
        "reference": alert.reference,
        "runbook": alert.runbook,
        "context": alert.context,
        "dedup": alert.dedup,
        "destinations": alert.destinations,
        "event_count": alert.event_count,
        "log_types": alert.log_types,
        "tags": alert.tags,
        "reports": alert.reports,
        "first_event_match_time": stored_time(alert.first_event_match_time),
        "created_at": stored_time(alert.created_at),
        "updated_at": stored_time(alert.updated_at),
        "assignee": alert.triage.assignee,
        "last_updated_by": alert.triage.last_updated_by,
        "last_updated_by_time": optional(alert.triage.last_updated_by_time),
    }))
}

fn delivery_row(alert: &Alert, sent: &DeliveryResponse) -> Map<String, Value> {
    let at = sent.dispatched_at.unwrap_or(alert.created_at);
    object(json!({
        EVENT_TIME: stored_time(at),
        PARSE_TIME: stored_time(at),
        "alert_id": alert.id,
        "rule_id": alert.rule_id,
        "destination": sent.destination_id,
        "attempt": sent.attempt,
        "dispatched_at": sent.dispatched_at.map(stored_time),
        "status_code": sent.status_code,
        "success": sent.success,
        "message": sent.message,
    }))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(row) => row,
        _ => unreachable!("it is written as an object"),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::ready;

    use super::*;
    use crate::lake::tables::Tables as LakeTables;
    use crate::lookup::Data;
    use crate::search::dry::DryTables;
    use crate::search::{Limits, Search, output};
    use crate::state::fixtures::{START, alert, matched, matches, object as object_of, rule};
    use crate::state::memory::MemoryState;
    use crate::state::{AlertStore, Claim, Ledger};

    /// Searches over what `state` has.
    fn search(state: Result<Arc<dyn StateStore>, String>) -> Search {
        let registry = Arc::new(Registry::default());
        let lake: Arc<dyn LakeTables> = Arc::new(DryTables::new("margay_", registry.schemas()));
        let live = Live {
            prefix: "margay_".into(),
            state: Arc::new(move || ready(state.clone()).boxed()),
            names: Box::new(Vec::new),
            lookups: Box::new(|| ready(Arc::new(Tables::default())).boxed()),
            log_types: Box::new(move || registry.clone()),
        };
        Search::new(lake, Limits::default()).with_live(Arc::new(live))
    }

    async fn csv(search: &Search, sql: &str) -> String {
        output::csv(&search.run(sql, START + time::Duration::HOUR).await.unwrap()).unwrap()
    }

    #[tokio::test]
    async fn alerts_are_found_as_they_are_now_however_many() {
        let state = Arc::new(MemoryState::new());
        let claim = state.claim(&object_of("k"), "s", None, START, START + time::Duration::MINUTE).await.unwrap();
        let Claim::Granted(token, _) = claim else { panic!("it is new") };
        // Each a group of its own, and more than are read at a time.
        let count = usize::try_from(PAGE).unwrap() + 7;
        let found = (0..count).map(|n| {
            let mut found = matched(&Arc::new(rule("R")), 1);
            found.row_id.0[..8].copy_from_slice(&(n as u64).to_be_bytes());
            found.detail.dedup = n.to_string();
            found
        });
        state.record(&token, &matches(found), &[], START).await.unwrap();
        let search = search(Ok(state));
        let counted = "SELECT count(*) AS n, count(DISTINCT id) AS ids FROM panther_monitor.public.alerts";
        assert_eq!(csv(&search, counted).await, format!("n,ids\r\n{count},{count}\r\n"));
        let one = "SELECT severity, context:user AS who, tags[0] AS tag, created_at = p_event_time AS same \
                   FROM panther_monitor.alerts WHERE p_occurs_since('2 hours') AND dedup = '3'";
        assert_eq!(csv(&search, one).await, "severity,who,tag,same\r\nHIGH,root,t,true\r\n");
        assert_eq!(csv(&search, "SELECT count(*) AS n FROM panther_monitor.deliveries").await, "n\r\n0\r\n");
        let tables = search.tables().await.unwrap();
        assert!(tables.iter().any(|table| table.to_string() == "margay_monitor.alerts"), "{tables:?}");
    }

    #[test]
    fn every_attempt_to_deliver_is_a_row() {
        let mut alert = alert(rule("R"));
        let sent = DeliveryResponse {
            destination_id: "slack".into(),
            attempt: 2,
            status_code: Some(500),
            success: false,
            message: "busy".into(),
            dispatched_at: Some(START),
            ticket: None,
        };
        alert.delivery_responses = vec![sent.clone(), DeliveryResponse { attempt: 3, success: true, ..sent }];
        let rows = Of::Deliveries.rows(&alert);
        assert_eq!((rows.len(), &rows[0]["destination"], &rows[1]["attempt"]), (2, &json!("slack"), &json!(3)));
        for of in Of::ALL {
            let names: Vec<String> = of.columns().iter().map(|column| column.name.to_string()).collect();
            let row = of.rows(&alert).remove(0);
            assert!(row.keys().eq(names.iter()), "{names:?}");
        }
    }

    #[tokio::test]
    async fn queries_are_tried_on_the_same_columns() {
        let log_types = Arc::new(Registry::built_in());
        let lookup = Definition {
            origin: "assets.yml".into(),
            name: "Assets".into(),
            schema: log_types.names().next().unwrap().to_string(),
            primary_key: "id".into(),
            selectors: Vec::new(),
            data: Data::File("assets.jsonl".into()),
        };
        let lake: Arc<dyn LakeTables> = Arc::new(DryTables::new("margay_", log_types.schemas()));
        let dry = DryLive { prefix: "margay_".into(), lookups: vec![Arc::new(lookup)], log_types };
        let dry = Search::new(lake, Limits::default()).with_live(Arc::new(dry));
        let live = search(Ok(Arc::new(MemoryState::new())));
        for table in ["panther_monitor.public.alerts", "panther_monitor.deliveries"] {
            assert_eq!(dry.columns(table).await.unwrap(), live.columns(table).await.unwrap());
        }
        assert_eq!(csv(&dry, "SELECT count(*) AS n FROM panther_lookups.public.assets").await, "n\r\n0\r\n");
    }

    #[tokio::test]
    async fn why_there_is_no_state_is_told() {
        let search = search(Err("there is no state store yet".into()));
        let failed = search.run("SELECT * FROM panther_monitor.alerts", START).await.unwrap_err().to_string();
        assert!(failed.contains("margay_monitor.alerts could not be read: there is no state store yet"), "{failed}");
    }
}
