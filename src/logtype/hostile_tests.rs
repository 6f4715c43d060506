//! Input that means harm, or is broken, for every built-in log type and for the loader of schemas: nothing panics, and each
//! record is events or a reject. The bodies are plain functions of bytes, which a fuzzer can drive, too.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use time::macros::datetime;

use super::direct::tests::agrees;
use super::schema::{Field, Kind, Object, Text};
use super::{Classified, Classifier, Context, Registry, Schema, TimeFormat};
use crate::decode::testing::decode_cut;
use crate::decode::{Limits, Piece};
use crate::model::{ObjectId, Stream};

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::built_in);

/// The shipped samples, by log type.
static SAMPLES: LazyLock<Vec<(Arc<str>, Vec<u8>)>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/log_types");
    let of = |name: &Arc<str>| {
        let files = std::fs::read_dir(root.join(&**name)).unwrap().map(|entry| entry.unwrap().path());
        let samples = files.filter(|path| path.extension().is_some_and(|kind| kind == "log" || kind == "json"));
        samples.map(|path| (name.clone(), std::fs::read(path).unwrap())).collect::<Vec<_>>()
    };
    REGISTRY.names().flat_map(of).collect()
});

/// Decisions, taken one after the other from bytes; all zero at their end.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn next(&mut self) -> usize {
        self.0.next().copied().unwrap_or_default().into()
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() * 256 + self.next()) % limit.max(1)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.next() % n == n - 1
    }
}

/// What no schema expects, or stands at the end of a range.
const STRANGE: &[&str] = &[
    "null",
    "true",
    "-0",
    "1e999",
    "-1e-999",
    "9223372036854775808",
    "-9223372036854775809",
    "123456789012345678901234567890",
    "0.1000000000000000055511151231257827",
    "[]",
    "{}",
    "[[],{},null]",
    "{\"\":{\"\":[]}}",
    "{\"p_row_id\":1,\"p_row_id\":2}",
    "\"\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\\ufeff{}\"",
    "\"{\\\"a\\\":[1,\"",
    "\"9999-99-99T99:99:99Z\"",
    "\"0000-01-01T00:00:00Z\"",
    "\"2024-01-01T00:00:00+99:99\"",
    "\"arn:::::\"",
    "\"xn--\"",
    "\"http://[::1\"",
    "\"1.2.3.4:99999\"",
];

/// A value as the type wants it, but for one in `spoilt`.
fn value(kind: &Kind, spoilt: usize, choices: &mut Choices<'_>, out: &mut String) {
    if choices.one_in(spoilt) {
        out.push_str(STRANGE[choices.below(STRANGE.len())]);
        return;
    }
    match kind {
        Kind::String(Text { validate: Some(validate), .. }) if !validate.allow.is_empty() => {
            out.push_str(&serde_json::to_string(&validate.allow[0]).unwrap());
        }
        Kind::String(_) => {
            out.push_str(["\"a\"", "\"10.0.0.1\"", "\"a@b.example\"", "\"arn:aws:s3:::b\"", "1.50"][choices.below(5)])
        }
        Kind::Int(_) => out.push_str(["7", "\"-5\"", "0"][choices.below(3)]),
        Kind::Float => out.push_str(["1.5", "\"1e3\"", "0"][choices.below(3)]),
        Kind::Boolean => out.push_str(["true", "\"F\"", "1"][choices.below(3)]),
        Kind::Timestamp(timestamp) => out.push_str(match timestamp.formats.first() {
            Some(TimeFormat::Unix) => "1714521600.5",
            Some(TimeFormat::UnixUnits(1_000_000)) => "1714521600123",
            Some(TimeFormat::UnixUnits(_)) => "1714521600123456",
            Some(TimeFormat::Pattern(_)) => {
                ["\"2024-05-01 00:00:00\"", "\"10/Oct/2000:13:55:36 -0700\""][choices.below(2)]
            }
            _ => "\"2024-05-01T00:00:00Z\"",
        }),
        Kind::Json(_) => out.push_str("{\"accountId\":\"123456789012\",\"tags\":[{\"key\":\"k\",\"value\":\"v\"}]}"),
        Kind::Array { element, .. } => {
            out.push('[');
            for index in 0..choices.below(4) {
                out.push_str(if index > 0 { "," } else { "" });
                value(element, spoilt, choices, out);
            }
            out.push(']');
        }
        Kind::Object { object: inner, .. } => object(inner, spoilt, choices, out),
    }
}

