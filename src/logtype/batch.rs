//! The request lines of `margay parse --batch`: records in, events out, one JSON line each. Pure: the command reads and
//! writes.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::classify::{Classified, Classifier, Context};
use super::registry::{LoadErrors, Registry};
use super::schema::Schema;
use crate::model::{Map, ObjectId, Record};

#[derive(Deserialize)]
struct Request {
    id: String,
    log_type: String,
    /// YAML; decides how the input is parsed, even if a built-in log type has the name.
    schema: Option<String>,
    /// Entries in order. All go through one parser.
    input: Vec<String>,
}

#[derive(Serialize)]
struct Reply {
    id: String,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// One element an entry; `None` when it does not classify.
    Events(Vec<Option<Vec<Map>>>),
    Error(String),
}

/// Answers one request line with one reply line, without its line end.
pub fn answer(registry: &Registry, line: &str, now: OffsetDateTime) -> String {
    let reply = match serde_json::from_str::<Request>(line) {
        Ok(request) => Reply { outcome: outcome(registry, &request, now), id: request.id },
        Err(error) => {
            let id = serde_json::from_str::<serde_json::Value>(line).ok();
            let id = id.and_then(|value| value.get("id")?.as_str().map(str::to_string)).unwrap_or_default();
            Reply { id, outcome: Outcome::Error(format!("the request is malformed: {error}")) }
        }
    };
    serde_json::to_string(&reply).expect("strings and finite numbers always serialise")
}

fn outcome(registry: &Registry, request: &Request, now: OffsetDateTime) -> Outcome {
    let schema = match &request.schema {
        Some(text) => match Schema::standalone(text, &request.log_type) {
            Ok(schema) => Arc::new(schema),
            Err(errors) => return Outcome::Error(LoadErrors(errors).to_string()),
        },
        None => match registry.get(&request.log_type) {
            Ok(schema) => schema.clone(),
            Err(error) => return Outcome::Error(error.to_string()),
        },
    };
    let context = Context {
        object: ObjectId([0; 16]),
        address: None,
        source: "".into(),
        parse_time: now,
        keep_unknown: false,
        guard_event_time: false,
    };
    let mut classifier = Classifier::with_schemas(vec![schema], context);
    let entries = request.input.iter().enumerate().map(|(ordinal, entry)| {
        let bytes = Bytes::copy_from_slice(entry.as_bytes());
        match classifier.classify(&Record { ordinal: ordinal as u64, bytes, origin: None }) {
            Classified::Events(events) => Some(events.into_iter().map(|event| event.fields).collect()),
            Classified::Blank => Some(Vec::new()),
            Classified::Rejected(_) => None,
        }
    });
    Outcome::Events(entries.collect())
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn ask(line: &str) -> serde_json::Value {
        serde_json::from_str(&answer(&Registry::built_in(), line, datetime!(2024-03-01 12:00 UTC))).unwrap()
    }

    #[test]
    fn every_entry_is_answered_in_order() {
        let reply = ask(
            r#"{"id":"1","log_type":"Custom.Test","schema":"version: 0\nfields: [{name: a, type: int}]","input":["{\"a\":1,\"x\":2}"," ","no"]}"#,
        );
        assert_eq!(reply["id"], "1");
        assert_eq!(reply["events"][0][0]["a"], 1);
        assert_eq!(reply["events"][0][0].get("x"), None);
        assert_eq!(reply["events"][0][0]["p_log_type"], "Custom.Test");
        assert_eq!(reply["events"][1], serde_json::json!([]));
        assert_eq!(reply["events"][2], serde_json::Value::Null);
    }

    #[test]
    fn an_inline_schema_keeps_the_requested_name_and_reads_json() {
        let reply = ask(
            r#"{"id":"2","log_type":"AWS.VPCFlow","schema":"version: 0\nschema: Other.Name\nparser: {native: {name: AWS.VPCFlow}}\nfields: [{name: a, type: int}]","input":["{\"a\":1}"]}"#,
        );
        assert_eq!(reply["events"][0][0]["p_log_type"], "AWS.VPCFlow");
    }

    #[test]
    fn a_request_that_cannot_be_served_is_an_error() {
        for line in [
            r#"{"id":"3","log_type":"No.Such","input":[]}"#,
            r#"{"id":"3","log_type":"Custom.Test","schema":"version: 7","input":[]}"#,
            r#"{"id":"3"}"#,
        ] {
            let reply = ask(line);
            assert_eq!(reply["id"], "3");
            assert!(reply["error"].is_string(), "{reply}");
        }
        assert!(ask("nonsense")["error"].as_str().unwrap().contains("malformed"));
    }
}
