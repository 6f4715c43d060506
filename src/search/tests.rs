//! Queries over tables that were written by the lake itself.

use std::path::Path;

use arrow::util::pretty::pretty_format_batches;
use time::macros::datetime;

use super::*;
use crate::lake::catalog::Catalog;
use crate::lake::iceberg::{Granularity, IcebergCatalog, Settings};
use crate::lake::{Rows, Slice};
use crate::logtype::Schema;
use crate::model::{Event, EventBatch, Map, ObjectId, Position, RowId};
use crate::runtime::SystemClock;
use crate::state::CommitId;

const NOW: OffsetDateTime = datetime!(2026-01-10 12:00 UTC);

const TRAIL: &str = "version: 0
fields:
  - {name: eventName, type: string}
  - {name: count, type: bigint}
  - {name: requestParameters, type: json}
  - {name: userIdentity, type: object, fields: [{name: arn, type: string}, {name: type, type: string}]}
  - {name: resources, type: array, element: {type: object, fields: [{name: arn, type: string}]}}
";

const OTHER: &str = "version: 0\nfields: [{name: x, type: int}]";

pub(super) struct Lake {
    catalog: Arc<IcebergCatalog>,
    _folder: tempfile::TempDir,
}

impl Lake {
    pub(super) async fn new() -> Lake {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Arc::new(open(folder.path()).await);
        Lake { catalog, _folder: folder }
    }

    /// Commits events of the table, one an hour from this time on.
    pub(super) async fn with(self, table: &str, n: u8, from: OffsetDateTime, fields: &[String]) -> Lake {
        let event = |(at, fields): (usize, &String)| Event {
            log_type: table.into(),
            row_id: RowId::new(ObjectId([n; 16]), at as u64, 0),
            position: Position { ordinal: at as u64, index: 0 },
            time: from + time::Duration::seconds(at as i64),
            fields: serde_json::from_str::<Map>(fields).unwrap(),
        };
        let events: Vec<Event> = fields.iter().enumerate().map(event).collect();
        let picked = (0..events.len()).collect();
        let batch = EventBatch { object: ObjectId([n; 16]), source: "s".into(), events, rejects: Vec::new(), bytes: 1 };
        let rows: Rows = [Slice::new(Arc::new(batch), picked)].into_iter().collect();
        let staged = self.catalog.stage(table, CommitId([n; 16]), &rows).await.unwrap();
        let head = self.catalog.load(table).await.unwrap();
        self.catalog.commit(&head, &staged).await.unwrap();
        self
    }

    /// Two days of a trail, and another table.
    pub(super) async fn filled() -> Lake {
        let day = |ip: &str| -> Vec<String> {
            let event = |n: usize| {
                format!(
                    r#"{{"eventName":"Event{}","count":{n},"requestParameters":{{"bucket":"b{n}","n":{n},"deep":[{{"a":true}}]}},
                    "userIdentity":{{"arn":"arn:{n}","type":"Root"}},"resources":[{{"arn":"r{n}"}}],
                    "p_any_ip_addresses":["{ip}","10.1.1.{n}"],"more":"m{n}"}}"#,
                    n % 3
                )
            };
            (0..6).map(event).collect()
        };
        let lake = Lake::new().await;
        let lake = lake.with("Test.Trail", 1, datetime!(2026-01-08 10:00 UTC), &day("10.0.0.8")).await;
        let lake = lake.with("Test.Trail", 2, datetime!(2026-01-09 10:00 UTC), &day("10.0.0.9")).await;
        lake.with(
            "Test.Other",
            3,
            datetime!(2026-01-09 11:00 UTC),
            &[r#"{"x":5,"p_any_ip_addresses":["10.0.0.9"]}"#.into()],
        )
        .await
    }

    pub(super) async fn run(&self, sql: &str) -> Result<Answer, SearchError> {
        let limits = Limits { rows: 100, ..Limits::default() };
        Search::new(self.catalog.clone(), limits).run(sql, NOW).await
    }

    /// The rows as CSV without its head.
    pub(super) async fn rows(&self, sql: &str) -> String {
        let answer = self.run(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let csv = output::csv(&answer).unwrap();
        csv.lines().skip(1).collect::<Vec<_>>().join("\n")
    }

    pub(super) async fn plan(&self, sql: &str) -> String {
        let answer = self.run(&format!("EXPLAIN ANALYZE {sql}")).await.unwrap();
        pretty_format_batches(&answer.batches).unwrap().to_string()
    }
}

