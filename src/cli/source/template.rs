//! `margay source template`: prints templates for the accounts around a source. Asks nothing of AWS and changes
//! nothing.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Subcommand;

use super::super::{ConfigArgument, print, usage};
use crate::config::Config;
use crate::lake;
use crate::model::SecretRef;
use crate::source::template::{self, Daemon, Folders, Glue, Host, Kind, Lake, Notifications, Outlets, Setting, TOPIC};
use crate::source::{SourceConfig, SourceTable};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    template: Template,
}

#[derive(Subcommand)]
enum Template {
    /// The role that reads a source; for the account of its bucket.
    Iam {
        #[command(flatten)]
        of: OfSource,
        #[command(flatten)]
        common: Common,
    },
    /// The topic that announces new objects, and the queue's subscription; for account and region of the bucket.
    Notifications {
        #[command(flatten)]
        of: OfSource,
        /// Subscribe to a topic that the bucket notifies already, by its ARN, instead of making one.
        #[arg(long, value_name = "ARN", conflicts_with_all = ["trail", "encrypted"])]
        existing_topic: Option<String>,
        /// A trail that may publish to the topic itself, by its ARN.
        #[arg(long, value_name = "ARN")]
        trail: Option<String>,
        /// Encrypt the topic with a key of its own.
        #[arg(long)]
        encrypted: bool,
        #[command(flatten)]
        common: Common,
    },
    /// A new bucket that notifies the topic; as JSON, the notifications alone.
    Bucket {
        #[command(flatten)]
        of: OfSource,
        #[command(flatten)]
        common: Common,
    },
    /// The queue, its policy for all sources, and margay's own role; for margay's account.
    Queue {
        /// Fail unless this source is among those that the queue serves.
        #[arg(long, value_name = "NAME")]
        source: Option<String>,
        /// Where margay runs, and so who gives it its role.
        #[arg(long, value_enum, default_value = "ecs")]
        host: HostArgument,
        /// ARN of a user or role that may take margay's role, too, to run margay and its commands by hand.
        #[arg(long, value_name = "ARN")]
        operator: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// A new bucket for the tables in which events are kept; for margay's account.
    Lake {
        #[command(flatten)]
        common: Common,
    },
}

#[derive(clap::Args)]
struct OfSource {
    /// Name of the source, as in the configuration.
    #[arg(long, value_name = "NAME")]
    source: String,
}

#[derive(clap::Args)]
struct Common {
    #[command(flatten)]
    config: ConfigArgument,
    /// `json` prints the policies alone.
    #[arg(long, value_enum, default_value = "cloudformation")]
    format: Format,
    /// ARN of the role that margay runs under; `margay-daemon` in the queue's account if it is not given.
    #[arg(long, value_name = "ARN")]
    daemon_role: Option<String>,
    /// Region of the queue, where its URL does not say it.
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Name of the topic in the sources' accounts. The queue's template takes several.
    #[arg(long = "topic", value_name = "NAME", default_value = TOPIC)]
    topics: Vec<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    #[value(alias = "cfn")]
    Cloudformation,
    #[value(alias = "tf")]
    Terraform,
    Json,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum HostArgument {
    Ecs,
    Eks,
    Ec2,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let common = match &arguments.template {
        Template::Iam { common, .. }
        | Template::Notifications { common, .. }
        | Template::Bucket { common, .. }
        | Template::Queue { common, .. }
        | Template::Lake { common } => common,
    };
    let config = match common.config.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    let filled = SourceTable::new(&config.sources).and_then(|_| fill(&arguments.template, common, &config));
    match filled {
        Ok(text) => match print(&text) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => super::super::failure(&error),
        },
        Err(problems) => usage(&common.config.located(&problems)),
    }
}

fn fill(template: &Template, common: &Common, config: &Config) -> Result<String, Vec<String>> {
    let mut setting = setting(common, config).map_err(|problem| vec![problem])?;
    let format = match common.format {
        Format::Cloudformation => template::Format::CloudFormation,
        Format::Terraform => template::Format::Terraform,
        Format::Json => template::Format::Json,
    };
    if let Template::Queue { operator, .. } = template {
        setting.operator.clone_from(operator);
    }
    let of_source =
        |of: &OfSource, kind: Kind<'_>| template::of_source(&setting, source(config, &of.source)?, &kind, format);
    match template {
        Template::Iam { of, .. } => of_source(of, Kind::Iam),
        Template::Lake { .. } => template::of_lake(&setting, format),
        Template::Bucket { of, .. } => of_source(of, Kind::Bucket),
        Template::Notifications { of, existing_topic, trail, encrypted, .. } => {
            let (existing, trail) = (existing_topic.as_deref(), trail.as_deref());
            of_source(of, Kind::Notifications(Notifications { existing, trail, encrypted: *encrypted }))
        }
        Template::Queue { source: named, host, .. } => {
            if let Some(named) = named {
                served(source(config, named)?)?;
            }
            let host = match host {
                HostArgument::Ecs => Host::Ecs,
                HostArgument::Eks => Host::Eks,
                HostArgument::Ec2 => Host::Ec2,
            };
            template::of_daemon(&setting, host, config.queue.sqs.visibility_timeout_seconds, format)
        }
    }
}

fn setting<'c>(common: &Common, config: &'c Config) -> Result<Setting<'c>, String> {
    let Some(url) = &config.queue.sqs.url else {
        return Err(
            "queue.sqs.url is not set; templates take margay's account, region and queue from it, also before \
                    the queue exists: https://sqs.<region>.amazonaws.com/<account>/<name>"
                .into(),
        );
    };
    let daemon = Daemon::new(url, common.region.as_deref(), common.daemon_role.as_deref())?;
    let places = config.remote.prefixes.iter().map(|prefix| (prefix.bucket().to_owned(), prefix.start().to_owned()));
    let folders = Folders { role: config.remote.role_arn.clone(), places: places.collect() };
    let (lake, outlets) = (lake_of(config), outlets_of(config));
    Ok(Setting {
        daemon,
        sources: &config.sources,
        topics: common.topics.clone(),
        folders,
        operator: None,
        lake,
        outlets,
        secrets: secrets_of(config),
    })
}

