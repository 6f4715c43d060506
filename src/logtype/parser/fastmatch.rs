//! Records with fixed text between their fields: `%{host} [%{time}] "%{request}" %{rest}`.
//!
//! A field reaches to the first occurrence of the text behind it. Between equal quotes, backslash escapes are decoded.

use std::borrow::Cow;

use super::Fields;
use super::text::{Part, placeholders};

#[derive(Debug)]
pub(crate) struct Fastmatch {
    patterns: Vec<Pattern>,
}

#[derive(Debug)]
struct Pattern {
    prefix: String,
    fields: Vec<Field>,
}

#[derive(Debug)]
struct Field {
    /// Empty: matched and dropped.
    name: String,
    /// The text behind the field; empty for a last field, which takes the rest.
    delimiter: String,
    /// The quote on both sides of the field.
    quote: Option<char>,
}

impl Fastmatch {
    /// Tried in order; the first that matches wins.
    pub(crate) fn new() -> Fastmatch {
        Fastmatch { patterns: Vec::new() }
    }

    pub(crate) fn add(&mut self, text: &str) -> Result<(), String> {
        let mut parts = placeholders(text)?.into_iter().peekable();
        let prefix = match parts.peek() {
            Some(Part::Literal(_)) => match parts.next() {
                Some(Part::Literal(prefix)) => prefix,
                _ => unreachable!("peeked"),
            },
            _ => String::new(),
        };
        let mut fields: Vec<Field> = Vec::new();
        let mut before = prefix.clone();
        while let Some(part) = parts.next() {
            let Part::Field(name) = part else { unreachable!("two literals never follow each other") };
            let delimiter = match parts.peek() {
                Some(Part::Literal(_)) => match parts.next() {
                    Some(Part::Literal(text)) => text,
                    _ => unreachable!("peeked"),
                },
                Some(Part::Field(_)) => {
                    return Err(format!(
                        "`{text}` has two placeholders without text between them; nothing tells where one ends"
                    ));
                }
                None => String::new(),
            };
            let quote = before.chars().next_back().filter(|quote| matches!(quote, '"' | '\'' | '`'));
            let quote = quote.filter(|quote| delimiter.starts_with(*quote));
            before.clone_from(&delimiter);
            let name = if name.trim().is_empty() { String::new() } else { name };
            fields.push(Field { name, delimiter, quote });
        }
        if fields.iter().all(|field| field.name.is_empty()) {
            return Err(format!("`{text}` names no field; write `%{{field}}`"));
        }
        self.patterns.push(Pattern { prefix, fields });
        Ok(())
    }

    pub(super) fn fields<'a>(&'a self, text: &'a str) -> Result<Fields<'a>, String> {
        let fields = self.patterns.iter().find_map(|pattern| pattern.fields(text));
        fields.ok_or_else(|| "the record matches none of the patterns".into())
    }
}

impl Pattern {
    fn fields<'a>(&'a self, text: &'a str) -> Option<Fields<'a>> {
        let mut rest = text.strip_prefix(self.prefix.as_str())?;
        let mut fields = Vec::with_capacity(self.fields.len());
        for field in &self.fields {
            let (value, after) = field.take(rest)?;
            if !field.name.is_empty() {
                fields.push((field.name.as_str(), value));
            }
            rest = after;
        }
        Some(fields)
    }
}

impl Field {
    fn take<'a>(&self, text: &'a str) -> Option<(Cow<'a, str>, &'a str)> {
        if self.delimiter.is_empty() {
            return Some((Cow::Borrowed(text), ""));
        }
        if let Some(quote) = self.quote {
            let (value, length) = unquoted(text, quote)?;
            return Some((value, text[length..].strip_prefix(self.delimiter.as_str())?));
        }
        // Mostly a space.
        let end = match self.delimiter.as_bytes() {
            [byte] => memchr::memchr(*byte, text.as_bytes())?,
            bytes => memchr::memmem::find(text.as_bytes(), bytes)?,
        };
        Some((Cow::Borrowed(&text[..end]), &text[end + self.delimiter.len()..]))
    }
}

/// Text up to the next unescaped quote, decoded, and its length as written.
fn unquoted(text: &str, quote: char) -> Option<(Cow<'_, str>, usize)> {
    let end = text.find(['\\', quote])?;
    if text[end..].starts_with(quote) {
        return Some((Cow::Borrowed(&text[..end]), end));
    }
    let mut value = text[..end].to_string();
    let mut characters = text[end..].char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => {
                let (_, escape) = characters.next()?;
                let mut code = |digits: usize| {
                    (0..digits).try_fold(0, |code, _| Some(code * 16 + characters.next()?.1.to_digit(16)?))
                };
                value.push(match escape {
                    '"' | '\'' | '`' | '\\' | '/' => escape,
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'x' => char::from_u32(code(2)?)?,
                    'u' => char::from_u32(code(4)?).unwrap_or(char::REPLACEMENT_CHARACTER),
                    _ => return None,
                });
            }
            _ if character == quote => return Some((Cow::Owned(value), end + at)),
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(patterns: &[&str], text: &str) -> Option<String> {
        let mut parser = Fastmatch::new();
        patterns.iter().for_each(|pattern| parser.add(pattern).unwrap());
        let fields = parser.fields(text).ok()?;
        Some(fields.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_field_reaches_to_the_first_delimiter() {
        assert_eq!(fields(&["%{a}, %{b}, %{c}"], "x,, y, z, w").unwrap(), "a=x, b=y c=z, w");
        assert_eq!(fields(&["LOG: %{a}=%{b};"], "LOG: k=v;w;").unwrap(), "a=k b=v");
        assert_eq!(fields(&["LOG: %{a}=%{b};"], "LOG: k=v"), None);
        assert_eq!(fields(&["<%{}>%{b}"], "<1>x").unwrap(), "b=x");
        assert_eq!(fields(&["%{a}:%{b}", "%{a}"], "xy").unwrap(), "a=xy");
    }

    #[test]
    fn escapes_between_quotes_are_decoded() {
        assert_eq!(fields(&["\"%{a}\" %{b}"], r#""z \"q\" \u00e9\x41" r"#).unwrap(), "a=z \"q\" éA b=r");
        assert_eq!(fields(&["\"%{a}\" %{b}"], r#""bad \q" r"#), None);
        assert_eq!(fields(&["\"%{a}\" %{b}"], r#""open"#), None);
    }

    #[test]
    fn patterns_that_cannot_be_told_apart_are_refused() {
        let mut parser = Fastmatch::new();
        assert!(parser.add("%{a}%{b}").unwrap_err().contains("two placeholders"));
        assert!(parser.add("%{} x").unwrap_err().contains("names no field"));
        assert!(parser.add("%{a").unwrap_err().contains("without its"));
    }
}
