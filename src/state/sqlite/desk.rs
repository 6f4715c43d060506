//! What people do with alerts: changes of table `alerts`, each with its line in `alert_changes`.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use time::OffsetDateTime;

use super::{Durability, During, SqliteStore};
use crate::model::{AlertStatus, Comment, News, RowId};
use crate::state::columns::{audited, counted, micros, text, unreadable};
use crate::state::desk::OWN_NAME;
use crate::state::{AlertFilter, AlertMatch, Audited, Desk, StateError, Summary, TriageChange};

const CHANGE: &str = "
    INSERT INTO alert_changes (alert_id, at, by, field, before, after) VALUES (?, ?, ?, ?, ?, ?)";

const TOUCH: &str = "UPDATE alerts SET last_updated_by = ?2, last_updated_at = ?3 WHERE id = ?1";

const RESEND: &str = "
    INSERT INTO deliveries (alert_id, destination, next_attempt, resent) VALUES (?1, ?2, ?3, 1)
    ON CONFLICT (alert_id, destination) DO UPDATE SET
        state = 'pending', attempts = 0, next_attempt = ?3, leased_until = NULL, last_error = NULL, finished_at = NULL,
        resent = resent + 1, news = 'OPENED', follow = NULL, ticket = NULL";

/// A destination is told when it has taken what came before. What it never got, or is held back, is not followed up, and
/// nothing comes behind the end.
const TELL: &str = "
    UPDATE deliveries
    SET follow = CASE WHEN state = 'pending' AND news = 'OPENED' THEN ?3 END,
        news = CASE WHEN state = 'pending' AND news = 'OPENED' THEN news ELSE ?3 END,
        attempts = CASE WHEN state = 'pending' AND news = 'OPENED' THEN attempts ELSE 0 END,
        next_attempt = CASE WHEN state = 'pending' THEN next_attempt ELSE ?4 END,
        state = 'pending', finished_at = NULL
    WHERE alert_id = ?1 AND (?2 IS NULL OR destination = ?2) AND state IN ('pending', 'delivered')
        AND news <> 'RESOLVED' AND coalesce(follow, '') <> 'RESOLVED'
        AND NOT (state = 'pending' AND (news = ?3 OR coalesce(follow, '') = ?3))";

/// An alert that began as ended was ended by nobody.
const ENDED: &str = "
    SELECT status FROM alerts WHERE id = ? AND status IN ('CLOSED', 'RESOLVED') AND last_updated_by IS NOT NULL";

const MATCHES: &str = "
    SELECT row_id, log_type, event_time, detail FROM matches
    WHERE alert_id = ?1 AND (?2 IS NULL OR row_id > ?2)
    ORDER BY row_id
    LIMIT ?3";

#[async_trait]
impl Desk for SqliteStore {
    async fn triage(
        &self,
        ids: &[String],
        change: &TriageChange,
        by: &str,
        now: OffsetDateTime,
    ) -> Result<Vec<String>, StateError> {
        const ATTEMPT: &str = "change alerts";
        let mut tx = self.write(Durability::Power).await?;
        let mut changed = Vec::new();
        for id in ids {
            let row = sqlx::query("SELECT status, assignee FROM alerts WHERE id = ?");
            let Some(row) = row.bind(id).fetch_optional(&mut *tx).await.during(ATTEMPT)? else { continue };
            let assignee: Option<String> = row.try_get("assignee").during(ATTEMPT)?;
            let mut desk = Changing { connection: &mut tx, id, by, now };
            let before = text(&row, "status")?;
            if let Some(status) = change.status {
                desk.change("status", &before, status.as_str()).await?;
            }
            if let Some(after) = &change.assignee {
                desk.change("assignee", assignee.as_deref().unwrap_or_default(), after).await?;
            }
            if let Some(comment) = &change.comment {
                desk.change("comment", "", comment).await?;
            }
            if change.ends() && change.status.map(|status| status.as_str()) != Some(&*before) {
                for destination in &change.tell {
                    tell(&mut tx, id, Some(destination.as_str()), News::Resolved, now).await?;
                }
            }
            changed.push(id.clone());
        }
        tx.commit(ATTEMPT).await?;
        Ok(changed)
    }

    async fn history(&self, alert: &str) -> Result<Vec<Audited>, StateError> {
        let rows = sqlx::query("SELECT * FROM alert_changes WHERE alert_id = ? ORDER BY id")
            .bind(alert)
            .fetch_all(&self.readers)
            .await
            .during("read the history of an alert")?;
        rows.iter().map(audited).collect()
    }

