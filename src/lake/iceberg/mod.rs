//! The lake in Apache Iceberg tables, which any engine reads: the real catalog behind the port `lake/catalog`.
//!
//! A catalog keeps the head of each table ([`heads`]): a pointer to it ([`pointers`]) or, behind a REST server, all of it
//! ([`rest`]). A [`warehouse`] has the files that a head leads to, which [`files`] and [`snapshot`] write; [`evolve`] makes a
//! table's schema out of its columns, [`plan`] tells searches which files to open. A commit writes data files and a manifest
//! first, then a manifest list and metadata for the head that it was made for, and moves the head by compare-and-set. Files of a commit whose outcome is unknown are
//! left alone: they may be in the table. [`maintain`] removes them when nothing refers to them any more.

mod evolve;
mod files;
mod heads;
pub mod maintain;
mod plan;
mod pointers;
mod rest;
mod snapshot;
mod stage;
mod warehouse;
mod web;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use iceberg::spec::{
    FormatVersion, Operation, SnapshotRef, TableMetadata, TableMetadataBuildResult, TableMetadataBuilder,
};
use iceberg::table::Table;
use iceberg::{NamespaceIdent, TableCreation, TableIdent};
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
use crate::telemetry::Telemetry;
use heads::{ByPointer, Heads, Location};
use pointers::Pointers;
pub use pointers::glue::{GlueAccess, GluePointers};
pub use pointers::postgres::PostgresPointers;
use pointers::sqlite::SqlitePointers;
pub use rest::{RestAccess, RestHeads, RestProof};
use snapshot::Change;
pub use warehouse::Warehouse;

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
    /// The folder of a catalog that is a file, and of the other files where these have no warehouse of their own.
    pub root: PathBuf,
    pub prefix: String,
    pub partition: Granularity,
}

/// Tables in a warehouse, with their heads in a catalog.
pub struct IcebergCatalog {
    warehouse: Warehouse,
    heads: Box<dyn Heads>,
    settings: Settings,
    schemas: Schemas,
    clock: SharedClock,
    telemetry: Telemetry,
    /// The last head of each table that was loaded.
    known: Mutex<HashMap<TableId, Table>>,
}

/// A table as it was when it was loaded.
#[derive(Clone)]
pub struct Head {
    id: TableId,
    table: Table,
}

impl IcebergCatalog {
    /// Tables in a folder, which is made where it is missing, with their catalog in an SQLite file beside them.
    pub async fn open(
        settings: Settings,
        schemas: Schemas,
        clock: SharedClock,
    ) -> Result<IcebergCatalog, CatalogError> {
        let warehouse = Warehouse::folder(&settings.root).await?;
        IcebergCatalog::embedded(warehouse, settings, schemas, clock).await
    }

    /// Tables in any warehouse, with their catalog in an SQLite file of the folder.
    pub async fn embedded(
        warehouse: Warehouse,
        settings: Settings,
        schemas: Schemas,
        clock: SharedClock,
    ) -> Result<IcebergCatalog, CatalogError> {
        let root = &settings.root;
        let made = tokio::fs::create_dir_all(root).await;
        made.map_err(|error| failed(&format!("make the folder {} of the lake", root.display()), &error))?;
        let pointers = SqlitePointers::open(&root.join(CATALOG_FILE)).await?;
        Ok(IcebergCatalog::pointed(warehouse, Box::new(pointers), settings, schemas, clock))
    }

    /// Tables in any warehouse, with their heads in a catalog that points to them.
    pub fn pointed(
        warehouse: Warehouse,
        pointers: Box<dyn Pointers>,
        settings: Settings,
        schemas: Schemas,
        clock: SharedClock,
    ) -> IcebergCatalog {
        let heads = Box::new(ByPointer { pointers, warehouse: warehouse.clone() });
        IcebergCatalog::new(warehouse, heads, settings, schemas, clock)
    }

    pub fn new(
        warehouse: Warehouse,
        heads: Box<dyn Heads>,
        settings: Settings,
        schemas: Schemas,
        clock: SharedClock,
    ) -> IcebergCatalog {
        let telemetry = Telemetry::new();
        IcebergCatalog { warehouse, heads, settings, schemas, clock, telemetry, known: Mutex::default() }
    }

    /// Tells of its work from now on.
    pub fn telling(self, telemetry: Telemetry) -> IcebergCatalog {
        IcebergCatalog { telemetry, ..self }
    }

