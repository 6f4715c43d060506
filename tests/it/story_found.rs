//! What rules found, in the lake, read by others: each match and each error has its row, with its event, its alert and its
//! types, and after any crash it is there once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::aws::python;
use crate::daemon::{Daemon, Setup};
use crate::events::{COUNT_EACH, logins_of};
use crate::story_lake::{PYICEBERG, lake};

const MATCHES: &str = "margay_rule_matches.okta_systemlog";
const ERRORS: &str = "margay_rule_errors.okta_systemlog";
const SIGNALS: &str = "margay_signals.correlation_signals";
const FAILURES: &str = "margay_monitor.classification_failures";

const FOUND: &str = "def rule(event):\n    return event.deep_get('actor', 'alternateId') == 'ana@example.com'\n\
                     def title(event):\n    return 'login of ' + event.deep_get('actor', 'alternateId')\n\
                     def alert_context(event):\n    return {'ip': event.deep_get('client', 'ipAddress')}\n";

const BROKEN: &str = "def rule(event):\n    return event['nothing'] == 1\n";

fn setup() -> Setup {
    let setup = lake(Setup::new().rule("Found", FOUND).rule("Broken", BROKEN));
    for (id, line) in [("Signal", "Threshold: 1\nCreateAlert: false\n"), ("Below", "Threshold: 1000\n")] {
        setup.write_rule(id, FOUND);
        let yaml = format!(
            "AnalysisType: rule\nRuleID: {id}\nEnabled: true\nFilename: {id}.py\nSeverity: Low\nTags: [a, b]\n\
             Reports:\n  CIS: [1.1]\nLogTypes: [Okta.SystemLog]\nDedupPeriodMinutes: 60\n{line}"
        );
        std::fs::write(setup.path("rules").join(format!("{id}.yml")), yaml).unwrap();
    }
    setup
}

fn tables(setup: &Setup) -> Value {
    python::evaluate(PYICEBERG, &json!(setup.path("lake")).to_string())
}

fn rows<'t>(tables: &'t Value, table: &str) -> &'t Vec<Value> {
    tables[table]["rows"].as_array().unwrap_or_else(|| panic!("there is no table {table}"))
}

fn of_rule<'t>(rows: &'t [Value], rule: &str) -> Vec<&'t Value> {
    rows.iter().filter(|row| row["p_rule_id"] == rule).collect()
}

