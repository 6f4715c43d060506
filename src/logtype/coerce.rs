//! From raw fields to typed ones: conversion, validation, indicators and event time in one walk of the schema.
//!
//! One wrong value in a known field fails the whole record for this log type; that is what tells log types apart.
//! Absent and null fields and empty typed arrays are left out of the event.

use std::borrow::Cow;

use time::OffsetDateTime;

use super::aws;
use super::columns::is_standard;
use super::discovery::Discovery;
use super::indicator::Indicators;
use super::json::{self, Children, Form, Place as RawPlace, Raw};
use super::put::{put_form, put_members, put_time};
use super::schema::{Field, Kind, Object, Schema, Text, Timestamp, Width, Within};
use crate::model::{Key, Leaf, Span, TapeRoom, Writer};

/// One record on its way through one schema.
pub(super) struct Coercion<'s, 'd> {
    pub(super) schema: &'s Schema,
    pub(super) keep_unknown: bool,
    /// Completes timestamps without a year.
    now: OffsetDateTime,
    pub(super) out: Writer<'d>,
    pub(super) indicators: &'d mut Indicators,
    /// The first event time in schema order.
    pub(super) event_time: Option<EventTime>,
    pub(super) in_array: bool,
    /// Told of fields that the schema does not have.
    pub(super) discovery: Option<&'s mut Discovery>,
}

/// The time of an event, and where in the event it is spelled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct EventTime {
    pub(super) at: OffsetDateTime,
    pub(super) text: Span,
}

/// Where records become typed, one after the other.
#[derive(Default)]
pub(super) struct Room {
    tape: TapeRoom,
    indicators: Indicators,
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
type Coerced = Result<Option<Leaf>, Mismatch>;

/// Whether there was a value to write.
type Written = Result<bool, Mismatch>;

/// Where a value goes, and what its field says beside its type.
#[derive(Clone, Copy)]
pub(super) struct Place<'s> {
    pub(super) key: Key,
    pub(super) field: &'s Field,
}

/// What programs in Go write for a time that was never set.
const NO_TIME: OffsetDateTime = time::macros::datetime!(0001-01-01 00:00 UTC);

/// An object with so many fields needs no allocation to find them.
const FEW: usize = 64;

