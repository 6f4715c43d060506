//! Every template against its golden text, and what must hold for all of them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::tests::{prefix, source};
use super::*;

const ROLE: &str = "arn:aws:iam::111122223333:role/MargayLogProcessingRole-trail";

/// A bucket of another account and region than the daemon's, and two sources beside it.
fn sources() -> Vec<SourceConfig> {
    let trail = SourceConfig {
        account_id: Some("111122223333".into()),
        region: Some("us-west-2".into()),
        role_arn: Some(ROLE.into()),
        external_id: Some("e1f7a2c4".into()),
        kms_key_arn: Some("arn:aws:kms:us-west-2:111122223333:key/1a-2b".into()),
        ..source(
            "trail",
            "acme-trail",
            [prefix("AWSLogs/", "AWS.CloudTrail"), prefix("AWSLogs/o-1/", "AWS.CloudTrail")],
        )
    };
    let flow = SourceConfig {
        account_id: trail.account_id.clone(),
        region: trail.region.clone(),
        ..source("flow", "acme-flow", [prefix("a/", "AWS.VPCFlow"), prefix("b ${x}\"/", "AWS.VPCFlow")])
    };
    let okta = SourceConfig {
        account_id: Some("012345678901".into()),
        region: Some("eu-central-1".into()),
        role_name: Some("default".into()),
        ..source("Okta logs", "acme-okta", [prefix("", "Okta.SystemLog")])
    };
    vec![trail, flow, okta]
}

fn setting(sources: &[SourceConfig]) -> Setting<'_> {
    let daemon = Daemon::new("https://sqs.eu-central-1.amazonaws.com/999988887777/margay", None, None).unwrap();
    Setting {
        daemon,
        sources,
        topics: vec![TOPIC.to_owned()],
        folders: Folders::default(),
        operator: None,
        lake: Lake::default(),
        outlets: Outlets::default(),
        secrets: Vec::new(),
    }
}

/// A daemon that keeps its events in AWS and sends alerts there.
fn keeping(sources: &[SourceConfig]) -> Setting<'_> {
    let glue = Glue { databases: "margay_".into(), ..Glue::default() };
    Setting {
        lake: Lake { files: Some(("acme-lake".into(), "margay/".into())), glue: Some(glue) },
        outlets: Outlets {
            roles: vec!["arn:aws:iam::444455556666:role/publish".into()],
            topics: vec!["arn:aws:sns:eu-west-1:999988887777:alerts".into()],
            queues: Outlets::queue_arn("https://sqs.eu-west-1.amazonaws.com/999988887777/tickets", None)
                .into_iter()
                .collect(),
        },
        secrets: vec!["arn:aws:secretsmanager:eu-west-1:444455556666:secret:api-AbCdEf".into(), "margay/slack".into()],
        ..setting(sources)
    }
}

/// All templates, each in all formats, by the names of their golden files.
fn all(format: Format) -> Vec<(&'static str, String)> {
    let sources = sources();
    let setting = setting(&sources);
    let of = |at: usize, kind: Kind<'_>| of_source(&setting, &sources[at], &kind, format).unwrap();
    let existing =
        Notifications { existing: Some("arn:aws:sns:us-west-2:111122223333:theirs"), ..Notifications::default() };
    let trail = Some("arn:aws:cloudtrail:us-west-2:111122223333:trail/main");
    let full = Notifications { trail, encrypted: true, ..Notifications::default() };
    vec![
        ("iam", of(0, Kind::Iam)),
        ("iam-by-name", of(2, Kind::Iam)),
        ("notifications", of(2, Kind::Notifications(Notifications::default()))),
        ("notifications-of-two-buckets", of(0, Kind::Notifications(full))),
        ("notifications-existing", of(0, Kind::Notifications(existing))),
        ("bucket", of(0, Kind::Bucket)),
        ("bucket-of-two-prefixes", of(1, Kind::Bucket)),
        ("queue", of_daemon(&setting, Host::Ecs, 300, format).unwrap()),
        ("queue-eks", of_daemon(&setting, Host::Eks, 300, format).unwrap()),
        ("queue-lake", of_daemon(&keeping(&sources), Host::Ecs, 300, format).unwrap()),
        ("lake", of_lake(&keeping(&sources), format).unwrap()),
    ]
}

