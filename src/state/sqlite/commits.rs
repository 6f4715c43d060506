//! Intents and progress, in tables `lake_intents` and `lake_progress`.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use time::OffsetDateTime;

use super::ledger::check_claim;
use super::{Durability, During, SqliteStore};
use crate::model::{ObjectId, Position};
use crate::state::columns::{count, int, micros, moment, text};
use crate::state::{CommitId, Commits, Doubt, Earlier, Intended, Part, StateError};

/// A commit that is found late may be an early one.
const ADVANCE: &str = "
    INSERT INTO lake_progress (object_id, lake_table, ordinal, event)
    SELECT object_id, lake_table, ordinal, event FROM lake_intents WHERE commit_id = ?
    ON CONFLICT (object_id, lake_table) DO UPDATE SET ordinal = excluded.ordinal, event = excluded.event
    WHERE (excluded.ordinal, excluded.event) > (lake_progress.ordinal, lake_progress.event)";

#[async_trait]
impl Commits for SqliteStore {
    async fn progress(&self, object: ObjectId) -> Result<Vec<(String, Position)>, StateError> {
        let rows = sqlx::query("SELECT lake_table, ordinal, event FROM lake_progress WHERE object_id = ?")
            .bind(&object.0[..])
            .fetch_all(&self.readers)
            .await
            .during("read how far an object has come in the lake")?;
        rows.iter().map(|row| Ok((text(row, "lake_table")?, position(row)?))).collect()
    }

    async fn intend(
        &self,
        commit: CommitId,
        table: &str,
        parts: &[Part],
        now: OffsetDateTime,
    ) -> Result<Intended, StateError> {
        // Lost in a power cut while its commit is not, it would let the same rows in a second time.
        let mut tx = self.write(Durability::Power).await?;
        let (mut earlier, mut refused) = (Earlier::default(), Vec::new());
        for part in parts {
            match check_claim(&mut tx, &part.token).await {
                Ok(()) => intend(&mut tx, commit, table, part, now, &mut earlier).await?,
                Err(StateError::Fenced(object)) => refused.push(object),
                Err(error) => return Err(error),
            }
        }
        if !refused.is_empty() {
            return tx.undo("write down a commit").await.map(|()| Intended::Refused(refused));
        }
        tx.commit("write down a commit").await?;
        Ok(Intended::Written(earlier))
    }

    async fn committed(&self, commit: CommitId, dead: &[CommitId]) -> Result<(), StateError> {
        const ATTEMPT: &str = "note a commit";
        // Undone by a power cut, the intent stands again and its commit is found in the table.
        let mut tx = self.write(Durability::Process).await?;
        sqlx::query(ADVANCE).bind(&commit.0[..]).execute(&mut *tx).await.during(ATTEMPT)?;
        for over in std::iter::once(&commit).chain(dead) {
            sqlx::query("DELETE FROM lake_intents WHERE commit_id = ?")
                .bind(&over.0[..])
                .execute(&mut *tx)
                .await
                .during(ATTEMPT)?;
        }
        tx.commit(ATTEMPT).await
    }
}

/// Writes one part, and adds what came before it.
async fn intend(
    connection: &mut SqliteConnection,
    commit: CommitId,
    table: &str,
    part: &Part,
    now: OffsetDateTime,
    earlier: &mut Earlier,
) -> Result<(), StateError> {
    const ATTEMPT: &str = "write down a commit";
    let object = part.token.object;
    let progress = sqlx::query("SELECT ordinal, event FROM lake_progress WHERE object_id = ? AND lake_table = ?")
        .bind(&object.0[..])
        .bind(table)
        .fetch_optional(&mut *connection)
        .await
        .during(ATTEMPT)?;
    if let Some(row) = progress {
        earlier.progress.push((object, position(&row)?));
    }
    let others = sqlx::query(
        "SELECT commit_id, ordinal, event, at FROM lake_intents
         WHERE object_id = ? AND lake_table = ? AND commit_id <> ?",
    )
    .bind(&object.0[..])
    .bind(table)
    .bind(&commit.0[..])
    .fetch_all(&mut *connection)
    .await
    .during(ATTEMPT)?;
    for row in &others {
        let through = position(row)?;
        earlier.doubts.push(Doubt { commit: commit_id(row)?, object, through, since: moment(row, "at")? });
    }
    sqlx::query(
        "INSERT INTO lake_intents (object_id, lake_table, commit_id, ordinal, event, at) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )
    .bind(&object.0[..])
    .bind(table)
    .bind(&commit.0[..])
    .bind(int(part.through.ordinal))
    .bind(part.through.index)
    .bind(micros(now))
    .execute(connection)
    .await
    .during(ATTEMPT)?;
    Ok(())
}

/// Forgets an object that is never read again.
pub(super) async fn forget(connection: &mut SqliteConnection, object: ObjectId) -> Result<(), StateError> {
    for delete in ["DELETE FROM lake_intents WHERE object_id = ?", "DELETE FROM lake_progress WHERE object_id = ?"] {
        sqlx::query(delete)
            .bind(&object.0[..])
            .execute(&mut *connection)
            .await
            .during("forget the commits of an object")?;
    }
    Ok(())
}

fn position(row: &SqliteRow) -> Result<Position, StateError> {
    let index = row.try_get("event").during("read a position")?;
    Ok(Position { ordinal: count(row, "ordinal")?, index })
}

fn commit_id(row: &SqliteRow) -> Result<CommitId, StateError> {
    let bytes: &[u8] = row.try_get("commit_id").during("read a commit id")?;
    bytes.try_into().map(CommitId).map_err(|_| {
        StateError::Store("the state file holds a commit id that is not 16 bytes long; was it changed by hand?".into())
    })
}