impl<'s: 'd, 'd> Coercion<'s, 'd> {
    /// `record` is the text that the raw values are from, most of it to be part of the event.
    pub(super) fn new(
        schema: &'s Schema,
        keep_unknown: bool,
        now: OffsetDateTime,
        record: &'d str,
        room: &'d mut Room,
    ) -> Self {
        room.indicators.clear();
        Coercion {
            schema,
            keep_unknown: keep_unknown || schema.field_discovery,
            now,
            out: Writer::new(&schema.names, record, &mut room.tape),
            indicators: &mut room.indicators,
            event_time: None,
            in_array: false,
            discovery: None,
        }
    }

    /// Begins the event with the fields of the record, and returns how many there are.
    pub(super) fn record(&mut self, raw: Raw<'_>) -> Result<usize, Mismatch> {
        let Form::Map(entries) = raw.form() else {
            return mismatch(format!("the record is {}, not an object", raw.kind()));
        };
        self.out.begin(Key::NONE);
        self.object(&self.schema.fields, entries, true)
    }

    fn object(&mut self, object: &'s Object, entries: Children<'_>, top: bool) -> Result<usize, Mismatch> {
        let (mut few, mut many);
        let known: &mut [Option<RawPlace>] = if object.fields.len() <= FEW {
            few = [None; FEW];
            &mut few[..object.fields.len()]
        } else {
            many = vec![None; object.fields.len()];
            &mut many
        };
        let mut unknown = Vec::new();
        for (key, value) in entries {
            match object.position(key) {
                Some(at) => known[at] = value.place(),
                None => unknown.push((key, value)),
            }
        }
        unknown.retain(|(key, value)| match object.renamed_to(key) {
            Some(at) if known[at].is_none() => {
                known[at] = value.place();
                false
            }
            _ => self.keep_unknown,
        });
        let mut members = 0;
        for (field, own) in object.fields.iter().zip(known) {
            let own = own.map(|place| entries.value(place));
            let written = self.field(field, own, entries).map_err(|error| error.within(&field.name))?;
            members += usize::from(written);
        }
        if unknown.is_empty() {
            return Ok(members);
        }
        if let Some(discovery) = &mut self.discovery {
            unknown.iter().for_each(|(key, value)| discovery.see(object, key, value.kind()));
        }
        let named = unknown.iter().map(|(key, value)| (free_name(key, top, object), *value));
        Ok(members + put_members(named, &mut self.out))
    }

    fn field(&mut self, field: &'s Field, own: Option<Raw<'_>>, object: Children<'_>) -> Written {
        let place = Place { key: field.stored, field };
        let begun = self.out.place();
        let mut written = match (&field.transform, own) {
            (Some(transform), own) if transform.has_source() => match transform.source(own, object) {
                Some(source) => self.value(&field.kind, source.form(), place)?,
                None => false,
            },
            (_, Some(raw)) => self.value(&field.kind, raw.form(), place)?,
            (_, None) => false,
        };
        if !written && field.required && !self.may_lack_required() {
            return mismatch("is required and absent");
        }
        // A required array may be empty, but it is left out like any other.
        if written && matches!(field.kind, Kind::Array { .. }) && self.out.place() == begun + 1 {
            self.out.undo(begun);
            written = false;
        }
        Ok(written)
    }

    /// Whether the fields at hand may be absent though they are required.
    pub(super) fn may_lack_required(&self) -> bool {
        self.in_array && !self.schema.strict_arrays
    }

    pub(super) fn value(&mut self, kind: &'s Kind, form: Form<'_>, place: Place<'s>) -> Written {
        if let Form::Null = form {
            return Ok(false);
        }
        let leaf = match kind {
            Kind::String(text) => return self.string(text, form, place),
            Kind::Timestamp(timestamp) => return self.timestamp(timestamp, form, place),
            Kind::Int(width) => integer(*width, form)?,
            Kind::Float => float(form)?,
            Kind::Boolean => boolean(form)?,
            Kind::Array { element, embedded } => return self.array(element, *embedded, form, place),
            Kind::Object { object, embedded } => return self.nested(object, *embedded, form, place),
            Kind::Json(json) => {
                return self.with_embedded(json.embedded, form, |this, form| {
                    if let Form::Null = form {
                        return Ok(false);
                    }
                    let at = this.out.place();
                    put_form(place.key, form, &mut this.out);
                    match json.indicators {
                        None => {}
                        Some(Within::Aws) => {
                            aws::walk(&place.field.name, this.out.seen(at), this.indicators, &this.out);
                        }
                        Some(Within::Osquery) => this.indicators.osquery_columns(this.out.seen(at), &this.out),
                    }
                    Ok(true)
                });
            }
        };
        if let Some(leaf) = leaf {
            self.out.put(place.key, leaf);
        }
        Ok(leaf.is_some())
    }

    /// Looks into a string that holds JSON, where the schema says that there may be one.
    fn with_embedded(
        &mut self,
        embedded: bool,
        form: Form<'_>,
        convert: impl FnOnce(&mut Self, Form<'_>) -> Written,
    ) -> Written {
        match form {
            Form::Str(text) if embedded => {
                if text.trim().is_empty() {
                    return Ok(false);
                }
                match json::parse(text) {
                    Ok((inner, 0)) => convert(self, inner.root().form()),
                    Ok(_) => mismatch("holds more than one JSON value"),
                    Err(message) => mismatch(message),
                }
            }
            _ => convert(self, form),
        }
    }

    fn nested(&mut self, object: &'s Object, embedded: bool, form: Form<'_>, place: Place<'s>) -> Written {
        self.with_embedded(embedded, form, |this, form| match form {
            Form::Map(entries) => {
                let before = this.discovery.as_ref().map(|discovery| discovery.mark());
                let map = this.out.begin(place.key);
                let members = this.object(object, entries, false)?;
                this.out.end_map(map, members);
                if let (Some(discovery), Some(before)) = (&mut this.discovery, before) {
                    discovery.within(before, &place.field.name);
                }
                Ok(true)
            }
            Form::Null => Ok(false),
            other => mismatch(format!("is {}, not an object", other.kind())),
        })
    }

    fn string(&mut self, kind: &'s Text, form: Form<'_>, place: Place<'s>) -> Written {
        let Some(text) = form.text() else { return mismatch(format!("is {}, not a string", form.kind())) };
        if let Some(Err(reason)) = kind.validate.as_ref().map(|validate| validate.check(text)) {
            return mismatch(reason);
        }
        let mask = place.field.transform.as_ref().and_then(|transform| transform.mask.as_ref());
        let text = mask.map_or(Cow::Borrowed(text), |mask| Cow::Owned(mask.apply(text)));
        let span = self.out.span(&text);
        self.out.put(place.key, Leaf::Str(span));
        for scanner in &kind.indicators {
            self.indicators.scan(*scanner, self.out.text(span), &self.out);
        }
        Ok(true)
    }

    fn timestamp(&mut self, timestamp: &Timestamp, form: Form<'_>, place: Place<'s>) -> Written {
        if form.text() == Some("") {
            return Ok(false);
        }
        match timestamp.formats.iter().find_map(|format| format.read(form, self.now)) {
            Some(at) if at == NO_TIME && !place.field.required => Ok(false),
            Some(at) => {
                let text = put_time(place.key, at, &mut self.out);
                if timestamp.is_event_time && self.event_time.is_none() {
                    self.event_time = Some(EventTime { at, text });
                }
                Ok(true)
            }
            None => mismatch("is no timestamp of the expected format"),
        }
    }

    fn array(&mut self, element: &'s Kind, embedded: bool, form: Form<'_>, place: Place<'s>) -> Written {
        self.with_embedded(embedded, form, |this, form| {
            let items = match form {
                Form::List(items) => items,
                Form::Null => return Ok(false),
                other => return mismatch(format!("is {}, not an array", other.kind())),
            };
            let outer = std::mem::replace(&mut this.in_array, true);
            let list = this.out.begin(place.key);
            let place = Place { key: Key::NONE, ..place };
            let mut length = 0;
            for (_, item) in items {
                let written = this.value(element, item.form(), place);
                if !written.map_err(|error| error.within(&format!("[{length}]")))? {
                    this.out.put(Key::NONE, Leaf::Null);
                }
                length += 1;
            }
            this.out.end_list(list, length);
            this.in_array = outer;
            Ok(true)
        })
    }
}

