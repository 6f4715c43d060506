//! The policies, as JSON documents. One text for every form of a template.
//!
//! Source: IAM user guide, "Grammar of the IAM JSON policy language" and "Policy variables"; Amazon SNS developer
//! guide, "Example cases for access control"; Amazon S3 user guide, "Granting permissions to publish event
//! notifications".

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::{SourceConfig, name};
use super::{Daemon, Glue, Lake, Outlets, Setting};

/// More accounts than this share a statement: the policy of a queue has room for about twenty statements.
const STATEMENTS: usize = 15;

fn policy(statements: impl IntoIterator<Item = Value>) -> Value {
    json!({ "Version": "2012-10-17", "Statement": statements.into_iter().collect::<Vec<_>>() })
}

/// A list, or its only element, as policies are usually written.
fn one_or_many(mut items: Vec<String>) -> Value {
    if items.len() == 1 { Value::String(items.remove(0)) } else { json!(items) }
}

pub(super) fn partition(source: &SourceConfig, daemon: &Daemon) -> String {
    let of_role = source.role().and_then(|role| name::role(&role).map(|(partition, _)| partition.to_owned()));
    let of_region = || source.region.as_deref().map(|region| name::partition(region).to_owned());
    of_role.or_else(of_region).unwrap_or_else(|| daemon.partition.to_owned())
}

/// Who may become the role of a source: the daemon's role, if it knows the external id.
pub(super) fn trust(source: &SourceConfig, daemon: &Daemon) -> Value {
    let mut condition = json!({ "Bool": { "aws:SecureTransport": "true" } });
    if let Some(external_id) = &source.external_id {
        condition["StringEquals"] = json!({ "sts:ExternalId": external_id });
    }
    policy([json!({
        "Sid": "MargayReads",
        "Effect": "Allow",
        "Principal": { "AWS": daemon.role_arn },
        "Action": "sts:AssumeRole",
        "Condition": condition,
    })])
}

/// What reading a source takes. `s3:ListBucket` is there so that a missing object is told apart from a forbidden one.
fn reading(source: &SourceConfig, partition: &str) -> Vec<Value> {
    let bucket = format!("arn:{partition}:s3:::{}", source.bucket);
    let objects = reduced_prefixes(source).into_iter().map(|prefix| format!("{bucket}/{}*", literal(&prefix)));
    let mut statements = vec![
        json!({
            "Sid": "Bucket",
            "Effect": "Allow",
            "Action": ["s3:ListBucket", "s3:GetBucketNotification"],
            "Resource": bucket,
        }),
        json!({
            "Sid": "Objects",
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:GetObjectVersion"],
            "Resource": one_or_many(objects.collect()),
        }),
    ];
    let actions = ["kms:Decrypt", "kms:DescribeKey"];
    let key = source.kms_key_arn.as_ref();
    statements.extend(key.map(|key| json!({ "Sid": "Key", "Effect": "Allow", "Action": actions, "Resource": key })));
    statements
}

pub(super) fn read_data(source: &SourceConfig, partition: &str) -> Value {
    policy(reading(source, partition))
}

/// The prefixes of a source without those that another one covers, in order.
pub(super) fn reduced_prefixes(source: &SourceConfig) -> Vec<String> {
    let mut prefixes: Vec<String> = source.prefixes.iter().map(|prefix| prefix.prefix.clone()).collect();
    prefixes.sort();
    prefixes.dedup_by(|longer, shorter| longer.starts_with(shorter.as_str()));
    prefixes
}

/// A key's start within an ARN: `${` begins a variable there.
fn literal(prefix: &str) -> String {
    prefix.replace("${", "${$}{")
}

/// Who may use a topic: the buckets to publish, a trail, too, and the daemon's account to subscribe its queue.
pub(super) fn topic(topic: &str, account: &str, buckets: &[String], trail: Option<&str>, daemon: &Daemon) -> Value {
    let mut statements = vec![json!({
        "Sid": "AllowS3EventNotifications",
        "Effect": "Allow",
        "Principal": { "Service": "s3.amazonaws.com" },
        "Action": "sns:Publish",
        "Resource": topic,
        "Condition": {
            "StringEquals": { "aws:SourceAccount": account },
            "ArnLike": { "aws:SourceArn": one_or_many(buckets.to_vec()) },
        },
    })];
    statements.extend(trail.map(|trail| {
        json!({
            "Sid": "AllowCloudTrailNotification",
            "Effect": "Allow",
            "Principal": { "Service": "cloudtrail.amazonaws.com" },
            "Action": "sns:Publish",
            "Resource": topic,
            "Condition": { "StringEquals": { "aws:SourceArn": trail } },
        })
    }));
    statements.push(subscribe("AllowSubscriptionToMargay", topic, daemon));
    policy(statements)
}

