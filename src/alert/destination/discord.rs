//! Discord: a webhook of a channel, with one embed and no mentions.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::api::{Api, Secrets, secret_url};
use super::slack::colour;
use crate::alert::message::Message;
use crate::alert::outbound::Request;
use crate::alert::text::{cut, fenced, markdown};
use crate::model::{Secret, SecretRef, Severity, rfc3339};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The URL of the webhook, which is a secret as a whole.
    pub url: SecretRef,
}

const TITLE: usize = 256;
/// The API takes 4096 characters of description.
const DESCRIPTION: usize = 3800;

pub fn build(config: &Config, secrets: Secrets<'_>) -> Result<Box<dyn Api>, String> {
    let (url, secret) = secret_url(&config.url, secrets)?;
    Ok(Box::new(Discord { url, secret }))
}

struct Discord {
    url: Url,
    secret: Secret,
}

impl Api for Discord {
    fn request(&self, message: &Message<'_>) -> Result<Request, String> {
        Ok(Request::json(self.url.clone(), &payload(message)))
    }

    fn secrets(&self) -> Vec<Secret> {
        vec![self.secret.clone()]
    }
}

fn payload(message: &Message<'_>) -> Value {
    let alert = message.alert;
    let mut embed = json!({
        "title": title(&message.title),
        "description": fenced(&message.readable(DESCRIPTION)),
        "color": integer(alert.severity),
        "timestamp": rfc3339(alert.created_at),
        "fields": [{ "name": "Severity", "value": alert.severity, "inline": true }],
    });
    if !message.link.is_empty() {
        embed["url"] = message.link.clone().into();
    }
    json!({ "embeds": [embed], "allowed_mentions": { "parse": [] } })
}

/// Escaped, and not cut inside of an escape.
fn title(text: &str) -> String {
    let mut room = TITLE;
    loop {
        let escaped = markdown(&cut(text, room));
        let length = escaped.chars().count();
        if length <= TITLE {
            return escaped;
        }
        room = room.saturating_sub(length - TITLE);
    }
}

fn integer(severity: Severity) -> u32 {
    u32::from_str_radix(colour(severity).trim_start_matches('#'), 16).expect("colours are six hex digits")
}