/// A name for an unknown key: its own, unless a column has it or it would pass for a field of margay's.
pub(super) fn free_name<'k>(key: &'k str, top: bool, object: &Object) -> Cow<'k, str> {
    let mut name = if top && is_standard(key) { Cow::Owned(format!("_{key}")) } else { Cow::Borrowed(key) };
    while object.has_column(&name) {
        name.to_mut().push('_');
    }
    name
}

fn integer(width: Width, form: Form<'_>) -> Coerced {
    let (Form::Number(text) | Form::Str(text)) = form else {
        return mismatch(format!("is {}, not an integer", form.kind()));
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
        Ok(value) if range.contains(&value) => Ok(Some(Leaf::Int(value))),
        _ => mismatch("is no integer of the expected size"),
    }
}

fn float(form: Form<'_>) -> Coerced {
    let (Form::Number(text) | Form::Str(text)) = form else {
        return mismatch(format!("is {}, not a number", form.kind()));
    };
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(Some(Leaf::Float(value))),
        _ => mismatch("is not a number"),
    }
}

fn boolean(form: Form<'_>) -> Coerced {
    match form {
        Form::Bool(value) => Ok(Some(Leaf::Bool(value))),
        Form::Number("1") => Ok(Some(Leaf::Bool(true))),
        Form::Number("0") => Ok(Some(Leaf::Bool(false))),
        Form::Str(text) => match text {
            "" => Ok(None),
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Some(Leaf::Bool(true))),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Some(Leaf::Bool(false))),
            _ => mismatch("is not a boolean"),
        },
        other => mismatch(format!("is {}, not a boolean", other.kind())),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use time::macros::datetime;

    use super::super::put::put_raw;
    use super::*;

    const NOW: OffsetDateTime = datetime!(2024-03-01 12:00 UTC);

    /// What becomes of a value of which no schema says anything.
    pub(crate) fn value_of(raw: Raw<'_>) -> crate::model::Value {
        let (names, mut room): (crate::model::Names, _) = (std::sync::Arc::new(["value".into()]), TapeRoom::default());
        let mut out = Writer::new(&names, "", &mut room);
        out.begin(Key::NONE);
        put_raw(Key::numbered(0), raw, &mut out);
        out.end_map(0, 1);
        out.finish().get("value").unwrap().clone()
    }

    /// The event of one JSON record, or why there is none.
    fn event(fields: &str, keep_unknown: bool, record: &str) -> String {
        let schema = Schema::from_yaml(&format!("version: 0\nfields:\n{fields}"), "test", Some("Custom.Test")).unwrap();
        let (raw, _) = json::parse(record).unwrap();
        let mut room = Room::default();
        let mut coercion = Coercion::new(&schema, keep_unknown, NOW, record, &mut room);
        match coercion.record(raw.root()) {
            Ok(members) => {
                let Coercion { mut out, indicators, .. } = coercion;
                let kinds = indicators.put(&mut out);
                out.end_map(0, members + kinds);
                serde_json::to_string(&out.finish()).unwrap()
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
        let mut room = Room::default();
        let mut coercion = Coercion::new(&schema, false, NOW, "", &mut room);
        coercion.record(raw.root()).unwrap();
        assert_eq!(coercion.event_time.map(|time| time.at), Some(datetime!(2021-01-02 03:04:05 UTC)));
    }
}
