//! What margay has to tell of itself, in table `noted` and as alerts, and storms of alerts in table `alert_hours`.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::{Executor, PgConnection, Postgres};
use time::OffsetDateTime;

use super::PostgresStore;
use super::columns::stored;
use super::failure::{During, Failure, retried};
use super::record::{Group, write};
use crate::model::{Alert, AlertStatus, Receiver, Severity};
use crate::state::columns::{lift, micros, named, noted, storm, text, window};
use crate::state::route::{Routed, route};
use crate::state::storm::{Hours, TITLES, hour};
use crate::state::window::{GroupKey, Window};
use crate::state::{Condition, Fact, Lift, Noted, Notice, Notices, StateError, Storm, Storms};

/// A row that is new enough is not even locked.
const NOTE: &str = "
    INSERT INTO noted (fact, subject, at, detail)
    SELECT $1, $2, $3, $4
    WHERE NOT EXISTS (SELECT 1 FROM noted AS n WHERE n.fact = $1 AND n.subject = $2 AND n.at >= $5)
    ON CONFLICT (fact, subject) DO UPDATE SET at = excluded.at, detail = excluded.detail WHERE noted.at < $5";

const HELD_TO: &str = "
    SELECT DISTINCT destination FROM alerts JOIN deliveries ON alert_id = id
    WHERE rule_id = $1 AND kind = $2 AND created_at >= $3 AND created_at < $4 AND state = 'held'
    ORDER BY destination";

const HELD: &str = "
    SELECT title, severity FROM alerts
    WHERE rule_id = $1 AND kind = $2 AND created_at >= $3 AND created_at < $4
        AND EXISTS (SELECT 1 FROM deliveries WHERE alert_id = id AND state = 'held')
    ORDER BY created_at, id LIMIT $5";

/// Whatever has stopped the rule.
const GO_ON: &str = "DELETE FROM noted WHERE subject = $1 AND fact = ANY($2)";

const FORGIVE: &str = "
    UPDATE alert_hours SET forgiven = opened WHERE rule_id = $1 AND hour >= $2 AND held > 0 AND forgiven < opened";

const LIFT: &str = "INSERT INTO rule_lifts (rule_id, at, by, reason) VALUES ($1, $2, $3, $4)";

pub(super) const FORGET_HOURS: &str = "
    DELETE FROM alert_hours WHERE (rule_id, kind, hour) IN (
        SELECT rule_id, kind, hour FROM alert_hours WHERE hour < $1 AND held = 0 FOR UPDATE SKIP LOCKED)";

pub(super) async fn note(
    connection: &mut PgConnection,
    fact: Fact,
    subject: &str,
    detail: &str,
    now: OffsetDateTime,
) -> Result<(), Failure> {
    let note = sqlx::query(NOTE).bind(fact.as_str()).bind(stored(subject)).bind(micros(now)).bind(stored(detail));
    let note = note.bind(micros(now - fact.pace()));
    note.execute(connection).await.during("write a fact down")?;
    Ok(())
}

/// Of these rules, those that were stopped, with the version in which that was.
pub(super) async fn stopped(
    connection: &mut PgConnection,
    rules: impl Iterator<Item = &str>,
) -> Result<HashMap<String, String>, Failure> {
    let rules: Vec<String> = rules.map(|rule| stored(rule).into_owned()).collect();
    let query = sqlx::query("SELECT subject, detail FROM noted WHERE fact = $1 AND subject = ANY($2)");
    let rows = query.bind(Fact::Stopped.as_str()).bind(rules).fetch_all(connection).await;
    let rows = rows.during("look for rules that were stopped")?;
    Ok(rows.iter().map(|row| Ok((text(row, "subject")?, text(row, "detail")?))).collect::<Result<_, StateError>>()?)
}

