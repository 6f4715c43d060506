//! Microsoft Teams: an Adaptive Card for the URL of a workflow, a message card for that of an old connector.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::api::{Api, Secrets, secret_url};
use super::slack::colour;
use crate::alert::message::Message;
use crate::alert::outbound::Request;
use crate::alert::text::{cut, html, markdown};
use crate::model::{Secret, SecretRef, Severity};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The URL of the workflow or connector, which is a secret as a whole.
    pub url: SecretRef,
    #[serde(default)]
    pub format: CardFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CardFormat {
    /// `message_card` for hosts of old connectors, `*.webhook.office.com`.
    #[default]
    Auto,
    Adaptive,
    MessageCard,
}

const TITLE: usize = 500;
/// A message has at most 28 KB, and the text can double when it is escaped.
const TEXT: usize = 8000;
const FACT: usize = 1000;

pub fn build(config: &Config, secrets: Secrets<'_>) -> Result<Box<dyn Api>, String> {
    let (url, secret) = secret_url(&config.url, secrets)?;
    let is_connector = url.host_str().is_some_and(|host| host.ends_with(".webhook.office.com"));
    let adaptive = match config.format {
        CardFormat::Auto => !is_connector,
        CardFormat::Adaptive => true,
        CardFormat::MessageCard => false,
    };
    Ok(Box::new(Teams { url, secret, adaptive }))
}

struct Teams {
    url: Url,
    secret: Secret,
    adaptive: bool,
}

impl Api for Teams {
    fn request(&self, message: &Message<'_>) -> Result<Request, String> {
        let card = if self.adaptive { adaptive_card(message) } else { message_card(message) };
        Ok(Request::json(self.url.clone(), &card))
    }

    fn secrets(&self) -> Vec<Secret> {
        vec![self.secret.clone()]
    }
}

/// Rich text blocks show text as it is; other blocks would read Markdown in it.
fn adaptive_card(message: &Message<'_>) -> Value {
    let colour = match message.alert.severity {
        Severity::Critical | Severity::High => "attention",
        Severity::Medium | Severity::Low => "warning",
        Severity::Info => "good",
    };
    let title = json!({ "type": "TextRun", "text": cut(&message.title, TITLE), "weight": "bolder", "color": colour });
    let text = json!({ "type": "TextRun", "text": message.readable(TEXT) });
    let mut card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [
            { "type": "RichTextBlock", "inlines": [title] },
            { "type": "RichTextBlock", "inlines": [text] },
        ],
    });
    if !message.link.is_empty() {
        card["actions"] = json!([{ "type": "Action.OpenUrl", "title": "View the alert", "url": message.link }]);
    }
    let content_type = "application/vnd.microsoft.card.adaptive";
    json!({ "type": "message", "attachments": [{ "contentType": content_type, "content": card }] })
}

fn message_card(message: &Message<'_>) -> Value {
    let alert = message.alert;
    let context = alert.context.to_string();
    let facts = [
        ("Description", alert.description.as_str()),
        ("Runbook", &alert.runbook),
        ("Severity", alert.severity.as_str()),
        ("Tags", &alert.tags.join(", ")),
        ("AlertContext", &context),
    ];
    // It reads Markdown and some HTML.
    let plain = |text: &str| markdown(&html(text));
    let facts: Vec<Value> =
        facts.iter().map(|(name, value)| json!({ "name": name, "value": plain(&cut(value, FACT)) })).collect();
    let mut card = json!({
        "@context": "http://schema.org/extensions",
        "@type": "MessageCard",
        "themeColor": colour(alert.severity).trim_start_matches('#'),
        "text": plain(&cut(&message.title, TITLE)),
        "sections": [{ "facts": facts }],
    });
    if !message.link.is_empty() {
        let targets = json!([{ "os": "default", "uri": message.link }]);
        card["potentialAction"] = json!([{ "@type": "OpenUri", "name": "View the alert", "targets": targets }]);
    }
    card
}
