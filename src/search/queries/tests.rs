//! Queries of many callers, over tables that hold up who reads them until they are let go.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use time::macros::datetime;
use tokio::sync::Semaphore;

use super::*;
use crate::lake::catalog::CatalogError;
use crate::lake::names::TableId;
use crate::lake::tables::{Condition, ParquetFile, Ranges, Snapshot, Tables};
use crate::model::SavedQuery;
use crate::runtime::Clock;

const PATIENCE: Duration = Duration::from_secs(60);

struct At(Mutex<OffsetDateTime>);

impl Clock for At {
    fn now(&self) -> OffsetDateTime {
        *self.0.lock().unwrap()
    }
}

/// One table without a file, which is opened when there is a permit.
struct Gate {
    permits: Semaphore,
    waiting: AtomicUsize,
}

struct Empty;

#[async_trait]
impl Tables for Gate {
    fn prefix(&self) -> &str {
        "margay_"
    }

    async fn list(&self) -> Result<Vec<TableId>, CatalogError> {
        Ok(vec![TableId::of_logs("margay_", "Test.Gate")])
    }

    async fn open(&self, _: &TableId) -> Result<Option<Arc<dyn Snapshot>>, CatalogError> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.permits.acquire().await.expect("nothing closes it").forget();
        Ok(Some(Arc::new(Empty)))
    }
}

#[async_trait]
impl Snapshot for Empty {
    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]))
    }

    fn json_columns(&self) -> &[String] {
        &[]
    }

    fn remote(&self) -> Option<Arc<dyn Ranges>> {
        None
    }

    async fn files(&self, _: &[Condition]) -> Result<Vec<ParquetFile>, CatalogError> {
        Ok(Vec::new())
    }
}

struct Daemon {
    queries: Queries,
    gate: Arc<Gate>,
    clock: Arc<At>,
    telemetry: Telemetry,
    config: Config,
    folder: tempfile::TempDir,
}

const WAITS: &str = "SELECT count(*) AS n FROM test_gate";

impl Daemon {
    async fn new(change: impl FnOnce(&mut Config)) -> Daemon {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config { path: folder.path().to_owned(), threads: 1, ..Config::default() };
        change(&mut config);
        let clock = Arc::new(At(Mutex::new(datetime!(2026-01-10 12:00 UTC))));
        let (telemetry, gate) = (Telemetry::new(), gate());
        let queries = open(&config, &gate, &clock, &telemetry).await;
        Daemon { queries, gate, clock, telemetry, config, folder }
    }

    /// Another life over the same folder.
    async fn again(self) -> Daemon {
        let Daemon { queries, clock, telemetry, config, folder, .. } = self;
        queries.shut_down(PATIENCE).await;
        drop(queries);
        let gate = gate();
        let queries = open(&config, &gate, &clock, &telemetry).await;
        Daemon { queries, gate, clock, telemetry, config, folder }
    }

    async fn ask(&self, user: &str, sql: &str) -> String {
        self.queries.submit(user, Ask::sql(sql)).await.unwrap().id
    }

    async fn ended(&self, id: &str) -> Record {
        let record = self.queries.wait(id, PATIENCE).await.unwrap();
        assert!(record.ended_at.is_some(), "{record:?}");
        record
    }

    fn status(&self, id: &str) -> Status {
        self.queries.get(id).unwrap().status
    }

    fn pass(&self, time: time::Duration) {
        *self.clock.0.lock().unwrap() += time;
    }
}

fn gate() -> Arc<Gate> {
    Arc::new(Gate { permits: Semaphore::new(0), waiting: AtomicUsize::new(0) })
}

