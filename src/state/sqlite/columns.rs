//! How values stand in columns, both ways. A value that cannot be read is an error that names it, never a default.

use std::fmt::Display;

use serde::de::{DeserializeOwned, IntoDeserializer, value::StrDeserializer};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use time::OffsetDateTime;

use super::During;
use crate::model::{Alert, Triage};
use crate::state::StateError;
use crate::state::window::{Opening, context};

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

pub(super) fn text(row: &SqliteRow, column: &str) -> Result<String, StateError> {
    row.try_get(column).during("read a text")
}

pub(super) fn count(row: &SqliteRow, column: &str) -> Result<u64, StateError> {
    let value: i64 = row.try_get(column).during("read a number")?;
    u64::try_from(value).map_err(|error| unreadable(column, error))
}

pub(super) fn moment(row: &SqliteRow, column: &str) -> Result<OffsetDateTime, StateError> {
    time(row.try_get(column).during("read a time")?)
}

pub(super) fn named<T: for<'de> Deserialize<'de>>(row: &SqliteRow, column: &str) -> Result<T, StateError> {
    let text = text(row, column)?;
    let name: StrDeserializer<'_, serde::de::value::Error> = text.as_str().into_deserializer();
    T::deserialize(name).map_err(|error| unreadable(column, error))
}

pub(super) fn structured<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<T, StateError> {
    serde_json::from_str(&text(row, column)?).map_err(|error| unreadable(column, error))
}

/// A row of `alerts`.
pub(super) fn alert(row: &SqliteRow) -> Result<Alert, StateError> {
    let Opening { rule_version, rule_display_name, detail, tags, reports } = structured(row, "opening")?;
    let changed: Option<i64> = row.try_get("last_updated_at").during("read a time")?;
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
            assignee: row.try_get("assignee").during("read an assignee")?,
            comments: Vec::new(),
            last_updated_by: row.try_get("last_updated_by").during("read who changed an alert")?,
            last_updated_by_time: changed.map(time).transpose()?,
        },
    })
}

fn unreadable(what: &str, error: impl Display) -> StateError {
    StateError::Store(format!(
        "the state file holds a `{what}` that this margay cannot read: {error}; was it changed by hand?"
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