/// What of the lake is in AWS. A catalog that requests are signed for has permissions of its own.
fn lake_of(config: &Config) -> Lake {
    let lake = &config.lake;
    if lake.kind == lake::Kind::None {
        return Lake::default();
    }
    let place = lake.warehouse.as_deref().and_then(|place| place.strip_prefix("s3://"));
    let files = place.map(|place| {
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let prefix = prefix.trim_end_matches('/');
        (bucket.to_owned(), if prefix.is_empty() { String::new() } else { format!("{prefix}/") })
    });
    let glue = (lake.kind == lake::Kind::Glue).then(|| Glue {
        account: lake.glue.account.clone(),
        region: lake.glue.region.clone(),
        databases: lake.namespace_prefix.clone(),
    });
    Lake { files, glue }
}

fn outlets_of(config: &Config) -> Outlets {
    let mut outlets = Outlets::default();
    for destination in config.alerts.destinations.iter().filter(|destination| destination.enabled) {
        if let Some(sns) = &destination.sns {
            match &sns.role_arn {
                Some(role) => outlets.roles.push(role.clone()),
                None => outlets.topics.push(sns.topic_arn.clone()),
            }
        }
        if let Some(sqs) = &destination.sqs {
            match &sqs.role_arn {
                Some(role) => outlets.roles.push(role.clone()),
                None => outlets.queues.extend(Outlets::queue_arn(&sqs.queue_url, sqs.region.as_deref())),
            }
        }
    }
    outlets
}

/// Each once, also where several texts of one are used.
fn secrets_of(config: &Config) -> Vec<String> {
    let enabled = config.alerts.destinations.iter().filter(|destination| destination.enabled);
    let of_alerts = enabled.flat_map(|destination| destination.secrets());
    let of_api = config.http.tokens.iter().map(|own| &own.token);
    let rest = (config.lake.kind == lake::Kind::Rest).then_some(&config.lake.rest);
    let of_lake = rest.into_iter().flat_map(|rest| rest.token.iter().chain(&rest.credential));
    let ids = of_alerts.chain(of_api).chain(of_lake).filter_map(|secret| match secret {
        SecretRef::Aws(secret) => Some(secret.id.clone()),
        SecretRef::Env(_) | SecretRef::File(_) => None,
    });
    ids.collect::<BTreeSet<_>>().into_iter().collect()
}

fn source<'c>(config: &'c Config, name: &str) -> Result<&'c SourceConfig, Vec<String>> {
    let known = || config.sources.iter().map(|source| format!("{:?}", source.name)).collect::<Vec<_>>().join(", ");
    let found = config.sources.iter().find(|source| source.name == name);
    found.ok_or_else(|| vec![format!("there is no source {name:?}; there are {}", known())])
}

fn served(source: &SourceConfig) -> Result<(), Vec<String>> {
    let name = &source.name;
    match (source.enabled, &source.account_id) {
        (false, _) => Err(vec![format!("source {name:?} is not enabled, so the queue does not serve it")]),
        (true, None) => {
            Err(vec![format!("source {name:?} has no account_id, so no topic of its account may send to the queue")])
        }
        (true, Some(_)) => Ok(()),
    }
}
