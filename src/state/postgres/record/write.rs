//! What the hits changed: windows, the alerts of those that reached their threshold, and the deliveries of new ones.

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{BATCH, Group};
use crate::model::Alert;
use crate::state::columns::{int, json, micros, name};
use crate::state::postgres::columns::stored;
use crate::state::postgres::failure::{During, Failure};

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
    UPDATE alerts AS a SET event_count = s.event_count, log_types = s.log_types, updated_at = s.updated_at
    FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[]) AS s (id, event_count, log_types, updated_at)
    WHERE a.id = s.id";

const INSERT_DELIVERIES: &str = "
    INSERT INTO deliveries (alert_id, destination, next_attempt)
    SELECT alert_id, destination, $3 FROM unnest($1::text[], $2::text[]) AS d (alert_id, destination)";

/// One array of a statement: a value of each row.
macro_rules! column {
    ($rows:expr, $row:ident => $value:expr) => {
        $rows.iter().map(|$row| $value).collect::<Vec<_>>()
    };
}

/// Writes the groups; the alerts that this opened.
pub(super) async fn save(
    connection: &mut PgConnection,
    groups: &[Group],
    now: OffsetDateTime,
) -> Result<Vec<Alert>, Failure> {
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
    let (fresh, older): (Vec<&Group>, Vec<&Group>) = groups.iter().partition(|group| group.opened.is_some());
    for batch in fresh.chunks(BATCH) {
        open_alerts(connection, batch, now, &mut opened).await?;
    }
    for batch in older.chunks(BATCH) {
        update_alerts(connection, batch).await?;
    }
    Ok(opened)
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
    let opening = |group: &Group| group.is_placed().then(|| stored(&json(&group.window.opening)).into_owned());
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

async fn open_alerts(
    connection: &mut PgConnection,
    groups: &[&Group],
    now: OffsetDateTime,
    opened: &mut Vec<Alert>,
) -> Result<(), Failure> {
    let alert = |group: &&Group| group.window.alert(&group.key).expect("its window has just opened it");
    let alerts: Vec<Alert> = groups.iter().map(alert).collect();
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
        .bind(column!(groups, group => stored(&json(&group.window.opening)).into_owned()))
        .execute(&mut *connection)
        .await
        .during("open alerts")?;
    let to = |group: &&Group| (group.alert_id.clone(), group.opened.clone().unwrap_or_default());
    let deliveries: Vec<(String, String)> = groups
        .iter()
        .map(to)
        .flat_map(|(alert, names)| names.into_iter().map(move |name| (alert.clone(), name)))
        .collect();
    sqlx::query(INSERT_DELIVERIES)
        .bind(column!(deliveries, delivery => &*delivery.0))
        .bind(column!(deliveries, delivery => stored(&delivery.1)))
        .bind(micros(now))
        .execute(connection)
        .await
        .during("write deliveries")?;
    opened.extend(alerts);
    Ok(())
}

async fn update_alerts(connection: &mut PgConnection, groups: &[&Group]) -> Result<(), Failure> {
    sqlx::query(UPDATE_ALERTS)
        .bind(column!(groups, group => &*group.alert_id))
        .bind(column!(groups, group => int(group.window.event_count)))
        .bind(column!(groups, group => stored(&json(&group.window.log_types)).into_owned()))
        .bind(column!(groups, group => micros(group.window.updated)))
        .execute(connection)
        .await
        .during("update alerts")?;
    Ok(())
}
