//! The tests of schemas: `*_tests.yml`, documents with an input and the events that it must give.
//!
//! Compared is what the schema decides: row ids, parse times and schema versions are not, nor an event time that is the parse time. Indicators are
//! sets, and a field that is null is as good as absent.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};
use serde_saphyr::Spanned;
use time::OffsetDateTime;

use super::classify::{Classified, Classifier, Context};
use super::registry::Registry;
use super::schema::SchemaError;
use super::stream::stream_of;
use crate::decode::{Limits, Piece, decode_all};
use crate::model::{ObjectId, Stream};

const LIMITS: Limits = Limits { max_object_bytes: 64 << 20, max_record_bytes: 16 << 20 };

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CaseDoc {
    #[serde(default)]
    name: String,
    log_type: Spanned<String>,
    input: String,
    result: Option<Spanned<String>>,
    results: Option<Vec<Spanned<String>>>,
    /// The input must not be of this type. An addition of margay's.
    #[serde(default)]
    expect_error: bool,
}

/// One case of a file.
pub struct Case {
    pub name: String,
    pub log_type: String,
    input: String,
    expected: Expected,
}

enum Expected {
    Events(Vec<Value>),
    NoMatch,
}

/// The cases of one file's text. `log_type` stands in for the template `{{.LogType}}`.
pub fn cases(text: &str, origin: &str, log_type: &str) -> Result<Vec<Case>, Vec<SchemaError>> {
    let documents: Vec<Spanned<CaseDoc>> = serde_saphyr::from_multiple(text)
        .map_err(|error| vec![SchemaError::new(origin, error.location(), error.without_snippet().to_string())])?;
    let mut errors = Vec::new();
    let mut cases = Vec::new();
    for (number, document) in documents.into_iter().enumerate() {
        let CaseDoc { name, log_type: named, input, result, results, expect_error } = document.value;
        let expected = match (result, results, expect_error) {
            (None, None, true) => Ok(Expected::NoMatch),
            (Some(result), None, false) => events(origin, vec![result]),
            (None, Some(results), false) => events(origin, results),
            _ => Err(SchemaError::new(
                origin,
                Some(document.referenced),
                "a case has one of `result` (one event), `results` (a list) and `expectError: true`",
            )),
        };
        let name = if name.is_empty() { format!("case {}", number + 1) } else { name };
        match expected {
            Ok(expected) => {
                let log_type = named.value.replace("{{.LogType}}", log_type);
                cases.push(Case { name, log_type, input, expected });
            }
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(cases) } else { Err(errors) }
}

fn events(origin: &str, texts: Vec<Spanned<String>>) -> Result<Expected, SchemaError> {
    let events = texts.into_iter().map(|text| {
        serde_json::from_str(&text.value).map_err(|error| {
            SchemaError::new(origin, Some(text.referenced), format!("the result is not JSON: {error}"))
        })
    });
    events.collect::<Result<_, _>>().map(Expected::Events)
}

impl Case {
    /// What differs; nothing when the case passes.
    pub fn run(&self, registry: &Registry, now: OffsetDateTime) -> Result<(), String> {
        let schema = registry.get(&self.log_type).map_err(|unknown| unknown.to_string())?;
        let context = Context {
            object: ObjectId([0; 16]),
            address: None,
            source: "".into(),
            parse_time: now,
            keep_unknown: false,
            guard_event_time: false,
        };
        let mut classifier = Classifier::with_schemas(vec![Arc::clone(schema)], context);
        let stream = stream_of(&Stream::default(), &[Arc::clone(schema)]);
        let mut pieces = Vec::new();
        decode_all(&stream, LIMITS, self.input.as_bytes(), &mut pieces)
            .map_err(|error| format!("the input can't be split: {error}"))?;
        let mut given = Vec::new();
        let mut refused = None;
        for piece in pieces {
            match piece {
                Piece::Reject(reject) => refused = Some(reject.reason),
                Piece::Record(record) => match classifier.classify(&record) {
                    Classified::Blank => {}
                    Classified::Rejected(reject) => refused = Some(reject.reason),
                    Classified::Events(events) => given.extend(
                        events.iter().map(|event| serde_json::to_value(&event.fields).expect("events are JSON")),
                    ),
                },
            }
        }
        match (&self.expected, refused) {
            (Expected::NoMatch, Some(_)) => Ok(()),
            (Expected::NoMatch, None) => Err(format!("the input matches, and gives {} events", given.len())),
            (Expected::Events(_), Some(reason)) => Err(reason),
            (Expected::Events(wanted), None) if wanted.len() != given.len() => {
                Err(format!("{} events expected, {} came", wanted.len(), given.len()))
            }
            (Expected::Events(wanted), None) => {
                wanted.iter().zip(&given).enumerate().try_for_each(|(number, (wanted, given))| {
                    compare("", &normal(wanted), &normal(given)).map_err(|what| format!("event {}: {what}", number + 1))
                })
            }
        }
    }
}

/// Without what is not compared.
fn normal(event: &Value) -> Value {
    let mut event = event.clone();
    if let Value::Object(fields) = &mut event {
        let parsed = fields.remove("p_parse_time");
        if parsed.is_some() && fields.get("p_event_time") == parsed.as_ref() {
            fields.remove("p_event_time");
        }
        fields.remove("p_row_id");
        fields.remove("p_schema_version");
    }
    event
}

fn compare(path: &str, wanted: &Value, given: &Value) -> Result<(), String> {
    let here = if path.is_empty() { "the event" } else { path };
    match (wanted, given) {
        (Value::Object(wanted), Value::Object(given)) => objects(path, wanted, given),
        (Value::Array(wanted), Value::Array(given)) if path.starts_with("p_any_") => {
            let set = |list: &[Value]| list.iter().map(Value::to_string).collect::<BTreeSet<_>>();
            let (wanted, given) = (set(wanted), set(given));
            if wanted == given { Ok(()) } else { Err(format!("{here}: {wanted:?} expected, {given:?} came")) }
        }
        (Value::Array(wanted), Value::Array(given)) if wanted.len() == given.len() => wanted
            .iter()
            .zip(given)
            .enumerate()
            .try_for_each(|(at, (wanted, given))| compare(&format!("{path}[{at}]"), wanted, given)),
        (Value::Number(a), Value::Number(b)) if a == b || a.as_f64() == b.as_f64() => Ok(()),
        _ if wanted == given => Ok(()),
        _ => Err(format!("{here}: {wanted} expected, {given} came")),
    }
}

fn objects(path: &str, wanted: &Map<String, Value>, given: &Map<String, Value>) -> Result<(), String> {
    let place = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    for (key, wanted) in wanted.iter().filter(|(_, value)| !value.is_null()) {
        match given.get(key) {
            None | Some(Value::Null) => return Err(format!("{}: {wanted} expected, it is absent", place(key))),
            Some(given) => compare(&place(key), wanted, given)?,
        }
    }
    match given.iter().find(|(key, value)| !value.is_null() && wanted.get(*key).is_none_or(Value::is_null)) {
        Some((key, value)) => Err(format!("{}: {value} came, which is not expected", place(key))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn told(text: &str) -> Vec<String> {
        let registry = Registry::built_in();
        let now = datetime!(2024-06-01 00:00 UTC);
        let cases = cases(text, "x_tests.yml", "AWS.VPCDns").unwrap_or_else(|errors| panic!("{errors:?}"));
        cases
            .iter()
            .map(|case| format!("{}: {}", case.name, case.run(&registry, now).err().unwrap_or_else(|| "ok".into())))
            .collect()
    }

    #[test]
    fn cases_pass_or_say_what_differs() {
        let schema = "Gravitational.TeleportAudit";
        let text = format!(
            "name: time is not compared\nlogType: {schema}\ninput: '{{\"code\": \"T1000I\", \"event\": \"user.login\", \"time\": \"2024-05-01T00:00:00Z\", \"ei\": 0, \"uid\": \"u\"}}'\n\
             result: '{{\"code\": \"T1000I\", \"event\": \"user.login\", \"ei\": 0, \"time\": \"2024-05-01 00:00:00.000000000\", \"uid\": \"u\", \"sid\": null, \"p_log_type\": \"{schema}\", \"p_event_time\": \"2024-05-01 00:00:00.000000000\"}}'\n\
             ---\nname: no match\nlogType: '{{{{.LogType}}}}'\ninput: garbage\nexpectError: true\n\
             ---\nlogType: {schema}\ninput: garbage\nresult: '{{}}'\n"
        );
        let told = told(&text);
        assert_eq!(told[..2], ["time is not compared: ok", "no match: ok"]);
        assert!(told[2].starts_with("case 3: no log type matches"), "{told:?}");
    }

    #[test]
    fn a_case_without_a_result_is_an_error_with_its_place() {
        let errors = cases("name: a\nlogType: A.B\ninput: x\n", "x_tests.yml", "A.B").err().unwrap();
        assert!(errors[0].to_string().starts_with("x_tests.yml:1:"), "{}", errors[0]);
    }

    #[test]
    fn comparison_looks_into_everything() {
        let check = |wanted: &str, given: &str| {
            compare("", &serde_json::from_str(wanted).unwrap(), &serde_json::from_str(given).unwrap())
        };
        assert!(check(r#"{"a":[1,{"b":2}],"n":null}"#, r#"{"a":[1.0,{"b":2}]}"#).is_ok());
        assert!(check(r#"{"p_any_x":["a","b"]}"#, r#"{"p_any_x":["b","a"]}"#).is_ok());
        assert_eq!(check(r#"{"a":{"b":1}}"#, r#"{"a":{"b":2}}"#).unwrap_err(), "a.b: 1 expected, 2 came");
        assert!(check("{}", r#"{"x":1}"#).unwrap_err().contains("not expected"));
        assert!(check(r#"{"x":1}"#, "{}").unwrap_err().contains("absent"));
    }
}
