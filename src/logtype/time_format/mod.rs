//! Timestamps as logs spell them. A format is compiled once; reading is exact: literals must match and nothing may be
//! left over.
//!
//! `strftime` and Go layouts compile to the same [`pattern`].

mod layout;
mod pattern;
mod strftime;

use time::{Duration, OffsetDateTime};

use super::json::Form;
use pattern::Pattern;

#[derive(Clone, Debug, PartialEq)]
pub enum TimeFormat {
    Rfc3339,
    /// Seconds, with or without a fraction.
    Unix,
    /// Integers, in units of so many nanoseconds.
    UnixUnits(i128),
    /// RFC 3339, or Unix seconds or nanoseconds by the number of digits.
    Cloudflare,
    Pattern(Pattern),
}

const NAMED: &[(&str, TimeFormat)] = &[
    ("rfc3339", TimeFormat::Rfc3339),
    ("unix", TimeFormat::Unix),
    ("unix_ms", TimeFormat::UnixUnits(1_000_000)),
    ("unix_us", TimeFormat::UnixUnits(1_000)),
    ("unix_ns", TimeFormat::UnixUnits(1)),
    ("cloudflare", TimeFormat::Cloudflare),
];

impl TimeFormat {
    /// The format that a schema names.
    pub(super) fn compile(text: &str) -> Result<TimeFormat, String> {
        if let Some((_, format)) = NAMED.iter().find(|(name, _)| *name == text) {
            return Ok(format.clone());
        }
        if let Some(layout) = text.strip_prefix("layout=") {
            return layout::compile(layout).map(TimeFormat::Pattern);
        }
        if text.contains('%') {
            return strftime::compile(text).map(TimeFormat::Pattern);
        }
        let names: Vec<&str> = NAMED.iter().map(|(name, _)| *name).collect();
        Err(format!(
            "`{text}` is no time format; use one of {}, a strftime pattern such as `%Y-%m-%d %H:%M:%S`, or `layout=` \
             with a Go layout",
            names.join(", ")
        ))
    }

    /// `now` completes a timestamp without a year. `None`: the value is no timestamp of this format.
    pub(super) fn read(&self, form: Form<'_>, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let number = || match form {
            Form::Number(text) | Form::Str(text) => Some(text),
            _ => None,
        };
        let text = || match form {
            Form::Str(text) => Some(text),
            _ => None,
        };
        match self {
            TimeFormat::Rfc3339 => rfc3339(text()?),
            TimeFormat::Unix => unix(number()?),
            TimeFormat::UnixUnits(unit) => at_nanos(number()?.parse::<i64>().ok().map(i128::from)? * unit),
            TimeFormat::Cloudflare => match number()? {
                digits if digits.len() > 11 && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                    at_nanos(digits.parse::<i64>().ok()?.into())
                }
                text => unix(text).or_else(|| rfc3339(text)),
            },
            TimeFormat::Pattern(pattern) => pattern.read(text()?, now),
        }
    }
}

fn at_nanos(nanos: i128) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(nanos).ok().filter(has_four_digit_year)
}

/// The stored spelling has four digits for the year.
fn has_four_digit_year(at: &OffsetDateTime) -> bool {
    (0..10_000).contains(&at.year())
}

/// Seconds. The fraction is cut to microseconds: writers print these from a double, whose digits beyond are noise.
fn unix(text: &str) -> Option<OffsetDateTime> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (seconds, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(seconds) || !all_digits(fraction) {
        return unix_float(text);
    }
    let micros = i128::from(pattern::leading(fraction, 6)?);
    let total = seconds.parse::<i64>().ok().map(i128::from)? * 1_000_000_000 + micros * 1000;
    at_nanos(if negative { -total } else { total })
}

/// Seconds with an exponent.
fn unix_float(text: &str) -> Option<OffsetDateTime> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| text.contains(['e', 'E']) && seconds.abs() < 1e12)?;
    at_nanos((seconds * 1e6).trunc() as i128 * 1000)
}

