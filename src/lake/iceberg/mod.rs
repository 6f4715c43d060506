//! The lake in Apache Iceberg tables, which any engine reads: the real catalog behind the port `lake/catalog`.
//!
//! [`pointers`] keeps the head of each table, [`files`] and [`snapshot`] write what a head leads to, [`evolve`] makes a
//! table's schema out of its columns, [`plan`] tells searches which files to open. A commit writes data files and a manifest first, then a manifest list and metadata
//! for the head that it was made for, and moves the head by compare-and-set. Files of a commit whose outcome is unknown are
//! left alone: they may be in the table. [`maintain`] removes them when nothing refers to them any more.

mod evolve;
mod files;
pub mod maintain;
mod plan;
mod pointers;
mod snapshot;
mod stage;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use iceberg::io::FileIO;
use iceberg::spec::{FormatVersion, Operation, TableMetadata, TableMetadataBuilder};
use iceberg::table::Table;
use iceberg::{MetadataLocation, NamespaceIdent, TableCreation, TableIdent};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::catalog::{Catalog, CatalogError, Outcome, Wanted};
use super::columns::Column;
use super::families::{Family, LOGS, Named};
use super::names::TableId;
use super::rows::Rows;
use crate::logtype::Schema;
use crate::runtime::SharedClock;
use crate::state::CommitId;
use pointers::Pointers;
use snapshot::Change;

/// In a snapshot's summary: the commit that made it.
const COMMIT: &str = "margay.commit-id";

/// In a table's properties: its name within the lake.
const TABLE: &str = "margay.table";

/// Clocks of daemons may differ by this much.
const CLOCKS: time::Duration = time::Duration::minutes(10);

/// How wide partitions are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Granularity {
    Hour,
    #[default]
    Day,
}

/// The log type of a name as it is now.
pub type Schemas = Arc<dyn Fn(&str) -> Option<Arc<Schema>> + Send + Sync>;

/// What the tables need to be found and made.
#[derive(Clone)]
pub struct Settings {
    /// The folder of all files.
    pub root: PathBuf,
    pub prefix: String,
    pub partition: Granularity,
}

/// Tables in a folder, with their catalog in an SQLite file beside them.
pub struct IcebergCatalog {
    io: FileIO,
    pointers: Pointers,
    settings: Settings,
    schemas: Schemas,
    clock: SharedClock,
    /// The last head of each table that was loaded.
    heads: Mutex<HashMap<TableId, Table>>,
}

/// A table as it was when it was loaded.
#[derive(Clone)]
pub struct Head {
    id: TableId,
    table: Table,
}

impl IcebergCatalog {
    /// Opens the folder, and makes it where it is missing.
    pub async fn open(
        mut settings: Settings,
        schemas: Schemas,
        clock: SharedClock,
    ) -> Result<IcebergCatalog, CatalogError> {
        let root = settings.root.display().to_string();
        let failed =
            |error: std::io::Error| CatalogError(format!("could not make the folder {root} of the lake: {error}"));
        tokio::fs::create_dir_all(&settings.root).await.map_err(failed)?;
        settings.root = tokio::fs::canonicalize(&settings.root).await.map_err(failed)?;
        let pointers = Pointers::open(&settings.root.join(CATALOG_FILE)).await?;
        Ok(IcebergCatalog { io: FileIO::new_with_fs(), pointers, settings, schemas, clock, heads: Mutex::default() })
    }

    /// The table as it is now; `None` where there is none.
    async fn table(&self, id: &TableId) -> Result<Option<Table>, CatalogError> {
        match self.pointers.get(id).await? {
            Some(location) => self.table_at(id, location).await.map(Some),
            None => Ok(None),
        }
    }

    /// The columns that the rows of a table need now.
    fn columns(&self, table: &str) -> Vec<Column> {
        let (family, rest) = Family::of(table);
        let log_type = if family.tables == Named::ByLogType { (self.schemas)(rest) } else { None };
        family.columns(log_type.as_deref())
    }

    /// Makes a table, unless it exists, and gives it the columns that it lacks.
    pub async fn ensure(&self, name: &str) -> Result<Head, CatalogError> {
        let id = TableId::of(&self.settings.prefix, name);
        let columns = self.columns(name);
        loop {
            let Some(location) = self.pointers.get(&id).await? else {
                self.create(&id, name, &columns).await?;
                continue;
            };
            let table = self.table_at(&id, location).await?;
            if evolve::is_complete(&columns, table.metadata().current_schema().as_struct()) {
                return Ok(Head { id, table });
            }
            // Where another came first, the next round sees what is still missing.
            self.evolve(&id, &table, &columns).await?;
        }
    }

