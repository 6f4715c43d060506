//! Rejects that are tried again: in the order of their object, with what came before each of them, and without guesses.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::pipeline::{Mended, replay_records};
use crate::state::{Mending, ObjectFilter};

const NONE: &str = "fields: [{name: never, type: string, required: true}]";
const BIG: &str = "fields: [{name: big, type: string, required: true}]";

impl World {
    /// From now on the source has these options and log types, by name and the rest of their schema.
    fn read_as(&self, stream: Value, log_types: &[(&str, &str)]) {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        for (name, body) in log_types {
            files.push(folder.path().join(format!("{name}.yml")));
            std::fs::write(files.last().unwrap(), format!("schema: {name}\nversion: 0\n{body}\n")).unwrap();
        }
        let names: Vec<&str> = log_types.iter().map(|(name, _)| *name).collect();
        let mut source = json!({ "name": "logs", "bucket": "b", "prefixes": [{ "prefix": "x/", "log_types": names }] });
        source.as_object_mut().unwrap().extend(stream.as_object().unwrap().clone());
        self.pipeline.catalogue.swap(Catalogue {
            sources: SourceTable::new(&[serde_json::from_value(source).unwrap()]).unwrap(),
            log_types: Arc::new(Registry::built_in().with_files(&files).unwrap()),
        });
    }

