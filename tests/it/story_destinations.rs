//! Alerts on their way to people, with the real binary: a webhook and a file, a server that is down, a daemon that is
//! killed, and the commands that people work with.

use std::fs;

use serde_json::Value;

use crate::aws::{Aws, Channel};
use crate::daemon::Setup;
use crate::events::{login, logins};
use crate::vendor::Vendor;

/// An alert for each.
const EACH_LOGIN: &str = "def rule(event):\n    return True\ndef title(event):\n    return event['uuid']\n";

const EVERY_LOGIN: &str = "def rule(event):\n    return event['eventType'] == 'user.session.start'\n\
                           def title(event):\n    return 'login'\n";

/// A rule, a webhook at the vendor, and a file.
fn setup(vendor: &Vendor) -> Setup {
    let setup = Setup::new().rule("Login", EVERY_LOGIN).watching_directory().configured(
        "[alerts]\nlink_base = \"https://margay.example\"\nstdout.enabled = false\n\
         [[alerts.destinations]]\nname = \"hook\"\nallow_http = true\nallow_hosts = [\"127.0.0.1\"]\n\
         webhook.url = \"file:url\"\nwebhook.signing_key = \"file:key\"\n\
         [[alerts.destinations]]\nname = \"log\"\nfile.path = \"alerts.jsonl\"\n",
    );
    fs::write(setup.path("url"), format!("{}\n", vendor.url)).unwrap();
    fs::write(setup.path("key"), "hunter2-of-the-hook").unwrap();
    setup
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_killed_before_an_alert_is_taken_delivers_it_after_its_restart() {
    let vendor = Vendor::answering(503);
    let setup = setup(&vendor);
    let mut daemon = setup.start().await;
    setup.file("a.jsonl", login());
    daemon.until(|_| !vendor.sent().is_empty()).await;
    daemon.signal("KILL");
    daemon.ended();
    drop(daemon);

    let refused = vendor.sent().len();
    vendor.answer(200);
    let daemon = setup.start().await;
    let delivered = r#"margay_deliveries_total{destination="hook",outcome="delivered"}"#;
    daemon.until(|daemon| daemon.metrics().get(delivered) == 1.0).await;
    let sent = vendor.sent();
    assert_eq!(sent.len(), refused + 1, "it was taken once");
    let key = sent[0].header("idempotency-key").unwrap();
    assert!(sent.iter().all(|one| one.header("idempotency-key") == Some(key)));
    let last = sent.last().unwrap();
    assert!(last.header("x-margay-signature").is_some_and(|value| value.starts_with("t=")), "{}", last.head);
    assert_eq!((&last.body["title"], &last.body["id"]), (&"New Alert: login".into(), &"Login".into()));
    let id = last.body["alertId"].as_str().unwrap();
    assert_eq!(last.body["link"], format!("https://margay.example/alerts/{id}"));
    let lines = fs::read_to_string(setup.path("alerts.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 1, "the other destination was told once: {lines}");

    let responses = &setup.alerts()[0]["deliveryResponses"];
    let hook: Vec<(&Value, &Value)> = responses
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["destinationId"] == "hook")
        .map(|one| (&one["statusCode"], &one["success"]))
        .collect();
    assert_eq!(hook.last(), Some(&(&200.into(), &true.into())), "{responses}");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_work_on_an_alert_and_send_it_again() {
    let vendor = Vendor::answering(200);
    let setup = setup(&vendor);
    let daemon = setup.start().await;
    setup.file("a.jsonl", logins(3));
    daemon.until(|_| vendor.sent().len() == 1).await;
    let id = setup.alerts()[0]["id"].as_str().unwrap().to_owned();
    let run = |arguments: &[&str]| {
        let output = setup.margay(&[arguments, &["--config", "margay.toml"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    run(&["alerts", "set", &id, "--status", "triaged", "--assignee", "ana", "--comment", "looking", "--by", "ana"]);
    let shown = run(&["alerts", "show", &id]);
    for part in ["status       TRIAGED", "ana comment looking", "delivery     "] {
        assert!(shown.contains(part), "no `{part}` in {shown}");
    }
    assert_eq!(run(&["alerts", "events", &id]).lines().count(), 3);
    assert_eq!(run(&["alerts", "list", "--status", "open"]).lines().count(), 1, "a header and nothing else");
    run(&["alerts", "resend", &id, "--to", "hook"]);
    daemon.until(|_| vendor.sent().len() == 2).await;
    assert_eq!(vendor.sent()[1].body["title"], "[Re-sent]: New Alert: login");

    assert_eq!(run(&["destinations", "list"]).lines().count(), 2);
    run(&["destinations", "test", "hook"]);
    assert_eq!(vendor.sent()[2].body["id"], "Test.Alert");
    vendor.answer(401);
    let failed = setup.margay(&["destinations", "test", "hook", "--config", "margay.toml"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(text(&failed.stderr).contains("status 401"), "{}", text(&failed.stderr));
    let unknown = setup.margay(&["alerts", "set", "none", "--status", "closed", "--config", "margay.toml"]);
    assert_eq!(unknown.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_missing_ends_the_start_and_is_told() {
    let vendor = Vendor::answering(200);
    let setup = setup(&vendor);
    fs::remove_file(setup.path("key")).unwrap();
    for command in ["run", "check"] {
        let output = setup.margay(&[command, "--config", "margay.toml"]);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("(`hook`) needs the secret in") && !said.contains("hunter2"), "{said}");
    }
    let dump = setup.margay(&["config", "--dump", "--config", "margay.toml"]);
    assert!(text(&dump.stdout).contains("signing_key = \"file:key\""), "{}", text(&dump.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_and_a_topic_of_aws_get_the_alert() {
    let aws = Aws::start().await;
    let logs = aws.bucket_announced_by(Channel::Sqs).await;
    let (queue, topic) = (aws.queue(30).await, aws.topic().await);
    let subscribed = aws.queue(30).await;
    aws.subscribe(&topic, &subscribed).await;
    let setup = Setup::new().rule("Login", EVERY_LOGIN).reading_sqs(&aws, &logs).configured(&format!(
        "[[alerts.destinations]]\nname = \"queue\"\nsqs = {{ queue_url = \"{queue}\", region = \"us-east-1\" }}\n\
         [[alerts.destinations]]\nname = \"topic\"\nsns.topic_arn = \"{topic}\"\n"
    ));
    let daemon = setup.start().await;
    logs.put_gz("okta/log.json.gz", logins(1)).await;
    for name in ["queue", "topic"] {
        let delivered = format!(r#"margay_deliveries_total{{destination="{name}",outcome="delivered"}}"#);
        daemon.until(|daemon| daemon.metrics().get(&delivered) == 1.0).await;
    }
    let body: Value = serde_json::from_str(&aws.receive(&queue).await).unwrap();
    assert_eq!((&body["id"], &body["title"]), (&"Login".into(), &"New Alert: login".into()));
    let envelope: Value = serde_json::from_str(&aws.receive(&subscribed).await).unwrap();
    assert_eq!(envelope["Subject"], "New Alert: login");
    let inner: Value = serde_json::from_str(envelope["Message"].as_str().unwrap()).unwrap();
    assert_eq!(inner["alertId"], body["alertId"]);
}

/// The key of a pager lies in AWS and is replaced there: the daemon finds the new one when the old one is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_aws_is_read_and_read_again_when_it_is_refused() {
    let aws = Aws::start().await;
    let secrets = aws_sdk_secretsmanager::Client::new(&aws.sdk);
    let name = format!("margay/pager-{:016x}", std::process::id());
    let value = |key: &str| serde_json::json!({ "key": key, "other": 1 }).to_string();
    let created = secrets.create_secret().name(&name).secret_string(value("key-of-old")).send().await.unwrap();
    let (arn, vendor) = (created.arn().unwrap().to_owned(), Vendor::answering(401));
    let endpoint = vendor.url.trim_end_matches("/hook").to_owned();
    let pager = |secret: &str| {
        format!(
            "[[alerts.destinations]]\nname = \"pager\"\nallow_http = true\nallow_hosts = [\"127.0.0.1\"]\n\
             pagerduty = {{ integration_key = \"aws:{secret}\", endpoint = \"{endpoint}\" }}\n"
        )
    };
    let mut setup = Setup::new().rule("Login", EACH_LOGIN).watching_directory();
    for (name, value) in aws.env() {
        setup = setup.with_variable(name, &value);
    }
    let former = setup.config();
    for (secret, said) in [("margay/none", "ResourceNotFoundException"), (&*format!("{name}#other"), "no such text")] {
        setup.reconfigure(&(former.clone() + &pager(secret)));
        let checked = setup.margay(&["check", "--config", "margay.toml"]);
        let told = text(&checked.stdout) + &text(&checked.stderr);
        assert!(told.contains("(`pager`) needs") && told.contains(said) && !told.contains("key-of-old"), "{told}");
    }
    setup.reconfigure(&(former + &pager(&format!("{arn}#key"))));
    let daemon = setup.start().await;
    secrets.put_secret_value().secret_id(&name).secret_string(value("key-of-new")).send().await.unwrap();
    let sent = |key: &str| vendor.sent().iter().any(|one| one.body["routing_key"] == key);
    setup.file("a.jsonl", login());
    daemon.until(|_| sent("key-of-old")).await;
    // Each alert is an attempt of its own; whether the new key is there by now is seen by what the pager gets.
    for number in 0..100 {
        let before = vendor.sent().len();
        setup.file(&format!("b{number}.jsonl"), login());
        daemon.until(|_| vendor.sent().len() > before).await;
        if sent("key-of-new") {
            return;
        }
    }
    panic!("the new key is never used");
}
