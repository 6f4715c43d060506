//! The upkeep of tables: small files become large ones, rows and snapshots that are too old go, and so do files that
//! nothing refers to. Everything that changes a table is a commit like any other, so it may run beside daemons.
//!
//! What a reader may still read is kept: a file that left the table stays as long as a snapshot has it, and no file goes
//! that is younger than any commit or search can last.

mod compact;
mod expire;
mod orphans;

use std::collections::{HashMap, HashSet};

use iceberg::spec::{DataFile, ManifestEntryRef, ManifestFile, Operation};
use iceberg::table::Table;
use time::Duration;

use super::snapshot::{self, Change, INHERITED};
use super::{IcebergCatalog, failed, milliseconds};
use crate::lake::catalog::{CatalogError, Outcome};
use crate::lake::families::{Family, Retention};
use crate::lake::names::TableId;

/// A commit is overtaken by a daemon's now and then, but not so often.
const TRIES: u32 = 10;

/// What upkeep aims at.
#[derive(Clone, Copy, Debug)]
pub struct Goals {
    /// Files become about as large. All rows of one are in memory while it is written.
    pub file_bytes: u64,
    /// Files of a partition that are small, before they are put together.
    pub least_files: usize,
    /// Snapshots older than this go. Commits whose outcome is unknown are looked for in them, so it is longer than a daemon
    /// may stand still.
    pub keep_snapshots: Duration,
    /// Files that nothing refers to go when they are older.
    pub keep_orphans: Duration,
    /// Rows whose event is older go; `None` keeps them.
    pub keep_rows: Option<Duration>,
    /// The same for what margay tells of its own work.
    pub keep_monitoring: Option<Duration>,
}

impl Goals {
    /// How old rows may become in the tables of a namespace, which is without its prefix.
    fn keep(&self, namespace: &str) -> Option<Duration> {
        match Family::retention(namespace)? {
            Retention::AsEvents => self.keep_rows,
            Retention::AsMonitoring => self.keep_monitoring,
            Retention::Unlimited => None,
        }
    }
}

impl Default for Goals {
    fn default() -> Goals {
        Goals {
            file_bytes: 64 * 1024 * 1024,
            least_files: 2,
            keep_snapshots: Duration::days(3),
            keep_orphans: Duration::days(3),
            keep_rows: None,
            keep_monitoring: None,
        }
    }
}

/// What was done to a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub files_before: usize,
    pub files_after: usize,
    /// Files of rows that were too old.
    pub files_dropped: usize,
    pub snapshots_expired: usize,
    pub orphans_removed: usize,
}

impl IcebergCatalog {
    /// Does all of it to one table.
    pub async fn maintain(&self, id: &TableId, goals: &Goals) -> Result<Done, CatalogError> {
        let mut done = Done::default();
        let namespace = id.namespace.strip_prefix(&self.settings.prefix).unwrap_or_default();
        if let Some(age) = goals.keep(namespace) {
            done.files_dropped = self.drop_old_rows(id, age).await?;
        }
        (done.files_before, done.files_after) = self.compact(id, goals).await?;
        done.snapshots_expired = self.expire_snapshots(id, goals.keep_snapshots).await?;
        done.orphans_removed = self.remove_orphans(id, goals.keep_orphans).await?;
        Ok(done)
    }

    async fn existing(&self, id: &TableId) -> Result<Table, CatalogError> {
        let table = self.table(id).await?;
        table.ok_or_else(|| CatalogError(format!("there is no table {id}")))
    }

    /// Puts files in the place of others, all in one commit. `false`, and nothing happens, where one of the others is no
    /// longer in the table.
    async fn replace(
        &self,
        id: &TableId,
        removed: &[DataFile],
        added: Vec<DataFile>,
        operation: Operation,
    ) -> Result<bool, CatalogError> {
        let failed = |error: iceberg::Error| failed(&format!("rewrite files of table {id}"), &error);
        let gone: HashSet<&str> = removed.iter().map(DataFile::file_path).collect();
        for _ in 0..TRIES {
            let table = self.existing(id).await?;
            let snapshot = snapshot::new_id();
            let Some((manifest, kept)) = rewritten(&table, snapshot, &gone, &added).await.map_err(failed)? else {
                return Ok(false);
            };
            let (removed, added, properties) = (removed.to_vec(), added.clone(), HashMap::new());
            let change = Change { snapshot, operation: operation.clone(), manifest, added, removed, properties };
            let now = milliseconds(self.clock.now());
            let (next, list) = snapshot::next(&table, &change, kept, now).await.map_err(failed)?;
            if self.swap(id, &table, next).await? == Outcome::Committed {
                return Ok(true);
            }
            self.forget(&list).await;
            self.forget(&change.manifest.manifest_path).await;
        }
        Err(CatalogError(format!("every attempt to rewrite files of table {id} was overtaken by another commit")))
    }
}

/// A manifest of what is added, what goes, and what else stood in manifests with the latter, and the manifests that stay.
async fn rewritten(
    table: &Table,
    snapshot: i64,
    gone: &HashSet<&str>,
    added: &[DataFile],
) -> iceberg::Result<Option<(ManifestFile, Vec<ManifestFile>)>> {
    let mut writer = snapshot::manifest_writer(table, snapshot)?;
    for file in added {
        writer.add_file(file.clone(), INHERITED)?;
    }
    let (mut kept, mut found) = (Vec::new(), 0);
    for (manifest, entries) in live(table).await? {
        if !entries.iter().any(|entry| gone.contains(entry.file_path())) {
            kept.push(manifest);
            continue;
        }
        for entry in entries {
            let file = entry.data_file().clone();
            let sequence = entry.sequence_number().unwrap_or(manifest.sequence_number);
            let file_sequence = entry.file_sequence_number.or(Some(manifest.sequence_number));
            if gone.contains(entry.file_path()) {
                found += 1;
                writer.add_delete_file(file, sequence, file_sequence)?;
            } else {
                let of = entry.snapshot_id().unwrap_or(manifest.added_snapshot_id);
                writer.add_existing_file(file, of, sequence, file_sequence)?;
            }
        }
    }
    if found < gone.len() {
        return Ok(None);
    }
    Ok(Some((writer.write_manifest_file().await?, kept)))
}

/// The manifests of the head, each with the entries of files that are in the table.
async fn live(table: &Table) -> iceberg::Result<Vec<(ManifestFile, Vec<ManifestEntryRef>)>> {
    let mut live = Vec::new();
    for manifest in snapshot::manifests(table).await? {
        let (entries, _) = manifest.load_manifest(table.file_io()).await?.into_parts();
        live.push((manifest, entries.into_iter().filter(|entry| entry.is_alive()).collect()));
    }
    Ok(live)
}

#[cfg(test)]
mod tests;
