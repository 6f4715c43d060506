//! The contract of catalogs on the real one, and what is its own: files, schemas that grow, and history that was cut.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use futures_util::TryStreamExt;
use time::macros::datetime;

use super::*;
use crate::lake::contract::{Readable, catalog_contract_tests};
use crate::lake::families::RULE_MATCHES;
use crate::lake::rows::Slice;
use crate::lake::storm_tests::weather;
use crate::logtype::Registry;
use crate::model::{Event, EventBatch, Map, ObjectId, Position, RowId};
use crate::runtime::{Clock, SystemClock};

/// A catalog in a folder that goes with it.
pub(super) struct Temporary {
    pub(super) catalog: IcebergCatalog,
    pub(super) _folder: tempfile::TempDir,
}

#[async_trait]
impl Catalog for Temporary {
    type Head = Head;
    type Staged = Change;

    async fn load(&self, table: &str) -> Result<Head, CatalogError> {
        self.catalog.load(table).await
    }

    async fn find(&self, head: &Head, wanted: &[Wanted]) -> Result<Vec<CommitId>, CatalogError> {
        self.catalog.find(head, wanted).await
    }

    async fn stage(&self, table: &str, commit: CommitId, rows: &Rows) -> Result<Change, CatalogError> {
        self.catalog.stage(table, commit, rows).await
    }

    async fn commit(&self, head: &Head, staged: &Change) -> Result<Outcome, CatalogError> {
        self.catalog.commit(head, staged).await
    }
}

#[async_trait]
impl Readable for Temporary {
    async fn row_ids(&self, table: &str) -> Vec<RowId> {
        self.catalog.row_ids(table).await
    }
}

#[async_trait]
impl Readable for IcebergCatalog {
    async fn row_ids(&self, table: &str) -> Vec<RowId> {
        let head = self.load(table).await.unwrap();
        let mut ids = Vec::new();
        for batch in read(&head.table, &["p_row_id"]).await {
            let texts = batch.column(0).as_string::<i32>();
            ids.extend(texts.iter().map(|text| row_id(text.unwrap())));
        }
        ids.sort();
        ids
    }
}

fn row_id(text: &str) -> RowId {
    RowId(std::array::from_fn(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap()))
}

/// The rows as the Iceberg crate's own reader gives them.
async fn read(table: &Table, columns: &[&str]) -> Vec<RecordBatch> {
    let scan = table.scan().select(columns.iter().copied()).build().unwrap();
    scan.to_arrow().await.unwrap().try_collect().await.unwrap()
}

pub(super) fn built_in() -> Schemas {
    Arc::new(|name: &str| Registry::built_in().get(name).ok().cloned())
}

fn own(yaml: &'static str) -> Schemas {
    Arc::new(move |name: &str| Some(Arc::new(Schema::from_yaml(yaml, "test", Some(name)).unwrap())))
}

async fn open_with(folder: &std::path::Path, schemas: Schemas) -> IcebergCatalog {
    let settings = Settings { root: folder.to_owned(), prefix: "margay_".into(), partition: Granularity::Day };
    IcebergCatalog::open(settings, schemas, Arc::new(SystemClock)).await.unwrap()
}

async fn open() -> Temporary {
    let folder = tempfile::tempdir().unwrap();
    Temporary { catalog: open_with(folder.path(), built_in()).await, _folder: folder }
}

catalog_contract_tests!(open);

#[tokio::test]
async fn every_row_is_there_once_after_any_storm() {
    for seed in 0..6 {
        let folder = tempfile::tempdir().unwrap();
        let catalog = open_with(folder.path(), built_in()).await;
        weather(super::faulty::Faulty::new(catalog), seed).await;
    }
}

pub(super) fn rows(table: &str, fields: &[&str]) -> Rows {
    let event = |(at, fields): (usize, &&str)| Event {
        log_type: table.into(),
        row_id: RowId::new(ObjectId([2; 16]), at as u64, 0),
        position: Position { ordinal: at as u64, index: 0 },
        time: datetime!(2024-01-01 22:00 UTC) + time::Duration::hours(at as i64),
        fields: serde_json::from_str::<Map>(fields).unwrap(),
    };
    let events: Vec<Event> = fields.iter().enumerate().map(event).collect();
    let picked = (0..events.len()).collect();
    let batch = EventBatch { object: ObjectId([2; 16]), source: "s".into(), events, rejects: Vec::new(), bytes: 1 };
    [Slice::new(Arc::new(batch), picked)].into_iter().collect()
}

