//! The SQL catalog in an SQLite file.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use iceberg::spec::TableMetadata;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

use super::{CATALOG, LAYOUT, Pointers};
use crate::lake::catalog::CatalogError;
use crate::lake::iceberg::failed;
use crate::lake::names::TableId;

/// Another process may be in the middle of a write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

pub(in crate::lake::iceberg) struct SqlitePointers {
    pool: SqlitePool,
}

impl SqlitePointers {
    /// Opens the file, and creates it where it is missing.
    pub(in crate::lake::iceberg) async fn open(file: &Path) -> Result<SqlitePointers, CatalogError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        let failed = |error: sqlx::Error| failed(&format!("open the catalog {}", file.display()), &error);
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await.map_err(failed)?;
        for statement in LAYOUT {
            sqlx::query(statement).execute(&pool).await.map_err(failed)?;
        }
        Ok(SqlitePointers { pool })
    }
}

#[async_trait]
impl Pointers for SqlitePointers {
    async fn get(&self, table: &TableId) -> Result<Option<String>, CatalogError> {
        let query = "SELECT metadata_location FROM iceberg_tables
            WHERE catalog_name = ? AND table_namespace = ? AND table_name = ?";
        let query = sqlx::query_scalar(query).bind(CATALOG).bind(&table.namespace).bind(&table.name);
        query.fetch_optional(&self.pool).await.map_err(|error| failed(&format!("look up table {table}"), &error))
    }

    async fn all(&self) -> Result<Vec<TableId>, CatalogError> {
        let query = "SELECT table_namespace, table_name FROM iceberg_tables
            WHERE catalog_name = ? ORDER BY table_namespace, table_name";
        let rows = sqlx::query(query).bind(CATALOG).fetch_all(&self.pool).await;
        let rows = rows.map_err(|error| failed("list the tables", &error))?;
        Ok(rows.iter().map(|row| TableId { namespace: row.get(0), name: row.get(1) }).collect())
    }

    async fn create(&self, table: &TableId, location: &str, _: &TableMetadata) -> Result<(), CatalogError> {
        let failed = |error: sqlx::Error| failed(&format!("create table {table}"), &error);
        let namespace =
            "INSERT INTO iceberg_namespace_properties VALUES (?, ?, 'exists', 'true') ON CONFLICT DO NOTHING";
        let namespace = sqlx::query(namespace).bind(CATALOG).bind(&table.namespace);
        namespace.execute(&self.pool).await.map_err(failed)?;
        let create = "INSERT INTO iceberg_tables VALUES (?, ?, ?, ?, NULL, 'TABLE') ON CONFLICT DO NOTHING";
        let create = sqlx::query(create).bind(CATALOG).bind(&table.namespace).bind(&table.name).bind(location);
        create.execute(&self.pool).await.map_err(failed)?;
        Ok(())
    }

    async fn swap(&self, table: &TableId, from: &str, to: &str, _: &TableMetadata) -> Result<bool, CatalogError> {
        let swap = "UPDATE iceberg_tables SET metadata_location = ?, previous_metadata_location = ?
            WHERE catalog_name = ? AND table_namespace = ? AND table_name = ? AND metadata_location = ?";
        let swap = sqlx::query(swap).bind(to).bind(from).bind(CATALOG);
        let swap = swap.bind(&table.namespace).bind(&table.name).bind(from);
        let swapped = swap.execute(&self.pool).await;
        let swapped = swapped.map_err(|error| failed(&format!("commit to table {table}"), &error))?;
        Ok(swapped.rows_affected() == 1)
    }
}
