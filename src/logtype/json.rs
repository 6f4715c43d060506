//! The raw fields of one record, parsed once. Numbers keep their spelling, because a schema may want `1.50` as text.
//!
//! All values of a record lie in one row, a container before what it holds. A value is where its text stands in the
//! record; text that the record spells otherwise, with escapes, stands behind it. So a row has nothing to free, and the
//! room of one record serves the next.

use std::borrow::Cow;
use std::num::NonZeroU32;

use super::lexer::{Lexer, Parsed, Piece, Word};

#[derive(Debug)]
pub(crate) struct Doc<'a> {
    text: &'a str,
    room: Room,
}

/// What the values of a record lie in, to be used again.
#[derive(Debug, Default)]
pub(crate) struct Room {
    nodes: Vec<Node>,
    /// Text that is not in the record as it should be.
    made: String,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// Empty for elements of lists.
    key: Piece,
    leaf: Leaf,
}

#[derive(Clone, Copy, Debug)]
enum Leaf {
    Null,
    Bool(bool),
    Number(Piece),
    Str(Piece),
    /// So many nodes follow that are within.
    List(u32),
    Map(u32),
}

const NO_KEY: Piece = Piece::EMPTY;

/// One value of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw<'d> {
    doc: &'d Doc<'d>,
    at: u32,
}

/// The place of a value in its record; it is not the first, which is the record.
pub(crate) type Place = NonZeroU32;

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
pub(crate) struct Children<'d> {
    doc: &'d Doc<'d>,
    at: u32,
    end: u32,
}

/// Deeper values are refused: everything that walks a value recurses.
pub(super) const MAX_DEPTH: usize = 128;

/// Bytes of the name of a member, about.
const BYTES_A_NAME: usize = 12;

/// Room for more is given back.
const ROOM: usize = 1 << 16;

/// The first JSON value of a text, and how many bytes that are no white space follow it.
pub(crate) fn parse(text: &str) -> Result<(Doc<'_>, usize), String> {
    parse_in(Room::default(), text)
}

pub(crate) fn parse_in(room: Room, text: &str) -> Result<(Doc<'_>, usize), String> {
    let mut parser = Parser { lexer: Lexer::new(text), depth: 0, room };
    parser.value(NO_KEY).map_err(|what| format!("not JSON: {what} at byte {}", parser.lexer.at()))?;
    Ok((Doc { text, room: parser.room }, parser.lexer.left()))
}

fn number(count: usize) -> u32 {
    count.try_into().expect("a record is far smaller than 4 GiB")
}

impl Room {
    /// Empties the room; what one record needed beyond measure is not kept for the next.
    fn emptied(mut self) -> Room {
        self.nodes.clear();
        self.made.clear();
        self.nodes.shrink_to(ROOM);
        self.made.shrink_to(ROOM);
        self
    }
}

impl<'a> Doc<'a> {
    /// An object that is still empty, with room for so many members, most of which stand in the text.
    pub(crate) fn of(text: &'a str, members: usize) -> Doc<'a> {
        let mut nodes = Vec::with_capacity(members + 1);
        nodes.push(Node { key: NO_KEY, leaf: Leaf::Map(0) });
        Doc { text, room: Room { nodes, made: String::with_capacity(members * BYTES_A_NAME) } }
    }

    pub(crate) fn root(&self) -> Raw<'_> {
        Raw { doc: self, at: 0 }
    }

    pub(crate) fn into_room(self) -> Room {
        self.room.emptied()
    }

    /// Whether a value is within this record, and not the whole of it.
    pub(crate) fn has_within(&self, raw: Raw<'_>) -> bool {
        std::ptr::addr_eq(self, raw.doc) && raw.at > 0
    }

    /// Adds a member to the object that was begun last.
    pub(crate) fn text<'t>(&mut self, key: &str, value: impl Into<Cow<'t, str>>) {
        let (key, value) = (self.piece(key), self.piece(&value.into()));
        self.room.nodes.push(Node { key, leaf: Leaf::Str(value) });
        self.end(0);
    }

    pub(crate) fn list<'t, T: Into<Cow<'t, str>>>(&mut self, key: &str, items: impl Iterator<Item = T>) {
        let list = self.begin(key);
        items.for_each(|item| self.text("", item));
        self.room.nodes[list].leaf = Leaf::List(self.within(list));
        self.end(0);
    }

    /// Begins an object within; [`Doc::end`] ends it.
    pub(crate) fn begin(&mut self, key: &str) -> usize {
        let key = self.piece(key);
        self.room.nodes.push(Node { key, leaf: Leaf::Map(0) });
        self.room.nodes.len() - 1
    }

    pub(crate) fn end(&mut self, begun: usize) {
        self.room.nodes[begun].leaf = Leaf::Map(self.within(begun));
        self.room.nodes[0].leaf = Leaf::Map(self.within(0));
    }

    fn within(&self, begun: usize) -> u32 {
        number(self.room.nodes.len() - begun - 1)
    }

    /// Where a text is, which is put behind the record if it is not a part of it.
    fn piece(&mut self, text: &str) -> Piece {
        let at = text.as_ptr().addr().wrapping_sub(self.text.as_ptr().addr());
        if at <= self.text.len() && text.len() <= self.text.len() - at {
            return Piece::new(at, at + text.len());
        }
        let at = self.text.len() + self.room.made.len();
        self.room.made.push_str(text);
        Piece::new(at, at + text.len())
    }

    fn read(&self, piece: Piece) -> &str {
        piece.read(self.text, &self.room.made)
    }
}

