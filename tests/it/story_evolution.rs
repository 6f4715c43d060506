//! Tables that another engine changes while margay writes them: columns that come, move and are renamed, another way to
//! partition, rows of its own. What margay then says is right, or it says nothing.

use serde_json::{Value, json};

use crate::aws::python;
use crate::daemon::{Daemon, Setup};
use crate::events::logins_of;

const NEVER: &str = "def rule(event):\n    return False\n";

/// Does something to the table with pyiceberg, and tells its rows: as many as there are, and how many have what.
const CHANGE: &str = r#"
import json, sys
import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import LongType, StringType
root, change = json.load(sys.stdin)
catalog = SqlCatalog("margay", uri=f"sqlite:///{root}/catalog.db", warehouse=f"file://{root}")
table = catalog.load_table("margay_logs.okta_systemlog")
if change == "columns":
    with table.update_schema() as schema:
        schema.add_column("note", StringType())
        schema.move_first("note")
        schema.move_after("eventType", "p_row_id")
elif change == "rows":
    rows = table.scan(limit=1).to_arrow().to_pylist()
    rows[0] |= {"p_row_id": "00" * 16, "note": "by hand", "eventType": "by.hand"}
    table.append(pa.Table.from_pylist(rows, schema=table.schema().as_arrow()))
elif change == "partitions":
    with table.update_spec() as spec:
        spec.add_field("eventType", IdentityTransform())
elif change == "rename":
    with table.update_schema() as schema:
        schema.rename_column("displayMessage", "words")
rows = table.refresh().scan().to_arrow().to_pylist()
words = [row.get("words") or row.get("displayMessage") for row in rows]
print(json.dumps({
    "rows": len(rows),
    "ids": len({row["p_row_id"] for row in rows}),
    "without": words.count(None),
    "notes": [row["note"] for row in rows if row.get("note")],
    "specs": sorted({task.file.spec_id for task in table.scan().plan_files()}),
}))
"#;

fn change(setup: &Setup, change: &str) -> Value {
    python::evaluate(CHANGE, &json!([setup.path("lake"), change]).to_string())
}

/// The next object is in the table.
async fn ingest(daemon: &Daemon<'_>, number: u32) {
    daemon.file(&format!("{number}.jsonl"), logins_of(&format!("{number}@example.com"), 10));
    let done = r#"margay_objects_total{source="local",state="committed"}"#;
    daemon.until(|daemon| daemon.metrics().get(done) == f64::from(number)).await;
}

fn search(setup: &Setup, sql: &str) -> Result<String, String> {
    let output = setup.margay(&["search", "--config", "margay.toml", "--format", "csv", sql]);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn margay_goes_on_with_a_table_that_another_engine_has_changed() {
    let setup = Setup::new().rule("Never", NEVER).watching_directory().configured(
        "[lake]\ntype = \"local\"\nflush_seconds = 1\nmaintain_seconds = 0\n[lake.local]\npath = \"lake\"\n",
    );
    let daemon = setup.start().await;
    ingest(&daemon, 1).await;
    let kinds = "SELECT eventType, note, count(*) AS n FROM okta_systemlog GROUP BY 1, 2 ORDER BY 1, 2";

    // Columns come and move.
    assert_eq!(change(&setup, "columns")["rows"], 10);
    ingest(&daemon, 2).await;
    assert_eq!(search(&setup, kinds).unwrap(), "eventType,note,n\r\nuser.session.start,,20\r\n");

    // Another writer's rows are in files of its own make.
    let after = change(&setup, "rows");
    assert_eq!((&after["rows"], &after["notes"]), (&json!(21), &json!(["by hand"])));
    let expected = "eventType,note,n\r\nby.hand,by hand,1\r\nuser.session.start,,20\r\n";
    assert_eq!(search(&setup, kinds).unwrap(), expected);

    // Margay goes on with the partitions that it can follow, and merges what is in these.
    change(&setup, "partitions");
    ingest(&daemon, 3).await;
    let maintained = setup.margay(&["lake", "maintain", "--config", "margay.toml"]);
    assert!(maintained.status.success(), "{}", String::from_utf8_lossy(&maintained.stderr));
    let after = change(&setup, "nothing");
    assert_eq!((&after["rows"], &after["ids"], &after["specs"]), (&json!(31), &json!(31), &json!([0])));
    assert_eq!(after["notes"], json!(["by hand"]), "what margay does not know is merged, too");
    assert_eq!(search(&setup, kinds).unwrap(), expected.replace("20", "30"));

    // A renamed column would be read wrongly, so it is not. Nothing of what comes is lost.
    change(&setup, "rename");
    ingest(&daemon, 4).await;
    let refused = search(&setup, "SELECT count(*) FROM okta_systemlog").unwrap_err();
    assert!(refused.contains("column `words` was called `displayMessage` before"), "{refused}");
    let maintained = setup.margay(&["lake", "maintain", "--config", "margay.toml"]);
    assert!(maintained.status.success(), "{}", String::from_utf8_lossy(&maintained.stderr));
    let after = change(&setup, "nothing");
    assert_eq!((&after["rows"], &after["ids"], &after["without"]), (&json!(41), &json!(41), &json!(0)));
}
