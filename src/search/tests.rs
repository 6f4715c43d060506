//! Queries over tables that were written by the lake itself.

use std::path::Path;

use arrow::array::{ArrayRef, ListBuilder, RecordBatch, StringBuilder, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, TimeUnit};
use arrow::util::pretty::pretty_format_batches;
use async_trait::async_trait;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use time::macros::datetime;

use super::*;
use crate::lake::catalog::{Catalog, CatalogError};
use crate::lake::iceberg::{Granularity, IcebergCatalog, Settings};
use crate::lake::tables::{Condition, ParquetFile, Ranges, Snapshot};
use crate::lake::{Rows as LakeRows, Slice};
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
        let rows: LakeRows = [Slice::new(Arc::new(batch), picked)].into_iter().collect();
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
            "SELECT iff(count > 4, 'many', 'few') AS c, count(*) n FROM test_trail GROUP BY c ORDER BY c",
            "few,10\nmany,2",
        ),
        ("SELECT count_if(userIdentity:type = 'Root') FROM test_trail WHERE requestParameters:n >= 3", "6"),
        ("SELECT count(*) FROM test_trail WHERE requestParameters['deep'][0]:a = true", "12"),
        ("SELECT count(*) FROM test_trail WHERE array_contains('10.0.0.9'::VARIANT, p_any_ip_addresses)", "6"),
        (
            "SELECT count(*) FROM test_trail WHERE arrays_overlap(p_any_ip_addresses, array_construct('10.0.0.9', 'x'))",
            "6",
        ),
        ("SELECT array_size(p_any_ip_addresses) FROM test_trail LIMIT 1", "2"),
        ("SELECT array_size(requestParameters:deep), array_size(resources) FROM test_trail LIMIT 1", "1,1"),
        ("SELECT count(*) FROM test_trail WHERE p_event_time >= dateadd(hour, -27, current_timestamp())", "6"),
        ("SELECT datediff('hour', min(p_event_time), max(p_event_time)) FROM test_trail", "24"),
        (
            "SELECT time_slice(p_event_time, 1, 'day') AS t, count(*) FROM test_trail GROUP BY t ORDER BY t LIMIT 1",
            "2026-01-08T00:00:00,6",
        ),
        (
            "SELECT f.value AS ip, count(*) n FROM test_trail t, LATERAL FLATTEN(input => t.p_any_ip_addresses) f \
             WHERE f.value LIKE '10.0.%' GROUP BY ip ORDER BY ip",
            "10.0.0.8,6\n10.0.0.9,6",
        ),
        (
            "SELECT value:a AS a, index FROM test_trail, TABLE(FLATTEN(input => requestParameters:deep)) LIMIT 1",
            "true,0",
        ),
        ("SELECT userIdentity:arn AS who, upper(who) AS u FROM test_trail WHERE who = 'arn:3' LIMIT 1", "arn:3,ARN:3"),
        (
            "SELECT eventName, array_unique_agg(userIdentity:type) AS types, array_size(types) AS n FROM test_trail \
             GROUP BY eventName HAVING n = 1 ORDER BY 1 LIMIT 1",
            "Event0,\"[\"\"Root\"\"]\",1",
        ),
        ("SELECT count FROM test_trail WHERE day = 8 QUALIFY row_number() OVER (ORDER BY count DESC) = 1", "5"),
        ("SELECT max_by(userIdentity:arn, count) FROM test_trail", "arn:5"),
        ("SELECT eventName FROM test_trail MINUS SELECT 'Event0' ORDER BY 1", "Event1\nEvent2"),
        ("SELECT count(*) FROM test_trail WHERE eventName LIKE ANY ('%0', '%1')", "8"),
        (
            "SELECT regexp_substr('arn:aws:x', '[a-z]+', 1, 1), split('a-b-c', '-')[1], split_part('a/b', '/', -1)",
            "arn,b,b",
        ),
        ("SELECT try_parse_json('{\"a\": {\"b\": [7]}}'):a.b[0]::int AS n, parse_json('{')", "7,{"),
        (
            "SELECT count(*) FROM test_trail WHERE p_occurs_since(27 h, , p_event_time) AND partition_time >= 1767949200",
            "6",
        ),
        ("SELECT count(*) FROM margay_logs.test_trail WHERE margay_logs.test_trail.eventname = 'Event1'", "4"),
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
        (
            "SELECT eventNam FROM test_trail",
            "line 1, column 8: there is no column `eventNam`; did you mean `eventName`?",
        ),
        (
            "SELECT 1\nFROM test_trial",
            "line 2, column 6: there is no table `test_trial`; did you mean `margay_logs.test_trail`?",
        ),
        ("SELECT lowr(eventName) FROM test_trail", "column 8: there is no function `lowr`; did you mean `lower`?"),
        ("SELECT userIdentity:arm FROM test_trail", "there is no field `arm`; did you mean `arn`?"),
        ("SELECT 1 FROM test_trail WHERE dateadd(eon, 1, p_event_time) > 0", "`eon` is no unit of time"),
        ("{% macro x %} SELECT 1", "is a template"),
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
    let between = "p_event_time BETWEEN '2026-01-09' AND dateadd(day, 1, '2026-01-09'::timestamp)";
    assert_eq!(files(&lake.plan(&format!("SELECT count FROM test_trail WHERE {between}")).await), 1);
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
    let block = indicators::read("10.0.0.8/31").unwrap();
    let hits = lake.rows(&indicators::hits(&block, since, until)).await;
    assert_eq!(hits.lines().count(), 3, "{hits}");
    let events = lake.run(&indicators::events("margay_logs.test_trail", &found, since, until)).await.unwrap();
    assert_eq!(events.rows(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_without_a_time_is_told_and_bounded() {
    let lake = Lake::filled().await;
    let unbounded = "SELECT eventName FROM test_trail WHERE count = 3";
    let answer = lake.run(unbounded).await.unwrap();
    assert!(answer.warnings[0].starts_with("no condition on time: all of margay_logs.test_trail is read"));
    let strict = Search::new(lake.catalog.clone(), Limits { unbounded_scan: 10, ..Limits::default() });
    let refused = strict.run(unbounded, NOW).await.unwrap_err().to_string();
    assert!(refused.contains("`search.max_unbounded_scan_mib`") && refused.contains("p_occurs_since"), "{refused}");
    for bounded in [
        "SELECT eventName FROM test_trail WHERE count = 3 AND p_occurs_since('3 days')",
        "SELECT p_row_id FROM all_logs WHERE p_occurs_on('2026-01-09')",
        "SELECT * FROM test_trail LIMIT 1",
        "SELECT count(*) FROM test_trail",
    ] {
        assert_eq!(strict.run(bounded, NOW).await.unwrap().warnings, [""; 0], "{bounded}");
    }
}

/// Many small files, each with an address of its own, as one table.
struct Haystack {
    folder: tempfile::TempDir,
    files: Vec<ParquetFile>,
}

impl Haystack {
    fn new(count: usize) -> Haystack {
        let folder = tempfile::tempdir().unwrap();
        let file = |n: usize| {
            let path = folder.path().join(format!("{n:05}.parquet"));
            let mut lists = ListBuilder::new(StringBuilder::new());
            for address in [format!("192.0.2.{n}"), "10.0.0.1".into()] {
                lists.values().append_value(address);
                lists.append(true);
            }
            let times = TimestampMicrosecondArray::from(vec![Some(n as i64); 2]);
            let columns: Vec<ArrayRef> = vec![Arc::new(times), Arc::new(lists.finish())];
            let list = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
            let schema = Arc::new(ArrowSchema::new(vec![
                Field::new("p_event_time", DataType::Timestamp(TimeUnit::Microsecond, None), true),
                Field::new("p_any_ip_addresses", list, true),
            ]));
            let list =
                ColumnPath::from("p_any_ip_addresses.list.element".split('.').map(str::to_owned).collect::<Vec<_>>());
            let properties = WriterProperties::builder()
                .set_coerce_types(true)
                .set_column_bloom_filter_enabled(list.clone(), true)
                .set_column_bloom_filter_fpp(list.clone(), 0.001)
                .set_column_bloom_filter_ndv(list, 100);
            let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
            let out = std::fs::File::create(&path).unwrap();
            let mut writer = ArrowWriter::try_new(out, schema, Some(properties.build())).unwrap();
            writer.write(&batch).unwrap();
            writer.close().unwrap();
            let bytes = std::fs::metadata(&path).unwrap().len();
            ParquetFile { location: format!("file://{}", path.display()), bytes, rows: Some(2), times: None }
        };
        let files = (0..count).map(file).collect();
        Haystack { folder, files }
    }
}

#[async_trait]
impl Tables for Arc<Haystack> {
    fn prefix(&self) -> &str {
        "margay_"
    }

    async fn list(&self) -> Result<Vec<TableId>, CatalogError> {
        Ok(vec![TableId::of_logs("margay_", "Hay.Stack")])
    }

    async fn open(&self, _: &TableId) -> Result<Option<Arc<dyn Snapshot>>, CatalogError> {
        assert!(self.folder.path().exists());
        Ok(Some(Arc::new(self.clone())))
    }
}

#[async_trait]
impl Snapshot for Arc<Haystack> {
    fn schema(&self) -> SchemaRef {
        Arc::new(ArrowSchema::new(vec![
            Field::new("p_event_time", DataType::Timestamp(TimeUnit::Microsecond, None), true),
            Field::new_list("p_any_ip_addresses", Field::new("element", DataType::Utf8, true), true),
        ]))
    }

    fn json_columns(&self) -> &[String] {
        &[]
    }

    fn remote(&self) -> Option<Arc<dyn Ranges>> {
        None
    }

    async fn files(&self, _: &[Condition]) -> Result<Vec<ParquetFile>, CatalogError> {
        Ok(self.files.clone())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_needle_opens_few_of_many_files_also_for_ten_at_once() {
    const FILES: usize = 400;
    let hay = Arc::new(Haystack::new(FILES));
    let search = Search::new(Arc::new(hay), Limits { threads: 2, ..Limits::default() });
    for condition in [
        "array_contains(p_any_ip_addresses, '192.0.2.77')",
        "array_contains('192.0.2.77'::variant, p_any_ip_addresses)",
        "arrays_overlap(p_any_ip_addresses, array_construct('192.0.2.77', '198.51.100.1'))",
    ] {
        let sql = format!("EXPLAIN ANALYZE SELECT p_event_time FROM hay_stack WHERE {condition}");
        let plan = pretty_format_batches(&search.run(&sql, NOW).await.unwrap().batches).unwrap().to_string();
        let opened = plan.matches(".parquet").count();
        assert!((1..FILES / 100).contains(&opened), "{opened} files of {FILES} are opened: {plan}");
    }
    let one = async |n: usize| {
        let sql =
            format!("SELECT count(*) AS n FROM hay_stack WHERE array_contains(p_any_ip_addresses, '192.0.2.{n}')");
        output::csv(&search.run(&sql, NOW).await.unwrap()).unwrap()
    };
    let found = futures_util::future::join_all((0..10).map(one)).await;
    assert_eq!(found, vec!["n\r\n1\r\n"; 10]);
}

/// What of the scans in a plan does not differ from run to run: how many files, and the conditions on them.
fn scans(plan: &str) -> String {
    let scan = |line: &str| {
        let files = line.matches(".parquet").count();
        let conditions = line.split_once("predicate=").map_or("none", |(_, rest)| rest);
        let conditions = conditions.split(", required_guarantees").next().unwrap_or_default();
        format!("{files} file(s) where {conditions}")
    };
    plan.lines().filter(|line| line.contains("DataSourceExec")).map(scan).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_leave_out_files_by_partition_bounds_and_blooms() {
    let lake = Lake::filled().await;
    let plan = async |sql: &str| {
        let answer = lake.run(&format!("EXPLAIN {sql}")).await.unwrap();
        scans(&pretty_format_batches(&answer.batches).unwrap().to_string())
    };
    insta::assert_snapshot!(plan("SELECT count FROM test_trail WHERE p_occurs_on('2026-01-09')").await);
    insta::assert_snapshot!(plan("SELECT count FROM test_trail WHERE eventName = 'Event1' AND count > 4").await);
    insta::assert_snapshot!(plan("SELECT count FROM test_trail WHERE count = 77").await);
}
