//! Which metadata file is the head of each table: an Iceberg SQL catalog in an SQLite file, as its other implementations
//! (JDBC, pyiceberg) lay it out, so that they open it too.
//!
//! Own queries and not the SQL catalog of the Iceberg crate: that one loads, changes and retries by itself, while the
//! protocol of `lake/commit` needs a compare-and-set on the head that it has looked at.

use std::path::Path;
use std::time::Duration;

use sqlx::Row;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

use crate::lake::catalog::CatalogError;
use crate::lake::names::TableId;

/// Another process may be in the middle of a write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// By this name others find the tables in the file.
const CATALOG: &str = "margay";

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

pub(super) struct Pointers {
    pool: SqlitePool,
}

impl Pointers {
    /// Opens the file, and creates it where it is missing.
    pub(super) async fn open(file: &Path) -> Result<Pointers, CatalogError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        let failed = |error| failed(&format!("open the catalog {}", file.display()), error);
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await.map_err(failed)?;
        for statement in LAYOUT {
            sqlx::query(statement).execute(&pool).await.map_err(failed)?;
        }
        Ok(Pointers { pool })
    }

    /// Where the metadata of the table's head is; `None` where there is no such table.
    pub(super) async fn get(&self, table: &TableId) -> Result<Option<String>, CatalogError> {
        let query = "SELECT metadata_location FROM iceberg_tables
            WHERE catalog_name = ? AND table_namespace = ? AND table_name = ?";
        let query = sqlx::query_scalar(query).bind(CATALOG).bind(&table.namespace).bind(&table.name);
        query.fetch_optional(&self.pool).await.map_err(|error| failed(&format!("look up table {table}"), error))
    }

    /// Every table.
    pub(super) async fn all(&self) -> Result<Vec<TableId>, CatalogError> {
        let query = "SELECT table_namespace, table_name FROM iceberg_tables
            WHERE catalog_name = ? ORDER BY table_namespace, table_name";
        let rows = sqlx::query(query).bind(CATALOG).fetch_all(&self.pool).await;
        let rows = rows.map_err(|error| failed("list the tables", error))?;
        Ok(rows.iter().map(|row| TableId { namespace: row.get(0), name: row.get(1) }).collect())
    }

    /// Adds a table, unless it is there by now.
    pub(super) async fn create(&self, table: &TableId, location: &str) -> Result<(), CatalogError> {
        let failed = |error| failed(&format!("create table {table}"), error);
        let namespace =
            "INSERT INTO iceberg_namespace_properties VALUES (?, ?, 'exists', 'true') ON CONFLICT DO NOTHING";
        let namespace = sqlx::query(namespace).bind(CATALOG).bind(&table.namespace);
        namespace.execute(&self.pool).await.map_err(failed)?;
        let create = "INSERT INTO iceberg_tables VALUES (?, ?, ?, ?, NULL, 'TABLE') ON CONFLICT DO NOTHING";
        let create = sqlx::query(create).bind(CATALOG).bind(&table.namespace).bind(&table.name).bind(location);
        create.execute(&self.pool).await.map_err(failed)?;
        Ok(())
    }

    /// Moves the head from one metadata file to the next; `false` where it is another one by now.
    pub(super) async fn swap(&self, table: &TableId, from: &str, to: &str) -> Result<bool, CatalogError> {
        let swap = "UPDATE iceberg_tables SET metadata_location = ?, previous_metadata_location = ?
            WHERE catalog_name = ? AND table_namespace = ? AND table_name = ? AND metadata_location = ?";
        let swap = sqlx::query(swap).bind(to).bind(from).bind(CATALOG);
        let swap = swap.bind(&table.namespace).bind(&table.name).bind(from);
        let swapped = swap.execute(&self.pool).await;
        let swapped = swapped.map_err(|error| failed(&format!("commit to table {table}"), error))?;
        Ok(swapped.rows_affected() == 1)
    }
}

fn failed(attempted: &str, error: sqlx::Error) -> CatalogError {
    CatalogError(format!("could not {attempted}: {error}"))
}
