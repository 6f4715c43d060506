//! Golden samples: every folder under `tests/corpus/log_types/` is a log type, every `NAME.log` or `NAME.json` in it an
//! object, and `NAME.snap` what becomes of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use time::macros::datetime;

use super::{Classified, Classifier, Context, Registry};
use crate::decode::testing::decode_cut;
use crate::decode::{Limits, Piece};
use crate::model::{ObjectId, Stream};

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Everything that decoding and classifying make of an object, in order.
fn outcome(registry: &Registry, log_type: &str, object: &[u8]) -> Value {
    let limits = Limits { max_object_bytes: 1 << 20, max_record_bytes: 1 << 16 };
    let stream = registry.stream(&Stream::default(), &[Arc::from(log_type)]).unwrap();
    let (pieces, error) = decode_cut(&stream, limits, object, usize::MAX);
    let context = Context {
        object: ObjectId([1; 16]),
        address: None,
        source: "corpus".into(),
        parse_time: datetime!(2024-06-01 00:00 UTC),
        keep_unknown: true,
        guard_event_time: true,
    };
    let mut classifier = Classifier::new(registry, &[Arc::from(log_type)], context).unwrap();
    let mut outcome = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Reject(reject) => outcome.push(json!({"reject": reject.reason})),
            Piece::Record(record) => match classifier.classify(&record) {
                Classified::Events(events) => {
                    outcome.extend(events.iter().map(|event| serde_json::to_value(&event.fields).unwrap()));
                }
                Classified::Rejected(reject) => outcome.push(json!({"reject": reject.reason})),
                Classified::Blank => outcome.push(json!("blank")),
            },
        }
    }
    if let Some(error) = error {
        outcome.push(json!({"error": error.to_string()}));
    }
    Value::Array(outcome)
}

#[test]
fn samples_give_what_they_should() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/log_types");
    let registry = Registry::built_in();
    for name in registry.names() {
        let folder = root.join(&**name);
        let samples: Vec<PathBuf> = files(&folder)
            .into_iter()
            .filter(|path| path.extension().is_some_and(|kind| kind == "log" || kind == "json"))
            .collect();
        assert!(!samples.is_empty(), "{name} has no sample in {}", folder.display());
        for sample in samples {
            let outcome = outcome(&registry, name, &std::fs::read(&sample).unwrap());
            let stem = sample.file_stem().unwrap().to_string_lossy().into_owned();
            insta::with_settings!({snapshot_path => &folder, prepend_module_to_snapshot => false, omit_expression => true}, {
                insta::assert_json_snapshot!(stem, outcome);
            });
        }
    }
}