#[test]
fn templates_are_as_they_were() {
    for (format, extension) in [(Format::CloudFormation, "yaml"), (Format::Terraform, "tf"), (Format::Json, "json")] {
        for (name, text) in all(format) {
            insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
                insta::assert_snapshot!(format!("{name}.{extension}"), text);
            });
        }
    }
}

/// Every statement of a document.
fn statements(document: &Value) -> Vec<Value> {
    match document.get("Statement") {
        Some(statements) => statements.as_array().unwrap().clone(),
        None if document.get("Effect").is_some() => vec![document.clone()],
        None => Vec::new(),
    }
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        other => panic!("neither a text nor texts: {other}"),
    }
}

#[test]
fn the_daemon_may_read_folders_in_s3_as_itself_or_as_their_role() {
    let mut setting = setting(&[]);
    let policy = |setting: &Setting<'_>| {
        let text = of_daemon(setting, Host::Ecs, 120, Format::Json).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["DaemonPolicy"]["Statement"].clone()
    };
    assert!(!policy(&setting).to_string().contains("s3:"));
    setting.folders.places = vec![("acme-rules".into(), "live/".into()), ("acme-rules".into(), "types/".into())];
    let own = policy(&setting);
    assert_eq!(own[1]["Resource"], "arn:aws:s3:::acme-rules");
    let objects = ["arn:aws:s3:::acme-rules/live/*", "arn:aws:s3:::acme-rules/types/*"];
    assert_eq!((&own[2]["Action"], &own[2]["Resource"]), (&"s3:GetObject".into(), &serde_json::json!(objects)));
    setting.folders.role = Some("arn:aws:iam::999988887777:role/rules".into());
    let by_role = policy(&setting);
    assert_eq!(
        (&by_role[1]["Action"], &by_role[1]["Resource"]),
        (&"sts:AssumeRole".into(), &"arn:aws:iam::999988887777:role/rules".into())
    );
    assert!(!by_role.to_string().contains("s3:"));
}

#[test]
fn an_operator_may_take_the_daemons_role_beside_its_host() {
    let mut setting = setting(&[]);
    let operator = "arn:aws:sts::999988887777:assumed-role/Admin/ana";
    setting.operator = Some(operator.into());
    let text = of_daemon(&setting, Host::Ecs, 120, Format::Json).unwrap();
    let trust = &serde_json::from_str::<Value>(&text).unwrap()["TrustPolicy"]["Statement"];
    assert_eq!(trust[0]["Principal"]["Service"], "ecs-tasks.amazonaws.com");
    assert_eq!((&trust[1]["Principal"]["AWS"], trust.as_array().unwrap().len()), (&operator.into(), 2));
    setting.operator = Some("ana".into());
    assert!(of_daemon(&setting, Host::Ecs, 120, Format::Json).unwrap_err()[0].contains("get-caller-identity"));
}

