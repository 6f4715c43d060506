//! The lake, read by others: pyiceberg through the catalog, DuckDB from the files. What margay says of itself counts for
//! nothing here.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::aws::python;
use crate::daemon::Setup;
use crate::events::logins_of;

const TABLE: &str = "margay_logs.okta_systemlog";

/// Nothing matches: these stories are about rows.
const NEVER: &str = "def rule(event):\n    return False\n";

fn setup() -> Setup {
    lake(Setup::new().rule("Never", NEVER))
}

/// With a lake in the folder `lake`.
pub(crate) fn lake(setup: Setup) -> Setup {
    setup.watching_directory().configured(
        "[lake]\ntype = \"local\"\nflush_seconds = 1\nmaintain_seconds = 0\n[lake.local]\npath = \"lake\"\n",
    )
}

/// Every table as pyiceberg reads it through the SQL catalog.
pub(crate) const PYICEBERG: &str = r#"
import json, sys
from pyiceberg.catalog.sql import SqlCatalog
root = json.load(sys.stdin)
catalog = SqlCatalog("margay", uri=f"sqlite:///{root}/catalog.db", warehouse=f"file://{root}")
tables = {}
for namespace in catalog.list_namespaces():
    for name in catalog.list_tables(namespace):
        table = catalog.load_table(name)
        rows = table.scan().to_arrow()
        history = sorted(table.snapshots(), key=lambda snapshot: snapshot.sequence_number)
        tables[".".join(name)] = {
            "rows": json.loads(json.dumps(rows.to_pylist(), default=str)),
            "types": {field.name: str(field.field_type) for field in table.schema().fields},
            "operations": [snapshot.summary.operation.value for snapshot in history],
            "files": len(list(table.scan().plan_files())),
            "partitions": sorted({str(task.file.partition) for task in table.scan().plan_files()}),
        }
print(json.dumps(tables))
"#;

fn tables(setup: &Setup) -> Value {
    python::evaluate(PYICEBERG, &json!(setup.path("lake")).to_string())
}

/// Rows, distinct rows and distinct mails as DuckDB counts them over all files.
const DUCKDB: &str = r#"
import json, sys, duckdb
root = json.load(sys.stdin)
print(json.dumps(duckdb.sql(f"""
    SELECT count(*), count(DISTINCT p_row_id), count(DISTINCT actor.alternateId)
    FROM read_parquet('{root}/margay_logs/okta_systemlog/data/**/*.parquet')
    WHERE list_contains(p_any_ip_addresses, '198.51.100.7') AND p_event_time < TIMESTAMP '2026-01-16'
""").fetchall()[0]))
"#;

