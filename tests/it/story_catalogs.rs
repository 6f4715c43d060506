//! The lake as it is in production: catalogs that many daemons share, files in S3. pyiceberg opens the same tables through
//! the same catalogs, and its counts are those that count.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::aws::{Aws, Channel, Logs, REGION, python};
use crate::daemon::{Daemon, Setup};
use crate::events::logins_of;
use crate::postgres::server as postgres;
use crate::rest::server as rest;

const NEVER: &str = "def rule(event):\n    return False\n";

/// The table of a namespace as pyiceberg reads it through a catalog.
const READ: &str = r#"
import json, sys
from pyiceberg.catalog import load_catalog
asked = json.load(sys.stdin)
catalog = load_catalog("margay", **asked["catalog"])
[table] = [catalog.load_table(name) for name in catalog.list_tables(asked["namespace"])]
rows = table.scan().to_arrow()
history = sorted(table.snapshots(), key=lambda snapshot: snapshot.sequence_number)
print(json.dumps({
    "name": ".".join(table.name()),
    "location": table.location(),
    "ids": rows.column("p_row_id").to_pylist(),
    "mails": sorted({actor["alternateId"] for actor in rows.column("actor").to_pylist()}),
    "operations": [snapshot.summary.operation.value for snapshot in history],
    "totals": [snapshot.summary.additional_properties["total-records"] for snapshot in history],
    "columns": [field.name for field in table.schema().fields],
}))
"#;

fn read(catalog: &Value, namespace: &str) -> Value {
    let asked = json!({ "catalog": catalog, "namespace": namespace });
    python::evaluate(READ, &asked.to_string())
}

fn assert_once(table: &Value, expected: usize) {
    let ids: Vec<&str> = table["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    let distinct: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!((ids.len(), distinct.len()), (expected, expected));
    assert_eq!(table["totals"].as_array().unwrap().last().unwrap(), &json!(expected.to_string()));
}

/// How pyiceberg reaches the files.
fn s3(aws: &Aws) -> Value {
    json!({
        "s3.endpoint": aws.endpoint,
        "s3.region": REGION,
        "s3.access-key-id": "AKIAMARGAYTESTS",
        "s3.secret-access-key": "secret",
        "s3.force-virtual-addressing": "false",
    })
}

fn with(mut catalog: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("properties are an object") };
    catalog.as_object_mut().unwrap().extend(more);
    catalog
}

fn lake(kind: &str, bucket: &str, more: &str) -> String {
    format!(
        "[lake]\ntype = \"{kind}\"\nwarehouse = \"s3://{bucket}/lake\"\nflush_seconds = 1\n{more}\
         [lake.s3]\npath_style = true\n"
    )
}

async fn put(logs: &Logs, objects: usize, events: usize) {
    for object in 0..objects {
        let name = format!("{object}@example.com");
        logs.put_gz(&format!("okta/{object}.json.gz"), logins_of(&name, events)).await;
    }
}

