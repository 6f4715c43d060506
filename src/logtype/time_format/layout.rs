//! Go layouts: a timestamp pattern written as the reference time `Mon Jan 2 15:04:05 MST 2006`.
//! Source: documentation of Go's package `time`.

use super::pattern::{Item, Pattern};
use super::strftime::literal;

/// The first entry that the rest of the layout starts with is taken, so longer spellings stand before their beginnings.
const TOKENS: &[(&str, Item)] = &[
    ("January", Item::MonthName),
    ("Jan", Item::MonthName),
    ("Monday", Item::WeekdayName),
    ("Mon", Item::WeekdayName),
    ("MST", Item::ZoneName),
    ("2006", Item::Year),
    ("002", Item::DayOfYear),
    ("01", Item::Month),
    ("02", Item::Day),
    ("03", Item::Hour12),
    ("04", Item::Minute),
    ("05", Item::Second),
    ("06", Item::ShortYear),
    ("15", Item::Hour),
    ("_2", Item::Day),
    ("PM", Item::Meridiem),
    ("pm", Item::Meridiem),
    ("Z07:00", Item::Offset { zulu: true }),
    ("Z0700", Item::Offset { zulu: true }),
    ("Z07", Item::Offset { zulu: true }),
    ("-07:00", Item::Offset { zulu: false }),
    ("-0700", Item::Offset { zulu: false }),
    ("-07", Item::Offset { zulu: false }),
    ("1", Item::Month),
    ("2", Item::Day),
    ("3", Item::Hour12),
    ("4", Item::Minute),
    ("5", Item::Second),
];

pub(super) fn compile(text: &str) -> Result<Pattern, String> {
    let mut items = Vec::new();
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let token = TOKENS.iter().find(|(token, _)| rest.starts_with(token));
        if let Some((token, item)) = token {
            items.push(item.clone());
            rest = &rest[token.len()..];
            if *item == Item::Second {
                // Go reads a fraction after the seconds whether or not the layout has one.
                items.push(Item::OptionalFraction);
                rest = &rest[written_fraction(rest)..];
            }
            continue;
        }
        literal(&mut items, character);
        rest = &rest[character.len_utf8()..];
    }
    if items.iter().all(|item| matches!(item, Item::Literal(_))) {
        return Err(format!(
            "the layout `{text}` has no part of a time; write the reference time 2006-01-02 15:04:05 in it"
        ));
    }
    Ok(Pattern(items))
}

/// Length of a fraction such as `.000` or `,999`.
fn written_fraction(layout: &str) -> usize {
    let Some(digits) = layout.strip_prefix(['.', ',']) else { return 0 };
    let zeros = digits.bytes().take_while(|&byte| byte == b'0').count();
    let nines = digits.bytes().take_while(|&byte| byte == b'9').count();
    match zeros.max(nines) {
        0 => 0,
        count => count + 1,
    }
}