    async fn create(&self, id: &TableId, name: &str, columns: &[Column]) -> Result<(), CatalogError> {
        let made = || {
            let schema = evolve::schema(columns, None, 0)?;
            let (family, _) = Family::of(name);
            // What is not of every event is little: days are enough.
            let is_large = family.namespace == LOGS.namespace;
            let by = if is_large { self.settings.partition } else { Granularity::Day };
            let spec = evolve::partition_spec(&schema, family.partition, by)?;
            let creation = TableCreation::builder()
                .name(id.name.clone())
                .location(format!("{}/{}/{}", self.root_url(), id.namespace, id.name))
                .schema(schema)
                .partition_spec(spec)
                .properties([
                    (TABLE.to_owned(), name.to_owned()),
                    ("write.parquet.compression-codec".to_owned(), "zstd".to_owned()),
                    ("write.metadata.previous-versions-max".to_owned(), "20".to_owned()),
                ])
                // The newest that every engine reads.
                .format_version(FormatVersion::V2)
                .build();
            Ok(TableMetadataBuilder::from_table_creation(creation)?.build()?.metadata)
        };
        let failed = |error: iceberg::Error| failed(&format!("make table {id}"), &error);
        let metadata: TableMetadata = made().map_err(failed)?;
        let location = MetadataLocation::new_with_metadata(metadata.location(), &metadata);
        let location = location.to_string();
        self.put(&metadata, &location).await.map_err(failed)?;
        self.pointers.create(id, &location).await
    }

    async fn evolve(&self, id: &TableId, table: &Table, columns: &[Column]) -> Result<(), CatalogError> {
        let metadata = table.metadata();
        let evolved = || {
            let schema = evolve::schema(columns, Some(metadata.current_schema()), metadata.last_column_id())?;
            let builder = metadata.clone().into_builder(table.metadata_location().map(str::to_owned));
            Ok(builder.add_current_schema(schema)?.build()?.metadata)
        };
        let evolved: iceberg::Result<TableMetadata> = evolved();
        let evolved = evolved.map_err(|error| failed(&format!("add columns to table {id}"), &error))?;
        self.swap(id, table, evolved).await.map(|_| ())
    }

    /// Makes `next` the head, unless it is another than `table` by now.
    async fn swap(&self, id: &TableId, table: &Table, next: TableMetadata) -> Result<Outcome, CatalogError> {
        let failed = |error: iceberg::Error| failed(&format!("write metadata of table {id}"), &error);
        let before = table.metadata_location_result().map_err(failed)?;
        let location: MetadataLocation = before.parse().map_err(failed)?;
        let location = location.with_next_version().with_new_metadata(&next);
        let location = location.to_string();
        self.put(&next, &location).await.map_err(failed)?;
        if self.pointers.swap(id, before, &location).await? {
            let built = self.build(id, location, next)?;
            self.heads.lock().expect("no holder of this lock panics").insert(id.clone(), built);
            return Ok(Outcome::Committed);
        }
        self.forget(&location).await;
        Ok(Outcome::Conflict)
    }

    /// Writes metadata so that they survive a crash of the machine, which the crate's own writing does not promise.
    async fn put(&self, metadata: &TableMetadata, location: &str) -> iceberg::Result<()> {
        stage::put(&self.io, location, serde_json::to_vec(metadata)?).await
    }

    /// Removes a file that is in no table for certain. Whatever fails here, maintenance finds it.
    async fn forget(&self, path: &str) {
        let _ = self.io.delete(path).await;
    }

    async fn table_at(&self, id: &TableId, location: String) -> Result<Table, CatalogError> {
        let held = self.heads.lock().expect("no holder of this lock panics").get(id).cloned();
        if let Some(table) = held.filter(|table| table.metadata_location() == Some(&location)) {
            return Ok(table);
        }
        let metadata = TableMetadata::read_from(&self.io, &location).await;
        let metadata = metadata.map_err(|error| failed(&format!("read the metadata of table {id}"), &error))?;
        let table = self.build(id, location, metadata)?;
        self.heads.lock().expect("no holder of this lock panics").insert(id.clone(), table.clone());
        Ok(table)
    }