/// Waits until everything is acknowledged.
async fn done(logs: &Logs) {
    let empty = async {
        while logs.depth().await > 0 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(90), empty).await.expect("every message is done with");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_share_tables_in_postgresql_and_s3() {
    const OBJECTS: usize = 12;
    const EVENTS: usize = 100;
    let aws = Aws::start().await;
    let (logs, bucket) = (aws.bucket_announced_by(Channel::Sqs).await, aws.bucket().await);
    let url = postgres::empty_schema().await;
    let setup = Setup::new().rule("Never", NEVER).reading_sqs(&aws, &logs).configured(&format!(
        "[state]\ntype = \"postgres\"\n[state.postgres]\nurl = \"{url}\"\n{}",
        lake("postgres", &bucket, "maintain_seconds = 2\n")
    ));
    let (one, other) = (setup.start().await, setup.start().await);
    put(&logs, OBJECTS, EVENTS).await;
    done(&logs).await;

    let (address, schema) = (&postgres::server().address, url.rsplit('=').next().unwrap());
    let owner = postgres::OWNER;
    let uri = format!("postgresql+psycopg2://{owner}@{address}/postgres?options=-csearch_path%3D{schema}");
    let catalog = with(json!({ "type": "sql", "uri": uri, "warehouse": format!("s3://{bucket}/lake") }), s3(&aws));
    let table = read(&catalog, "margay_logs");
    assert_once(&table, OBJECTS * EVENTS);
    assert_eq!(table["mails"].as_array().unwrap().len(), OBJECTS);
    assert_eq!(table["location"], format!("s3://{bucket}/lake/margay_logs/okta_systemlog"));

    // Upkeep of either of them goes on meanwhile, and of nobody twice.
    let merged = |daemon: &Daemon<'_>| daemon.metrics().get("margay_lake_files_merged_total");
    one.until(|one| merged(one) + merged(&other) > 0.0).await;
    let after = read(&catalog, "margay_logs");
    assert_once(&after, OBJECTS * EVENTS);
    assert!(after["operations"].as_array().unwrap().contains(&json!("replace")), "{}", after["operations"]);

    let search = |sql: &str| {
        let output = setup.margay(&["search", "--config", "margay.toml", "--format", "csv", sql]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let counted = search("SELECT count(*) AS n, count(DISTINCT p_row_id) AS ids FROM okta_systemlog");
    assert_eq!(counted, format!("n,ids\r\n{0},{0}\r\n", OBJECTS * EVENTS));
    let needle = "SELECT count(*) AS n FROM okta_systemlog WHERE array_has(p_any_ip_addresses, '198.51.100.7') \
                  AND actor.alternateId = '7@example.com' AND p_occurs_on('2026-01-15')";
    assert_eq!(search(needle), format!("n\r\n{EVENTS}\r\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_leaves_whole_tables_in_s3() {
    const LIVES: usize = 4;
    const EVENTS: usize = 100;
    let aws = Aws::start().await;
    let (logs, bucket) = (aws.bucket_announced_by(Channel::Sqs).await, aws.bucket().await);
    let url = postgres::empty_schema().await;
    let setup = Setup::new().rule("Never", NEVER).reading_sqs(&aws, &logs).configured(&format!(
        "[state]\ntype = \"postgres\"\n[state.postgres]\nurl = \"{url}\"\n{}",
        lake("postgres", &bucket, "maintain_seconds = 0\n")
    ));
    for life in 0..LIVES {
        let mut daemon = setup.start().await;
        let name = format!("{life}@example.com");
        logs.put_gz(&format!("okta/killed-{life}.json.gz"), logins_of(&name, EVENTS)).await;
        // Each ends a little further on the way to the commit, which comes after a second.
        tokio::time::sleep(Duration::from_millis(400 * (life as u64 + 1))).await;
        daemon.signal("KILL");
        daemon.ended();
    }
    let daemon = setup.start().await;
    let (address, schema) = (&postgres::server().address, url.rsplit('=').next().unwrap());
    let uri = format!("postgresql+psycopg2://{}@{address}/postgres?options=-csearch_path%3D{schema}", postgres::OWNER);
    let catalog = with(json!({ "type": "sql", "uri": uri, "warehouse": "s3://none" }), s3(&aws));
    let expected = LIVES * EVENTS;
    daemon.until(|_| read(&catalog, "margay_logs")["ids"].as_array().unwrap().len() >= expected).await;
    done(&logs).await;
    assert_once(&read(&catalog, "margay_logs"), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_in_glue_are_read_by_others() {
    let aws = Aws::start().await;
    let (logs, bucket) = (aws.bucket_announced_by(Channel::Sqs).await, aws.bucket().await);
    let lake = lake("glue", &bucket, "maintain_seconds = 0\nnamespace_prefix = \"story_\"\n");
    let setup = Setup::new().rule("Never", NEVER).reading_sqs(&aws, &logs).configured(&lake);
    let _daemon = setup.start().await;
    put(&logs, 3, 20).await;
    done(&logs).await;
    let glue = json!({
        "type": "glue",
        "glue.endpoint": aws.endpoint,
        "glue.region": REGION,
        "glue.access-key-id": "AKIAMARGAYTESTS",
        "glue.secret-access-key": "secret",
    });
    let catalog = with(glue, s3(&aws));
    assert_once(&read(&catalog, "story_logs"), 60);
    let maintained = setup.margay(&["lake", "maintain", "--config", "margay.toml"]);
    assert!(maintained.status.success(), "{}", String::from_utf8_lossy(&maintained.stderr));
    assert_once(&read(&catalog, "story_logs"), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_behind_a_rest_server_are_read_by_others() {
    let folder = tempfile::tempdir().unwrap();
    let server = tokio::task::block_in_place(|| rest::Server::start(folder.path(), "{}"));
    let setup = Setup::new().rule("Never", NEVER).watching_directory().with_variable("TOKEN", rest::TOKEN);
    let setup = setup.configured(&format!(
        "[lake]\ntype = \"rest\"\nwarehouse = \"{}\"\nflush_seconds = 1\nmaintain_seconds = 0\n\
         [lake.rest]\nuri = \"{}\"\ntoken = \"env:TOKEN\"\n",
        folder.path().display(),
        server.uri
    ));
    let daemon = setup.start().await;
    for object in 0..3 {
        setup.file(&format!("{object}.jsonl"), logins_of(&format!("{object}@example.com"), 20));
        let done = r#"margay_objects_total{source="local",state="committed"}"#;
        daemon.until(|daemon| daemon.metrics().get(done) == f64::from(object + 1)).await;
    }
    let catalog = json!({ "type": "rest", "uri": server.uri, "credential": rest::CREDENTIAL });
    let table = read(&catalog, "margay_logs");
    assert_once(&table, 60);
    assert_eq!(table["operations"], json!(["append", "append", "append"]));
    let maintained = setup.margay(&["lake", "maintain", "--config", "margay.toml"]);
    assert!(maintained.status.success(), "{}", String::from_utf8_lossy(&maintained.stderr));
    let table = read(&catalog, "margay_logs");
    assert_once(&table, 60);
    assert_eq!(table["operations"].as_array().unwrap().last().unwrap(), "replace");
}
