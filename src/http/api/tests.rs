//! The API over the router, with the state store in memory.

use std::net::SocketAddr;

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::http::{Findings, Readiness};
use crate::model::{News, Secret, Taken};
use crate::runtime::Clock;
use crate::state::fixtures::{START, matched, matches, object, rule};
use crate::state::memory::MemoryState;
use crate::state::{AlertStore, Claim, Fact, Ledger, Notices, Outbox};
use crate::telemetry::{self, Telemetry};

const TOKEN: &str = "a-token-of-these-tests";

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> time::OffsetDateTime {
        START
    }
}

struct Server {
    app: Router,
    state: Arc<MemoryState>,
    _subscriber: Box<dyn std::any::Any>,
}

/// With three alerts, of which the first went to `slack`; their ids.
async fn server() -> (Server, Vec<String>) {
    let state = Arc::new(MemoryState::new());
    let claim = state.claim(&object("k"), "s", None, START, START + time::Duration::HOUR).await.unwrap();
    let Claim::Granted(token, _) = claim else { panic!("{claim:?}") };
    let mut ids = Vec::new();
    for row in [1, 2, 3] {
        let now = START + time::Duration::seconds(row.into());
        let to: &[Receiver] = if row == 1 { &[Receiver::accepting_all("slack")] } else { &[] };
        let found = matches([matched(&Arc::new(rule(&format!("r{row}"))), row)]);
        ids.push(state.record(&token, &found, to, now).await.unwrap().opened.remove(0).id);
    }
    let (subscriber, log) = telemetry::build(&telemetry::Config::default(), false, false, std::io::sink).unwrap();
    let access = Access::new(vec![("analyst".into(), Secret::new(TOKEN))], false).unwrap();
    let api = Api::new(access);
    api.open(Desk {
        state: state.clone(),
        receivers: tokio::sync::watch::channel(["slack", "pager"].map(Receiver::accepting_all).to_vec().into()).1,
        clock: Arc::new(Fixed),
        wake: Arc::default(),
        search: None,
        attributes: Arc::new(|_| Vec::new()),
    });
    let surface =
        Surface { readiness: Readiness::new(), findings: Findings::default(), telemetry: Telemetry::new(), log, api };
    let peer: SocketAddr = "10.0.0.1:1".parse().unwrap();
    let app = crate::http::router(surface).layer(axum::Extension(ConnectInfo(peer)));
    (Server { app, state, _subscriber: Box::new(subscriber) }, ids)
}

impl Server {
    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        self.ask_with(method, path, body, TOKEN).await
    }

    async fn ask_with(&self, method: &str, path: &str, body: Option<Value>, token: &str) -> (u16, Value) {
        let request = Request::builder().method(method).uri(path).header("host", "margay");
        let request = request.header("authorization", format!("Bearer {token}"));
        let request = request.header("content-type", "application/json");
        let body = body.map_or(Body::empty(), |body| Body::from(body.to_string()));
        let answer = self.app.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let bytes = to_bytes(answer.into_body(), 1_000_000).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }
}

#[tokio::test]
async fn nothing_is_told_without_a_token() {
    let (server, ids) = server().await;
    let id = &ids[0];
    for (method, path) in [
        ("GET", "/api/v1/alerts".to_owned()),
        ("GET", "/api/v1/alerts/summary".to_owned()),
        ("GET", format!("/api/v1/alerts/{id}")),
        ("PATCH", format!("/api/v1/alerts/{id}")),
        ("GET", format!("/api/v1/alerts/{id}/history")),
        ("GET", format!("/api/v1/alerts/{id}/events")),
        ("POST", format!("/api/v1/alerts/{id}/deliveries")),
    ] {
        let (status, answer) = server.ask_with(method, &path, None, "wrong").await;
        assert_eq!((status, answer["error"].as_str()), (401, Some("the token is not known")), "{method} {path}");
    }
}