fn done(daemon: &Daemon<'_>, objects: f64) -> bool {
    daemon.metrics().get(r#"margay_objects_total{source="local",state="committed"}"#) == objects
}

/// Every pair of rule and row, with how often it is there.
fn identities(rows: &[Value]) -> BTreeMap<(String, String), usize> {
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let mut seen = BTreeMap::new();
    for row in rows {
        *seen.entry((text(row, "p_rule_id"), text(row, "p_row_id"))).or_default() += 1;
    }
    seen
}

/// Rows by rule as DuckDB counts them over all files.
const DUCKDB: &str = r#"
import json, sys, duckdb
root = json.load(sys.stdin)
print(json.dumps(duckdb.sql(f"""
    SELECT p_rule_id, count(*), count(DISTINCT p_row_id), min(p_alert_context->>'ip')
    FROM read_parquet('{root}/margay_rule_matches/okta_systemlog/data/**/*.parquet') GROUP BY 1 ORDER BY 1
""").fetchall()))
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_rules_find_is_read_by_other_engines() {
    let setup = setup();
    let lines = logins_of("ana@example.com", 30) + &logins_of("bob@example.com", 2) + "no JSON at all\n";
    setup.file("a.jsonl", lines);
    let daemon = setup.start().await;
    daemon.until(|daemon| done(daemon, 1.0)).await;

    let tables = tables(&setup);
    let types = &tables[MATCHES]["types"];
    for (column, expected) in [
        ("p_rule_tags", "list<string>"),
        ("p_alert_creation_time", "timestamp"),
        ("p_alert_context", "string"),
        ("p_event_time", "timestamp"),
        ("eventType", "string"),
    ] {
        assert_eq!(types[column], expected, "{column}");
    }
    // By the day on which they were read, not by that of their events.
    let folders = std::fs::read_dir(setup.path("lake/margay_rule_matches/okta_systemlog/data")).unwrap();
    let folders: Vec<String> = folders.map(|folder| folder.unwrap().file_name().into_string().unwrap()).collect();
    assert!(folders.len() == 1 && folders[0].starts_with("p_parse_time_day="), "{folders:?}");

    let matches = rows(&tables, MATCHES);
    let alerts = setup.alerts();
    let alert = |rule: &str| alerts.iter().find(|alert| alert["ruleId"] == rule);
    assert_eq!(of_rule(matches, "Found").len(), 30);
    for row in of_rule(matches, "Found") {
        assert_eq!(row["p_alert_id"], alert("Found").unwrap()["id"]);
        assert_eq!(row["p_alert_title"], "login of ana@example.com");
        assert_eq!(row["actor"]["alternateId"], "ana@example.com");
        assert_eq!((&row["p_rule_severity"], &row["p_alert_severity"]), (&json!("MEDIUM"), &json!("MEDIUM")));
    }
    assert_eq!((of_rule(matches, "Below").len(), of_rule(matches, "Signal").len()), (30, 30));
    // The id that the alert would have; a signal has none.
    assert!(alert("Below").is_none() && of_rule(matches, "Below").iter().all(|row| row["p_alert_id"].is_string()));
    let signal = of_rule(matches, "Signal")[0];
    assert_eq!((&signal["p_alert_id"], &signal["p_alert_creation_time"]), (&Value::Null, &Value::Null));
    assert_eq!((&signal["p_rule_tags"], &signal["p_rule_reports"]), (&json!(["a", "b"]), &json!(r#"{"CIS":["1.1"]}"#)));

    let errors = rows(&tables, ERRORS);
    assert_eq!(errors.len(), 32);
    let error = alerts.iter().find(|alert| alert["type"] == "RULE_ERROR").unwrap();
    for row in errors {
        assert_eq!((&row["p_rule_error_type"], &row["p_alert_id"]), (&json!("KeyError"), &error["id"]));
        assert!(row["p_rule_error"].as_str().unwrap().contains("Broken.py"), "{row}");
    }
    let signals = rows(&tables, SIGNALS);
    assert_eq!(identities(signals).keys().collect::<BTreeSet<_>>(), identities(matches).keys().collect());
    let event: Value = serde_json::from_str(signals[0]["event"].as_str().unwrap()).unwrap();
    assert_eq!(event["client"]["ipAddress"], "198.51.100.7");
    let failures = rows(&tables, FAILURES);
    assert_eq!(
        (failures.len(), &failures[0]["raw"], &failures[0]["p_offset"]),
        (1, &json!("no JSON at all"), &json!(32))
    );

    let attributes = |alert: &Value, by: &[&str]| {
        let id = alert["id"].as_str().unwrap();
        let output = setup.margay(&[&["alerts", "attributes", id, "--json", "--config", "margay.toml"], by].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let found = attributes(alert("Found").unwrap(), &[]);
    assert_eq!((&found["events"], &found["isCut"]), (&json!(30), &json!(false)), "{found}");
    let usual: Vec<&str> =
        found["attributes"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert!(usual.contains(&"p_any_ip_addresses"), "{found}");
    let by = ["--by", "client:ipaddress", "--by", "actor.alternateId"];
    let found = attributes(alert("Found").unwrap(), &by);
    let value = |at: usize| &found["attributes"][at]["values"];
    assert_eq!(*value(0), json!([{ "value": "198.51.100.7", "events": 30 }]), "{found}");
    assert_eq!(*value(1), json!([{ "value": "ana@example.com", "events": 30 }]), "{found}");
    assert_eq!(attributes(error, &["--by", "actor:alternateId"])["attributes"][0]["distinct"], 2);

    let counted = python::evaluate(DUCKDB, &json!(setup.path("lake")).to_string());
    let ip = "198.51.100.7";
    assert_eq!(counted, json!([["Below", 30, 30, ip], ["Found", 30, 30, ip], ["Signal", 30, 30, ip]]));

    let search = |sql: &str| {
        let output = setup.margay(&["search", "--config", "margay.toml", "--format", "csv", sql]);
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().replace("\r\n", "\n")
    };
    let databases = "SELECT p_db_name, count(*) AS n FROM panther_views.all_databases WHERE p_occurs_on('2026-01-15') \
                     GROUP BY 1 ORDER BY 1";
    assert_eq!(
        search(databases),
        "p_db_name,n\nmargay_logs,32\nmargay_rule_errors,32\nmargay_rule_matches,90\nmargay_signals,90\n"
    );
    let context = "SELECT count(*) AS n FROM panther_rule_matches.public.okta_systemlog \
                   WHERE p_alert_context:ip::string = '198.51.100.7' AND p_alert_context.ip LIKE '198%'";
    assert_eq!(search(context), "n\n90\n");
    let whole = "SELECT p_event:client.ipAddress::string AS ip, count(*) AS n FROM all_databases GROUP BY 1";
    assert_eq!(search(whole), "ip,n\n198.51.100.7,244\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_and_every_match_is_there_once() {
    const LIVES: usize = 6;
    const EVENTS: usize = 200;
    let setup = lake(Setup::new().rule("Each", COUNT_EACH).rule("Broken", BROKEN));
    for life in 0..LIVES {
        for object in 0..2 {
            let name = format!("{life}-{object}");
            setup.file(&format!("{name}.jsonl"), logins_of(&format!("{name}@example.com"), EVENTS) + "nothing\n");
        }
        // Each ends a little further on the way from the first record to the commit, which comes after a second.
        let mut daemon = setup.start().await;
        tokio::time::sleep(Duration::from_millis(250 * life as u64)).await;
        daemon.signal("KILL");
        daemon.ended();
    }
    let expected = 2 * LIVES * EVENTS;
    let daemon = setup.start().await;
    let all = |tables: &Value| rows(tables, MATCHES).len() >= expected && rows(tables, ERRORS).len() >= expected;
    daemon.until(|_| all(&tables(&setup))).await;
    daemon.until(|daemon| daemon.metrics().get("margay_in_flight_messages") == 0.0).await;
    let tables = tables(&setup);
    for table in [MATCHES, ERRORS, SIGNALS] {
        let seen = identities(rows(&tables, table));
        assert_eq!((rows(&tables, table).len(), seen.len()), (expected, expected), "{table}");
    }
    assert_eq!(rows(&tables, FAILURES).len(), 2 * LIVES);
    // As often as the alerts say.
    let counts = setup.counts();
    let mut of_alert: BTreeMap<&str, u64> = BTreeMap::new();
    for row in rows(&tables, MATCHES) {
        *of_alert.entry(row["p_alert_title"].as_str().unwrap()).or_default() += 1;
    }
    for (title, count) in of_alert {
        assert_eq!(counts.get(title), Some(&count), "{title}");
    }
}
