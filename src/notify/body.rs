//! A body as the formats look at it: its text, and its JSON if it is JSON. Parsed once, however many formats look.

use serde_json::Value;

use super::BadBody;

pub(super) struct Body<'a> {
    pub(super) text: &'a str,
    /// How many envelopes were taken off to get here.
    pub(super) envelopes: u8,
    json: Result<Value, String>,
}

impl<'a> Body<'a> {
    pub(super) fn new(text: &'a str, envelopes: u8) -> Body<'a> {
        // Some tools write it before JSON, which may not have it.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Body { text, envelopes, json: serde_json::from_str(text).map_err(|error| error.to_string()) }
    }

    /// The value at a path of member names; `None` as well where the body is not JSON.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Value> {
        at(self.json.as_ref().ok()?, path)
    }

    pub(super) fn text_at(&self, path: &[&str]) -> Option<&str> {
        self.at(path)?.as_str()
    }

    /// The whole body as JSON.
    pub(super) fn whole(&self) -> Option<&Value> {
        self.json.as_ref().ok()
    }

    /// Why no format took it, in words that let the operator find out who sends it.
    pub(super) fn unrecognised(&self) -> BadBody {
        let what = match &self.json {
            Err(error) => format!("it is not JSON ({error})"),
            Ok(Value::Object(members)) if members.is_empty() => "it is a JSON object without members".into(),
            Ok(Value::Object(members)) => {
                let names: Vec<String> = members.keys().take(8).map(|name| shortened(name)).collect();
                format!("it is a JSON object with the members {}", names.join(", "))
            }
            Ok(Value::Array(_)) => "it is a JSON array".into(),
            Ok(_) => "it is a JSON scalar".into(),
        };
        BadBody(format!(
            "the message is no notification that margay knows: {what}; send S3 event notifications (directly, through \
             SNS or EventBridge) or CloudTrail's SNS notifications to this queue"
        ))
    }
}

/// The value at a path of member names below `value`.
pub(super) fn at<'v>(value: &'v Value, path: &[&str]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, name| value.get(name))
}

/// The text at a path below `value`. Empty, or of another type, counts as not said: emulators send empty version ids
/// and ETags, and what a notification does not say the store completes when the object is read.
pub(super) fn text<'v>(value: &'v Value, path: &[&str]) -> Option<&'v str> {
    at(value, path)?.as_str().filter(|text| !text.is_empty())
}

/// Member names come from outside; an error text quotes a bounded part of them.
fn shortened(name: &str) -> String {
    let mut quoted: String = name.chars().take(40).collect();
    if quoted.len() < name.len() {
        quoted.push('…');
    }
    format!("{quoted:?}")
}
