//! The raw fields of one record, parsed once and borrowed from its text. Numbers keep their spelling, because a schema may
//! want `1.50` as text. All values of a record lie in one row, a container before what it holds.

use std::borrow::Cow;

#[derive(Debug)]
pub(crate) struct Doc<'a> {
    nodes: Vec<Node<'a>>,
}

#[derive(Clone, Debug)]
struct Node<'a> {
    /// Empty for elements of lists.
    key: Cow<'a, str>,
    leaf: Leaf<'a>,
}

#[derive(Clone, Debug)]
enum Leaf<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    Str(Cow<'a, str>),
    /// So many nodes follow that are within.
    List(usize),
    Map(usize),
}

impl Leaf<'_> {
    /// How many of the nodes behind its own are within.
    fn within(&self) -> usize {
        match self {
            Leaf::List(nodes) | Leaf::Map(nodes) => *nodes,
            Leaf::Null | Leaf::Bool(_) | Leaf::Number(_) | Leaf::Str(_) => 0,
        }
    }
}

/// One value of a record: its node and those within it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw<'d>(&'d [Node<'d>]);

/// What a value is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form<'d> {
    Null,
    Bool(bool),
    Number(&'d str),
    Str(&'d str),
    List(Children<'d>),
    /// In input order, repeated keys included.
    Map(Children<'d>),
}

/// What a container holds, each value with its key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Children<'d>(&'d [Node<'d>]);

/// Deeper values are refused: everything that walks a value recurses.
const MAX_DEPTH: usize = 128;

/// Bytes of JSON a value, about; fewer mean that the row of values has to grow once or twice.
const BYTES_A_VALUE: usize = 24;

/// The first JSON value of a text, and how many bytes that are no white space follow it.
pub(crate) fn parse(text: &str) -> Result<(Doc<'_>, usize), String> {
    let nodes = Vec::with_capacity(text.len() / BYTES_A_VALUE + 4);
    let mut parser = Parser { text, at: 0, depth: 0, nodes };
    parser.value(Cow::Borrowed("")).map_err(|what| format!("not JSON: {what} at byte {}", parser.at))?;
    Ok((Doc { nodes: parser.nodes }, text[parser.at..].trim_ascii().len()))
}

impl<'a> Doc<'a> {
    /// An object that is still empty, with room for so many members.
    pub(crate) fn with_capacity(members: usize) -> Doc<'a> {
        let mut nodes = Vec::with_capacity(members + 1);
        nodes.push(Node { key: Cow::Borrowed(""), leaf: Leaf::Map(0) });
        Doc { nodes }
    }

    pub(crate) fn root(&self) -> Raw<'_> {
        Raw(&self.nodes)
    }

    /// Whether a value is within this record, and not the whole of it.
    pub(crate) fn has_within(&self, raw: Raw<'_>) -> bool {
        self.nodes[1..].as_ptr_range().contains(&raw.0.as_ptr())
    }

    /// Adds a member to the object that was begun last.
    pub(crate) fn text(&mut self, key: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        self.nodes.push(Node { key: key.into(), leaf: Leaf::Str(value.into()) });
        self.nodes[0].leaf = Leaf::Map(self.nodes.len() - 1);
    }

    pub(crate) fn list<T: Into<Cow<'a, str>>>(&mut self, key: impl Into<Cow<'a, str>>, items: impl Iterator<Item = T>) {
        let at = self.nodes.len();
        self.nodes.push(Node { key: key.into(), leaf: Leaf::List(0) });
        items.for_each(|item| self.text("", item));
        self.nodes[at].leaf = Leaf::List(self.nodes.len() - at - 1);
        self.nodes[0].leaf = Leaf::Map(self.nodes.len() - 1);
    }

    /// Adds a value of another record as a member of this one.
    pub(crate) fn copy(&mut self, key: &'static str, value: Raw<'a>) {
        self.nodes.push(Node { key: key.into(), leaf: value.0[0].leaf.clone() });
        self.nodes.extend_from_slice(&value.0[1..=value.0[0].leaf.within()]);
        self.nodes[0].leaf = Leaf::Map(self.nodes.len() - 1);
    }

    /// Begins an object within; [`Doc::end`] ends it.
    pub(crate) fn begin(&mut self, key: impl Into<Cow<'a, str>>) -> usize {
        self.nodes.push(Node { key: key.into(), leaf: Leaf::Map(0) });
        self.nodes.len() - 1
    }

    pub(crate) fn end(&mut self, begun: usize) {
        self.nodes[begun].leaf = Leaf::Map(self.nodes.len() - begun - 1);
        self.nodes[0].leaf = Leaf::Map(self.nodes.len() - 1);
    }
}