async fn open(config: &Config, gate: &Arc<Gate>, clock: &Arc<At>, telemetry: &Telemetry) -> Queries {
    let search = Search::new(gate.clone(), config.limits());
    let query = SavedQuery {
        name: "One".into(),
        description: None,
        tags: Vec::new(),
        sql: "SELECT 1 AS one".into(),
        is_scheduled: false,
        schedule: None,
        is_enabled: false,
    };
    let saved = Saved::new(move || vec![query.clone()]);
    Queries::open(config, search, saved, clock.clone(), telemetry.clone()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_leaves_its_rows() {
    let daemon = Daemon::new(|_| {}).await;
    let id = daemon.ask("ana", "SELECT a, a * 2 AS b FROM (VALUES (1), (2), (3)) AS t(a)").await;
    let record = daemon.ended(&id).await;
    assert_eq!((record.status, record.rows, record.error.as_ref()), (Status::Succeeded, 3, None), "{record:?}");
    assert_eq!(record.columns.iter().map(|column| &*column.name).collect::<Vec<_>>(), ["a", "b"]);
    let (_, page) = daemon.queries.page(&id, 0, 2).await.unwrap();
    assert_eq!(page.rows, [r#"{"a":1,"b":2}"#, r#"{"a":2,"b":4}"#]);
    let (_, rest) = daemon.queries.page(&id, page.next.unwrap(), 2).await.unwrap();
    assert_eq!((rest.rows.len(), rest.next), (1, None));
    assert!(matches!(daemon.queries.page(&id, 3, 2).await, Err(Refused::NoPlace)));
    assert_eq!(daemon.telemetry.metrics.search_queries_total.get(["succeeded"]), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_cut_at_their_limits() {
    let daemon = Daemon::new(|config| config.max_rows = 5).await;
    let many = "SELECT unnest(generate_series(1, 100)) AS n";
    let record = daemon.ended(&daemon.ask("ana", many).await).await;
    assert_eq!((record.status, record.rows, record.is_cut), (Status::Succeeded, 5, true), "{record:?}");
    let fewer = Ask { rows: Some(2), ..Ask::sql(many) };
    let id = daemon.queries.submit("ana", fewer).await.unwrap().id;
    assert_eq!(daemon.ended(&id).await.rows, 2);
    let more = Ask { rows: Some(50), ..Ask::sql(many) };
    let id = daemon.queries.submit("ana", more).await.unwrap().id;
    assert_eq!(daemon.ended(&id).await.rows, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_told_with_their_place() {
    let daemon = Daemon::new(|_| {}).await;
    let refused = daemon.queries.submit("ana", Ask::sql("SELECT 1\nFROM")).await.unwrap_err().to_string();
    assert!(refused.starts_with("line 2, column 5: "), "{refused}");
    daemon.gate.permits.add_permits(10);
    for (sql, said) in [
        ("SELECT aa FROM test_gate", "line 1, column 8: there is no column `aa`; did you mean `a`?"),
        ("SELECT a\n  FROM test_gat", "line 2, column 8: there is no table `test_gat`; did you mean"),
        ("SELECT nonsense(a) FROM test_gate", "line 1, column 8: there is no function `nonsense`"),
    ] {
        let record = daemon.ended(&daemon.ask("ana", sql).await).await;
        let error = record.error.unwrap().to_string();
        assert!(record.status == Status::Failed && error.starts_with(said), "{sql}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_wait_for_their_turn_and_can_be_cancelled() {
    let daemon = Daemon::new(|config| (config.max_running, config.max_running_per_user) = (2, 1)).await;
    let first = daemon.ask("ana", WAITS).await;
    let second = daemon.ask("ana", WAITS).await;
    let other = daemon.ask("bob", WAITS).await;
    assert_eq!(
        [&first, &second, &other].map(|id| daemon.status(id)),
        [Status::Running, Status::Waiting, Status::Running]
    );
    assert!(matches!(daemon.queries.page(&first, 0, 1).await, Err(Refused::NoRows(_, "running"))));

    // One that waits is taken out of the line, one that runs gives its place to the next.
    let third = daemon.ask("ana", WAITS).await;
    assert_eq!(daemon.queries.cancel(&second).await.unwrap().status, Status::Cancelled);
    assert_eq!(daemon.queries.cancel(&first).await.unwrap().status, Status::Cancelled);
    assert_eq!(daemon.ended(&first).await.status, Status::Cancelled);
    daemon.gate.permits.add_permits(2);
    assert_eq!(daemon.ended(&third).await.status, Status::Succeeded);
    assert_eq!(daemon.ended(&other).await.rows, 1);
    assert_eq!(daemon.status(&second), Status::Cancelled);

    // Of one that has ended the rows go.
    daemon.queries.cancel(&other).await.unwrap();
    assert!(matches!(daemon.queries.page(&other, 0, 1).await, Err(Refused::NoRows(_, "kept no longer"))));
    assert_eq!(daemon.status(&other), Status::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_takes_too_long_is_stopped() {
    let daemon = Daemon::new(|_| {}).await;
    let hasty = Ask { time: Some(Duration::from_millis(1)), ..Ask::sql(WAITS) };
    let id = daemon.queries.submit("ana", hasty).await.unwrap().id;
    let record = daemon.ended(&id).await;
    assert!(record.error.unwrap().message.contains("took longer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_line_takes_nobody() {
    let daemon = Daemon::new(|config| (config.max_running, config.max_waiting) = (1, 2)).await;
    daemon.ask("ana", WAITS).await;
    daemon.ask("ana", WAITS).await;
    assert!(matches!(daemon.queries.submit("ana", Ask::sql(WAITS)).await, Err(Refused::Full)));
    daemon.ask("bob", WAITS).await;
    assert!(matches!(daemon.queries.submit("eve", Ask::sql(WAITS)).await, Err(Refused::Full)));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_life_knows_what_was_asked() {
    let daemon = Daemon::new(|_| {}).await;
    let done = daemon.ask("ana", "SELECT 7 AS n").await;
    daemon.ended(&done).await;
    let running = daemon.ask("ana", WAITS).await;
    let daemon = daemon.again().await;
    assert_eq!(daemon.queries.page(&done, 0, 9).await.unwrap().1.rows, [r#"{"n":7}"#]);
    let record = daemon.queries.get(&running).unwrap();
    assert_eq!((record.status, record.error), (Status::Failed, Some(interrupted())));
    let listed = daemon.queries.list(&Filter { limit: 10, ..Filter::default() });
    assert_eq!(listed.iter().map(|record| &record.id).collect::<Vec<_>>(), [&running, &done]);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_answers_go_and_then_their_records() {
    let daemon = Daemon::new(|config| config.keep_hours = 1).await;
    let id = daemon.ask("ana", "SELECT 1 AS n").await;
    daemon.ended(&id).await;
    daemon.pass(time::Duration::hours(2));
    daemon.queries.tidy().await;
    assert!(matches!(daemon.queries.page(&id, 0, 1).await, Err(Refused::NoRows(..))));
    assert_eq!(daemon.status(&id), Status::Succeeded);
    daemon.pass(time::Duration::days(31));
    daemon.queries.tidy().await;
    assert!(matches!(daemon.queries.get(&id), Err(Refused::Unknown(_))));
    assert_eq!(std::fs::read_dir(daemon.folder.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_rows_make_room() {
    let daemon = Daemon::new(|config| config.keep_mib = 1).await;
    let large = "SELECT n, repeat('x', 1000) AS t FROM (SELECT unnest(generate_series(1, 700)) AS n)";
    let first = daemon.ask("ana", large).await;
    daemon.ended(&first).await;
    daemon.pass(time::Duration::seconds(1));
    let second = daemon.ask("ana", large).await;
    daemon.ended(&second).await;
    daemon.queries.tidy().await;
    let has_rows: HashMap<&str, bool> =
        [&first, &second].map(|id| (id.as_str(), daemon.queries.get(id).unwrap().has_rows)).into();
    assert_eq!(has_rows, [(first.as_str(), false), (second.as_str(), true)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn saved_queries_are_found_by_name() {
    let daemon = Daemon::new(|_| {}).await;
    let ask = Ask::saved(daemon.queries.saved().get("One").unwrap());
    let id = daemon.queries.submit("ana", ask).await.unwrap().id;
    let record = daemon.ended(&id).await;
    assert_eq!((record.origin, record.name.as_deref(), record.rows), (Origin::Saved, Some("One"), 1));
    let error = daemon.queries.saved().get("Onw").unwrap_err().to_string();
    assert!(error.contains("did you mean `One`?"), "{error}");
    let at = daemon.queries.now();
    let limits = *daemon.queries.search().limits();
    let mut rows = daemon.queries.saved().run(daemon.queries.search(), "One", at, limits).await.unwrap();
    assert_eq!(rows.next().await.unwrap().unwrap().num_rows(), 1);
}
