//! Scheduled queries, in table `schedules`.

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use time::OffsetDateTime;

use super::upkeep::forget;
use super::{Durability, During, SqliteStore};
use crate::state::columns::{json, micros, moment, planned};
use crate::state::{Conclusion, KeptRows, Planned, Schedules, StateError};

const FIND: &str = "SELECT *, rows IS NOT NULL AS has_rows FROM schedules WHERE query = ?";

const SAVE: &str = "
    INSERT INTO schedules (query, schedule, due, tries, not_before, failures, last) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
    ON CONFLICT (query) DO UPDATE SET
        schedule = ?2, due = ?3, tries = ?4, not_before = ?5, failures = ?6, last = ?7";

const DROP_ROWS: &str = "UPDATE schedules SET rows = NULL, rows_cut = NULL, rows_at = NULL WHERE query = ?";

/// The condition is that of the index `objects_runs`.
const FORGET_RUNS: &str = "
    DELETE FROM objects WHERE rowid IN (
        SELECT rowid FROM objects
        WHERE bucket = 'margay:scheduled' AND claimed_at < ?1 AND (claimed_until IS NULL OR claimed_until <= ?1)
        ORDER BY claimed_at LIMIT ?2)
    RETURNING id";

#[async_trait]
impl Schedules for SqliteStore {
    async fn planned(&self) -> Result<Vec<Planned>, StateError> {
        let columns = "query, schedule, due, tries, not_before, failures, last";
        let query = format!("SELECT {columns} FROM schedules ORDER BY query");
        let rows = sqlx::query(&query).fetch_all(&self.readers).await.during("read the scheduled queries")?;
        rows.iter().map(planned).collect()
    }

    async fn plan(
        &self,
        query: &str,
        schedule: &str,
        due: OffsetDateTime,
        instead_of: Option<OffsetDateTime>,
    ) -> Result<(), StateError> {
        const ATTEMPT: &str = "plan a scheduled query";
        let mut tx = self.write(Durability::Process).await?;
        let next = match find(&mut tx, query).await? {
            None => Planned::new(query, schedule, due),
            Some((planned, has_rows)) => planned.replanned(schedule, due, instead_of, has_rows),
        };
        save(&mut tx, &next).await?;
        tx.commit(ATTEMPT).await
    }

    async fn keep_rows(
        &self,
        query: &str,
        due: OffsetDateTime,
        rows: Option<&KeptRows>,
    ) -> Result<Option<KeptRows>, StateError> {
        const ATTEMPT: &str = "keep the rows of a scheduled query";
        if let Some(KeptRows { rows, is_cut, at }) = rows {
            let mut tx = self.write(Durability::Process).await?;
            let keep = "UPDATE schedules SET rows = ?3, rows_cut = ?4, rows_at = ?5
                WHERE query = ?1 AND due = ?2 AND rows IS NULL";
            let keep = sqlx::query(keep).bind(query).bind(micros(due));
            let keep = keep.bind(&rows[..]).bind(i64::from(*is_cut)).bind(micros(*at));
            keep.execute(&mut *tx).await.during(ATTEMPT)?;
            tx.commit(ATTEMPT).await?;
        }
        let kept = "SELECT rows, rows_cut, rows_at FROM schedules WHERE query = ? AND due = ? AND rows IS NOT NULL";
        let kept = sqlx::query(kept).bind(query).bind(micros(due));
        let kept = kept.fetch_optional(&self.readers).await.during(ATTEMPT)?;
        kept.as_ref().map(kept_rows).transpose()
    }

    async fn conclude(&self, query: &str, due: OffsetDateTime, conclusion: &Conclusion) -> Result<bool, StateError> {
        const ATTEMPT: &str = "end the run of a scheduled query";
        let mut tx = self.write(Durability::Process).await?;
        let Some((planned, _)) = find(&mut tx, query).await?.filter(|(planned, _)| planned.due == due) else {
            return tx.undo(ATTEMPT).await.map(|()| false);
        };
        save(&mut tx, &planned.concluded(conclusion)).await?;
        if let Conclusion::Ended { .. } = conclusion {
            sqlx::query(DROP_ROWS).bind(query).execute(&mut *tx).await.during(ATTEMPT)?;
        }
        tx.commit(ATTEMPT).await?;
        Ok(true)
    }

    async fn forget_runs(&self, before: OffsetDateTime, limit: u32) -> Result<u64, StateError> {
        let mut tx = self.write(Durability::Process).await?;
        let forgotten = forget(&mut tx, FORGET_RUNS, before, limit).await?;
        tx.commit("forget old runs of scheduled queries").await?;
        Ok(forgotten)
    }
}

/// A query as it is planned, and whether rows are kept of it.
async fn find(connection: &mut SqliteConnection, query: &str) -> Result<Option<(Planned, bool)>, StateError> {
    const ATTEMPT: &str = "read a scheduled query";
    let row = sqlx::query(FIND).bind(query).fetch_optional(connection).await.during(ATTEMPT)?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some((planned(&row)?, row.try_get("has_rows").during(ATTEMPT)?)))
}

async fn save(connection: &mut SqliteConnection, planned: &Planned) -> Result<(), StateError> {
    let save = sqlx::query(SAVE).bind(&planned.query).bind(&planned.schedule).bind(micros(planned.due));
    let save = save.bind(i64::from(planned.tries)).bind(micros(planned.not_before)).bind(i64::from(planned.failures));
    let save = save.bind(planned.last.as_ref().map(json));
    save.execute(connection).await.during("save a scheduled query")?;
    Ok(())
}

fn kept_rows(row: &SqliteRow) -> Result<KeptRows, StateError> {
    const ATTEMPT: &str = "read the rows of a scheduled query";
    let rows: Vec<u8> = row.try_get("rows").during(ATTEMPT)?;
    let is_cut: i64 = row.try_get("rows_cut").during(ATTEMPT)?;
    Ok(KeptRows { rows: Bytes::from(rows), is_cut: is_cut != 0, at: moment(row, "rows_at")? })
}
