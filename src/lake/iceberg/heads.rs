//! The heads of the tables, as a catalog keeps them: the port that [`super::IcebergCatalog`] is built on.
//!
//! Most catalogs keep a pointer to a metadata file that their clients write ([`ByPointer`]); a REST catalog is told the changes
//! and writes the file itself ([`super::rest`]). To both a commit is a condition on the head that it was made for.

use async_trait::async_trait;
use iceberg::MetadataLocation;
use iceberg::spec::{TableMetadata, TableMetadataBuildResult};
use iceberg::table::Table;

use super::pointers::Pointers;
use super::warehouse::Warehouse;
use super::{failed, stage};
use crate::lake::catalog::CatalogError;
use crate::lake::names::TableId;

/// A head: where its metadata file is, and what is in it, where that was told.
pub struct Location {
    pub(super) file: String,
    pub(super) metadata: Option<TableMetadata>,
}

#[async_trait]
pub trait Heads: Send + Sync + 'static {
    /// `None` where there is no such table.
    async fn get(&self, table: &TableId) -> Result<Option<Location>, CatalogError>;

    /// Every table, sorted.
    async fn all(&self) -> Result<Vec<TableId>, CatalogError>;

    /// Adds a table, unless it is there by now. The catalog may give its columns other ids.
    async fn create(&self, table: &TableId, metadata: TableMetadata) -> Result<(), CatalogError>;

    /// Whether no other head than those of a table's metadata leads to its files. A server may keep branches over all tables.
    fn are_all(&self) -> bool;

    /// Makes `next` the head and tells where it is; `None` where the rows of the table are not those of `head` any more, and then
    /// this change never comes into the table. After an error the outcome is unknown.
    async fn swap(
        &self,
        table: &TableId,
        head: &Table,
        next: TableMetadataBuildResult,
    ) -> Result<Option<Location>, CatalogError>;
}

/// A catalog that points to metadata files, and the warehouse where these are written.
pub(super) struct ByPointer {
    pub(super) pointers: Box<dyn Pointers>,
    pub(super) warehouse: Warehouse,
}

impl ByPointer {
    /// Writes metadata so that they survive a crash of the machine, which the crate's own writing does not promise.
    async fn put(&self, metadata: &TableMetadata, location: &str) -> iceberg::Result<()> {
        stage::put(self.warehouse.io(), location, serde_json::to_vec(metadata)?).await
    }
}

#[async_trait]
impl Heads for ByPointer {
    async fn get(&self, table: &TableId) -> Result<Option<Location>, CatalogError> {
        let pointer = self.pointers.get(table).await?;
        Ok(pointer.map(|file| Location { file, metadata: None }))
    }

    async fn all(&self) -> Result<Vec<TableId>, CatalogError> {
        self.pointers.all().await
    }

    fn are_all(&self) -> bool {
        true
    }

    async fn create(&self, table: &TableId, metadata: TableMetadata) -> Result<(), CatalogError> {
        let location = MetadataLocation::new_with_metadata(metadata.location(), &metadata).to_string();
        let put = self.put(&metadata, &location).await;
        put.map_err(|error| failed(&format!("make table {table}"), &error))?;
        self.pointers.create(table, &location, &metadata).await
    }

    async fn swap(
        &self,
        table: &TableId,
        head: &Table,
        next: TableMetadataBuildResult,
    ) -> Result<Option<Location>, CatalogError> {
        let failed = |error: iceberg::Error| failed(&format!("write metadata of table {table}"), &error);
        let metadata = next.metadata;
        let before = head.metadata_location_result().map_err(failed)?;
        let location: MetadataLocation = before.parse().map_err(failed)?;
        let location = location.with_next_version().with_new_metadata(&metadata).to_string();
        self.put(&metadata, &location).await.map_err(failed)?;
        if self.pointers.swap(table, before, &location, &metadata).await? {
            return Ok(Some(Location { file: location, metadata: Some(metadata) }));
        }
        // It is the head of nothing for certain. Whatever fails here, maintenance finds it.
        let _ = self.warehouse.io().delete(&location).await;
        Ok(None)
    }
}
