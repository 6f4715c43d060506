//! The columns that every table has beside its own, `year`, `month`, `day`, `hour` and `partition_time`, as a range of the
//! time that they are computed from: by it the lake skips files, as if they were partitioned by those columns. Pure.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};
use time::{Date, Month, OffsetDateTime, Time};

use super::skip;
use crate::lake::tables::{Comparison, Condition, Scalar};

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3600;

/// What the filters demand of single columns, those ranges among it.
pub(super) fn conditions(filters: &[Expr], schema: &Schema) -> Vec<Condition> {
    let mut conditions = skip::conditions(filters, schema);
    let mut parts: BTreeMap<&str, Parts> = BTreeMap::new();
    filters.iter().for_each(|filter| collect(filter, &mut parts));
    for (column, parts) in parts {
        let is_time = |field: &arrow::datatypes::Field| matches!(field.data_type(), DataType::Timestamp(..));
        if !schema.field_with_name(column).is_ok_and(is_time) {
            continue;
        }
        let Range { from, to } = parts.range(Range::of(column, &conditions));
        let at = |comparison, at| Condition { column: column.to_owned(), comparison, value: Scalar::Time(at) };
        conditions.extend(from.map(|from| at(Comparison::GreaterOrEqual, from)));
        conditions.extend(to.map(|to| at(Comparison::Less, to)));
    }
    conditions
}

/// What is computed of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Year,
    Month,
    Day,
    Hour,
    /// Seconds since 1970 of the hour.
    HourEpoch,
}

/// The least and the most that parts of one column may be.
#[derive(Debug, Default, PartialEq)]
struct Parts(BTreeMap<Part, (i64, i64)>);

fn collect<'e>(filter: &'e Expr, parts: &mut BTreeMap<&'e str, Parts>) {
    let mut demand = |expression: &'e Expr, least: Option<i64>, most: Option<i64>| {
        let (Some((part, column)), true) = (part_of(expression), least.is_some() || most.is_some()) else { return };
        let range = parts.entry(column).or_default().0.entry(part).or_insert((i64::MIN, i64::MAX));
        range.0 = range.0.max(least.unwrap_or(i64::MIN));
        range.1 = range.1.min(most.unwrap_or(i64::MAX));
    };
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            collect(left, parts);
            collect(right, parts);
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            for (expression, value, op) in [(left, right, Some(*op)), (right, left, op.swap())] {
                let (Some(op), Some(value)) = (op, number(value)) else { continue };
                match op {
                    Operator::Eq => demand(expression, Some(value), Some(value)),
                    Operator::Lt => demand(expression, None, value.checked_sub(1)),
                    Operator::LtEq => demand(expression, None, Some(value)),
                    Operator::Gt => demand(expression, value.checked_add(1), None),
                    Operator::GtEq => demand(expression, Some(value), None),
                    _ => {}
                }
            }
        }
        Expr::Between(Between { expr, negated: false, low, high }) => demand(expr, number(low), number(high)),
        Expr::InList(InList { expr, list, negated: false }) => {
            let Some(values) = list.iter().map(number).collect::<Option<Vec<i64>>>() else { return };
            demand(expr, values.iter().min().copied(), values.iter().max().copied());
        }
        _ => {}
    }
}

fn number(expression: &Expr) -> Option<i64> {
    let Expr::Literal(value, _) = expression else { return None };
    match value {
        ScalarValue::Int32(number) => number.map(i64::from),
        ScalarValue::Int64(number) => *number,
        ScalarValue::Float64(Some(number)) if number.fract() == 0.0 && number.abs() < 1e15 => Some(*number as i64),
        _ => None,
    }
}

/// `date_part('month', column)`, or `date_part('epoch', date_trunc('hour', column))`, which may have been cast.
fn part_of(expression: &Expr) -> Option<(Part, &str)> {
    let function = match expression {
        Expr::Cast(cast) => return part_of(&cast.expr),
        Expr::ScalarFunction(function) if function.name() == "date_part" => function,
        _ => return None,
    };
    let [part, of] = &function.args[..] else { return None };
    let part = match text(part)?.to_lowercase().as_str() {
        "year" => Part::Year,
        "month" => Part::Month,
        "day" => Part::Day,
        "hour" => Part::Hour,
        "epoch" => {
            let Expr::ScalarFunction(inner) = of else { return None };
            let [unit, of] = &inner.args[..] else { return None };
            let is_hour = inner.name() == "date_trunc" && text(unit)?.eq_ignore_ascii_case("hour");
            return skip::column_of(of).filter(|_| is_hour).map(|column| (Part::HourEpoch, column));
        }
        _ => return None,
    };
    Some((part, skip::column_of(of)?))
}

fn text(expression: &Expr) -> Option<&str> {
    let Expr::Literal(value, _) = expression else { return None };
    value.try_as_str().flatten()
}

/// Microseconds since 1970; `to` is the first that is out of it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Range {
    from: Option<i64>,
    to: Option<i64>,
}

