//! A new bucket that notifies the topic; as JSON, the notifications alone, for a bucket that is there already.
//!
//! Source: Amazon S3 API reference, PutBucketNotificationConfiguration.

use serde_json::{Value, json};

use super::super::SourceConfig;
use super::hcl::Block;
use super::{Plan, Setting, place, policy};

const ID: &str = "MargayEventNotifications";
const EVENT: &str = "s3:ObjectCreated:*";

pub(super) fn plan(setting: &Setting<'_>, source: &SourceConfig) -> Result<Plan, Vec<String>> {
    let (account, region) = place(source, "the bucket")?;
    let topic = super::notifications::topic_arn(setting, source)?;
    let prefixes = policy::reduced_prefixes(source);
    let description = format!("The bucket of source {}", source.name);
    Ok(Plan {
        about: vec![
            format!("A new bucket that tells {topic} of its objects."),
            format!("Deploy it in account {account} in region {region}, after the topic: S3 tries the topic at once and fails"),
            "without its policy. For a bucket that exists, `--format json` prints the notifications alone: add them to those".into(),
            "that it has, because PutBucketNotificationConfiguration replaces all of them.".into(),
        ],
        description,
        resources: vec![("Bucket", cloudformation(source, &topic, &prefixes))],
        blocks: terraform(source, &topic, &prefixes),
        outputs: vec![("BucketName", json!({ "Ref": "Bucket" }), "aws_s3_bucket.logs.bucket".into())],
        documents: vec![("TopicConfigurations", Value::Array(for_api(&topic, &prefixes)))],
    })
}

/// As the API has it: with ids, which are unique in a bucket.
fn for_api(topic: &str, prefixes: &[String]) -> Vec<Value> {
    let of_prefix = |(number, prefix): (usize, &String)| {
        let id = if prefixes.len() == 1 { ID.to_owned() } else { format!("{ID}-{number}") };
        let mut configuration = json!({ "Id": id, "TopicArn": topic, "Events": [EVENT] });
        if !prefix.is_empty() {
            configuration["Filter"] = json!({ "Key": { "FilterRules": [{ "Name": "prefix", "Value": prefix }] } });
        }
        configuration
    };
    (1..).zip(prefixes).map(of_prefix).collect()
}

fn cloudformation(source: &SourceConfig, topic: &str, prefixes: &[String]) -> Value {
    let of_prefix = |prefix: &String| {
        let mut configuration = json!({ "Topic": topic, "Event": EVENT });
        if !prefix.is_empty() {
            configuration["Filter"] = json!({ "S3Key": { "Rules": [{ "Name": "prefix", "Value": prefix }] } });
        }
        configuration
    };
    let notifications: Vec<Value> = prefixes.iter().map(of_prefix).collect();
    let encryption = match &source.kms_key_arn {
        Some(key) => json!({ "SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key }),
        None => json!({ "SSEAlgorithm": "AES256" }),
    };
    json!({
        "Type": "AWS::S3::Bucket",
        "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain",
        "Properties": {
            "BucketName": source.bucket,
            "OwnershipControls": { "Rules": [{ "ObjectOwnership": "BucketOwnerEnforced" }] },
            "PublicAccessBlockConfiguration": {
                "BlockPublicAcls": true, "BlockPublicPolicy": true, "IgnorePublicAcls": true, "RestrictPublicBuckets": true,
            },
            "BucketEncryption": {
                "ServerSideEncryptionConfiguration": [{ "ServerSideEncryptionByDefault": encryption }],
            },
            "NotificationConfiguration": { "TopicConfigurations": notifications },
        },
    })
}

fn terraform(source: &SourceConfig, topic: &str, prefixes: &[String]) -> Vec<Block> {
    let of_bucket = |kind: &str| Block::resource(kind, "logs").reference("bucket", "aws_s3_bucket.logs.id");
    let default = Block::new("apply_server_side_encryption_by_default", &[]);
    let default = match &source.kms_key_arn {
        Some(key) => default.literal("sse_algorithm", "aws:kms").literal("kms_master_key_id", key.clone()),
        None => default.literal("sse_algorithm", "AES256"),
    };
    let topics = prefixes.iter().map(|prefix| {
        let block = Block::new("topic", &[]).literal("topic_arn", topic).literal("events", json!([EVENT]));
        if prefix.is_empty() { block } else { block.literal("filter_prefix", prefix.clone()) }
    });
    vec![
        Block::resource("aws_s3_bucket", "logs").literal("bucket", source.bucket.clone()),
        of_bucket("aws_s3_bucket_ownership_controls")
            .block(Block::new("rule", &[]).literal("object_ownership", "BucketOwnerEnforced")),
        of_bucket("aws_s3_bucket_public_access_block")
            .literal("block_public_acls", true)
            .literal("block_public_policy", true)
            .literal("ignore_public_acls", true)
            .literal("restrict_public_buckets", true),
        of_bucket("aws_s3_bucket_server_side_encryption_configuration").block(Block::new("rule", &[]).block(default)),
        topics.fold(of_bucket("aws_s3_bucket_notification"), Block::block),
    ]
}
