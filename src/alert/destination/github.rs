//! GitHub: an issue of a repository. What comes later is a comment; the end closes the issue.

use hyper::Method;
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::api::{Api, Secrets, Ticket, below, joined, member};
use crate::alert::message::Message;
use crate::alert::outbound::{Request, Response};
use crate::alert::text::{cut, fenced};
use crate::model::{Secret, SecretRef};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `owner/name`
    pub repository: String,
    pub token: SecretRef,
    /// Of the API, for a server of one's own: `https://github.example/api/v3`.
    #[serde(default = "endpoint")]
    pub endpoint: String,
}

fn endpoint() -> String {
    "https://api.github.com".into()
}

const TITLE: usize = 256;
/// The API takes 65,536 characters.
const BODY: usize = 60_000;

pub fn build(config: &Config, secrets: Secrets<'_>) -> Result<Box<dyn Api>, String> {
    let is_name = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    match config.repository.split_once('/') {
        Some((owner, name)) if is_name(owner) && is_name(name) => {}
        _ => return Err(format!("has the repository `{}`; write `owner/name`", config.repository)),
    }
    let url = joined(&config.endpoint, &format!("repos/{}/issues", config.repository))?;
    Ok(Box::new(GitHub { url, token: secrets(&config.token)? }))
}

struct GitHub {
    url: Url,
    token: Secret,
}

impl Api for GitHub {
    fn request(&self, message: &Message<'_>) -> Result<Request, String> {
        // The answer repeats the whole issue.
        self.authorized(Request::json(self.url.clone(), &payload(message)).keeping_all())
    }

    fn follow_up(
        &self,
        message: &Message<'_>,
        ticket: Ticket<'_>,
        before: &[Response],
    ) -> Result<Option<Request>, String> {
        let request = match (ticket.ends, before.len()) {
            (true, 0) => {
                let closed = json!({ "state": "closed", "state_reason": "completed" });
                Request::json(below(&self.url, [ticket.id]), &closed).by(Method::PATCH)
            }
            (true, 1) | (false, 0) => {
                let comment = json!({ "body": fenced(&message.note()) });
                Request::json(below(&self.url, [ticket.id, "comments"]), &comment)
            }
            _ => return Ok(None),
        };
        self.authorized(request).map(Some)
    }

    fn tickets(&self) -> Option<&'static str> {
        Some("github")
    }

    fn ticket(&self, made: &Response) -> Option<String> {
        member(made, "/number")
    }

    fn secrets(&self) -> Vec<Secret> {
        vec![self.token.clone()]
    }
}

impl GitHub {
    fn authorized(&self, mut request: Request) -> Result<Request, String> {
        request.headers.insert(ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
        let version = HeaderName::from_static("x-github-api-version");
        request.headers.insert(version, HeaderValue::from_static("2022-11-28"));
        request.secret_header(AUTHORIZATION, &format!("token {}", self.token.expose()))
    }
}

/// All that the alert says stands in a code block, where there are no mentions and no images.
fn payload(message: &Message<'_>) -> Value {
    let link = if message.link.is_empty() { String::new() } else { format!("[View the alert]({})\n\n", message.link) };
    let body = format!("{link}**Severity:** {}\n\n{}", message.alert.severity, fenced(&message.readable(BODY)));
    json!({ "title": cut(&message.title, TITLE), "body": body })
}
