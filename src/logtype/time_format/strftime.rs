//! `strftime` patterns, the subset that schemas may use.

use super::pattern::{Item, Pattern};

pub(super) fn compile(text: &str) -> Result<Pattern, String> {
    let mut items = Vec::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            literal(&mut items, character);
            continue;
        }
        let directive = characters.next().ok_or_else(|| format!("`{text}` ends with a lone `%`; write `%%`"))?;
        match directive {
            'Y' => items.push(Item::Year),
            'y' => items.push(Item::ShortYear),
            'm' => items.push(Item::Month),
            'd' | 'e' => items.push(Item::Day),
            'H' => items.push(Item::Hour),
            'I' => items.push(Item::Hour12),
            'M' => items.push(Item::Minute),
            'S' => items.push(Item::Second),
            'f' => items.push(Item::Fraction),
            'p' => items.push(Item::Meridiem),
            'b' | 'B' | 'h' => items.push(Item::MonthName),
            'a' | 'A' => items.push(Item::WeekdayName),
            'j' => items.push(Item::DayOfYear),
            'z' => items.push(Item::Offset { zulu: true }),
            'Z' => items.push(Item::ZoneName),
            's' => items.push(Item::UnixSeconds),
            'n' | 't' => items.push(Item::Space),
            '%' => literal(&mut items, '%'),
            'T' => items.extend(compile("%H:%M:%S")?.0),
            'R' => items.extend(compile("%H:%M")?.0),
            'D' => items.extend(compile("%m/%d/%y")?.0),
            'F' => items.extend(compile("%Y-%m-%d")?.0),
            other => {
                return Err(format!(
                    "`%{other}` in `{text}` is unknown; use %Y %y %m %d %e %H %I %M %S %f %p %b %B %a %A %j %z %Z %s %T \
                     %D %F %R %n %t %%"
                ));
            }
        }
    }
    Ok(Pattern(items))
}

pub(super) fn literal(items: &mut Vec<Item>, character: char) {
    match items.last_mut() {
        Some(Item::Literal(text)) => text.push(character),
        _ => items.push(Item::Literal(character.into())),
    }
}
