//! Values as JSON text. Nothing is rounded: what JSON's numbers can't hold for every reader (decimals, and the floats
//! that are no numbers) is a string.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use half::f16;

use super::schema::Leaf;
use super::values::Raw;

const NANOS_A_DAY: u64 = 86_400_000_000_000;

/// The Julian day of 1970-01-01.
const JULIAN_1970: i64 = 2_440_588;

/// Bytes of a decimal that is written as one: 256 bits. A longer one is binary data.
const MAX_DECIMAL: usize = 32;

/// Appends a value. The bytes of a string that is not UTF-8 stand there as they are.
pub(super) fn write(out: &mut Vec<u8>, leaf: Leaf, raw: Raw<'_>) {
    match (leaf, raw) {
        (Leaf::Text, Raw::Bytes(bytes)) => write_string(out, bytes),
        (Leaf::Decimal(scale), Raw::Bytes(bytes)) if bytes.len() <= MAX_DECIMAL => {
            let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
            decimal(out, negative, digits(bytes, negative), scale);
        }
        (Leaf::Uuid, Raw::Bytes(bytes)) if bytes.len() == 16 => uuid(out, bytes),
        (Leaf::Half, Raw::Bytes([low, high])) => float(out, f16::from_le_bytes([*low, *high]).to_f32()),
        (_, Raw::Bytes(bytes)) => print(out, format_args!("\"{}\"", STANDARD.encode(bytes))),
        (_, Raw::Bool(value)) => print(out, format_args!("{value}")),
        (_, Raw::F32(value)) => float(out, value),
        (_, Raw::F64(value)) => float(out, value),
        (_, Raw::I96(value)) => {
            let [low, high, julian] = [0, 1, 2].map(|at| value.data().get(at).copied().unwrap_or_default());
            let nanos = u64::from(high) << 32 | u64::from(low);
            let days = i64::from(julian) - JULIAN_1970 + (nanos / NANOS_A_DAY) as i64;
            timestamp(out, days, nanos % NANOS_A_DAY, 9);
        }
        (Leaf::Unsigned, Raw::I32(value)) => print(out, format_args!("{}", value.cast_unsigned())),
        (Leaf::Unsigned, Raw::I64(value)) => print(out, format_args!("{}", value.cast_unsigned())),
        (leaf, Raw::I32(value)) => integer(out, leaf, value.into()),
        (leaf, Raw::I64(value)) => integer(out, leaf, value),
    }
}

/// Appends a value as the key of an object.
pub(super) fn write_key(out: &mut Vec<u8>, leaf: Leaf, raw: Raw<'_>) {
    let from = out.len();
    write(out, leaf, raw);
    if out.get(from) != Some(&b'"') {
        out.insert(from, b'"');
        out.push(b'"');
    }
}

/// Whether a value has no more than `room` bytes as text; told without writing it.
pub(super) fn fits(leaf: Leaf, raw: Raw<'_>, room: usize) -> bool {
    let Raw::Bytes(bytes) = raw else { return true };
    // One byte may become six, and there are quotes.
    if bytes.len() <= MAX_DECIMAL || bytes.len().saturating_mul(6).saturating_add(2) <= room {
        return true;
    }
    let length = match leaf {
        Leaf::Text => bytes.iter().map(|byte| escaped(*byte)).sum(),
        _ => bytes.len().div_ceil(3) * 4,
    };
    length + 2 <= room
}

/// Bytes of a byte within a string.
fn escaped(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    }
}

fn print(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a vector takes everything");
}

fn write_string(out: &mut Vec<u8>, bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return serde_json::to_writer(out, text).expect("a vector takes everything");
    }
    out.push(b'"');
    for byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', *byte]),
            0..0x20 => print(out, format_args!("\\u{byte:04x}")),
            _ => out.push(*byte),
        }
    }
    out.push(b'"');
}

