//! Conditions on the columns `year`, `month`, `day`, `hour` and `partition_time` as the range of time that they mean, by which
//! files are left out. Pure.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Value};
use time::{Date, Duration, Month, OffsetDateTime, Time};

const HOUR: i64 = 3600;

/// What the conditions on one table's columns say so far.
#[derive(Debug, Default)]
pub(super) struct Parts {
    numbers: BTreeMap<&'static str, i64>,
    from: Option<i64>,
    before: Option<i64>,
}

impl Parts {
    /// `column op value`, all of which must hold.
    pub(super) fn add(&mut self, column: &'static str, operator: &BinaryOperator, value: &Expr) {
        let Some(number) = number(value) else { return };
        if column != "partition_time" {
            if *operator == BinaryOperator::Eq {
                self.numbers.insert(column, number);
            }
            return;
        }
        // The time of the event is up to an hour later.
        let (from, before) = match operator {
            BinaryOperator::Eq => (Some(number), number.checked_add(HOUR)),
            BinaryOperator::GtEq | BinaryOperator::Gt => (Some(number), None),
            BinaryOperator::Lt | BinaryOperator::LtEq => (None, number.checked_add(HOUR)),
            _ => (None, None),
        };
        self.narrow(from, before);
    }

    fn narrow(&mut self, from: Option<i64>, before: Option<i64>) {
        self.from = self.from.max(from);
        self.before = match (self.before, before) {
            (Some(own), Some(other)) => Some(own.min(other)),
            (own, other) => own.or(other),
        };
    }

    /// From when, and before when.
    pub(super) fn range(mut self) -> (Option<OffsetDateTime>, Option<OffsetDateTime>) {
        if let Some((from, before)) = calendar(&self.numbers) {
            self.narrow(Some(from.unix_timestamp()), Some(before.unix_timestamp()));
        }
        let moment = |seconds: Option<i64>| seconds.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
        (moment(self.from), moment(self.before))
    }
}

/// Each part narrows what the one before it says; without it, it says nothing.
fn calendar(numbers: &BTreeMap<&'static str, i64>) -> Option<(OffsetDateTime, OffsetDateTime)> {
    let part = |name: &str| numbers.get(name).copied();
    let first = |year: i32, month: Month| Date::from_calendar_date(year, month, 1).ok();
    let year = i32::try_from(part("year")?).ok()?;
    let Some(month) = part("month").and_then(|month| Month::try_from(u8::try_from(month).ok()?).ok()) else {
        let (from, before) = (first(year, Month::January)?, first(year.checked_add(1)?, Month::January)?);
        return Some((from.midnight().assume_utc(), before.midnight().assume_utc()));
    };
    let date = part("day").and_then(|day| Date::from_calendar_date(year, month, u8::try_from(day).ok()?).ok());
    let Some(date) = date else {
        let from = first(year, month)?;
        let before = if month == Month::December {
            first(year.checked_add(1)?, month.next())?
        } else {
            first(year, month.next())?
        };
        return Some((from.midnight().assume_utc(), before.midnight().assume_utc()));
    };
    let hour = part("hour").and_then(|hour| Time::from_hms(u8::try_from(hour).ok()?, 0, 0).ok());
    let from = date.with_time(hour.unwrap_or(Time::MIDNIGHT)).assume_utc();
    let length = if hour.is_some() { Duration::HOUR } else { Duration::DAY };
    Some((from, from.checked_add(length)?))
}

/// Athena has text there.
fn number(value: &Expr) -> Option<i64> {
    let Expr::Value(value) = value else { return None };
    match &value.value {
        Value::Number(number, _) | Value::SingleQuotedString(number) => number.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn range(conditions: &[(&'static str, BinaryOperator, i64)]) -> (Option<OffsetDateTime>, Option<OffsetDateTime>) {
        let mut parts = Parts::default();
        for (column, operator, number) in conditions {
            parts.add(column, operator, &Expr::value(Value::Number(number.to_string(), false)));
        }
        parts.range()
    }

    #[test]
    fn parts_of_a_date_are_a_range() {
        use BinaryOperator::{Eq, GtEq, Lt};
        for (conditions, from, before) in [
            (vec![("year", Eq, 2026)], datetime!(2026-01-01 0:00 UTC), datetime!(2027-01-01 0:00 UTC)),
            (
                vec![("year", Eq, 2026), ("month", Eq, 12)],
                datetime!(2026-12-01 0:00 UTC),
                datetime!(2027-01-01 0:00 UTC),
            ),
            (
                vec![("day", Eq, 31), ("year", Eq, 2026), ("month", Eq, 1)],
                datetime!(2026-01-31 0:00 UTC),
                datetime!(2026-02-01 0:00 UTC),
            ),
            (
                vec![("year", Eq, 2026), ("month", Eq, 1), ("day", Eq, 31), ("hour", Eq, 23)],
                datetime!(2026-01-31 23:00 UTC),
                datetime!(2026-02-01 0:00 UTC),
            ),
            (
                vec![("partition_time", GtEq, 3600), ("partition_time", Lt, 7200)],
                datetime!(1970-01-01 1:00 UTC),
                datetime!(1970-01-01 3:00 UTC),
            ),
        ] {
            assert_eq!(range(&conditions), (Some(from), Some(before)), "{conditions:?}");
        }
        assert_eq!(range(&[("month", Eq, 1), ("day", Eq, 2)]), (None, None));
        // What no calendar has meets no row anyway.
        assert_eq!(range(&[("year", Eq, i64::MAX)]), (None, None));
        assert!(range(&[("year", Eq, 2026), ("month", Eq, 13)]).0.is_some());
    }
}
