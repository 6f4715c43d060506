//! Revisions of schemas and unknown fields, in tables `schema_revisions` and `unknown_fields`.

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;

use super::PostgresStore;
use super::columns::stored;
use super::failure::{During, retried};
use crate::model::{Revision, SeenField, UnknownField};
use crate::state::columns::{micros, moment, small, text};
use crate::state::{FIELD_LIMIT, Revisions, StateError};

/// Nothing when the last revision is not the one before; of two that come at once, one finds it so.
const REVISE: &str = "
    INSERT INTO schema_revisions AS r (log_type, version, text, at)
    SELECT $1, $2, $3, $4
    WHERE $2 = 1 OR EXISTS (SELECT 1 FROM schema_revisions WHERE lower(log_type) = lower($1 COLLATE \"C\"))
    ON CONFLICT (lower(log_type)) DO UPDATE SET log_type = $1, version = $2, text = $3, at = $4
    WHERE r.version = $2 - 1";

const DISCOVER: &str = "
    INSERT INTO unknown_fields (log_type, path, kind, at)
    SELECT $1, $2, $3, $4
    WHERE (SELECT count(*) FROM unknown_fields WHERE lower(log_type) = lower($1 COLLATE \"C\")) < $5
    ON CONFLICT DO NOTHING";

#[async_trait]
impl Revisions for PostgresStore {
    async fn revisions(&self) -> Result<Vec<Revision>, StateError> {
        let query = sqlx::query("SELECT log_type, version, text FROM schema_revisions ORDER BY lower(log_type)");
        let rows = query.fetch_all(&self.pool).await.during("read the revisions of schemas")?;
        let revision = |row: &PgRow| {
            Ok(Revision { log_type: text(row, "log_type")?, version: small(row, "version")?, text: text(row, "text")? })
        };
        rows.iter().map(revision).collect()
    }

    async fn revise(&self, revisions: &[Revision], now: OffsetDateTime) -> Result<bool, StateError> {
        const ATTEMPT: &str = "remember the revision of a schema";
        retried(move || async move {
            let mut tx = self.begin().await?;
            for Revision { log_type, version, text } in revisions {
                let revised = sqlx::query(REVISE)
                    .bind(stored(log_type))
                    .bind(i64::from(*version))
                    .bind(stored(text))
                    .bind(micros(now))
                    .execute(&mut *tx)
                    .await
                    .during(ATTEMPT)?;
                if revised.rows_affected() == 0 {
                    return Ok(false);
                }
                sqlx::query("DELETE FROM unknown_fields WHERE lower(log_type) = lower($1 COLLATE \"C\")")
                    .bind(stored(log_type))
                    .execute(&mut *tx)
                    .await
                    .during(ATTEMPT)?;
            }
            tx.commit().await.during(ATTEMPT)?;
            Ok(true)
        })
        .await
    }

    async fn discover(
        &self,
        log_type: &str,
        fields: &[UnknownField],
        now: OffsetDateTime,
    ) -> Result<Vec<UnknownField>, StateError> {
        const ATTEMPT: &str = "remember unknown fields";
        retried(move || async move {
            let mut tx = self.begin().await?;
            // Two that count at once would both find room for the last one.
            sqlx::query(
                "SELECT pg_advisory_xact_lock(hashtextextended('unknown fields ' || lower($1 COLLATE \"C\"), 0))",
            )
            .bind(stored(log_type))
            .execute(&mut *tx)
            .await
            .during(ATTEMPT)?;
            let mut new = Vec::new();
            for field in fields {
                let inserted = sqlx::query(DISCOVER)
                    .bind(stored(log_type))
                    .bind(stored(&field.path))
                    .bind(stored(&field.kind))
                    .bind(micros(now))
                    .bind(i64::from(FIELD_LIMIT))
                    .execute(&mut *tx)
                    .await
                    .during(ATTEMPT)?;
                if inserted.rows_affected() == 1 {
                    new.push(field.clone());
                }
            }
            tx.commit().await.during(ATTEMPT)?;
            Ok(new)
        })
        .await
    }

    async fn unknown_fields(&self, log_type: &str) -> Result<Vec<SeenField>, StateError> {
        let rows = sqlx::query(
            "SELECT path, kind, at FROM unknown_fields WHERE lower(log_type) = lower($1 COLLATE \"C\") ORDER BY path",
        )
        .bind(stored(log_type))
        .fetch_all(&self.pool)
        .await
        .during("read unknown fields")?;
        let field = |row: &PgRow| {
            let field = UnknownField { path: text(row, "path")?, kind: text(row, "kind")? };
            Ok(SeenField { field, since: moment(row, "at")? })
        };
        rows.iter().map(field).collect()
    }
}