fn integer(out: &mut Vec<u8>, leaf: Leaf, value: i64) {
    match leaf {
        Leaf::Decimal(scale) => decimal(out, value < 0, value.unsigned_abs().to_string(), scale),
        Leaf::Date => {
            out.push(b'"');
            date(out, value);
            out.push(b'"');
        }
        Leaf::Time(digits) => {
            let (seconds, fraction) = split(value, digits);
            out.push(b'"');
            // A time beyond the day stays what it is.
            if seconds < 0 {
                print(out, format_args!("{value}"))
            } else {
                time(out, seconds, fraction, digits)
            }
            out.push(b'"');
        }
        Leaf::Timestamp(digits) => {
            let (seconds, fraction) = split(value, digits);
            let nanos = seconds.rem_euclid(86_400) as u64 * 1_000_000_000 + fraction * 10_u64.pow(9 - digits as u32);
            timestamp(out, seconds.div_euclid(86_400), nanos, digits);
        }
        _ => print(out, format_args!("{value}")),
    }
}

/// Shortest text that reads as the same number.
fn float<F: serde::Serialize + Into<f64> + Copy>(out: &mut Vec<u8>, value: F) {
    let wide: f64 = value.into();
    if wide.is_finite() {
        return serde_json::to_writer(out, &value).expect("a vector takes everything");
    }
    let name = if wide.is_nan() {
        "NaN"
    } else if wide > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    };
    print(out, format_args!("\"{name}\""));
}

fn uuid(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for (at, byte) in bytes.iter().enumerate() {
        let hyphen = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
        print(out, format_args!("{hyphen}{byte:02x}"));
    }
    out.push(b'"');
}

/// The decimal digits of a two's complement number, without its sign.
fn digits(bytes: &[u8], negative: bool) -> String {
    // The absolute value, the most significant byte first.
    let mut left: Vec<u8> = bytes.iter().map(|byte| if negative { !byte } else { *byte }).collect();
    if negative {
        let overflows = left.iter_mut().rev().all(|byte| {
            *byte = byte.wrapping_add(1);
            *byte == 0
        });
        debug_assert!(!overflows, "a negative number is not zero");
    }
    let mut digits = Vec::new();
    while left.iter().any(|byte| *byte != 0) {
        let mut rest = 0_u16;
        for byte in &mut left {
            let part = rest << 8 | u16::from(*byte);
            (*byte, rest) = ((part / 10) as u8, part % 10);
        }
        digits.push(char::from(b'0' + rest as u8));
    }
    if digits.is_empty() { "0".to_owned() } else { digits.into_iter().rev().collect() }
}

fn decimal(out: &mut Vec<u8>, negative: bool, digits: String, scale: usize) {
    let sign = if negative { "-" } else { "" };
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let point = if scale > 0 { "." } else { "" };
    print(out, format_args!("\"{sign}{whole}{point}{fraction}\""));
}

/// Seconds, and what is left in units of so many digits.
fn split(value: i64, digits: usize) -> (i64, u64) {
    let unit = 10_i64.pow(digits as u32);
    (value.div_euclid(unit), value.rem_euclid(unit) as u64)
}

fn time(out: &mut Vec<u8>, seconds: i64, fraction: u64, digits: usize) {
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    print(out, format_args!("{hour:02}:{minute:02}:{second:02}.{fraction:0digits$}"));
}

fn timestamp(out: &mut Vec<u8>, days: i64, nanos: u64, digits: usize) {
    out.push(b'"');
    date(out, days);
    out.push(b'T');
    let fraction = nanos % 1_000_000_000 / 10_u64.pow(9 - digits as u32);
    time(out, (nanos / 1_000_000_000) as i64, fraction, digits);
    out.extend_from_slice(b"Z\"");
}

