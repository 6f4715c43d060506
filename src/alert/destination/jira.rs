//! Jira: an issue of its REST API, in wiki markup. What comes later is a comment; the end can move the issue.

use hyper::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::api::{Api, Secrets, Ticket, basic, below, joined, member};
use crate::alert::message::Message;
use crate::alert::outbound::{Request, Response};
use crate::alert::text::{cut, noformat};
use crate::model::{Secret, SecretRef};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `https://company.atlassian.net`
    pub url: String,
    pub project: String,
    pub email: String,
    pub api_key: SecretRef,
    #[serde(default = "issue_type")]
    pub issue_type: String,
    #[serde(default)]
    pub labels: Vec<String>,
    /// Account id.
    pub assignee: Option<String>,
    /// The transition, or the status behind it, to take when the alert has ended.
    pub done_transition: Option<String>,
}

fn issue_type() -> String {
    "Bug".into()
}

const SUMMARY: usize = 255;
/// The API takes 32,767 characters.
const DESCRIPTION: usize = 30_000;

pub fn build(config: &Config, secrets: Secrets<'_>) -> Result<Box<dyn Api>, String> {
    let url = joined(&config.url, "rest/api/latest/issue/")?;
    if let Some(label) = config.labels.iter().find(|label| label.contains(char::is_whitespace)) {
        return Err(format!("has the label `{label}`; labels of Jira have no spaces"));
    }
    Ok(Box::new(Jira { url, config: config.clone(), key: secrets(&config.api_key)? }))
}

struct Jira {
    url: Url,
    config: Config,
    key: Secret,
}

impl Api for Jira {
    fn request(&self, message: &Message<'_>) -> Result<Request, String> {
        self.authorized(Request::json(self.url.clone(), &self.payload(message)).keeping_all())
    }

    /// Which transitions an issue has is for its workflow to say, and by where it stands.
    fn follow_up(
        &self,
        message: &Message<'_>,
        ticket: Ticket<'_>,
        before: &[Response],
    ) -> Result<Option<Request>, String> {
        let transitions = below(&self.url, [ticket.id, "transitions"]);
        let wanted = self.config.done_transition.as_deref().filter(|_| ticket.ends);
        let mut note = message.note();
        match (wanted, before) {
            (None, []) => {}
            (Some(_), []) => return self.authorized(Request::get(transitions).keeping_all()).map(Some),
            (Some(name), [offered]) => match transition(offered, name) {
                Some(id) => {
                    let request = Request::json(transitions, &json!({ "transition": { "id": id } }));
                    return self.authorized(request).map(Some);
                }
                None => note += &format!("\nThere is no transition `{name}` from where the issue stands."),
            },
            (Some(name), [offered, _]) if transition(offered, name).is_some() => {}
            _ => return Ok(None),
        }
        let comment = json!({ "body": noformat(&note) });
        self.authorized(Request::json(below(&self.url, [ticket.id, "comment"]), &comment)).map(Some)
    }

    fn tickets(&self) -> Option<&'static str> {
        Some("jira")
    }

    fn ticket(&self, made: &Response) -> Option<String> {
        member(made, "/key")
    }

    fn secrets(&self) -> Vec<Secret> {
        vec![self.key.clone()]
    }
}

impl Jira {
    fn authorized(&self, request: Request) -> Result<Request, String> {
        request.secret_header(AUTHORIZATION, &basic(&self.config.email, self.key.expose()))
    }

    fn payload(&self, message: &Message<'_>) -> Value {
        let Config { project, issue_type, labels, assignee, .. } = &self.config;
        let mut fields = json!({
            "summary": cut(&message.title, SUMMARY),
            "description": noformat(&message.readable(DESCRIPTION)),
            "project": { "key": project },
            "issuetype": { "name": issue_type },
            "labels": labels,
        });
        if let Some(id) = assignee {
            fields["assignee"] = json!({ "id": id });
        }
        json!({ "fields": fields })
    }
}

/// The id of the transition with this name, or to the status with this name, whatever their case.
fn transition(offered: &Response, name: &str) -> Option<String> {
    let offered: Value = serde_json::from_slice(&offered.body).ok()?;
    let is_called =
        |found: Option<&Value>| found.and_then(Value::as_str).is_some_and(|own| own.eq_ignore_ascii_case(name));
    let mut all = offered["transitions"].as_array()?.iter();
    let found = all.find(|one| is_called(one.get("name")) || is_called(one.pointer("/to/name")))?;
    found["id"].as_str().map(str::to_owned)
}
