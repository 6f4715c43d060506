//! How the way to a source is examined: against a real API server when all is well, and against one that refuses.

use serde_json::Value;

use crate::aws::{Aws, Channel};
use crate::cloud::{Cloud, Effect, Moment, Op, Refusal, on};
use crate::daemon::Setup;
use crate::events::logins;

const RULE: &str = "def rule(event):\n    return False\n";

/// The steps of the source `remote`, and the exit code.
fn checked(setup: &Setup) -> (Vec<Value>, i32) {
    let output = setup.margay(&["source", "check", "remote", "--config", "margay.toml", "--format", "jsonl"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let line: Value = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(line["source"], "remote");
    (line["checks"].as_array().unwrap().clone(), output.status.code().unwrap())
}

fn verdict<'c>(checks: &'c [Value], name: &str) -> &'c str {
    let check = checks.iter().find(|check| check["check"] == name);
    check.map_or("absent", |check| check["verdict"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_well_once_the_templates_are_applied() {
    let aws = Aws::start().await;
    let logs = aws.bucket_announced_by(Channel::SnsToSqs).await;
    let setup = Setup::new().rule("Never", RULE).reading_sqs(&aws, &logs);
    logs.put_gz("okta/a.json.gz", logins(2)).await;

    let (checks, code) = checked(&setup);
    assert_eq!((verdict(&checks, "queue"), code), ("failed", 1), "its policy lets nobody send: {checks:?}");
    let template =
        ["source", "template", "queue", "--config", "margay.toml", "--region", "us-east-1", "--format", "json"];
    let documents: Value = serde_json::from_slice(&setup.margay(&template).stdout).unwrap();
    aws.set_queue_policy(&logs.queue_url, &documents["QueuePolicy"].to_string()).await;

    let (checks, code) = checked(&setup);
    assert_eq!(code, 0, "{checks:?}");
    for (name, wanted) in [
        // The server lets everybody assume every role.
        ("role", "warning"),
        ("bucket", "healthy"),
        ("kms", "healthy"),
        ("list", "healthy"),
        ("read", "healthy"),
        ("encryption", "healthy"),
        ("notification", "healthy"),
        ("topic", "unknown"),
        ("queue", "warning"),
        ("flow", "unknown"),
    ] {
        assert_eq!(verdict(&checks, name), wanted, "{name}: {checks:?}");
    }
    assert_eq!(checks.len(), 10, "{checks:?}");
    let read = checks.iter().find(|check| check["check"] == "read").unwrap();
    assert!(read["message"].as_str().unwrap().contains("Okta.SystemLog"), "{read}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_asked_how_it_is_in_its_own_region() {
    let aws = Aws::start().await;
    let logs = aws.bucket_announced_by(Channel::Sqs).await;
    let elsewhere = aws.sdk.to_builder().region(aws_config::Region::new("eu-west-1")).build();
    let kms = aws_sdk_kms::Client::new(&elsewhere);
    let key = async || kms.create_key().send().await.unwrap().key_metadata.unwrap().arn.unwrap();
    let (own, other) = (key().await, key().await);
    assert!(own.starts_with("arn:aws:kms:eu-west-1:"), "{own}");
    let put = aws_sdk_s3::Client::new(&aws.sdk).put_object().bucket(&logs.bucket).key("okta/a.json");
    let put = put.server_side_encryption(aws_sdk_s3::types::ServerSideEncryption::AwsKms).ssekms_key_id(&own);
    put.body(logins(1).into_bytes().into()).send().await.unwrap();
    let setup = Setup::new().rule("Never", RULE).reading_sqs(&aws, &logs);
    let text = setup.config();
    let with_key = |key: &str| {
        setup.reconfigure(&text.replace("external_id =", &format!("kms_key_arn = \"{key}\"\nexternal_id =")));
        let (checks, _) = checked(&setup);
        (verdict(&checks, "kms").to_owned(), verdict(&checks, "encryption").to_owned(), format!("{checks:?}"))
    };

    let (kms_step, encryption, said) = with_key(&own);
    assert_eq!((kms_step.as_str(), encryption.as_str()), ("healthy", "healthy"), "{said}");
    assert!(said.contains("is enabled, and an object was read"), "{said}");
    let (_, encryption, said) = with_key(&other);
    assert!(encryption == "warning" && said.contains(&format!("kms_key_arn = \\\"{own}")), "{encryption}: {said}");
    let id = own.rsplit('/').next().unwrap();
    kms.disable_key().key_id(id).send().await.unwrap();
    let (kms_step, _, said) = with_key(&own);
    assert!(kms_step == "failed" && said.contains("aws kms enable-key --region eu-west-1"), "{said}");
    kms.schedule_key_deletion().key_id(id).send().await.unwrap();
    let (kms_step, _, said) = with_key(&own);
    assert!(kms_step == "failed" && said.contains("aws kms cancel-key-deletion"), "{said}");
    let (kms_step, _, said) = with_key(&own.replace("key/", "key/0"));
    assert!(kms_step == "failed" && said.contains("correct kms_key_arn"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_step_that_blocks_is_the_last() {
    let denied = || Effect::Refuse(Moment::Before, Refusal::new(403, "AccessDenied", "not authorized"));
    let cloud = Cloud::start();
    cloud.store("a.json", logins(1));
    let setup = Setup::new().rule("Never", RULE).reading_cloud(&cloud);
    let (checks, _) = checked(&setup);
    assert_eq!((verdict(&checks, "role"), verdict(&checks, "read")), ("warning", "healthy"), "{checks:?}");

    cloud.fault(on(Op::AssumeRole).times(9).does(denied()));
    let (checks, code) = checked(&setup);
    assert_eq!((checks.len(), verdict(&checks, "role"), code), (1, "failed", 1), "{checks:?}");
    let fix = checks[0]["fix"].as_str().unwrap();
    assert!(fix.contains("margay source template iam --source remote"), "{fix}");

    let cloud = Cloud::start();
    cloud.store("a.json", logins(1));
    cloud.fault(on(Op::ListObjects).times(9).does(denied()));
    let setup = Setup::new().rule("Never", RULE).reading_cloud(&cloud);
    let (checks, code) = checked(&setup);
    assert_eq!((verdict(&checks, "role"), verdict(&checks, "list"), code), ("warning", "failed", 1), "{checks:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_shows_what_the_daemon_has_seen() {
    let cloud = Cloud::start();
    let setup = Setup::new().rule("Never", RULE).reading_cloud(&cloud);
    let alone = setup.margay(&["source", "list", "--config", "margay.toml", "--format", "jsonl"]);
    let line: Value = serde_json::from_slice(&alone.stdout).unwrap();
    assert_eq!((&line["name"], &line["seen"]), (&"remote".into(), &Value::Null));
    assert!(String::from_utf8_lossy(&alone.stderr).contains("no daemon answers"));

    let daemon = setup.start().await;
    cloud.put("a.json", logins(3));
    daemon.until(|d| d.metrics().get("margay_messages_acknowledged_total") == 1.0).await;
    let listed = daemon.margay_beside(&["source", "list", "--config", "margay.toml", "--format", "jsonl"]);
    let line: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let seen = &line["seen"];
    assert_eq!((&seen["committed"], &seen["events"], &seen["failed"]), (&1.into(), &3.into(), &0.into()), "{line}");
    assert!(seen["last_notification"].as_str().is_some_and(|time| time.starts_with("20")), "{line}");

    let health = daemon.margay_beside(&["health"]);
    assert_eq!((health.status.code(), &health.stdout[..]), (Some(0), &b"alive\n"[..]));
    assert!(daemon.margay_beside(&["health", "--ready"]).status.success());
    drop(daemon);
    assert_eq!(setup.margay(&["health", "--address", "127.0.0.1:9"]).status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_examines_its_sources_again_and_again() {
    let cloud = Cloud::start();
    cloud.fault(
        on(Op::ListObjects)
            .times(u32::MAX)
            .does(Effect::Refuse(Moment::Before, Refusal::new(403, "AccessDenied", "not authorized"))),
    );
    let setup =
        Setup::new().rule("Never", RULE).reading_cloud(&cloud).configured("[pipeline]\nsource_check_seconds = 1\n");
    let daemon = setup.start().await;
    let failed = |step: &str| format!("margay_source_check_failed{{check=\"{step}\",source=\"remote\"}}");
    daemon.until(|d| d.metrics().get(&failed("list")) == 1.0).await;
    let metrics = daemon.metrics();
    assert_eq!(metrics.get(&failed("role")), 0.0);
    assert!(metrics.get("margay_source_check_timestamp_seconds{source=\"remote\"}") > 1_700_000_000.0);
    // Shown when the round is over.
    daemon.until(|d| d.get("/sources").contains("s3:ListBucket")).await;
    let asked = cloud.calls(Op::ListObjects).len();
    daemon.until(|_| cloud.calls(Op::ListObjects).len() > asked).await;
}

const BARE: &str = "[queue]\ntype = \"sqs\"\n[queue.sqs]\n\
                    url = \"https://sqs.eu-central-1.amazonaws.com/999988887777/margay\"\n# kept\n";

/// The file that sources are added to: the harness writes its own again for each command.
const FILE: &str = "sources.toml";

fn bare() -> Setup {
    let setup = Setup::new().rule("Never", RULE).configured(BARE);
    std::fs::write(setup.path(FILE), setup.config()).unwrap();
    setup
}

fn added(setup: &Setup, arguments: &[&str]) -> (Option<i32>, String) {
    let output = setup.margay(&[&["source", "add", "--config", FILE], arguments].concat());
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn a_source_that_is_added_is_one_that_templates_and_checks_know() {
    let setup = bare();
    let arguments = [
        "--name",
        "okta logs",
        "--bucket",
        "acme-okta",
        "--account",
        "012345678901",
        "--region",
        "us-west-2",
        "--log-type",
        "Okta.SystemLog",
        "--prefix",
        "a/",
        "--prefix",
        "b\"/",
    ];
    let (code, said) = added(&setup, &arguments);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("margay source template iam --source 'okta logs' --config sources.toml"), "{said}");
    let text = std::fs::read_to_string(setup.path(FILE)).unwrap();
    assert!(text.contains("# kept") && text.contains("account_id = \"012345678901\""), "{text}");
    let id = text.split("external_id = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    assert!(id.len() == 36 && said.contains(id), "{said}");
    let template = ["source", "template", "iam", "--source", "okta logs", "--config", FILE, "--format", "json"];
    let policies: Value = serde_json::from_slice(&setup.margay(&template).stdout).unwrap();
    let asked = &policies["TrustPolicy"]["Statement"][0]["Condition"]["StringEquals"]["sts:ExternalId"];
    assert_eq!(asked, id);
}

#[test]
fn a_source_that_would_be_wrong_leaves_the_file_as_it_was() {
    let setup = bare();
    let fine = ["--name", "okta", "--bucket", "acme-okta", "--log-type", "Okta.SystemLog"];
    assert_eq!(added(&setup, &fine).0, Some(0));
    let before = std::fs::read_to_string(setup.path(FILE)).unwrap();
    let other = |changes: [&'static str; 2]| {
        let given = [["--name", "other"], ["--bucket", "acme-other"], ["--log-type", "Okta.SystemLog"]];
        let kept = given.into_iter().filter(move |pair| pair[0] != changes[0]);
        kept.chain([changes]).flatten().collect::<Vec<_>>()
    };
    for (arguments, wanted) in [
        (other(["--name", "okta"]), "okta"),
        (other(["--bucket", "s3://acme-other/logs"]), "acme-other"),
        (other(["--prefix", "/logs/"]), "must not start with /"),
        (other(["--prefix", "logs/*"]), "*"),
        (other(["--account", "12345678901"]), "12 digits"),
        (other(["--kms", "arn:aws:kms:us-west-2:111122223333:alias/logs"]), "alias"),
        (other(["--log-type", "Okta.Nothing"]), "Okta.Nothing"),
        (other(["--stream-type", "Nothing"]), "stream_type"),
    ] {
        let (code, said) = added(&setup, &arguments);
        assert!(code == Some(64) && said.contains(wanted) && said.contains(FILE), "{arguments:?}: {said}");
        assert_eq!(std::fs::read_to_string(setup.path(FILE)).unwrap(), before, "{arguments:?}");
    }
    // Nobody would ask for the external id.
    let (code, said) = added(&setup, &other(["--external-id", "0e4b0bd2"]));
    assert!(code == Some(64) && said.contains("--account"), "{said}");
    assert_eq!(std::fs::read_to_string(setup.path(FILE)).unwrap(), before);
    let left = std::fs::read_dir(setup.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with(".margay-")).collect();
    assert!(left.is_empty(), "{left:?}");
}
