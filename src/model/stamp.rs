//! The two spellings of a point in time: the stored one that rules see, and RFC 3339 for people and APIs.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `YYYY-MM-DD HH:MM:SS.fffffffff`, UTC, nine digits.
pub fn stored_time(at: OffsetDateTime) -> String {
    String::from_utf8_lossy(&stored_digits(at)).into_owned()
}

/// The same, in place. Every event has several, so the digits are put where they belong.
pub fn stored_digits(at: OffsetDateTime) -> [u8; 29] {
    let at = at.to_offset(time::UtcOffset::UTC);
    let (date, time) = (at.date(), at.time());
    let (year, month, day) = date.to_calendar_date();
    let mut text = *b"0000-00-00 00:00:00.000000000";
    for (digits, number) in [
        (0..4, year.unsigned_abs()),
        (5..7, u8::from(month).into()),
        (8..10, day.into()),
        (11..13, time.hour().into()),
        (14..16, time.minute().into()),
        (17..19, time.second().into()),
        (20..29, time.nanosecond()),
    ] {
        let mut rest = number;
        if rest == 0 {
            continue;
        }
        for digit in text[digits].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }
    text
}

/// RFC 3339 in UTC with the fewest fraction digits that keep the value.
pub fn rfc3339(at: OffsetDateTime) -> String {
    at.to_offset(time::UtcOffset::UTC).format(&Rfc3339).unwrap_or_else(|_| stored_time(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn both_spellings() {
        let at = datetime!(2021-01-02 05:04:05.5 +2);
        assert_eq!(stored_time(at), "2021-01-02 03:04:05.500000000");
        assert_eq!(rfc3339(at), "2021-01-02T03:04:05.5Z");
    }
}
