//! Files that nothing refers to: of commits that came to nothing, and of snapshots that expired.

use std::collections::HashSet;

use iceberg::table::Table;
use time::Duration;

use crate::lake::catalog::CatalogError;
use crate::lake::iceberg::snapshot::manifests_of;
use crate::lake::iceberg::warehouse::bare;
use crate::lake::iceberg::{IcebergCatalog, failed};
use crate::lake::names::TableId;

impl IcebergCatalog {
    /// How many files went. Those of a catalog that may know more heads than it tells are left to it.
    pub(super) async fn remove_orphans(&self, id: &TableId, age: Duration) -> Result<usize, CatalogError> {
        if !self.heads.are_all() {
            return Ok(0);
        }
        let before = self.clock.now() - age;
        let folder = self.existing(id).await?.metadata().location().to_owned();
        // Listed before the table is loaded anew: what comes into it after that is not among these.
        let old = self.warehouse.older(&folder, before).await;
        let old = old.map_err(|error| failed(&format!("list the files of table {id}"), &error))?;
        let table = self.existing(id).await?;
        let used = used(&table).await.map_err(|error| failed(&format!("list what table {id} refers to"), &error))?;
        let mut removed = 0;
        for file in old.iter().filter(|file| !used.contains(bare(file))) {
            let deleted = self.warehouse.io().delete(file).await;
            deleted.map_err(|error| failed(&format!("remove a file of table {id}"), &error))?;
            removed += 1;
        }
        Ok(removed)
    }
}

/// Every file that the metadata leads to, of any snapshot that is left, with the statistics that other engines keep.
async fn used(table: &Table) -> iceberg::Result<HashSet<String>> {
    let metadata = table.metadata();
    let mut used: HashSet<String> = metadata.metadata_log().iter().map(|log| place(&log.metadata_file)).collect();
    used.extend(table.metadata_location().map(place));
    used.extend(metadata.statistics_iter().map(|file| place(&file.statistics_path)));
    used.extend(metadata.partition_statistics_iter().map(|file| place(&file.statistics_path)));
    for snapshot in metadata.snapshots() {
        used.insert(place(snapshot.manifest_list()));
        for manifest in manifests_of(table, snapshot).await? {
            if !used.insert(place(&manifest.manifest_path)) {
                continue;
            }
            let (entries, _) = manifest.load_manifest(table.file_io()).await?.into_parts();
            let alive = entries.iter().filter(|entry| entry.is_alive());
            used.extend(alive.map(|entry| place(entry.file_path())));
        }
    }
    Ok(used)
}

fn place(location: &str) -> String {
    bare(location).to_owned()
}
