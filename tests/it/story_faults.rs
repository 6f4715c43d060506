//! Bad input: each kind gives one clear outcome, is kept with its reason, and costs the others nothing.

use crate::aws::{Aws, Channel, gzip};
use crate::daemon::Setup;
use crate::events::{login, logins};

const EVERY: &str = "def rule(event):\n    return True\ndef title(event):\n    return 'seen'\n";

#[tokio::test(flavor = "multi_thread")]
async fn broken_objects_and_records_are_kept_and_the_rest_is_evaluated() {
    let setup = Setup::new().rule("Every", EVERY).watching_directory();
    let whole = gzip(logins(400));
    setup.file("cut.jsonl.gz", &whole[..whole.len() / 2]);
    setup.file("text.jsonl", [logins(2).as_bytes(), b"\xff\xfe not text\n", login().as_bytes()].concat());
    setup.file("array.jsonl", format!("{}[1, 2]\n\"text\"\nno json\n", login()));
    setup.file("empty.jsonl", "");
    setup.file("archive.zip", b"PK\x03\x04 and more");
    let daemon = setup.start().await;
    let objects =
        |state: &str| daemon.metrics().get(&format!("margay_objects_total{{source=\"local\",state=\"{state}\"}}"));
    daemon.until(|_| objects("committed") == 2.0 && objects("quarantined") == 2.0 && objects("empty") == 1.0).await;
    assert_eq!(daemon.metrics().get(r#"margay_classification_failures_total{source="local"}"#), 5.0);
    let seen = setup.counts()["seen"];
    assert!((4..=404).contains(&seen), "the readable part of the cut object was evaluated once: {seen}");
    let events = daemon.metrics().get(r#"margay_events_total{log_type="Okta.SystemLog",source="local"}"#);
    assert!(events as u64 >= seen, "{events} events, {seen} matches");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_messages_buckets_and_missing_objects_have_their_outcome() {
    let aws = Aws::start().await;
    let logs = aws.bucket_announced_by(Channel::Sqs).await;
    let setup = Setup::new().rule("Every", EVERY).reading_sqs(&aws, &logs);
    aws.send(&logs.queue_url, "this is no notification").await;
    aws.send(&logs.queue_url, r#"{"s3Bucket":"nobodys-bucket","s3ObjectKey":["a.json"]}"#).await;
    aws.send(&logs.queue_url, r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"x"}"#).await;
    logs.put("good.jsonl", login()).await;
    let daemon = setup.start().await;
    daemon.until(|d| d.counts().contains_key("seen")).await;
    daemon.until(|d| d.metrics().get("margay_messages_acknowledged_total") == 4.0).await;
    let metrics = daemon.metrics();
    assert_eq!(metrics.get(r#"margay_messages_quarantined_total{code="bad_message"}"#), 1.0);
    assert_eq!(metrics.get(r#"margay_objects_total{source="",state="unrouted"}"#), 1.0);
    assert_eq!(logs.depth().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_object_is_looked_for_again_before_its_message_goes() {
    let aws = Aws::start().await;
    let logs = aws.bucket_announced_by(Channel::Sqs).await;
    let setup = Setup::new().rule("Every", EVERY).reading_sqs(&aws, &logs);
    aws.send(&logs.queue_url, &format!(r#"{{"s3Bucket":"{}","s3ObjectKey":["late.jsonl"]}}"#, logs.bucket)).await;
    let daemon = setup.start().await;
    daemon.until(|d| d.metrics().get(r#"margay_messages_released_total{reason="missing"}"#) == 1.0).await;
    logs.put("late.jsonl", login()).await;
    daemon.until(|d| d.counts().contains_key("seen")).await;
    daemon.until(|d| d.metrics().get("margay_messages_acknowledged_total") == 2.0).await;
    assert_eq!(logs.depth().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_is_listed_and_tried_again_once_its_cause_is_mended() {
    let rest = "[queue]\ntype = \"directory\"\n[queue.directory]\npath = \"bucket\"\nscan_interval_ms = 50\n";
    let setup = Setup::new().rule("Every", EVERY).configured(rest);
    setup.file("late/a.jsonl", login());
    let daemon = setup.start().await;
    daemon.until(|d| d.metrics().get(r#"margay_objects_total{source="",state="unrouted"}"#) == 1.0).await;
    drop(daemon);
    let listed = setup.margay(&["quarantine", "list", "--config", "margay.toml", "--format", "jsonl"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!((&listed["kind"], &listed["subject"]), (&"object".into(), &"s3://local/late/a.jsonl".into()));

    let source =
        "[[sources]]\nname = \"late\"\nbucket = \"local\"\nprefixes = [{ log_types = [\"Okta.SystemLog\"] }]\n";
    let setup = setup.configured(source);
    let daemon = setup.start().await;
    daemon.until(|d| d.counts().contains_key("seen")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_whose_queue_refuses_is_not_ready() {
    let aws = Aws::start().await;
    let logs = aws.bucket_announced_by(Channel::Sqs).await;
    let setup = Setup::new().rule("Every", EVERY).reading_sqs(&aws, &logs);
    let daemon = setup.start().await;
    aws.delete_queue(&logs.queue_url).await;
    daemon.until(|d| d.get("/readyz").contains(&logs.queue_url)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_misbehave_are_rule_errors_and_cost_the_others_nothing() {
    let setup = Setup::new()
        .configured("call_timeout_ms = 300\n")
        .rule("Every", EVERY)
        .rule("Text", "def rule(event):\n    return 'yes'\n")
        .rule("Raises", "def rule(event):\n    return event['nothing'] == 1\n")
        .rule("Endless", "def rule(event):\n    while True: pass\n")
        .rule("Regex", "import re\ndef rule(event):\n    return bool(re.match('(a+)+$', 'a' * 40 + '!'))\n")
        .rule("Exits", "def rule(event):\n    raise SystemExit(3)\n")
        .rule("Syntax", "def rule(event)\n    return True\n")
        .watching_directory();
    setup.file("a.jsonl", logins(3));
    let daemon = setup.start().await;
    daemon.until(|d| d.metrics().get(r#"margay_objects_total{source="local",state="committed"}"#) == 1.0).await;
    assert_eq!(setup.counts()["seen"], 3);
    let mut errors: Vec<(String, String)> = setup
        .alerts()
        .iter()
        .filter(|alert| alert["type"] == "RULE_ERROR")
        .map(|alert| (alert["ruleId"].as_str().unwrap().to_owned(), alert["dedup"].as_str().unwrap().to_owned()))
        .collect();
    errors.sort();
    let expected = [
        ("Endless", "RuleTimeout"),
        ("Exits", "SystemExit"),
        ("Raises", "KeyError"),
        ("Regex", "RuleTimeout"),
        ("Syntax", "SyntaxError"),
        ("Text", "FunctionReturnTypeError"),
    ];
    let expected: Vec<_> = expected.iter().map(|(rule, error)| (rule.to_string(), error.to_string())).collect();
    assert_eq!(errors, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn matches_with_large_contexts_are_all_kept() {
    let large = "def rule(event):\n    return True\ndef title(event):\n    return 'large'\n\
                 def alert_context(event):\n    return {'text': 'x' * 190000}\n";
    let setup = Setup::new().rule("LargeA", large).rule("LargeB", large).rule("Every", EVERY).watching_directory();
    setup.file("a.jsonl", logins(300));
    let daemon = setup.start().await;
    daemon.until(|d| d.metrics().get(r#"margay_objects_total{source="local",state="committed"}"#) == 1.0).await;
    assert_eq!(setup.counts(), [("large".into(), 600), ("seen".into(), 300)].into());
    assert!(setup.alerts().iter().all(|alert| alert["type"] == "RULE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_hostile_text_switches_off_is_told_and_the_others_go_on() {
    let regex =
        "import re\ndef rule(event):\n    return bool(re.fullmatch(r'(?!z)(x+x+)+y', event.get('displayMessage')))\n";
    let setup = Setup::new()
        .configured("call_timeout_ms = 200\n")
        .rule("Regex", regex)
        .rule("Every", EVERY)
        .watching_directory();
    let hostile = logins(8).replace("User login to Okta", &"x".repeat(60));
    setup.file("a.jsonl", hostile + &logins(4));
    let daemon = setup.start().await;
    daemon.until(|d| d.metrics().get(r#"margay_objects_total{source="local",state="committed"}"#) == 1.0).await;
    assert_eq!(setup.counts()["seen"], 12);
    let alerts = setup.alerts();
    let errors: Vec<_> =
        alerts.iter().filter(|alert| alert["ruleId"] == "Regex").map(|alert| &alert["dedup"]).collect();
    assert!(errors.contains(&&"RuleTimeout".into()) && errors.contains(&&"RuleDisabled".into()), "{errors:?}");
    assert_eq!(daemon.metrics().get(r#"margay_rules_disabled_total{rule="Regex"}"#), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_object_that_unpacks_to_very_much_stays_within_the_memory() {
    let setup = Setup::new().rule("Every", EVERY).watching_directory();
    setup.file("blank.gz", gzip("\n".repeat(64 * 1024 * 1024)));
    setup.file("rejects.gz", gzip("x\n".repeat(200_000)));
    setup.file("good.jsonl", login());
    let daemon = setup.start().await;
    daemon.until(|d| d.metrics().get(r#"margay_objects_total{source="local",state="committed"}"#) == 3.0).await;
    assert!(daemon.metrics().get("process_resident_memory_bytes") < 512.0 * 1024.0 * 1024.0);
    let kept =
        setup.margay(&["quarantine", "list", "--config", "margay.toml", "--format", "jsonl", "--limit", "20000"]);
    assert_eq!(String::from_utf8(kept.stdout).unwrap().lines().count(), 10_000, "the first of the rejects");
}
