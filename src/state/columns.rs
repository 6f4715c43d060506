//! How values stand in the columns of both databases, both ways. A value that cannot be read is an error that names it,
//! never a default. What a driver calls a row is behind [`Columns`].

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::de::{DeserializeOwned, IntoDeserializer, value::StrDeserializer};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::window::{Opening, Window, context};
use super::{
    AlertMatch, Attempts, Audited, Ended, Fact, Lift, Noted, ObjectOutcome, ObjectState, PendingDelivery, Placed,
    Planned, StateError, Storm, Summary, Waiting,
};
use crate::model::key_value::{Call, Item, Next};
use crate::model::{Alert, DeliveryResponse, MatchDetail, ObjectRef, RowId, Triage};

/// A row of an answer. Each gives `None` for a null.
pub(super) trait Columns {
    fn text_or_null(&self, column: &str) -> Result<Option<String>, StateError>;
    fn int_or_null(&self, column: &str) -> Result<Option<i64>, StateError>;
}

/// Microseconds since 1970; they reach far beyond any event time that can be written down.
pub(super) fn micros(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos().div_euclid(1000)).expect("years of four digits fit in 64 bits of µs")
}

pub(super) fn time(micros: i64) -> Result<OffsetDateTime, StateError> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).map_err(|error| unreadable("time", error))
}

/// A count as the signed integer of a column.
pub(super) fn int(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A unit variant as its serde name.
pub(super) fn name<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        other => unreachable!("only unit variants are stored by name: {other:?}"),
    }
}

pub(super) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("stored values have string keys and no failing serializer")
}

pub(super) fn text(row: &impl Columns, column: &str) -> Result<String, StateError> {
    row.text_or_null(column)?.ok_or_else(|| unreadable(column, NULL))
}

pub(super) fn count(row: &impl Columns, column: &str) -> Result<u64, StateError> {
    let value = row.int_or_null(column)?.ok_or_else(|| unreadable(column, NULL))?;
    u64::try_from(value).map_err(|error| unreadable(column, error))
}

/// A count of what there is little of.
pub(super) fn small(row: &impl Columns, column: &str) -> Result<u32, StateError> {
    Ok(u32::try_from(count(row, column)?).unwrap_or(u32::MAX))
}

pub(super) fn moment(row: &impl Columns, column: &str) -> Result<OffsetDateTime, StateError> {
    moment_or_null(row, column)?.ok_or_else(|| unreadable(column, NULL))
}

pub(super) fn moment_or_null(row: &impl Columns, column: &str) -> Result<Option<OffsetDateTime>, StateError> {
    row.int_or_null(column)?.map(time).transpose()
}

pub(super) fn named<T: for<'de> Deserialize<'de>>(row: &impl Columns, column: &str) -> Result<T, StateError> {
    let text = text(row, column)?;
    let name: StrDeserializer<'_, serde::de::value::Error> = text.as_str().into_deserializer();
    T::deserialize(name).map_err(|error| unreadable(column, error))
}

pub(super) fn structured<T: DeserializeOwned>(row: &impl Columns, column: &str) -> Result<T, StateError> {
    serde_json::from_str(&text(row, column)?).map_err(|error| unreadable(column, error))
}

/// A row of `schedules`.
pub(super) fn planned(row: &impl Columns) -> Result<Planned, StateError> {
    Ok(Planned {
        query: text(row, "query")?,
        schedule: text(row, "schedule")?,
        due: moment(row, "due")?,
        tries: small(row, "tries")?,
        not_before: moment(row, "not_before")?,
        failures: small(row, "failures")?,
        last: match row.text_or_null("last")? {
            None => None,
            Some(_) => structured(row, "last")?,
        },
    })
}

/// A row of `alerts`.
pub(super) fn alert(row: &impl Columns) -> Result<Alert, StateError> {
    let Opening { rule_version, rule_display_name, detail, tags, reports } = structured(row, "opening")?;
    Ok(Alert {
        id: text(row, "id")?,
        kind: named(row, "kind")?,
        rule_id: text(row, "rule_id")?,
        rule_version,
        rule_display_name,
        title: text(row, "title")?,
        severity: named(row, "severity")?,
        description: detail.description,
        reference: detail.reference,
        runbook: detail.runbook,
        context: context(detail.context),
        dedup: text(row, "dedup")?,
        destinations: detail.destinations,
        status: named(row, "status")?,
        event_count: count(row, "event_count")?,
        log_types: structured(row, "log_types")?,
        first_event_match_time: moment(row, "first_match_at")?,
        created_at: moment(row, "created_at")?,
        updated_at: moment(row, "updated_at")?,
        tags,
        reports,
        delivery_responses: Vec::new(),
        triage: Triage {
            assignee: row.text_or_null("assignee")?,
            comments: Vec::new(),
            last_updated_by: row.text_or_null("last_updated_by")?,
            last_updated_by_time: moment_or_null(row, "last_updated_at")?,
        },
    })
}