fn ids(tables: &Value) -> Vec<&str> {
    let rows = tables[TABLE]["rows"].as_array().unwrap();
    let mut ids: Vec<&str> = rows.iter().map(|row| row["p_row_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids
}

fn assert_once(tables: &Value, expected: usize) {
    let ids = ids(tables);
    let distinct: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!((ids.len(), distinct.len()), (expected, expected));
}

/// Objects that the daemon is done with.
fn committed(daemon: &crate::daemon::Daemon<'_>) -> f64 {
    daemon.metrics().get(r#"margay_objects_total{source="local",state="committed"}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn other_engines_read_what_was_ingested() {
    let setup = setup();
    setup.file("a.jsonl", logins_of("ana@example.com", 30));
    let bob = logins_of("bob@example.com", 1);
    let odd = bob.trim_end().strip_suffix('}').unwrap();
    setup.file("b.jsonl", format!("{odd},\"never seen\":{{\"a\":[1]}}}}\n"));
    let daemon = setup.start().await;
    daemon.until(|daemon| committed(daemon) == 2.0).await;

    let tables = tables(&setup);
    assert_once(&tables, 31);
    let table = &tables[TABLE];
    assert_eq!(table["types"]["p_event_time"], "timestamp");
    assert_eq!(table["types"]["p_any_ip_addresses"], "list<string>");
    assert_eq!(table["partitions"].as_array().unwrap().len(), 1, "{}", table["partitions"]);
    let rows = table["rows"].as_array().unwrap();
    let of = |name: &str| rows.iter().find(|row| row["actor"]["alternateId"] == name).unwrap();
    let ana = of("ana@example.com");
    assert_eq!(ana["eventType"], "user.session.start");
    assert_eq!(ana["p_event_time"], "2026-01-15 09:15:00");
    assert_eq!(ana["p_any_ip_addresses"], json!(["198.51.100.7"]));
    assert_eq!(ana["p_extra"], Value::Null);
    let extra: Value = serde_json::from_str(of("bob@example.com")["p_extra"].as_str().unwrap()).unwrap();
    assert_eq!(extra, json!({ "never seen": { "a": [1] } }));

    let counted = python::evaluate(DUCKDB, &json!(setup.path("lake")).to_string());
    assert_eq!(counted, json!([31, 31, 2]));

    let search = |arguments: &[&str]| {
        let output = setup.margay(&[&["search", "--config", "margay.toml", "--format", "csv"], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let sql = "SELECT actor.alternateId AS who, count(*) AS n FROM okta_systemlog WHERE p_occurs_on('2026-01-15') \
               GROUP BY 1 ORDER BY 2 DESC";
    assert_eq!(search(&[sql]), "who,n\r\nana@example.com,30\r\nbob@example.com,1\r\n");
    let hits = search(&["--indicators", "198.51.100[.]7", "--since", "2026-01-01"]);
    assert!(hits.contains("margay_logs,okta_systemlog,2026-01-15T09:00:00,31,"), "{hits}");
    let refused = setup.margay(&["search", "--config", "margay.toml", "DROP TABLE okta_systemlog"]);
    assert_eq!(refused.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_and_every_row_is_there_once() {
    const LIVES: usize = 8;
    const EVENTS: usize = 400;
    let setup = setup();
    for life in 0..LIVES {
        for object in 0..2 {
            let name = format!("{life}-{object}");
            setup.file(&format!("{name}.jsonl"), logins_of(&format!("{name}@example.com"), EVENTS));
        }
        // Each ends a little further on the way from the first record to the commit, which comes after a second.
        let mut daemon = setup.start().await;
        tokio::time::sleep(Duration::from_millis(200 * life as u64)).await;
        daemon.signal("KILL");
        daemon.ended();
    }
    let expected = 2 * LIVES * EVENTS;
    let daemon = setup.start().await;
    daemon.until(|_| tables(&setup)[TABLE]["rows"].as_array().is_some_and(|rows| rows.len() >= expected)).await;
    daemon.until(|daemon| daemon.metrics().get("margay_in_flight_messages") == 0.0).await;
    assert_once(&tables(&setup), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn merged_files_have_the_same_rows() {
    let setup = setup();
    let daemon = setup.start().await;
    for object in 0..4 {
        setup.file(&format!("{object}.jsonl"), logins_of(&format!("{object}@example.com"), 25));
        daemon.until(|daemon| committed(daemon) == f64::from(object + 1)).await;
    }
    let before = tables(&setup);
    assert_once(&before, 100);
    let maintained = setup.margay(&["lake", "maintain", "--config", "margay.toml"]);
    assert!(maintained.status.success(), "{}", String::from_utf8_lossy(&maintained.stderr));
    let after = tables(&setup);
    assert_eq!(ids(&after), ids(&before));
    assert_eq!((&before[TABLE]["files"], &after[TABLE]["files"]), (&json!(4), &json!(1)));
    assert_eq!(after[TABLE]["operations"], json!(["append", "append", "append", "append", "replace"]));

    // The daemon goes on with the table that another process has changed.
    setup.file("more.jsonl", logins_of("more@example.com", 5));
    daemon.until(|daemon| committed(daemon) == 5.0).await;
    assert_once(&tables(&setup), 105);
}
