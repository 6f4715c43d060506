//! A new bucket for the tables in which events are kept.

use serde_json::{Value, json};

use super::hcl::Block;
use super::{Plan, Setting, tags};

/// Parts of uploads that never ended are removed after so many days; margay removes every other file itself.
const UNFINISHED_DAYS: u32 = 3;

pub(super) fn plan(setting: &Setting<'_>) -> Result<Plan, Vec<String>> {
    let Some((bucket, _)) = &setting.lake.files else {
        return Err(vec!["lake.warehouse names no bucket; set it to s3://BUCKET/PREFIX, and lake.type".into()]);
    };
    let daemon = &setting.daemon;
    Ok(Plan {
        about: vec![
            "A new bucket for the tables of margay.".into(),
            format!(
                "Deploy it in account {}, in region {} where lake.s3.region says no other.",
                daemon.account, daemon.region
            ),
            "The template of the queue lets margay's role read and write there.".into(),
        ],
        description: "The bucket of margay's tables".into(),
        resources: vec![("LakeBucket", cloudformation(bucket))],
        blocks: terraform(bucket),
        outputs: vec![("LakeBucketName", json!({ "Ref": "LakeBucket" }), "aws_s3_bucket.lake.bucket".into())],
        documents: Vec::new(),
    })
}

fn cloudformation(bucket: &str) -> Value {
    json!({
        "Type": "AWS::S3::Bucket",
        "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain",
        "Properties": {
            "BucketName": bucket,
            "OwnershipControls": { "Rules": [{ "ObjectOwnership": "BucketOwnerEnforced" }] },
            "PublicAccessBlockConfiguration": {
                "BlockPublicAcls": true, "BlockPublicPolicy": true, "IgnorePublicAcls": true, "RestrictPublicBuckets": true,
            },
            "BucketEncryption": {
                "ServerSideEncryptionConfiguration": [{ "ServerSideEncryptionByDefault": { "SSEAlgorithm": "AES256" } }],
            },
            "LifecycleConfiguration": {
                "Rules": [{
                    "Id": "UnfinishedUploads",
                    "Status": "Enabled",
                    "AbortIncompleteMultipartUpload": { "DaysAfterInitiation": UNFINISHED_DAYS },
                }],
            },
            "Tags": tags(),
        },
    })
}

fn terraform(bucket: &str) -> Vec<Block> {
    let of_bucket = |kind: &str| Block::resource(kind, "lake").reference("bucket", "aws_s3_bucket.lake.id");
    let unfinished =
        Block::new("abort_incomplete_multipart_upload", &[]).literal("days_after_initiation", UNFINISHED_DAYS);
    let rule = Block::new("rule", &[]).literal("id", "UnfinishedUploads").literal("status", "Enabled");
    let encryption = Block::new("apply_server_side_encryption_by_default", &[]).literal("sse_algorithm", "AES256");
    vec![
        Block::resource("aws_s3_bucket", "lake")
            .literal("bucket", bucket)
            .literal("tags", json!({ "Application": "margay" })),
        of_bucket("aws_s3_bucket_ownership_controls")
            .block(Block::new("rule", &[]).literal("object_ownership", "BucketOwnerEnforced")),
        of_bucket("aws_s3_bucket_public_access_block")
            .literal("block_public_acls", true)
            .literal("block_public_policy", true)
            .literal("ignore_public_acls", true)
            .literal("restrict_public_buckets", true),
        of_bucket("aws_s3_bucket_server_side_encryption_configuration")
            .block(Block::new("rule", &[]).block(encryption)),
        of_bucket("aws_s3_bucket_lifecycle_configuration")
            .block(rule.block(Block::new("filter", &[])).block(unfinished)),
    ]
}
