//! Revisions of schemas and unknown fields, in tables `schema_revisions` and `unknown_fields`.

use async_trait::async_trait;
use sqlx::Row;
use time::OffsetDateTime;

use super::{Durability, During, SqliteStore};
use crate::model::{Revision, SeenField, UnknownField};
use crate::state::columns::{micros, moment, text};
use crate::state::{FIELD_LIMIT, Revisions, StateError};

#[async_trait]
impl Revisions for SqliteStore {
    async fn revisions(&self) -> Result<Vec<Revision>, StateError> {
        const ATTEMPT: &str = "read the revisions of schemas";
        let query = sqlx::query("SELECT log_type, version, text FROM schema_revisions ORDER BY log_type");
        let rows = query.fetch_all(&self.readers).await.during(ATTEMPT)?;
        let revision = |row| {
            let version = Row::try_get(row, "version").during(ATTEMPT)?;
            Ok(Revision { log_type: text(row, "log_type")?, version, text: text(row, "text")? })
        };
        rows.iter().map(revision).collect()
    }

    async fn revise(&self, revisions: &[Revision], now: OffsetDateTime) -> Result<bool, StateError> {
        const ATTEMPT: &str = "remember the revision of a schema";
        // Undone by a power cut, a change that broke with stored events would not be noticed.
        let mut tx = self.write(Durability::Power).await?;
        for Revision { log_type, version, text } in revisions {
            let last: Option<u32> = sqlx::query_scalar("SELECT version FROM schema_revisions WHERE log_type = ?")
                .bind(log_type)
                .fetch_optional(&mut *tx)
                .await
                .during(ATTEMPT)?;
            if *version != last.unwrap_or_default() + 1 {
                return tx.undo(ATTEMPT).await.map(|()| false);
            }
            sqlx::query(
                "INSERT INTO schema_revisions (log_type, version, text, at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (log_type) DO UPDATE SET log_type = ?1, version = ?2, text = ?3, at = ?4",
            )
            .bind(log_type)
            .bind(version)
            .bind(text)
            .bind(micros(now))
            .execute(&mut *tx)
            .await
            .during(ATTEMPT)?;
            sqlx::query("DELETE FROM unknown_fields WHERE log_type = ?")
                .bind(log_type)
                .execute(&mut *tx)
                .await
                .during(ATTEMPT)?;
        }
        tx.commit(ATTEMPT).await?;
        Ok(true)
    }

    async fn discover(
        &self,
        log_type: &str,
        fields: &[UnknownField],
        now: OffsetDateTime,
    ) -> Result<Vec<UnknownField>, StateError> {
        const ATTEMPT: &str = "remember unknown fields";
        let mut tx = self.write(Durability::Process).await?;
        let mut new = Vec::new();
        for field in fields {
            let inserted = sqlx::query(
                "INSERT INTO unknown_fields (log_type, path, kind, at) SELECT ?1, ?2, ?3, ?4
                 WHERE (SELECT count(*) FROM unknown_fields WHERE log_type = ?1) < ?5 ON CONFLICT DO NOTHING",
            )
            .bind(log_type)
            .bind(&field.path)
            .bind(&field.kind)
            .bind(micros(now))
            .bind(FIELD_LIMIT)
            .execute(&mut *tx)
            .await
            .during(ATTEMPT)?;
            if inserted.rows_affected() == 1 {
                new.push(field.clone());
            }
        }
        tx.commit(ATTEMPT).await?;
        Ok(new)
    }

    async fn unknown_fields(&self, log_type: &str) -> Result<Vec<SeenField>, StateError> {
        let query = sqlx::query("SELECT path, kind, at FROM unknown_fields WHERE log_type = ? ORDER BY path");
        let rows = query.bind(log_type).fetch_all(&self.readers).await.during("read unknown fields")?;
        let field = |row| {
            let field = UnknownField { path: text(row, "path")?, kind: text(row, "kind")? };
            Ok(SeenField { field, since: moment(row, "at")? })
        };
        rows.iter().map(field).collect()
    }
}
