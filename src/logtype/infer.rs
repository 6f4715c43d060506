//! A first schema from samples: which fields there are, of which type, and which of them every sample has. What comes out
//! is a start for a person, not a truth: it says what the samples say.
//!
//! Nulls, empty texts, empty lists and empty objects say nothing about a type. Types only ever widen: an integer and another number
//! are a float, different scalars a string, an object and anything else JSON. A text of digits with a leading zero is an identifier,
//! not a number.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;
use time::OffsetDateTime;

use super::json::{self, Children, Form};
use super::time_format::TimeFormat;

/// An object with more fields than this is a map with data for keys, and is kept as JSON.
const MOST_FIELDS: usize = 512;

/// What samples have shown so far.
#[derive(Debug, Default)]
pub struct Inference {
    record: Fields,
}

#[derive(Debug, thiserror::Error)]
pub enum InferError {
    #[error("the sample is no JSON object: {0}; schemas of text formats are written by hand, with a `parser`")]
    NotAnObject(String),
    #[error("no sample has a field with a value; give at least one line with a JSON object")]
    NoFields,
}

/// The fields of an object.
#[derive(Debug, Default)]
struct Fields {
    /// How many such objects there were.
    objects: u64,
    fields: BTreeMap<String, Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// In how many objects the field had a value.
    times: u64,
    shape: Shape,
}

#[derive(Debug, Default)]
enum Shape {
    /// No value yet that says anything.
    #[default]
    Unknown,
    Boolean,
    Bigint,
    Float,
    Timestamp,
    String(Looks),
    Object(Fields),
    Array(Box<Shape>),
    Json,
}

/// What all texts of a field have looked like.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Looks {
    ip: bool,
    url: bool,
    arn: bool,
}

const NOTHING: Looks = Looks { ip: false, url: false, arn: false };

impl Inference {
    /// Takes one record into account.
    pub fn add(&mut self, record: &str) -> Result<(), InferError> {
        let (doc, _) = json::parse(record).map_err(|error| InferError::NotAnObject(error.to_string()))?;
        let raw = doc.root();
        let Form::Map(entries) = raw.form() else {
            return Err(InferError::NotAnObject(format!("it is {}", raw.kind())));
        };
        self.record.add(entries);
        Ok(())
    }

    /// The schema as YAML. Fields that never had a value are named in a comment.
    pub fn schema(&self, name: &str) -> Result<String, InferError> {
        let mut silent = Vec::new();
        let event_time = self.record.event_time();
        let fields = self.record.docs(true, "", event_time.as_deref(), &mut silent);
        if fields.is_empty() {
            return Err(InferError::NoFields);
        }
        let document = SchemaDoc { version: 0, schema: name, fields };
        let mut yaml = serde_saphyr::to_string(&document).expect("names and types always serialise");
        if !silent.is_empty() {
            yaml.push_str(&format!("# Without a value in every sample, so without a type: {}\n", silent.join(", ")));
        }
        Ok(yaml)
    }
}

#[derive(Serialize)]
struct SchemaDoc<'a> {
    version: u8,
    schema: &'a str,
    fields: Vec<FieldDoc>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct FieldDoc {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rename: Option<BTreeMap<&'static str, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_formats: Option<[&'static str; 1]>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_event_time: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    indicators: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    element: Option<Box<FieldDoc>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<FieldDoc>,
}

impl Fields {
    fn add(&mut self, entries: Children<'_>) {
        self.objects += 1;
        for (key, value) in entries {
            let seen = self.fields.entry(key.to_string()).or_default();
            let shape = Shape::of(value.form());
            // A key that is there twice in one object counts once.
            if !matches!(shape, Shape::Unknown) && seen.times < self.objects {
                seen.times += 1;
            }
            seen.shape = std::mem::take(&mut seen.shape).merge(shape);
        }
    }

    fn merge(&mut self, other: Fields) {
        self.objects += other.objects;
        for (key, theirs) in other.fields {
            let ours = self.fields.entry(key).or_default();
            ours.times += theirs.times;
            ours.shape = std::mem::take(&mut ours.shape).merge(theirs.shape);
        }
    }

