//! ServiceNow: an incident of its Table API. What comes later is a work note; the end can resolve the incident.

use hyper::Method;
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::api::{Api, Secrets, Ticket, basic, below, joined, member};
use crate::alert::message::Message;
use crate::alert::outbound::{Request, Response};
use crate::alert::text::cut;
use crate::model::{Secret, SecretRef, Severity};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `https://company.service-now.com`
    pub url: String,
    pub user: String,
    pub password: SecretRef,
    /// The resolution code with which the incident is resolved when the alert has ended.
    pub close_code: Option<String>,
}

const SHORT: usize = 160;
const DESCRIPTION: usize = 4000;
/// Of the states that an incident has.
const RESOLVED: &str = "6";

pub fn build(config: &Config, secrets: Secrets<'_>) -> Result<Box<dyn Api>, String> {
    let url = joined(&config.url, "api/now/table/incident")?;
    Ok(Box::new(ServiceNow { url, config: config.clone(), password: secrets(&config.password)? }))
}

struct ServiceNow {
    url: Url,
    config: Config,
    password: Secret,
}

impl Api for ServiceNow {
    fn request(&self, message: &Message<'_>) -> Result<Request, String> {
        // The answer has every field of the incident.
        self.authorized(Request::json(self.url.clone(), &payload(message)).keeping_all())
    }

    fn follow_up(
        &self,
        message: &Message<'_>,
        ticket: Ticket<'_>,
        before: &[Response],
    ) -> Result<Option<Request>, String> {
        if !before.is_empty() {
            return Ok(None);
        }
        let note = journal(&message.note());
        let mut change = json!({ "work_notes": note });
        if let (Some(code), true) = (&self.config.close_code, ticket.ends) {
            change["state"] = RESOLVED.into();
            change["close_code"] = code.as_str().into();
            change["close_notes"] = note.into();
        }
        self.authorized(Request::json(below(&self.url, [ticket.id]), &change).by(Method::PATCH)).map(Some)
    }

    fn tickets(&self) -> Option<&'static str> {
        Some("servicenow")
    }

    fn ticket(&self, made: &Response) -> Option<String> {
        member(made, "/result/sys_id")
    }

    fn secrets(&self) -> Vec<Secret> {
        vec![self.password.clone()]
    }
}

impl ServiceNow {
    fn authorized(&self, mut request: Request) -> Result<Request, String> {
        request.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        request.secret_header(AUTHORIZATION, &basic(&self.config.user, self.password.expose()))
    }
}

/// What stands between two of these marks is HTML in a journal field.
fn journal(text: &str) -> String {
    text.replace("[code]", "[ code]").replace("[CODE]", "[ CODE]")
}

fn payload(message: &Message<'_>) -> Value {
    let urgency = match message.alert.severity {
        Severity::Critical | Severity::High => "1",
        Severity::Medium => "2",
        Severity::Low | Severity::Info => "3",
    };
    json!({
        "short_description": cut(&message.title, SHORT),
        "description": message.readable(DESCRIPTION),
        "urgency": urgency,
        "correlation_id": message.alert.id,
        "correlation_display": "margay",
    })
}
