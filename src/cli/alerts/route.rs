//! `margay alerts route`: where an alert would go, and what decides that, one destination a line.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Deserialize;

use crate::alert::render::safe;
use crate::cli::{ConfigArgument, block_on, print};
use crate::model::{AlertKind, Receiver, Severity};
use crate::state::{Reason, Routed, explain};

#[derive(clap::Args)]
pub(super) struct Route {
    #[command(flatten)]
    config: ConfigArgument,
    /// JSON of an alert, as `alerts show --json` and webhooks give it, or of its `severity`, `type`, `logTypes`,
    /// `destinations` and `outputIds` alone.
    file: PathBuf,
}

/// What of an alert decides where it goes; the rest is left alone.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    severity: Severity,
    #[serde(rename = "type", default = "rule")]
    kind: AlertKind,
    #[serde(default)]
    log_types: Vec<String>,
    /// What the rule's `destinations` function returned.
    #[serde(default)]
    destinations: Option<Vec<String>>,
    /// Of the rule's metadata; an alert does not have them.
    #[serde(default)]
    output_ids: Vec<String>,
}

fn rule() -> AlertKind {
    AlertKind::Rule
}

impl Route {
    pub(super) fn run(&self) -> ExitCode {
        let config = match self.config.load() {
            Ok(config) => config,
            Err(code) => return code,
        };
        block_on(async {
            let file = self.file.display();
            let text = tokio::fs::read(&self.file).await.with_context(|| format!("could not read {file}"))?;
            let described: Described = serde_json::from_slice(&text).with_context(|| format!("{file} is no alert"))?;
            print(&told(&described, &config.alerts.receivers()))?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

fn told(alert: &Described, receivers: &[Receiver]) -> String {
    let log_type = alert.log_types.first().map(String::as_str).unwrap_or_default();
    let routed = Routed {
        chosen: alert.destinations.as_deref(),
        output_ids: &alert.output_ids,
        severity: alert.severity,
        kind: alert.kind,
        log_type,
    };
    let (reason, names) = explain(&routed, receivers);
    let mut text = match reason {
        Reason::Chosen => "decided by the rule's `destinations`\n".to_owned(),
        Reason::OutputIds => "decided by the rule's `OutputIds`\n".to_owned(),
        Reason::Filters => "decided by what each destination takes\n".to_owned(),
    };
    let unknown = |name: &&String| *name != "SKIP" && !receivers.iter().any(|one| one.is_called(name));
    for name in alert.destinations.iter().flatten().chain(&alert.output_ids).filter(unknown) {
        writeln!(text, "warning: there is no destination `{}`", safe(name)).expect("a string takes any text");
    }
    for one in receivers {
        let verdict = if names.contains(&one.name.as_str()) { "yes" } else { "no " };
        writeln!(text, "{verdict} {}{}", safe(&one.name), why(alert, one, reason, verdict == "yes", log_type))
            .expect("a string takes any text");
    }
    text
}

/// What keeps a destination from an alert.
fn why(alert: &Described, one: &Receiver, reason: Reason, gets_it: bool, log_type: &str) -> String {
    let text = if gets_it {
        return String::new();
    } else if !one.enabled {
        "it is not enabled".to_owned()
    } else if reason != Reason::Filters {
        "the rule does not name it".to_owned()
    } else if !one.severities.contains(&alert.severity) {
        format!("it does not take severity {}", alert.severity)
    } else if !one.alert_types.contains(&alert.kind) {
        format!("it does not take type {}", alert.kind.as_str())
    } else {
        format!("it does not take log type `{}`", safe(log_type))
    };
    format!(": {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_is_explained_for_each_destination() {
        let all = Receiver::accepting_all;
        let receivers = [
            all("slack"),
            Receiver { severities: vec![Severity::Critical], ..all("pager") },
            Receiver { alert_types: vec![AlertKind::RuleError], ..all("engineers") },
            Receiver { log_types: vec!["Okta.SystemLog".into()], ..all("identity") },
            Receiver { enabled: false, ..all("off") },
        ];
        let described = |json: serde_json::Value| serde_json::from_value::<Described>(json).unwrap();
        let alert = described(serde_json::json!({ "severity": "HIGH", "logTypes": ["AWS.CloudTrail"], "title": "t" }));
        insta::assert_snapshot!(told(&alert, &receivers), @r"
        decided by what each destination takes
        yes slack
        no  pager: it does not take severity HIGH
        no  engineers: it does not take type RULE
        no  identity: it does not take log type `AWS.CloudTrail`
        no  off: it is not enabled
        ");
        let named = serde_json::json!({ "severity": "LOW", "destinations": ["nobody"], "outputIds": ["pager", "off"] });
        insta::assert_snapshot!(told(&described(named), &receivers), @r"
        decided by the rule's `OutputIds`
        warning: there is no destination `nobody`
        no  slack: the rule does not name it
        yes pager
        no  engineers: the rule does not name it
        no  identity: the rule does not name it
        no  off: it is not enabled
        ");
    }
}