    /// The table as it is now; `None` where there is none.
    async fn table(&self, id: &TableId) -> Result<Option<Table>, CatalogError> {
        match self.heads.get(id).await? {
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
            let Some(location) = self.heads.get(&id).await? else {
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
        let location = self.free_location(id).await?;
        let made = || {
            let schema = evolve::schema(columns, None, 0)?;
            let (family, _) = Family::of(name);
            // What is not of every event is little: days are enough.
            let is_large = family.namespace == LOGS.namespace;
            let by = if is_large { self.settings.partition } else { Granularity::Day };
            let spec = evolve::partition_spec(&schema, family.partition, by)?;
            let creation = TableCreation::builder()
                .name(id.name.clone())
                .location(location.clone())
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
        self.heads.create(id, metadata).await
    }

    /// A folder of the warehouse that nothing lies in: what another catalog has there must not look like files that nothing
    /// refers to.
    async fn free_location(&self, id: &TableId) -> Result<String, CatalogError> {
        let plain = format!("{}/{}/{}", self.warehouse.root(), id.namespace, id.name);
        let is_empty = self.warehouse.is_empty(&plain).await;
        let is_empty = is_empty.map_err(|error| failed(&format!("look for files of table {id}"), &error))?;
        Ok(if is_empty { plain } else { format!("{plain}-{}", snapshot::unique()) })
    }

    async fn evolve(&self, id: &TableId, table: &Table, columns: &[Column]) -> Result<(), CatalogError> {
        let metadata = table.metadata();
        let evolved = || {
            let schema = evolve::schema(columns, Some(metadata.current_schema()), metadata.last_column_id())?;
            let builder = metadata.clone().into_builder(table.metadata_location().map(str::to_owned));
            builder.add_current_schema(schema)?.build()
        };
        let evolved: iceberg::Result<TableMetadataBuildResult> = evolved();
        let evolved = evolved.map_err(|error| failed(&format!("add columns to table {id}"), &error))?;
        self.swap(id, table, evolved).await.map(|_| ())
    }

    /// Makes `next` the head, unless it is another than `table` by now.
    async fn swap(&self, id: &TableId, table: &Table, next: TableMetadataBuildResult) -> Result<Outcome, CatalogError> {
        match self.heads.swap(id, table, next).await? {
            Some(Location { file, metadata: Some(metadata) }) => {
                let built = self.build(id, file, metadata)?;
                self.known().insert(id.clone(), built);
                Ok(Outcome::Committed)
            }
            Some(_) => Ok(Outcome::Committed),
            None => Ok(Outcome::Conflict),
        }
    }

    /// Removes a file that is in no table for certain. Whatever fails here, maintenance finds it.
    async fn forget(&self, path: &str) {
        let _ = self.warehouse.io().delete(path).await;
    }

    async fn table_at(&self, id: &TableId, location: Location) -> Result<Table, CatalogError> {
        let Location { file, metadata } = location;
        let held = self.known().get(id).cloned();
        if let Some(table) = held.filter(|table| table.metadata_location() == Some(&file)) {
            return Ok(table);
        }
        let metadata = match metadata {
            Some(metadata) => metadata,
            None => {
                let read = TableMetadata::read_from(self.warehouse.io(), &file).await;
                read.map_err(|error| failed(&format!("read the metadata of table {id}"), &error))?
            }
        };
        let table = self.build(id, file, metadata)?;
        self.known().insert(id.clone(), table.clone());
        Ok(table)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<TableId, Table>> {
        self.known.lock().expect("no holder of this lock panics")
    }

    fn build(&self, id: &TableId, location: String, metadata: TableMetadata) -> Result<Table, CatalogError> {
        let ident = TableIdent::new(NamespaceIdent::new(id.namespace.clone()), id.name.clone());
        let table = Table::builder()
            .file_io(self.warehouse.io().clone())
            .metadata_location(location)
            .metadata(metadata)
            .identifier(ident)
            .runtime(iceberg::Runtime::current())
            .build();
        table.map_err(|error| failed(&format!("open table {id}"), &error))
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
        let (history, cut) = history(head.table.metadata());
        let history: HashSet<&String> =
            history.iter().filter_map(|snapshot| snapshot.summary().additional_properties.get(COMMIT)).collect();
        let (found, missing): (Vec<&Wanted>, Vec<&Wanted>) =
            wanted.iter().partition(|wanted| history.contains(&wanted.commit.to_string()));
        if let (Some(cut), Some(earliest)) = (cut, missing.iter().map(|wanted| wanted.since).min())
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
        let added = stage::write(&head.table, columns, rows, commit, &self.telemetry).await?;
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

/// The snapshots that led to the head, as far as they are left, and when the first of them was made if others came before it.
/// Snapshots beside this line, of branches and tags, say nothing about the rows of the head.
fn history(metadata: &TableMetadata) -> (Vec<&SnapshotRef>, Option<OffsetDateTime>) {
    let (mut history, mut next) = (Vec::new(), metadata.current_snapshot());
    while let Some(snapshot) = next {
        history.push(snapshot);
        let parent = snapshot.parent_snapshot_id();
        next = parent.and_then(|parent| metadata.snapshot_by_id(parent));
        if parent.is_some() && next.is_none() {
            let made = OffsetDateTime::from_unix_timestamp_nanos(i128::from(snapshot.timestamp_ms()) * 1_000_000);
            return (history, made.ok());
        }
    }
    (history, None)
}

fn milliseconds(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

fn failed(attempted: &str, error: &dyn std::fmt::Display) -> CatalogError {
    CatalogError(format!("could not {attempted}: {error}"))
}

#[cfg(test)]
mod catalog_tests;
#[cfg(test)]
mod faulty;
#[cfg(test)]
mod tests;
