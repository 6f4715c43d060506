//! The stored spelling of a time, `YYYY-MM-DD HH:MM:SS.fffffffff`, as microseconds since 1970.

use time::{Date, Month};

const MICROSECONDS_A_DAY: i64 = 86_400_000_000;

/// Julian day of 1970-01-01.
const EPOCH: i64 = 2_440_588;

/// The microseconds, and whether the text says more than they can; `None` for any other text.
pub(in crate::lake) fn microseconds(text: &str) -> Option<(i64, bool)> {
    let bytes = text.as_bytes();
    let (date, clock) = (bytes.get(..10)?, bytes.get(11..)?);
    let form = date[4] == b'-' && date[7] == b'-' && bytes[10] == b' ' && clock.len() == 18;
    if !form || clock[2] != b':' || clock[5] != b':' || clock[8] != b'.' {
        return None;
    }
    let month = Month::try_from(u8::try_from(number(&date[5..7])?).ok()?).ok()?;
    let year = i32::try_from(number(&date[..4])?).ok()?;
    let day = Date::from_calendar_date(year, month, u8::try_from(number(&date[8..])?).ok()?).ok()?;
    let (hour, minute, second) = (number(&clock[..2])?, number(&clock[3..5])?, number(&clock[6..8])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let nanoseconds = number(&clock[9..])?;
    let seconds = (hour * 60 + minute) * 60 + second;
    let days = i64::from(day.to_julian_day()) - EPOCH;
    Some((days * MICROSECONDS_A_DAY + seconds * 1_000_000 + nanoseconds / 1000, nanoseconds % 1000 != 0))
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;
    use time::macros::datetime;

    use super::*;
    use crate::model::stored_time;

    #[test]
    fn what_is_stored_is_read() {
        for at in [
            OffsetDateTime::UNIX_EPOCH,
            datetime!(1969-12-31 23:59:59.999999 UTC),
            datetime!(2024-02-29 12:34:56.789012 UTC),
            datetime!(9999-12-31 23:59:59 UTC),
            datetime!(0001-01-01 00:00:00 UTC),
        ] {
            let expected = i64::try_from(at.unix_timestamp_nanos().div_euclid(1000)).unwrap();
            assert_eq!(microseconds(&stored_time(at)), Some((expected, false)), "{at}");
        }
        let finer = datetime!(2024-02-29 12:34:56.789012345 UTC);
        assert_eq!(microseconds(&stored_time(finer)).map(|(_, more)| more), Some(true));
    }

    #[test]
    fn other_text_is_no_time() {
        for text in [
            "",
            "2024-02-30 00:00:00.000000000",
            "2024-02-29T00:00:00.000000000",
            "2024-02-29 24:00:00.000000000",
            "2024-02-29 00:00:00.00000000é",
            "2024-02-29 00:00:00.000",
            "é024-02-29 00:00:00.000000000",
        ] {
            assert_eq!(microseconds(text), None, "{text}");
        }
    }
}