impl Range {
    /// What is demanded of the column itself.
    fn of(column: &str, conditions: &[Condition]) -> Range {
        let mut range = Range { from: None, to: None };
        for condition in conditions.iter().filter(|condition| condition.column == column) {
            let Scalar::Time(at) = condition.value else { continue };
            match condition.comparison {
                Comparison::Equal => range.within(Some(at), at.checked_add(1)),
                Comparison::Less => range.within(None, Some(at)),
                Comparison::LessOrEqual => range.within(None, at.checked_add(1)),
                Comparison::Greater | Comparison::GreaterOrEqual => range.within(Some(at), None),
            }
        }
        range
    }

    fn within(&mut self, from: Option<i64>, to: Option<i64>) {
        self.from = self.from.max(from);
        self.to = match (self.to, to) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }

    /// Its first and its last moment, where it has both.
    fn ends(&self) -> Option<(OffsetDateTime, OffsetDateTime)> {
        let at = |micros: i64| OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).ok();
        let (from, last) = (self.from?, self.to?.checked_sub(1)?);
        (from <= last).then_some(())?;
        Some((at(from)?, at(last)?))
    }
}

impl Parts {
    /// The range of the time within `range`. A month is a range only within one year, and so on.
    fn range(&self, mut range: Range) -> Range {
        if let Some((least, most)) = self.0.get(&Part::HourEpoch) {
            let end = most.div_euclid(HOUR).checked_mul(HOUR).and_then(|hour| hour.checked_add(HOUR));
            range.within(least.checked_mul(SECOND), end.and_then(|end| end.checked_mul(SECOND)));
        }
        if let Some((least, most)) = self.0.get(&Part::Year) {
            range.within(year(*least), most.checked_add(1).and_then(year));
        }
        for part in [Part::Month, Part::Day, Part::Hour] {
            let Some((first, last)) = range.ends() else { return range };
            let is_one = match part {
                Part::Month => first.year() == last.year(),
                Part::Day => (first.year(), first.month()) == (last.year(), last.month()),
                _ => first.date() == last.date(),
            };
            if !is_one {
                return range;
            }
            if let Some((least, most)) = self.0.get(&part) {
                range.within(begin(first, part, *least), most.checked_add(1).and_then(|next| begin(first, part, next)));
            }
        }
        range
    }
}

fn year(number: i64) -> Option<i64> {
    micros(Date::from_calendar_date(i32::try_from(number).ok()?, Month::January, 1).ok()?.midnight().assume_utc())
}

/// The beginning of a part, of the same year, month and day as `of`; `None` of one that there is not, as the 13th month.
fn begin(of: OffsetDateTime, part: Part, number: i64) -> Option<i64> {
    let number = u8::try_from(number).ok()?;
    let date = of.date();
    let at = match part {
        Part::Month => Date::from_calendar_date(date.year(), Month::try_from(number).ok()?, 1).ok()?.midnight(),
        Part::Day => date.replace_day(number).ok()?.midnight(),
        _ => date.with_time(Time::from_hms(number, 0, 0).ok()?),
    };
    micros(at.assume_utc())
}

fn micros(at: OffsetDateTime) -> Option<i64> {
    i64::try_from(at.unix_timestamp_nanos() / 1000).ok()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn range(parts: &[(Part, i64, i64)]) -> Range {
        let parts = Parts(parts.iter().map(|(part, least, most)| (*part, (*least, *most))).collect());
        parts.range(Range { from: None, to: None })
    }

    fn between(from: OffsetDateTime, to: OffsetDateTime) -> Range {
        Range { from: micros(from), to: micros(to) }
    }

    #[test]
    fn parts_are_a_range_within_what_is_above_them() {
        use Part::{Day, Hour, HourEpoch, Month, Year};
        let (y, m, d) = ((Year, 2026, 2026), (Month, 1, 1), (Day, 31, 31));
        assert_eq!(range(&[y]), between(datetime!(2026-01-01 0:00 UTC), datetime!(2027-01-01 0:00 UTC)));
        assert_eq!(range(&[y, m]), between(datetime!(2026-01-01 0:00 UTC), datetime!(2026-02-01 0:00 UTC)));
        // There is no 32nd day: the month ends the range.
        assert_eq!(range(&[y, m, d]), between(datetime!(2026-01-31 0:00 UTC), datetime!(2026-02-01 0:00 UTC)));
        let hours = (Hour, 9, 17);
        assert_eq!(range(&[y, m, d, hours]), between(datetime!(2026-01-31 9:00 UTC), datetime!(2026-01-31 18:00 UTC)));
        let december = (Month, 12, 12);
        assert_eq!(range(&[y, december]), between(datetime!(2026-12-01 0:00 UTC), datetime!(2027-01-01 0:00 UTC)));
        // Of every year, or of two: no range.
        assert_eq!(range(&[m, d]), Range { from: None, to: None });
        assert_eq!(
            range(&[(Year, 2025, 2026), m]),
            between(datetime!(2025-01-01 0:00 UTC), datetime!(2027-01-01 0:00 UTC))
        );
        let at = datetime!(2026-01-31 09:00 UTC).unix_timestamp();
        assert_eq!(
            range(&[(HourEpoch, at, at)]),
            between(datetime!(2026-01-31 9:00 UTC), datetime!(2026-01-31 10:00 UTC))
        );
        assert_eq!(range(&[(HourEpoch, i64::MIN, i64::MAX)]), Range { from: None, to: None });
    }
}
