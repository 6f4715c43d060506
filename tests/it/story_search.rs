//! Searches through the API of a daemon at work: what was ingested is found, by SQL, by a saved query and by indicator, also
//! when the daemon has been started anew in between.

use serde_json::{Value, json};

use crate::daemon::{Daemon, Setup};
use crate::events::logins_of;

const TOKEN: &str = "a-token-of-these-stories";

const SAVED: &str = "AnalysisType: saved_query\nQueryName: Who logs in\nTags: [okta]\nQuery: |\n  \
                     SELECT actor:alternateId AS who, COUNT_IF(outcome:result = 'SUCCESS') AS logins\n  \
                     FROM panther_logs.public.okta_systemlog\n  \
                     WHERE p_occurs_since('1 day') GROUP BY who ORDER BY logins DESC\n";

fn setup() -> Setup {
    Setup::new().watching_directory().with_variable("ANALYST", TOKEN).configured(
        "[[http.tokens]]\nname = \"analyst\"\ntoken = \"env:ANALYST\"\n\
         [lake]\ntype = \"local\"\nflush_seconds = 1\nmaintain_seconds = 0\n[lake.local]\npath = \"lake\"\n\
         [search]\npath = \"search\"\n",
    )
}

fn ask(daemon: &Daemon<'_>, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (status, text) = daemon.ask(method, path, TOKEN, &body);
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{method} {path}: {text}")))
}

/// The record of a query that has ended, and its rows.
fn found(daemon: &Daemon<'_>, submission: &Value) -> (Value, Value) {
    let (status, record) = ask(daemon, "POST", "/api/v1/search", submission);
    assert_eq!(status, 202, "{record}");
    let path = format!("/api/v1/search/{}", record["id"].as_str().unwrap());
    let (_, record) = ask(daemon, "GET", &format!("{path}?wait=20"), &Value::Null);
    assert_eq!(record["status"], "succeeded", "{record}");
    let (_, page) = ask(daemon, "GET", &format!("{path}/rows"), &Value::Null);
    (record, page["rows"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_ingested_is_found_through_the_api() {
    let setup = setup();
    std::fs::write(setup.path("rules").join("saved.yml"), SAVED).unwrap();
    setup.file("a.jsonl", logins_of("ana@example.com", 30));
    setup.file("b.jsonl", logins_of("bob@example.com", 2));
    let mut daemon = setup.start().await;
    daemon
        .until(|daemon| daemon.metrics().get(r#"margay_objects_total{source="local",state="committed"}"#) == 2.0)
        .await;

    let who = json!([{ "who": "ana@example.com", "logins": 30 }, { "who": "bob@example.com", "logins": 2 }]);
    let submission = json!({ "saved": "Who logs in", "referenceTime": "2026-01-15T12:00:00Z" });
    let (record, rows) = found(&daemon, &submission);
    assert_eq!(rows, who);
    assert!(record["bytesRead"].as_u64().unwrap() > 0 && record["warnings"] == json!([]), "{record}");
    let (_, hits) = found(&daemon, &json!({ "indicators": "198.51.100[.]7", "since": "2026-01-01T00:00:00Z" }));
    assert_eq!((&hits[0]["table_name"], &hits[0]["hits"]), (&json!("okta_systemlog"), &json!(32)));
    let (record, _) = found(&daemon, &json!({ "sql": "SELECT uuid FROM okta_systemlog WHERE severity = 'INFO'" }));
    assert!(record["warnings"][0].as_str().unwrap().contains("no condition on time"), "{record}");
    assert_eq!(daemon.metrics().get(r#"margay_search_queries_total{outcome="succeeded"}"#), 3.0);

    // Another life of the daemon has the answers of this one.
    daemon.signal("TERM");
    assert!(daemon.ended().success());
    drop(daemon);
    let daemon = setup.start().await;
    let (_, listed) = ask(&daemon, "GET", "/api/v1/search?name=Who%20logs%20in", &Value::Null);
    let id = listed["queries"][0]["id"].as_str().unwrap();
    let (_, page) = ask(&daemon, "GET", &format!("/api/v1/search/{id}/rows"), &Value::Null);
    assert_eq!(page["rows"], who);

    // The command finds the same.
    let output = setup.margay(&[
        "search",
        "--config",
        "margay.toml",
        "--saved",
        "Who logs in",
        "--at",
        "2026-01-15T12:00:00Z",
        "--format",
        "csv",
    ]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "who,logins\r\nana@example.com,30\r\nbob@example.com,2\r\n");
    let output = setup.margay(&["search", "--config", "margay.toml", "--list-saved"]);
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("Who logs in\t"));
}