impl<'d> Raw<'d> {
    pub(crate) fn form(self) -> Form<'d> {
        let children = |nodes| Children { doc: self.doc, at: self.at + 1, end: self.at + 1 + nodes };
        match self.doc.room.nodes[self.at as usize].leaf {
            Leaf::Null => Form::Null,
            Leaf::Bool(value) => Form::Bool(value),
            Leaf::Number(piece) => Form::Number(self.doc.read(piece)),
            Leaf::Str(piece) => Form::Str(self.doc.read(piece)),
            Leaf::List(nodes) => Form::List(children(nodes)),
            Leaf::Map(nodes) => Form::Map(children(nodes)),
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

    /// The place of a value that is not the record itself.
    pub(crate) fn place(self) -> Option<Place> {
        Place::new(self.at)
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
        self.at == self.end
    }

    /// The last value under a key.
    pub(crate) fn get(self, key: &str) -> Option<Raw<'d>> {
        self.filter(|(name, _)| *name == key).last().map(|(_, value)| value)
    }

    /// One of these values.
    pub(crate) fn value(self, place: Place) -> Raw<'d> {
        Raw { doc: self.doc, at: place.get() }
    }
}

impl<'d> Iterator for Children<'d> {
    type Item = (&'d str, Raw<'d>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.end {
            return None;
        }
        let (doc, at) = (self.doc, self.at);
        let node = &doc.room.nodes[at as usize];
        self.at += match node.leaf {
            Leaf::List(nodes) | Leaf::Map(nodes) => 1 + nodes,
            _ => 1,
        };
        Some((doc.read(node.key), Raw { doc, at }))
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    depth: usize,
    room: Room,
}

impl Parser<'_> {
    fn value(&mut self, key: Piece) -> Parsed<()> {
        let leaf = match self.lexer.token() {
            Some(b'"') => Leaf::Str(self.lexer.string(&mut self.room.made)?),
            Some(b'{') => return self.nested(key, Leaf::Map, Self::object),
            Some(b'[') => return self.nested(key, Leaf::List, Self::list),
            Some(b'-' | b'0'..=b'9') => Leaf::Number(self.lexer.number()?),
            Some(_) => match self.lexer.word()? {
                Word::True => Leaf::Bool(true),
                Word::False => Leaf::Bool(false),
                Word::Null => Leaf::Null,
            },
            None => return Err("the text ends where a value is expected"),
        };
        self.room.nodes.push(Node { key, leaf });
        Ok(())
    }

    fn nested(&mut self, key: Piece, leaf: fn(u32) -> Leaf, inner: fn(&mut Self) -> Parsed<()>) -> Parsed<()> {
        if self.depth == MAX_DEPTH {
            return Err("the nesting is deeper than 128");
        }
        self.depth += 1;
        self.lexer.skip();
        let begun = self.room.nodes.len();
        self.room.nodes.push(Node { key, leaf: Leaf::Null });
        inner(self)?;
        self.room.nodes[begun].leaf = leaf(number(self.room.nodes.len() - begun - 1));
        self.depth -= 1;
        Ok(())
    }

    fn object(&mut self) -> Parsed<()> {
        let mut goes_on = !self.lexer.ends(b'}');
        while goes_on {
            let key = self.lexer.key(&mut self.room.made)?;
            self.value(key)?;
            goes_on = self.lexer.goes_on(b'}')?;
        }
        Ok(())
    }

    fn list(&mut self) -> Parsed<()> {
        let mut goes_on = !self.lexer.ends(b']');
        while goes_on {
            self.value(NO_KEY)?;
            goes_on = self.lexer.goes_on(b']')?;
        }
        Ok(())
    }
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
        let alike = r#"{"abcd1efgh":1,"abcd2efgh":2,"":3}"#;
        assert_eq!(value(alike), alike);
        let members: Vec<String> = (0..100).map(|n| format!(r#""k{n}":{n}"#)).collect();
        let many = format!("{{{}}}", members.join(","));
        assert_eq!(value(&many), many);
        assert_eq!(value(&format!("{},\"k7\":0}}", &many[..many.len() - 1])), many.replace(":7,", ":0,"));
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
