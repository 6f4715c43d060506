//! Upkeep of tables with rows in many small files: no row is lost or doubled, whatever runs beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use iceberg::spec::{
    DataContentType, DataFileBuilder, DataFileFormat, ManifestWriterBuilder, SnapshotReference, SnapshotRetention,
};
use time::OffsetDateTime;
use time::macros::datetime;

use super::*;
use crate::lake::catalog::Catalog;
use crate::lake::contract::Readable;
use crate::lake::families::{CLASSIFICATION_FAILURES, LOGS, RULE_MATCHES};
use crate::lake::iceberg::snapshot::unique;
use crate::lake::iceberg::{Granularity, Settings};
use crate::lake::tables::Tables;
use crate::lake::{Rows, Slice};
use crate::logtype::Schema;
use crate::model::{Event, EventBatch, Map, ObjectId, Position, RowId};
use crate::runtime::Clock;
use crate::state::CommitId;

const TABLE: &str = "Test.Table";

/// Stands still until it is turned forward.
struct Turned(AtomicI64);

impl Clock for Turned {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(self.0.load(Ordering::Relaxed)).unwrap()
    }
}

struct World {
    catalog: IcebergCatalog,
    clock: Arc<Turned>,
    folder: tempfile::TempDir,
}

impl World {
    async fn new(fields: &'static str) -> World {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(Turned(AtomicI64::new(crate::runtime::SystemClock.now().unix_timestamp())));
        let catalog = open(folder.path(), fields, clock.clone()).await;
        World { catalog, clock, folder }
    }

    fn turn(&self, by: Duration) {
        self.clock.0.fetch_add(by.whole_seconds(), Ordering::Relaxed);
    }

    fn files(&self) -> usize {
        let entries = walkdir::WalkDir::new(self.folder.path()).into_iter().map(|entry| entry.unwrap());
        entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "parquet")).count()
    }

    async fn live_files(&self) -> usize {
        let table = self.catalog.existing(&id()).await.unwrap();
        live(&table).await.unwrap().iter().map(|(_, entries)| entries.len()).sum()
    }
}

async fn open(folder: &std::path::Path, fields: &'static str, clock: Arc<Turned>) -> IcebergCatalog {
    let settings = Settings { root: folder.to_owned(), prefix: "margay_".into(), partition: Granularity::Day };
    let schemas = move |name: &str| {
        let yaml = format!("version: 0\nfields: [{fields}]");
        Some(Arc::new(Schema::from_yaml(&yaml, "test", Some(name)).unwrap()))
    };
    IcebergCatalog::open(settings, Arc::new(schemas), clock).await.unwrap()
}

fn id() -> TableId {
    TableId::of_logs("margay_", TABLE)
}

async fn commit(catalog: &IcebergCatalog, n: u8, at: OffsetDateTime) {
    commit_to(catalog, TABLE, n, at).await;
}

