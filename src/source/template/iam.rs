//! The role that reads a source, in the account of its bucket.

use serde_json::json;

use super::super::{SourceConfig, name};
use super::hcl::Block;
use super::{Plan, Setting, policy, tags};

pub(super) fn plan(setting: &Setting<'_>, source: &SourceConfig) -> Result<Plan, Vec<String>> {
    let Some(arn) = source.role() else {
        return Err(vec![format!(
            "source {:?} has no role: set account_id and role_name = \"default\" (or role_arn), and external_id",
            source.name
        )]);
    };
    let (partition, account) = name::role(&arn).expect("a configuration with another ARN is refused");
    let (path, role) = path_and_name(&arn);
    let trust = policy::trust(source, &setting.daemon);
    let read = policy::read_data(source, partition);
    let description = format!("The role under which margay reads source {}", source.name);
    let mut about = vec![
        format!("The role that margay assumes to read bucket {} of source {:?}.", source.bucket, source.name),
        format!("Deploy it in account {account}; the role {} must exist before.", setting.daemon.role_arn),
        format!(
            "CloudFormation asks for --capabilities CAPABILITY_NAMED_IAM. A role of the name {role} must not exist yet."
        ),
        format!("Then: margay source check {}", shell(&source.name)),
    ];
    if source.external_id.is_none() {
        about.push(
            "The source has no external_id, so the trust policy asks for none. Set one, and print this again.".into(),
        );
    }
    if source.kms_key_arn.is_some() {
        about.push("If the key is in another account, its key policy must allow kms:Decrypt to this role, too.".into());
    }
    Ok(Plan {
        about,
        description: description.clone(),
        resources: vec![(
            "LogProcessingRole",
            json!({
                "Type": "AWS::IAM::Role",
                "Properties": {
                    "RoleName": role,
                    "Path": path,
                    "Description": description,
                    "MaxSessionDuration": 3600,
                    "AssumeRolePolicyDocument": trust,
                    "Policies": [{ "PolicyName": "ReadData", "PolicyDocument": read }],
                    "Tags": tags(),
                },
            }),
        )],
        blocks: vec![
            Block::resource("aws_iam_role", "margay_log_processing")
                .literal("name", role)
                .literal("path", path.clone())
                .literal("description", description)
                .literal("max_session_duration", 3600)
                .document("assume_role_policy", trust.clone())
                .literal("tags", json!({ "Application": "margay" })),
            Block::resource("aws_iam_role_policy", "margay_read_data")
                .literal("name", "ReadData")
                .reference("role", "aws_iam_role.margay_log_processing.id")
                .document("policy", read.clone()),
        ],
        outputs: vec![(
            "RoleArn",
            json!({ "Fn::GetAtt": ["LogProcessingRole", "Arn"] }),
            "aws_iam_role.margay_log_processing.arn".into(),
        )],
        documents: vec![("TrustPolicy", trust), ("ReadData", read)],
    })
}

/// `arn:…:role/a/b/name` gives `/a/b/` and `name`.
pub(super) fn path_and_name(arn: &str) -> (String, &str) {
    let resource = arn.split_once(":role/").map_or(arn, |(_, resource)| resource);
    match resource.rsplit_once('/') {
        Some((path, name)) => (format!("/{path}/"), name),
        None => ("/".to_owned(), resource),
    }
}

/// A source's name as an argument.
fn shell(name: &str) -> String {
    if name.contains(' ') { format!("'{name}'") } else { name.to_owned() }
}
