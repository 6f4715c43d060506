//! The topic that announces new objects, its policy and the subscription of the daemon's queue: in the account *and
//! region of the bucket*. One topic serves every bucket there.

use serde_json::json;

use super::super::SourceConfig;
use super::hcl::Block;
use super::{Notifications, Plan, Setting, TOPIC, place, policy, tags};
use crate::model::TopicArn;

const KEY_ALIAS: &str = "alias/margay-log-processing";

pub(super) fn plan(setting: &Setting<'_>, source: &SourceConfig, how: &Notifications<'_>) -> Result<Plan, Vec<String>> {
    match how.existing {
        Some(topic) => existing(setting, source, topic),
        None => new(setting, source, how),
    }
}

/// The ARN of the topic of a source: in the region and account of its bucket, wherever the daemon is.
pub(super) fn topic_arn(setting: &Setting<'_>, source: &SourceConfig) -> Result<String, Vec<String>> {
    let (account, region) = place(source, "the topic")?;
    let name = setting.topics.first().map_or(TOPIC, String::as_str);
    Ok(format!("arn:{}:sns:{region}:{account}:{name}", policy::partition(source, &setting.daemon)))
}

fn new(setting: &Setting<'_>, source: &SourceConfig, how: &Notifications<'_>) -> Result<Plan, Vec<String>> {
    let (account, region) = place(source, "the topic")?;
    let daemon = &setting.daemon;
    let arn = topic_arn(setting, source)?;
    let name = arn.rsplit(':').next().unwrap_or_default().to_owned();
    let buckets = buckets_beside(setting, source);
    let topic_policy = policy::topic(&arn, account, &buckets, how.trail, daemon);
    let mut topic = json!({ "TopicName": name, "Tags": tags() });
    let mut block = Block::resource("aws_sns_topic", "margay").literal("name", name);
    if how.encrypted {
        topic["KmsMasterKeyId"] = json!({ "Ref": "Key" });
        block = block.reference("kms_master_key_id", "aws_kms_key.margay.arn");
    }
    let mut plan = Plan {
        about: vec![
            format!("The topic that tells margay of new objects in the buckets of account {account} in {region}:"),
            format!("{}.", buckets.join(", ")),
            format!(
                "Deploy it in account {account} in region {region}, which is that of the buckets. Save the sources before:"
            ),
            "margay confirms a subscription only for an account that it knows.".into(),
            format!("Then let the bucket notify the topic: margay source template bucket --source {:?}", source.name),
        ],
        description: "The topic that tells margay of new objects".into(),
        resources: vec![
            ("Topic", json!({ "Type": "AWS::SNS::Topic", "Properties": topic })),
            (
                "TopicPolicy",
                json!({
                    "Type": "AWS::SNS::TopicPolicy",
                    "Properties": { "Topics": [{ "Ref": "Topic" }], "PolicyDocument": topic_policy },
                }),
            ),
            (
                "Subscription",
                json!({
                    "Type": "AWS::SNS::Subscription",
                    "Properties": { "TopicArn": { "Ref": "Topic" }, "Protocol": "sqs", "Endpoint": daemon.queue_arn() },
                }),
            ),
        ],
        blocks: vec![
            block.literal("tags", json!({ "Application": "margay" })),
            Block::resource("aws_sns_topic_policy", "margay")
                .reference("arn", "aws_sns_topic.margay.arn")
                .document("policy", topic_policy.clone()),
            Block::resource("aws_sns_topic_subscription", "margay")
                .reference("topic_arn", "aws_sns_topic.margay.arn")
                .literal("protocol", "sqs")
                .literal("endpoint", daemon.queue_arn()),
        ],
        outputs: vec![("SnsTopicArn", json!({ "Ref": "Topic" }), "aws_sns_topic.margay.arn".into())],
        documents: vec![("TopicPolicy", topic_policy)],
    };
    if how.encrypted {
        add_key(&mut plan, account, daemon, how.trail.is_some());
    }
    Ok(plan)
}

