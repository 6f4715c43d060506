//! The daemon's own account: the queue of notifications, where messages go that nobody could take, who may send, and
//! the daemon's role.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::{SourceConfig, name};
use super::hcl::Block;
use super::{Host, Plan, Setting, iam, policy, tags};

/// The longest that SQS keeps a message, in seconds.
const RETENTION: u32 = 14 * 24 * 60 * 60;

/// margay hands messages back on purpose, and quarantines by itself what it can't take; this is for what nobody takes.
const MAX_RECEIVES: u32 = 20;

pub(super) fn plan(setting: &Setting<'_>, host: Host, lease_seconds: u32) -> Result<Plan, Vec<String>> {
    let daemon = &setting.daemon;
    let sources: Vec<&SourceConfig> = setting.sources.iter().filter(|source| source.enabled).collect();
    let accounts: BTreeSet<String> = sources.iter().copied().filter_map(account).collect();
    let queue_policy = policy::queue(daemon, &accounts);
    let role_policy = policy::daemon(setting, &sources, &accounts);
    let trust = trust(host, setting.operator.as_deref())?;
    let dead = format!("{}-dead-letters", daemon.queue);
    let (path, role) = iam::path_and_name(&daemon.role_arn);
    let known: Vec<&str> = accounts.iter().map(String::as_str).collect();
    Ok(Plan {
        about: vec![
            "margay's own account: the queue of notifications, its dead-letter queue, and the role that margay runs under.".into(),
            format!("Deploy it in account {} in region {}. It knows the sources' accounts {}:", daemon.account, daemon.region, known.join(", ")),
            "print and deploy it again when a source of another account is added.".into(),
            "CloudFormation asks for --capabilities CAPABILITY_NAMED_IAM.".into(),
        ],
        description: "The queue and the role of margay".into(),
        resources: resources(daemon, &dead, lease_seconds, &queue_policy, (&path, role, &trust, &role_policy)),
        blocks: blocks(daemon, &dead, lease_seconds, &queue_policy, (&path, role, &trust, &role_policy)),
        outputs: vec![
            ("QueueUrl", json!({ "Ref": "Queue" }), "aws_sqs_queue.margay.url".into()),
            ("QueueArn", json!({ "Fn::GetAtt": ["Queue", "Arn"] }), "aws_sqs_queue.margay.arn".into()),
            ("DaemonRoleArn", json!({ "Fn::GetAtt": ["DaemonRole", "Arn"] }), "aws_iam_role.margay_daemon.arn".into()),
        ],
        documents: vec![("QueuePolicy", queue_policy), ("TrustPolicy", trust), ("DaemonPolicy", role_policy)],
    })
}

/// The account whose topics announce a source: that of its bucket, else that of its role.
fn account(source: &SourceConfig) -> Option<String> {
    let of_role = || source.role().and_then(|role| name::role(&role).map(|(_, account)| account.to_owned()));
    source.account_id.clone().or_else(of_role)
}

fn trust(host: Host, operator: Option<&str>) -> Result<Value, Vec<String>> {
    // Pod Identity tags its sessions.
    let actions = if host == Host::Eks { json!(["sts:AssumeRole", "sts:TagSession"]) } else { json!("sts:AssumeRole") };
    let mut statements =
        vec![json!({ "Effect": "Allow", "Principal": { "Service": host.service() }, "Action": actions })];
    if let Some(operator) = operator {
        if !name::is_principal(operator) {
            return Err(vec![format!(
                "--operator {operator:?} is not the ARN of a user, a role or a session of one, as \
                 `aws sts get-caller-identity` tells it"
            )]);
        }
        let principal = json!({ "AWS": operator });
        statements.push(json!({ "Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole" }));
    }
    Ok(json!({ "Version": "2012-10-17", "Statement": statements }))
}

/// Path, name, trust and permissions of the daemon's role.
type Role<'a> = (&'a str, &'a str, &'a Value, &'a Value);

fn resources(
    daemon: &super::Daemon,
    dead: &str,
    lease_seconds: u32,
    queue_policy: &Value,
    (path, role, trust, permissions): Role<'_>,
) -> Vec<(&'static str, Value)> {
    let queue = |properties: Value| json!({ "Type": "AWS::SQS::Queue", "DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain", "Properties": properties });
    vec![
        (
            "DeadLetterQueue",
            queue(json!({
                "QueueName": dead, "MessageRetentionPeriod": RETENTION, "SqsManagedSseEnabled": true, "Tags": tags(),
            })),
        ),
        (
            "Queue",
            queue(json!({
                "QueueName": daemon.queue,
                "MessageRetentionPeriod": RETENTION,
                "VisibilityTimeout": lease_seconds,
                "ReceiveMessageWaitTimeSeconds": 20,
                "SqsManagedSseEnabled": true,
                "RedrivePolicy": {
                    "deadLetterTargetArn": { "Fn::GetAtt": ["DeadLetterQueue", "Arn"] }, "maxReceiveCount": MAX_RECEIVES,
                },
                "Tags": tags(),
            })),
        ),
        (
            "QueuePolicy",
            json!({
                "Type": "AWS::SQS::QueuePolicy",
                "Properties": { "Queues": [{ "Ref": "Queue" }], "PolicyDocument": queue_policy },
            }),
        ),
        (
            "DaemonRole",
            json!({
                "Type": "AWS::IAM::Role",
                "Properties": {
                    "RoleName": role,
                    "Path": path,
                    "Description": "margay itself",
                    "AssumeRolePolicyDocument": trust,
                    "Policies": [{ "PolicyName": "Margay", "PolicyDocument": permissions }],
                    "Tags": tags(),
                },
            }),
        ),
    ]
}

fn blocks(
    daemon: &super::Daemon,
    dead: &str,
    lease_seconds: u32,
    queue_policy: &Value,
    (path, role, trust, permissions): Role<'_>,
) -> Vec<Block> {
    let tags = || json!({ "Application": "margay" });
    vec![
        Block::resource("aws_sqs_queue", "margay_dead_letters")
            .literal("name", dead)
            .literal("message_retention_seconds", RETENTION)
            .literal("sqs_managed_sse_enabled", true)
            .literal("tags", tags()),
        Block::resource("aws_sqs_queue", "margay")
            .literal("name", daemon.queue.clone())
            .literal("message_retention_seconds", RETENTION)
            .literal("visibility_timeout_seconds", lease_seconds)
            .literal("receive_wait_time_seconds", 20)
            .literal("sqs_managed_sse_enabled", true)
            .reference(
                "redrive_policy",
                format!(
                    "jsonencode({{ deadLetterTargetArn = aws_sqs_queue.margay_dead_letters.arn, maxReceiveCount = {MAX_RECEIVES} }})"
                ),
            )
            .literal("tags", tags()),
        Block::resource("aws_sqs_queue_policy", "margay")
            .reference("queue_url", "aws_sqs_queue.margay.id")
            .document("policy", queue_policy.clone()),
        Block::resource("aws_iam_role", "margay_daemon")
            .literal("name", role)
            .literal("path", path)
            .literal("description", "margay itself")
            .document("assume_role_policy", trust.clone())
            .literal("tags", tags()),
        Block::resource("aws_iam_role_policy", "margay_daemon")
            .literal("name", "Margay")
            .reference("role", "aws_iam_role.margay_daemon.id")
            .document("policy", permissions.clone()),
    ]
}