/// A match that was recorded before; `open` tells when the window began of an alert that is still open or was never made.
pub(super) fn placed(row: &impl Columns, open: impl Fn(&str) -> Option<OffsetDateTime>) -> Result<Placed, StateError> {
    let (alert_id, recorded) = (row.text_or_null("alert_id")?, moment(row, "recorded_at")?);
    let of_alert = moment_or_null(row, "first_match_at")?;
    let window_began = alert_id.as_deref().map(|id| of_alert.or_else(|| open(id)).unwrap_or(recorded));
    Ok(Placed { alert_id, window_began, recorded })
}

/// A row of `deliveries` with its alert.
pub(super) fn pending(row: &impl Columns) -> Result<PendingDelivery, StateError> {
    Ok(PendingDelivery {
        alert: alert(row)?,
        destination: text(row, "destination")?,
        attempts: small(row, "attempts")?,
        resent: small(row, "resent")?,
        news: named(row, "news")?,
        ticket: row.text_or_null("ticket")?,
    })
}

/// An attempt to deliver an alert, or that there was none yet.
pub(super) fn delivery_response(row: &impl Columns) -> Result<DeliveryResponse, StateError> {
    let status = row.int_or_null("status")?;
    Ok(DeliveryResponse {
        destination_id: text(row, "destination")?,
        attempt: small(row, "attempt")?,
        status_code: status.map(u16::try_from).transpose().map_err(|error| unreadable("status", error))?,
        success: count(row, "success")? != 0,
        message: text(row, "message")?,
        ticket: row.text_or_null("ticket")?,
        dispatched_at: moment_or_null(row, "at")?,
    })
}

/// What waits for one destination.
pub(super) fn waiting(row: &impl Columns) -> Result<Waiting, StateError> {
    Ok(Waiting {
        destination: text(row, "destination")?,
        deliveries: count(row, "deliveries")?,
        oldest: moment(row, "oldest")?,
    })
}

/// A row of `alert_changes`.
pub(super) fn audited(row: &impl Columns) -> Result<Audited, StateError> {
    Ok(Audited {
        at: moment(row, "at")?,
        by: text(row, "by")?,
        field: text(row, "field")?,
        before: text(row, "before")?,
        after: text(row, "after")?,
    })
}

/// A row of `noted`; `None` for a fact that only a newer margay knows.
pub(super) fn noted(row: &impl Columns) -> Result<Option<Noted>, StateError> {
    let Some(fact) = Fact::named(&text(row, "fact")?) else { return Ok(None) };
    Ok(Some(Noted { fact, subject: text(row, "subject")?, at: moment(row, "at")?, detail: text(row, "detail")? }))
}

/// A row of `alert_hours`.
pub(super) fn storm(row: &impl Columns) -> Result<Storm, StateError> {
    Ok(Storm {
        rule_id: text(row, "rule_id")?,
        kind: named(row, "kind")?,
        hour: moment(row, "hour")?,
        opened: count(row, "opened")?,
        held: count(row, "held")?,
        forgiven: count(row, "forgiven")?,
    })
}

/// A row of `rule_lifts`.
pub(super) fn lift(row: &impl Columns) -> Result<Lift, StateError> {
    Ok(Lift {
        rule_id: text(row, "rule_id")?,
        at: moment(row, "at")?,
        by: text(row, "by")?,
        reason: text(row, "reason")?,
    })
}

/// Adds rows of `part`, `value`, `alerts` and `events` up; the part names what was counted by.
pub(super) fn summary<'a, R: Columns + 'a>(rows: impl IntoIterator<Item = &'a R>) -> Result<Summary, StateError> {
    let mut summary = Summary::default();
    for row in rows {
        let (value, alerts) = (text(row, "value")?, count(row, "alerts")?);
        match &*text(row, "part")? {
            "rule" => summary.rules.push((value, alerts)),
            "severity" => summary.severities.push((value, alerts)),
            "status" => summary.statuses.push((value, alerts)),
            "type" => summary.types.push((value, alerts)),
            "day" => summary.days.push((value, alerts)),
            _ => (summary.alerts, summary.events) = (alerts, count(row, "events")?),
        }
    }
    summary.arrange();
    Ok(summary)
}

/// A row of `matches`, but for its id.
pub(super) fn counted(row: &impl Columns, row_id: RowId) -> Result<AlertMatch, StateError> {
    let detail: MatchDetail = structured(row, "detail")?;
    Ok(AlertMatch {
        row_id,
        log_type: text(row, "log_type")?,
        event_time: moment(row, "event_time")?,
        title: detail.title,
        context: context(detail.context),
    })
}

