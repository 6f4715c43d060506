//! Scheduled queries, in table `schedules`.

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;

use super::PostgresStore;
use super::columns::{stored, stored_or_null};
use super::failure::{During, Failure, retried};
use super::upkeep::{FORGET_RUNS, forget};
use crate::state::columns::{json, micros, moment, planned};
use crate::state::{Conclusion, KeptRows, Planned, Schedules, StateError};

const COLUMNS: &str = "query, schedule, due, tries, not_before, failures, last";

const SAVE: &str = "
    INSERT INTO schedules (query, schedule, due, tries, not_before, failures, last)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (query) DO UPDATE SET
        schedule = $2, due = $3, tries = $4, not_before = $5, failures = $6, last = $7";

const DROP_ROWS: &str = "UPDATE schedules SET rows = NULL, rows_cut = NULL, rows_at = NULL WHERE query = $1";

#[async_trait]
impl Schedules for PostgresStore {
    async fn planned(&self) -> Result<Vec<Planned>, StateError> {
        let query = format!("SELECT {COLUMNS} FROM schedules ORDER BY query");
        let rows = sqlx::query(&query).fetch_all(&self.pool).await.during("read the scheduled queries")?;
        rows.iter().map(planned).collect()
    }

    async fn plan(
        &self,
        query: &str,
        schedule: &str,
        due: OffsetDateTime,
        instead_of: Option<OffsetDateTime>,
    ) -> Result<(), StateError> {
        retried(move || async move {
            let mut tx = self.begin().await?;
            let next = match find(&mut tx, query).await? {
                None => Planned::new(query, schedule, due),
                Some((planned, has_rows)) => planned.replanned(schedule, due, instead_of, has_rows),
            };
            save(&mut tx, &next).await?;
            tx.commit().await.during("plan a scheduled query")?;
            Ok::<_, Failure>(())
        })
        .await
    }

    async fn keep_rows(
        &self,
        query: &str,
        due: OffsetDateTime,
        rows: Option<&KeptRows>,
    ) -> Result<Option<KeptRows>, StateError> {
        const ATTEMPT: &str = "keep the rows of a scheduled query";
        if let Some(KeptRows { rows, is_cut, at }) = rows {
            let keep = "UPDATE schedules SET rows = $3, rows_cut = $4, rows_at = $5
                WHERE query = $1 AND due = $2 AND rows IS NULL";
            let keep = sqlx::query(keep).bind(stored(query)).bind(micros(due));
            let keep = keep.bind(&rows[..]).bind(i64::from(*is_cut)).bind(micros(*at));
            keep.execute(&self.pool).await.during(ATTEMPT)?;
        }
        let kept = "SELECT rows, rows_cut, rows_at FROM schedules WHERE query = $1 AND due = $2 AND rows IS NOT NULL";
        let kept = sqlx::query(kept).bind(stored(query)).bind(micros(due));
        let kept = kept.fetch_optional(&self.pool).await.during(ATTEMPT)?;
        kept.as_ref().map(kept_rows).transpose()
    }

    async fn conclude(&self, query: &str, due: OffsetDateTime, conclusion: &Conclusion) -> Result<bool, StateError> {
        const ATTEMPT: &str = "end the run of a scheduled query";
        retried(move || async move {
            let mut tx = self.begin().await?;
            let found = find(&mut tx, query).await?;
            let Some((planned, _)) = found.filter(|(planned, _)| micros(planned.due) == micros(due)) else {
                return Ok(false);
            };
            save(&mut tx, &planned.concluded(conclusion)).await?;
            if let Conclusion::Ended { .. } = conclusion {
                sqlx::query(DROP_ROWS).bind(stored(query)).execute(&mut *tx).await.during(ATTEMPT)?;
            }
            tx.commit().await.during(ATTEMPT)?;
            Ok::<_, Failure>(true)
        })
        .await
    }

    async fn forget_runs(&self, before: OffsetDateTime, limit: u32) -> Result<u64, StateError> {
        Ok(forget(&self.pool, FORGET_RUNS, before, limit.into()).await?)
    }
}

/// A query as it is planned, and whether rows are kept of it. A row that is not there can't be locked, hence the other lock.
async fn find(connection: &mut PgConnection, query: &str) -> Result<Option<(Planned, bool)>, Failure> {
    const ATTEMPT: &str = "read a scheduled query";
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('schedule ' || $1, 0))")
        .bind(stored(query))
        .execute(&mut *connection)
        .await
        .during(ATTEMPT)?;
    let find = format!("SELECT {COLUMNS}, rows IS NOT NULL AS has_rows FROM schedules WHERE query = $1 FOR UPDATE");
    let row = sqlx::query(&find).bind(stored(query)).fetch_optional(connection).await.during(ATTEMPT)?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some((planned(&row)?, row.try_get("has_rows").during(ATTEMPT)?)))
}

async fn save(connection: &mut PgConnection, planned: &Planned) -> Result<(), Failure> {
    let last = planned.last.as_ref().map(json);
    let save = sqlx::query(SAVE).bind(stored(&planned.query)).bind(stored(&planned.schedule)).bind(micros(planned.due));
    let save = save.bind(i64::from(planned.tries)).bind(micros(planned.not_before)).bind(i64::from(planned.failures));
    save.bind(stored_or_null(last.as_ref())).execute(connection).await.during("save a scheduled query")?;
    Ok(())
}

fn kept_rows(row: &PgRow) -> Result<KeptRows, StateError> {
    const ATTEMPT: &str = "read the rows of a scheduled query";
    let rows: Vec<u8> = row.try_get("rows").during(ATTEMPT)?;
    let is_cut: i64 = row.try_get("rows_cut").during(ATTEMPT)?;
    Ok(KeptRows { rows: Bytes::from(rows), is_cut: is_cut != 0, at: moment(row, "rows_at")? })
}
