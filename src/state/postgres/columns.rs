//! A row of PostgreSQL as the columns that both databases share, and text that it can hold.
//!
//! PostgreSQL takes no NUL in a text, and logs have some. So text from outside is written with [`stored`]: NUL becomes an
//! escape and a `0`, the escape itself becomes two. The escape is a noncharacter, which no honest text has, so what people
//! see in the database is what was written.

use std::borrow::Cow;

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::During;
use crate::state::StateError;
use crate::state::columns::Columns;

const ESCAPE: char = '\u{10ffff}';

impl Columns for PgRow {
    fn text_or_null(&self, column: &str) -> Result<Option<String>, StateError> {
        let text: Option<String> = self.try_get(column).during("read a text")?;
        Ok(text.map(original))
    }

    fn int_or_null(&self, column: &str) -> Result<Option<i64>, StateError> {
        Ok(self.try_get(column).during("read a number")?)
    }
}

/// Text as it stands in a column.
pub(super) fn stored(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', ESCAPE]) {
        return Cow::Borrowed(text);
    }
    let mut stored = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\0' => stored.extend([ESCAPE, '0']),
            ESCAPE => stored.extend([ESCAPE, ESCAPE]),
            c => stored.push(c),
        }
    }
    Cow::Owned(stored)
}

/// The same for a text that may be missing.
pub(super) fn stored_or_null(text: Option<&String>) -> Option<Cow<'_, str>> {
    text.map(|text| stored(text))
}

fn original(stored: String) -> String {
    if !stored.contains(ESCAPE) {
        return stored;
    }
    let mut text = String::with_capacity(stored.len());
    let mut chars = stored.chars();
    while let Some(c) = chars.next() {
        match c {
            ESCAPE => text.extend(chars.next().map(|escaped| if escaped == '0' { '\0' } else { escaped })),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_without_nul_stands_as_it_is() {
        assert_eq!(stored("a\u{202e}b\u{10fffe}"), "a\u{202e}b\u{10fffe}");
        assert_eq!(stored("a\0b"), "a\u{10ffff}0b");
    }

    proptest! {
        #[test]
        fn any_text_survives_and_no_two_are_stored_alike(one in "[\0\u{10ffff}0a]{0,6}", other in "[\0\u{10ffff}0a]{0,6}") {
            prop_assert!(!stored(&one).contains('\0'));
            prop_assert_eq!(original(stored(&one).into_owned()), one.clone());
            prop_assert_eq!(stored(&one) == stored(&other), one == other);
            prop_assert!(!one.contains(&other) || stored(&one).contains(&*stored(&other)));
        }
    }
}
