//! Asana: a task in one or several projects. What comes later is a comment; the end completes the task.

use hyper::Method;
use hyper::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::api::{Api, Secrets, Ticket, below, joined, member};
use crate::alert::message::Message;
use crate::alert::outbound::{Request, Response};
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
        // The answer repeats the whole task.
        self.authorized(Request::json(self.url.clone(), &self.payload(message)).keeping_all())
    }

    fn follow_up(
        &self,
        message: &Message<'_>,
        ticket: Ticket<'_>,
        before: &[Response],
    ) -> Result<Option<Request>, String> {
        let request = match (ticket.ends, before.len()) {
            (true, 0) => {
                let completed = json!({ "data": { "completed": true } });
                Request::json(below(&self.url, [ticket.id]), &completed).by(Method::PUT)
            }
            (true, 1) | (false, 0) => {
                let comment = json!({ "data": { "text": message.note() } });
                Request::json(below(&self.url, [ticket.id, "stories"]), &comment)
            }
            _ => return Ok(None),
        };
        self.authorized(request).map(Some)
    }

    fn tickets(&self) -> Option<&'static str> {
        Some("asana")
    }

    fn ticket(&self, made: &Response) -> Option<String> {
        member(made, "/data/gid")
    }

    fn secrets(&self) -> Vec<Secret> {
        vec![self.token.clone()]
    }
}

impl Asana {
    fn authorized(&self, request: Request) -> Result<Request, String> {
        request.secret_header(AUTHORIZATION, &format!("Bearer {}", self.token.expose()))
    }

    fn payload(&self, message: &Message<'_>) -> Value {
        let (name, notes) = (cut(&message.title, NAME), message.readable(NOTES));
        json!({ "data": { "name": name, "projects": self.projects, "notes": notes } })
    }
}
