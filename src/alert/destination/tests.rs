//! Every destination against a fake of its vendor: what a common alert looks like there, that the worst alert keeps the
//! vendor's limits, and what is made of each answer.

mod mail;
mod tickets;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::time::Duration;

use super::*;
use crate::alert::fake::{Received, Vendor, answer};
use crate::model::{Alert, Secret, SecretRef, Severity};
use crate::state::fixtures::{START, alert, rule};

/// What stands behind every reference of these tests.
const SECRET: &str = "hunter2-hunter2";

/// A destination of this machine's loopback address.
async fn built(name: &str, kind: &str, settings: Value, urls: &BTreeMap<String, String>) -> Result<Line, String> {
    let config = json!({ "name": name, "allow_http": true, "allow_hosts": ["127.0.0.1"], kind: settings });
    let config: DestinationConfig = serde_json::from_value(config).unwrap();
    let secret = |reference: &SecretRef| match reference {
        SecretRef::Env(name) => Ok(Secret::new(urls.get(name).map_or(SECRET, String::as_str))),
        SecretRef::File(path) => Err(format!("needs {}", path.display())),
        SecretRef::Aws(secret) => Err(format!("needs {secret}")),
    };
    let client = Client::without_authorities();
    let sdk = |_, _| -> futures_util::future::BoxFuture<'static, aws_config::SdkConfig> {
        Box::pin(async { aws_config::SdkConfig::builder().build() })
    };
    build_one(&config, &Building { client, secret: &secret, sdk: &sdk }).await
}

/// Each kind that is an HTTP API, set up for the vendor at `url`.
fn kinds(url: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("slack", json!({ "url": "env:URL" })),
        ("pagerduty", json!({ "integration_key": "env:KEY", "endpoint": url })),
        ("opsgenie", json!({ "api_key": "env:KEY", "endpoint": url })),
        (
            "jira",
            json!({ "url": url, "project": "SEC", "email": "me@company.example", "api_key": "env:KEY",
                    "labels": ["margay"], "assignee": "5b10" }),
        ),
        ("github", json!({ "repository": "company/alerts", "token": "env:KEY", "endpoint": url })),
        ("asana", json!({ "token": "env:KEY", "projects": ["1200"], "endpoint": url })),
        ("teams", json!({ "url": "env:URL" })),
        ("discord", json!({ "url": "env:URL" })),
        ("servicenow", json!({ "url": url, "user": "margay", "password": "env:KEY" })),
        ("webhook", json!({ "url": "env:URL", "headers": { "x-api-key": "env:KEY" }, "signing_key": "env:KEY" })),
    ]
}

fn urls(url: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("URL".to_owned(), format!("{url}/hook/{SECRET}"))])
}

fn common() -> Alert {
    Alert {
        id: "b90c19e66e160e194a5b3b94ec27fb7c".into(),
        title: "Root login <!channel> @everyone [x](http://y)".into(),
        description: "Somebody & *somebody* else".into(),
        severity: Severity::High,
        ..alert(rule("AWS.Root"))
    }
}

/// As bad as an attacker can make it.
fn worst() -> Alert {
    let long = "é\u{202e}\r\n<&>\"'`*_[]{noformat}\u{1f44d}".repeat(3000);
    Alert {
        title: long.clone(),
        description: long.clone(),
        runbook: long.clone(),
        reference: long.clone(),
        context: json!({ "a": long.repeat(10), "deep": [[[{ "b\u{0}": long }]]] }),
        tags: vec![long[..300].replace(|char: char| !char.is_ascii(), "x"); 60],
        ..common()
    }
}

/// Sends one alert and gives what the vendor received.
async fn posted(kind: &str, alert: &Alert) -> Received {
    let vendor = Vendor::answering(answer("202 Accepted", "", "ok")).await;
    let (_, settings) = kinds(&vendor.url()).into_iter().find(|(own, _)| *own == kind).unwrap();
    let line = built("soc", kind, settings, &urls(&vendor.url())).await.unwrap();
    let message = Message::new(alert, "soc", Some("https://margay.example"), 0, START);
    assert_eq!(line.destination.send(&message).await, Ok(Taken::with(Some(202))), "{kind}");
    vendor.received().remove(0)
}