/// A row of `windows`.
pub(super) fn window(row: &impl Columns) -> Result<Window, StateError> {
    Ok(Window {
        number: count(row, "number")?,
        started: moment(row, "started_at")?,
        period_minutes: small(row, "period_minutes")?,
        event_count: count(row, "event_count")?,
        log_types: structured(row, "log_types")?,
        updated: moment(row, "updated_at")?,
        alerted: moment_or_null(row, "alerted_at")?,
        opening: structured(row, "opening")?,
    })
}

/// A row of `objects`.
pub(super) fn object(row: &impl Columns) -> Result<ObjectRef, StateError> {
    Ok(ObjectRef {
        bucket: text(row, "bucket")?,
        key: text(row, "key")?,
        version_id: row.text_or_null("version_id")?,
        etag: row.text_or_null("etag")?,
        size: row.int_or_null("size")?.and_then(|size| u64::try_from(size).ok()),
        region: None,
        sequencer: None,
    })
}

/// A row of `objects` that is finished.
pub(super) fn ended(row: &impl Columns) -> Result<Ended, StateError> {
    let at = moment(row, "finished_at")?;
    Ok(Ended {
        object: object(row)?,
        source: text(row, "source")?,
        outcome: ObjectOutcome {
            state: named(row, "state")?,
            reason: text(row, "reason")?,
            events: count(row, "events")?,
            rejects: count(row, "rejects")?,
            bytes: count(row, "bytes")?,
        },
        at,
        claimed: moment_or_null(row, "claimed_at")?.unwrap_or(at),
        tries: small(row, "started")?,
    })
}

/// Of a row of `objects`; `None` while the object is not finished.
pub(super) fn state(row: &impl Columns) -> Result<Option<ObjectState>, StateError> {
    match row.text_or_null("state")? {
        Some(_) => named(row, "state").map(Some),
        None => Ok(None),
    }
}

/// How the tries of a row went that has its given up ones as JSON. An outcome that is not `Partial` makes them void.
pub(super) fn attempts(row: &impl Columns) -> Result<Attempts, StateError> {
    if state(row)?.is_some_and(|state| state != ObjectState::Partial) {
        return Ok(Attempts::default());
    }
    Ok(Attempts {
        started: small(row, "started")?,
        crashed: small(row, "crashed")?,
        given_up: structured(row, "given_up")?,
    })
}

/// A row of `items`.
pub(super) fn item(row: &impl Columns) -> Result<Item, StateError> {
    Ok(Item { value: structured(row, "value")?, expires: moment(row, "expires_at")? })
}

/// An item with what it is charged for, and to which rule.
pub(super) struct Charged {
    pub(super) item: Item,
    pub(super) rule: String,
    pub(super) bytes: u64,
}

/// The same with the columns of its charge.
pub(super) fn charged(row: &impl Columns) -> Result<Charged, StateError> {
    Ok(Charged { item: item(row)?, rule: text(row, "rule")?, bytes: count(row, "charge")? })
}

impl Charged {
    /// How the sums of rules change when a rule's call makes this of that; in the order of the rules, in which they are
    /// locked.
    pub(super) fn changes(before: Option<&Charged>, next: &Next, call: &Call, rule: &str) -> BTreeMap<String, i64> {
        let mut changes: BTreeMap<String, i64> = BTreeMap::new();
        if *next == Next::Same {
            return changes;
        }
        if let Some(before) = before {
            *changes.entry(before.rule.clone()).or_default() -= int(before.bytes);
        }
        if let Next::Put(item) = next {
            *changes.entry(rule.to_owned()).or_default() += int(item.charge(&call.key));
        }
        changes.retain(|_, bytes| *bytes != 0);
        changes
    }
}

const NULL: &str = "it is null";

pub(super) fn unreadable(what: &str, error: impl Display) -> StateError {
    StateError::Store(format!(
        "the state store holds a `{what}` that this margay cannot read: {error}; was it changed by hand?"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AlertStatus;
    use time::macros::datetime;

    #[test]
    fn the_earliest_and_the_latest_time_survive() {
        for at in [
            datetime!(0001-01-01 00:00:00 UTC),
            datetime!(1969-12-31 23:59:59.999_999 UTC),
            datetime!(9999-12-31 23:59:59.999_999 UTC),
        ] {
            assert_eq!(time(micros(at)).unwrap(), at);
        }
        assert!(time(i64::MAX).is_err());
    }

    #[test]
    fn variants_are_stored_under_their_names() {
        assert_eq!(name(&AlertStatus::Triaged), "TRIAGED");
    }
}
