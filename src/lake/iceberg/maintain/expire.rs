//! What is too old goes: snapshots, and files all of whose rows are.

use iceberg::spec::{DataFile, ManifestContentType, Operation, PrimitiveLiteral};
use time::Duration;

use super::{TRIES, live};
use crate::lake::catalog::{CatalogError, Outcome};
use crate::lake::columns::EVENT_TIME;
use crate::lake::iceberg::{IcebergCatalog, evolve, failed, milliseconds};
use crate::lake::names::TableId;

impl IcebergCatalog {
    /// How many snapshots went. The head always stays.
    pub(super) async fn expire_snapshots(&self, id: &TableId, age: Duration) -> Result<usize, CatalogError> {
        let before = milliseconds(self.clock.now() - age);
        for _ in 0..TRIES {
            let table = self.existing(id).await?;
            let metadata = table.metadata();
            let head = metadata.current_snapshot_id();
            let old = metadata.snapshots().filter(|one| one.timestamp_ms() < before && Some(one.snapshot_id()) != head);
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
