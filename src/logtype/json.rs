//! The JSON of one record, parsed once and borrowed from its text. Numbers keep their spelling, because a schema may
//! want `1.50` as text; that is why this is not [`Value`], into which the chosen fields are converted.

use std::borrow::Cow;
use std::sync::Arc;

use crate::model::{MapBuilder, Value};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Raw<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    Str(Cow<'a, str>),
    List(Vec<Raw<'a>>),
    /// In input order, repeated keys included.
    Map(Vec<(Cow<'a, str>, Raw<'a>)>),
}

/// Deeper values are refused: everything that walks a value recurses.
const MAX_DEPTH: usize = 128;

/// The first JSON value of a text, and how many bytes that are no white space follow it.
pub(crate) fn parse(text: &str) -> Result<(Raw<'_>, usize), String> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    let value = parser.value().map_err(|what| format!("not JSON: {what} at byte {}", parser.at))?;
    Ok((value, text[parser.at..].trim_ascii().len()))
}

impl Raw<'_> {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Raw::Null => "null",
            Raw::Bool(_) => "a boolean",
            Raw::Number(_) => "a number",
            Raw::Str(_) => "a string",
            Raw::List(_) => "an array",
            Raw::Map(_) => "an object",
        }
    }

    /// The last value under a key of an object.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Raw::Map(entries) => entries.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text of a scalar, as it is spelled.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Raw::Str(text) => Some(text),
            Raw::Number(text) => Some(text),
            Raw::Bool(true) => Some("true"),
            Raw::Bool(false) => Some("false"),
            Raw::Null | Raw::List(_) | Raw::Map(_) => None,
        }
    }

    pub(crate) fn to_value(&self) -> Value {
        match self {
            Raw::Null => Value::Null,
            Raw::Bool(value) => Value::Bool(*value),
            Raw::Number(text) => number(text),
            Raw::Str(text) => Value::str(text),
            Raw::List(items) => Value::List(items.iter().map(Raw::to_value).collect()),
            Raw::Map(entries) => {
                let mut map = MapBuilder::default();
                for (key, value) in entries {
                    map.insert(Arc::<str>::from(&**key), value.to_value());
                }
                Value::Map(map.build())
            }
        }
    }
}

