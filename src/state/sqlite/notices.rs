//! What margay has to tell of itself, in table `noted` and as alerts, and storms of alerts in table `alert_hours`.

use async_trait::async_trait;
use sqlx::SqliteConnection;
use time::OffsetDateTime;

use super::record::{insert_delivery, save_alert, save_window};
use super::{Durability, During, SqliteStore};
use crate::model::{Alert, AlertStatus, ObjectId, Receiver, Severity};
use crate::state::columns::{lift, micros, named, noted, storm, text, window};
use crate::state::notices::facts_of;
use crate::state::route::{Routed, route};
use crate::state::storm::{TITLES, hour};
use crate::state::{Condition, Fact, Lift, Noted, Notice, Notices, ObjectOutcome, StateError, Storm, Storms};

const NOTE: &str = "
    INSERT INTO noted (fact, subject, at, detail) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT DO UPDATE SET at = ?3, detail = ?4 WHERE at < ?5";

/// An object of no source tells nothing.
const NOTE_OF_OBJECT: &str = "
    INSERT INTO noted (fact, subject, at, detail) SELECT ?2, source, ?3, ?4 FROM objects WHERE id = ?1 AND source <> ''
    ON CONFLICT DO UPDATE SET at = ?3, detail = ?4 WHERE at < ?5";

const HELD_TO: &str = "
    SELECT DISTINCT destination FROM alerts JOIN deliveries ON alert_id = id
    WHERE rule_id = ?1 AND kind = ?2 AND created_at >= ?3 AND created_at < ?4 AND state = 'held'
    ORDER BY destination";

const HELD: &str = "
    SELECT title, severity FROM alerts
    WHERE rule_id = ?1 AND kind = ?2 AND created_at >= ?3 AND created_at < ?4
        AND EXISTS (SELECT 1 FROM deliveries WHERE alert_id = id AND state = 'held')
    ORDER BY created_at, id LIMIT ?5";

/// Whatever has stopped the rule.
const GO_ON: &str = "DELETE FROM noted WHERE subject = ? AND fact IN (?, ?)";

const FORGIVE: &str =
    "UPDATE alert_hours SET forgiven = opened WHERE rule_id = ? AND hour >= ? AND held > 0 AND forgiven < opened";

const LIFT: &str = "INSERT INTO rule_lifts (rule_id, at, by, reason) VALUES (?, ?, ?, ?)";

pub(super) const FORGET_HOURS: &str = "DELETE FROM alert_hours WHERE hour < ? AND held = 0";

pub(super) async fn note(
    connection: &mut SqliteConnection,
    fact: Fact,
    subject: &str,
    detail: &str,
    now: OffsetDateTime,
) -> Result<(), StateError> {
    let note = sqlx::query(NOTE).bind(fact.as_str()).bind(subject).bind(micros(now)).bind(detail);
    let note = note.bind(micros(now - fact.pace()));
    note.execute(connection).await.during("write a fact down")?;
    Ok(())
}

/// Writes down what the outcome of an object says of its source.
pub(super) async fn note_outcome(
    connection: &mut SqliteConnection,
    object: ObjectId,
    outcome: &ObjectOutcome,
    now: OffsetDateTime,
) -> Result<(), StateError> {
    for (fact, detail) in facts_of(outcome) {
        let note = sqlx::query(NOTE_OF_OBJECT).bind(&object.0[..]).bind(fact.as_str()).bind(micros(now)).bind(detail);
        let note = note.bind(micros(now - fact.pace()));
        note.execute(&mut *connection).await.during("write a fact down")?;
    }
    Ok(())
}

/// The detail of a fact that was written down.
pub(super) async fn detail(
    connection: &mut SqliteConnection,
    fact: Fact,
    subject: &str,
) -> Result<Option<String>, StateError> {
    let query = sqlx::query_scalar("SELECT detail FROM noted WHERE fact = ? AND subject = ?");
    query.bind(fact.as_str()).bind(subject).fetch_optional(connection).await.during("look for a fact")
}

#[async_trait]
impl Notices for SqliteStore {
    async fn note(&self, fact: Fact, subject: &str, detail: &str, now: OffsetDateTime) -> Result<(), StateError> {
        let mut tx = self.write(Durability::Process).await?;
        note(&mut tx, fact, subject, detail, now).await?;
        tx.commit("write a fact down").await
    }

