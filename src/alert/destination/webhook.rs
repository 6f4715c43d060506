//! A webhook of one's own: the generic payload or a template, signed if there is a key for it.

use std::collections::BTreeMap;

use hmac::{Hmac, Mac};
use hyper::header::HeaderName;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::Sha256;
use url::Url;

use super::api::{Api, Secrets, secret_url};
use crate::alert::message::Message;
use crate::alert::outbound::Request;
use crate::model::{Secret, SecretRef};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub url: SecretRef,
    /// Names and where their values are read from.
    #[serde(default)]
    pub headers: BTreeMap<String, SecretRef>,
    /// The key of the signature.
    pub signing_key: Option<SecretRef>,
    /// JSON with `{{name}}` in its strings, for the keys of the generic payload.
    pub template: Option<String>,
}

const BODY: usize = 1_000_000;

const SIGNATURE: HeaderName = HeaderName::from_static("x-margay-signature");

pub fn build(config: &Config, secrets: Secrets<'_>) -> Result<Box<dyn Api>, String> {
    let (url, secret) = secret_url(&config.url, secrets)?;
    let mut headers = Vec::new();
    for (name, reference) in &config.headers {
        let name =
            HeaderName::try_from(name.as_str()).map_err(|_| format!("has `{name}`, which is no name of a header"))?;
        headers.push((name, secrets(reference)?));
    }
    let template = config.template.as_deref().map(serde_json::from_str).transpose();
    let template = template.map_err(|error| format!("has a template that is not JSON: {error}"))?;
    let key = config.signing_key.as_ref().map(secrets).transpose()?;
    Ok(Box::new(Webhook { url, secret, headers, key, template }))
}

struct Webhook {
    url: Url,
    secret: Secret,
    headers: Vec<(HeaderName, Secret)>,
    key: Option<Secret>,
    template: Option<Value>,
}

impl Api for Webhook {
    fn request(&self, message: &Message<'_>) -> Result<Request, String> {
        let generic = message.generic(BODY);
        let body = match &self.template {
            Some(template) => filled(template, &generic),
            None => generic,
        };
        let mut request = Request::json(self.url.clone(), &body)
            .secret_header(HeaderName::from_static("idempotency-key"), &message.key)?;
        if let Some(key) = &self.key {
            let signature = signature(key, message.at.unix_timestamp(), &request.body);
            request = request.secret_header(SIGNATURE, &signature)?;
        }
        for (name, value) in &self.headers {
            request = request.secret_header(name.clone(), value.expose())?;
        }
        Ok(request)
    }

    fn secrets(&self) -> Vec<Secret> {
        let own = [Some(self.secret.clone()), self.key.clone()];
        own.into_iter().flatten().chain(self.headers.iter().map(|(_, value)| value.clone())).collect()
    }
}

/// `t=<seconds since 1970>,v1=<hex of HMAC-SHA256 over "<t>.<body>">`
fn signature(key: &Secret, at: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes()).expect("HMAC takes keys of any length");
    mac.update(format!("{at}.").as_bytes());
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={at},v1={hex}")
}

/// The template with values in it. They are put into parsed strings, so that none can become JSON of its own; a string
/// that is one placeholder becomes the value itself.
fn filled(template: &Value, values: &Value) -> Value {
    match template {
        Value::String(text) => filled_text(text, values),
        Value::Array(items) => items.iter().map(|item| filled(item, values)).collect(),
        Value::Object(entries) => entries
            .iter()
            .map(|(key, value)| (key.clone(), filled(value, values)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

fn filled_text(text: &str, values: &Value) -> Value {
    let whole = text.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
    if let Some(value) = whole.and_then(|name| values.get(name.trim())) {
        return value.clone();
    }
    let mut made = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        made.push_str(before);
        let Some((name, behind)) = after.split_once("}}") else {
            made.push_str("{{");
            rest = after;
            continue;
        };
        match values.get(name.trim()) {
            Some(Value::String(text)) => made.push_str(text),
            Some(other) => made.push_str(&other.to_string()),
            None => made.extend(["{{", name, "}}"]),
        }
        rest = behind;
    }
    made.push_str(rest);
    Value::String(made)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_is_filled_and_its_values_stay_values() {
        let template =
            json!({ "text": "{{ severity }}: {{title}}", "all": ["{{context}}"], "{{title}}": 1, "x": "{{no}} {{" });
        let values = json!({ "severity": "HIGH", "title": "a\", \"admin\": {{severity}}", "context": { "a": 1 } });
        let expected = json!({ "text": "HIGH: a\", \"admin\": {{severity}}", "all": [{ "a": 1 }], "{{title}}": 1, "x": "{{no}} {{" });
        assert_eq!(filled(&template, &values), expected);
    }

    /// The value was computed with another implementation.
    #[test]
    fn a_signature_is_over_time_and_body() {
        let signature = signature(&Secret::new("Jefe"), 1, b"what do ya want for nothing?");
        assert_eq!(signature.len(), "t=1,v1=".len() + 64);
        assert_ne!(signature, super::signature(&Secret::new("Jefe"), 2, b"what do ya want for nothing?"));
        assert_eq!(signature, "t=1,v1=a9049465ce89cfb8e9aac62333abda66f80e3403f51f57f6bae3c3a4485eca38");
    }
}
