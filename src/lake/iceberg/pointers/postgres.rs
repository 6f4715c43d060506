//! The SQL catalog in PostgreSQL: for any number of daemons.
//!
//! Two commits on one head meet in one row: the second waits for the first, and then finds another pointer than the one that it
//! names.

use async_trait::async_trait;
use iceberg::spec::TableMetadata;
use sqlx::Row;
use sqlx::postgres::PgPool;

use super::{CATALOG, LAYOUT, Pointers};
use crate::lake::catalog::CatalogError;
use crate::lake::iceberg::failed;
use crate::lake::names::TableId;

pub struct PostgresPointers {
    pool: PgPool,
}

impl PostgresPointers {
    /// Makes the tables of the catalog in the first schema of the search path, where they are missing.
    pub async fn open(pool: PgPool) -> Result<PostgresPointers, CatalogError> {
        let failed = |error: sqlx::Error| failed("open the catalog of the lake in PostgreSQL", &error);
        let there = "SELECT to_regclass('iceberg_tables') IS NOT NULL
            AND to_regclass('iceberg_namespace_properties') IS NOT NULL";
        let there: bool = sqlx::query_scalar(there).fetch_one(&pool).await.map_err(failed)?;
        // Who only reads may not even ask for what is there already.
        if !there {
            let mut tx = pool.begin().await.map_err(failed)?;
            // Of two that make the same table at once, one would fail.
            let lock = "SELECT pg_advisory_xact_lock(hashtextextended('catalog of the lake', 0))";
            for statement in [lock, LAYOUT[0], LAYOUT[1]] {
                sqlx::query(statement).execute(&mut *tx).await.map_err(failed)?;
            }
            tx.commit().await.map_err(failed)?;
        }
        Ok(PostgresPointers { pool })
    }
}

#[async_trait]
impl Pointers for PostgresPointers {
    async fn get(&self, table: &TableId) -> Result<Option<String>, CatalogError> {
        let query = "SELECT metadata_location FROM iceberg_tables
            WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3";
        let query = sqlx::query_scalar(query).bind(CATALOG).bind(&table.namespace).bind(&table.name);
        query.fetch_optional(&self.pool).await.map_err(|error| failed(&format!("look up table {table}"), &error))
    }

    async fn all(&self) -> Result<Vec<TableId>, CatalogError> {
        let query = "SELECT table_namespace, table_name FROM iceberg_tables WHERE catalog_name = $1";
        let rows = sqlx::query(query).bind(CATALOG).fetch_all(&self.pool).await;
        let rows = rows.map_err(|error| failed("list the tables", &error))?;
        let mut all: Vec<TableId> =
            rows.iter().map(|row| TableId { namespace: row.get(0), name: row.get(1) }).collect();
        // The database sorts as its locale does.
        all.sort();
        Ok(all)
    }

    async fn create(&self, table: &TableId, location: &str, _: &TableMetadata) -> Result<(), CatalogError> {
        let failed = |error: sqlx::Error| failed(&format!("create table {table}"), &error);
        let namespace =
            "INSERT INTO iceberg_namespace_properties VALUES ($1, $2, 'exists', 'true') ON CONFLICT DO NOTHING";
        let namespace = sqlx::query(namespace).bind(CATALOG).bind(&table.namespace);
        namespace.execute(&self.pool).await.map_err(failed)?;
        let create = "INSERT INTO iceberg_tables VALUES ($1, $2, $3, $4, NULL, 'TABLE') ON CONFLICT DO NOTHING";
        let create = sqlx::query(create).bind(CATALOG).bind(&table.namespace).bind(&table.name).bind(location);
        create.execute(&self.pool).await.map_err(failed)?;
        Ok(())
    }

    async fn swap(&self, table: &TableId, from: &str, to: &str, _: &TableMetadata) -> Result<bool, CatalogError> {
        let swap = "UPDATE iceberg_tables SET metadata_location = $1, previous_metadata_location = $2
            WHERE catalog_name = $3 AND table_namespace = $4 AND table_name = $5 AND metadata_location = $2";
        let swap = sqlx::query(swap).bind(to).bind(from).bind(CATALOG).bind(&table.namespace).bind(&table.name);
        let swapped = swap.execute(&self.pool).await;
        let swapped = swapped.map_err(|error| failed(&format!("commit to table {table}"), &error))?;
        Ok(swapped.rows_affected() == 1)
    }
}