    async fn noted(&self) -> Result<Vec<Noted>, StateError> {
        let rows = sqlx::query("SELECT * FROM noted ORDER BY fact, subject").fetch_all(&self.readers).await;
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
        let key = notice.key();
        let mut tx = self.write(Durability::Process).await?;
        let row = sqlx::query("SELECT * FROM windows WHERE rule_id = ? AND kind = ? AND dedup = ?")
            .bind(&*key.rule_id)
            .bind(key.kind.as_str())
            .bind(&key.dedup)
            .fetch_optional(&mut *tx)
            .await
            .during(ATTEMPT)?;
        let last = row.as_ref().map(window).transpose()?;
        let status = match &last {
            None => None,
            Some(last) => {
                let query = sqlx::query("SELECT status FROM alerts WHERE id = ?").bind(key.alert_id(last.number));
                let row = query.fetch_optional(&mut *tx).await.during(ATTEMPT)?;
                row.as_ref().map(|row| named::<AlertStatus>(row, "status")).transpose()?
            }
        };
        // An alert that is not there any more has ended.
        let last = last.as_ref().map(|last| (last, status.unwrap_or(AlertStatus::Closed)));
        let Some(window) = notice.place(last, now) else {
            return tx.undo(ATTEMPT).await.map(|()| None);
        };
        let alert = window.alert(&key).expect("a notice opens its alert at once");
        save_window(&mut tx, &key, &window).await?;
        save_alert(&mut tx, &alert, &window.opening).await?;
        for destination in route(&Routed::by_filters(alert.severity, alert.kind), &notice.receivers(receivers)) {
            insert_delivery(&mut tx, &alert.id, destination, false, now).await?;
        }
        tx.commit(ATTEMPT).await?;
        Ok(Some(alert))
    }
}

#[async_trait]
impl Storms for SqliteStore {
    async fn storms(&self) -> Result<Vec<Storm>, StateError> {
        let rows = sqlx::query("SELECT * FROM alert_hours WHERE held > 0 ORDER BY hour, rule_id, kind");
        let rows = rows.fetch_all(&self.readers).await.during("look for alerts that are held back")?;
        rows.iter().map(storm).collect()
    }

    async fn digest(&self, storm: &Storm, now: OffsetDateTime) -> Result<Option<Alert>, StateError> {
        const ATTEMPT: &str = "open the digest of a storm";
        if storm.end() > now {
            return Ok(None);
        }
        let (kind, from, until) = (storm.kind.as_str(), micros(storm.hour), micros(storm.end()));
        let mut tx = self.write(Durability::Process).await?;
        sqlx::query(FORGET_HOURS).bind(from).execute(&mut *tx).await.during(ATTEMPT)?;
        let gone = sqlx::query("DELETE FROM alert_hours WHERE rule_id = ? AND kind = ? AND hour = ?");
        let gone = gone.bind(&storm.rule_id).bind(kind).bind(from).execute(&mut *tx).await.during(ATTEMPT)?;
        let to = sqlx::query(HELD_TO).bind(&storm.rule_id).bind(kind).bind(from).bind(until);
        let to = to.fetch_all(&mut *tx).await.during(ATTEMPT)?;
        if gone.rows_affected() == 0 || to.is_empty() {
            tx.commit(ATTEMPT).await?;
            return Ok(None);
        }
        let held = sqlx::query(HELD).bind(&storm.rule_id).bind(kind).bind(from).bind(until).bind(TITLES);
        let held = held.fetch_all(&mut *tx).await.during(ATTEMPT)?;
        let titles = held.iter().map(|row| text(row, "title")).collect::<Result<Vec<_>, _>>()?;
        let severities = held.iter().map(|row| named::<Severity>(row, "severity")).collect::<Result<Vec<_>, _>>()?;
        let severity = severities.into_iter().max().unwrap_or(Severity::Info);
        let (alert, opening) = storm.digest(&titles, severity, now);
        save_alert(&mut tx, &alert, &opening).await?;
        for row in &to {
            insert_delivery(&mut tx, &alert.id, &text(row, "destination")?, false, now).await?;
        }
        tx.commit(ATTEMPT).await?;
        Ok(Some(alert))
    }

    async fn lift(&self, lift: &Lift) -> Result<bool, StateError> {
        const ATTEMPT: &str = "let a rule go on";
        let mut tx = self.write(Durability::Power).await?;
        let go_on = sqlx::query(GO_ON).bind(&lift.rule_id);
        let go_on = go_on.bind(Fact::Stopped.as_str()).bind(Fact::Trouble(Condition::RuleStopped).as_str());
        let stopped = go_on.execute(&mut *tx).await.during(ATTEMPT)?.rows_affected();
        let forgive = sqlx::query(FORGIVE).bind(&lift.rule_id).bind(micros(hour(lift.at)));
        let held = forgive.execute(&mut *tx).await.during(ATTEMPT)?.rows_affected();
        if stopped + held == 0 {
            return tx.undo(ATTEMPT).await.map(|()| false);
        }
        let write = sqlx::query(LIFT).bind(&lift.rule_id).bind(micros(lift.at)).bind(&lift.by).bind(&lift.reason);
        write.execute(&mut *tx).await.during(ATTEMPT)?;
        tx.commit(ATTEMPT).await?;
        Ok(true)
    }

    async fn lifts(&self, limit: u32) -> Result<Vec<Lift>, StateError> {
        let rows = sqlx::query("SELECT * FROM rule_lifts ORDER BY id DESC LIMIT ?").bind(limit);
        let rows = rows.fetch_all(&self.readers).await.during("look for rules that were let go on")?;
        rows.iter().map(lift).collect()
    }
}
