//! Alerts about margay itself and storms of alerts, with the real binary: too many alerts of one rule, objects that can't be
//! read, a daemon that is killed between the vendor's answer and its record, and incidents that end with their alerts.

use std::fs;

use serde_json::Value;

use crate::daemon::Setup;
use crate::events::{login, logins};
use crate::vendor::Vendor;

const EACH_LOGIN: &str = "def rule(event):\n    return True\n\
                          def title(event):\n    return 'login'\n\
                          def dedup(event):\n    return event['uuid']\n";

/// A rule, and a file that gets every alert; margay looks after itself all the time.
fn setup(more: &str) -> Setup {
    Setup::new().rule("Login", EACH_LOGIN).watching_directory().configured(&format!(
        "[alerts]\nstdout.enabled = false\nself_check_seconds = 1\n\
         [[alerts.destinations]]\nname = \"log\"\nfile.path = \"alerts.jsonl\"\n{more}"
    ))
}

/// What the file got, by the rule of the alert.
fn told(setup: &Setup, rule: &str) -> Vec<Value> {
    let text = fs::read_to_string(setup.path("alerts.jsonl")).unwrap_or_default();
    let alerts = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    alerts.filter(|alert| alert["ruleId"] == rule).collect()
}

fn summary(setup: &Setup, arguments: &[&str]) -> Value {
    let arguments = [&["alerts", "summary", "--json", "--config", "margay.toml"], arguments].concat();
    let output = setup.margay(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// More than two hours may deliver, so that it does not matter when one ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_opens_too_many_alerts_is_held_back_and_every_match_is_kept() {
    const EVENTS: usize = 2002;
    let setup = setup("");
    setup.file("a.jsonl", logins(EVENTS));
    let daemon = setup.start().await;
    let matches = r#"margay_rule_matches_total{rule="Login"}"#;
    daemon.until(|daemon| daemon.metrics().get(matches) == EVENTS as f64).await;
    // Its matches are counted before they are recorded.
    daemon
        .until(|daemon| daemon.metrics().get(r#"margay_objects_total{source="local",state="committed"}"#) == 1.0)
        .await;
    // While the hour lasts there is a notice, and behind it a digest.
    let is_told = || !told(&setup, "Margay.AlertStorm").is_empty() || told(&setup, "Login").len() > 1000;
    daemon.until(|_| is_told()).await;
    let held = daemon.metrics().get("margay_alerts_held_total");
    assert!(held >= 2.0, "{held} are held back");
    let opened = summary(&setup, &["--rule", "Login"]);
    assert!(opened["alerts"].as_u64().unwrap() >= EVENTS as u64, "{opened}");
    assert!(opened["events"].as_u64().unwrap() >= EVENTS as u64, "{opened}");
    let held_back = |alert: &&Value| {
        let responses = alert["deliveryResponses"].as_array().unwrap();
        responses.iter().any(|sent| sent["message"].as_str().unwrap().contains("held back"))
    };
    assert_eq!(setup.alerts().iter().filter(held_back).count(), held as usize);
    drop(daemon);
    assert!(told(&setup, "Margay.AlertStorm").len() <= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_and_records_that_can_t_be_read_are_told_once() {
    let setup = setup("");
    let daemon = setup.start().await;
    setup.file("bad.jsonl", format!("{}this is no event\n", login()));
    setup.file("bad.gz", b"\x1f\x8b\x08\x00 no gzip at all");
    let rules = ["Margay.ClassificationFailure", "Margay.ObjectFailure"];
    daemon.until(|_| rules.iter().all(|rule| !told(&setup, rule).is_empty())).await;
    setup.file("worse.gz", b"\x1f\x8b\x08\x00 no gzip either");
    daemon
        .until(|daemon| daemon.metrics().get(r#"margay_objects_total{source="local",state="quarantined"}"#) == 2.0)
        .await;
    let system = summary(&setup, &["--type", "system_error"]);
    assert_eq!((&system["alerts"], &system["severities"][0]["name"]), (&2.into(), &"CRITICAL".into()), "{system}");
    for rule in rules {
        let [one] = &told(&setup, rule)[..] else { panic!("{rule} was told more than once") };
        assert_eq!((&one["type"], &one["dedup"]), (&"SYSTEM_ERROR".into(), &"local".into()));
        assert!(!one["runbook"].as_str().unwrap().is_empty() && !one["description"].as_str().unwrap().is_empty());
    }
}

/// The vendor has the alert, and nobody has written that down.
#[tokio::test(flavor = "multi_thread")]
async fn killed_between_the_answer_and_its_record_it_is_sent_at_most_once_more() {
    let vendor = Vendor::answering(200);
    let setup = setup(
        "[[alerts.destinations]]\nname = \"hook\"\nallow_http = true\nallow_hosts = [\"127.0.0.1\"]\n\
         webhook.url = \"file:url\"\n",
    );
    fs::write(setup.path("url"), &vendor.url).unwrap();
    let mut daemon = setup.start().await;
    setup.file("a.jsonl", login());
    let gate = vendor.hold();
    daemon.until(|_| gate.is_reached()).await;
    daemon.signal("KILL");
    daemon.ended();
    drop(daemon);
    gate.open();

    let daemon = setup.start().await;
    let delivered = r#"margay_deliveries_total{destination="hook",outcome="delivered"}"#;
    daemon.until(|daemon| daemon.metrics().get(delivered) == 1.0).await;
    let sent = vendor.sent();
    let keys: Vec<_> = sent.iter().map(|one| one.header("idempotency-key").unwrap()).collect();
    assert_eq!((keys.len(), keys[0]), (2, keys[1]), "once more, and recognisable");
    assert_eq!(setup.alerts()[0]["eventCount"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_ends_with_its_alert() {
    let vendor = Vendor::answering(202);
    let endpoint = vendor.url.trim_end_matches("/hook");
    let setup = setup(&format!(
        "[[alerts.destinations]]\nname = \"pager\"\nallow_http = true\nallow_hosts = [\"127.0.0.1\"]\n\
         pagerduty = {{ integration_key = \"file:key\", endpoint = \"{endpoint}\" }}\n",
    ));
    fs::write(setup.path("key"), "0123456789abcdef").unwrap();
    let daemon = setup.start().await;
    setup.file("a.jsonl", login());
    daemon.until(|_| vendor.sent().len() == 1).await;
    let id = setup.alerts()[0]["id"].as_str().unwrap().to_owned();
    for status in ["triaged", "resolved"] {
        let set = ["alerts", "set", &id, "--status", status, "--by", "ana", "--config", "margay.toml"];
        let output = setup.margay(&set);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    daemon.until(|_| vendor.sent().len() == 2).await;
    let (opened, ended) = (&vendor.sent()[0].body, &vendor.sent()[1].body);
    assert_eq!((&opened["event_action"], &ended["event_action"]), (&"trigger".into(), &"resolve".into()));
    assert_eq!((&opened["dedup_key"], &ended["dedup_key"]), (&id.as_str().into(), &id.as_str().into()));
    assert_eq!(told(&setup, "Login").len(), 1, "the file keeps no incidents");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_an_alert_would_go_is_explained() {
    let setup = setup(
        "severities = [\"HIGH\"]\n[[alerts.destinations]]\nname = \"other\"\nid = \"9f\"\nfile.path = \"other.jsonl\"\n",
    );
    fs::write(setup.path("alert.json"), r#"{"severity": "MEDIUM", "type": "RULE_ERROR", "title": "t"}"#).unwrap();
    let output = setup.margay(&["alerts", "route", "alert.json", "--config", "margay.toml"]);
    let expected = "decided by what each destination takes\nno  log: it does not take severity MEDIUM\nyes other\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    let missing = setup.margay(&["alerts", "route", "none.json", "--config", "margay.toml"]);
    assert_eq!(missing.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_comes_later_gets_what_comes_then() {
    let setup = setup("");
    let daemon = setup.start().await;
    setup.file("a.jsonl", login());
    daemon.until(|_| told(&setup, "Login").len() == 1).await;
    let more = "[[alerts.destinations]]\nname = \"later\"\nfile.path = \"later.jsonl\"\n";
    setup.reconfigure(&(setup.config() + more));
    let later = || fs::read_to_string(setup.path("later.jsonl")).unwrap_or_default().lines().count();
    // Whether it is there by now is seen by what it gets.
    for number in 0..50 {
        setup.file(&format!("b{number}.jsonl"), login());
        daemon.until(|_| told(&setup, "Login").len() == 2 + number).await;
        if later() > 0 {
            return;
        }
    }
    panic!("the destination gets nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_its_alerts_have_stopped_is_let_go_on_by_a_person() {
    let setup = setup("[rules.alerts]\nmax_alerts_per_hour = 2\non_storm = \"disable\"\n");
    let daemon = setup.start().await;
    setup.file("a.jsonl", logins(9));
    // The hour may end between two of them.
    daemon.until(|_| !told(&setup, "Margay.RuleStopped").is_empty()).await;
    let run = |arguments: &[&str]| setup.margay(&[&["rules"], arguments, &["--config", "margay.toml"]].concat());
    let stopped = String::from_utf8(run(&["stopped"]).stdout).unwrap();
    assert!(stopped.starts_with("Login  ") && stopped.contains("by the limit on its alerts"), "{stopped}");
    let matches = r#"margay_rule_matches_total{rule="Login"}"#;
    let committed = r#"margay_objects_total{source="local",state="committed"}"#;
    setup.file("b.jsonl", logins(1));
    daemon.until(|daemon| daemon.metrics().get(committed) == 2.0).await;
    assert_eq!(
        (daemon.metrics().get(matches), summary(&setup, &["--rule", "Login"])["alerts"].as_u64()),
        (10.0, Some(9))
    );

    let lifted = run(&["lift", "Login", "--by", "ana", "--reason", "tuned"]);
    assert_eq!(
        String::from_utf8_lossy(&lifted.stdout),
        "Login goes on\n",
        "{}",
        String::from_utf8_lossy(&lifted.stderr)
    );
    let before = told(&setup, "Login").len();
    setup.file("c.jsonl", logins(1));
    daemon.until(|_| told(&setup, "Login").len() > before).await;
    let shown: Value = serde_json::from_slice(&run(&["stopped", "--json"]).stdout).unwrap();
    assert_eq!((&shown["lifts"][0]["by"], &shown["lifts"][0]["reason"]), (&"ana".into(), &"tuned".into()), "{shown}");
    let of_system = || summary(&setup, &["--type", "system_error", "--rule", "Margay.RuleStopped"]);
    daemon.until(|_| of_system()["statuses"] == serde_json::json!([{ "name": "RESOLVED", "alerts": 1 }])).await;
    let nothing = run(&["lift", "Nobody"]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("nothing is in the way"));
}
