//! When something with a schedule is due: by a cron expression of five fields, or at a rate. In UTC, where no hour comes twice
//! or never, and of the clock alone: every replica, also one that has just begun, comes to the same times.
//!
//! The expressions are numbers with `*`, lists, ranges and steps. Where both the day of the month and that of the week are
//! given, either will do, as in crontabs.

use std::fmt;

use chrono::{DateTime, Utc};
use croner::Cron;
use time::{Duration, OffsetDateTime};

/// A cron expression, or every so many minutes since 1970.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    Cron(Box<Cron>),
    Rate { minutes: u32 },
}

/// A rate is not longer than a year.
const LONGEST: u64 = 366 * 24 * 60;

impl Schedule {
    pub fn cron(expression: &str) -> Result<Schedule, String> {
        let fields: Vec<&str> = expression.split_whitespace().collect();
        if fields.len() != 5 {
            return Err("it must have five fields: minute, hour, day, month, day of the week".into());
        }
        let is_known = |c: char| c.is_ascii_digit() || "*,-/".contains(c);
        if let Some(field) = fields.iter().find(|field| !field.chars().all(is_known)) {
            return Err(format!("`{field}` is not understood; write numbers with `*`, `,`, `-` and `/`"));
        }
        let cron: Cron = fields.join(" ").parse().map_err(|error| format!("{error}"))?;
        match cron.find_next_occurrence(&DateTime::<Utc>::UNIX_EPOCH, false) {
            Ok(_) => Ok(Schedule::Cron(Box::new(cron))),
            Err(_) => Err("it names a day that never comes".into()),
        }
    }

    pub fn rate(minutes: u64) -> Result<Schedule, String> {
        match u32::try_from(minutes) {
            Ok(minutes @ 1..) if u64::from(minutes) <= LONGEST => Ok(Schedule::Rate { minutes }),
            _ => Err(format!("it must be from 1 to {LONGEST} minutes")),
        }
    }

    /// The first time that is later.
    pub fn after(&self, at: OffsetDateTime) -> OffsetDateTime {
        match self {
            Schedule::Cron(cron) => of_chrono(cron.find_next_occurrence(&to_chrono(at), false).expect(HAS_TIMES)),
            Schedule::Rate { minutes } => step(at, *minutes) + Duration::minutes((*minutes).into()),
        }
    }

    /// The last time that is not later.
    pub fn latest(&self, at: OffsetDateTime) -> OffsetDateTime {
        match self {
            Schedule::Cron(cron) => of_chrono(cron.find_previous_occurrence(&to_chrono(at), true).expect(HAS_TIMES)),
            Schedule::Rate { minutes } => step(at, *minutes),
        }
    }
}

const HAS_TIMES: &str = "an expression without a next time was refused when it was read";

/// As it is shown, and compared with what was planned by it.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Schedule::Cron(cron) => write!(f, "cron {}", cron.as_str()),
            Schedule::Rate { minutes } => write!(f, "every {minutes} minutes"),
        }
    }
}

/// The beginning of the step of so many minutes that a time is in.
fn step(at: OffsetDateTime, minutes: u32) -> OffsetDateTime {
    let seconds = i64::from(minutes) * 60;
    let begin = at.unix_timestamp().div_euclid(seconds) * seconds;
    OffsetDateTime::from_unix_timestamp(begin).expect("it lies between times that there are")
}

/// Whole seconds: no expression is finer, and what is cut off does not change which times are later.
fn to_chrono(at: OffsetDateTime) -> DateTime<Utc> {
    DateTime::from_timestamp(at.unix_timestamp(), 0).expect("both know the years of four digits")
}

fn of_chrono(at: DateTime<Utc>) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.timestamp()).expect("both know the years of four digits")
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn around(schedule: &Schedule, at: OffsetDateTime) -> (OffsetDateTime, OffsetDateTime) {
        (schedule.latest(at), schedule.after(at))
    }

    #[test]
    fn expressions_have_a_last_and_a_next_time() {
        let at = datetime!(2026-02-28 23:59:30.5 UTC);
        for (expression, last, next) in [
            ("* * * * *", datetime!(2026-02-28 23:59 UTC), datetime!(2026-03-01 0:00 UTC)),
            ("0 0 * * *", datetime!(2026-02-28 0:00 UTC), datetime!(2026-03-01 0:00 UTC)),
            ("0 */4 * * *", datetime!(2026-02-28 20:00 UTC), datetime!(2026-03-01 0:00 UTC)),
            ("5,35 8-10 * * *", datetime!(2026-02-28 10:35 UTC), datetime!(2026-03-01 8:05 UTC)),
            ("0 12 31 * *", datetime!(2026-01-31 12:00 UTC), datetime!(2026-03-31 12:00 UTC)),
            ("0 0 29 2 *", datetime!(2024-02-29 0:00 UTC), datetime!(2028-02-29 0:00 UTC)),
            // Monday, whether it is called 1 or is one of the days from the first to the seventh.
            ("0 6 * * 1", datetime!(2026-02-23 6:00 UTC), datetime!(2026-03-02 6:00 UTC)),
            ("0 6 * * 7", datetime!(2026-02-22 6:00 UTC), datetime!(2026-03-01 6:00 UTC)),
            // Either day will do.
            ("0 6 13 * 5", datetime!(2026-02-27 6:00 UTC), datetime!(2026-03-06 6:00 UTC)),
            // An hour that clocks with a summer time skip.
            ("30 2 29 3 *", datetime!(2025-03-29 2:30 UTC), datetime!(2026-03-29 2:30 UTC)),
        ] {
            let schedule = Schedule::cron(expression).unwrap();
            assert_eq!(around(&schedule, at), (last, next), "{expression}");
            // A time itself is the last one, and not the next.
            assert_eq!(schedule.latest(next), next, "{expression}");
            assert!(schedule.after(last) > last, "{expression}");
        }
    }

    #[test]
    fn rates_count_from_the_beginning_of_time() {
        let rate = Schedule::rate(30).unwrap();
        let (last, next) = (datetime!(2026-01-01 9:30 UTC), datetime!(2026-01-01 10:00 UTC));
        assert_eq!(around(&rate, datetime!(2026-01-01 9:59:59.9 UTC)), (last, next));
        assert_eq!(around(&rate, next), (next, next + Duration::minutes(30)));
        assert_eq!(Schedule::rate(1440).unwrap().latest(next), datetime!(2026-01-01 0:00 UTC));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (expression, said) in [
            ("* * * *", "five fields"),
            ("0 0 * * * *", "five fields"),
            ("@daily", "five fields"),
            ("0 5 * * MON", "`MON` is not understood"),
            ("0 0 L * *", "`L` is not understood"),
            ("0 0 30 2 *", "never comes"),
        ] {
            let refused = Schedule::cron(expression).unwrap_err();
            assert!(refused.contains(said), "{expression}: {refused}");
        }
        for expression in
            ["60 * * * *", "* 24 * * *", "* * 32 * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "5-1 * * * *"]
        {
            assert!(Schedule::cron(expression).is_err(), "{expression}");
        }
        assert!(Schedule::rate(0).is_err() && Schedule::rate(LONGEST + 1).is_err());
    }
}
