//! From raw fields to typed ones: conversion, validation, indicators and event time in one walk of the schema.
//!
//! One wrong value in a known field fails the whole record for this log type; that is what tells log types apart.
//! Absent and null fields and empty typed arrays are left out of the event.

use std::borrow::Cow;
use std::sync::Arc;

use time::OffsetDateTime;

use super::aws;
use super::columns::is_standard;
use super::discovery::Discovery;
use super::indicator::Indicators;
use super::json::{self, Raw};
use super::schema::{Field, Kind, Object, Schema, Text, Timestamp, Width};
use crate::model::{MapBuilder, Value, stored_time};

/// One record on its way through one schema.
pub(super) struct Coercion<'s> {
    schema: &'s Schema,
    keep_unknown: bool,
    /// Completes timestamps without a year.
    now: OffsetDateTime,
    pub(super) indicators: Indicators,
    /// The first event time in schema order.
    pub(super) event_time: Option<OffsetDateTime>,
    in_array: bool,
    /// Told of fields that the schema does not have.
    pub(super) discovery: Option<&'s mut Discovery>,
}

/// Why a value does not fit its field. The path is put together on the way out.
#[derive(Debug, PartialEq)]
pub(super) struct Mismatch {
    path: String,
    reason: Cow<'static, str>,
}

impl Mismatch {
    fn within(mut self, name: &str) -> Mismatch {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{name}{dot}{}", self.path);
        self
    }
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.is_empty() { f.write_str(&self.reason) } else { write!(f, "`{}` {}", self.path, self.reason) }
    }
}

fn mismatch<T>(reason: impl Into<Cow<'static, str>>) -> Result<T, Mismatch> {
    Err(Mismatch { path: String::new(), reason: reason.into() })
}

/// A value or its absence.
type Coerced = Result<Option<Value>, Mismatch>;