fn rfc3339(text: &str) -> Option<OffsetDateTime> {
    let bytes = text.as_bytes();
    let digits = |from: usize, count: usize| -> Option<u32> {
        let field = bytes.get(from..from + count)?;
        field.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + u32::from(byte - b'0')))
    };
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if separators.iter().any(|(at, byte)| bytes.get(*at) != Some(byte)) || !matches!(bytes.get(10)?, b'T' | b't') {
        return None;
    }
    let mut parts = pattern::Parts {
        year: Some(digits(0, 4)? as i32),
        month: digits(5, 2)?,
        day: digits(8, 2)?,
        hour: digits(11, 2)?,
        minute: digits(14, 2)?,
        second: digits(17, 2)?,
        ..pattern::Parts::default()
    };
    let mut rest = &text[19..];
    if let Some(fraction) = rest.strip_prefix('.') {
        let count = fraction.bytes().take_while(u8::is_ascii_digit).count();
        parts.nanosecond = pattern::fraction(&fraction[..count])?;
        rest = &fraction[count..];
    }
    let (offset, rest) = pattern::offset(rest, true)?;
    parts.offset = offset;
    parts.build(None).filter(|_| rest.is_empty())
}

/// The year of a timestamp that has none: the present one, unless that is more than a day in the future.
fn year_for(now: OffsetDateTime, build: impl Fn(i32) -> Option<OffsetDateTime>) -> Option<OffsetDateTime> {
    match build(now.year()) {
        Some(at) if at <= now + Duration::days(1) => Some(at),
        _ => build(now.year() - 1),
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::model::stored_time;

    const NOW: OffsetDateTime = datetime!(2024-03-01 12:00 UTC);

    fn read(format: &str, text: &str) -> String {
        let raw = if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') && !format.starts_with('%') {
            Form::Number(text)
        } else {
            Form::Str(text.trim_matches('\''))
        };
        let format = TimeFormat::compile(format).unwrap();
        format.read(raw, NOW).map_or_else(|| "none".into(), |at| stored_time(at).replace(".000000000", ""))
    }

    #[test]
    fn named_formats() {
        for (format, text, expected) in [
            ("rfc3339", "'2021-01-02T03:04:05.123456789+02:00'", "2021-01-02 01:04:05.123456789"),
            ("rfc3339", "'2021-01-02t03:04:05z'", "2021-01-02 03:04:05"),
            ("rfc3339", "'2021-01-02 03:04:05Z'", "none"),
            ("rfc3339", "'2021-02-30T00:00:00Z'", "none"),
            ("rfc3339", "'2021-01-02T03:04:05'", "none"),
            ("rfc3339", "'2021-01-02T03:04:05é'", "none"),
            ("rfc3339", "1622505600", "none"),
            ("unix", "1600000000.123456789", "2020-09-13 12:26:40.123456000"),
            ("unix", "-1", "1969-12-31 23:59:59"),
            ("unix", "1.6e9", "2020-09-13 12:26:40"),
            ("unix", "'x'", "none"),
            ("unix", "'.5'", "none"),
            ("unix", "99999999999999999999", "none"),
            ("unix_ms", "'1622505600123'", "2021-06-01 00:00:00.123000000"),
            ("unix_ms", "1622505600123.5", "none"),
            ("unix_us", "1622505600123456", "2021-06-01 00:00:00.123456000"),
            ("unix_ns", "1622505600123456789", "2021-06-01 00:00:00.123456789"),
            ("cloudflare", "1622505600", "2021-06-01 00:00:00"),
            ("cloudflare", "1622505600123456789", "2021-06-01 00:00:00.123456789"),
            ("cloudflare", "'2021-06-01T00:00:00Z'", "2021-06-01 00:00:00"),
        ] {
            assert_eq!(read(format, text), expected, "{format} {text}");
        }
    }

    #[test]
    fn strftime_patterns() {
        for (format, text, expected) in [
            ("%Y-%m-%d %H:%M:%S", "2020-01-02 03:04:05", "2020-01-02 03:04:05"),
            ("%Y-%m-%d %H:%M:%S", "2020-01-02 03:04:05x", "none"),
            ("%d/%b/%Y:%H:%M:%S %z", "10/Oct/2000:13:55:36 -0700", "2000-10-10 20:55:36"),
            ("%Y-%m-%dT%H:%M:%S%z", "2021-06-01T02:03:04+02:00", "2021-06-01 00:03:04"),
            ("%Y-%m-%dT%H:%M:%S%z", "2021-06-01T02:03:04Z", "2021-06-01 02:03:04"),
            ("%y%m%d", "210601", "2021-06-01 00:00:00"),
            ("%Y-%j", "2021-152", "2021-06-01 00:00:00"),
            ("%A, %d %B %Y", "Tuesday, 01 June 2021", "2021-06-01 00:00:00"),
            ("%d/%m/%Y %I:%M:%S %p", "01/06/2021 12:03:04 AM", "2021-06-01 00:03:04"),
            ("%d/%m/%Y %I:%M:%S %p", "01/06/2021 02:03:04 PM", "2021-06-01 14:03:04"),
            ("%Y-%m-%d %H:%M:%S.%f000", "2021-06-01 02:03:04.123456000", "2021-06-01 02:03:04.123456000"),
            ("%Y%m%d%H%M%S.%f", "20210601020304.5", "2021-06-01 02:03:04.500000000"),
            ("%Y-%m-%d %H:%M:%S %Z", "2021-06-01 02:03:04 EST", "2021-06-01 07:03:04"),
            ("%Y-%m-%d %H:%M:%S %Z", "2021-06-01 02:03:04 XYZ", "none"),
            ("%s%%", "1622505600%", "2021-06-01 00:00:00"),
            ("%F %T", "2021-06-01 02:03:04", "2021-06-01 02:03:04"),
            ("%D %R", "06/01/21 02:03", "2021-06-01 02:03:00"),
            ("%b %e %H:%M:%S", "Feb  9 01:02:03", "2024-02-09 01:02:03"),
            ("%b %e %H:%M:%S", "Mar  2 11:00:00", "2024-03-02 11:00:00"),
            ("%b %e %H:%M:%S", "Dec 31 23:59:59", "2023-12-31 23:59:59"),
            ("%b %e %H:%M:%S", "Feb 29 00:00:00", "2024-02-29 00:00:00"),
            ("%Y-%m-%d", "2021-13-01", "none"),
        ] {
            assert_eq!(read(format, text), expected, "{format} {text}");
        }
    }

    #[test]
    fn go_layouts() {
        for (format, text, expected) in [
            ("layout=02/Jan/2006:15:04:05 -0700", "'10/Oct/2000:13:55:36 -0700'", "2000-10-10 20:55:36"),
            ("layout=2006-01-02T15:04:05Z07:00", "'2020-01-01T02:00:00+02:00'", "2020-01-01 00:00:00"),
            ("layout=2006-01-02T15:04:05Z07:00", "'2020-01-01T02:00:00Z'", "2020-01-01 02:00:00"),
            ("layout=Jan _2 2006 3:04:05PM", "'Oct  5 2021 1:55:36PM'", "2021-10-05 13:55:36"),
            ("layout=01/02/2006 15:04:05.999", "'10/05/2021 13:55:36.123'", "2021-10-05 13:55:36.123000000"),
            ("layout=01/02/2006 15:04:05.999", "'10/05/2021 13:55:36'", "2021-10-05 13:55:36"),
            ("layout=2006-01-02T15:04:05", "'2021-10-05T13:55:36.5'", "2021-10-05 13:55:36.500000000"),
            ("layout=2006-01-02 15:04:05 MST", "'2021-10-05 13:55:36 UTC'", "2021-10-05 13:55:36"),
            ("layout=Monday, 2 January 2006", "'Tuesday, 1 June 2021'", "2021-06-01 00:00:00"),
        ] {
            assert_eq!(read(format, text), expected, "{format} {text}");
        }
    }

    #[test]
    fn an_unknown_format_names_the_choices() {
        assert!(TimeFormat::compile("iso8601").unwrap_err().contains("rfc3339"));
        assert!(TimeFormat::compile("%Q").unwrap_err().contains("`%Q`"));
        assert!(TimeFormat::compile("layout=hello").unwrap_err().contains("layout"));
    }
}