fn object(object: &Object, spoilt: usize, choices: &mut Choices<'_>, out: &mut String) {
    let mut separator = "{";
    let mut entry = |field: &Field, choices: &mut Choices<'_>, out: &mut String| {
        out.push_str(std::mem::replace(&mut separator, ","));
        out.push_str(&serde_json::to_string(&*field.key).unwrap());
        out.push(':');
        value(&field.kind, spoilt, choices, out);
    };
    for field in &object.fields {
        let times =
            if choices.one_in(spoilt) { choices.below(3) } else { usize::from(field.required || !choices.one_in(4)) };
        (0..times).for_each(|_| entry(field, choices, out));
    }
    if choices.one_in(4) {
        out.push_str(std::mem::replace(&mut separator, ","));
        out.push_str("\"P_new\":");
        out.push_str(STRANGE[choices.below(STRANGE.len())]);
    }
    out.push_str(if separator == "{" { "{}" } else { "}" });
}

/// Pieces that formats are made of, to be put in anywhere.
const TOKENS: &[&[u8]] = &[
    b"\"",
    b"'",
    b",",
    b" ",
    b"\t",
    b"-",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"\\",
    b"%",
    b"\n",
    b"\r\n",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    "é".as_bytes(),
    b"\\u",
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!int ",
    b"|\n",
    b"---\n",
    b"(",
    b"*",
    b"0",
    b"99999999999999999999",
    b"null",
];

/// Cuts, doubles, overwrites and inserts.
fn mutate(bytes: &[u8], choices: &mut Choices<'_>) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..choices.below(6) {
        let at = choices.below(bytes.len() + 1);
        let end = (at + choices.below(24)).min(bytes.len());
        match choices.next() % 5 {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, TOKENS[choices.below(TOKENS.len())].iter().copied())),
            2 => drop(bytes.splice(at..end, TOKENS[choices.below(TOKENS.len())].iter().copied())),
            3 => {
                let part = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, part));
            }
            _ => bytes.truncate(at.max(1)),
        }
    }
    bytes
}

/// Every record of an object is events or one reject, whole; nothing panics.
fn nothing_is_lost(log_type: &str, object: &[u8]) -> usize {
    let limits = Limits { max_object_bytes: 1 << 20, max_record_bytes: 1 << 18 };
    let log_types = [Arc::from(log_type)];
    let stream = REGISTRY.stream(&Stream::default(), &log_types).unwrap();
    let (pieces, _) = decode_cut(&stream, limits, object, usize::MAX);
    let context = Context {
        object: ObjectId([3; 16]),
        address: Some("s3://b/k".into()),
        source: "s".into(),
        parse_time: datetime!(2024-06-01 00:00 UTC),
        keep_unknown: true,
        guard_event_time: true,
    };
    let mut classifier = Classifier::new(&REGISTRY, &log_types, context).unwrap();
    let (mut rows, mut events, mut last) = (HashSet::new(), 0, None);
    for piece in pieces {
        let Piece::Record(record) = piece else { continue };
        assert!(last < Some(record.ordinal), "{log_type}: records come in order");
        last = Some(record.ordinal);
        agrees(REGISTRY.get(log_type).unwrap(), &record.bytes);
        match classifier.classify(&record) {
            Classified::Blank => assert!(record.bytes.trim_ascii().is_empty(), "{log_type}: {record:?} is no blank"),
            Classified::Rejected(reject) => {
                assert_eq!((reject.ordinal, &reject.raw), (record.ordinal, &record.bytes), "{log_type}");
                assert!(!reject.reason.contains("panicked"), "{log_type}: {}", reject.reason);
            }
            Classified::Events(made) => {
                for event in made {
                    assert!(rows.insert(event.row_id), "{log_type}: two events have one id");
                    let json = serde_json::to_string(&event.fields).unwrap();
                    let read: serde_json::Value = serde_json::from_str(&json).unwrap();
                    for name in [
                        "p_log_type",
                        "p_row_id",
                        "p_event_time",
                        "p_parse_time",
                        "p_source_id",
                        "p_object",
                        "p_offset",
                    ] {
                        assert!(read.get(name).is_some(), "{log_type}: no {name} in {json}");
                    }
                    assert_eq!(read["p_row_id"], event.row_id.to_string(), "{log_type}: a record forges its id");
                    events += 1;
                }
            }
        }
    }
    let found: usize = classifier.discovered().map(|(_, fields)| fields.len()).sum();
    assert!(found <= 500, "{log_type}: {found} fields");
    events
}

fn made_from_schema(bytes: &[u8], spoilt: usize) {
    let mut choices = Choices(bytes.iter());
    let schemas: Vec<_> = REGISTRY.schemas().collect();
    let schema = schemas[choices.below(schemas.len())];
    let mut text = String::new();
    for _ in 0..2 {
        object(&schema.fields, spoilt, &mut choices, &mut text);
        text.push('\n');
    }
    nothing_is_lost(&schema.name, text.as_bytes());
}

fn made_from_sample(bytes: &[u8]) {
    let mut choices = Choices(bytes.iter());
    let (log_type, sample) = &SAMPLES[choices.below(SAMPLES.len())];
    nothing_is_lost(log_type, &mutate(sample, &mut choices));
}

