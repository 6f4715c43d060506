//! Intents and progress, in tables `lake_intents` and `lake_progress`.

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;

use super::PostgresStore;
use super::columns::stored;
use super::failure::{During, Failure, retried};
use crate::model::{ObjectId, Position};
use crate::state::columns::{count, int, micros, moment, small, text, unreadable};
use crate::state::{CommitId, Commits, Doubt, Earlier, Intended, Part, StateError};

/// Keeps the claims as they are until the transaction ends; those that are lost are missing from the answer.
const LOCK: &str = "
    SELECT o.id FROM objects AS o
    JOIN unnest($1::bytea[], $2::bigint[]) AS held (id, fence) ON o.id = held.id AND o.fence = held.fence
    WHERE o.claimed_until IS NOT NULL ORDER BY o.id FOR NO KEY UPDATE OF o";

const INTEND: &str = "
    INSERT INTO lake_intents (object_id, lake_table, commit_id, ordinal, event, at)
    SELECT object_id, $4, $5, ordinal, event, $6
    FROM unnest($1::bytea[], $2::bigint[], $3::bigint[]) AS part (object_id, ordinal, event)
    ON CONFLICT DO NOTHING";

/// A commit that is found late may be an early one.
const ADVANCE: &str = "
    INSERT INTO lake_progress AS p (object_id, lake_table, ordinal, event)
    SELECT object_id, lake_table, ordinal, event FROM lake_intents WHERE commit_id = $1 ORDER BY object_id
    ON CONFLICT (object_id, lake_table) DO UPDATE SET ordinal = excluded.ordinal, event = excluded.event
    WHERE (excluded.ordinal, excluded.event) > (p.ordinal, p.event)";

#[async_trait]
impl Commits for PostgresStore {
    async fn progress(&self, object: ObjectId) -> Result<Vec<(String, Position)>, StateError> {
        let rows = sqlx::query("SELECT lake_table, ordinal, event FROM lake_progress WHERE object_id = $1")
            .bind(&object.0[..])
            .fetch_all(&self.pool)
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
        retried(move || async move {
            let mut tx = self.begin().await?;
            let refused = lost(&mut tx, parts).await?;
            if !refused.is_empty() {
                return Ok(Intended::Refused(refused));
            }
            let earlier = earlier(&mut tx, commit, table, parts).await?;
            sqlx::query(INTEND)
                .bind(objects(parts))
                .bind(parts.iter().map(|part| int(part.through.ordinal)).collect::<Vec<_>>())
                .bind(parts.iter().map(|part| i64::from(part.through.index)).collect::<Vec<_>>())
                .bind(stored(table))
                .bind(&commit.0[..])
                .bind(micros(now))
                .execute(&mut *tx)
                .await
                .during("write down a commit")?;
            tx.commit().await.during("write down a commit")?;
            Ok(Intended::Written(earlier))
        })
        .await
    }

    async fn committed(&self, commit: CommitId, dead: &[CommitId]) -> Result<(), StateError> {
        const ATTEMPT: &str = "note a commit";
        retried(move || async move {
            let mut tx = self.begin().await?;
            sqlx::query(ADVANCE).bind(&commit.0[..]).execute(&mut *tx).await.during(ATTEMPT)?;
            let over: Vec<&[u8]> = std::iter::once(&commit).chain(dead).map(|commit| &commit.0[..]).collect();
            let intents = sqlx::query("DELETE FROM lake_intents WHERE commit_id = ANY($1)").bind(over);
            intents.execute(&mut *tx).await.during(ATTEMPT)?;
            tx.commit().await.during(ATTEMPT)
        })
        .await
    }
}

fn objects(parts: &[Part]) -> Vec<&[u8]> {
    parts.iter().map(|part| &part.token.object.0[..]).collect()
}

async fn lost(connection: &mut PgConnection, parts: &[Part]) -> Result<Vec<ObjectId>, Failure> {
    const ATTEMPT: &str = "check claims";
    let rows = sqlx::query(LOCK)
        .bind(objects(parts))
        .bind(parts.iter().map(|part| part.token.fence).collect::<Vec<_>>())
        .fetch_all(connection)
        .await
        .during(ATTEMPT)?;
    let held = rows.iter().map(|row| id(row, "id").map(ObjectId)).collect::<Result<Vec<_>, _>>()?;
    let objects = parts.iter().map(|part| part.token.object);
    Ok(objects.filter(|object| !held.contains(object)).collect())
}

/// What came before, for these objects in this table.
async fn earlier(
    connection: &mut PgConnection,
    commit: CommitId,
    table: &str,
    parts: &[Part],
) -> Result<Earlier, Failure> {
    const ATTEMPT: &str = "read earlier commits";
    let progress = sqlx::query(
        "SELECT object_id, ordinal, event FROM lake_progress WHERE object_id = ANY($1) AND lake_table = $2",
    )
    .bind(objects(parts))
    .bind(stored(table))
    .fetch_all(&mut *connection)
    .await
    .during(ATTEMPT)?;
    let others = sqlx::query(
        "SELECT object_id, commit_id, ordinal, event, at FROM lake_intents
         WHERE object_id = ANY($1) AND lake_table = $2 AND commit_id <> $3",
    )
    .bind(objects(parts))
    .bind(stored(table))
    .bind(&commit.0[..])
    .fetch_all(connection)
    .await
    .during(ATTEMPT)?;
    let known = progress.iter().map(|row| Ok((ObjectId(id(row, "object_id")?), position(row)?)));
    let doubts = others.iter().map(|row| {
        let (commit, object) = (CommitId(id(row, "commit_id")?), ObjectId(id(row, "object_id")?));
        Ok(Doubt { commit, object, through: position(row)?, since: moment(row, "at")? })
    });
    Ok(Earlier {
        progress: known.collect::<Result<_, StateError>>()?,
        doubts: doubts.collect::<Result<_, StateError>>()?,
    })
}

fn position(row: &PgRow) -> Result<Position, StateError> {
    Ok(Position { ordinal: count(row, "ordinal")?, index: small(row, "event")? })
}

fn id(row: &PgRow, column: &str) -> Result<[u8; 16], StateError> {
    let bytes: &[u8] = row.try_get(column).during("read an id")?;
    bytes.try_into().map_err(|_| unreadable(column, "it is not 16 bytes long"))
}