/// What the policy of a topic that is there already must allow, if the subscription is made from the daemon's account.
pub(super) fn subscribe(sid: &str, topic: &str, daemon: &Daemon) -> Value {
    json!({
        "Sid": sid,
        "Effect": "Allow",
        "Principal": { "AWS": format!("arn:{}:iam::{}:root", daemon.partition, daemon.account) },
        "Action": "sns:Subscribe",
        "Resource": topic,
        "Condition": { "StringEquals": { "sns:Protocol": "sqs", "sns:Endpoint": daemon.queue_arn() } },
    })
}

/// The policy of the key that encrypts a topic. `*` in the policy of a key is that key.
pub(super) fn topic_key(account: &str, daemon: &Daemon, trail: bool) -> Value {
    let services: &[&str] =
        if trail { &["s3.amazonaws.com", "cloudtrail.amazonaws.com"] } else { &["s3.amazonaws.com"] };
    policy([
        json!({
            "Sid": "Administration",
            "Effect": "Allow",
            "Principal": { "AWS": format!("arn:{}:iam::{account}:root", daemon.partition) },
            "Action": "kms:*",
            "Resource": "*",
        }),
        json!({
            "Sid": "Publishers",
            "Effect": "Allow",
            "Principal": { "Service": one_or_many(services.iter().map(|name| (*name).to_owned()).collect()) },
            "Action": ["kms:GenerateDataKey", "kms:Decrypt"],
            "Resource": "*",
            "Condition": { "StringEquals": { "aws:SourceAccount": account } },
        }),
    ])
}

/// Who may send to the queue: topics of the accounts of sources.
pub(super) fn queue(daemon: &Daemon, accounts: &BTreeSet<String>) -> Value {
    let topics = |account: &String| format!("arn:{}:sns:*:{account}:*", daemon.partition);
    let statement = |sid: String, topics: Value| {
        json!({
            "Sid": sid,
            "Effect": "Allow",
            "Principal": { "Service": "sns.amazonaws.com" },
            "Action": "sqs:SendMessage",
            "Resource": daemon.queue_arn(),
            "Condition": { "ArnLike": { "aws:SourceArn": topics } },
        })
    };
    if accounts.len() > STATEMENTS {
        let topics: Vec<String> = accounts.iter().map(topics).collect();
        return policy([statement("MargaySubscriptions".into(), json!(topics))]);
    }
    policy(accounts.iter().map(|account| statement(format!("MargaySubscription-{account}"), topics(account).into())))
}

/// What the daemon itself may do.
pub(super) fn daemon(setting: &Setting<'_>, sources: &[&SourceConfig], accounts: &BTreeSet<String>) -> Value {
    let Setting { daemon, topics, folders, outlets, .. } = setting;
    let of_folders = folders.role.clone().filter(|_| !folders.places.is_empty());
    let of_sources = sources.iter().filter_map(|source| source.role());
    let roles: BTreeSet<String> = of_sources.chain(of_folders).chain(outlets.roles.iter().cloned()).collect();
    let topics = accounts.iter().flat_map(|account| {
        topics.iter().map(move |topic| format!("arn:{}:sns:*:{account}:{topic}", daemon.partition))
    });
    let mut statements = vec![json!({
        "Sid": "Queue",
        "Effect": "Allow",
        "Action": ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes"],
        "Resource": daemon.queue_arn(),
    })];
    if !roles.is_empty() {
        let roles = one_or_many(roles.into_iter().collect());
        statements.push(json!({ "Sid": "Sources", "Effect": "Allow", "Action": "sts:AssumeRole", "Resource": roles }));
    }
    if !accounts.is_empty() {
        let topics = one_or_many(topics.collect());
        statements.push(json!({
            "Sid": "Subscriptions", "Effect": "Allow", "Action": "sns:ConfirmSubscription", "Resource": topics,
        }));
    }
    let own = sources.iter().filter(|source| source.role().is_none() && source.endpoint.is_none());
    for (number, source) in (1..).zip(own) {
        for mut statement in reading(source, &partition(source, daemon)) {
            let sid = format!("{}{number}", statement["Sid"].as_str().unwrap_or_default());
            statement["Sid"] = sid.into();
            statements.push(statement);
        }
    }
    if folders.role.is_none() && !folders.places.is_empty() {
        statements.extend(of_folders_in_s3(&folders.places, daemon));
    }
    statements.extend(keeping(&setting.lake, daemon));
    statements.extend(sending(outlets));
    statements.extend(secrets(&setting.secrets, daemon));
    policy(statements)
}