impl<'d> Raw<'d> {
    pub(crate) fn form(self) -> Form<'d> {
        match &self.0[0].leaf {
            Leaf::Null => Form::Null,
            Leaf::Bool(value) => Form::Bool(*value),
            Leaf::Number(text) => Form::Number(text),
            Leaf::Str(text) => Form::Str(text),
            Leaf::List(nodes) => Form::List(Children(&self.0[1..=*nodes])),
            Leaf::Map(nodes) => Form::Map(Children(&self.0[1..=*nodes])),
        }
    }

    pub(crate) fn kind(self) -> &'static str {
        self.form().kind()
    }

    /// The last value under a key of an object.
    pub(crate) fn get(self, key: &str) -> Option<Raw<'d>> {
        match self.form() {
            Form::Map(entries) => entries.get(key),
            _ => None,
        }
    }

    /// The text of a scalar, as it is spelled.
    pub(crate) fn text(self) -> Option<&'d str> {
        self.form().text()
    }
}

impl<'d> Form<'d> {
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Form::Null => "null",
            Form::Bool(_) => "a boolean",
            Form::Number(_) => "a number",
            Form::Str(_) => "a string",
            Form::List(_) => "an array",
            Form::Map(_) => "an object",
        }
    }

    /// The text of a scalar, as it is spelled.
    pub(crate) fn text(self) -> Option<&'d str> {
        match self {
            Form::Str(text) | Form::Number(text) => Some(text),
            Form::Bool(true) => Some("true"),
            Form::Bool(false) => Some("false"),
            Form::Null | Form::List(_) | Form::Map(_) => None,
        }
    }
}

impl<'d> Children<'d> {
    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The last value under a key.
    pub(crate) fn get(self, key: &str) -> Option<Raw<'d>> {
        self.filter(|(name, _)| *name == key).last().map(|(_, value)| value)
    }
}

impl<'d> Iterator for Children<'d> {
    type Item = (&'d str, Raw<'d>);

    fn next(&mut self) -> Option<Self::Item> {
        let node = self.0.first()?;
        let (value, rest) = self.0.split_at(1 + node.leaf.within());
        self.0 = rest;
        Some((&node.key, Raw(value)))
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    nodes: Vec<Node<'a>>,
}

type Parsed<T> = Result<T, &'static str>;

impl<'a> Parser<'a> {
    fn value(&mut self, key: Cow<'a, str>) -> Parsed<()> {
        let leaf = match self.next_token() {
            Some(b'"') => Leaf::Str(self.string()?),
            Some(b'-' | b'0'..=b'9') => Leaf::Number(self.number()?),
            Some(b'{') => return self.nested(key, Leaf::Map, Self::object),
            Some(b'[') => return self.nested(key, Leaf::List, Self::list),
            Some(b't') => self.literal("true", Leaf::Bool(true))?,
            Some(b'f') => self.literal("false", Leaf::Bool(false))?,
            Some(b'n') => self.literal("null", Leaf::Null)?,
            Some(_) => return Err("a value is expected"),
            None => return Err("the text ends where a value is expected"),
        };
        self.nodes.push(Node { key, leaf });
        Ok(())
    }

