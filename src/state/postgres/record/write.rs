//! What the hits changed: windows, the alerts of those that reached their threshold, and the deliveries of new ones.

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{BATCH, Group};
use crate::model::{Alert, News};
use crate::state::Fact;
use crate::state::columns::{count, int, json, micros, name, text};
use crate::state::postgres::columns::stored;
use crate::state::postgres::failure::{During, Failure};
use crate::state::postgres::{desk, notices};
use crate::state::storm::{HELD, HourKey, Hours, hour};
use crate::state::window::{Asks, Opening};

const OPEN_WINDOWS: &str = "
    INSERT INTO windows
        (group_id, rule_id, kind, dedup, number, started_at, period_minutes, event_count, log_types, updated_at,
         alerted_at, opening)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[],
        $8::bigint[], $9::text[], $10::bigint[], $11::bigint[], $12::text[])
    ON CONFLICT DO NOTHING";

/// The opening is written when it is another one.
const SAVE_WINDOWS: &str = "
    UPDATE windows AS w
    SET number = s.number, started_at = s.started_at, period_minutes = s.period_minutes, event_count = s.event_count,
        log_types = s.log_types, updated_at = s.updated_at, alerted_at = s.alerted_at,
        opening = coalesce(s.opening, w.opening)
    FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::bigint[],
            $8::bigint[], $9::text[])
        AS s (group_id, number, started_at, period_minutes, event_count, log_types, updated_at, alerted_at, opening)
    WHERE w.group_id = s.group_id";

const OPEN_ALERTS: &str = "
    INSERT INTO alerts
        (id, rule_id, kind, dedup, title, severity, status, event_count, log_types, first_match_at, created_at,
         updated_at, opening)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
        $8::bigint[], $9::text[], $10::bigint[], $11::bigint[], $12::bigint[], $13::text[])";

/// What people may have changed since (the status) is not touched by later matches.
const UPDATE_ALERTS: &str = "
    UPDATE alerts AS a
    SET event_count = s.event_count, log_types = s.log_types, updated_at = s.updated_at, severity = s.severity
    FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::text[])
        AS s (id, event_count, log_types, updated_at, severity)
    WHERE a.id = s.id";

const INSERT_DELIVERIES: &str = "
    INSERT INTO deliveries (alert_id, destination, next_attempt, state, last_error)
    SELECT alert_id, destination, $3, CASE WHEN is_held THEN 'held' ELSE 'pending' END, CASE WHEN is_held THEN $5 END
    FROM unnest($1::text[], $2::text[], $4::bool[]) AS d (alert_id, destination, is_held)";

/// The rows stay locked until the transaction ends, which is short from here on.
const COUNT_HOURS: &str = "
    INSERT INTO alert_hours AS h (rule_id, kind, hour, opened)
    SELECT rule_id, kind, $4, opened FROM unnest($1::text[], $2::text[], $3::bigint[]) AS c (rule_id, kind, opened)
    ORDER BY rule_id, kind
    ON CONFLICT (rule_id, kind, hour) DO UPDATE SET opened = h.opened + excluded.opened
    RETURNING rule_id, kind, opened - forgiven AS opened";

const HOLD: &str = "
    UPDATE alert_hours AS h SET held = h.held + c.held
    FROM unnest($1::text[], $2::text[], $3::bigint[]) AS c (rule_id, kind, held)
    WHERE h.rule_id = c.rule_id AND h.kind = c.kind AND h.hour = $4";

/// One array of a statement: a value of each row.
macro_rules! column {
    ($rows:expr, $row:ident => $value:expr) => {
        $rows.iter().map(|$row| $value).collect::<Vec<_>>()
    };
}