impl<'s> Coercion<'s> {
    pub(super) fn new(schema: &'s Schema, keep_unknown: bool, now: OffsetDateTime) -> Coercion<'s> {
        Coercion {
            schema,
            keep_unknown: keep_unknown || schema.field_discovery,
            now,
            indicators: Indicators::default(),
            event_time: None,
            in_array: false,
            discovery: None,
        }
    }

    /// The fields of the record.
    pub(super) fn record(&mut self, raw: &Raw<'_>) -> Result<MapBuilder, Mismatch> {
        let Raw::Map(entries) = raw else { return mismatch(format!("the record is {}, not an object", raw.kind())) };
        self.object(&self.schema.fields, raw, entries, true)
    }

    fn object(
        &mut self,
        object: &Object,
        raw: &Raw<'_>,
        entries: &[(Cow<'_, str>, Raw<'_>)],
        top: bool,
    ) -> Result<MapBuilder, Mismatch> {
        let mut known: Vec<Option<&Raw<'_>>> = vec![None; object.fields.len()];
        let mut unknown = Vec::new();
        for (key, value) in entries {
            match object.position(key) {
                Some(at) => known[at] = Some(value),
                None => unknown.push((&**key, value)),
            }
        }
        unknown.retain(|(key, value)| match object.renamed_to(key) {
            Some(at) if known[at].is_none() => {
                known[at] = Some(value);
                false
            }
            _ => self.keep_unknown,
        });
        let mut columns = MapBuilder::default();
        for (field, own) in object.fields.iter().zip(known) {
            let value = self.field(field, own, raw).map_err(|error| error.within(&field.name))?;
            if let Some(value) = value {
                columns.insert(field.column.clone(), value);
            }
        }
        for (key, value) in unknown {
            if let Some(discovery) = &mut self.discovery {
                discovery.see(object, key, value);
            }
            let name = free_name(key, top, |name| object.has_column(name));
            columns.insert(name, value.to_value());
        }
        Ok(columns)
    }

    fn field(&mut self, field: &Field, own: Option<&Raw<'_>>, object: &Raw<'_>) -> Coerced {
        let value = if field.transform.has_source() {
            match field.transform.source(own, object) {
                Some(raw) => self.value(&field.kind, &field.name, &raw, field)?,
                None => None,
            }
        } else {
            match own {
                Some(raw) => self.value(&field.kind, &field.name, raw, field)?,
                None => None,
            }
        };
        if value.is_none() && field.required && (!self.in_array || self.schema.strict_arrays) {
            return mismatch("is required and absent");
        }
        // A required array may be empty, but it is left out like any other.
        Ok(value.filter(|value| !is_empty_array(&field.kind, value)))
    }

    fn value(&mut self, kind: &Kind, name: &str, raw: &Raw<'_>, field: &Field) -> Coerced {
        if let Raw::Null = raw {
            return Ok(None);
        }
        match kind {
            Kind::String(text) => self.string(text, raw, field),
            Kind::Int(width) => integer(*width, raw),
            Kind::Float => float(raw),
            Kind::Boolean => boolean(raw),
            Kind::Timestamp(timestamp) => self.timestamp(timestamp, raw),
            Kind::Array { element, embedded } => self.array(element, *embedded, name, raw, field),
            Kind::Object { object, embedded } => self.with_embedded(*embedded, raw, |this, raw| match raw {
                Raw::Map(entries) => {
                    let before = this.discovery.as_ref().map(|discovery| discovery.mark());
                    let fields = this.object(object, raw, entries, false)?.build();
                    if let (Some(discovery), Some(before)) = (&mut this.discovery, before) {
                        discovery.within(before, name);
                    }
                    Ok(Some(Value::Map(fields)))
                }
                Raw::Null => Ok(None),
                other => mismatch(format!("is {}, not an object", other.kind())),
            }),
            Kind::Json(json) => self.with_embedded(json.embedded, raw, |this, raw| {
                let value = raw.to_value();
                if json.aws {
                    aws::walk(name, &value, &mut this.indicators);
                }
                Ok((value != Value::Null).then_some(value))
            }),
        }
    }

    /// Looks into a string that holds JSON, where the schema says that there may be one.
    fn with_embedded(
        &mut self,
        embedded: bool,
        raw: &Raw<'_>,
        convert: impl FnOnce(&mut Self, &Raw<'_>) -> Coerced,
    ) -> Coerced {
        match raw {
            Raw::Str(text) if embedded => {
                if text.trim().is_empty() {
                    return Ok(None);
                }
                match json::parse(text) {
                    Ok((inner, 0)) => convert(self, &inner),
                    Ok(_) => mismatch("holds more than one JSON value"),
                    Err(message) => mismatch(message),
                }
            }
            _ => convert(self, raw),
        }
    }

    fn string(&mut self, kind: &Text, raw: &Raw<'_>, field: &Field) -> Coerced {
        let Some(text) = raw.text() else { return mismatch(format!("is {}, not a string", raw.kind())) };
        if let Some(Err(reason)) = kind.validate.as_ref().map(|validate| validate.check(text)) {
            return mismatch(reason);
        }
        let text: Arc<str> = match &field.transform.mask {
            Some(mask) => mask.apply(text).into(),
            None => text.into(),
        };
        for scanner in &kind.indicators {
            self.indicators.scan(*scanner, &text);
        }
        Ok(Some(Value::Str(text)))
    }

    fn timestamp(&mut self, timestamp: &Timestamp, raw: &Raw<'_>) -> Coerced {
        if raw.text() == Some("") {
            return Ok(None);
        }
        match timestamp.formats.iter().find_map(|format| format.read(raw, self.now)) {
            Some(at) => {
                if timestamp.is_event_time && self.event_time.is_none() {
                    self.event_time = Some(at);
                }
                Ok(Some(Value::str(stored_time(at))))
            }
            None => mismatch("is no timestamp of the expected format"),
        }
    }

    fn array(&mut self, element: &Kind, embedded: bool, name: &str, raw: &Raw<'_>, field: &Field) -> Coerced {
        self.with_embedded(embedded, raw, |this, raw| {
            let items = match raw {
                Raw::List(items) => items,
                Raw::Null => return Ok(None),
                other => return mismatch(format!("is {}, not an array", other.kind())),
            };
            let outer = std::mem::replace(&mut this.in_array, true);
            let values = items.iter().enumerate().map(|(index, item)| {
                let value = this.value(element, name, item, field).map_err(|error| error.within(&format!("[{index}]")));
                Ok(value?.unwrap_or(Value::Null))
            });
            let values: Result<Vec<Value>, Mismatch> = values.collect();
            this.in_array = outer;
            Ok(Some(Value::List(values?.into())))
        })
    }
}

fn is_empty_array(kind: &Kind, value: &Value) -> bool {
    matches!((kind, value), (Kind::Array { .. }, Value::List(items)) if items.is_empty())
}

/// A name for an unknown key: its own, unless a column has it or it would pass for a field of margay's.
fn free_name(key: &str, top: bool, taken: impl Fn(&str) -> bool) -> String {
    let mut name = if top && is_standard(key) { format!("_{key}") } else { key.to_string() };
    while taken(&name) {
        name.push('_');
    }
    name
}

fn integer(width: Width, raw: &Raw<'_>) -> Coerced {
    let text = match raw {
        Raw::Number(text) => text,
        Raw::Str(text) => &**text,
        other => return mismatch(format!("is {}, not an integer", other.kind())),
    };
    if text.is_empty() {
        return Ok(None);
    }
    let range = match width {
        Width::Small => i64::from(i16::MIN)..=i64::from(i16::MAX),
        Width::Int => i64::from(i32::MIN)..=i64::from(i32::MAX),
        Width::Big => i64::MIN..=i64::MAX,
    };
    match text.parse::<i64>() {
        Ok(value) if range.contains(&value) => Ok(Some(Value::Int(value))),
        _ => mismatch("is no integer of the expected size"),
    }
}

fn float(raw: &Raw<'_>) -> Coerced {
    let text = match raw {
        Raw::Number(text) => text,
        Raw::Str(text) => &**text,
        other => return mismatch(format!("is {}, not a number", other.kind())),
    };
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(Some(Value::Float(value))),
        _ => mismatch("is not a number"),
    }
}

fn boolean(raw: &Raw<'_>) -> Coerced {
    match raw {
        Raw::Bool(value) => return Ok(Some(Value::Bool(*value))),
        Raw::Number("1") => return Ok(Some(Value::Bool(true))),
        Raw::Number("0") => return Ok(Some(Value::Bool(false))),
        _ => {}
    }
    match raw {
        Raw::Str(text) => match &**text {
            "" => Ok(None),
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Some(Value::Bool(true))),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Some(Value::Bool(false))),
            _ => mismatch("is not a boolean"),
        },
        other => mismatch(format!("is {}, not a boolean", other.kind())),
    }
}