    /// The time that most records have; the first by name among equals.
    fn event_time(&self) -> Option<String> {
        let times = self.fields.iter().filter(|(_, seen)| matches!(seen.shape, Shape::Timestamp));
        times.rev().max_by_key(|(_, seen)| seen.times).map(|(name, _)| name.clone())
    }

    fn docs(&self, top: bool, path: &str, event_time: Option<&str>, silent: &mut Vec<String>) -> Vec<FieldDoc> {
        let mut docs = Vec::new();
        for (key, seen) in &self.fields {
            let place = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let Some(mut doc) = seen.shape.doc(&place, silent) else {
                silent.push(place);
                continue;
            };
            doc.required = seen.times == self.objects;
            doc.is_event_time = top && event_time == Some(key);
            // These names are margay's own at the top of an event.
            if top && key.starts_with("p_") {
                doc.rename = Some(BTreeMap::from([("from", key.clone())]));
                doc.name = Some(format!("_{key}"));
            } else {
                doc.name = Some(key.clone());
            }
            docs.push(doc);
        }
        docs
    }
}

impl Shape {
    fn of(form: Form<'_>) -> Shape {
        match form {
            Form::Null => Shape::Unknown,
            Form::Bool(_) => Shape::Boolean,
            Form::Number(text) => number(text).unwrap_or(Shape::Float),
            Form::Str("") => Shape::Unknown,
            Form::Str(text) => of_text(text),
            Form::List(items) => match items.map(|(_, item)| Shape::of(item.form())).reduce(Shape::merge) {
                None => Shape::Unknown,
                Some(element) => Shape::Array(Box::new(element)),
            },
            Form::Map(entries) if entries.is_empty() => Shape::Unknown,
            Form::Map(entries) => {
                let mut fields = Fields::default();
                fields.add(entries);
                Shape::Object(fields)
            }
        }
    }

    fn merge(self, other: Shape) -> Shape {
        use Shape::{Array, Bigint, Boolean, Float, Json, Object, String, Timestamp, Unknown};
        match (self, other) {
            (Unknown, shape) | (shape, Unknown) => shape,
            (Boolean, Boolean) => Boolean,
            (Bigint, Bigint) => Bigint,
            (Bigint | Float, Bigint | Float) => Float,
            (Timestamp, Timestamp) => Timestamp,
            (String(a), String(b)) => String(Looks { ip: a.ip && b.ip, url: a.url && b.url, arn: a.arn && b.arn }),
            (Object(mut a), Object(b)) => {
                a.merge(b);
                Object(a)
            }
            (Array(a), Array(b)) => Array(Box::new(a.merge(*b))),
            (Object(_) | Array(_) | Json, _) | (_, Object(_) | Array(_) | Json) => Json,
            // Two scalars of different types.
            _ => String(NOTHING),
        }
    }

    /// `None` when nothing is known of the type.
    fn doc(&self, path: &str, silent: &mut Vec<String>) -> Option<FieldDoc> {
        let plain = |kind| Some(FieldDoc { kind, ..FieldDoc::default() });
        match self {
            Shape::Unknown => None,
            Shape::Boolean => plain("boolean"),
            Shape::Bigint => plain("bigint"),
            Shape::Float => plain("float"),
            Shape::Json => plain("json"),
            Shape::Timestamp => {
                Some(FieldDoc { kind: "timestamp", time_formats: Some(["rfc3339"]), ..FieldDoc::default() })
            }
            Shape::String(looks) => {
                let names = [(looks.ip, "ip"), (looks.url, "url"), (looks.arn, "aws_arn")];
                let indicators = names.into_iter().filter(|(seen, _)| *seen).map(|(_, name)| name).collect();
                Some(FieldDoc { kind: "string", indicators, ..FieldDoc::default() })
            }
            Shape::Array(element) => match element.doc(&format!("{path}[]"), silent) {
                Some(element) => {
                    Some(FieldDoc { kind: "array", element: Some(Box::new(element)), ..FieldDoc::default() })
                }
                // It has elements, of which nothing is known.
                None => plain("json"),
            },
            Shape::Object(fields) if fields.fields.len() > MOST_FIELDS => plain("json"),
            Shape::Object(fields) => match fields.docs(false, path, None, silent) {
                fields if fields.is_empty() => plain("json"),
                fields => Some(FieldDoc { kind: "object", fields, ..FieldDoc::default() }),
            },
        }
    }
}

