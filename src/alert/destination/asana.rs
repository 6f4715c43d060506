//! Asana: a task in one or several projects.

use hyper::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::api::{Api, Secrets, joined};
use crate::alert::message::Message;
use crate::alert::outbound::Request;
use crate::alert::text::cut;
use crate::model::{Secret, SecretRef};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub token: SecretRef,
    /// Ids of projects.
    pub projects: Vec<String>,
    #[serde(default = "endpoint")]
    pub endpoint: String,
}

fn endpoint() -> String {
    "https://app.asana.com".into()
}

const NAME: usize = 1024;
const NOTES: usize = 60_000;

pub fn build(config: &Config, secrets: Secrets<'_>) -> Result<Box<dyn Api>, String> {
    if config.projects.is_empty() {
        return Err("has no `projects`; name the id of at least one".into());
    }
    let url = joined(&config.endpoint, "api/1.0/tasks")?;
    Ok(Box::new(Asana { url, projects: config.projects.clone(), token: secrets(&config.token)? }))
}

struct Asana {
    url: Url,
    projects: Vec<String>,
    token: Secret,
}

impl Api for Asana {
    fn request(&self, message: &Message<'_>) -> Result<Request, String> {
        let request = Request::json(self.url.clone(), &self.payload(message));
        request.secret_header(AUTHORIZATION, &format!("Bearer {}", self.token.expose()))
    }

    fn secrets(&self) -> Vec<Secret> {
        vec![self.token.clone()]
    }
}

impl Asana {
    fn payload(&self, message: &Message<'_>) -> Value {
        let (name, notes) = (cut(&message.title, NAME), message.readable(NOTES));
        json!({ "data": { "name": name, "projects": self.projects, "notes": notes } })
    }
}
