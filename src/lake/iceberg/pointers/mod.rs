//! Which metadata file is the head of each table: the port to catalogs that keep a pointer for each table and move it by
//! compare-and-set, which is all that the protocol of `lake/commit` asks of them.
//!
//! [`glue`] is the one of AWS; [`sqlite`] and [`postgres`] are the SQL catalog of Iceberg as its other implementations (JDBC, pyiceberg) lay it out, so that
//! they open it too. Own queries and not the catalogs of the Iceberg crates: those load, change and retry by themselves,
//! while the protocol needs a condition on the head that it has looked at.

pub(super) mod glue;
pub(super) mod postgres;
pub(super) mod sqlite;

use async_trait::async_trait;
use iceberg::spec::TableMetadata;

use crate::lake::catalog::CatalogError;
use crate::lake::names::TableId;

#[async_trait]
pub trait Pointers: Send + Sync + 'static {
    /// Where the metadata of the table's head is; `None` where there is no such table.
    async fn get(&self, table: &TableId) -> Result<Option<String>, CatalogError>;

    /// Every table, sorted.
    async fn all(&self) -> Result<Vec<TableId>, CatalogError>;

    /// Adds a table, unless it is there by now.
    async fn create(&self, table: &TableId, location: &str, metadata: &TableMetadata) -> Result<(), CatalogError>;

    /// Moves the head from one metadata file to the next; `false` where it is another one by now, and then it will never be
    /// moved by this call. After an error the outcome is unknown.
    async fn swap(&self, table: &TableId, from: &str, to: &str, next: &TableMetadata) -> Result<bool, CatalogError>;
}

/// By this name others find the tables in a database.
const CATALOG: &str = "margay";

/// Of a database, as all implementations of the SQL catalog make it.
const LAYOUT: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS iceberg_tables (
        catalog_name VARCHAR(255) NOT NULL,
        table_namespace VARCHAR(255) NOT NULL,
        table_name VARCHAR(255) NOT NULL,
        metadata_location VARCHAR(1000),
        previous_metadata_location VARCHAR(1000),
        iceberg_type VARCHAR(5),
        PRIMARY KEY (catalog_name, table_namespace, table_name))",
    "CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
        catalog_name VARCHAR(255) NOT NULL,
        namespace VARCHAR(255) NOT NULL,
        property_key VARCHAR(255) NOT NULL,
        property_value VARCHAR(1000),
        PRIMARY KEY (catalog_name, namespace, property_key))",
];