/// An integer where it fits one, else a float. An integer that neither holds exactly is an identifier more likely than
/// a quantity: it stays what it is, as text.
fn number(text: &str) -> Value {
    if let Ok(int) = text.parse::<i64>() {
        return Value::Int(int);
    }
    if let Ok(int) = text.parse::<u64>() {
        return Value::UInt(int);
    }
    let is_integer = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    // Beyond the range of a float there is no number to give; the text is what is left.
    match text.parse::<f64>() {
        Ok(float) if float.is_finite() && !is_integer => Value::Float(float),
        _ => Value::str(text),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

type Parsed<T> = Result<T, &'static str>;

impl<'a> Parser<'a> {
    fn value(&mut self) -> Parsed<Raw<'a>> {
        match self.next_token() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::list),
            Some(b'"') => Ok(Raw::Str(self.string()?)),
            Some(b'-' | b'0'..=b'9') => Ok(Raw::Number(self.number()?)),
            Some(b't') => self.literal("true", Raw::Bool(true)),
            Some(b'f') => self.literal("false", Raw::Bool(false)),
            Some(b'n') => self.literal("null", Raw::Null),
            Some(_) => Err("a value is expected"),
            None => Err("the text ends where a value is expected"),
        }
    }

    fn nested(&mut self, inner: fn(&mut Self) -> Parsed<Raw<'a>>) -> Parsed<Raw<'a>> {
        if self.depth == MAX_DEPTH {
            return Err("the nesting is deeper than 128");
        }
        self.depth += 1;
        self.at += 1;
        let value = inner(self);
        self.depth -= 1;
        value
    }

    fn object(&mut self) -> Parsed<Raw<'a>> {
        let mut entries = Vec::new();
        if self.next_token() == Some(b'}') {
            self.at += 1;
            return Ok(Raw::Map(entries));
        }
        loop {
            if self.next_token() != Some(b'"') {
                return Err("a key in quotes is expected");
            }
            let key = self.string()?;
            if self.next_token() != Some(b':') {
                return Err("a colon is expected");
            }
            self.at += 1;
            entries.push((key, self.value()?));
            if self.end_of_member(b'}')? {
                return Ok(Raw::Map(entries));
            }
        }
    }

    fn list(&mut self) -> Parsed<Raw<'a>> {
        let mut items = Vec::new();
        if self.next_token() == Some(b']') {
            self.at += 1;
            return Ok(Raw::List(items));
        }
        loop {
            items.push(self.value()?);
            if self.end_of_member(b']')? {
                return Ok(Raw::List(items));
            }
        }
    }

    fn end_of_member(&mut self, close: u8) -> Parsed<bool> {
        let token = self.next_token();
        if token != Some(b',') && token != Some(close) {
            return Err("a comma or a closing bracket is expected");
        }
        self.at += 1;
        Ok(token == Some(close))
    }

    /// Skips white space and looks at the next byte.
    fn next_token(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    fn literal(&mut self, word: &str, value: Raw<'a>) -> Parsed<Raw<'a>> {
        if !self.text[self.at..].starts_with(word) {
            return Err("a value is expected");
        }
        self.at += word.len();
        Ok(value)
    }

    fn number(&mut self) -> Parsed<&'a str> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut at = start + usize::from(bytes[start] == b'-');
        let digits = |at: &mut usize| {
            let from = *at;
            while bytes.get(*at).is_some_and(u8::is_ascii_digit) {
                *at += 1;
            }
            *at - from
        };
        let leading_zero = bytes.get(at) == Some(&b'0');
        let whole = digits(&mut at);
        let mut valid = whole > 0 && !(leading_zero && whole > 1);
        if bytes.get(at) == Some(&b'.') {
            at += 1;
            valid &= digits(&mut at) > 0;
        }
        if let Some(b'e' | b'E') = bytes.get(at) {
            at += 1;
            at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
            valid &= digits(&mut at) > 0;
        }
        if !valid {
            return Err("a number is malformed");
        }
        self.at = at;
        Ok(&self.text[start..at])
    }

    fn string(&mut self) -> Parsed<Cow<'a, str>> {
        let start = self.at + 1;
        let rest = &self.text.as_bytes()[start..];
        let stop = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
        let end = rest.iter().position(stop).ok_or("a string does not end")?;
        self.at = start + end;
        match rest[end] {
            b'"' => {
                self.at += 1;
                Ok(Cow::Borrowed(&self.text[start..start + end]))
            }
            b'\\' => self.escaped(start),
            _ => Err("a control character stands in a string"),
        }
    }

    /// A string with an escape at the present position.
    fn escaped(&mut self, start: usize) -> Parsed<Cow<'a, str>> {
        let bytes = self.text.as_bytes();
        let mut text = String::from(&self.text[start..self.at]);
        loop {
            match bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(text));
                }
                Some(b'\\') => {
                    self.at += 1;
                    let character = self.escape()?;
                    text.push(character);
                }
                Some(0..=0x1f) => return Err("a control character stands in a string"),
                Some(_) => {
                    let plain = bytes[self.at..].iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
                    let end = self.at + plain.ok_or("a string does not end")?;
                    text.push_str(&self.text[self.at..end]);
                    self.at = end;
                }
                None => return Err("a string does not end"),
            }
        }
    }

    fn escape(&mut self) -> Parsed<char> {
        let byte = *self.text.as_bytes().get(self.at).ok_or("a string does not end")?;
        self.at += 1;
        Ok(match byte {
            b'"' | b'\\' | b'/' => byte as char,
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => self.unicode()?,
            _ => return Err("an escape is unknown"),
        })
    }

    /// A surrogate without its partner becomes U+FFFD, as Python and Go readers of the same logs have it.
    fn unicode(&mut self) -> Parsed<char> {
        let first = self.hex4()?;
        if !(0xd800..0xe000).contains(&first) {
            return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        if first < 0xdc00 && self.text[self.at..].starts_with("\\u") {
            let before = self.at;
            self.at += 2;
            let second = self.hex4()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = before;
        }
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn hex4(&mut self) -> Parsed<u32> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).ok_or("a string does not end")?;
        let mut code = 0;
        for &digit in digits {
            code = code * 16 + (digit as char).to_digit(16).ok_or("a \\u escape needs four hex digits")?;
        }
        self.at += 4;
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str) -> String {
        serde_json::to_string(&parse(text).unwrap().0.to_value()).unwrap()
    }

    #[test]
    fn numbers_keep_their_spelling_and_their_value() {
        let (raw, trailing) = parse(r#"{"a":1.50,"b":-1.5e3,"c":18446744073709551615} x "#).unwrap();
        assert_eq!(raw.get("a"), Some(&Raw::Number("1.50")));
        assert_eq!(raw.get("b").and_then(Raw::text), Some("-1.5e3"));
        assert_eq!(value(r#"[1.50,-1.5e3,18446744073709551615]"#), "[1.5,-1500.0,18446744073709551615]");
        assert_eq!(
            value("[18446744073709551616,-9223372036854775809]"),
            r#"["18446744073709551616","-9223372036854775809"]"#
        );
        assert_eq!(value("[1,1.0,-0,1e999]"), r#"[1,1.0,0,"1e999"]"#);
        assert_eq!(trailing, 1);
    }

    #[test]
    fn escapes_are_decoded() {
        assert_eq!(parse(r#""a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\ud800x""#).unwrap().0, {
            Raw::Str("a\"\\/\u{8}\u{c}\n\r\té😀\u{fffd}x".into())
        });
    }

    #[test]
    fn the_last_of_repeated_keys_counts() {
        assert_eq!(parse(r#"{"a":1,"a":2}"#).unwrap().0.get("a"), Some(&Raw::Number("2")));
        assert_eq!(value(r#"{"a":1,"b":0,"a":2}"#), r#"{"a":2,"b":0}"#);
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        for text in
            ["", "{", "[1,]", "{\"a\"}", "{a:1}", "01", "1.", "-", "tru", "\"a\nb\"", r#""\x""#, r#""\u12""#, "[1 2]"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse(r#"{"a" 1}"#).unwrap_err(), "not JSON: a colon is expected at byte 5");
        assert!(parse(&"[".repeat(100_000)).unwrap_err().contains("deeper than 128"));
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in r#"[\[\]{}",:\\0-9a-eu .tnrflsé-]{0,24}"#) {
            // Integers beyond 64 bits are a float there and a text here.
            prop_assume!(!text.as_bytes().windows(19).any(|run| run.iter().all(u8::is_ascii_digit)));
            let serde: Option<Value> = serde_json::from_str(&text).ok();
            let ours = parse(&text).ok().filter(|(_, trailing)| *trailing == 0).map(|(raw, _)| raw.to_value());
            if let Some(serde) = serde {
                prop_assert_eq!(Some(serde), ours);
            } else if let Some(ours) = ours {
                // Only lone surrogates and numbers beyond a float are taken that serde_json refuses.
                let shown = format!("{ours:?}");
                prop_assert!(shown.contains('\u{fffd}') || shown.contains('e'), "{shown}");
            }
        }
    }
}