    /// Tries the rejects of the only object that has some.
    async fn mend(&self) -> Mended {
        let now = self.pipeline.clock.now();
        let entries = self.state.with_rejects(&ObjectFilter::default(), None, 10, now).await.unwrap();
        let [entry] = &entries[..] else { panic!("{} objects", entries.len()) };
        let commits = async {
            loop {
                self.lake.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            mended = replay_records(&self.pipeline, entry) => mended.unwrap(),
            () = commits => panic!("commits have no end"),
        }
    }

    async fn kept(&self, object: &ObjectRef) -> Vec<u64> {
        let rejects = self.state.rejects(object.id(), None, 100).await.unwrap();
        rejects.iter().map(|reject| reject.ordinal).collect()
    }

    /// Ordinal and fields of the rows of a table, in the order of their commits.
    fn fields(&self, table: &str) -> Vec<(u64, BTreeMap<String, Value>)> {
        let fields = |event: &crate::model::Event| serde_json::from_value(json!(event.fields)).unwrap();
        self.catalog.rows(table).iter().map(|event| (event.position.ordinal, fields(event))).collect()
    }
}

/// What a field is, by ordinal.
fn of(rows: &[(u64, BTreeMap<String, Value>)], field: &str) -> Vec<(u64, Value)> {
    rows.iter().map(|(ordinal, fields)| (*ordinal, fields[field].clone())).collect()
}

fn lines() -> Value {
    json!({ "stream_type": "Lines" })
}

/// Five rejects, of which the second and the fourth are more than is kept of one.
async fn cut_records(world: &World) -> ObjectRef {
    world.read_as(lines(), &[("Custom.None", NONE)]);
    let big = |size: usize| json!({ "big": "x".repeat(size) }).to_string() + "\n";
    let object = world.announce("x/a", [big(1), big(1_200_000), big(2), big(1_300_000), big(3)].concat());
    world.handle(1).await;
    assert_eq!(world.kept(&object).await, [0, 1, 2, 3, 4]);
    world.read_as(lines(), &[("Custom.Big", BIG)]);
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_in_the_order_of_the_object_though_some_need_it_and_some_do_not() {
    let world = world().await;
    let object = cut_records(&world).await;
    assert_eq!(world.mend().await, Mended { records: 5, events: 5, ..Mended::default() });
    let rows = world.fields("Custom.Big");
    assert_eq!(rows.iter().map(|(ordinal, _)| *ordinal).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(rows[3].1["big"].as_str().unwrap().len(), 1_300_000);
    assert!(world.kept(&object).await.is_empty());
    assert!(world.catalog.commits("Custom.Big").len() > 1, "a mebibyte of records is enough for a commit");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_whole_is_mended_when_the_object_is_gone_and_the_rest_says_why_not() {
    let world = world().await;
    let object = cut_records(&world).await;
    world.store.forbid("b", "x/a");
    let mended = world.mend().await;
    assert!(mended.records == 0 && mended.left == 5 && mended.first_left.contains("refused"), "{mended:?}");

    world.store.remove("b", "x/a");
    let mended = world.mend().await;
    assert!((mended.records, mended.left) == (3, 2) && mended.first_left.contains("does not exist"), "{mended:?}");
    assert_eq!(of(&world.fields("Custom.Big"), "big"), [(0, "x".into()), (2, "xx".into()), (4, "xxx".into())]);
    assert_eq!(world.kept(&object).await, [1, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_breaks_off_is_mended_as_far_as_it_came_and_then_to_its_end() {
    let world = world().await;
    let object = cut_records(&world).await;
    world.store.break_after("b", "x/a", 1_300_000);
    let mended = world.mend().await;
    assert!(mended.left > 0 && mended.first_left.contains("broke"), "{mended:?}");
    let left = world.kept(&object).await;
    assert_eq!(left.len() as u64, mended.left);
    assert_eq!(world.mend().await.records, mended.left);
    assert_eq!(world.fields("Custom.Big").len(), 5);
}

const HEADER: &str = "parser: {csv: {hasHeader: true}}\nfields:\n  - {name: a, type: string, required: true}\n  - ";

#[tokio::test(flavor = "multi_thread")]
async fn delimited_text_keeps_the_header_of_its_object() {
    let world = world().await;
    let csv = |kind: &str| format!("{HEADER}{{name: b, type: {kind}, required: true}}");
    world.read_as(lines(), &[("Custom.Csv", &csv("int"))]);
    let bytes = "b,a\nq,one\n7,two\nr,three\n";
    let object = world.announce("x/a", bytes);
    world.handle(1).await;
    assert_eq!(world.kept(&object).await, [1, 3]);

    // The header is not among what was kept.
    world.read_as(lines(), &[("Custom.Csv", &csv("string"))]);
    world.store.remove("b", "x/a");
    let mended = world.mend().await;
    assert!(mended.records == 0 && mended.left == 2 && mended.first_left.contains("header"), "{mended:?}");
    assert_eq!(world.kept(&object).await, [1, 3]);

    world.store.put("b", "x/a", bytes);
    assert_eq!(world.mend().await, Mended { records: 2, events: 2, ..Mended::default() });
    let rows = &world.fields("Custom.Csv")[1..];
    assert_eq!(of(rows, "b"), [(1, "q".into()), (3, "r".into())]);
    assert_eq!(of(rows, "a"), [(1, "one".into()), (3, "three".into())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_an_envelope_keep_what_it_says_of_them() {
    let world = world().await;
    let stream = || json!({ "stream_type": "CloudWatchLogs", "retain_envelope_fields": true });
    world.read_as(stream(), &[("Custom.None", NONE)]);
    let event =
        |n: u64| json!({ "id": n.to_string(), "timestamp": 1_700_000_000_000 + n, "message": "{\"big\":\"x\"}" });
    let bytes = json!({ "messageType": "DATA_MESSAGE", "owner": "1", "logGroup": "g", "logStream": "s",
        "subscriptionFilters": ["f"], "logEvents": [event(0), event(1)] });
    let object = world.announce("x/a", bytes.to_string());
    world.handle(1).await;
    assert_eq!(world.kept(&object).await, [0, 1]);

    world.read_as(stream(), &[("Custom.Big", BIG)]);
    world.store.remove("b", "x/a");
    let mended = world.mend().await;
    assert!(mended.left == 2 && mended.first_left.contains("envelope"), "{mended:?}");
    // It may have been this kind of object.
    world.read_as(json!({}), &[("Custom.Big", BIG)]);
    let mended = world.mend().await;
    assert!(mended.left == 2 && mended.first_left.contains("`stream_type`"), "{mended:?}");

    world.read_as(stream(), &[("Custom.Big", BIG)]);
    world.store.put("b", "x/a", bytes.to_string());
    assert_eq!(world.mend().await.records, 2);
    let rows = world.fields("Custom.Big");
    assert_eq!(rows[1].1["p_header"]["logGroup"], "g");
    assert_eq!(rows[1].1["p_event_time"], "2023-11-14 22:13:20.001000000");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_a_record_does_not_become_one_when_its_object_is_gone() {
    let world = world().await;
    let stream = || json!({ "stream_type": "JSON" });
    world.read_as(stream(), &[("Custom.None", NONE)]);
    world.announce("x/a", "{\"big\":\"x\"}\ngarbage\n{\"big\":\"y\"}");
    world.handle(1).await;
    world.store.remove("b", "x/a");
    let all = "parser: {regex: {match: ['(?P<big>.*)']}}\nfields: [{name: big, type: string}]";
    world.read_as(stream(), &[("Custom.All", all)]);
    let mended = world.mend().await;
    assert!((mended.records, mended.left) == (2, 1) && mended.first_left.contains("no JSON"), "{mended:?}");
}
