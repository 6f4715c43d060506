//! Parquet files as objects, told as stories with the real binary.

use std::fs;

use crate::daemon::{Setup, shipped};

/// What OCSF says of an API call, as far as the rule needs it.
const ACTIVITY: &str = "version: 0\nschema: Custom.Activity\nfields:\n\
                        \x20 - { name: metadata, type: json }\n\
                        \x20 - { name: time, type: bigint }\n\
                        \x20 - { name: time_dt, type: timestamp, timeFormats: [rfc3339], isEventTime: true }\n\
                        \x20 - { name: class_name, type: string, required: true }\n\
                        \x20 - { name: api, type: json, required: true }\n\
                        \x20 - { name: actor, type: json }\n\
                        \x20 - { name: src_endpoint, type: json }\n\
                        \x20 - { name: resources, type: json }\n\
                        \x20 - { name: unmapped, type: json }\n";

const BY_OPERATION: &str = "def rule(event):\n    return event.deep_get('actor', 'user', 'type') == 'Root'\n\
                            def title(event):\n    return event.deep_get('api', 'operation')\n";

/// A source of Security Lake, and objects of which nothing is said.
fn setup() -> Setup {
    let setup = Setup::new().configured(
        "[queue]\ntype = \"directory\"\n[queue.directory]\npath = \"bucket\"\nscan_interval_ms = 50\n\
         [log_types]\ndirectories = [\"types\"]\n\
         [[sources]]\nname = \"lake\"\nbucket = \"local\"\nprefixes = [\n\
         { prefix = \"aws/\", log_types = [\"Custom.Activity\"], stream_type = \"Parquet\" },\n\
         { prefix = \"other/\", log_types = [\"Custom.Activity\"] },\n]\n",
    );
    fs::create_dir(setup.path("types")).unwrap();
    fs::write(setup.path("types/activity.yml"), ACTIVITY).unwrap();
    setup.write_rule_over("Custom.Activity", "Root", BY_OPERATION);
    setup
}

fn security_lake() -> Vec<u8> {
    fs::read(shipped("tests/corpus/parquet/security-lake.parquet")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_security_lake_become_events() {
    let setup = setup();
    let daemon = setup.start().await;
    let key = "aws/CLOUD_TRAIL_MGMT/2.0/region=eu-central-1/accountId=111122223333/eventDay=20260115/x.gz.parquet";
    setup.file(key, security_lake());
    daemon.until(|d| d.counts().get("CreateAccessKey") == Some(&2) && d.counts().contains_key("DeleteTrail")).await;
    // Its first bytes say what it is.
    setup.file("other/x", security_lake());
    daemon.until(|d| d.counts().get("CreateAccessKey") == Some(&4)).await;
    assert_eq!(daemon.metrics().get(r#"margay_classification_failures_total{source="lake"}"#), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_whole_parquet_file_is_quarantined_and_the_others_are_read() {
    let setup = setup();
    let whole = security_lake();
    setup.file("aws/cut.parquet", &whole[..whole.len() - 20]);
    setup.file("aws/text.parquet", "{\"class_name\":\"API Activity\"}\n");
    setup.file("other/packed.parquet.gz", crate::aws::gzip(&whole));
    setup.file("aws/whole.parquet", &whole);
    let daemon = setup.start().await;
    daemon.until(|d| d.metrics().get(r#"margay_objects_total{source="lake",state="quarantined"}"#) == 3.0).await;
    daemon.until(|d| d.counts().get("CreateAccessKey") == Some(&2)).await;
}

#[test]
fn a_parquet_file_is_parsed_on_the_command_line() {
    let setup = setup();
    setup.file("x.parquet", security_lake());
    let parsed = setup.margay(&["parse", "bucket/x.parquet", "--log-types", "types", "--log-type", "Custom.Activity"]);
    let printed = String::from_utf8(parsed.stdout).unwrap();
    assert!(parsed.status.success(), "{}", String::from_utf8_lossy(&parsed.stderr));
    let events: Vec<serde_json::Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 3);
    assert_eq!(events[1]["p_event_time"], "2026-01-15 09:15:00.000000000");
    assert_eq!(events[0]["resources"][0]["uid"], "arn:aws:iam::111122223333:user/ana");
}