/// Adds the indicator fields.
pub(super) fn add_indicators(indicators: Indicators, columns: &mut MapBuilder) {
    for (kind, values) in indicators.finish() {
        columns.insert(kind.field(), values);
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2024-03-01 12:00 UTC);

    /// The event of one JSON record, or why there is none.
    fn event(fields: &str, keep_unknown: bool, record: &str) -> String {
        let schema = Schema::from_yaml(&format!("version: 0\nfields:\n{fields}"), "test", Some("Custom.Test")).unwrap();
        let (raw, _) = json::parse(record).unwrap();
        let mut coercion = Coercion::new(&schema, keep_unknown, NOW);
        match coercion.record(&raw) {
            Ok(mut columns) => {
                add_indicators(coercion.indicators, &mut columns);
                serde_json::to_string(&columns.build()).unwrap()
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn scalars_take_what_they_may_and_nothing_else() {
        for (kind, value, expected) in [
            ("string", "1.50", r#"{"v":"1.50"}"#),
            ("string", "false", r#"{"v":"false"}"#),
            ("string", r#""""#, r#"{"v":""}"#),
            ("string", "[]", "`v` is an array, not a string"),
            ("int", r#""-5""#, r#"{"v":-5}"#),
            ("int", r#""""#, "{}"),
            ("int", "2147483648", "`v` is no integer of the expected size"),
            ("int", "1.0", "`v` is no integer of the expected size"),
            ("int", r#"" 5""#, "`v` is no integer of the expected size"),
            ("int", "true", "`v` is a boolean, not an integer"),
            ("smallint", "40000", "`v` is no integer of the expected size"),
            ("bigint", "-9223372036854775808", r#"{"v":-9223372036854775808}"#),
            ("float", r#""1e3""#, r#"{"v":1000.0}"#),
            ("float", r#""NaN""#, "`v` is not a number"),
            ("float", "1e999", "`v` is not a number"),
            ("boolean", r#""F""#, r#"{"v":false}"#),
            ("boolean", "1", r#"{"v":true}"#),
            ("boolean", "2", "`v` is a number, not a boolean"),
            ("boolean", r#""yes""#, "`v` is not a boolean"),
            ("json", r#"{"a":[1,null]}"#, r#"{"v":{"a":[1,null]}}"#),
            ("json", "null", "{}"),
            ("timestamp", r#""2021-01-02T03:04:05Z""#, r#"{"v":"2021-01-02 03:04:05.000000000"}"#),
            ("timestamp", r#""""#, "{}"),
            ("timestamp", "7", "`v` is no timestamp of the expected format"),
        ] {
            assert_eq!(
                event(&format!("- {{name: v, type: {kind}}}"), false, &format!(r#"{{"v":{value}}}"#)),
                expected,
                "{kind} {value}"
            );
        }
    }

    #[test]
    fn faults_name_the_path() {
        let fields = "- {name: a, type: array, element: {type: object, fields: [{name: b, type: int}]}}";
        assert_eq!(event(fields, false, r#"{"a":[{"b":1},{"b":"x"}]}"#), "`a[1].b` is no integer of the expected size");
    }

    #[test]
    fn required_fields_are_enforced_and_within_arrays_only_on_demand() {
        let fields = "- {name: a, type: array, required: true, element: {type: object, fields: [{name: k, type: string, required: true}]}}";
        assert_eq!(event(fields, false, "{}"), "`a` is required and absent");
        assert_eq!(event(fields, false, r#"{"a":[]}"#), "{}");
        assert_eq!(event(fields, false, r#"{"a":[{}]}"#), r#"{"a":[{}]}"#);
        let strict = format!("{fields}\nstrictArrays: true");
        assert_eq!(event(&strict, false, r#"{"a":[{}]}"#), "`a[0].k` is required and absent");
    }

    #[test]
    fn embedded_json_is_read_through() {
        let fields = "- {name: o, type: object, isEmbeddedJSON: true, fields: [{name: n, type: int}]}\n\
                      - {name: l, type: array, isEmbeddedJSON: true, element: {type: int}}";
        assert_eq!(event(fields, false, r#"{"o":"{\"n\":\"5\"}","l":"[1, \"2\"]"}"#), r#"{"o":{"n":5},"l":[1,2]}"#);
        assert_eq!(event(fields, false, r#"{"o":{"n":5},"l":""}"#), r#"{"o":{"n":5}}"#);
        assert!(event(fields, false, r#"{"o":"{"}"#).starts_with("`o` not JSON"));
    }

    #[test]
    fn unknown_fields_are_kept_beside_the_known_ones() {
        let fields = "- {name: a/b, type: string}\n- {name: o, type: object, fields: [{name: k, type: string}]}";
        let record = r#"{"x":{"y":1.50},"a/b":"1","o":{"k":"v","z":[1]},"a_slash_b":2,"p_log_type":"forged"}"#;
        assert_eq!(event(fields, false, record), r#"{"a_slash_b":"1","o":{"k":"v"}}"#);
        assert_eq!(
            event(fields, true, record),
            r#"{"a_slash_b":"1","o":{"k":"v","z":[1]},"x":{"y":1.5},"a_slash_b_":2,"_p_log_type":"forged"}"#
        );
    }

    #[test]
    fn transforms_choose_and_change_values() {
        let fields = "- {name: arn, type: string, rename: {from: ARN}}\n\
                      - {name: host, type: string, copy: {from: o.host}, indicators: [hostname]}\n\
                      - {name: user, type: string, split: {from: mail, separator: '@', index: 0}}\n\
                      - {name: full, type: string, concat: {separator: ' ', paths: [first, last, none]}}\n\
                      - {name: secret, type: string, mask: {type: redact}}\n\
                      - {name: hashed, type: string, mask: {type: hash, salt: s}}";
        let record =
            r#"{"ARN":"x","arn":"own","o":{"host":"h"},"mail":"u@e","first":"A","last":"B","secret":"s","hashed":"v"}"#;
        let hash = Sha256Hex::of("sv");
        assert_eq!(
            event(fields, false, record),
            format!(
                r#"{{"arn":"x","host":"h","user":"u","full":"A B","secret":"REDACTED","hashed":"{hash}","p_any_domain_names":["h"]}}"#
            )
        );
    }

    #[test]
    fn a_renamed_field_is_also_known_by_its_new_name_unless_the_old_one_is_there() {
        let fields = "- {name: callerIP, type: string, rename: {from: callerIp}}";
        assert_eq!(event(fields, false, r#"{"callerIP":"a"}"#), r#"{"callerIP":"a"}"#);
        for record in [r#"{"callerIP":"a","callerIp":"b"}"#, r#"{"callerIp":"b","callerIP":"a"}"#] {
            assert_eq!(event(fields, false, record), r#"{"callerIP":"b"}"#);
            assert_eq!(event(fields, true, record), r#"{"callerIP":"b","callerIP_":"a"}"#);
        }
    }

    struct Sha256Hex;
    impl Sha256Hex {
        fn of(text: &str) -> String {
            super::super::transform::Mask::Hash { salt: String::new() }.apply(text)
        }
    }

    #[test]
    fn the_first_event_time_in_schema_order_counts() {
        let schema = "version: 0\nfields:\n- {name: a, type: timestamp, isEventTime: true}\n\
                      - {name: b, type: timestamp, timeFormat: unix, isEventTime: true}";
        let schema = Schema::from_yaml(schema, "test", Some("Custom.Test")).unwrap();
        let (raw, _) = json::parse(r#"{"b":7,"a":"2021-01-02T03:04:05Z"}"#).unwrap();
        let mut coercion = Coercion::new(&schema, false, NOW);
        coercion.record(&raw).unwrap();
        assert_eq!(coercion.event_time, Some(datetime!(2021-01-02 03:04:05 UTC)));
    }
}