#[tokio::test]
async fn pages_of_a_list_hold_every_alert_once() {
    let (server, ids) = server().await;
    let (mut path, mut seen) = ("/api/v1/alerts?pageSize=2".to_owned(), Vec::new());
    loop {
        let (status, page) = server.ask("GET", &path, None).await;
        assert_eq!(status, 200, "{page}");
        seen.extend(page["alerts"].as_array().unwrap().iter().map(|alert| alert["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/alerts?pageSize=2&cursor={next}");
    }
    assert_eq!(seen, [ids[2].clone(), ids[1].clone(), ids[0].clone()]);
    let (_, one) = server.ask("GET", "/api/v1/alerts?rule=r2&status=OPEN", None).await;
    assert_eq!(one["alerts"].as_array().unwrap().len(), 1);
    assert_eq!(server.ask("GET", "/api/v1/alerts?colour=red", None).await.0, 400);
}

#[tokio::test]
async fn a_change_is_written_down_with_its_author() {
    let (server, ids) = server().await;
    let path = format!("/api/v1/alerts/{}", ids[0]);
    let change = json!({ "status": "TRIAGED", "assignee": "ana", "comment": "looking" });
    let (status, alert) = server.ask("PATCH", &path, Some(change)).await;
    assert_eq!((status, &alert["status"], &alert["assignee"]), (200, &json!("TRIAGED"), &json!("ana")));
    assert_eq!((&alert["comments"][0]["by"], &alert["comments"][0]["text"]), (&json!("analyst"), &json!("looking")));
    let (_, history) = server.ask("GET", &format!("{path}/history"), None).await;
    let fields: Vec<&str> =
        history["history"].as_array().unwrap().iter().map(|change| change["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["status", "assignee", "comment"]);

    let many = json!({ "ids": [ids[1], "none", ids[2]], "status": "CLOSED" });
    let (status, answer) = server.ask("PATCH", "/api/v1/alerts", Some(many)).await;
    assert_eq!((status, &answer["changed"]), (200, &json!([ids[1], ids[2]])));
    for (body, status) in [(json!({}), 400), (json!({ "status": "DONE" }), 400), (json!({ "colour": 1 }), 400)] {
        assert_eq!(server.ask("PATCH", &path, Some(body.clone())).await.0, status, "{body}");
    }
    assert_eq!(server.ask("PATCH", "/api/v1/alerts/none", Some(json!({ "comment": "x" }))).await.0, 404);
}

#[tokio::test]
async fn an_alert_is_sent_again() {
    let (server, ids) = server().await;
    server.state.delivered(&ids[0], "slack", News::Opened, &Taken::with(Some(200)), START).await.unwrap();
    let path = format!("/api/v1/alerts/{}/deliveries", ids[0]);
    let (status, answer) = server.ask("POST", &path, Some(json!({}))).await;
    assert_eq!((status, &answer["destinations"]), (202, &json!(["slack"])));
    assert_eq!(server.ask("POST", &path, Some(json!({ "destinations": ["pager"] }))).await.0, 202);
    assert_eq!(server.ask("POST", &path, Some(json!({ "destinations": ["nobody"] }))).await.0, 400);
    let lease = std::time::Duration::from_secs(60);
    for name in ["slack", "pager"] {
        let due = server.state.due(name, START, lease, 10).await.unwrap();
        assert_eq!(due.iter().map(|pending| pending.resent).collect::<Vec<_>>(), [1], "{name}");
    }
    let nowhere = format!("/api/v1/alerts/{}/deliveries", ids[1]);
    assert_eq!(server.ask("POST", &nowhere, Some(json!({}))).await.0, 400);
}

#[tokio::test]
async fn the_events_of_an_alert_come_in_pages() {
    let (server, ids) = server().await;
    let path = format!("/api/v1/alerts/{}/events?pageSize=1", ids[0]);
    let (status, page) = server.ask("GET", &path, None).await;
    assert_eq!((status, &page["events"][0]["context"]), (200, &json!({ "user": "root" })));
    let next = page["next"].as_str().unwrap();
    let (_, rest) = server.ask("GET", &format!("{path}&cursor={next}"), None).await;
    assert_eq!(rest, json!({ "events": [], "next": null }));
}

#[tokio::test]
async fn a_body_that_does_not_say_that_it_is_json_is_refused() {
    let (server, ids) = server().await;
    let request = Request::builder().method("PATCH").uri(format!("/api/v1/alerts/{}", ids[0]));
    let request = request.header("authorization", format!("Bearer {TOKEN}")).header("content-type", "text/plain");
    let request = request.body(Body::from(r#"{"status":"CLOSED"}"#)).unwrap();
    assert_eq!(server.app.clone().oneshot(request).await.unwrap().status(), 415);
}

#[tokio::test]
async fn alerts_are_counted_by_what_they_are() {
    let (server, _) = server().await;
    let (status, summary) = server.ask("GET", "/api/v1/alerts/summary?status=OPEN", None).await;
    assert_eq!((status, &summary["alerts"], &summary["events"]), (200, &json!(3), &json!(3)));
    assert_eq!(summary["severities"], json!([{ "name": "HIGH", "alerts": 3 }]));
    assert_eq!(summary["days"], json!([{ "name": "2026-01-02", "alerts": 3 }]));
    assert_eq!(summary["rules"].as_array().unwrap().len(), 3);
    let (_, one) = server.ask("GET", "/api/v1/alerts/summary?rule=r2", None).await;
    assert_eq!(one["alerts"], json!(1));
    assert_eq!(server.ask("GET", "/api/v1/alerts/summary?colour=red", None).await.0, 400);
}

#[tokio::test]
async fn a_stopped_rule_is_listed_and_let_go_on_with_the_name_of_the_caller() {
    let (server, _) = server().await;
    server.state.note(Fact::Stopped, "Loud.Rule", "v1", START).await.unwrap();
    let (status, listed) = server.ask("GET", "/api/v1/rules/stopped", None).await;
    assert_eq!((status, &listed["rules"][0]["ruleId"]), (200, &json!("Loud.Rule")), "{listed}");
    let lift = "/api/v1/rules/Loud.Rule/lift";
    let (status, lifted) = server.ask("POST", lift, Some(json!({ "reason": "tuned" }))).await;
    assert_eq!((status, &lifted["by"], &lifted["reason"]), (200, &json!("analyst"), &json!("tuned")), "{lifted}");
    assert_eq!(server.ask("POST", lift, Some(json!({}))).await.0, 404, "nothing is in its way any more");
    assert_eq!(server.ask("POST", lift, Some(json!({ "reason": "x".repeat(2000) }))).await.0, 400);
    let (_, listed) = server.ask("GET", "/api/v1/rules/stopped", None).await;
    assert_eq!((&listed["rules"], &listed["lifts"][0]["by"]), (&json!([]), &json!("analyst")));
}

#[tokio::test]
async fn what_filters_take_is_changed_together() {
    let (server, ids) = server().await;
    let resolved = || Some(json!({ "status": "RESOLVED" }));
    let (status, answer) = server.ask("PATCH", "/api/v1/alerts?rule=r2&status=OPEN", resolved()).await;
    assert_eq!((status, answer), (200, json!({ "changed": [ids[1]], "more": false })));
    let (_, answer) = server.ask("PATCH", "/api/v1/alerts?status=OPEN", resolved()).await;
    assert_eq!(answer["changed"], json!([ids[0], ids[2]]));
    let (_, answer) = server.ask("PATCH", "/api/v1/alerts?status=OPEN", resolved()).await;
    assert_eq!(answer["changed"], json!([]));
    let both = Some(json!({ "ids": ids, "status": "OPEN" }));
    for (path, body) in [
        ("/api/v1/alerts?status=OPEN", both),
        ("/api/v1/alerts?pageSize=5", resolved()),
        ("/api/v1/alerts?colour=red", resolved()),
        ("/api/v1/alerts?", resolved()),
        ("/api/v1/alerts", resolved()),
    ] {
        assert_eq!(server.ask("PATCH", path, body).await.0, 400, "{path}");
    }
}
