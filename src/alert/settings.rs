//! What a person may configure about where alerts go, and what of it makes no sense.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::destination::{
    asana, discord, email, github, jira, opsgenie, pagerduty, servicenow, slack, sns, sqs, stdout, teams, webhook,
};
use super::outbound::{Cidr, Policy};
use crate::model::{AlertKind, Receiver, SecretRef, Severity};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where people look at alerts: messages link to `<link_base>/alerts/<id>`.
    pub link_base: Option<String>,
    pub stdout: StdoutConfig,
    /// How often margay looks for what it has to tell of itself, in seconds.
    pub self_check_seconds: u64,
    /// The queue is too old when its oldest message was sent so long ago, in minutes; 0 for never.
    pub queue_age_limit_minutes: u64,
    pub destinations: Vec<DestinationConfig>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            link_base: None,
            stdout: StdoutConfig::default(),
            self_check_seconds: 30,
            queue_age_limit_minutes: 60,
            destinations: Vec::new(),
        }
    }
}

/// New alerts on standard output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StdoutConfig {
    pub enabled: bool,
    pub format: OutputFormat,
}

impl Default for StdoutConfig {
    fn default() -> StdoutConfig {
        StdoutConfig { enabled: true, format: OutputFormat::Auto }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputFormat {
    /// Human-readable on a terminal, else JSON lines.
    Auto,
    Human,
    Json,
}

/// New alerts as lines of JSON at the end of a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// Relative to the configuration file.
    pub path: PathBuf,
}

/// One place that alerts are sent to: what all kinds have, and one table named after its kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DestinationConfig {
    /// What rules call it; unique.
    pub name: String,
    /// Another name of it, for rules that were written for another system.
    pub id: Option<String>,
    #[serde(default = "yes")]
    pub enabled: bool,
    #[serde(default = "all_severities")]
    pub severities: Vec<Severity>,
    #[serde(default = "all_kinds")]
    pub alert_types: Vec<AlertKind>,
    /// Empty: all.
    #[serde(default)]
    pub log_types: Vec<String>,
    /// Attempts in a minute; without it, what the kind of destination is known to bear.
    pub rate_per_minute: Option<u32>,
    #[serde(default)]
    pub allow_http: bool,
    #[serde(default)]
    pub allow_hosts: Vec<String>,
    #[serde(default)]
    pub allow_cidrs: Vec<Cidr>,
    pub slack: Option<slack::Config>,
    pub pagerduty: Option<pagerduty::Config>,
    pub opsgenie: Option<opsgenie::Config>,
    pub jira: Option<jira::Config>,
    pub github: Option<github::Config>,
    pub asana: Option<asana::Config>,
    pub teams: Option<teams::Config>,
    pub discord: Option<discord::Config>,
    pub servicenow: Option<servicenow::Config>,
    pub webhook: Option<webhook::Config>,
    pub sns: Option<sns::Config>,
    pub sqs: Option<sqs::Config>,
    pub email: Option<email::Config>,
    pub file: Option<FileConfig>,
}

fn yes() -> bool {
    true
}

fn all_severities() -> Vec<Severity> {
    Severity::ALL.to_vec()
}

fn all_kinds() -> Vec<AlertKind> {
    AlertKind::ALL.to_vec()
}

impl DestinationConfig {
    /// The kinds whose table is there.
    pub fn kinds(&self) -> Vec<&'static str> {
        let tables = [
            ("slack", self.slack.is_some()),
            ("pagerduty", self.pagerduty.is_some()),
            ("opsgenie", self.opsgenie.is_some()),
            ("jira", self.jira.is_some()),
            ("github", self.github.is_some()),
            ("asana", self.asana.is_some()),
            ("teams", self.teams.is_some()),
            ("discord", self.discord.is_some()),
            ("servicenow", self.servicenow.is_some()),
            ("webhook", self.webhook.is_some()),
            ("sns", self.sns.is_some()),
            ("sqs", self.sqs.is_some()),
            ("email", self.email.is_some()),
            ("file", self.file.is_some()),
        ];
        tables.into_iter().filter(|(_, is_there)| *is_there).map(|(kind, _)| kind).collect()
    }

    pub fn policy(&self) -> Policy {
        Policy {
            allow_http: self.allow_http,
            allow_hosts: self.allow_hosts.clone(),
            allow_cidrs: self.allow_cidrs.clone(),
        }
    }

    /// Every secret that it refers to.
    pub fn secrets(&self) -> Vec<&SecretRef> {
        let webhook =
            self.webhook.iter().flat_map(|own| own.headers.values().chain([&own.url]).chain(&own.signing_key));
        let others = [
            self.slack.as_ref().map(|own| &own.url),
            self.pagerduty.as_ref().map(|own| &own.integration_key),
            self.opsgenie.as_ref().map(|own| &own.api_key),
            self.jira.as_ref().map(|own| &own.api_key),
            self.github.as_ref().map(|own| &own.token),
            self.asana.as_ref().map(|own| &own.token),
            self.teams.as_ref().map(|own| &own.url),
            self.discord.as_ref().map(|own| &own.url),
            self.servicenow.as_ref().map(|own| &own.password),
            self.email.as_ref().and_then(|own| own.password.as_ref()),
        ];
        webhook.chain(others.into_iter().flatten()).collect()
    }

    fn makes_tickets(&self) -> bool {
        self.jira.is_some() || self.github.is_some() || self.asana.is_some() || self.servicenow.is_some()
    }

    fn receiver(&self) -> Receiver {
        Receiver {
            name: self.name.clone(),
            id: self.id.clone(),
            enabled: self.enabled,
            severities: self.severities.clone(),
            alert_types: self.alert_types.clone(),
            log_types: self.log_types.clone(),
            ends_incidents: self.pagerduty.is_some() || self.opsgenie.is_some() || self.makes_tickets(),
        }
    }
}