/// The last window of a notice, and how its alert stands. One that is not there any more has ended.
async fn last(
    connection: impl Executor<'_, Database = Postgres>,
    query: &'static str,
    group: &str,
) -> Result<Option<(Window, AlertStatus)>, Failure> {
    let row = sqlx::query(query).bind(group).fetch_optional(connection).await.during("look for a system alert")?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some((window(&row)?, AlertStatus::Closed)))
}

const LAST: &str = "SELECT * FROM windows WHERE group_id = $1";
const LOCK_LAST: &str = "SELECT * FROM windows WHERE group_id = $1 FOR NO KEY UPDATE";

#[async_trait]
impl Notices for PostgresStore {
    async fn note(&self, fact: Fact, subject: &str, detail: &str, now: OffsetDateTime) -> Result<(), StateError> {
        retried(move || async move {
            let mut connection = self.pool.acquire().await.during("write a fact down")?;
            note(&mut connection, fact, subject, detail, now).await
        })
        .await
    }

    async fn noted(&self) -> Result<Vec<Noted>, StateError> {
        let rows = sqlx::query("SELECT * FROM noted ORDER BY fact, subject").fetch_all(&self.pool).await;
        let rows = rows.during("read the facts that were written down")?;
        rows.iter().filter_map(|row| noted(row).transpose()).collect()
    }

    async fn raise(
        &self,
        notice: &Notice,
        receivers: &[Receiver],
        now: OffsetDateTime,
    ) -> Result<Option<Alert>, StateError> {
        const ATTEMPT: &str = "raise a system alert";
        let (key, receivers) = (&notice.key(), &notice.receivers(receivers));
        let group = &key.id();
        retried(move || async move {
            let mut connection = self.pool.acquire().await.during(ATTEMPT)?;
            // Most of the time it stands already, and then nothing is locked.
            let found = last(&mut *connection, LAST, group).await?;
            let standing = with_status(&mut connection, key, found).await?;
            if notice.place(borrowed(&standing), now).is_none() {
                return Ok(None);
            }
            drop(connection);
            let mut tx = self.begin().await?;
            let found = last(&mut *tx, LOCK_LAST, group).await?;
            let standing = with_status(&mut tx, key, found).await?;
            let Some(window) = notice.place(borrowed(&standing), now) else { return Ok(None) };
            let severity = window.opening.detail.severity;
            let names = route(&Routed::by_filters(severity, key.kind), receivers);
            let names = names.into_iter().map(String::from).collect();
            let number = standing.map(|(last, _)| last.number);
            let group = Group::opened(key.clone(), number, window, names);
            let (mut opened, _) = write::save(&mut tx, &[group], &mut Hours::default(), now).await?;
            tx.commit().await.during(ATTEMPT)?;
            Ok(opened.pop())
        })
        .await
    }
}

type Standing = Option<(Window, AlertStatus)>;

fn borrowed(standing: &Standing) -> Option<(&Window, AlertStatus)> {
    standing.as_ref().map(|(window, status)| (window, *status))
}

/// Behind the lock of the window: who ends an alert does not lock that.
async fn with_status(connection: &mut PgConnection, key: &GroupKey, last: Standing) -> Result<Standing, Failure> {
    let Some((window, closed)) = last else { return Ok(None) };
    let query = sqlx::query("SELECT status FROM alerts WHERE id = $1").bind(key.alert_id(window.number));
    let row = query.fetch_optional(connection).await.during("look at a system alert")?;
    let status = row.as_ref().map(|row| named::<AlertStatus>(row, "status")).transpose()?;
    Ok(Some((window, status.unwrap_or(closed))))
}

#[async_trait]
impl Storms for PostgresStore {
    async fn storms(&self) -> Result<Vec<Storm>, StateError> {
        let rows = sqlx::query("SELECT * FROM alert_hours WHERE held > 0 ORDER BY hour, rule_id, kind");
        let rows = rows.fetch_all(&self.pool).await.during("look for alerts that are held back")?;
        rows.iter().map(storm).collect()
    }