fn of_folders_in_s3(places: &[(String, String)], daemon: &Daemon) -> [Value; 2] {
    let bucket = |name: &str| format!("arn:{}:s3:::{name}", daemon.partition);
    let buckets: BTreeSet<String> = places.iter().map(|(name, _)| bucket(name)).collect();
    let objects = places.iter().map(|(name, prefix)| format!("{}/{}*", bucket(name), literal(prefix)));
    let buckets = one_or_many(buckets.into_iter().collect());
    let objects = one_or_many(objects.collect());
    [
        json!({ "Sid": "Folders", "Effect": "Allow", "Action": "s3:ListBucket", "Resource": buckets }),
        json!({ "Sid": "FolderObjects", "Effect": "Allow", "Action": "s3:GetObject", "Resource": objects }),
    ]
}

/// What keeping events takes.
fn keeping(lake: &Lake, daemon: &Daemon) -> Vec<Value> {
    let mut statements = Vec::new();
    if let Some((name, prefix)) = &lake.files {
        let bucket = format!("arn:{}:s3:::{name}", daemon.partition);
        let actions = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"];
        let objects = format!("{bucket}/{}*", literal(prefix));
        statements.extend([
            json!({ "Sid": "Lake", "Effect": "Allow", "Action": "s3:ListBucket", "Resource": bucket }),
            json!({ "Sid": "LakeFiles", "Effect": "Allow", "Action": actions, "Resource": objects }),
        ]);
    }
    if let Some(Glue { account, region, databases }) = &lake.glue {
        let (region, account) =
            (region.as_ref().unwrap_or(&daemon.region), account.as_ref().unwrap_or(&daemon.account));
        let arn = |resource: &str| format!("arn:{}:glue:{region}:{account}:{resource}", daemon.partition);
        let tables = [arn("catalog"), arn(&format!("database/{databases}*")), arn(&format!("table/{databases}*/*"))];
        let actions =
            ["glue:CreateDatabase", "glue:GetTable", "glue:GetTables", "glue:CreateTable", "glue:UpdateTable"];
        statements.extend([
            json!({ "Sid": "Tables", "Effect": "Allow", "Action": actions, "Resource": tables }),
            // A list of all, in which it looks for its own.
            json!({
                "Sid": "Databases", "Effect": "Allow", "Action": "glue:GetDatabases",
                "Resource": [arn("catalog"), arn("database/*")],
            }),
        ]);
    }
    statements
}

/// What sending alerts takes.
fn sending(outlets: &Outlets) -> Vec<Value> {
    let statement = |sid: &str, action: &str, to: &[String]| {
        let resource = one_or_many(to.to_vec());
        json!({ "Sid": sid, "Effect": "Allow", "Action": action, "Resource": resource })
    };
    let topics = (!outlets.topics.is_empty()).then(|| statement("AlertTopics", "sns:Publish", &outlets.topics));
    let queues = (!outlets.queues.is_empty()).then(|| statement("AlertQueues", "sqs:SendMessage", &outlets.queues));
    topics.into_iter().chain(queues).collect()
}

/// What reading secrets takes. The ARN of a secret ends with a hyphen and six characters that its name does not tell.
fn secrets(secrets: &[String], daemon: &Daemon) -> Option<Value> {
    let Daemon { partition, region, account, .. } = daemon;
    let arn = |secret: &String| match secret.starts_with("arn:") {
        true => secret.clone(),
        false => format!("arn:{partition}:secretsmanager:{region}:{account}:secret:{secret}-??????"),
    };
    (!secrets.is_empty()).then(|| {
        let resource = one_or_many(secrets.iter().map(arn).collect());
        json!({ "Sid": "Secrets", "Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": resource })
    })
}