async fn commit_to(catalog: &IcebergCatalog, table: &str, n: u8, at: OffsetDateTime) {
    let time = at + Duration::minutes(i64::from(60 - n));
    let read = crate::model::stored_time(time.replace_nanosecond(0).unwrap());
    let fields = format!(r#"{{"object":{{"a":"x","b":1}},"list":[{{"a":"y"}}],"p_parse_time":"{read}"}}"#);
    let event = |ordinal: u64| Event {
        log_type: TABLE.into(),
        row_id: RowId::new(ObjectId([n; 16]), ordinal, 0),
        position: Position { ordinal, index: 0 },
        time,
        fields: serde_json::from_str::<Map>(&fields).unwrap(),
    };
    let events: Vec<Event> = (0..3).map(event).collect();
    let batch = EventBatch { object: ObjectId([n; 16]), source: "s".into(), events, rejects: Vec::new(), bytes: 1 };
    let rows: Rows = [Slice::new(Arc::new(batch), vec![0, 1, 2])].into_iter().collect();
    let staged = catalog.stage(table, CommitId([n; 16]), &rows).await.unwrap();
    for _ in 0..50 {
        let head = catalog.load(table).await.unwrap();
        if catalog.commit(&head, &staged).await.unwrap() == Outcome::Committed {
            return;
        }
    }
    panic!("commit {n} was overtaken again and again");
}

const OBJECT: &str = "{name: object, type: object, fields: [{name: a, type: string}]}";
const WIDER: &str = "{name: object, type: object, fields: [{name: a, type: string}, {name: b, type: int}]}, \
                     {name: list, type: array, element: {type: object, fields: [{name: a, type: string}]}}";
const DAY: OffsetDateTime = datetime!(2026-01-09 10:00 UTC);

#[tokio::test]
async fn small_files_become_one_and_every_row_stays() {
    let world = World::new(OBJECT).await;
    for n in 0..5 {
        commit(&world.catalog, n, DAY).await;
    }
    // The table has gained columns, nested ones too, which the first files lack.
    let wider = open(world.folder.path(), WIDER, world.clock.clone()).await;
    for n in 5..8 {
        commit(&wider, n, DAY).await;
    }
    commit(&wider, 8, DAY - Duration::days(1)).await;
    let before = wider.row_ids(TABLE).await;
    let done = wider.maintain(&id(), &Goals::default()).await.unwrap();
    assert_eq!((done.files_before, done.files_after), (8, 1));
    assert_eq!(world.live_files().await, 2);
    assert_eq!(wider.row_ids(TABLE).await, before);
    let table = wider.existing(&id()).await.unwrap();
    let summary = table.metadata().current_snapshot().unwrap().summary();
    assert_eq!(summary.operation, Operation::Replace);
    assert_eq!(summary.additional_properties["total-records"], "27");
    assert_eq!(summary.additional_properties["total-data-files"], "2");
    // Nothing is left to do, and nobody lost what it may be reading.
    assert_eq!(wider.maintain(&id(), &Goals::default()).await.unwrap(), Done::default());
    assert_eq!(world.files(), 10);
}

#[tokio::test]
async fn commits_are_found_after_their_files_were_merged() {
    let world = World::new(OBJECT).await;
    for n in 0..3 {
        commit(&world.catalog, n, DAY).await;
    }
    world.catalog.maintain(&id(), &Goals::default()).await.unwrap();
    let head = world.catalog.load(TABLE).await.unwrap();
    let wanted = crate::lake::catalog::Wanted { commit: CommitId([1; 16]), since: DAY };
    assert_eq!(world.catalog.find(&head, &[wanted]).await.unwrap(), [CommitId([1; 16])]);
}

#[tokio::test]
async fn old_snapshots_go_and_their_files_later() {
    let world = World::new(OBJECT).await;
    for n in 0..4 {
        commit(&world.catalog, n, DAY).await;
    }
    let goals = Goals { keep_orphans: Duration::days(5), ..Goals::default() };
    assert_eq!(world.catalog.maintain(&id(), &goals).await.unwrap().files_before, 4);
    let before = world.catalog.row_ids(TABLE).await;
    world.turn(Duration::days(4));
    let done = world.catalog.maintain(&id(), &goals).await.unwrap();
    assert_eq!((done.snapshots_expired, done.orphans_removed), (4, 0));
    assert_eq!(world.files(), 5);
    world.turn(Duration::days(2));
    let done = world.catalog.maintain(&id(), &goals).await.unwrap();
    assert!(done.orphans_removed > 4, "four data files, their manifests and lists: {done:?}");
    assert_eq!(world.files(), 1);
    assert_eq!(world.catalog.row_ids(TABLE).await, before);
}

#[tokio::test]
async fn files_of_a_commit_on_its_way_stay() {
    let world = World::new(OBJECT).await;
    commit(&world.catalog, 0, DAY).await;
    let event = Event {
        log_type: TABLE.into(),
        row_id: RowId([9; 16]),
        position: Position { ordinal: 0, index: 0 },
        time: DAY,
        fields: crate::model::MapBuilder::default().build(),
    };
    let batch = EventBatch {
        object: ObjectId([9; 16]),
        source: "s".into(),
        events: vec![event],
        rejects: Vec::new(),
        bytes: 1,
    };
    let rows: Rows = [Slice::new(Arc::new(batch), vec![0])].into_iter().collect();
    let staged = world.catalog.stage(TABLE, CommitId([9; 16]), &rows).await.unwrap();
    world.turn(Duration::days(2));
    world.catalog.maintain(&id(), &Goals::default()).await.unwrap();
    let head = world.catalog.load(TABLE).await.unwrap();
    assert_eq!(world.catalog.commit(&head, &staged).await.unwrap(), Outcome::Committed);
    assert_eq!(world.catalog.row_ids(TABLE).await.len(), 4);
}

#[tokio::test]
async fn rows_that_are_too_old_go() {
    let world = World::new(OBJECT).await;
    let today = world.clock.now();
    commit(&world.catalog, 0, today - Duration::days(40)).await;
    commit(&world.catalog, 1, today - Duration::days(2)).await;
    let goals = Goals { keep_rows: Some(Duration::days(30)), ..Goals::default() };
    assert_eq!(world.catalog.maintain(&id(), &goals).await.unwrap().files_dropped, 1);
    assert_eq!(world.catalog.row_ids(TABLE).await.len(), 3);
    let table = world.catalog.existing(&id()).await.unwrap();
    assert_eq!(table.metadata().current_snapshot().unwrap().summary().operation, Operation::Delete);
}

#[tokio::test]
async fn what_another_engine_has_named_stays_and_is_no_history() {
    let world = World::new(OBJECT).await;
    commit(&world.catalog, 0, DAY).await;
    let table = world.catalog.existing(&id()).await.unwrap();
    let tagged = table.metadata().current_snapshot_id().unwrap();
    let retention = SnapshotRetention::Tag { max_ref_age_ms: None };
    let builder = table.metadata().clone().into_builder(table.metadata_location().map(str::to_owned));
    let next = builder.set_ref("kept", SnapshotReference::new(tagged, retention)).unwrap().build().unwrap();
    assert_eq!(world.catalog.swap(&id(), &table, next).await.unwrap(), Outcome::Committed);
    commit(&world.catalog, 1, DAY).await;
    commit(&world.catalog, 2, DAY).await;
    world.turn(Duration::days(5));
    let goals = Goals { least_files: 99, ..Goals::default() };
    assert_eq!(world.catalog.maintain(&id(), &goals).await.unwrap().snapshots_expired, 1);
    let head = world.catalog.load(TABLE).await.unwrap();
    let metadata = head.table.metadata();
    assert_eq!(metadata.snapshot_for_ref("kept").map(|snapshot| snapshot.snapshot_id()), Some(tagged));
    // The commit in the gap may not be denied because an older snapshot is still there.
    let wanted = |n: u8| [crate::lake::catalog::Wanted { commit: CommitId([n; 16]), since: DAY }];
    assert_eq!(world.catalog.find(&head, &wanted(2)).await.unwrap(), [CommitId([2; 16])]);
    assert!(world.catalog.find(&head, &wanted(1)).await.unwrap_err().to_string().contains("is gone"));
}

/// Another engine deletes a row of the first file, in a file of deletes.
async fn delete_in_place(world: &World) {
    let table = world.catalog.existing(&id()).await.unwrap();
    let metadata = table.metadata();
    let (snapshot, path) = (snapshot::new_id(), format!("{}/metadata/{}-m0.avro", metadata.location(), unique()));
    let (schema, spec) = (metadata.current_schema().clone(), metadata.default_partition_spec().as_ref().clone());
    let output = table.file_io().new_output(path).unwrap();
    let mut writer = ManifestWriterBuilder::new(output, Some(snapshot), schema, spec).build_v2_deletes();
    let live = live(&table).await.unwrap();
    let deletes = DataFileBuilder::default()
        .content(DataContentType::PositionDeletes)
        .file_path(format!("{}/data/deletes.parquet", metadata.location()))
        .file_format(DataFileFormat::Parquet)
        .partition(live[0].1[0].data_file().partition().clone())
        .partition_spec_id(metadata.default_partition_spec_id())
        .record_count(1)
        .file_size_in_bytes(1000)
        .build();
    writer.add_file(deletes.unwrap(), INHERITED).unwrap();
    let manifest = writer.write_manifest_file().await.unwrap();
    let (added, removed, properties) = (Vec::new(), Vec::new(), HashMap::new());
    let change = Change { snapshot, operation: Operation::Delete, manifest, added, removed, properties };
    let kept = snapshot::manifests(&table).await.unwrap();
    let (next, _) = snapshot::next(&table, &change, kept, milliseconds(world.clock.now())).await.unwrap();
    assert_eq!(world.catalog.swap(&id(), &table, next).await.unwrap(), Outcome::Committed);
}

#[tokio::test]
async fn rows_that_another_engine_deleted_do_not_come_back() {
    let world = World::new(OBJECT).await;
    for n in 0..3 {
        commit(&world.catalog, n, DAY).await;
    }
    delete_in_place(&world).await;
    // A merged file would have the deleted row again.
    assert_eq!(world.catalog.maintain(&id(), &Goals::default()).await.unwrap(), Done::default());
    assert_eq!(world.live_files().await, 4);
    // What comes is taken, and a search would show what is gone: it is refused.
    commit(&world.catalog, 3, DAY).await;
    let opened = Tables::open(&world.catalog, &id()).await.unwrap().unwrap();
    let refused = opened.files(&[]).await.unwrap_err().to_string();
    assert!(refused.contains("rows deleted in place"), "{refused}");
}

#[tokio::test]
async fn every_family_of_tables_keeps_its_rows_for_a_time_of_its_own() {
    let world = World::new(OBJECT).await;
    let today = world.clock.now().replace_time(time::macros::time!(10:00));
    let tables = [LOGS.table(TABLE), RULE_MATCHES.table(TABLE), CLASSIFICATION_FAILURES.table(TABLE)];
    for table in &tables {
        commit_to(&world.catalog, table, 0, today - Duration::days(40)).await;
        commit_to(&world.catalog, table, 1, today - Duration::days(20)).await;
        commit_to(&world.catalog, table, 2, today - Duration::days(20)).await;
    }
    let goals =
        Goals { keep_rows: Some(Duration::days(60)), keep_monitoring: Some(Duration::days(30)), ..Goals::default() };
    for (table, dropped) in tables.iter().zip([0, 0, 1]) {
        let id = TableId::of("margay_", table);
        let done = world.catalog.maintain(&id, &goals).await.unwrap();
        assert_eq!((done.files_dropped, done.files_before, done.files_after), (dropped, 2, 1), "{table}");
        assert_eq!(world.catalog.row_ids(table).await.len(), if dropped == 0 { 9 } else { 6 }, "{table}");
    }
    let goals = Goals { keep_rows: Some(Duration::days(30)), ..goals };
    let matches = TableId::of("margay_", &tables[1]);
    assert_eq!(world.catalog.maintain(&matches, &goals).await.unwrap().files_dropped, 0, "what rules found stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_come_meanwhile_are_kept() {
    let world = World::new(OBJECT).await;
    for n in 0..6 {
        commit(&world.catalog, n, DAY).await;
    }
    let other = open(world.folder.path(), OBJECT, world.clock.clone()).await;
    let commits = async {
        for n in 6..16 {
            commit(&other, n, DAY).await;
        }
    };
    let upkeep = async {
        for _ in 0..5 {
            world.catalog.maintain(&id(), &Goals::default()).await.unwrap();
        }
    };
    tokio::join!(commits, upkeep);
    let ids = world.catalog.row_ids(TABLE).await;
    let mut distinct = ids.clone();
    distinct.dedup();
    assert_eq!((ids.len(), distinct.len()), (48, 48));
}
