//! Searches over the router: tables of the shipped log types without rows, and queries that bring their own.

use std::net::SocketAddr;

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use tower::ServiceExt;

use super::*;
use crate::http::{Findings, Readiness};
use crate::logtype::Registry;
use crate::model::{SavedQuery, Secret};
use crate::runtime::SystemClock;
use crate::search::dry::DryTables;
use crate::search::saved::Saved;
use crate::search::{Config, Search};
use crate::state::fixtures::{START, matched, matches, object, rule};
use crate::state::memory::MemoryState;
use crate::state::{AlertStore, Claim, Ledger};
use crate::telemetry::{self, Telemetry};

const ANA: &str = "a-token-of-these-tests";
const BOB: &str = "another-token-of-these";

struct Server {
    app: Router,
    state: Arc<MemoryState>,
    _folder: tempfile::TempDir,
    _subscriber: Box<dyn std::any::Any>,
}

async fn server() -> Server {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { path: folder.path().join("search"), threads: 1, ..Config::default() };
    let registry = Registry::built_in();
    let tables = DryTables::new("margay_", registry.schemas());
    let search = Search::new(Arc::new(tables), config.limits());
    let saved = Saved::new(|| {
        let sql = "SELECT p_current_timestamp() AS at".to_owned();
        vec![SavedQuery {
            name: "The time".into(),
            description: None,
            tags: vec!["a".into()],
            sql,
            is_scheduled: true,
            schedule: Some("every 60 minutes".into()),
            is_enabled: true,
        }]
    });
    let queries = Queries::open(&config, search, saved, Arc::new(SystemClock), Telemetry::new()).await.unwrap();
    let (subscriber, log) = telemetry::build(&telemetry::Config::default(), false, false, std::io::sink).unwrap();
    let tokens = [("ana", ANA), ("bob", BOB)].map(|(name, token)| (name.to_owned(), Secret::new(token)));
    let api = Api::new(Access::new(tokens.to_vec(), false).unwrap());
    let state = Arc::new(MemoryState::new());
    api.open(Desk {
        state: state.clone(),
        receivers: watch::channel(Vec::new().into()).1,
        clock: Arc::new(SystemClock),
        wake: Arc::default(),
        search: Some(queries),
        attributes: Arc::new(|_| Vec::new()),
    });
    let surface =
        Surface { readiness: Readiness::new(), findings: Findings::default(), telemetry: Telemetry::new(), log, api };
    let peer: SocketAddr = "10.0.0.1:1".parse().unwrap();
    let app = crate::http::router(surface).layer(axum::Extension(ConnectInfo(peer)));
    Server { app, state, _folder: folder, _subscriber: Box::new(subscriber) }
}

impl Server {
    async fn text(&self, method: &str, path: &str, body: Option<Value>, token: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).header("host", "margay");
        let request = request.header("authorization", format!("Bearer {token}"));
        let request = request.header("content-type", "application/json");
        let body = body.map_or(Body::empty(), |body| Body::from(body.to_string()));
        let answer = self.app.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let bytes = to_bytes(answer.into_body(), 10_000_000).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let (status, text) = self.text(method, path, body, ANA).await;
        (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{method} {path}: {text}")))
    }

