//! What people do with alerts: changes of table `alerts`, each with its line in `alert_changes`. The rows of the alerts are
//! locked first, so that the lines of one alert are numbered in the order in which they came to pass.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;

use super::PostgresStore;
use super::columns::{stored, stored_or_null};
use super::failure::{During, Failure, retried};
use crate::model::{AlertStatus, News, RowId};
use crate::state::columns::{Columns, audited, counted, micros, text};
use crate::state::desk::OWN_NAME;
use crate::state::{AlertFilter, AlertMatch, Audited, Desk, StateError, Summary, TriageChange};

const LOCK: &str = "SELECT id, status, assignee FROM alerts WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE";

/// Of alerts of which something changes; what stays is null, and nobody an empty assignee.
const UPDATE: &str = "
    UPDATE alerts
    SET status = coalesce($2, status), assignee = nullif(coalesce($3, assignee), ''), last_updated_by = $4,
        last_updated_at = $5
    WHERE id = ANY($1)";

const WRITE_DOWN: &str = "
    INSERT INTO alert_changes (alert_id, at, by, field, before, after)
    SELECT alert_id, $5, $6, field, before, after
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY
        AS line (alert_id, field, before, after, place)
    ORDER BY place";

const RESEND: &str = "
    INSERT INTO deliveries (alert_id, destination, next_attempt, resent)
    SELECT $1, destination, $3, 1 FROM unnest($2::text[]) AS to_one (destination) ORDER BY destination
    ON CONFLICT (alert_id, destination) DO UPDATE SET
        state = 'pending', attempts = 0, next_attempt = excluded.next_attempt, leased_until = NULL, last_error = NULL,
        finished_at = NULL, resent = deliveries.resent + 1, news = 'OPENED', follow = NULL, ticket = NULL";

/// A destination is told when it has taken what came before. What it never got, or is held back, is not followed up, and
/// nothing comes behind the end.
const TELL: &str = "
    UPDATE deliveries
    SET follow = CASE WHEN state = 'pending' AND news = 'OPENED' THEN $3 END,
        news = CASE WHEN state = 'pending' AND news = 'OPENED' THEN news ELSE $3 END,
        attempts = CASE WHEN state = 'pending' AND news = 'OPENED' THEN attempts ELSE 0 END,
        next_attempt = CASE WHEN state = 'pending' THEN next_attempt ELSE $4 END,
        state = 'pending', finished_at = NULL
    WHERE alert_id = ANY($1) AND ($2::text[] IS NULL OR destination = ANY($2)) AND state IN ('pending', 'delivered')
        AND news <> 'RESOLVED' AND coalesce(follow, '') <> 'RESOLVED'
        AND NOT (state = 'pending' AND (news = $3 OR coalesce(follow, '') = $3))";

/// An alert that began as ended was ended by nobody.
const ENDED: &str = "
    SELECT id, status FROM alerts
    WHERE id = ANY($1) AND status IN ('CLOSED', 'RESOLVED') AND last_updated_by IS NOT NULL
    ORDER BY id FOR NO KEY UPDATE";

const MATCHES: &str = "
    SELECT row_id, log_type, event_time, detail FROM matches
    WHERE alert_id = $1 AND ($2::bytea IS NULL OR row_id > $2)
    ORDER BY row_id
    LIMIT $3";

#[async_trait]
impl Desk for PostgresStore {
    async fn triage(
        &self,
        ids: &[String],
        change: &TriageChange,
        by: &str,
        now: OffsetDateTime,
    ) -> Result<Vec<String>, StateError> {
        retried(move || async move {
            let mut tx = self.begin().await?;
            let mut found = lock(&mut tx, ids).await?;
            let there: Vec<Standing> = ids.iter().filter_map(|id| found.remove(id)).collect();
            let lines: Vec<Line<'_>> = there.iter().flat_map(|standing| standing.lines(change)).collect();
            write(&mut tx, &lines, change, by, now).await?;
            let ended = lines.iter().filter(|line| line.field == "status" && change.ends());
            let ended: Vec<&str> = ended.map(|line| line.alert).collect();
            if !ended.is_empty() && !change.tell.is_empty() {
                tell(&mut tx, &ended, Some(change.tell.as_slice()), News::Resolved, now).await?;
            }
            tx.commit().await.during("change alerts")?;
            Ok(there.into_iter().map(|standing| standing.id).collect())
        })
        .await
    }

    async fn history(&self, alert: &str) -> Result<Vec<Audited>, StateError> {
        let rows = sqlx::query("SELECT * FROM alert_changes WHERE alert_id = $1 ORDER BY number")
            .bind(stored(alert))
            .fetch_all(&self.pool)
            .await
            .during("read the history of an alert")?;
        rows.iter().map(audited).collect()
    }

    async fn summary(&self, filter: &AlertFilter) -> Result<Summary, StateError> {
        self.summarized(filter).await
    }

    async fn counted_by(&self, alert: &str, after: Option<RowId>, limit: u32) -> Result<Vec<AlertMatch>, StateError> {
        const ATTEMPT: &str = "read what an alert counts";
        let rows = sqlx::query(MATCHES)
            .bind(stored(alert))
            .bind(after.map(|row| row.0.to_vec()))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .during(ATTEMPT)?;
        rows.iter().map(|row| counted(row, RowId(row.try_get("row_id").during(ATTEMPT)?))).collect()
    }

