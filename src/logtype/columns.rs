//! Column names: what a store cannot hold is spelled out.

/// Keeps ASCII letters, digits, `_` and `-`; some signs become words set off by `_`, other letters are transliterated,
/// and the rest becomes `_`.
pub(crate) fn column(name: &str) -> String {
    let mut column = String::with_capacity(name.len());
    let mut characters = name.chars().peekable();
    while let Some(character) = characters.next() {
        if let Some(word) = word(character) {
            if !column.is_empty() {
                column.push('_');
            }
            column.push_str(word);
            if characters.peek().is_some() {
                column.push('_');
            }
            continue;
        }
        match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => column.push(character),
            _ if character.is_alphabetic() => {
                let ascii = any_ascii::any_ascii_char(character);
                let kept = ascii.chars().filter(char::is_ascii_alphanumeric);
                let before = column.len();
                column.extend(kept);
                if column.len() == before {
                    column.push('_');
                }
            }
            _ => column.push('_'),
        }
    }
    column
}

/// Whether a table would take a name for one of margay's own columns.
pub(crate) fn is_standard(name: &str) -> bool {
    name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("p_"))
}

fn word(character: char) -> Option<&'static str> {
    Some(match character {
        '@' => "at_sign",
        ',' => "comma",
        '`' => "backtick",
        '\'' => "apostrophe",
        '$' => "dollar_sign",
        '*' => "asterisk",
        '&' => "ampersand",
        '!' => "exclamation",
        '%' => "percent",
        '+' => "plus",
        '/' => "slash",
        '\\' => "backslash",
        '#' => "hash",
        '~' => "tilde",
        '=' => "eq",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_out() {
        for (name, expected) in [
            ("eventName", "eventName"),
            ("a-b_c", "a-b_c"),
            ("@ts/a.b c$", "at_sign_ts_slash_a_b_c_dollar_sign"),
            ("a+b", "a_plus_b"),
            ("#", "hash"),
            ("größe", "grosse"),
            ("a:b", "a_b"),
        ] {
            assert_eq!(column(name), expected, "{name}");
        }
    }
}
