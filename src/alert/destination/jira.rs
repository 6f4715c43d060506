//! Jira: an issue of its REST API, in wiki markup.

use hyper::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::api::{Api, Secrets, basic, joined};
use crate::alert::message::Message;
use crate::alert::outbound::Request;
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
        let request = Request::json(self.url.clone(), &self.payload(message));
        request.secret_header(AUTHORIZATION, &basic(&self.config.email, self.key.expose()))
    }

    fn secrets(&self) -> Vec<Secret> {
        vec![self.key.clone()]
    }
}

impl Jira {
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
