//! The two spellings of a point in time: the stored one that rules see, and RFC 3339 for people and APIs.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// `YYYY-MM-DD HH:MM:SS.fffffffff`, UTC, nine digits.
pub fn stored_time(at: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:9]");
    at.to_offset(time::UtcOffset::UTC).format(format).expect("every component is present in a date with time")
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