/// Writes the groups; the alerts that this opened, and how many of them are held back. The hours come last: whoever waits
/// for them waits for little.
pub(in crate::state::postgres) async fn save(
    connection: &mut PgConnection,
    groups: &[Group],
    hours: &mut Hours,
    now: OffsetDateTime,
) -> Result<(Vec<Alert>, u64), Failure> {
    let mut new: Vec<&Group> = groups.iter().filter(|group| group.found.is_none()).collect();
    new.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    for batch in new.chunks(BATCH) {
        open_windows(connection, batch).await?;
    }
    let known: Vec<&Group> = groups.iter().filter(|group| group.found.is_some()).collect();
    for batch in known.chunks(BATCH) {
        save_windows(connection, batch).await?;
    }
    let mut opened = Vec::new();
    let (mut fresh, older): (Vec<&Group>, Vec<&Group>) = groups.iter().partition(|group| group.opened.is_some());
    // Which of an hour are delivered goes by who was first.
    fresh.sort_by_key(|group| group.opened.as_ref().map(|(turn, _)| *turn));
    for batch in fresh.chunks(BATCH) {
        let alert = |group: &&Group| group.window.alert(&group.key).expect("its window has just opened it");
        let alerts: Vec<Alert> = batch.iter().map(alert).collect();
        insert_alerts(connection, &alerts, &column!(batch, group => &group.window.opening)).await?;
        opened.extend(alerts);
    }
    for batch in older.chunks(BATCH) {
        update_alerts(connection, batch, now).await?;
    }
    count_hours(connection, hours, now).await?;
    let mut held = 0;
    for batch in fresh.chunks(BATCH) {
        let mut deliveries = Vec::new();
        for group in batch {
            let is_held = !hours.delivers(&group.key);
            held += u64::from(is_held);
            let names = group.opened.iter().flat_map(|(_, names)| names);
            deliveries.extend(names.map(|name| (group.alert_id.as_str(), name.as_str(), is_held)));
        }
        insert_deliveries(connection, &deliveries, now).await?;
    }
    Ok((opened, held))
}

/// Adds what is opened to the counts of the hour, which decide what is delivered.
async fn count_hours(connection: &mut PgConnection, hours: &mut Hours, now: OffsetDateTime) -> Result<(), Failure> {
    const ATTEMPT: &str = "count the alerts of an hour";
    let hour = micros(hour(now));
    let counts: Vec<(HourKey, u64)> = hours.counts().map(|(key, new)| (key.clone(), new)).collect();
    if counts.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query(COUNT_HOURS)
        .bind(column!(counts, count => stored(&count.0.rule_id)))
        .bind(column!(counts, count => count.0.kind))
        .bind(column!(counts, count => int(count.1)))
        .bind(hour)
        .fetch_all(&mut *connection)
        .await
        .during(ATTEMPT)?;
    for row in &rows {
        let (rule, kind) = (text(row, "rule_id")?, text(row, "kind")?);
        if let Some((key, _)) = counts.iter().find(|(key, _)| *key.rule_id == *rule && key.kind == kind) {
            hours.counted(key, count(row, "opened")?);
        }
    }
    let held: Vec<(&HourKey, u64)> = hours.held().collect();
    if !held.is_empty() {
        sqlx::query(HOLD)
            .bind(column!(held, held => stored(&held.0.rule_id)))
            .bind(column!(held, held => held.0.kind))
            .bind(column!(held, held => int(held.1)))
            .bind(hour)
            .execute(&mut *connection)
            .await
            .during(ATTEMPT)?;
    }
    for (rule, version) in hours.stopped() {
        notices::note(connection, Fact::Stopped, rule, version, now).await?;
    }
    Ok(())
}

async fn open_windows(connection: &mut PgConnection, groups: &[&Group]) -> Result<(), Failure> {
    const ATTEMPT: &str = "open windows";
    let inserted = sqlx::query(OPEN_WINDOWS)
        .bind(column!(groups, group => &*group.id))
        .bind(column!(groups, group => stored(&group.key.rule_id)))
        .bind(column!(groups, group => group.key.kind.as_str()))
        .bind(column!(groups, group => stored(&group.key.dedup)))
        .bind(column!(groups, group => int(group.window.number)))
        .bind(column!(groups, group => micros(group.window.started)))
        .bind(column!(groups, group => i64::from(group.window.period_minutes)))
        .bind(column!(groups, group => int(group.window.event_count)))
        .bind(column!(groups, group => stored(&json(&group.window.log_types)).into_owned()))
        .bind(column!(groups, group => micros(group.window.updated)))
        .bind(column!(groups, group => group.window.alerted.map(micros)))
        .bind(column!(groups, group => stored(&json(&group.window.opening)).into_owned()))
        .execute(connection)
        .await
        .during(ATTEMPT)?;
    // Another transaction opened one of them since they were looked for.
    if inserted.rows_affected() < groups.len() as u64 { Err(Failure::conflict(ATTEMPT)) } else { Ok(()) }
}

