//! Scheduled queries of daemons on one PostgreSQL: one of them runs a query at its time, the rule over its rows raises one
//! alert, and a kill between what the rule found and the commit of it neither loses nor repeats anything.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::{Daemon, Setup};
use crate::events::logins_of;
use crate::postgres::server;

const TOKEN: &str = "a-token-of-these-stories";

/// Until the next full minute, and what then is to be done.
const MINUTES: Duration = Duration::from_secs(200);

const EVENTS: usize = 5;

/// Every minute, all logins of a person: the same events again and again.
const QUERY: &str = "AnalysisType: scheduled_query\nQueryName: Logins of Ana\nEnabled: true\n\
                     Schedule: {CronExpression: '* * * * *', TimeoutMinutes: 1}\nQuery: |\n  \
                     SELECT * FROM panther_logs.public.okta_systemlog\n  \
                     WHERE p_occurs_since('5000 days') AND actor:alternateId = 'ana@example.com'\n";

const RULE: &str = "AnalysisType: scheduled_rule\nRuleID: Logins\nEnabled: true\nFilename: Logins.py\nSeverity: High\n\
                    ScheduledQueries: [Logins of Ana]\nDedupPeriodMinutes: 1440\nThreshold: 3\nTests:\n  \
                    - {Name: success, ExpectedResult: true, Log: {outcome: {result: SUCCESS}, p_event_time: '2026-01-15 09:15:00'}}\n  \
                    - {Name: failure, ExpectedResult: false, Log: {outcome: {result: FAILURE}}}\n";

const PYTHON: &str = "def rule(event):\n    return event.deep_get('outcome', 'result') == 'SUCCESS'\n\
                      def title(event):\n    return f\"logins of {event.deep_get('actor', 'alternateId')}\"\n\
                      def alert_context(event):\n    return {'at': event.get('p_event_time')}\n";

async fn setup() -> Setup {
    let url = server::empty_schema().await;
    let setup = Setup::new().watching_directory().with_variable("ANALYST", TOKEN);
    let warehouse = setup.path("warehouse");
    setup.configured(&format!(
        "[[http.tokens]]\nname = \"analyst\"\ntoken = \"env:ANALYST\"\n\
         [state]\ntype = \"postgres\"\n[state.postgres]\nurl = \"{url}\"\n\
         [lake]\ntype = \"postgres\"\nwarehouse = \"{}\"\nflush_seconds = 1\nmaintain_seconds = 0\n\
         [search]\npath = \"search-0\"\n",
        warehouse.display()
    ))
}

fn write_rules(setup: &Setup) {
    for (name, text) in [("query.yml", QUERY), ("Logins.yml", RULE), ("Logins.py", PYTHON)] {
        std::fs::write(setup.path("rules").join(name), text).unwrap();
    }
}

/// Starts another daemon; each has a folder of its own for what is searched.
async fn daemon(setup: &Setup, number: u32, flush_seconds: u32) -> Daemon<'_> {
    let lines = setup
        .config()
        .lines()
        .map(|line| match line.split_once(" = ") {
            Some(("path", path)) if path.starts_with("\"search-") => format!("path = \"search-{number}\"\n"),
            Some(("flush_seconds", _)) => format!("flush_seconds = {flush_seconds}\n"),
            _ => format!("{line}\n"),
        })
        .collect::<String>();
    setup.reconfigure(&lines);
    setup.start().await
}

/// The query as the API tells of it.
fn scheduled(daemon: &Daemon<'_>) -> Value {
    let (status, text) = daemon.ask("GET", "/api/v1/search/scheduled", TOKEN, "");
    assert_eq!(status, 200, "{text}");
    let told: Value = serde_json::from_str(&text).unwrap();
    told["queries"][0].clone()
}

fn search(setup: &Setup, sql: &str) -> String {
    let output = setup.margay(&["search", "--config", "margay.toml", "--format", "csv", sql]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().skip(1).collect::<Vec<_>>().join("\n")
}

fn succeeded(daemon: &Daemon<'_>) -> u64 {
    daemon.metrics().get(r#"margay_scheduled_runs_total{outcome="succeeded"}"#) as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_over_what_a_query_finds_alerts_once_whoever_dies() {
    let setup = setup().await;
    setup.file("a.jsonl", logins_of("ana@example.com", EVENTS) + &logins_of("bob@example.com", 2));
    {
        let first = daemon(&setup, 0, 1).await;
        let committed = r#"margay_objects_total{source="local",state="committed"}"#;
        first.until(|daemon| daemon.metrics().get(committed) == 1.0).await;
    }
    write_rules(&setup);
    let tested = setup.margay(&["test", "--path", "rules"]);
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stdout));
    let checked = setup.margay(&["check", "--config", "margay.toml"]);
    let checked = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.contains("1 rule, 1 scheduled query: no problem"), "{checked}");

    // What its rule finds is in the alert, and is not committed when it dies.
    let mut killed = daemon(&setup, 1, 3600).await;
    let delivered = |alert: &Value| alert["deliveryResponses"][0]["success"] == true;
    killed.until_within(MINUTES, |_| setup.alerts().iter().any(delivered)).await;
    killed.signal("KILL");
    killed.ended();
    let before = killed.printed().len();
    let matches = "SELECT count(*), count(DISTINCT p_row_id), count(DISTINCT p_alert_id) FROM \
                   panther_rule_matches.public.scheduled_query WHERE p_rule_id = 'Logins'";

    let (one, other) = (daemon(&setup, 2, 1).await, daemon(&setup, 3, 1).await);
    // The run that was broken off, and some more, of each of which one daemon of both had the turn.
    one.until_within(MINUTES, |_| succeeded(&one) + succeeded(&other) >= 3).await;
    let alerts = setup.alerts();
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!((&alerts[0]["title"], &alerts[0]["eventCount"]), (&json!("logins of ana@example.com"), &json!(EVENTS)));
    assert_eq!(alerts[0]["context"]["at"], "2026-01-15 09:15:00.000000000");
    assert_eq!(search(&setup, matches), format!("{EVENTS},{EVENTS},1"));
    let printed = before + one.printed().len() + other.printed().len();
    assert_eq!(printed, 1, "the alert is delivered once");

    let told = scheduled(&other);
    assert_eq!(told["schedule"], "cron * * * * *");
    assert_eq!((&told["lastRun"]["rows"], &told["lastRun"]["matches"]), (&json!(EVENTS), &json!(0)), "{told}");
    assert_eq!(told["failures"], 0);
    // The commands tell the same.
    let listed = setup.margay(&["queries", "list", "--config", "margay.toml", "--format", "json"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    let [line] = listed.lines().collect::<Vec<_>>()[..] else { panic!("a query is a line: {listed:?}") };
    let listed: BTreeMap<String, Value> = serde_json::from_str(line).unwrap();
    assert_eq!((&listed["isEnabled"], &listed["lastRun"]["rows"]), (&json!(true), &json!(EVENTS)));
    let shown = setup.margay(&["queries", "show", "--config", "margay.toml", "Logins of Ana"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("schedule     cron * * * * *") && shown.contains("outcome      succeeded"), "{shown}");
    let ran = setup.margay(&["queries", "run", "--config", "margay.toml", "Logins of Ana", "--format", "json"]);
    assert_eq!(String::from_utf8_lossy(&ran.stdout).lines().count(), EVENTS);
}
