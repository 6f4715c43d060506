//! PagerDuty: an event of its Events API v2. Repeats are one incident, by the alert's id, which
//! is resolved with the alert.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::api::{Api, Secrets, joined};
use crate::alert::message::Message;
use crate::alert::outbound::Request;
use crate::alert::text::cut;
use crate::model::{News, Secret, SecretRef, Severity, rfc3339};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub integration_key: SecretRef,
    #[serde(default = "endpoint")]
    pub endpoint: String,
}

fn endpoint() -> String {
    "https://events.pagerduty.com".into()
}

const SUMMARY: usize = 1024;
/// The API takes 512 KB.
const DETAILS: usize = 200_000;

pub fn build(config: &Config, secrets: Secrets<'_>) -> Result<Box<dyn Api>, String> {
    Ok(Box::new(PagerDuty { url: joined(&config.endpoint, "v2/enqueue")?, key: secrets(&config.integration_key)? }))
}

struct PagerDuty {
    url: Url,
    key: Secret,
}

impl Api for PagerDuty {
    fn request(&self, message: &Message<'_>) -> Result<Request, String> {
        Ok(Request::json(self.url.clone(), &self.payload(message)))
    }

    fn secrets(&self) -> Vec<Secret> {
        vec![self.key.clone()]
    }
}

impl PagerDuty {
    fn payload(&self, message: &Message<'_>) -> Value {
        let alert = message.alert;
        if message.news == News::Resolved {
            return json!({ "routing_key": self.key.expose(), "event_action": "resolve", "dedup_key": alert.id });
        }
        let mut event = json!({
            "routing_key": self.key.expose(),
            "event_action": "trigger",
            "dedup_key": alert.id,
            "client": "margay",
            "payload": {
                "summary": cut(&message.title, SUMMARY),
                "severity": severity(alert.severity),
                "timestamp": rfc3339(alert.created_at),
                "source": "margay",
                "class": alert.rule_id,
                "custom_details": message.generic(DETAILS),
            },
        });
        if !message.link.is_empty() {
            event["client_url"] = message.link.clone().into();
        }
        event
    }
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info | Severity::Low => "info",
        Severity::Medium => "warning",
        Severity::High => "error",
        Severity::Critical => "critical",
    }
}