    /// The record of a query that has ended.
    async fn done(&self, submission: Value) -> Value {
        let (status, record) = self.ask("POST", "/api/v1/search", Some(submission)).await;
        assert_eq!(status, 202, "{record}");
        let path = format!("/api/v1/search/{}?wait=20", record["id"].as_str().unwrap());
        let (_, record) = self.ask("GET", &path, None).await;
        assert!(record["endedAt"].is_string(), "{record}");
        record
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_paged_and_downloaded() {
    let server = server().await;
    let sql = "SELECT * FROM (VALUES (1, '=1+1'), (2, 'a,b'), (3, NULL)) AS t(n, text)";
    let record = server.done(json!({ "sql": sql })).await;
    assert_eq!((&record["status"], &record["rows"], &record["user"]), (&json!("succeeded"), &json!(3), &json!("ana")));
    assert_eq!(record["columns"], json!([{ "name": "n", "type": "bigint" }, { "name": "text", "type": "string" }]));
    let path = format!("/api/v1/search/{}", record["id"].as_str().unwrap());
    let (mut next, mut rows) = (format!("{path}/rows?pageSize=2"), Vec::new());
    loop {
        let (status, page) = server.ask("GET", &next, None).await;
        assert_eq!(status, 200, "{page}");
        rows.extend(page["rows"].as_array().unwrap().clone());
        let Some(cursor) = page["next"].as_str() else { break };
        next = format!("{path}/rows?pageSize=2&cursor={cursor}");
    }
    assert_eq!(rows, [json!({"n":1,"text":"=1+1"}), json!({"n":2,"text":"a,b"}), json!({"n":3,"text":null})]);
    let (_, lines) = server.text("GET", &format!("{path}/download"), None, ANA).await;
    assert_eq!(lines.lines().next(), Some(r#"{"n":1,"text":"=1+1"}"#));
    let (_, csv) = server.text("GET", &format!("{path}/download?format=csv"), None, ANA).await;
    assert_eq!(csv, "n,text\r\n1,'=1+1\r\n2,\"a,b\"\r\n3,\r\n");
    for (query, status) in [("rows?cursor=1", 400), ("rows?pageSize=0", 400), ("download?format=xml", 400)] {
        assert_eq!(server.ask("GET", &format!("{path}/{query}"), None).await.0, status, "{query}");
    }
    assert_eq!(server.ask("DELETE", &path, None).await.1["hasRows"], false);
    assert_eq!(server.ask("GET", &format!("{path}/rows"), None).await.0, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_things_is_asked_for() {
    let server = server().await;
    let record = server.done(json!({ "saved": "The time", "referenceTime": "2026-01-02T03:04:05Z" })).await;
    assert_eq!((&record["origin"], &record["name"]), (&json!("saved"), &json!("The time")));
    let path = format!("/api/v1/search/{}/rows", record["id"].as_str().unwrap());
    assert_eq!(server.ask("GET", &path, None).await.1["rows"], json!([{ "at": "2026-01-02T03:04:05" }]));
    let record = server.done(json!({ "indicators": "10[.]0.0.1 evil.example" })).await;
    assert_eq!((&record["status"], &record["origin"]), (&json!("succeeded"), &json!("indicators")), "{record}");
    let events = json!({ "indicators": "10.0.0.1", "table": "aws_cloudtrail", "since": "2026-01-01T00:00:00Z" });
    assert_eq!(server.done(events).await["status"], "succeeded");
    for (body, said) in [
        (json!({}), "give one of"),
        (json!({ "sql": "SELECT 1", "saved": "x" }), "give one of"),
        (json!({ "sql": "DROP TABLE x" }), "`DROP` is not run here"),
        (json!({ "sql": "SELECT 1 FROM" }), "line 1, column "),
        (json!({ "sql": "SELECT 1", "since": "2026-01-01T00:00:00Z" }), "are for `indicators`"),
        (json!({ "saved": "The tim" }), "did you mean `The time`?"),
        (json!({ "indicators": " " }), "no value to look for"),
        (json!({ "query": "SELECT 1" }), "unknown field"),
    ] {
        let (status, answer) = server.ask("POST", "/api/v1/search", Some(body.clone())).await;
        assert_eq!(status, 400, "{body}");
        assert!(answer["error"].as_str().unwrap().contains(said), "{body}: {answer}");
    }
    let (_, saved) = server.ask("GET", "/api/v1/search/saved", None).await;
    assert_eq!((&saved["queries"][0]["name"], &saved["queries"][0]["isScheduled"]), (&json!("The time"), &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_is_listed() {
    let server = server().await;
    for sql in ["SELECT 1 AS a", "SELECT 2 AS b", "SELECT nope"] {
        server.done(json!({ "sql": sql })).await;
    }
    let (_, bobs) = server.text("POST", "/api/v1/search", Some(json!({ "sql": "SELECT 3 AS c" })), BOB).await;
    let bobs: Value = serde_json::from_str(&bobs).unwrap();
    let list = async |query: &str| {
        let (status, page) = server.ask("GET", &format!("/api/v1/search?{query}"), None).await;
        assert_eq!(status, 200, "{page}");
        let sql = |query: &Value| query["sql"].as_str().unwrap().to_owned();
        let found: Vec<String> = page["queries"].as_array().unwrap().iter().map(sql).collect();
        (found, page["next"].as_str().map(str::to_owned))
    };
    assert_eq!(list("status=failed").await.0, ["SELECT nope"]);
    assert_eq!(list("contains=as+A").await.0, ["SELECT 1 AS a"]);
    let (mut found, next) = list("pageSize=2").await;
    found.extend(list(&format!("pageSize=2&cursor={}", next.unwrap())).await.0);
    found.sort();
    assert_eq!(found, ["SELECT 1 AS a", "SELECT 2 AS b", "SELECT nope"]);
    let path = format!("/api/v1/search/{}", bobs["id"].as_str().unwrap());
    for (method, part) in [("GET", ""), ("GET", "?wait=20"), ("GET", "/rows"), ("GET", "/download"), ("DELETE", "")] {
        let (status, answer) = server.ask(method, &format!("{path}{part}"), None).await;
        assert_eq!(status, 404, "{method} {part} of another's query: {answer}");
    }
    let (status, record) = server.text("GET", &format!("{path}?wait=20"), None, BOB).await;
    assert!(status == 200 && record.contains("succeeded"), "its own goes on for bob: {record}");
    for wrong in ["status=done", "colour=red", "user=bob", "submittedAfter=now"] {
        assert_eq!(server.ask("GET", &format!("/api/v1/search?{wrong}"), None).await.0, 400, "{wrong}");
    }
    assert_eq!(server.ask("GET", "/api/v1/search/0123456789abcdef0123", None).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_columns_are_listed() {
    let server = server().await;
    let databases = "/api/v1/search/databases";
    let (_, found) = server.ask("GET", databases, None).await;
    let found = found["databases"].as_array().unwrap();
    assert!(["margay_logs", "margay_rule_matches"].iter().all(|name| found.contains(&json!(name))), "{found:?}");
    let (_, tables) = server.ask("GET", &format!("{databases}/margay_logs/tables"), None).await;
    assert!(tables["tables"].as_array().unwrap().contains(&json!("aws_cloudtrail")), "{tables}");
    let (_, columns) = server.ask("GET", &format!("{databases}/margay_logs/tables/aws_cloudtrail"), None).await;
    let columns = columns["columns"].as_array().unwrap();
    assert!(columns.contains(&json!({ "name": "p_event_time", "type": "timestamp" })), "{columns:?}");
    assert!(columns.contains(&json!({ "name": "p_any_ip_addresses", "type": "array<string>" })), "{columns:?}");
    assert_eq!(server.ask("GET", &format!("{databases}/none/tables"), None).await.0, 404);
    let (status, answer) = server.ask("GET", &format!("{databases}/margay_logs/tables/aws_cloudtrial"), None).await;
    assert_eq!(status, 404);
    assert!(answer["error"].as_str().unwrap().contains("aws_cloudtrail"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_without_a_token() {
    let server = server().await;
    for (method, path) in [
        ("GET", "/api/v1/search"),
        ("POST", "/api/v1/search"),
        ("GET", "/api/v1/search/saved"),
        ("GET", "/api/v1/search/databases"),
        ("GET", "/api/v1/search/x/rows"),
        ("GET", "/api/v1/search/x/download"),
        ("DELETE", "/api/v1/search/x"),
    ] {
        assert_eq!(server.text(method, path, None, "wrong").await.0, 401, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_attributes_of_an_alert_are_a_search_that_leaves_no_rows() {
    let server = server().await;
    let claim = server.state.claim(&object("k"), "s", None, START, START + time::Duration::HOUR).await.unwrap();
    let Claim::Granted(token, _) = claim else { panic!("{claim:?}") };
    let found = matches([matched(&Arc::new(rule("r")), 1)]);
    let id = server.state.record(&token, &found, &[], START).await.unwrap().opened.remove(0).id;
    let path = format!("/api/v1/alerts/{id}/attributes");
    // The tables have no rows.
    let nothing = json!({ "events": 0, "isCut": false, "attributes": [] });
    for query in ["", "?attribute=eventName&attribute=client:ip"] {
        assert_eq!(server.ask("GET", &format!("{path}{query}"), None).await, (200, nothing.clone()), "{query}");
    }
    let (_, asked) = server.ask("GET", "/api/v1/search", None).await;
    let asked = asked["queries"].as_array().unwrap();
    assert!(asked.len() == 2 && asked.iter().all(|one| one["hasRows"] == false && one["user"] == "ana"), "{asked:?}");
    assert_eq!(server.ask("GET", &format!("{path}?by=x"), None).await.0, 400);
    assert_eq!(server.ask("GET", "/api/v1/alerts/none/attributes", None).await.0, 404);
}
