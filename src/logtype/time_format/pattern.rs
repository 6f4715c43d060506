//! A compiled timestamp pattern and the calendar behind it.

use time::{Date, Month, OffsetDateTime, Time, UtcOffset};

use super::{has_four_digit_year, year_for};

/// Items that must match one after the other, to the end of the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern(pub(super) Vec<Item>);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    Literal(String),
    /// Any amount of white space.
    Space,
    Year,
    /// 69-99 are of the last century.
    ShortYear,
    Month,
    MonthName,
    Day,
    DayOfYear,
    Hour,
    Hour12,
    Minute,
    Second,
    /// `AM`, `PM`, in any case.
    Meridiem,
    WeekdayName,
    /// 1 to 9 digits.
    Fraction,
    /// A point or comma and digits, or nothing.
    OptionalFraction,
    /// `+0200`, `+02:00`, `+02`; with `zulu` also `Z`.
    Offset {
        zulu: bool,
    },
    ZoneName,
    UnixSeconds,
}

/// The parts of a timestamp before they are checked against the calendar.
#[derive(Clone, Copy)]
pub(super) struct Parts {
    pub(super) year: Option<i32>,
    pub(super) month: u32,
    pub(super) day: u32,
    pub(super) day_of_year: Option<u32>,
    pub(super) hour: u32,
    pub(super) minute: u32,
    pub(super) second: u32,
    pub(super) nanosecond: u32,
    pub(super) afternoon: Option<bool>,
    /// Seconds east of UTC.
    pub(super) offset: i32,
    pub(super) unix: Option<i64>,
}

impl Default for Parts {
    fn default() -> Parts {
        Parts {
            year: None,
            month: 1,
            day: 1,
            day_of_year: None,
            hour: 0,
            minute: 0,
            second: 0,
            nanosecond: 0,
            afternoon: None,
            offset: 0,
            unix: None,
        }
    }
}

impl Pattern {
    pub(super) fn read(&self, text: &str, now: OffsetDateTime) -> Option<OffsetDateTime> {
        matched(&self.0, text, Parts::default())?.build(Some(now))
    }
}

impl Parts {
    pub(super) fn build(&self, now: Option<OffsetDateTime>) -> Option<OffsetDateTime> {
        if let Some(seconds) = self.unix {
            return OffsetDateTime::from_unix_timestamp(seconds).ok().filter(has_four_digit_year);
        }
        match self.year {
            Some(year) => self.in_year(year),
            None => year_for(now?, |year| self.in_year(year)),
        }
    }

    fn in_year(&self, year: i32) -> Option<OffsetDateTime> {
        let date = match self.day_of_year {
            Some(day) => Date::from_ordinal_date(year, day.try_into().ok()?),
            None => {
                let month = Month::try_from(u8::try_from(self.month).ok()?).ok()?;
                Date::from_calendar_date(year, month, self.day.try_into().ok()?)
            }
        };
        let hour = match self.afternoon {
            None => self.hour,
            Some(_) if !(1..=12).contains(&self.hour) => return None,
            Some(afternoon) => self.hour % 12 + if afternoon { 12 } else { 0 },
        };
        let time = Time::from_hms_nano(
            hour.try_into().ok()?,
            self.minute.try_into().ok()?,
            self.second.try_into().ok()?,
            self.nanosecond,
        );
        let offset = UtcOffset::from_whole_seconds(self.offset).ok()?;
        let local = date.ok()?.with_time(time.ok()?).assume_utc();
        local.checked_sub(time::Duration::seconds(offset.whole_seconds().into())).filter(has_four_digit_year)
    }
}

fn matched(items: &[Item], text: &str, mut parts: Parts) -> Option<Parts> {
    let mut text = text;
    for (index, item) in items.iter().enumerate() {
        // A fraction may have to leave digits to a literal that follows it.
        if *item == Item::Fraction {
            let digits = text.bytes().take(9).take_while(u8::is_ascii_digit).count();
            return (1..=digits).rev().find_map(|count| {
                let parts = Parts { nanosecond: fraction(&text[..count])?, ..parts };
                matched(&items[index + 1..], &text[count..], parts)
            });
        }
        text = item.take(text, &mut parts)?;
    }
    text.is_empty().then_some(parts)
}