    async fn resend(
        &self,
        alert: &str,
        destinations: &[String],
        by: &str,
        now: OffsetDateTime,
    ) -> Result<bool, StateError> {
        const ATTEMPT: &str = "send an alert again";
        let (ids, named) = (&[alert.to_owned()], &BTreeSet::from_iter(destinations));
        retried(move || async move {
            let mut tx = self.begin().await?;
            if lock(&mut tx, ids).await?.is_empty() {
                return Ok(false);
            }
            sqlx::query(RESEND)
                .bind(stored(alert))
                .bind(named.iter().map(|name| stored(name)).collect::<Vec<_>>())
                .bind(micros(now))
                .execute(&mut *tx)
                .await
                .during(ATTEMPT)?;
            let line = |name: &&String| Line { alert, field: "resent", before: String::new(), after: (*name).clone() };
            let lines: Vec<Line<'_>> = named.iter().map(line).collect();
            write(&mut tx, &lines, &TriageChange::default(), by, now).await?;
            tx.commit().await.during(ATTEMPT)?;
            Ok(true)
        })
        .await
    }
}

/// There is news of alerts for these destinations, or for all that they went to.
pub(super) async fn tell(
    connection: &mut PgConnection,
    alerts: &[&str],
    destinations: Option<&[String]>,
    news: News,
    now: OffsetDateTime,
) -> Result<(), Failure> {
    let destinations = destinations.map(|names| names.iter().map(|name| stored(name)).collect::<Vec<_>>());
    let tell = sqlx::query(TELL).bind(alerts).bind(destinations).bind(news.as_str()).bind(micros(now));
    tell.execute(connection).await.during("tell of alerts again")?;
    Ok(())
}

/// Opens alerts again that somebody has ended.
pub(super) async fn reopen(connection: &mut PgConnection, alerts: &[&str], now: OffsetDateTime) -> Result<(), Failure> {
    let ended = sqlx::query(ENDED).bind(alerts).fetch_all(&mut *connection).await.during("look at alerts")?;
    let ended: Vec<(String, String)> =
        ended.iter().map(|row| Ok((text(row, "id")?, text(row, "status")?))).collect::<Result<_, StateError>>()?;
    let mut lines = Vec::new();
    for (alert, before) in &ended {
        let after = AlertStatus::Open.as_str().to_owned();
        lines.push(Line { alert, field: "status", before: before.clone(), after });
    }
    if lines.is_empty() {
        return Ok(());
    }
    let change = TriageChange { status: Some(AlertStatus::Open), ..TriageChange::default() };
    write(connection, &lines, &change, OWN_NAME, now).await
}

/// Where an alert stands that is about to be changed.
struct Standing {
    id: String,
    status: String,
    assignee: String,
}

/// A line of the history of an alert.
struct Line<'a> {
    alert: &'a str,
    field: &'static str,
    before: String,
    after: String,
}

impl Standing {
    /// Of what the change changes.
    fn lines(&self, change: &TriageChange) -> Vec<Line<'_>> {
        let line = |field, before: &str, after: Option<&str>| {
            let after = after.filter(|after| *after != before)?;
            Some(Line { alert: &self.id, field, before: before.to_owned(), after: after.to_owned() })
        };
        let lines = [
            line("status", &self.status, change.status.map(|status| status.as_str())),
            line("assignee", &self.assignee, change.assignee.as_deref()),
            line("comment", "", change.comment.as_deref()),
        ];
        lines.into_iter().flatten().collect()
    }
}

/// The alerts that there are, by id.
async fn lock(connection: &mut PgConnection, ids: &[String]) -> Result<HashMap<String, Standing>, Failure> {
    let ids: Vec<_> = ids.iter().map(|id| stored(id)).collect();
    let rows = sqlx::query(LOCK).bind(ids).fetch_all(connection).await.during("look for alerts")?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in &rows {
        let assignee = row.text_or_null("assignee")?.unwrap_or_default();
        let standing = Standing { id: text(row, "id")?, status: text(row, "status")?, assignee };
        found.insert(standing.id.clone(), standing);
    }
    Ok(found)
}

async fn write(
    connection: &mut PgConnection,
    lines: &[Line<'_>],
    change: &TriageChange,
    by: &str,
    now: OffsetDateTime,
) -> Result<(), Failure> {
    const ATTEMPT: &str = "change alerts";
    let alerts: Vec<&str> = lines.iter().map(|line| line.alert).collect();
    sqlx::query(UPDATE)
        .bind(&alerts)
        .bind(change.status.map(|status| status.as_str()))
        .bind(stored_or_null(change.assignee.as_ref()))
        .bind(stored(by))
        .bind(micros(now))
        .execute(&mut *connection)
        .await
        .during(ATTEMPT)?;
    sqlx::query(WRITE_DOWN)
        .bind(&alerts)
        .bind(lines.iter().map(|line| line.field).collect::<Vec<_>>())
        .bind(lines.iter().map(|line| stored(&line.before)).collect::<Vec<_>>())
        .bind(lines.iter().map(|line| stored(&line.after)).collect::<Vec<_>>())
        .bind(micros(now))
        .bind(stored(by))
        .execute(connection)
        .await
        .during(ATTEMPT)?;
    Ok(())
}