/// The Gregorian date of a day since 1970, after Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms". Years
/// that four digits do not hold have a sign, as in ISO 8601.
fn date(out: &mut Vec<u8>, days: i64) {
    let days = i128::from(days) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i128::from(month <= 2);
    match year {
        0..=9999 => print(out, format_args!("{year:04}-{month:02}-{day:02}")),
        _ => print(out, format_args!("{year:+05}-{month:02}-{day:02}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::data_type::Int96;

    fn text(leaf: Leaf, raw: Raw<'_>) -> String {
        let mut out = Vec::new();
        write(&mut out, leaf, raw);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_keep_their_precision() {
        let mut int96 = Int96::new();
        int96.set_data(1, 0, 2_440_589);
        for (leaf, raw, expected) in [
            (Leaf::Signed, Raw::I64(i64::MIN), "-9223372036854775808"),
            (Leaf::Unsigned, Raw::I64(-1), "18446744073709551615"),
            (Leaf::Unsigned, Raw::I32(-1), "4294967295"),
            (Leaf::Float, Raw::F32(0.1), "0.1"),
            (Leaf::Float, Raw::F64(0.1 + 0.2), "0.30000000000000004"),
            (Leaf::Float, Raw::F64(f64::NEG_INFINITY), "\"-Infinity\""),
            (Leaf::Float, Raw::F32(f32::NAN), "\"NaN\""),
            (Leaf::Half, Raw::Bytes(&[0, 0x3e]), "1.5"),
            (Leaf::Binary, Raw::Bytes(b"\x00\xff"), "\"AP8=\""),
            (Leaf::Text, Raw::Bytes("a\"\u{e9}\n".as_bytes()), "\"a\\\"\u{e9}\\n\""),
            (Leaf::Uuid, Raw::Bytes(b"0123456789abcdef"), "\"30313233-3435-3637-3839-616263646566\""),
            (Leaf::Decimal(2), Raw::I32(-5), "\"-0.05\""),
            (Leaf::Decimal(0), Raw::I64(12), "\"12\""),
            (Leaf::Decimal(2), Raw::Bytes(&[0x80, 0]), "\"-327.68\""),
            (Leaf::Decimal(1), Raw::Bytes(&[]), "\"0.0\""),
            (Leaf::Decimal(0), Raw::Bytes(&[0x7f; 16]), "\"169473963133173273960190490760135540607\""),
            (Leaf::Date, Raw::I32(19_782), "\"2024-02-29\""),
            (Leaf::Date, Raw::I32(-719_529), "\"-0001-12-31\""),
            (Leaf::Date, Raw::I32(2_932_897), "\"+10000-01-01\""),
            (Leaf::Time(6), Raw::I64(86_399_999_999), "\"23:59:59.999999\""),
            (Leaf::Timestamp(3), Raw::I64(-1), "\"1969-12-31T23:59:59.999Z\""),
            (Leaf::Timestamp(9), Raw::I64(1_700_000_000_123_456_789), "\"2023-11-14T22:13:20.123456789Z\""),
            (Leaf::Int96, Raw::I96(&int96), "\"1970-01-02T00:00:00.000000001Z\""),
        ] {
            assert_eq!(text(leaf, raw), expected, "{leaf:?} {raw:?}");
        }
        assert!(text(Leaf::Timestamp(3), Raw::I64(i64::MIN)).starts_with("\"-292275055-05-16T"));
    }

    #[test]
    fn keys_are_strings_whatever_they_were() {
        let mut out = Vec::new();
        write_key(&mut out, Leaf::Signed, Raw::I32(7));
        write_key(&mut out, Leaf::Text, Raw::Bytes(b"k"));
        assert_eq!(out, b"\"7\"\"k\"");
    }

    #[test]
    fn bytes_that_are_no_text_stay_as_they_are() {
        let mut out = Vec::new();
        write(&mut out, Leaf::Text, Raw::Bytes(b"a\"\xff\n"));
        assert_eq!(out, b"\"a\\\"\xff\\u000a\"");
    }
}