#[test]
fn a_policy_names_what_it_is_about_and_actions_that_are_called() {
    let called = BTreeSet::from([
        "glue:CreateDatabase",
        "glue:CreateTable",
        "glue:GetDatabases",
        "glue:GetTable",
        "glue:GetTables",
        "glue:UpdateTable",
        "kms:Decrypt",
        "kms:DescribeKey",
        "s3:AbortMultipartUpload",
        "s3:DeleteObject",
        "s3:GetBucketNotification",
        "s3:GetObject",
        "s3:GetObjectVersion",
        "s3:ListBucket",
        "s3:PutObject",
        "secretsmanager:GetSecretValue",
        "sns:ConfirmSubscription",
        "sns:Publish",
        "sqs:ChangeMessageVisibility",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:ReceiveMessage",
        "sqs:SendMessage",
        "sts:AssumeRole",
    ]);
    let mut seen = BTreeSet::new();
    for (name, text) in all(Format::Json) {
        let documents: Value = serde_json::from_str(&text).unwrap();
        for (of, document) in documents.as_object().unwrap().iter().filter(|(of, _)| *of != "KeyPolicy") {
            for statement in statements(document) {
                for resource in statement.get("Resource").map(texts).unwrap_or_default() {
                    let wild = resource.matches('*').count();
                    let of_objects = resource.contains(":s3:::") && resource.ends_with('*');
                    let of_any_region = resource.contains(":sns:*:");
                    // Databases of any name are listed only.
                    let of_catalog = resource.contains(":glue:")
                        && (resource.contains("/margay_") || statement["Action"] == "glue:GetDatabases");
                    let sound = wild == 0 || of_catalog || (wild == 1 && (of_objects || of_any_region));
                    assert!(sound, "{name} {of}: {resource}");
                    assert!(resource.starts_with("arn:aws:"), "{name} {of}: {resource}");
                }
                if matches!(of.as_str(), "ReadData" | "DaemonPolicy") {
                    seen.extend(texts(&statement["Action"]));
                }
            }
        }
    }
    assert_eq!(seen.iter().map(String::as_str).collect::<BTreeSet<_>>(), called);
}

#[test]
fn the_topic_is_the_buckets_and_the_endpoint_is_a_queue() {
    for format in [Format::CloudFormation, Format::Terraform] {
        for (name, text) in all(format) {
            if name.starts_with("notifications") {
                assert!(text.contains("arn:aws:sqs:eu-central-1:999988887777:margay"), "{name}: {text}");
            }
            if name.starts_with("bucket") {
                assert!(
                    text.contains("arn:aws:sns:us-west-2:111122223333:margay-notifications-topic"),
                    "{name}: {text}"
                );
            }
            assert!(!text.contains("sns:eu-central-1:999988887777"), "{name}: {text}");
        }
    }
}

#[test]
fn what_the_configuration_lacks_is_told_at_once() {
    let bare = [source("bare", "acme", [prefix("", "Okta.SystemLog")])];
    let setting = setting(&bare);
    let lacking = |kind: Kind<'_>| of_source(&setting, &bare[0], &kind, Format::Json).unwrap_err().join("\n");
    for kind in [Kind::Notifications(Notifications::default()), Kind::Bucket] {
        let problems = lacking(kind);
        assert!(problems.contains("account_id") && problems.contains("region"), "{problems}");
    }
    assert!(lacking(Kind::Iam).contains("role_name"));
    assert!(of_lake(&setting, Format::Json).unwrap_err()[0].contains("lake.warehouse"));
}

#[test]
fn both_wrong_arns_of_the_published_guide_are_recognised() {
    let sources = sources();
    let setting = setting(&sources);
    for (topic, wanted) in [
        ("arn:aws:sns:eu-central-1:999988887777:panther-notifications-topic", "margay's account"),
        ("arn:aws:sqs:us-west-2:111122223333:panther-input-data-notifications-queue", "ARN of a queue"),
        ("arn:aws:sns:eu-west-1:111122223333:theirs", "in us-west-2"),
        ("arn:aws:sns:us-west-2:111122223333:theirs.fifo", "FIFO"),
    ] {
        let kind = Kind::Notifications(Notifications { existing: Some(topic), ..Notifications::default() });
        let problem = of_source(&setting, &sources[0], &kind, Format::Json).unwrap_err().join("\n");
        assert!(problem.contains(wanted), "{problem}");
    }
}

#[test]
fn many_accounts_share_a_statement() {
    let many: Vec<SourceConfig> = (0..16)
        .map(|number| SourceConfig {
            account_id: Some(format!("{number:012}")),
            role_name: Some("default".into()),
            ..source(&format!("s{number}"), "acme", [prefix("", "Okta.SystemLog")])
        })
        .collect();
    let documents = of_daemon(&setting(&many), Host::Ecs, 300, Format::Json).unwrap();
    let documents: Value = serde_json::from_str(&documents).unwrap();
    let statements = statements(&documents["QueuePolicy"]);
    assert_eq!(statements.len(), 1);
    assert_eq!(texts(&statements[0]["Condition"]["ArnLike"]["aws:SourceArn"]).len(), 16);
}