fn loaded_as_schema(bytes: &[u8]) {
    let mut choices = Choices(bytes.iter());
    let names: Vec<_> = REGISTRY.names().collect();
    let text = REGISTRY.text(names[choices.below(names.len())]).unwrap();
    let mutated = mutate(text.as_bytes(), &mut choices);
    match Schema::from_yaml(&String::from_utf8_lossy(&mutated), "mutated", Some("Custom.Mutated")) {
        Ok(schema) => assert!(!schema.fields.fields.is_empty()),
        Err(errors) => assert!(!errors.is_empty()),
    }
}

fn entropy(most: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..most)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn records_made_from_a_schema_are_events_or_rejects(bytes in entropy(600)) {
        made_from_schema(&bytes, 100);
    }

    #[test]
    fn records_made_from_a_schema_and_spoilt_are_events_or_rejects(bytes in entropy(600)) {
        made_from_schema(&bytes, 6);
    }

    #[test]
    fn mutated_samples_are_events_or_rejects(bytes in entropy(40)) {
        made_from_sample(&bytes);
    }

    #[test]
    fn mutated_schemas_load_or_are_refused(bytes in entropy(40)) {
        loaded_as_schema(&bytes);
    }
}

#[test]
fn every_log_type_takes_its_samples_and_meets_strange_values() {
    for (log_type, sample) in SAMPLES.iter() {
        nothing_is_lost(log_type, sample);
        for strange in STRANGE {
            nothing_is_lost(log_type, strange.as_bytes());
            nothing_is_lost(log_type, format!("{{\"Records\":[{strange}]}}").as_bytes());
        }
    }
}

#[test]
fn plain_records_of_json_log_types_are_events() {
    // Zeros everywhere: required fields, and the first valid value of each type.
    let taken = REGISTRY.schemas().filter(|schema| {
        let mut text = String::new();
        object(&schema.fields, 256, &mut Choices([].iter()), &mut text);
        nothing_is_lost(&schema.name, text.as_bytes()) > 0
    });
    let taken: Vec<_> = taken.collect();
    assert!(taken.len() * 3 > REGISTRY.names().count(), "only {} log types take what their schema says", taken.len());
    let direct = taken.iter().filter(|schema| {
        let mut text = String::new();
        object(&schema.fields, 256, &mut Choices([].iter()), &mut text);
        agrees(schema, text.as_bytes())
    });
    let direct = direct.count();
    assert!(direct * 10 > taken.len() * 9, "only {direct} of {} log types are read directly", taken.len());
}

#[test]
fn deep_and_wide_json_is_refused_with_a_reason() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
    let mut many = String::from("{");
    (0..20_000).for_each(|n| many += &format!("\"k{n}\":[],"));
    many += "\"end\":{}}";
    for log_type in ["AWS.CloudTrail", "Okta.SystemLog", "Crowdstrike.Unknown", "Syslog.RFC3164"] {
        assert_eq!(nothing_is_lost(log_type, deep.as_bytes()), 0);
        nothing_is_lost(log_type, many.as_bytes());
    }
}

fn refusal(yaml: &str) -> String {
    match Schema::from_yaml(yaml, "bomb.yml", Some("Custom.Bomb")) {
        Ok(schema) => panic!("{} fields were accepted", schema.fields.fields.len()),
        Err(errors) => errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

#[test]
fn yaml_that_unfolds_without_end_is_refused() {
    // References to references, two at each level.
    let mut by_ref = String::from("version: 0\nfields: [{name: a, type: ref, target: D0}]\ndefinitions:\n");
    for level in 0..40 {
        let next = level + 1;
        by_ref += &format!(
            "  D{level}: {{type: object, fields: [{{name: a, type: ref, target: D{next}}}, {{name: b, type: ref, target: D{next}}}]}}\n"
        );
    }
    by_ref += "  D40: {type: string}\n";
    assert!(refusal(&by_ref).contains("unfolds to more than"));

    // Aliases of aliases, ten at each level.
    let mut by_alias =
        String::from("version: 0\nfields:\n- {name: f0, type: object, fields: &f0 [{name: a, type: string}]}\n");
    for level in 1..12 {
        let inner: Vec<_> = (0..10).map(|n| format!("{{name: a{n}, type: object, fields: *f{}}}", level - 1)).collect();
        by_alias += &format!("- {{name: f{level}, type: object, fields: &f{level} [{}]}}\n", inner.join(", "));
    }
    assert!(refusal(&by_alias).contains("bomb.yml"));
}

#[test]
fn deep_yaml_is_refused_and_no_stack_overflows() {
    for depth in [70, 500, 1000, 5000, 100_000] {
        let deep = "{type: array, element: ".repeat(depth) + "{type: string}" + &"}".repeat(depth);
        refusal(&format!("version: 0\nfields: [{{name: a, type: array, element: {deep}}}]\n"));
        refusal(&format!("version: 0\nfields: {}\n", "[".repeat(depth)));
        refusal(&format!("version: 0\nfields: {}{}\n", "- ".repeat(depth), "a"));
    }
}
