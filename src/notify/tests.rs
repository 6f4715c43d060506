//! The corpus of bodies against its snapshots, and the walk over the table of formats.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::body::Body;
use super::{Announced, BadBody, FORMATS, Notice, SetUp, parse};

/// Bodies of real shape, and hostile ones; a file is named after its format and what is special about it.
fn corpus() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/notifications");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let case = path.file_stem().unwrap().to_str().unwrap();
            (case.to_owned(), std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

fn as_json(parsed: &Result<Notice, BadBody>) -> Value {
    match parsed {
        Err(error) => json!({ "bad_body": error.to_string() }),
        Ok(notice) => {
            let objects: Vec<Value> = notice
                .objects
                .iter()
                .map(|Announced { object, cause, other_key }| {
                    json!({
                        "bucket": object.bucket, "key": object.key, "version_id": object.version_id,
                        "etag": object.etag, "size": object.size, "region": object.region,
                        "sequencer": object.sequencer,
                        "cause": format!("{cause:?}"), "other_key": other_key,
                    })
                })
                .collect();
            let bad: Vec<Value> =
                notice.bad.iter().map(|bad| json!({ "raw": bad.raw, "reason": bad.reason })).collect();
            let setup = match &notice.setup {
                None => Value::Null,
                Some(SetUp::Test { bucket }) => json!({ "test": bucket }),
                Some(SetUp::Confirm { topic, token }) => json!({ "confirm": topic.as_str(), "token": token }),
                Some(SetUp::Ended { topic }) => json!({ "ended": topic }),
            };
            json!({
                "format": notice.format, "objects": objects, "ignored": notice.ignored.len(), "bad": bad, "setup": setup,
            })
        }
    }
}

#[test]
fn every_body_of_the_corpus_reads_as_recorded() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/notifications/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for (case, body) in corpus() {
            insta::assert_json_snapshot!(case, as_json(&parse(&body)));
        }
    });
}

#[test]
fn every_format_has_a_unique_name_and_a_body_in_the_corpus() {
    let corpus = corpus();
    let mut names = HashSet::new();
    for format in FORMATS {
        assert!(names.insert(format.name), "{} is there twice", format.name);
        let recognised = |(case, body): &(String, String)| {
            case.starts_with(format.name) && (format.read)(&Body::new(body, 0)).is_some()
        };
        assert!(corpus.iter().any(recognised), "tests/corpus/notifications/ has no body of format {}", format.name);
    }
}

#[test]
fn an_envelope_changes_nothing_about_what_is_said() {
    for (case, body) in corpus() {
        let envelope = json!({ "Type": "Notification", "TopicArn": "arn:aws:sns:x:1:t", "Message": body }).to_string();
        let (bare, wrapped) = (parse(&body), parse(&envelope));
        if case == "sns.three-envelopes" {
            assert!(wrapped.unwrap_err().to_string().contains("more than 3"));
        } else if let Ok(bare) = bare {
            assert_eq!(Ok(bare), wrapped, "{case}");
        } else {
            assert!(wrapped.is_err(), "{case}");
        }
    }
}

proptest! {
    #[test]
    fn no_record_of_an_event_is_lost(kinds in prop::collection::vec(0..4u8, 1..12)) {
        let record = |event: &str, key: &str| {
            json!({ "eventName": event, "s3": { "bucket": { "name": "b" }, "object": { "key": key } } })
        };
        let records: Vec<Value> = kinds.iter().enumerate().map(|(number, kind)| match kind {
            0 => record("ObjectCreated:Put", &format!("k{number}")),
            1 => record("ObjectRemoved:Delete", "k"),
            2 => record("ObjectCreated:Put", "%"),
            _ => json!({"s3": 7}),
        }).collect();
        let notice = parse(&json!({ "Records": records }).to_string()).unwrap();
        let counted = |wanted: &[u8]| kinds.iter().filter(|kind| wanted.contains(kind)).count();
        prop_assert_eq!(notice.objects.len(), counted(&[0]));
        prop_assert_eq!(notice.ignored, vec!["ObjectRemoved:Delete"; counted(&[1])]);
        prop_assert_eq!(notice.bad.len(), counted(&[2, 3]));
    }

    #[test]
    fn a_damaged_body_is_an_answer_and_not_a_panic(
        case in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), with in any::<char>(),
    ) {
        let corpus = corpus();
        let mut body: Vec<char> = case.get(&corpus).1.chars().collect();
        if !body.is_empty() {
            let place = at.index(body.len());
            body[place] = with;
        }
        let text: String = body.into_iter().collect();
        match parse(&text) {
            Ok(notice) => prop_assert!(FORMATS.iter().any(|format| format.name == notice.format)),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn arbitrary_bytes_are_an_answer_and_not_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let text = String::from_utf8_lossy(&bytes);
        if let Err(error) = parse(&text) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn arbitrary_json_is_an_answer_and_not_a_panic(body in json_of_notifications()) {
        match parse(&body.to_string()) {
            Ok(notice) => prop_assert!(notice.setup.is_none() || notice.objects.is_empty()),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn every_key_survives_both_spellings(key in any::<String>().prop_filter("a key has a character", |key| !key.is_empty())) {
        let encoded: String = key.bytes().map(|byte| match byte {
            b' ' => "+".into(),
            b'a'..=b'z' | b'/' | b'.' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        }).collect();
        let form = json!({ "Records": [{ "s3": { "bucket": { "name": "b" }, "object": { "key": encoded } } }] });
        let verbatim = json!({ "s3Bucket": "b", "s3ObjectKey": [key] });
        let bridge = json!({ "source": "aws.s3", "detail-type": "Object Created",
            "detail": { "bucket": { "name": "b" }, "object": { "key": key } } });
        for body in [&form, &verbatim, &bridge] {
            let notice = parse(&body.to_string()).unwrap();
            prop_assert_eq!(notice.objects.len(), 1);
            prop_assert_eq!(&notice.objects[0].object.key, &key);
        }
        // And a sender that confuses the two is found out by the other reading.
        let confused = json!({ "s3Bucket": "b", "s3ObjectKey": [encoded] });
        let announced = parse(&confused.to_string()).unwrap().objects.remove(0);
        prop_assert_eq!(announced.other_key.unwrap_or(announced.object.key), key);
    }
}

/// JSON of any shape whose members are named as those of notifications, so that it gets deep into the formats.
fn json_of_notifications() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(vec![
            "aws.s3",
            "Notification",
            "SubscriptionConfirmation",
            "UnsubscribeConfirmation",
            "s3:TestEvent",
            "Object Created",
            "ObjectCreated:Put",
            "ObjectRestore:Completed",
            "securitylake.amazonaws.com",
            "arn:aws:sns:us-west-2:111122223333:logs",
            "%",
            "a+b",
        ])
        .prop_map(Value::from),
    ];
    let names = prop::sample::select(vec![
        "Type",
        "Message",
        "TopicArn",
        "Token",
        "s3Bucket",
        "s3ObjectKey",
        "Records",
        "s3",
        "bucket",
        "name",
        "object",
        "key",
        "eventName",
        "source",
        "detail",
        "detail-type",
        "requester",
        "Event",
        "Bucket",
        "size",
        "etag",
    ]);
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map(names.clone(), inner, 0..8).prop_map(|members| {
                members
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            }),
        ]
    })
}