    async fn digest(&self, storm: &Storm, now: OffsetDateTime) -> Result<Option<Alert>, StateError> {
        if storm.end() > now {
            return Ok(None);
        }
        retried(move || async move {
            let mut tx = self.begin().await?;
            let opened = open_digest(&mut tx, storm, now).await?;
            tx.commit().await.during("open the digest of a storm")?;
            Ok(opened)
        })
        .await
    }

    async fn lift(&self, lift: &Lift) -> Result<bool, StateError> {
        const ATTEMPT: &str = "let a rule go on";
        retried(move || async move {
            let rule = stored(&lift.rule_id);
            let mut tx = self.begin().await?;
            let facts = [Fact::Stopped.as_str(), Fact::Trouble(Condition::RuleStopped).as_str()];
            let go_on = sqlx::query(GO_ON).bind(&*rule).bind(&facts[..]);
            let stopped = go_on.execute(&mut *tx).await.during(ATTEMPT)?.rows_affected();
            let forgive = sqlx::query(FORGIVE).bind(&*rule).bind(micros(hour(lift.at)));
            let held = forgive.execute(&mut *tx).await.during(ATTEMPT)?.rows_affected();
            if stopped + held == 0 {
                return Ok(false);
            }
            let write = sqlx::query(LIFT).bind(&*rule).bind(micros(lift.at));
            let write = write.bind(stored(&lift.by)).bind(stored(&lift.reason));
            write.execute(&mut *tx).await.during(ATTEMPT)?;
            tx.commit().await.during(ATTEMPT)?;
            Ok(true)
        })
        .await
    }

    async fn lifts(&self, limit: u32) -> Result<Vec<Lift>, StateError> {
        let rows = sqlx::query("SELECT * FROM rule_lifts ORDER BY number DESC LIMIT $1").bind(i64::from(limit));
        let rows = rows.fetch_all(&self.pool).await.during("look for rules that were let go on")?;
        rows.iter().map(lift).collect()
    }
}

async fn open_digest(
    connection: &mut PgConnection,
    storm: &Storm,
    now: OffsetDateTime,
) -> Result<Option<Alert>, Failure> {
    const ATTEMPT: &str = "open the digest of a storm";
    let (rule, kind) = (stored(&storm.rule_id), storm.kind.as_str());
    let (from, until) = (micros(storm.hour), micros(storm.end()));
    sqlx::query(FORGET_HOURS).bind(from).execute(&mut *connection).await.during(ATTEMPT)?;
    let gone = sqlx::query("DELETE FROM alert_hours WHERE rule_id = $1 AND kind = $2 AND hour = $3");
    let gone = gone.bind(&*rule).bind(kind).bind(from).execute(&mut *connection).await.during(ATTEMPT)?;
    if gone.rows_affected() == 0 {
        return Ok(None);
    }
    let to = sqlx::query(HELD_TO).bind(&*rule).bind(kind).bind(from).bind(until);
    let to = to.fetch_all(&mut *connection).await.during(ATTEMPT)?;
    if to.is_empty() {
        return Ok(None);
    }
    let held = sqlx::query(HELD).bind(&*rule).bind(kind).bind(from).bind(until).bind(i64::from(TITLES));
    let held = held.fetch_all(&mut *connection).await.during(ATTEMPT)?;
    let titles = held.iter().map(|row| text(row, "title")).collect::<Result<Vec<_>, _>>()?;
    let severities = held.iter().map(|row| named::<Severity>(row, "severity")).collect::<Result<Vec<_>, _>>()?;
    let severity = severities.into_iter().max().unwrap_or(Severity::Info);
    let (alert, opening) = storm.digest(&titles, severity, now);
    write::insert_alerts(connection, std::slice::from_ref(&alert), &[&opening]).await?;
    let names = to.iter().map(|row| text(row, "destination")).collect::<Result<Vec<_>, _>>()?;
    let deliveries: Vec<(&str, &str, bool)> = names.iter().map(|name| (&*alert.id, &**name, false)).collect();
    write::insert_deliveries(connection, &deliveries, now).await?;
    Ok(Some(alert))
}