#[tokio::test]
async fn a_common_alert_looks_as_each_vendor_wants_it() {
    for (kind, _) in kinds("http://x") {
        let received = posted(kind, &common()).await;
        assert_eq!(received.header("content-type"), Some("application/json"), "{kind}");
        assert!(received.header("user-agent").is_some_and(|agent| agent.starts_with("margay/")), "{kind}");
        let kept =
            ["authorization", "accept", "x-api-key", "x-margay-signature", "idempotency-key", "x-github-api-version"];
        let headers: BTreeMap<&str, &str> =
            kept.iter().filter_map(|name| Some((*name, received.header(name)?))).collect();
        let shown = json!({ "line": received.line, "headers": headers, "body": received.json() });
        insta::assert_json_snapshot!(kind, shown);
    }
}

/// The longest text at a place that a vendor limits; zero when there is none.
fn length(body: &Value, pointer: &str) -> usize {
    body.pointer(pointer).and_then(Value::as_str).map_or(0, |text| text.chars().count())
}

#[tokio::test]
async fn the_worst_alert_keeps_every_vendor_s_limits() {
    type Limits = &'static [(&'static str, usize)];
    let limits: [(&str, usize, Limits); 10] = [
        ("slack", 40_000, &[("/attachments/0/title", 8000), ("/attachments/0/fields/1/value", 12_000)]),
        ("pagerduty", 512_000, &[("/payload/summary", 1024), ("/dedup_key", 255)]),
        ("opsgenie", 100_000, &[("/message", 130), ("/description", 15_000), ("/alias", 512), ("/tags/0", 50)]),
        ("jira", 200_000, &[("/fields/summary", 255), ("/fields/description", 32_767)]),
        ("github", 250_000, &[("/title", 256), ("/body", 65_536)]),
        ("asana", 250_000, &[("/data/name", 1024), ("/data/notes", 65_535)]),
        ("teams", 28_000, &[("/attachments/0/content/body/0/inlines/0/text", 500)]),
        ("discord", 100_000, &[("/embeds/0/title", 256), ("/embeds/0/description", 4096)]),
        ("servicenow", 100_000, &[("/short_description", 160), ("/description", 4000), ("/correlation_id", 100)]),
        ("webhook", 2_000_000, &[]),
    ];
    for (kind, whole, limits) in limits {
        let received = posted(kind, &worst()).await;
        assert!(received.body.len() <= whole, "{kind} has {} bytes", received.body.len());
        let body = received.json();
        for (place, limit) in limits {
            let length = length(&body, place);
            assert!((1..=*limit).contains(&length), "{kind} has {length} characters at {place}");
        }
        if kind == "discord" {
            let texts =
                ["/embeds/0/title", "/embeds/0/description", "/embeds/0/fields/0/name", "/embeds/0/fields/0/value"];
            let all: usize = texts.iter().map(|place| length(&body, place)).sum();
            assert!(all <= 6000, "an embed has {all} characters");
        }
        if kind == "opsgenie" {
            assert_eq!(body["tags"].as_array().unwrap().len(), 20);
        }
        if kind != "webhook" && kind != "pagerduty" {
            let text = body.to_string();
            assert!(text.contains("margay.example/alerts/") || kind == "servicenow", "{kind} keeps the link");
            assert!(!text.contains('\u{202e}'), "{kind} has a character that reorders text");
        }
    }
}

#[tokio::test]
async fn every_answer_is_judged() {
    let minute = Some(Duration::from_secs(60));
    for (status, headers, failure) in [
        ("429 Slow down", "Retry-After: 60\r\n", Failure::Unavailable(minute)),
        ("503 Later", "Retry-After: 1e99\r\n", Failure::Unavailable(Some(Duration::from_secs(3600)))),
        ("503 Later", "Retry-After: soon\r\n", Failure::Unavailable(None)),
        ("500 Broken", "", Failure::Unavailable(None)),
        ("302 Found", "Location: http://127.0.0.1/\r\n", Failure::Unavailable(None)),
        ("400 Bad", "", Failure::Refused),
        ("401 Who", "", Failure::Refused),
        ("404 Nowhere", "", Failure::Refused),
        ("410 Gone", "", Failure::Refused),
        ("422 No", "", Failure::Refused),
    ] {
        let told = format!("the key {SECRET} is \u{1b}[31mbad");
        let vendor = Vendor::answering(answer(status, headers, &told)).await;
        let settings = json!({ "integration_key": "env:KEY", "endpoint": vendor.url() });
        let line = built("pager", "pagerduty", settings, &BTreeMap::new()).await.unwrap();
        let alert = common();
        let error = line.destination.send(&Message::new(&alert, "pager", None, 0, START)).await.unwrap_err();
        assert_eq!(error.failure, failure, "{status}");
        assert_eq!(error.status, status[..3].parse().ok());
        assert!(error.reason.contains("the key *** is \\u{1b}"), "{error}");
    }
}