/// S3 and CloudTrail can't use the key that SNS has of its own.
fn add_key(plan: &mut Plan, account: &str, daemon: &super::Daemon, trail: bool) {
    let key_policy = policy::topic_key(account, daemon, trail);
    let description = "Encrypts the topic that tells margay of new objects";
    plan.resources.push((
        "Key",
        json!({
            "Type": "AWS::KMS::Key",
            "DeletionPolicy": "Delete",
            "UpdateReplacePolicy": "Delete",
            "Properties": {
                "Description": description, "EnableKeyRotation": true, "KeyPolicy": key_policy, "Tags": tags(),
            },
        }),
    ));
    let alias = json!({ "AliasName": KEY_ALIAS, "TargetKeyId": { "Ref": "Key" } });
    plan.resources.push(("KeyAlias", json!({ "Type": "AWS::KMS::Alias", "Properties": alias })));
    plan.blocks.extend([
        Block::resource("aws_kms_key", "margay")
            .literal("description", description)
            .literal("enable_key_rotation", true)
            .document("policy", key_policy.clone())
            .literal("tags", json!({ "Application": "margay" })),
        Block::resource("aws_kms_alias", "margay")
            .literal("name", KEY_ALIAS)
            .reference("target_key_id", "aws_kms_key.margay.key_id"),
    ]);
    plan.documents.push(("KeyPolicy", key_policy));
}

/// The ARNs of all buckets of the account and region, this one among them: they share the topic.
fn buckets_beside(setting: &Setting<'_>, source: &SourceConfig) -> Vec<String> {
    let partition = policy::partition(source, &setting.daemon);
    let beside = setting.sources.iter().filter(|other| {
        other.name == source.name
            || (other.enabled && other.account_id == source.account_id && other.region == source.region)
    });
    let mut buckets: Vec<String> = beside.map(|other| format!("arn:{partition}:s3:::{}", other.bucket)).collect();
    buckets.sort();
    buckets.dedup();
    buckets
}

fn existing(setting: &Setting<'_>, source: &SourceConfig, topic: &str) -> Result<Plan, Vec<String>> {
    let daemon = &setting.daemon;
    let arn = sound_topic(daemon, source, topic).map_err(|problem| vec![problem])?;
    let (account, region) = (arn.account(), arn.region());
    let statement = policy::subscribe("CrossAccountSubscription", topic, daemon);
    Ok(Plan {
        about: vec![
            format!("Subscribes margay's queue to the topic {topic}."),
            format!(
                "Deploy it in account {account} in region {region}. Save the source before: margay confirms a subscription"
            ),
            "only for an account that it knows. To subscribe from the daemon's account instead, add the statement that"
                .into(),
            "`--format json` prints to the topic's policy (add it, the policy may hold others).".into(),
            "If the topic is encrypted, its key must be one of your own, and its policy allow s3.amazonaws.com".into(),
            "kms:GenerateDataKey and kms:Decrypt.".into(),
        ],
        description: format!("The subscription of margay to {topic}"),
        resources: vec![(
            "Subscription",
            json!({
                "Type": "AWS::SNS::Subscription",
                "Properties": { "TopicArn": topic, "Protocol": "sqs", "Endpoint": daemon.queue_arn() },
            }),
        )],
        blocks: vec![
            Block::resource("aws_sns_topic_subscription", "margay")
                .literal("topic_arn", topic)
                .literal("protocol", "sqs")
                .literal("endpoint", daemon.queue_arn()),
        ],
        outputs: Vec::new(),
        documents: vec![("CrossAccountSubscription", statement)],
    })
}

/// The two mistakes that are made with such ARNs, and any other text, are named.
fn sound_topic(daemon: &super::Daemon, source: &SourceConfig, topic: &str) -> Result<TopicArn, String> {
    let Some(arn) = TopicArn::parse(topic) else {
        let hint = if topic.contains(":sqs:") { "; that is the ARN of a queue" } else { "" };
        return Err(format!(
            "--existing-topic {topic:?} is not the ARN of a topic, arn:aws:sns:<region>:<account>:<name>{hint}"
        ));
    };
    if topic.ends_with(".fifo") {
        return Err(format!("topic {topic} is a FIFO topic, which S3 can't notify"));
    }
    if let Some(account) = &source.account_id
        && arn.account() == daemon.account
        && *account != daemon.account
    {
        return Err(format!(
            "topic {topic} is in margay's account, but the bucket is in account {account}: S3 notifies topics of the \
             bucket's own account and region; write arn:…:sns:<region of the bucket>:{account}:<name>"
        ));
    }
    match &source.region {
        Some(region) if region != arn.region() => Err(format!(
            "topic {topic} is in region {}, but the bucket in {region}: S3 notifies topics of the bucket's own region",
            arn.region()
        )),
        _ => Ok(arn),
    }
}