    async fn summary(&self, filter: &AlertFilter) -> Result<Summary, StateError> {
        self.summarized(filter).await
    }

    async fn counted_by(&self, alert: &str, after: Option<RowId>, limit: u32) -> Result<Vec<AlertMatch>, StateError> {
        let rows = sqlx::query(MATCHES)
            .bind(alert)
            .bind(after.map(|row| row.0.to_vec()))
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .during("read what an alert counts")?;
        rows.iter().map(|row| counted(row, row_id(row)?)).collect()
    }

    async fn resend(
        &self,
        alert: &str,
        destinations: &[String],
        by: &str,
        now: OffsetDateTime,
    ) -> Result<bool, StateError> {
        const ATTEMPT: &str = "send an alert again";
        let mut tx = self.write(Durability::Power).await?;
        let known = sqlx::query("SELECT 1 FROM alerts WHERE id = ?").bind(alert);
        if known.fetch_optional(&mut *tx).await.during(ATTEMPT)?.is_none() {
            return tx.undo(ATTEMPT).await.map(|()| false);
        }
        for destination in destinations {
            let again = sqlx::query(RESEND).bind(alert).bind(destination).bind(micros(now));
            again.execute(&mut *tx).await.during(ATTEMPT)?;
            let mut desk = Changing { connection: &mut tx, id: alert, by, now };
            desk.change("resent", "", destination).await?;
        }
        tx.commit(ATTEMPT).await?;
        Ok(true)
    }
}

impl SqliteStore {
    pub(super) async fn comments(&self, alert: &str) -> Result<Vec<Comment>, StateError> {
        let history = self.history(alert).await?.into_iter().filter(|change| change.field == "comment");
        Ok(history.map(|change| Comment { at: change.at, by: change.by, text: change.after }).collect())
    }
}

/// There is news of an alert for a destination, or for all that it went to.
pub(super) async fn tell(
    connection: &mut SqliteConnection,
    alert: &str,
    destination: Option<&str>,
    news: News,
    now: OffsetDateTime,
) -> Result<(), StateError> {
    let tell = sqlx::query(TELL).bind(alert).bind(destination).bind(news.as_str()).bind(micros(now));
    tell.execute(connection).await.during("tell of an alert again")?;
    Ok(())
}

/// Opens an alert again that somebody has ended.
pub(super) async fn reopen(
    connection: &mut SqliteConnection,
    alert: &str,
    now: OffsetDateTime,
) -> Result<(), StateError> {
    let ended = sqlx::query(ENDED).bind(alert).fetch_optional(&mut *connection).await.during("look at an alert")?;
    let Some(row) = ended else { return Ok(()) };
    let mut desk = Changing { connection, id: alert, by: OWN_NAME, now };
    desk.change("status", &text(&row, "status")?, AlertStatus::Open.as_str()).await
}

/// One alert, being changed by someone.
struct Changing<'a> {
    connection: &'a mut SqliteConnection,
    id: &'a str,
    by: &'a str,
    now: OffsetDateTime,
}

impl Changing<'_> {
    async fn change(&mut self, field: &str, before: &str, after: &str) -> Result<(), StateError> {
        const ATTEMPT: &str = "change an alert";
        if before == after {
            return Ok(());
        }
        let column = match field {
            "status" => Some("UPDATE alerts SET status = ?2 WHERE id = ?1"),
            "assignee" => Some("UPDATE alerts SET assignee = nullif(?2, '') WHERE id = ?1"),
            _ => None,
        };
        if let Some(update) = column {
            sqlx::query(update).bind(self.id).bind(after).execute(&mut *self.connection).await.during(ATTEMPT)?;
        }
        let touch = sqlx::query(TOUCH).bind(self.id).bind(self.by).bind(micros(self.now));
        touch.execute(&mut *self.connection).await.during(ATTEMPT)?;
        let change = sqlx::query(CHANGE).bind(self.id).bind(micros(self.now)).bind(self.by);
        let change = change.bind(field).bind(before).bind(after);
        change.execute(&mut *self.connection).await.during(ATTEMPT)?;
        Ok(())
    }
}

fn row_id(row: &SqliteRow) -> Result<RowId, StateError> {
    let id: Vec<u8> = row.try_get("row_id").during("read a row id")?;
    let id = <[u8; 16]>::try_from(id);
    id.map(RowId).map_err(|_| unreadable("row_id", "it has not 16 bytes"))
}
