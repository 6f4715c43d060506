//! Files that nothing refers to: of commits that came to nothing, and of snapshots that expired.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use iceberg::table::Table;
use time::{Duration, OffsetDateTime};

use crate::lake::catalog::CatalogError;
use crate::lake::iceberg::snapshot::manifests_of;
use crate::lake::iceberg::{IcebergCatalog, failed};
use crate::lake::names::TableId;
use crate::runtime::blocking;

impl IcebergCatalog {
    /// How many files went.
    pub(super) async fn remove_orphans(&self, id: &TableId, age: Duration) -> Result<usize, CatalogError> {
        let before = self.clock.now() - age;
        // Listed first: what comes into the table after that is not among these.
        let root = self.settings.root.join(&id.namespace).join(&id.name);
        let old = blocking(move || old_files(&root, before)).await;
        let old = old.map_err(|error| CatalogError(format!("could not list the files of table {id}: {error}")))?;
        let table = self.existing(id).await?;
        let used = used(&table).await.map_err(|error| failed(&format!("list what table {id} refers to"), &error))?;
        let mut removed = 0;
        for path in old.iter().filter(|path| !used.contains(&url(path))) {
            let deleted = self.io.delete(url(path)).await;
            deleted.map_err(|error| failed(&format!("remove a file of table {id}"), &error))?;
            removed += 1;
        }
        Ok(removed)
    }
}

fn url(path: &Path) -> String {
    format!("file://{}", path.display())
}

fn old_files(root: &Path, before: OffsetDateTime) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(root) {
        let entry = entry.map_err(|error| error.to_string())?;
        if !entry.file_type().is_file() {
            continue;
        }
        let modified: SystemTime =
            entry.metadata().map_err(|error| error.to_string())?.modified().map_err(|error| error.to_string())?;
        if OffsetDateTime::from(modified) < before {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

/// Every file that the metadata leads to, of any snapshot that is left.
async fn used(table: &Table) -> iceberg::Result<HashSet<String>> {
    let metadata = table.metadata();
    let mut used: HashSet<String> = metadata.metadata_log().iter().map(|log| log.metadata_file.clone()).collect();
    used.extend(table.metadata_location().map(str::to_owned));
    for snapshot in metadata.snapshots() {
        used.insert(snapshot.manifest_list().to_owned());
        for manifest in manifests_of(table, snapshot).await? {
            if !used.insert(manifest.manifest_path.clone()) {
                continue;
            }
            let (entries, _) = manifest.load_manifest(table.file_io()).await?.into_parts();
            let alive = entries.iter().filter(|entry| entry.is_alive());
            used.extend(alive.map(|entry| entry.file_path().to_owned()));
        }
    }
    Ok(used)
}