async fn commit(catalog: &IcebergCatalog, table: &str, n: u8, fields: &[&str]) -> Head {
    let staged = catalog.stage(table, CommitId([n; 16]), &rows(table, fields)).await.unwrap();
    let head = catalog.load(table).await.unwrap();
    assert_eq!(catalog.commit(&head, &staged).await.unwrap(), Outcome::Committed);
    catalog.load(table).await.unwrap()
}

#[tokio::test]
async fn a_file_for_each_day_with_bounds_and_totals() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = open_with(folder.path(), own("version: 0\nfields: [{name: n, type: bigint}]")).await;
    commit(&catalog, "Custom.Alpha", 1, &[r#"{"n":5}"#, r#"{"n":7}"#, r#"{"n":6}"#, "{}"]).await;
    let head = commit(&catalog, "Custom.Alpha", 2, &[r#"{"n":1}"#]).await;
    let snapshot = head.table.metadata().current_snapshot().unwrap();
    let summary = &snapshot.summary().additional_properties;
    assert_eq!((summary["total-records"].as_str(), summary["total-data-files"].as_str()), ("5", "3"));
    let mut files = Vec::new();
    for manifest in snapshot::manifests(&head.table).await.unwrap() {
        let (entries, _) = manifest.load_manifest(head.table.file_io()).await.unwrap().into_parts();
        files.extend(entries.iter().map(|entry| entry.data_file().clone()));
    }
    let id = head.table.metadata().current_schema().field_id_by_name("n").unwrap();
    let mut figures: Vec<(String, u64, Option<String>)> = files
        .iter()
        .map(|file| {
            let folder = file.file_path().split('/').rev().nth(1).unwrap().to_owned();
            (folder, file.record_count(), file.upper_bounds().get(&id).map(|bound| bound.to_string()))
        })
        .collect();
    figures.sort();
    let day = |day: &str| format!("p_event_time_day={day}");
    assert_eq!(
        figures,
        [
            (day("2024-01-01"), 1, Some("1".into())),
            (day("2024-01-01"), 2, Some("7".into())),
            (day("2024-01-02"), 2, Some("6".into())),
        ]
    );
}

#[tokio::test]
async fn a_table_gains_columns_and_old_rows_lack_them() {
    let folder = tempfile::tempdir().unwrap();
    let first = open_with(folder.path(), own("version: 0\nfields: [{name: a, type: string}]")).await;
    commit(&first, "Custom.Alpha", 1, &[r#"{"a":"x","b":3}"#]).await;
    let fields = "version: 0\nfields: [{name: a, type: string}, {name: b, type: int}]";
    let second = open_with(folder.path(), own(fields)).await;
    let head = commit(&second, "Custom.Alpha", 2, &[r#"{"a":"y","b":4}"#]).await;
    let mut seen = Vec::new();
    for batch in read(&head.table, &["a", "b", "p_extra"]).await {
        let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>();
        let (a, extra) = (text("a"), text("p_extra"));
        let b = batch.column_by_name("b").unwrap().as_primitive::<arrow::datatypes::Int32Type>();
        for row in 0..batch.num_rows() {
            let b = b.is_valid(row).then(|| b.value(row));
            seen.push((a.value(row).to_owned(), b, extra.is_valid(row).then(|| extra.value(row).to_owned())));
        }
    }
    seen.sort();
    assert_eq!(seen, [("x".into(), None, Some(r#"{"b":3}"#.into())), ("y".into(), Some(4), None)]);
}

#[tokio::test]
async fn tables_of_matches_follow_their_log_type() {
    let folder = tempfile::tempdir().unwrap();
    let first = open_with(folder.path(), own("version: 0\nfields: [{name: a, type: string}]")).await;
    let table = RULE_MATCHES.table("Custom.Alpha");
    let at = r#""p_parse_time":"2024-01-01 22:00:00.000000000","p_rule_tags":["t"],"p_alert_context":{"c":1}"#;
    let before = commit(&first, &table, 1, &[&format!(r#"{{"a":"x",{at}}}"#)]).await;
    let spec = before.table.metadata().default_partition_spec().clone();
    assert_eq!(spec.fields()[0].name, "p_parse_time_day");
    let fields = "version: 0\nfields: [{name: a, type: string}, {name: b, type: int}]";
    let second = open_with(folder.path(), own(fields)).await;
    let head = commit(&second, &table, 2, &[&format!(r#"{{"a":"y","b":4,{at}}}"#)]).await;
    assert_eq!(head.id.to_string(), "margay_rule_matches.custom_alpha");
    let mut seen = Vec::new();
    for batch in read(&head.table, &["a", "b", "p_alert_context", "p_extra"]).await {
        let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>();
        let b = batch.column_by_name("b").unwrap().as_primitive::<arrow::datatypes::Int32Type>();
        assert!(text("p_extra").is_null(0) && text("p_alert_context").value(0) == r#"{"c":1}"#);
        seen.push((text("a").value(0).to_owned(), b.is_valid(0).then(|| b.value(0))));
    }
    seen.sort();
    assert_eq!(seen, [("x".into(), None), ("y".into(), Some(4))]);
}

#[tokio::test]
async fn rows_of_a_log_type_that_is_gone_are_kept_whole() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = open_with(folder.path(), Arc::new(|_: &str| None)).await;
    let head = commit(&catalog, "Custom.Gone", 1, &[r#"{"a":"x"}"#]).await;
    let batches = read(&head.table, &["p_log_type", "p_extra"]).await;
    let text = |name: &str| batches[0].column_by_name(name).unwrap().as_string::<i32>().value(0);
    assert_eq!((text("p_extra"), text("p_log_type")), (r#"{"a":"x"}"#, "Custom.Gone"));
}

#[tokio::test]
async fn a_commit_that_may_have_been_in_history_that_is_gone_is_not_denied() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = open_with(folder.path(), built_in()).await;
    let table = "AWS.CloudTrail";
    for n in 1..4 {
        commit(&catalog, table, n, &["{}"]).await;
    }
    let head = catalog.load(table).await.unwrap();
    let metadata = head.table.metadata();
    let oldest = metadata.snapshots().min_by_key(|snapshot| snapshot.sequence_number()).unwrap().snapshot_id();
    let builder = metadata.clone().into_builder(head.table.metadata_location().map(str::to_owned));
    let less = builder.remove_snapshots(&[oldest]).build().unwrap();
    assert_eq!(catalog.swap(&head.id, &head.table, less).await.unwrap(), Outcome::Committed);

    let head = catalog.load(table).await.unwrap();
    let wanted = |n: u8, since| [Wanted { commit: CommitId([n; 16]), since }];
    let long_ago = datetime!(2024-01-01 00:00 UTC);
    assert_eq!(catalog.find(&head, &wanted(2, long_ago)).await.unwrap(), [CommitId([2; 16])]);
    assert!(catalog.find(&head, &wanted(1, long_ago)).await.unwrap_err().to_string().contains("is gone"));
    let later = SystemClock.now() + time::Duration::hours(1);
    assert!(catalog.find(&head, &wanted(9, later)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_refused_commit_leaves_no_file_behind() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = open_with(folder.path(), built_in()).await;
    let table = "AWS.CloudTrail";
    let stale = catalog.load(table).await.unwrap();
    commit(&catalog, table, 1, &["{}"]).await;
    let staged = catalog.stage(table, CommitId([2; 16]), &rows(table, &["{}"])).await.unwrap();
    let files = || {
        let entries = walkdir::WalkDir::new(folder.path()).into_iter().map(|entry| entry.unwrap());
        entries.filter(|entry| entry.path().components().any(|part| part.as_os_str() == "metadata")).count()
    };
    let before = files();
    assert_eq!(catalog.commit(&stale, &staged).await.unwrap(), Outcome::Conflict);
    assert_eq!(files(), before);
}
