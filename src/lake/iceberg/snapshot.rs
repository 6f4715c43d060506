//! The next metadata of a table: a snapshot more. Built on the Iceberg crate's metadata types, because its transactions
//! rebase and retry by themselves, and know no `replace`.

use std::collections::HashMap;

use iceberg::io::FileIO;
use iceberg::spec::{
    DataFile, MAIN_BRANCH, ManifestFile, ManifestListWriter, ManifestWriter, ManifestWriterBuilder, Operation,
    PartitionSpecRef, Snapshot, SnapshotRef, SnapshotSummaryCollector, Summary, TableMetadata,
    TableMetadataBuildResult,
};
use iceberg::table::Table;

use super::evolve;

/// What a snapshot adds to and takes from a table.
#[derive(Clone, Debug)]
pub struct Change {
    /// Chosen before the manifest is written, which names it.
    pub(super) snapshot: i64,
    pub(super) operation: Operation,
    /// Of the files that it adds, and of what it rewrites.
    pub(super) manifest: ManifestFile,
    pub(super) added: Vec<DataFile>,
    pub(super) removed: Vec<DataFile>,
    pub(super) properties: HashMap<String, String>,
}

/// An id that no other snapshot has.
pub(super) fn new_id() -> i64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    (i64::from_le_bytes(bytes) & i64::MAX).max(1)
}

/// A name that no other file has.
pub(super) fn unique() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes the manifest of added files. It is good for any head, because its sequence number is inherited.
pub(super) async fn manifest(table: &Table, snapshot: i64, files: &[DataFile]) -> iceberg::Result<ManifestFile> {
    let mut writer = manifest_writer(table, snapshot)?;
    for file in files {
        writer.add_file(file.clone(), INHERITED)?;
    }
    writer.write_manifest_file().await
}

/// In the place of a sequence number: that of the snapshot which brings the manifest into the table.
pub(super) const INHERITED: i64 = -1;

pub(super) fn manifest_writer(table: &Table, snapshot: i64) -> iceberg::Result<ManifestWriter> {
    let metadata = table.metadata();
    let path = format!("{}/metadata/{}-m0.avro", metadata.location(), unique());
    let output = table.file_io().new_output(path)?;
    let (schema, spec) = (metadata.current_schema().clone(), evolve::written(metadata)?.spec);
    Ok(ManifestWriterBuilder::new(output, Some(snapshot), schema, spec.as_ref().clone()).build_v2_data())
}

/// Writes the manifest list of a snapshot and gives the metadata that has it.
pub(super) async fn next(
    table: &Table,
    change: &Change,
    kept: Vec<ManifestFile>,
    now_ms: i64,
) -> iceberg::Result<(TableMetadataBuildResult, String)> {
    let metadata = table.metadata();
    let sequence = metadata.next_sequence_number();
    let list = format!("{}/metadata/snap-{}-{}.avro", metadata.location(), change.snapshot, unique());
    let parent = metadata.current_snapshot_id();
    write_list(table.file_io(), &list, change.snapshot, parent, sequence, kept, change.manifest.clone()).await?;
    // Snapshots follow one another in time, whatever the clocks of their makers say.
    let timestamp = now_ms.max(metadata.last_updated_ms());
    let snapshot = Snapshot::builder()
        .with_snapshot_id(change.snapshot)
        .with_parent_snapshot_id(parent)
        .with_sequence_number(sequence)
        .with_timestamp_ms(timestamp)
        .with_manifest_list(list.clone())
        .with_summary(summary(metadata, &evolve::written(metadata)?.spec, change))
        .with_schema_id(metadata.current_schema_id())
        .build();
    let builder = metadata.clone().into_builder(table.metadata_location().map(str::to_owned));
    Ok((builder.set_branch_snapshot(snapshot, MAIN_BRANCH)?.build()?, list))
}

/// The manifests of the head.
pub(super) async fn manifests(table: &Table) -> iceberg::Result<Vec<ManifestFile>> {
    match table.metadata().current_snapshot() {
        Some(snapshot) => manifests_of(table, snapshot).await,
        None => Ok(Vec::new()),
    }
}

/// The manifests of any snapshot.
pub(super) async fn manifests_of(table: &Table, snapshot: &SnapshotRef) -> iceberg::Result<Vec<ManifestFile>> {
    let list = table.manifest_list_reader(snapshot).load().await?;
    Ok(list.consume_entries().into_iter().collect())
}

async fn write_list(
    io: &FileIO,
    path: &str,
    snapshot: i64,
    parent: Option<i64>,
    sequence: i64,
    kept: Vec<ManifestFile>,
    added: ManifestFile,
) -> iceberg::Result<()> {
    let writer = io.new_output(path)?.writer().await?;
    let mut list = ManifestListWriter::v2(writer, snapshot, parent, sequence);
    list.add_manifests(std::iter::once(added).chain(kept))?;
    list.close().await
}

/// What the snapshot says of itself; the totals are those of its parent with the change.
fn summary(metadata: &TableMetadata, spec: &PartitionSpecRef, change: &Change) -> Summary {
    let mut collector = SnapshotSummaryCollector::default();
    let (schema, spec) = (metadata.current_schema(), spec);
    change.added.iter().for_each(|file| collector.add_file(file, schema.clone(), spec.clone()));
    change.removed.iter().for_each(|file| collector.remove_file(file, schema.clone(), spec.clone()));
    let mut properties = change.properties.clone();
    properties.extend(collector.build());
    let before = metadata.current_snapshot().map(|snapshot| &snapshot.summary().additional_properties);
    for (total, plus, minus) in [
        ("total-records", "added-records", "deleted-records"),
        ("total-data-files", "added-data-files", "deleted-data-files"),
        ("total-files-size", "added-files-size", "removed-files-size"),
    ] {
        let number = |of: Option<&HashMap<String, String>>, key: &str| {
            of.and_then(|of| of.get(key)?.parse::<u64>().ok()).unwrap_or(0)
        };
        let sum = number(before, total) + number(Some(&properties), plus);
        let sum = sum.saturating_sub(number(Some(&properties), minus));
        properties.insert(total.to_owned(), sum.to_string());
    }
    // Margay deletes no row in place; another engine may have.
    for total in ["total-delete-files", "total-position-deletes", "total-equality-deletes"] {
        let kept = before.and_then(|before| before.get(total)).map_or("0", String::as_str);
        properties.insert(total.to_owned(), kept.to_owned());
    }
    Summary { operation: change.operation.clone(), additional_properties: properties }
}