async fn open(folder: &Path) -> IcebergCatalog {
    let settings = Settings { root: folder.to_owned(), prefix: "margay_".into(), partition: Granularity::Day };
    let schemas = |name: &str| {
        let yaml = if name == "Test.Trail" { TRAIL } else { OTHER };
        Some(Arc::new(Schema::from_yaml(yaml, "test", Some(name)).unwrap()))
    };
    IcebergCatalog::open(settings, Arc::new(schemas), Arc::new(SystemClock)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_are_answered() {
    let lake = Lake::filled().await;
    for (sql, expected) in [
        ("SELECT count(*) FROM test_trail", "12"),
        (
            "SELECT EVENTNAME, count(*) n FROM panther_logs.public.test_trail GROUP BY 1 ORDER BY 1",
            "Event0,4\nEvent1,4\nEvent2,4",
        ),
        ("SELECT userIdentity.arn FROM test_trail WHERE count = 3 AND p_occurs_on('2026-01-09')", "arn:3"),
        ("SELECT t.resources[0].arn FROM test_trail t WHERE t.count = 2 LIMIT 1", "r2"),
        ("SELECT requestParameters:bucket::string FROM test_trail WHERE requestParameters.n = '4' LIMIT 1", "b4"),
        ("SELECT sum(requestParameters:n::int) FROM test_trail", "30"),
        ("SELECT p_extra:more FROM test_trail WHERE count = 1 LIMIT 1", "m1"),
        ("SELECT count(*) FROM test_trail WHERE p_occurs_since('1 day')", "0"),
        ("SELECT count(*) FROM test_trail WHERE p_occurs_since('27 hours')", "6"),
        ("SELECT count(*) FROM test_trail WHERE year = 2026 AND month = 1 AND day = 8", "6"),
        ("SELECT count(*) FROM test_trail WHERE array_contains(p_any_ip_addresses, '10.0.0.9')", "6"),
        ("SELECT p_table_name, count(*) FROM all_logs GROUP BY 1 ORDER BY 1", "test_other,1\ntest_trail,12"),
        ("SELECT count(*) FROM panther_views.all_logs WHERE p_log_type = 'Test.Other'", "1"),
        ("WITH a AS (SELECT * FROM test_trail) SELECT max(count) FROM a", "5"),
        (
            "SELECT count, row_number() OVER (ORDER BY count DESC) r FROM test_trail WHERE day = 8 ORDER BY r LIMIT 1",
            "5,1",
        ),
    ] {
        assert_eq!(lake.rows(sql).await, expected, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_cut_at_the_limit() {
    let lake = Lake::filled().await;
    let search = Search::new(lake.catalog.clone(), Limits { rows: 5, ..Limits::default() });
    let answer = search.run("SELECT eventName FROM test_trail", NOW).await.unwrap();
    assert_eq!((answer.rows(), answer.is_cut), (5, true));
    let answer = search.run("SELECT eventName FROM test_trail LIMIT 5", NOW).await.unwrap();
    assert_eq!((answer.rows(), answer.is_cut), (5, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_told_with_what_was_meant() {
    let lake = Lake::filled().await;
    for (sql, part) in [
        ("SELECT eventNam FROM test_trail", "did you mean `eventName`?"),
        ("SELECT * FROM test_trial", "did you mean `margay_logs.test_trail`?"),
        ("SELECT * FROM test_trail WHERE", "found: EOF"),
        ("DROP TABLE test_trail", "`DROP` is not run here"),
        ("SELECT * FROM test_trail WHERE p_occurs_since('1 fortnight')", "no unit"),
    ] {
        let error = lake.run(sql).await.unwrap_err().to_string();
        assert!(error.contains(part), "{sql}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_columns_are_listed() {
    let lake = Lake::filled().await;
    assert_eq!(lake.rows("SHOW TABLES").await, "margay_logs,test_other\nmargay_logs,test_trail");
    let columns = lake.rows("DESCRIBE test_other").await;
    assert!(columns.starts_with("x,Int32,YES"), "{columns}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_other_days_are_not_opened() {
    let lake = Lake::filled().await;
    let files = |plan: &str| plan.matches(".parquet").count();
    assert_eq!(files(&lake.plan("SELECT count FROM test_trail WHERE eventName = 'Event1'").await), 2);
    assert_eq!(files(&lake.plan("SELECT count FROM test_trail WHERE p_occurs_on('2026-01-09')").await), 1);
    assert_eq!(files(&lake.plan("SELECT count FROM test_trail WHERE p_row_id = 'zzz'").await), 0);
    assert_eq!(files(&lake.plan("SELECT p_row_id FROM all_logs WHERE p_occurs_on('2026-01-08')").await), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_without_an_indicator_are_not_read() {
    let events = |ip: &str| -> Vec<String> {
        (0..10_000)
            .map(|n| format!(r#"{{"count":{n},"p_any_ip_addresses":["10.{}.{}.1"]}}"#, n / 250, n % 250))
            .chain([format!(r#"{{"p_any_ip_addresses":["{ip}"]}}"#)])
            .collect()
    };
    let day = datetime!(2026-01-09 00:00 UTC);
    let lake = Lake::new().await.with("Test.Trail", 1, day, &events("192.0.2.1")).await;
    let lake = lake.with("Test.Trail", 2, day, &events("192.0.2.2")).await;
    let needle = |ip: &str| format!("SELECT p_row_id FROM test_trail WHERE array_has(p_any_ip_addresses, '{ip}')");
    let plan = lake.plan(&needle("192.0.2.2")).await;
    assert_eq!(plan.matches(".parquet").count(), 1, "{plan}");
    assert_eq!(lake.rows(&needle("192.0.2.2")).await.lines().count(), 1);
    assert_eq!(lake.rows(&needle("192.0.2.3")).await, "");
    assert_eq!(lake.rows("SELECT count(*) FROM test_trail WHERE array_has(p_any_ip_addresses, '10.1.7.1')").await, "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn indicators_are_found_in_all_tables() {
    let lake = Lake::filled().await;
    let found = indicators::read("10[.]0.0.9").unwrap();
    let (since, until) = (datetime!(2026-01-03 00:00 UTC), NOW);
    let hits = lake.rows(&indicators::hits(&found, since, until)).await;
    let hits: Vec<Vec<&str>> = hits.lines().map(|line| line.split(',').take(4).collect()).collect();
    assert_eq!(
        hits,
        [
            ["margay_logs", "test_other", "2026-01-09T11:00:00", "1"],
            ["margay_logs", "test_trail", "2026-01-09T10:00:00", "6"],
        ]
    );
    let events = lake.run(&indicators::events("margay_logs.test_trail", &found, since, until)).await.unwrap();
    assert_eq!(events.rows(), 6);
}
