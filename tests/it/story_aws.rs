//! The way through AWS: buckets, topics, queues and roles of a real API server, and the real binary.

use crate::aws::{Aws, Channel};
use crate::daemon::Setup;
use crate::events::{login, logins};

const EVERY_LOGIN: &str = "def rule(event):\n    return event.deep_get('outcome', 'result') == 'SUCCESS'\n\
                           def title(event):\n    return f\"login of {event.deep_get('actor', 'alternateId')}\"\n";

const TITLE: &str = "login of ana@example.com";

#[tokio::test(flavor = "multi_thread")]
async fn one_object_in_one_alert_out_on_every_channel() {
    let aws = Aws::start().await;
    for channel in [Channel::Sqs, Channel::SnsToSqs, Channel::RawSnsToSqs] {
        let logs = aws.bucket_announced_by(channel).await;
        let setup = Setup::new().rule("Login", EVERY_LOGIN).reading_sqs(&aws, &logs);
        let daemon = setup.start().await;
        logs.put_gz("okta/a+b c%d/log.json.gz", logins(3)).await;
        daemon.until(|d| d.metrics().get("margay_messages_acknowledged_total") == 1.0).await;
        let alerts = setup.alerts();
        assert_eq!(
            (alerts.len(), &alerts[0]["title"], &alerts[0]["eventCount"]),
            (1, &TITLE.into(), &3.into()),
            "{channel:?}"
        );
        assert_eq!(logs.depth().await, 0, "{channel:?}");

        let metrics = daemon.metrics();
        for (sample, value) in [
            (r#"margay_objects_total{source="remote",state="committed"}"#, 1.0),
            (r#"margay_events_total{log_type="Okta.SystemLog",source="remote"}"#, 3.0),
            (r#"margay_rule_matches_total{rule="Login"}"#, 3.0),
            (r#"margay_alerts_opened_total{rule="Login",severity="MEDIUM",type="RULE"}"#, 1.0),
            ("margay_rule_evaluations_total", 3.0),
            ("margay_queue_errors_total", 0.0),
        ] {
            assert_eq!(metrics.get(sample), value, "{channel:?} {sample}");
        }
        assert!(metrics.names().any(|name| name == "process_resident_memory_bytes"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_in_the_middle_of_an_object_leaves_its_message_to_the_next() {
    let slow =
        "import time\ndef rule(event):\n    time.sleep(0.002)\n    return True\ndef title(event):\n    return 'slow'\n";
    let aws = Aws::start().await;
    let logs = aws.bucket_announced_by(Channel::SnsToSqs).await;
    let setup = Setup::new().rule("Slow", slow).reading_sqs(&aws, &logs);
    logs.put_gz("a.jsonl.gz", logins(2000)).await;
    let mut daemon = setup.start().await;
    daemon.until(|d| d.counts().contains_key("slow")).await;
    daemon.signal("KILL");
    daemon.ended();
    assert!(setup.counts()["slow"] < 2000, "it was killed in the middle of the object");
    assert_eq!(logs.depth().await, 1, "the message is still there");

    let daemon = setup.start().await;
    daemon.until(|d| d.metrics().get("margay_messages_acknowledged_total") == 1.0).await;
    let alerts = setup.alerts();
    assert_eq!((alerts.len(), &alerts[0]["eventCount"]), (1, &2000.into()));
    assert_eq!(logs.depth().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_announced_twice_is_read_once() {
    let aws = Aws::start().await;
    let logs = aws.bucket_announced_by(Channel::Sqs).await;
    let setup = Setup::new().rule("Login", EVERY_LOGIN).reading_sqs(&aws, &logs);
    let daemon = setup.start().await;
    logs.put("a.jsonl", login()).await;
    daemon.until(|d| d.metrics().get("margay_messages_acknowledged_total") == 1.0).await;
    let again = format!(r#"{{"s3Bucket":"{}","s3ObjectKey":["a.jsonl"]}}"#, logs.bucket);
    aws.send(&logs.queue_url, &again).await;
    daemon.until(|d| d.metrics().get("margay_messages_acknowledged_total") == 2.0).await;
    assert_eq!(setup.counts()[TITLE], 1);
    assert_eq!(daemon.metrics().get(r#"margay_events_total{log_type="Okta.SystemLog",source="remote"}"#), 1.0);
}