    fn nested(
        &mut self,
        key: Cow<'a, str>,
        leaf: fn(usize) -> Leaf<'a>,
        inner: fn(&mut Self) -> Parsed<()>,
    ) -> Parsed<()> {
        if self.depth == MAX_DEPTH {
            return Err("the nesting is deeper than 128");
        }
        self.depth += 1;
        self.at += 1;
        let begun = self.nodes.len();
        self.nodes.push(Node { key, leaf: Leaf::Null });
        inner(self)?;
        self.nodes[begun].leaf = leaf(self.nodes.len() - begun - 1);
        self.depth -= 1;
        Ok(())
    }

    fn object(&mut self) -> Parsed<()> {
        if self.next_token() == Some(b'}') {
            self.at += 1;
            return Ok(());
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
            self.value(key)?;
            if self.end_of_member(b'}')? {
                return Ok(());
            }
        }
    }

    fn list(&mut self) -> Parsed<()> {
        if self.next_token() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(Cow::Borrowed(""))?;
            if self.end_of_member(b']')? {
                return Ok(());
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

    fn literal(&mut self, word: &str, value: Leaf<'a>) -> Parsed<Leaf<'a>> {
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
        let end = plain(rest).ok_or("a string does not end")?;
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
                    let end = self.at + plain(&bytes[self.at..]).ok_or("a string does not end")?;
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

/// Length of the text before a quote, a backslash or a control character. Eight bytes at a time: an exclusive or leaves
/// zero where a byte is the one sought, and subtracting from a byte that is small enough borrows into its top bit. What a
/// borrow says of later bytes may be wrong, of the first it never is.
fn plain(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let less = |word: u64, than: u8| word.wrapping_sub(ONES * u64::from(than)) & !word;
        let is = |byte: u8| less(word ^ (ONES * u64::from(byte)), 1);
        let found = (less(word, b' ') | is(b'"') | is(b'\\')) & TOPS;
        if found != 0 {
            return Some(at * 8 + (found.trailing_zeros() / 8) as usize);
        }
    }
    let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
    Some(words.len() * 8 + end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::logtype::coerce::tests::value_of;
    use crate::model::Value;

    fn value(text: &str) -> String {
        serde_json::to_string(&value_of(parse(text).unwrap().0.root())).unwrap()
    }

    #[test]
    fn numbers_keep_their_spelling_and_their_value() {
        let (doc, trailing) = parse(r#"{"a":1.50,"b":-1.5e3,"c":18446744073709551615} x "#).unwrap();
        assert!(matches!(doc.root().get("a").map(Raw::form), Some(Form::Number("1.50"))));
        assert_eq!(doc.root().get("b").and_then(Raw::text), Some("-1.5e3"));
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
        let (doc, _) = parse(r#""a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\ud800x""#).unwrap();
        assert_eq!(doc.root().text(), Some("a\"\\/\u{8}\u{c}\n\r\té😀\u{fffd}x"));
    }

    #[test]
    fn the_last_of_repeated_keys_counts() {
        assert_eq!(parse(r#"{"a":1,"a":2}"#).unwrap().0.root().get("a").and_then(Raw::text), Some("2"));
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

    #[test]
    fn a_string_ends_wherever_its_quote_stands() {
        for length in 0..40 {
            for (end, rest) in [("\"", "\"\\"), ("\\", "\u{1}"), ("\u{1f}", "\""), ("\0", "é")] {
                let text = format!("{}é {end}{rest}{}", "\u{7f}!#[]".repeat(length), "x".repeat(length));
                assert_eq!(plain(text.as_bytes()), Some(length * 5 + 3), "{text:?}");
            }
            assert_eq!(plain("é".repeat(length).as_bytes()), None);
        }
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in r#"[\[\]{}",:\\0-9a-eu .tnrflsé-]{0,24}"#) {
            // Integers beyond 64 bits are a float there and a text here.
            prop_assume!(!text.as_bytes().windows(19).any(|run| run.iter().all(u8::is_ascii_digit)));
            let serde: Option<Value> = serde_json::from_str(&text).ok();
            let ours = parse(&text).ok().filter(|(_, trailing)| *trailing == 0).map(|(doc, _)| value_of(doc.root()));
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