#[tokio::test]
async fn a_url_that_is_a_secret_is_in_no_error() {
    // Nobody listens there.
    let urls = BTreeMap::from([("URL".to_owned(), format!("http://127.0.0.1:1/hook/{SECRET}"))]);
    for kind in ["slack", "teams", "discord", "webhook"] {
        let line = built("soc", kind, json!({ "url": "env:URL" }), &urls).await.unwrap();
        let alert = common();
        let error = line.destination.send(&Message::new(&alert, "soc", None, 0, START)).await.unwrap_err();
        assert!(error.reason.contains("can't connect to `127.0.0.1`") && !error.reason.contains(SECRET), "{error}");
    }
}

#[tokio::test]
async fn settings_that_can_t_work_are_told_when_a_destination_is_built() {
    let urls = BTreeMap::from([
        ("URL".to_owned(), "https://attacker.example/x".to_owned()),
        ("NONE".to_owned(), "no url".to_owned()),
        ("INNER".to_owned(), "https://10.0.0.1/hunter2".to_owned()),
        ("METADATA".to_owned(), "https://0xa9fea9fe/latest".to_owned()),
    ]);
    for (kind, settings, why) in [
        ("slack", json!({ "url": "env:URL" }), "not `hooks.slack.com`"),
        ("teams", json!({ "url": "env:NONE" }), "no URL in `env:NONE`"),
        ("webhook", json!({ "url": "file:missing" }), "needs missing"),
        ("webhook", json!({ "url": "env:INNER" }), "private address 10.0.0.1"),
        ("teams", json!({ "url": "env:METADATA" }), "link-local address 169.254.169.254"),
        (
            "jira",
            json!({ "url": "https://x.example:22", "project": "S", "email": "e", "api_key": "env:KEY" }),
            "port 22",
        ),
        (
            "jira",
            json!({ "url": "https://me:pw@x.example", "project": "S", "email": "e", "api_key": "env:KEY" }),
            "password",
        ),
        ("servicenow", json!({ "url": "ftp://x.example", "user": "u", "password": "env:KEY" }), "`ftp:`"),
        ("webhook", json!({ "url": "env:URL", "headers": { "a b": "env:KEY" } }), "`a b`"),
        ("webhook", json!({ "url": "env:URL", "template": "{" }), "not JSON"),
        ("github", json!({ "repository": "a/../b", "token": "env:KEY" }), "`owner/name`"),
        ("asana", json!({ "token": "env:KEY", "projects": [] }), "`projects`"),
        ("sns", json!({ "topic_arn": "arn:aws:sqs:x" }), "arn:aws:sns:"),
        ("sqs", json!({ "queue_url": "http://localhost:4566/1/q" }), "`region`"),
        ("email", json!({ "server": "x", "from": "x", "to": ["a@b.example"] }), "no address"),
    ] {
        let problem = built("soc", kind, settings, &urls).await.err().unwrap();
        assert!(problem.contains(why) && !problem.contains("hunter2"), "{kind}: {problem}");
    }
}

#[test]
fn every_secret_of_a_destination_is_known_before_it_is_built() {
    let mut all = kinds("https://x.example");
    all.push(("email", json!({ "server": "x", "from": "x@y.example", "to": [], "password": "env:KEY" })));
    for (kind, settings) in all {
        let written = settings.to_string().matches("env:").count();
        let config: DestinationConfig = serde_json::from_value(json!({ "name": "x", kind: settings })).unwrap();
        assert_eq!((config.secrets().len(), written > 0), (written, true), "{kind}");
    }
}

#[tokio::test]
async fn a_card_of_an_old_connector_is_a_message_card() {
    let alert = common();
    let vendor = Vendor::answering(answer("200 OK", "", "1")).await;
    let settings = json!({ "url": "env:URL", "format": "message_card" });
    let line = built("teams", "teams", settings, &urls(&vendor.url())).await.unwrap();
    let message = Message::new(&alert, "teams", Some("https://margay.example"), 0, START);
    line.destination.send(&message).await.unwrap();
    insta::assert_json_snapshot!("teams_message_card", vendor.received()[0].json());
}

#[tokio::test]
async fn a_file_gets_a_line_for_each_alert() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alerts.jsonl");
    let line = built("log", "file", json!({ "path": path }), &BTreeMap::new()).await.unwrap();
    let alert = worst();
    for _ in 0..2 {
        line.destination.send(&Message::new(&alert, "log", None, 0, START)).await.unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["id"], alert.id.as_str());
}
