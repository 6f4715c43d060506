//! ServiceNow: an incident of its Table API.

use hyper::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::api::{Api, Secrets, basic, joined};
use crate::alert::message::Message;
use crate::alert::outbound::Request;
use crate::alert::text::cut;
use crate::model::{Secret, SecretRef, Severity};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `https://company.service-now.com`
    pub url: String,
    pub user: String,
    pub password: SecretRef,
}

const SHORT: usize = 160;
const DESCRIPTION: usize = 4000;

pub fn build(config: &Config, secrets: Secrets<'_>) -> Result<Box<dyn Api>, String> {
    let url = joined(&config.url, "api/now/table/incident")?;
    Ok(Box::new(ServiceNow { url, user: config.user.clone(), password: secrets(&config.password)? }))
}

struct ServiceNow {
    url: Url,
    user: String,
    password: Secret,
}

impl Api for ServiceNow {
    fn request(&self, message: &Message<'_>) -> Result<Request, String> {
        let mut request = Request::json(self.url.clone(), &payload(message));
        request.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        request.secret_header(AUTHORIZATION, &basic(&self.user, self.password.expose()))
    }

    fn secrets(&self) -> Vec<Secret> {
        vec![self.password.clone()]
    }
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