async fn save_windows(connection: &mut PgConnection, groups: &[&Group]) -> Result<(), Failure> {
    let opening = |group: &Group| group.is_new_opening().then(|| stored(&json(&group.window.opening)).into_owned());
    sqlx::query(SAVE_WINDOWS)
        .bind(column!(groups, group => &*group.id))
        .bind(column!(groups, group => int(group.window.number)))
        .bind(column!(groups, group => micros(group.window.started)))
        .bind(column!(groups, group => i64::from(group.window.period_minutes)))
        .bind(column!(groups, group => int(group.window.event_count)))
        .bind(column!(groups, group => stored(&json(&group.window.log_types)).into_owned()))
        .bind(column!(groups, group => micros(group.window.updated)))
        .bind(column!(groups, group => group.window.alerted.map(micros)))
        .bind(column!(groups, group => opening(group)))
        .execute(connection)
        .await
        .during("save windows")?;
    Ok(())
}

pub(in crate::state::postgres) async fn insert_alerts(
    connection: &mut PgConnection,
    alerts: &[Alert],
    openings: &[&Opening],
) -> Result<(), Failure> {
    sqlx::query(OPEN_ALERTS)
        .bind(column!(alerts, alert => &*alert.id))
        .bind(column!(alerts, alert => stored(&alert.rule_id)))
        .bind(column!(alerts, alert => alert.kind.as_str()))
        .bind(column!(alerts, alert => stored(&alert.dedup)))
        .bind(column!(alerts, alert => stored(&alert.title)))
        .bind(column!(alerts, alert => alert.severity.as_str()))
        .bind(column!(alerts, alert => name(&alert.status)))
        .bind(column!(alerts, alert => int(alert.event_count)))
        .bind(column!(alerts, alert => stored(&json(&alert.log_types)).into_owned()))
        .bind(column!(alerts, alert => micros(alert.first_event_match_time)))
        .bind(column!(alerts, alert => micros(alert.created_at)))
        .bind(column!(alerts, alert => micros(alert.updated_at)))
        .bind(column!(openings, opening => stored(&json(opening)).into_owned()))
        .execute(connection)
        .await
        .during("open alerts")?;
    Ok(())
}

/// Alert, destination, and whether it is held back.
pub(in crate::state::postgres) async fn insert_deliveries(
    connection: &mut PgConnection,
    deliveries: &[(&str, &str, bool)],
    now: OffsetDateTime,
) -> Result<(), Failure> {
    sqlx::query(INSERT_DELIVERIES)
        .bind(column!(deliveries, delivery => delivery.0))
        .bind(column!(deliveries, delivery => stored(delivery.1)))
        .bind(micros(now))
        .bind(column!(deliveries, delivery => delivery.2))
        .bind(HELD)
        .execute(connection)
        .await
        .during("write deliveries")?;
    Ok(())
}

async fn update_alerts(connection: &mut PgConnection, groups: &[&Group], now: OffsetDateTime) -> Result<(), Failure> {
    sqlx::query(UPDATE_ALERTS)
        .bind(column!(groups, group => &*group.alert_id))
        .bind(column!(groups, group => int(group.window.event_count)))
        .bind(column!(groups, group => stored(&json(&group.window.log_types)).into_owned()))
        .bind(column!(groups, group => micros(group.window.updated)))
        .bind(column!(groups, group => group.window.opening.detail.severity.as_str()))
        .execute(&mut *connection)
        .await
        .during("update alerts")?;
    let asking = |asks: fn(&Asks) -> bool| {
        let groups = groups.iter().filter(move |group| asks(&group.asks));
        groups.map(|group| group.alert_id.as_str()).collect::<Vec<_>>()
    };
    let reopening = asking(|asks| asks.reopening);
    if !reopening.is_empty() {
        desk::reopen(connection, &reopening, now).await?;
    }
    let told = asking(|asks| asks.update);
    if !told.is_empty() {
        desk::tell(connection, &told, None, News::Updated, now).await?;
    }
    Ok(())
}
