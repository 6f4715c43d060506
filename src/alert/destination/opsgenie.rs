//! Opsgenie: an alert of its Alert API. Repeats are one alert, by the alias, which is closed with the alert.

use hyper::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::api::{Api, Secrets, joined};
use crate::alert::message::Message;
use crate::alert::outbound::Request;
use crate::alert::text::{cut, html};
use crate::model::{News, Secret, SecretRef, Severity};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub api_key: SecretRef,
    #[serde(default)]
    pub region: Region,
    /// Instead of the region's.
    pub endpoint: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Region {
    #[default]
    Us,
    Eu,
}

/// Limits of the API, in characters.
const MESSAGE: usize = 130;
const DESCRIPTION: usize = 15_000;
const TAGS: usize = 20;
const TAG: usize = 50;

pub fn build(config: &Config, secrets: Secrets<'_>) -> Result<Box<dyn Api>, String> {
    let regional = match config.region {
        Region::Us => "https://api.opsgenie.com",
        Region::Eu => "https://api.eu.opsgenie.com",
    };
    let url = joined(config.endpoint.as_deref().unwrap_or(regional), "v2/alerts")?;
    Ok(Box::new(Opsgenie { url, key: secrets(&config.api_key)? }))
}

struct Opsgenie {
    url: Url,
    key: Secret,
}

impl Api for Opsgenie {
    fn request(&self, message: &Message<'_>) -> Result<Request, String> {
        let request = match message.news {
            News::Resolved => Request::json(self.closing(&message.alert.id), &json!({ "source": "margay" })),
            News::Opened | News::Updated => Request::json(self.url.clone(), &payload(message)),
        };
        request.secret_header(AUTHORIZATION, &format!("GenieKey {}", self.key.expose()))
    }

    fn secrets(&self) -> Vec<Secret> {
        vec![self.key.clone()]
    }
}

impl Opsgenie {
    /// Closes an alert by its alias. An id is hex digits, so that it needs no escaping.
    fn closing(&self, alias: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/{alias}/close", self.url.path()));
        url.set_query(Some("identifierType=alias"));
        url
    }
}

fn payload(message: &Message<'_>) -> Value {
    let alert = message.alert;
    let tags: Vec<String> = alert.tags.iter().take(TAGS).map(|tag| cut(tag, TAG)).collect();
    json!({
        "message": cut(&message.title, MESSAGE),
        "alias": alert.id,
        "description": description(message),
        "tags": tags,
        "priority": priority(alert.severity),
        "source": "margay",
    })
}

/// Escaped text is longer by a factor that is known only afterwards: the text is cut until it fits.
fn description(message: &Message<'_>) -> String {
    let mut room = DESCRIPTION - 100;
    loop {
        let text = format!("<pre>{}</pre>", html(&message.readable(room)));
        if text.chars().count() <= DESCRIPTION {
            return text;
        }
        room /= 2;
    }
}

fn priority(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "P1",
        Severity::High => "P2",
        Severity::Medium => "P3",
        Severity::Low => "P4",
        Severity::Info => "P5",
    }
}
