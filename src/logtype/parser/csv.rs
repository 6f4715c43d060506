//! Delimited text with lazy quotes: a quote inside an unquoted value is data, a doubled quote inside a quoted value is
//! one, and a lone quote inside a quoted value is data unless the value ends there.

use std::borrow::Cow;

use super::{Fields, Header, Memory};

#[derive(Debug)]
pub(crate) struct Csv {
    pub(crate) delimiter: u8,
    pub(crate) columns: Columns,
}

/// Where the names of the values come from. An empty name skips its value.
#[derive(Debug)]
pub(crate) enum Columns {
    Named(Vec<String>),
    /// Named, and the first line is a header that is skipped.
    BehindHeader(Vec<String>),
    FromHeader,
}

impl Csv {
    pub(super) fn has_header(&self) -> bool {
        !matches!(self.columns, Columns::Named(_))
    }

    /// Whether the record is the first of the object, or the same again, where that is a header.
    pub(super) fn is_header(&self, text: &str, memory: &mut Memory) -> bool {
        if text.starts_with('{') || !self.has_header() {
            return false;
        }
        if let Some(header) = &memory.header {
            return header.line == text;
        }
        let names = split(text.trim_start_matches('\u{feff}'), self.delimiter, 0)
            .into_iter()
            .map(|name| name.trim().to_string())
            .collect();
        memory.header = Some(Header { line: text.to_string(), names });
        true
    }

    /// The fields of a record that is no header.
    pub(super) fn fields<'a>(&'a self, text: &'a str, memory: &'a Memory) -> Result<Fields<'a>, String> {
        if text.starts_with('{') {
            return Err("the record looks like JSON, not like delimited text".into());
        }
        let names = match (&self.columns, &memory.header) {
            (Columns::Named(names) | Columns::BehindHeader(names), _) => names,
            (Columns::FromHeader, Some(header)) => &header.names,
            (Columns::FromHeader, None) => return Err("the object has no header".into()),
        };
        let values = split(text, self.delimiter, names.len());
        if values.len() != names.len() {
            return Err(format!("the record has {} values where {} columns are expected", values.len(), names.len()));
        }
        let named = names.iter().zip(values).filter(|(name, _)| !name.is_empty());
        Ok(named.map(|(name, value)| (name.as_str(), value)).collect())
    }
}

/// The values of one record, about so many.
fn split(text: &str, delimiter: u8, about: usize) -> Vec<Cow<'_, str>> {
    let mut values = Vec::with_capacity(about);
    let mut rest = Some(text);
    while let Some(text) = rest {
        let (value, after) = match text.strip_prefix('"') {
            Some(quoted) => quoted_value(quoted, delimiter),
            None => match memchr::memchr(delimiter, text.as_bytes()) {
                Some(end) => (Cow::Borrowed(&text[..end]), Some(&text[end + 1..])),
                None => (Cow::Borrowed(text), None),
            },
        };
        values.push(value);
        rest = after;
    }
    values
}

/// A value after its opening quote, and what follows the delimiter behind it. Without a closing quote the rest is the
/// value.
fn quoted_value(text: &str, delimiter: u8) -> (Cow<'_, str>, Option<&str>) {
    let bytes = text.as_bytes();
    let mut value = Cow::Borrowed("");
    let mut from = 0;
    let mut search = 0;
    while let Some(quote) = memchr::memchr(b'"', &bytes[search..]).map(|at| search + at) {
        match bytes.get(quote + 1) {
            None => return (joined(value, &text[from..quote]), None),
            Some(&next) if next == delimiter => return (joined(value, &text[from..quote]), Some(&text[quote + 2..])),
            Some(b'"') => {
                value = joined(value, &text[from..=quote]);
                from = quote + 2;
                search = from;
            }
            Some(_) => search = quote + 1,
        }
    }
    (joined(value, &text[from..]), None)
}

fn joined<'a>(value: Cow<'a, str>, more: &'a str) -> Cow<'a, str> {
    if value.is_empty() {
        return Cow::Borrowed(more);
    }
    Cow::Owned(value.into_owned() + more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_lazy() {
        for (text, expected) in [
            ("a,b,,", vec!["a", "b", "", ""]),
            ("\"a,b\",\"c \"\"d\"\"\",e", vec!["a,b", "c \"d\"", "e"]),
            ("a\"b,c", vec!["a\"b", "c"]),
            ("\"a\"b\",c", vec!["a\"b", "c"]),
            ("\"open,1", vec!["open,1"]),
            ("\"\",x", vec!["", "x"]),
            ("\"\"\"\"", vec!["\""]),
            ("", vec![""]),
        ] {
            assert_eq!(split(text, b',', 0), expected, "{text}");
        }
    }
}
