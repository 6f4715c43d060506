//! The tools of those who write rules: what a rule costs, what it would have found, why a test of it fails.

use std::process::Output;

use serde_json::Value;

use crate::aws::{Aws, Channel};
use crate::daemon::{Setup, shipped};
use crate::events::{login, logins, logins_of};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn json(output: &Output) -> Value {
    let said = text(&output.stdout);
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}{}", text(&output.stderr)))
}

const FAILING: &str = "def rule(event):\n    return event['nothing'] == 1\n";

#[test]
fn rules_are_listed_and_shown() {
    let setup = Setup::new();
    let rules = shipped("rules");
    let rules = rules.to_str().unwrap();
    let listed = json(&setup.margay(&["rules", "list", rules, "--format", "json", "--filter", "Severity=High"]));
    let listed = listed.as_array().unwrap();
    assert!(!listed.is_empty());
    for rule in listed {
        assert_eq!((rule["severity"].as_str(), rule["kind"].as_str()), (Some("HIGH"), Some("rule")), "{rule}");
        assert!(rule["version"].as_str().is_some_and(|version| version.len() == 12), "{rule}");
        assert!(["none", "partial", "total"].contains(&rule["guard"].as_str().unwrap()), "{rule}");
    }
    let id = listed[0]["id"].as_str().unwrap();
    let table = text(&setup.margay(&["rules", "list", rules]).stdout);
    assert!(table.starts_with("ID ") && table.lines().any(|line| line.starts_with(id)), "{table}");

    let shown = json(&setup.margay(&["rules", "show", id, rules, "--format", "json"]));
    assert_eq!(shown["version"], listed[0]["version"]);
    assert_eq!(shown["tests"].as_array().unwrap().len() as u64, listed[0]["tests"].as_u64().unwrap());
    let shown = text(&setup.margay(&["rules", "show", id, rules]).stdout);
    assert!(shown.starts_with(id) && shown.contains("`margay rules explain "), "{shown}");
    let unknown = setup.margay(&["rules", "show", &format!("{id}x"), rules]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains(&format!("the nearest is \"{id}\"")), "{}", text(&unknown.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn top_tells_what_each_rule_of_a_running_daemon_has_cost() {
    let guarded = "def rule(event):\n    return event.get('eventType') == 'nothing.like.it'\n";
    let slow = "import re\ndef rule(event):\n    return bool(re.match('user', event.get('eventType')))\n";
    let setup = Setup::new()
        .rule("Guarded", guarded)
        .rule("Slow", slow)
        .rule("Failing", FAILING)
        .configured("named_in_metrics = 2\n")
        .watching_directory();
    let daemon = setup.start().await;
    setup.file("a.jsonl", [login(), login(), login()].concat());
    daemon.until(|daemon| daemon.metrics().get("margay_rule_evaluations_total") >= 9.0).await;

    let top = daemon.margay_beside(&["rules", "top", "--format", "json", "--by", "evaluations"]);
    let top = json(&top);
    let of = |id: &str| top.as_array().unwrap().iter().find(|rule| rule["rule"] == id).unwrap().clone();
    assert_eq!((&of("Guarded")["guard_rejections"], &of("Guarded")["python_calls"]), (&3.into(), &0.into()));
    assert_eq!((&of("Slow")["python_calls"], &of("Slow")["matches"]), (&3.into(), &3.into()));
    assert_eq!((&of("Failing")["evaluations"], &of("Failing")["errors"]), (&3.into(), &3.into()));
    assert!(of("Slow")["seconds"].as_f64().unwrap() > 0.0);

    let table = text(&daemon.margay_beside(&["rules", "top", "--by", "errors"]).stdout);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("RULE ") && lines[1].starts_with("Failing "), "{table}");
    // Two have a name in the metrics, the third is one of the others.
    let metrics = daemon.metrics();
    let named: std::collections::BTreeSet<&str> =
        metrics.names().filter_map(|name| name.split_once("rule=\"")?.1.split('"').next()).collect();
    assert!(named.len() == 3 && named.contains("(other)"), "{named:?}");

    drop(daemon);
    let nobody = setup.margay(&["rules", "top", "--addr", "127.0.0.1:1"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(&nobody.stderr).contains("no daemon answers at 127.0.0.1:1"), "{}", text(&nobody.stderr));
}

#[test]
fn a_backtest_tells_the_alerts_there_would_be() {
    let by_person = "def rule(event):\n    return True\n\
                     def title(event):\n    return event.deep_get('actor', 'alternateId')\n";
    let setup = Setup::new().rule("Person", by_person).rule("Failing", FAILING);
    let yaml = setup.path("rules").join("Person.yml");
    std::fs::write(&yaml, std::fs::read_to_string(&yaml).unwrap().replace("Threshold: 1", "Threshold: 3")).unwrap();
    // Two windows of an hour for ana, told backwards; ben stays below the threshold.
    let at = |lines: String, hour: &str| lines.replace("T09:15:00", hour);
    let ana = [at(logins_of("ana", 3), "T11:15:01"), at(logins_of("ana", 4), "T09:15:00")].concat();
    std::fs::create_dir(setup.path("logs")).unwrap();
    std::fs::write(setup.path("logs").join("ana.jsonl"), ana).unwrap();
    std::fs::write(setup.path("logs").join("ben.jsonl"), logins_of("ben", 2) + "{\"no\":\"login\"}\n").unwrap();

    let output = setup.margay(&["backtest", "Person", "--input", "logs", "--format", "json"]);
    let told = json(&output);
    assert!(output.status.success(), "{told}");
    for (key, value) in [("objects", 2), ("events", 9), ("rejects", 1), ("matches", 9), ("alerts", 2), ("errors", 0)] {
        assert_eq!(told[key], value, "{key} of {told}");
    }
    let top = &told["top_dedups"][0];
    assert_eq!((&top["dedup"], &top["count"], &top["alerts"]), (&"ana".into(), &7.into(), &2.into()));
    assert_eq!(top["first"], "2026-01-15T09:15:00Z");
    assert_eq!(told["events_by_log_type"]["Okta.SystemLog"], 9);
    assert!(told["first_reject"].as_str().is_some() && told["wall_us_per_event"].as_f64().unwrap() > 0.0, "{told}");

    // All rules, one of which fails on each event: an alert about the error, and an exit code.
    let all = setup.margay(&["backtest", "--input", "logs/ana.jsonl", "logs/ben.jsonl", "--format", "json"]);
    let told = json(&all);
    assert_eq!(all.status.code(), Some(1));
    assert_eq!((&told["errors"], &told["error_alerts"], &told["alerts"]), (&9.into(), &2.into(), &2.into()), "{told}");
    assert_eq!(told["top_errors"][0]["dedup"], "KeyError");
    let shown = text(&setup.margay(&["backtest", "--input", "logs"]).stdout);
    for part in ["2 objects", "9 matches, 2 alerts", "top dedup strings", "KeyError"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backtest_reads_a_bucket_with_the_role_of_its_source_and_leaves_no_trace() {
    let aws = Aws::start().await;
    let logs = aws.bucket_announced_by(Channel::Sqs).await;
    let setup = Setup::new().rule("Every", "def rule(event):\n    return True\n").reading_sqs(&aws, &logs);
    logs.put_gz("okta/a.json.gz", logins(3)).await;
    logs.put("elsewhere/b.jsonl", login()).await;
    let input = format!("s3://{}/okta/", logs.bucket);
    let output = setup.margay(&["backtest", "--config", "margay.toml", "--input", &input, "--format", "json"]);
    let told = json(&output);
    assert!(output.status.success(), "{told}");
    assert_eq!((&told["objects"], &told["events"], &told["alerts"]), (&1.into(), &3.into(), &1.into()), "{told}");
    assert_eq!(logs.depth().await, 2, "the notifications are still there");
    assert!(!setup.path("var").exists() && !setup.path("margay.db").exists());
}

#[test]
fn a_backtest_says_what_it_can_not_do() {
    let setup = Setup::new().rule("Good", "def rule(event):\n    return True\n");
    std::fs::write(setup.path("a.jsonl"), login()).unwrap();
    for (arguments, code, said) in [
        (&["backtest", "Gud", "--input", "a.jsonl"][..], 64, "the nearest is \"Good\""),
        (&["backtest", "--input", "nowhere"], 64, "--input nowhere: "),
        (&["backtest", "--input", "a.jsonl", "--log-type", "Okta.SystemLg"], 64, "Okta.SystemLog"),
        (&["backtest", "--input", "a.jsonl", "--stream-type", "Sand"], 64, "CloudWatchLogs"),
    ] {
        let output = setup.margay(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?} {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(said), "{arguments:?}: {}", text(&output.stderr));
    }
    // A file that breaks off is told, what came before it counts.
    let mut packed = std::process::Command::new("gzip").arg("-c").arg(setup.path("a.jsonl")).output().unwrap().stdout;
    packed.truncate(packed.len() - 4);
    std::fs::write(setup.path("a.jsonl.gz"), packed).unwrap();
    let output = setup.margay(&["backtest", "rules/Good.yml", "--input", "a.jsonl.gz", "a.jsonl", "--format", "json"]);
    let told = json(&output);
    assert_eq!((output.status.code(), &told["objects_failed"]), (Some(1), &1.into()), "{told}");
    assert!(told["failures"][0]["object"].as_str().unwrap().ends_with("a.jsonl.gz"), "{told}");
    assert_eq!(told["matches"], told["events"], "{told}");
}

#[test]
fn debug_shows_prints_results_and_whole_tracebacks() {
    let setup = Setup::new();
    let source = "def inner(event):\n    return event['missing']\n\
                  def rule(event):\n    print('seen', event.get('a'))\n    return True\n\
                  def title(event):\n    return inner(event)\n";
    setup.write_rule("Shown", source);
    let tests = "Tests:\n  - {Name: one, ExpectedResult: true, Log: {a: 1}}\n  \
                 - {Name: two, ExpectedResult: true, Log: {a: 2, missing: yes it is}}\n";
    let yaml = setup.path("rules").join("Shown.yml");
    std::fs::write(&yaml, std::fs::read_to_string(&yaml).unwrap() + tests).unwrap();

    let output = setup.margay(&["debug", "Shown", "one"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in [
        "one (expects true)\n  rule\n    | seen 1\n  title\n",
        "    title         KeyError: 'missing'",
        "      Traceback (most recent call last):",
        "        File \"Shown.py\", line 7, in title",
        "          return inner(event)",
        "        File \"Shown.py\", line 2, in inner",
        "  FAIL\n",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let output = setup.margay(&["debug", "Shown", "two"]);
    let said = text(&output.stdout);
    assert!(output.status.success() && said.contains("    title         yes it is\n"), "{said}");
    let unknown = setup.margay(&["debug", "Shown", "three"]);
    assert_eq!(unknown.status.code(), Some(64));
    assert!(text(&unknown.stderr).contains("there are [\"one\", \"two\"]"), "{}", text(&unknown.stderr));
    assert_eq!(setup.margay(&["debug", "Shwn"]).status.code(), Some(64));
}

#[test]
fn debug_shows_what_was_printed_before_a_call_was_ended() {
    let setup = Setup::new();
    setup.write_rule("Endless", "def rule(event):\n    print('begun')\n    while True: pass\n");
    let yaml = setup.path("rules").join("Endless.yml");
    let tests = "Tests:\n  - {Name: one, ExpectedResult: true, Log: {a: 1}}\n";
    std::fs::write(&yaml, std::fs::read_to_string(&yaml).unwrap() + tests).unwrap();
    let output = setup.margay(&["debug", "Endless", "--timeout-ms", "200"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("    | begun\n") && said.contains("RuleTimeout"), "{said}");
}

#[test]
fn test_takes_options_from_a_file_and_the_environment() {
    let setup = Setup::new().rule("Good", "def rule(event):\n    return True\n");
    let yaml = setup.path("rules").join("Good.yml");
    std::fs::write(&yaml, std::fs::read_to_string(&yaml).unwrap() + "Owner: me\n").unwrap();
    let query =
        "AnalysisType: saved_query\nQueryName: q\nQuery: SELECT * FROM elsewhere.t JOIN aws_cloudtrail USING (a)\n";
    std::fs::write(setup.path("rules").join("query.yml"), query).unwrap();
    let said = |setup: &Setup, arguments: &[&str]| {
        let output = setup.margay(&[&["test"], arguments].concat());
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let (code, told) = said(&setup, &[]);
    assert_eq!(code, Some(1));
    assert!(told.contains("Owner") && told.contains("no table is known as elsewhere.t;"), "{told}");
    assert_eq!(said(&setup, &["--ignore-extra-keys", "--ignore-table-names"]).0, Some(0));
    assert_eq!(said(&setup, &["--ignore-extra-keys", "--valid-table-names", "ELSE*.t"]).0, Some(0));

    std::fs::write(setup.path(".panther_settings.yml"), "ignore_extra_keys: true\nvalid_table_names: [elsewhere.t]\n")
        .unwrap();
    assert_eq!(said(&setup, &[]).0, Some(0));
    let (code, told) = said(&setup, &["--minimum-tests", "1"]);
    assert!(code == Some(1) && told.contains("1 tests are required, 0 found"), "{told}");
    let setup = setup.with_variable("PANTHER_MINIMUM_TESTS", "1");
    assert_eq!(said(&setup, &[]).0, Some(1));
    assert_eq!(said(&setup, &["--minimum-tests", "0"]).0, Some(0));
    let setup = setup.with_variable("PANTHER_SKIP_TESTS", "perhaps");
    let (code, told) = said(&setup, &[]);
    assert!(code == Some(64) && told.contains("PANTHER_SKIP_TESTS must be true or false"), "{told}");
}
