//! The corpus of bodies against its snapshots, and the walk over the table of formats.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::body::Body;
use super::{BadBody, FORMATS, Notice, parse};

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
                .map(|object| {
                    json!({
                        "bucket": object.bucket, "key": object.key, "version_id": object.version_id,
                        "etag": object.etag, "size": object.size, "region": object.region,
                        "sequencer": object.sequencer,
                    })
                })
                .collect();
            let bad: Vec<Value> =
                notice.bad.iter().map(|bad| json!({ "raw": bad.raw, "reason": bad.reason })).collect();
            json!({ "format": notice.format, "objects": objects, "ignored": notice.ignored, "bad": bad })
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
        prop_assert_eq!(notice.ignored as usize, counted(&[1]));
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
}
