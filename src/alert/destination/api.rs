//! Destinations that are an HTTP API: sends what a vendor's file makes of a message, and judges the answer.

use std::time::Duration;

use async_trait::async_trait;
use hyper::header::{self, HeaderMap};
use url::Url;

use super::{Destination, Failure, SendError};
use crate::alert::message::Message;
use crate::alert::outbound::{Client, Policy, Request, Response};
use crate::alert::render::safe;
use crate::alert::text::cut;
use crate::model::{News, Secret, SecretRef, Taken};

/// What a vendor's file does.
pub trait Api: Send + Sync {
    /// Tells of the alert; where each becomes a ticket, makes one. An error is one of this message, for good.
    fn request(&self, message: &Message<'_>) -> Result<Request, String>;

    /// What is to be told of an alert that has a ticket, behind these answers, which were all good; `None` when all is
    /// said. An attempt that fails in between begins anew, so what can be repeated comes first.
    fn follow_up(
        &self,
        _message: &Message<'_>,
        _ticket: Ticket<'_>,
        _before: &[Response],
    ) -> Result<Option<Request>, String> {
        Ok(None)
    }

    /// The kind of the tickets that it makes; `None`: it makes none.
    fn tickets(&self) -> Option<&'static str> {
        None
    }

    /// What the vendor calls the ticket that it has just made.
    fn ticket(&self, _made: &Response) -> Option<String> {
        None
    }

    /// What must not be repeated from an answer.
    fn secrets(&self) -> Vec<Secret>;
}

/// One that the vendor has made of an alert.
#[derive(Clone, Copy)]
pub struct Ticket<'a> {
    pub id: &'a str,
    /// It ends with what is told.
    pub ends: bool,
}

/// Gives the value of a secret.
pub type Secrets<'a> = &'a (dyn Fn(&SecretRef) -> Result<Secret, String> + Sync);

/// Of what a destination answered, in a reason.
const TOLD: usize = 300;

/// No destination may hold its alerts for longer by what it answers.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

pub struct Sender {
    name: String,
    api: Box<dyn Api>,
    client: Client,
    policy: Policy,
}

impl Sender {
    pub fn new(name: String, api: Box<dyn Api>, client: Client, policy: Policy) -> Sender {
        Sender { name, api, client, policy }
    }

    async fn exchange(&self, request: Request) -> Result<Response, SendError> {
        let answer = self.client.send(&self.policy, request).await.map_err(SendError::unavailable)?;
        self.judge(&answer)?;
        Ok(answer)
    }

    fn judge(&self, answer: &Response) -> Result<(), SendError> {
        let status = answer.status.as_u16();
        let failure = match status {
            200..300 => return Ok(()),
            400 | 401 | 404 | 410 | 422 => Failure::Refused,
            _ => Failure::Unavailable(retry_after(&answer.headers)),
        };
        let hint = if answer.status.is_redirection() { "; redirects are not followed" } else { "" };
        let told = String::from_utf8_lossy(&answer.body);
        let told = self.api.secrets().iter().fold(told.into_owned(), |told, secret| secret.redact(&told));
        let told = cut(&safe(told.trim()), TOLD);
        Err(SendError { failure, reason: format!("status {status}{hint}: {told}"), status: Some(status) })
    }
}

#[async_trait]
impl Destination for Sender {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, message: &Message<'_>) -> Result<Taken, SendError> {
        let kind = self.api.tickets();
        let known = message.follow_up().and_then(|(kept, ends)| Some((of_kind(kind?, kept)?, ends)));
        let Some((id, ends)) = known else {
            // A ticket that told of the end alone would tell of nothing that is to be done.
            if kind.is_some() && message.news == News::Resolved {
                return Ok(Taken::default());
            }
            let request = self.api.request(message).map_err(SendError::permanent)?;
            let answer = self.exchange(request).await?;
            let ticket = self.api.ticket(&answer).filter(|ticket| is_ticket(ticket));
            let ticket = kind.zip(ticket).map(|(kind, id)| format!("{kind}:{id}"));
            return Ok(Taken { status: Some(answer.status.as_u16()), ticket });
        };
        let (ticket, mut answers) = (Ticket { id, ends }, Vec::new());
        while let Some(request) = self.api.follow_up(message, ticket, &answers).map_err(SendError::permanent)? {
            answers.push(self.exchange(request).await?);
        }
        Ok(Taken::with(answers.last().map(|answer| answer.status.as_u16())))
    }
}

/// The id of a ticket as it is kept, with its kind before it: a destination of another kind may have had the name before.
fn of_kind<'t>(kind: &str, kept: &'t str) -> Option<&'t str> {
    kept.strip_prefix(kind)?.strip_prefix(':')
}

/// It becomes a part of a path: no vendor's id has anything else in it.
fn is_ticket(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.chars().all(|char| char.is_ascii_alphanumeric() || "-_".contains(char))
}

/// Seconds, also with a fraction. A date is not read: the sender's own back-off is about as good.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT))
}

/// A URL that is a secret as a whole.
pub fn secret_url(reference: &SecretRef, secrets: Secrets<'_>) -> Result<(Url, Secret), String> {
    let secret = secrets(reference)?;
    let url = Url::parse(secret.expose().trim()).map_err(|error| format!("has no URL in `{reference}`: {error}"))?;
    Ok((url, secret))
}

/// A URL in the configuration, with `path` behind it.
pub fn joined(base: &str, path: &str) -> Result<Url, String> {
    let whole = format!("{}/{path}", base.trim_end_matches('/'));
    Url::parse(&whole).map_err(|error| format!("has no URL in `{base}`: {error}"))
}

/// A URL of the ticket's own, below that of all tickets.
pub fn below<'a>(url: &Url, parts: impl IntoIterator<Item = &'a str>) -> Url {
    let mut url = url.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(parts);
    }
    url
}

/// A member of an answer in JSON, a text or a number.
pub fn member(answer: &Response, pointer: &str) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    match body.pointer(pointer)? {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The value of `Authorization: Basic`.
pub fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}
