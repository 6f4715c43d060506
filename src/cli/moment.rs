//! A point in time on the command line: RFC 3339, a date (its start in UTC), or how long ago.

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime};

use crate::runtime::{Clock, SystemClock};

/// For `value_parser`.
pub(super) fn parse(text: &str) -> Result<OffsetDateTime, String> {
    moment(text, SystemClock.now())
}

/// Of an argument that may be left out.
pub(super) fn optional(text: Option<&str>) -> Result<Option<OffsetDateTime>, String> {
    text.map(parse).transpose()
}

fn moment(text: &str, now: OffsetDateTime) -> Result<OffsetDateTime, String> {
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(at);
    }
    if let Ok(date) = Date::parse(text, format_description!("[year]-[month]-[day]")) {
        return Ok(date.midnight().assume_utc());
    }
    ago(text).and_then(|ago| now.checked_sub(ago)).ok_or_else(|| {
        "write a time as 2026-01-02T03:04:05Z, a date as 2026-01-02, or how long ago as 90s, 15m, 2h, 3d or 4w"
            .to_owned()
    })
}

fn ago(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        "w" => 7 * 24 * 60 * 60,
        _ => return None,
    };
    let count: u32 = digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some(Duration::seconds(i64::from(count) * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-01-02 03:04:05 UTC);

    #[test]
    fn three_ways_to_write_a_time() {
        for (text, at) in [
            ("2025-12-31T23:00:00+01:00", datetime!(2025-12-31 22:00 UTC)),
            ("2026-01-01", datetime!(2026-01-01 0:00 UTC)),
            ("0s", NOW),
            ("90s", datetime!(2026-01-02 03:02:35 UTC)),
            ("2h", datetime!(2026-01-02 01:04:05 UTC)),
            ("1w", datetime!(2025-12-26 03:04:05 UTC)),
        ] {
            assert_eq!(moment(text, NOW), Ok(at), "{text}");
        }
    }

    #[test]
    fn everything_else_is_told() {
        for text in
            ["", "h", "2", "-2h", "+2h", "2 h", "2y", "yesterday", "2026-13-01", "99999999999h", "4294967295w", "2é"]
        {
            assert!(moment(text, NOW).is_err(), "{text}");
        }
    }
}
