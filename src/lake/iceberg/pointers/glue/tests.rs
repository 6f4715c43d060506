//! Glue as it refuses: the API server of the other tests does not look at versions, so a small one here does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_credential_types::Credentials;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use iceberg::spec::{FormatVersion, SortOrder};
use iceberg::spec::{NestedField, PrimitiveType, Schema, TableMetadataBuilder, Type, UnboundPartitionSpec};

use super::*;
use crate::runtime::{SystemClock, Tasks};

/// One table and its version.
struct Stand {
    table: Mutex<Value>,
    /// Somebody else commits before the next update comes.
    overtakes: AtomicU32,
    /// Calls that the server is too busy for.
    busy: AtomicU32,
}

async fn answer(State(stand): State<Arc<Stand>>, headers: HeaderMap, body: String) -> (StatusCode, String) {
    assert!(headers["authorization"].to_str().unwrap().contains("/us-east-1/glue/aws4_request"));
    if take_one(&stand.busy) {
        return (StatusCode::SERVICE_UNAVAILABLE, String::new());
    }
    let input: Value = serde_json::from_str(&body).unwrap();
    let mut table = stand.table.lock().unwrap();
    match headers["x-amz-target"].to_str().unwrap() {
        "AWSGlue.GetTable" if input["Name"] == table["Name"] => {
            (StatusCode::OK, json!({ "Table": *table }).to_string())
        }
        "AWSGlue.GetTable" => refusal("EntityNotFoundException"),
        "AWSGlue.UpdateTable" => {
            let version = |of: &Value| of["VersionId"].as_str().unwrap().parse::<u64>().unwrap();
            if take_one(&stand.overtakes) {
                table["VersionId"] = json!((version(&table) + 1).to_string());
            }
            assert_eq!(input["SkipArchive"], true);
            if version(&input) != version(&table) {
                return refusal("ConcurrentModificationException");
            }
            let next = version(&table) + 1;
            *table = input["TableInput"].clone();
            table["VersionId"] = json!(next.to_string());
            (StatusCode::OK, "{}".to_owned())
        }
        other => panic!("{other}"),
    }
}

fn take_one(count: &AtomicU32) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1)).is_ok()
}

fn refusal(kind: &str) -> (StatusCode, String) {
    let body = json!({ "__type": format!("com.amazonaws.glue#{kind}"), "Message": "no" });
    (StatusCode::BAD_REQUEST, body.to_string())
}

fn id(name: &str) -> TableId {
    TableId { namespace: "margay_logs".into(), name: name.into() }
}

async fn stand() -> (Arc<Stand>, GluePointers, Tasks) {
    let table = json!({
        "Name": "t", "DatabaseName": "margay_logs", "VersionId": "7", "Description": "kept", "CreatedBy": "somebody",
        "Parameters": { "table_type": "iceberg", "metadata_location": "a", "comment": "kept too" },
    });
    let stand = Arc::new(Stand { table: Mutex::new(table), overtakes: AtomicU32::new(0), busy: AtomicU32::new(0) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let routes = axum::Router::new().fallback(answer).with_state(stand.clone());
    let tasks = Tasks::new();
    tasks.spawn(async move { axum::serve(listener, routes).await.unwrap() });
    let credentials = SharedCredentialsProvider::new(Credentials::new("AKIA", "secret", None, None, "tests"));
    let access = GlueAccess { endpoint: Some(endpoint), region: "us-east-1".into(), credentials, account: None };
    let pointers = GluePointers::new(access, "margay_", Arc::new(SystemClock)).unwrap();
    (stand, pointers, tasks)
}

fn metadata() -> TableMetadata {
    let long = "x".repeat(300);
    let fields = [
        NestedField::optional(1, "at", Type::Primitive(PrimitiveType::Timestamp)).with_doc("two\nlines"),
        NestedField::optional(2, "n", Type::Primitive(PrimitiveType::Long)).with_doc(long),
    ];
    let schema = Schema::builder().with_fields(fields.map(Into::into)).build().unwrap();
    let order = SortOrder::unsorted_order();
    let spec = UnboundPartitionSpec::default();
    let builder = TableMetadataBuilder::new(schema, spec, order, "s3://b/t".into(), FormatVersion::V2, HashMap::new());
    builder.unwrap().build().unwrap().metadata
}

#[tokio::test]
async fn a_pointer_moves_from_the_version_that_was_looked_at() {
    let (stand, pointers, _tasks) = stand().await;
    assert_eq!(pointers.get(&id("t")).await.unwrap().as_deref(), Some("a"));
    assert_eq!(pointers.get(&id("none")).await.unwrap(), None);
    assert!(pointers.swap(&id("t"), "a", "b", &metadata()).await.unwrap());
    assert!(!pointers.swap(&id("t"), "a", "c", &metadata()).await.unwrap(), "it has moved on");
    stand.overtakes.store(1, Ordering::SeqCst);
    assert!(!pointers.swap(&id("t"), "b", "c", &metadata()).await.unwrap(), "another came in between");
    assert!(pointers.swap(&id("t"), "b", "c", &metadata()).await.unwrap());
    let table = stand.table.lock().unwrap().clone();
    assert_eq!(table["Parameters"]["metadata_location"], "c");
    assert_eq!(table["Parameters"]["previous_metadata_location"], "b");
    assert_eq!((&table["Description"], &table["Parameters"]["comment"]), (&json!("kept"), &json!("kept too")));
    assert_eq!(table["CreatedBy"], Value::Null, "what Glue makes itself is not sent back");
    let columns = &table["StorageDescriptor"]["Columns"];
    assert_eq!((&columns[0]["Type"], &columns[0]["Comment"]), (&json!("timestamp"), &json!("twolines")));
    assert_eq!((&columns[1]["Type"], columns[1]["Comment"].as_str().unwrap().len()), (&json!("bigint"), 255));
}

#[tokio::test]
async fn a_busy_server_is_asked_again_and_an_update_only_once() {
    let (stand, pointers, _tasks) = stand().await;
    stand.busy.store(2, Ordering::SeqCst);
    assert_eq!(pointers.get(&id("t")).await.unwrap().as_deref(), Some("a"));
    let update = json!({ "DatabaseName": "margay_logs", "TableInput": {}, "SkipArchive": true, "VersionId": "7" });
    stand.busy.store(1, Ordering::SeqCst);
    let Err(refusal) = pointers.call("UpdateTable", update, false).await else { panic!("the server was busy") };
    assert!(refusal.to_string().contains("503"), "{refusal}");
    assert_eq!(stand.busy.load(Ordering::SeqCst), 0);
    assert_eq!(pointers.get(&id("t")).await.unwrap().as_deref(), Some("a"));
}

#[tokio::test]
async fn a_table_that_is_no_iceberg_table_is_left_alone() {
    let (stand, pointers, _tasks) = stand().await;
    stand.table.lock().unwrap()["Parameters"]["table_type"] = json!("EXTERNAL_TABLE");
    let refused = pointers.get(&id("t")).await.unwrap_err().to_string();
    assert!(refused.contains("namespace_prefix"), "{refused}");
    assert!(pointers.swap(&id("t"), "a", "b", &metadata()).await.is_err());
}
