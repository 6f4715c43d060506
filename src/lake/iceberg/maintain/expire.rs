//! What is too old goes: snapshots, and files all of whose rows are.

use std::collections::HashSet;

use iceberg::spec::{DataFile, ManifestContentType, Operation, PrimitiveLiteral, Snapshot, TableMetadata};
use serde_json::Value;
use time::Duration;

use super::{TRIES, live};
use crate::lake::catalog::{CatalogError, Outcome};
use crate::lake::columns::EVENT_TIME;
use crate::lake::iceberg::{IcebergCatalog, evolve, failed, milliseconds};
use crate::lake::names::TableId;

impl IcebergCatalog {
    /// How many snapshots went. The head always stays, and so does what has a name.
    pub(super) async fn expire_snapshots(&self, id: &TableId, age: Duration) -> Result<usize, CatalogError> {
        let before = milliseconds(self.clock.now() - age);
        for _ in 0..TRIES {
            let table = self.existing(id).await?;
            let metadata = table.metadata();
            let named =
                named(metadata).map_err(|error| failed(&format!("list branches and tags of table {id}"), &error))?;
            let head = metadata.current_snapshot_id();
            let is_named = |one: &Snapshot| Some(one.snapshot_id()) == head || named.contains(&one.snapshot_id());
            let old = metadata.snapshots().filter(|one| one.timestamp_ms() < before && !is_named(one));
            let old: Vec<i64> = old.map(|snapshot| snapshot.snapshot_id()).collect();
            if old.is_empty() {
                return Ok(0);
            }
            let builder = metadata.clone().into_builder(table.metadata_location().map(str::to_owned));
            let built = builder.remove_snapshots(&old).build();
            let built = built.map_err(|error| failed(&format!("expire snapshots of table {id}"), &error))?;
            if self.swap(id, &table, built).await? == Outcome::Committed {
                return Ok(old.len());
            }
        }
        Err(CatalogError(format!("every attempt to expire snapshots of table {id} was overtaken by another commit")))
    }

    /// How many files went because their youngest row is older than `age`.
    pub(super) async fn drop_old_rows(&self, id: &TableId, age: Duration) -> Result<usize, CatalogError> {
        let failed = |error: iceberg::Error| failed(&format!("list files of table {id}"), &error);
        let table = self.existing(id).await?;
        let Some(time) = table.metadata().current_schema().field_id_by_name(EVENT_TIME) else { return Ok(0) };
        let before = milliseconds(self.clock.now() - age).saturating_mul(1000);
        let is_old = |file: &DataFile| {
            let youngest = file.upper_bounds().get(&time).map(|bound| bound.literal());
            matches!(youngest, Some(PrimitiveLiteral::Long(at)) if *at < before)
        };
        let spec = evolve::written(table.metadata()).map_err(failed)?.spec.spec_id();
        let entries = live(&table).await.map_err(failed)?;
        let entries = entries.iter().filter(|(manifest, _)| {
            manifest.partition_spec_id == spec && manifest.content == ManifestContentType::Data
        });
        let files = entries.flat_map(|(_, entries)| entries.iter().map(|entry| entry.data_file()));
        let old: Vec<DataFile> = files.filter(|file| is_old(file)).cloned().collect();
        if old.is_empty() || !self.replace(id, &old, Vec::new(), Operation::Delete).await? {
            return Ok(0);
        }
        Ok(old.len())
    }
}

/// Snapshots that branches and tags lead to, which other engines may have made. The crate gives them by name alone, and forgets
/// those whose snapshot goes.
fn named(metadata: &TableMetadata) -> serde_json::Result<HashSet<i64>> {
    let written = serde_json::to_value(metadata)?;
    let refs = written["refs"].as_object().into_iter().flat_map(|refs| refs.values());
    Ok(refs.filter_map(|to: &Value| to["snapshot-id"].as_i64()).collect())
}