    fn build(&self, id: &TableId, location: String, metadata: TableMetadata) -> Result<Table, CatalogError> {
        let ident = TableIdent::new(NamespaceIdent::new(id.namespace.clone()), id.name.clone());
        let table = Table::builder()
            .file_io(self.io.clone())
            .metadata_location(location)
            .metadata(metadata)
            .identifier(ident)
            .runtime(iceberg::Runtime::current())
            .build();
        table.map_err(|error| failed(&format!("open table {id}"), &error))
    }

    fn root_url(&self) -> String {
        format!("file://{}", self.settings.root.display())
    }
}

/// Beside the folders of the namespaces.
const CATALOG_FILE: &str = "catalog.db";

/// Whether there is a lake in a folder.
pub fn exists(root: &Path) -> bool {
    root.join(CATALOG_FILE).is_file()
}

#[async_trait]
impl Catalog for IcebergCatalog {
    type Head = Head;
    type Staged = Change;

    async fn load(&self, table: &str) -> Result<Head, CatalogError> {
        let id = TableId::of(&self.settings.prefix, table);
        match self.table(&id).await? {
            Some(table) => Ok(Head { id, table }),
            None => self.ensure(table).await,
        }
    }

    async fn find(&self, head: &Head, wanted: &[Wanted]) -> Result<Vec<CommitId>, CatalogError> {
        let metadata = head.table.metadata();
        let history = metadata.snapshots().filter_map(|snapshot| snapshot.summary().additional_properties.get(COMMIT));
        let history: HashSet<&String> = history.collect();
        let (found, missing): (Vec<&Wanted>, Vec<&Wanted>) =
            wanted.iter().partition(|wanted| history.contains(&wanted.commit.to_string()));
        if let (Some(cut), Some(earliest)) = (cut(metadata), missing.iter().map(|wanted| wanted.since).min())
            && earliest - CLOCKS < cut
        {
            return Err(CatalogError(format!(
                "the history of table {} before {cut} is gone, and a commit begun at {earliest} may have been in it",
                head.id
            )));
        }
        Ok(found.iter().map(|wanted| wanted.commit).collect())
    }

    async fn stage(&self, table: &str, commit: CommitId, rows: &Rows) -> Result<Change, CatalogError> {
        let head = self.ensure(table).await?;
        let columns = self.columns(table);
        let added = stage::write(&head.table, columns, rows, commit, self.settings.partition).await?;
        let snapshot = snapshot::new_id();
        let manifest = snapshot::manifest(&head.table, snapshot, &added).await;
        let manifest = manifest.map_err(|error| failed(&format!("write a manifest of table {}", head.id), &error))?;
        let properties = HashMap::from([(COMMIT.to_owned(), commit.to_string())]);
        Ok(Change { snapshot, operation: Operation::Append, manifest, added, removed: Vec::new(), properties })
    }

    async fn commit(&self, head: &Head, staged: &Change) -> Result<Outcome, CatalogError> {
        let failed = |error: iceberg::Error| failed(&format!("write a snapshot of table {}", head.id), &error);
        if head.table.metadata().snapshot_by_id(staged.snapshot).is_some() {
            return Ok(Outcome::Conflict);
        }
        let kept = snapshot::manifests(&head.table).await.map_err(failed)?;
        let now = milliseconds(self.clock.now());
        let (next, list) = snapshot::next(&head.table, staged, kept, now).await.map_err(failed)?;
        let outcome = self.swap(&head.id, &head.table, next).await?;
        if outcome == Outcome::Conflict {
            self.forget(&list).await;
        }
        Ok(outcome)
    }
}

/// When the oldest snapshot that is left was made, if there were others before it.
fn cut(metadata: &TableMetadata) -> Option<OffsetDateTime> {
    let oldest = metadata.snapshots().min_by_key(|snapshot| snapshot.sequence_number())?;
    oldest.parent_snapshot_id()?;
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(oldest.timestamp_ms()) * 1_000_000).ok()
}

fn milliseconds(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

fn failed(attempted: &str, error: &dyn std::fmt::Display) -> CatalogError {
    CatalogError(format!("could not {attempted}: {error}"))
}

#[cfg(test)]
mod faulty;
#[cfg(test)]
mod tests;