impl Item {
    /// Takes the item from the beginning of the text and returns the rest.
    fn take<'a>(&self, text: &'a str, parts: &mut Parts) -> Option<&'a str> {
        let mut rest = text;
        match self {
            Item::Literal(literal) => rest = text.strip_prefix(literal.as_str())?,
            Item::Space => rest = text.trim_start(),
            Item::Year => parts.year = Some(number(&mut rest, 4, 4)? as i32),
            Item::ShortYear => {
                let year = number(&mut rest, 2, 2)? as i32;
                parts.year = Some(if year < 69 { 2000 + year } else { 1900 + year });
            }
            Item::Month => parts.month = padded(&mut rest)?,
            Item::MonthName => parts.month = name(&mut rest, MONTHS)?,
            Item::Day => parts.day = padded(&mut rest)?,
            Item::DayOfYear => parts.day_of_year = Some(number(&mut rest, 3, 3)?),
            Item::Hour | Item::Hour12 => parts.hour = padded(&mut rest)?,
            Item::Minute => parts.minute = padded(&mut rest)?,
            Item::Second => parts.second = padded(&mut rest)?,
            Item::Meridiem => parts.afternoon = Some(name(&mut rest, &["am", "pm"])? == 2),
            Item::WeekdayName => {
                name(&mut rest, WEEKDAYS)?;
            }
            Item::Fraction => unreachable!("taken by the caller, which can go back"),
            Item::OptionalFraction => {
                if let Some(digits) = text.strip_prefix(['.', ',']) {
                    let count = digits.bytes().take_while(u8::is_ascii_digit).count();
                    parts.nanosecond = fraction(&digits[..count])?;
                    rest = &digits[count..];
                }
            }
            Item::Offset { zulu } => (parts.offset, rest) = offset(text, *zulu)?,
            Item::ZoneName => {
                let length = text.bytes().take_while(u8::is_ascii_alphabetic).count();
                parts.offset = zone(&text[..length])?;
                rest = &text[length..];
            }
            Item::UnixSeconds => {
                let length = text.bytes().take_while(u8::is_ascii_digit).count();
                parts.unix = Some(text[..length].parse().ok()?);
                rest = &text[length..];
            }
        }
        Some(rest)
    }
}

/// A number of one or two digits, perhaps padded with a space.
fn padded(rest: &mut &str) -> Option<u32> {
    if let Some(unpadded) = rest.strip_prefix(' ') {
        *rest = unpadded;
        return number(rest, 1, 1);
    }
    number(rest, 1, 2)
}

fn number(rest: &mut &str, least: usize, most: usize) -> Option<u32> {
    let count = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let (digits, after) = rest.split_at(count);
    *rest = after;
    if count < least { None } else { digits.parse().ok() }
}

/// Digits after a decimal point as nanoseconds; more than nine are cut.
pub(super) fn fraction(digits: &str) -> Option<u32> {
    if digits.is_empty() { None } else { leading(digits, 9) }
}

/// The first so many digits as a number, as if zeros followed them.
pub(super) fn leading(digits: &str, count: usize) -> Option<u32> {
    let digits = digits.bytes().chain(std::iter::repeat(b'0')).take(count);
    digits.map(|digit| char::from(digit).to_digit(10)).try_fold(0, |number, digit| Some(number * 10 + digit?))
}

/// An offset from UTC in seconds, and the rest of the text.
pub(super) fn offset(text: &str, zulu: bool) -> Option<(i32, &str)> {
    if let (true, Some(rest)) = (zulu, text.strip_prefix(['Z', 'z'])) {
        return Some((0, rest));
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let mut rest = &text[1..];
    let hours = number(&mut rest, 2, 2)?;
    let minutes = match rest.strip_prefix(':') {
        Some(after) => {
            rest = after;
            number(&mut rest, 2, 2)?
        }
        None if rest.starts_with(|c: char| c.is_ascii_digit()) => number(&mut rest, 2, 2)?,
        None => 0,
    };
    (hours < 24 && minutes < 60).then_some((sign * (hours * 3600 + minutes * 60) as i32, rest))
}

/// The zones that RFC 822 fixes. Other abbreviations are ambiguous, and a wrong time is worse than a reject.
fn zone(name: &str) -> Option<i32> {
    let hours = match name.to_ascii_uppercase().as_str() {
        "UTC" | "GMT" | "UT" | "Z" => 0,
        "EDT" => -4,
        "EST" | "CDT" => -5,
        "CST" | "MDT" => -6,
        "MST" | "PDT" => -7,
        "PST" => -8,
        _ => return None,
    };
    Some(hours * 3600)
}

const MONTHS: &[&str] = &[
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: &[&str] = &["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// The number (from 1) of a name, spelled out or by its first three letters.
fn name(rest: &mut &str, names: &[&str]) -> Option<u32> {
    let starts = |name: &str| rest.get(..name.len()).is_some_and(|text| text.eq_ignore_ascii_case(name));
    for (index, name) in names.iter().enumerate() {
        let short = &name[..name.len().min(3)];
        if let Some(length) = [*name, short].into_iter().find(|name| starts(name)).map(str::len) {
            *rest = &rest[length..];
            return Some(index as u32 + 1);
        }
    }
    None
}
