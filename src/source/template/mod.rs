//! Ready templates for the accounts around a source: its role, the topic that announces its bucket, a bucket, and the
//! daemon's own queue, role and lake. Pure: everything comes from the configuration, nothing is asked of AWS.
//!
//! A [`Plan`] says what is made, in both languages side by side; the policies in it are those of `policy`, one text for
//! both. `iam`, `notifications`, `bucket`, `queue` and `lake` make the plans, `hcl` writes Terraform's language.
//! Invariant: an action stands in a policy only if margay calls it.

mod bucket;
mod daemon;
mod hcl;
mod iam;
mod lake;
mod notifications;
mod policy;
mod queue;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

pub use daemon::{Daemon, Host};

use super::SourceConfig;
use hcl::Block;

/// The name of the topic where none is given.
pub const TOPIC: &str = "margay-notifications-topic";

/// Who the daemon is, and everything that it reads.
pub struct Setting<'a> {
    pub daemon: Daemon,
    pub sources: &'a [SourceConfig],
    /// Names of the topics in the accounts of sources; the first one is made by the template of notifications.
    pub topics: Vec<String>,
    pub folders: Folders,
    /// Somebody who may take the daemon's role, to run it by hand.
    pub operator: Option<String>,
    pub lake: Lake,
    pub outlets: Outlets,
    /// Names and ARNs of secrets that AWS keeps.
    pub secrets: Vec<String>,
}

/// Folders of rules and log types in S3, which the daemon reads.
#[derive(Clone, Debug, Default)]
pub struct Folders {
    /// The role that is assumed for that; else it is the daemon's own.
    pub role: Option<String>,
    /// Bucket, and the start of the keys.
    pub places: Vec<(String, String)>,
}

/// Where events are kept, as far as that is in AWS.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lake {
    /// Bucket of the files, and the start of their keys.
    pub files: Option<(String, String)>,
    pub glue: Option<Glue>,
}

/// The catalog of the tables in AWS Glue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Glue {
    /// Where it is not the daemon's.
    pub account: Option<String>,
    pub region: Option<String>,
    /// What the names of databases begin with.
    pub databases: String,
}

/// Where alerts go in AWS.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outlets {
    /// Roles that are assumed for that.
    pub roles: Vec<String>,
    /// ARNs of what the daemon sends to as itself.
    pub topics: Vec<String>,
    pub queues: Vec<String>,
}

impl Outlets {
    /// A queue by its URL, which may not be one of AWS.
    pub fn queue_arn(url: &str, region: Option<&str>) -> Option<String> {
        Daemon::new(url, region, None).ok().map(|queue| queue.queue_arn())
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Format {
    CloudFormation,
    Terraform,
    /// The policies alone.
    Json,
}

/// What is made of a source's account.
pub enum Kind<'a> {
    Iam,
    Notifications(Notifications<'a>),
    Bucket,
}

/// How the topic of a source differs from the usual one.
#[derive(Default)]
pub struct Notifications<'a> {
    /// This topic is there already and is only subscribed to.
    pub existing: Option<&'a str>,
    /// This trail may publish, too.
    pub trail: Option<&'a str>,
    /// Make a key that encrypts the topic.
    pub encrypted: bool,
}

/// The template of a source, or everything that its configuration lacks for it.
pub fn of_source(
    setting: &Setting<'_>,
    source: &SourceConfig,
    kind: &Kind<'_>,
    format: Format,
) -> Result<String, Vec<String>> {
    let plan = match kind {
        Kind::Iam => iam::plan(setting, source),
        Kind::Notifications(how) => notifications::plan(setting, source, how),
        Kind::Bucket => bucket::plan(setting, source),
    };
    Ok(plan?.text(format))
}

/// The template of the daemon's own account, for all enabled sources together.
pub fn of_daemon(setting: &Setting<'_>, host: Host, lease_seconds: u32, format: Format) -> Result<String, Vec<String>> {
    Ok(queue::plan(setting, host, lease_seconds)?.text(format))
}

/// The template of the bucket in which the daemon keeps events.
pub fn of_lake(setting: &Setting<'_>, format: Format) -> Result<String, Vec<String>> {
    Ok(lake::plan(setting)?.text(format))
}

/// What a template makes.
struct Plan {
    /// Lines of comment at its head: where it goes and what comes next.
    about: Vec<String>,
    description: String,
    /// Names and resources of CloudFormation.
    resources: Vec<(&'static str, Value)>,
    blocks: Vec<Block>,
    /// Name, value in CloudFormation, expression in Terraform.
    outputs: Vec<(&'static str, Value, String)>,
    /// Policies by what they are for.
    documents: Vec<(&'static str, Value)>,
}

impl Plan {
    fn text(&self, format: Format) -> String {
        match format {
            Format::CloudFormation => self.commented(&self.cloudformation()),
            Format::Terraform => self.commented(&self.terraform()),
            Format::Json => {
                let documents: serde_json::Map<String, Value> =
                    self.documents.iter().map(|(name, document)| ((*name).to_owned(), document.clone())).collect();
                format!("{:#}\n", Value::Object(documents))
            }
        }
    }

    fn commented(&self, text: &str) -> String {
        let about: String = self.about.iter().map(|line| format!("# {line}\n")).collect();
        format!("{about}\n{text}")
    }

    fn cloudformation(&self) -> String {
        let resources = self.resources.iter().map(|(name, resource)| ((*name).to_owned(), resource.clone()));
        let outputs = self.outputs.iter().map(|(name, value, _)| ((*name).to_owned(), json!({ "Value": value })));
        let mut template = json!({
            "AWSTemplateFormatVersion": "2010-09-09",
            "Description": self.description,
            "Resources": resources.collect::<serde_json::Map<_, _>>(),
        });
        if !self.outputs.is_empty() {
            template["Outputs"] = Value::Object(outputs.collect());
        }
        serde_saphyr::to_string(&template).expect("a JSON value always serialises")
    }

    fn terraform(&self) -> String {
        let outputs = self.outputs.iter().map(|(name, _, expression)| {
            Block::new("output", &[&snake_case(name)]).reference("value", expression.clone())
        });
        let blocks: Vec<String> = self.blocks.iter().cloned().chain(outputs).map(|block| block.to_string()).collect();
        blocks.join("\n")
    }
}

/// `RoleArn` becomes `role_arn`.
fn snake_case(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

/// Account and region of a source, or what has to be configured first.
fn place<'s>(source: &'s SourceConfig, what: &str) -> Result<(&'s str, &'s str), Vec<String>> {
    match (source.account_id.as_deref(), source.region.as_deref()) {
        (Some(account), Some(region)) => Ok((account, region)),
        (account, region) => {
            let lacks = |key: &str| {
                format!("source {:?}: set {key}; {what} lies in the account and region of the bucket", source.name)
            };
            let lacking = [("account_id", account), ("region", region)];
            Err(lacking.into_iter().filter(|(_, value)| value.is_none()).map(|(key, _)| lacks(key)).collect())
        }
    }
}

/// The tags of everything that a template makes for margay.
fn tags() -> Value {
    json!([{ "Key": "Application", "Value": "margay" }])
}
