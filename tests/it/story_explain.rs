//! What would become of an object, told by the real binary: over a directory with rules, and over S3 in a role.

use std::process::Output;

use serde_json::Value;

use crate::aws::{Aws, Channel};
use crate::daemon::Setup;
use crate::events::{login, logins};

const LOGIN: &str = "def rule(event):\n    return event.deep_get('outcome', 'result') == 'SUCCESS'\n\
                     def title(event):\n    return f\"login of {event.deep_get('actor', 'alternateId')}\"\n\
                     def dedup(event):\n    return 'logins'\n\
                     def severity(event):\n    return 'HIGH'\n";

const BROKEN: &str = "def rule(event):\n    return event['nowhere']\n";

/// The first object of the explanation, which ends with this exit code.
fn explained(setup: &Setup, arguments: &[&str], code: i32) -> Value {
    let output = explain(setup, arguments);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_str(&said).unwrap();
    told["objects"][0].clone()
}

fn explain(setup: &Setup, arguments: &[&str]) -> Output {
    setup.margay(&[&["explain", "--config", "margay.toml", "--format", "json"], arguments].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_asked_and_nothing_is_recorded() {
    let setup = Setup::new().rule("Login", LOGIN).watching_directory();
    setup.file("a.jsonl", logins(3));
    let about = explained(&setup, &["s3://local/a.jsonl", "--events", "1"], 0);
    assert_eq!(about["ledger"], Value::Null, "there is no state file");
    let hit = &about["rules"]["hits"][0];
    for (name, value) in [
        ("rule", Value::from("Login")),
        ("title", "login of ana@example.com".into()),
        ("severity", "HIGH".into()),
        ("dedup", "logins".into()),
        ("events", 3.into()),
        ("destinations", serde_json::json!(["stdout"])),
    ] {
        assert_eq!(hit[name], value, "{name}: {hit}");
    }
    assert_eq!(about["events"].as_array().unwrap().len(), 1);
    assert!(!setup.path("margay.db").exists(), "it makes no state file");

    // As a daemon finds it afterwards: nobody was there.
    let daemon = setup.start().await;
    daemon.until(|d| d.counts().values().sum::<u64>() == 3).await;
    let about = explained(&setup, &["s3://local/a.jsonl"], 0);
    assert_eq!(
        (&about["ledger"]["entry"]["state"], &about["ledger"]["entry"]["is_final"]),
        (&"committed".into(), &true.into())
    );
    assert_eq!(setup.counts().values().sum::<u64>(), 3, "nothing was counted twice");
}

#[test]
fn a_rule_that_fails_is_where_it_stops() {
    let setup = Setup::new().rule("Broken", BROKEN).watching_directory();
    setup.file("a.jsonl", login());
    let about = explained(&setup, &["s3://local/a.jsonl"], 1);
    assert_eq!(about["stop"]["at"], "rules");
    let hit = &about["rules"]["hits"][0];
    assert_eq!(
        (&hit["rule"], &hit["kind"], &hit["dedup"]),
        (&"Broken".into(), &"RULE_ERROR".into(), &"KeyError".into())
    );
    assert!(about["stop"]["why"].as_str().unwrap().contains("nowhere"), "{}", about["stop"]);
}

#[test]
fn what_names_no_object_is_a_usage_error_and_a_missing_file_a_failure() {
    let setup = Setup::new().watching_directory();
    for (what, code, part) in [("s3://local", 64, "s3://bucket/key"), ("nowhere.json", 1, "nowhere.json")] {
        let output = explain(&setup, &[what]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(part), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_s3_is_read_in_its_role_and_its_message_stays() {
    let aws = Aws::start().await;
    let logs = aws.bucket_announced_by(Channel::SnsToSqs).await;
    logs.keep_versions().await;
    let setup = Setup::new().rule("Login", LOGIN).reading_sqs(&aws, &logs);
    logs.put_gz("okta/a.gz", logins(2)).await;
    let first = explained(&setup, &[&format!("s3://{}/okta/a.gz", logs.bucket)], 0);
    logs.put("okta/a.gz", "no login\n").await;

    let version = first["version_id"].as_str().unwrap();
    let address = format!("s3://{}/okta/a.gz?versionId={version}", logs.bucket);
    let about = explained(&setup, &[&address], 0);
    assert_eq!(about["decoded"]["layers"], serde_json::json!(["gzip"]));
    assert_eq!(about["identity"]["role_arn"], logs.role_arn.as_str());
    assert_eq!(about["identity"]["session"], "margay-remote");
    assert_eq!(
        about["identity"]["region"],
        serde_json::json!({ "name": crate::aws::REGION, "from": "the environment" })
    );
    assert_eq!(about["rules"]["hits"][0]["events"], 2);
    let now = explained(&setup, &[&format!("s3://{}/okta/a.gz", logs.bucket)], 1);
    assert_eq!(now["stop"]["at"], "log types");

    let missing = format!(r#"{{"s3Bucket":"{}","s3ObjectKey":["okta/none.gz"]}}"#, logs.bucket);
    std::fs::write(setup.path("missing.json"), missing).unwrap();
    let about = explained(&setup, &["missing.json"], 1);
    assert_eq!(about["stop"]["at"], "missing");
    assert_eq!(logs.depth().await, 2, "both messages are still there");
}