impl Config {
    /// Every destination as routing sees it, those that are not enabled included.
    pub fn receivers(&self) -> Vec<Receiver> {
        let stdout = self.stdout.enabled.then(|| Receiver::accepting_all(stdout::NAME));
        stdout.into_iter().chain(self.destinations.iter().map(DestinationConfig::receiver)).collect()
    }

    /// What is wrong, by the key below `alerts`. What a secret decides is found when the destinations are built.
    pub fn findings(&self) -> Vec<(String, String)> {
        let mut findings = Vec::new();
        for (at, destination) in self.destinations.iter().enumerate() {
            let mut find = |key: &str, text: String| findings.push((format!("destinations.{at}{key}"), text));
            let name = &destination.name;
            if name.is_empty() || name.chars().any(|char| "<>&\"%".contains(char) || char.is_control()) {
                find(".name", "must not be empty, nor have one of `<`, `>`, `&`, `\"` and `%` in it".into());
            }
            let earlier = self.destinations[..at].iter().flat_map(|other| [Some(&other.name), other.id.as_ref()]);
            let taken: Vec<&String> = earlier.flatten().collect();
            for (key, own) in [(".name", Some(name)), (".id", destination.id.as_ref())] {
                if let Some(own) = own
                    && (own == stdout::NAME || taken.contains(&own))
                {
                    find(key, format!("is `{own}`, which another destination has; give each its own"));
                }
            }
            match destination.kinds()[..] {
                [_] => {}
                [] => find(
                    "",
                    format!(
                        "`{name}` says nowhere to send to; add a table such as `slack = {{ url = \"env:SLACK_URL\" }}`"
                    ),
                ),
                [ref more @ .., last] => {
                    for kind in more {
                        let text =
                            format!("stands beside `{last}`; `{name}` is of one kind, so leave one of the tables");
                        find(&format!(".{kind}"), text);
                    }
                }
            }
            if destination.rate_per_minute == Some(0) {
                find(".rate_per_minute", "is 0; use `enabled = false` to send nothing".into());
            }
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(destinations: serde_json::Value) -> Config {
        serde_json::from_value(serde_json::json!({ "destinations": destinations })).unwrap()
    }

    #[test]
    fn a_destination_has_its_own_name_and_one_kind() {
        let slack = serde_json::json!({ "url": "env:X" });
        let good = config(serde_json::json!([
            { "name": "a", "slack": slack },
            { "name": "b", "id": "9f", "file": { "path": "x" } },
        ]));
        assert_eq!(good.findings(), []);
        assert_eq!(good.receivers().iter().map(|receiver| &*receiver.name).collect::<Vec<_>>(), ["stdout", "a", "b"]);
        let bad = config(serde_json::json!([
            { "name": "a", "id": "stdout" },
            { "name": "a", "slack": slack, "file": { "path": "x" } },
            { "name": "<b>", "slack": slack, "rate_per_minute": 0 },
        ]));
        let keys: Vec<_> = bad.findings().into_iter().map(|(key, _)| key).collect();
        let expected = ["0.id", "0", "1.name", "1.slack", "2.name", "2.rate_per_minute"];
        assert_eq!(keys, expected.map(|key| format!("destinations.{key}")));
    }

    #[test]
    fn a_secret_stands_nowhere_in_a_configuration() {
        let written = serde_json::json!({ "name": "a", "slack": { "url": "https://hooks.slack.com/hunter2" } });
        let error = serde_json::from_value::<DestinationConfig>(written).unwrap_err().to_string();
        assert!(error.contains("env:NAME") && !error.contains("hunter2"), "{error}");
    }
}
