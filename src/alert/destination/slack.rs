//! Slack: an incoming webhook, with one attachment.

use hyper::header::HeaderName;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::api::{Api, Secrets, secret_url};
use crate::alert::message::Message;
use crate::alert::outbound::Request;
use crate::alert::settings::DestinationConfig;
use crate::alert::text::{cut, lines, slack};
use crate::model::{Secret, SecretRef, Severity};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The URL of the webhook, which is a secret as a whole.
    pub url: SecretRef,
}

const HOST: &str = "hooks.slack.com";
const TITLE: usize = 1000;
const FIELD: usize = 2000;

pub fn build(config: &Config, own: &DestinationConfig, secrets: Secrets<'_>) -> Result<Box<dyn Api>, String> {
    let (url, secret) = secret_url(&config.url, secrets)?;
    let host = url.host_str().unwrap_or_default();
    if host != HOST && !own.policy().allows_host(host) {
        return Err(format!("has a URL whose host is `{host}` and not `{HOST}`; permit it with `allow_hosts`"));
    }
    Ok(Box::new(Slack { url, secret }))
}

struct Slack {
    url: Url,
    secret: Secret,
}

impl Api for Slack {
    fn request(&self, message: &Message<'_>) -> Result<Request, String> {
        let request = Request::json(self.url.clone(), &payload(message));
        request.secret_header(HeaderName::from_static("idempotency-key"), &message.key)
    }

    fn secrets(&self) -> Vec<Secret> {
        vec![self.secret.clone()]
    }
}

fn payload(message: &Message<'_>) -> Value {
    let alert = message.alert;
    let title = slack(&cut(&message.title, TITLE));
    let mut fields = Vec::new();
    if !message.link.is_empty() {
        let link = format!("<{}|Click here to view the alert>", message.link);
        fields.push(json!({ "value": link, "short": false }));
    }
    if !alert.runbook.is_empty() {
        let runbook = slack(&cut(&lines(&alert.runbook), FIELD));
        fields.push(json!({ "title": "Runbook", "value": runbook, "short": false }));
    }
    fields.push(json!({ "title": "Severity", "value": alert.severity, "short": true }));
    let colour = colour(alert.severity);
    json!({ "attachments": [{ "fallback": title, "color": colour, "title": title, "fields": fields }] })
}

/// As HTML writes it.
pub(super) fn colour(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "#425a70",
        Severity::High => "#cb2e2e",
        Severity::Medium => "#d9822b",
        Severity::Low => "#f7d154",
        Severity::Info => "#47b881",
    }
}