fn number(text: &str) -> Option<Shape> {
    if text.parse::<i64>().is_ok() {
        return Some(Shape::Bigint);
    }
    let numeric = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
    // An integer that fits no 64 bits would lose its last digits as a float.
    let fraction = text.contains(['.', 'e', 'E']);
    (numeric && fraction && text.parse::<f64>().is_ok_and(f64::is_finite)).then_some(Shape::Float)
}

fn of_text(text: &str) -> Shape {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let padded = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
    if !padded
        && !text.starts_with('+')
        && let Some(number) = number(text)
    {
        return number;
    }
    if text == "true" || text == "false" {
        return Shape::Boolean;
    }
    if TimeFormat::Rfc3339.read(Form::Str(text), OffsetDateTime::UNIX_EPOCH).is_some() {
        return Shape::Timestamp;
    }
    Shape::String(Looks {
        ip: text.parse::<IpAddr>().is_ok(),
        url: text.starts_with("http://") || text.starts_with("https://"),
        arn: text.starts_with("arn:") && text.matches(':').count() >= 5,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logtype::Schema;

    fn inferred(samples: &[&str]) -> String {
        let mut inference = Inference::default();
        samples.iter().for_each(|sample| inference.add(sample).unwrap());
        let yaml = inference.schema("Custom.Test").unwrap();
        Schema::from_yaml(&yaml, "inferred", None).unwrap_or_else(|errors| panic!("{errors:?}\n{yaml}"));
        yaml
    }

    #[test]
    fn types_widen_over_the_samples_and_what_one_lacks_is_not_required() {
        let yaml = inferred(&[
            r#"{"n":1,"f":1,"s":"12","id":"007","t":"2024-01-02T03:04:05Z","ip":"10.0.0.1","mix":1,"o":{"a":[{"x":true}],"e":{}},"arr":[1,2.5],"void":null,"p_x":"a"}"#,
            r#"{"n":2,"f":2.5,"s":"13","id":"008","t":"2024-01-02T03:04:06Z","ip":"::1","mix":"a","o":{"a":[{"x":false,"y":"u"}]},"p_x":"b","late":"x"}"#,
        ]);
        insta::assert_snapshot!(yaml, @r#"
        version: 0
        schema: Custom.Test
        fields:
        - name: arr
          type: array
          element:
            type: float
        - name: f
          type: float
          required: true
        - name: id
          type: string
          required: true
        - name: ip
          type: string
          required: true
          indicators:
          - ip
        - name: late
          type: string
        - name: mix
          type: string
          required: true
        - name: "n"
          type: bigint
          required: true
        - name: o
          type: object
          required: true
          fields:
          - name: a
            type: array
            required: true
            element:
              type: object
              fields:
              - name: x
                type: boolean
                required: true
              - name: "y"
                type: string
        - name: _p_x
          type: string
          required: true
          rename:
            from: p_x
        - name: s
          type: bigint
          required: true
        - name: t
          type: timestamp
          required: true
          timeFormats:
          - rfc3339
          isEventTime: true
        # Without a value in every sample, so without a type: o.e, void
        "#);
    }

    #[test]
    fn an_object_and_a_scalar_are_json_and_a_number_too_long_stays_text() {
        let yaml = inferred(&[r#"{"v":{"a":1},"long":"123456789012345678901"}"#, r#"{"v":"text","long":"1"}"#]);
        assert!(yaml.contains("name: v\n  type: json"), "{yaml}");
        assert!(yaml.contains("name: long\n  type: string"), "{yaml}");
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let mut inference = Inference::default();
        assert!(inference.add("a line").is_err() && inference.add("[1]").is_err());
        assert!(matches!(inference.schema("Custom.Test"), Err(InferError::NoFields)));
    }
}
