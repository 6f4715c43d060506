//! From the text of a record to raw fields: JSON as it is, and the text formats, which give flat maps of strings.
//!
//! A parser is part of a schema and immutable; what it remembers from record to record of one object is [`Memory`]. One
//! record gives one raw event mostly, none when it is consumed (a header, a comment), several when it is an envelope.

mod csv;
mod fastmatch;
mod grok;
mod native;
mod regex;
mod text;

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};

use super::json::{self, Doc, Raw, Room};
pub(super) use csv::{Columns, Csv};
pub(super) use fastmatch::Fastmatch;
pub(super) use grok::redefined;
pub(super) use native::Native;
pub(super) use regex::RegexParser;
pub(super) use text::{Matcher, Options, Template, TextParser};

/// How the records of a log type are read.
#[derive(Debug)]
pub(super) enum Parser {
    Json,
    Text(TextParser),
    Native(&'static Native),
}

/// Whether an object of JSON is an event as it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum AsIs {
    Never,
    Always,
    /// Not if it has this member.
    Unless(&'static str),
}

/// A trimmed, non-blank record. Its JSON is parsed once, however many candidates look at it.
pub(super) struct Entry<'a> {
    pub(super) text: &'a str,
    json: OnceCell<Result<(Doc<'a>, usize), String>>,
    /// Where its JSON goes.
    room: Cell<Room>,
    trailing_bytes: Cell<usize>,
}

/// What one parser has learned from earlier records of the same object.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Records seen, for `skipLines`.
    seen: u64,
    /// The header, as it was written.
    header: Option<Header>,
    /// Where the groups of a pattern matched, in the last record.
    groups: Option<::regex::CaptureLocations>,
}

#[derive(Debug)]
struct Header {
    line: String,
    names: Vec<String>,
}

/// Takes one raw event.
pub(super) type Each<'f> = &'f mut dyn FnMut(Raw<'_>) -> Result<(), String>;

/// The fields of one record of text, in order.
type Fields<'a> = Vec<(&'a str, Cow<'a, str>)>;

impl<'a> Entry<'a> {
    pub(super) fn new(text: &'a str) -> Entry<'a> {
        Entry::in_room(text, Room::default())
    }

    /// With the room of an entry before.
    pub(super) fn in_room(text: &'a str, room: Room) -> Entry<'a> {
        Entry { text, json: OnceCell::new(), room: Cell::new(room), trailing_bytes: Cell::new(0) }
    }

    /// The room for the next entry.
    pub(super) fn into_room(self) -> Room {
        match self.json.into_inner() {
            Some(Ok((doc, _))) => doc.into_room(),
            _ => self.room.into_inner(),
        }
    }

    /// The record as a JSON object.
    fn object(&self) -> Result<Raw<'_>, String> {
        if !self.text.starts_with('{') {
            return Err("the record is not a JSON object".into());
        }
        match self.json.get_or_init(|| json::parse_in(self.room.take(), self.text)) {
            Ok((doc, trailing)) => {
                self.trailing_bytes.set(*trailing);
                Ok(doc.root())
            }
            Err(message) => Err(message.clone()),
        }
    }

    /// Whether nobody has parsed its JSON.
    pub(super) fn is_unread(&self) -> bool {
        self.json.get().is_none()
    }

    /// Its JSON was read, and so many bytes follow.
    pub(super) fn read_directly(&self, trailing_bytes: usize) {
        self.trailing_bytes.set(trailing_bytes);
    }

    /// The text that a raw event is made of: the record, unless that holds several.
    pub(super) fn text_of(&self, raw: Raw<'_>) -> &'a str {
        match self.json.get() {
            Some(Ok((doc, _))) if doc.has_within(raw) => "",
            _ => self.text,
        }
    }

    /// Bytes after the JSON value that was read.
    pub(super) fn trailing_bytes(&self) -> usize {
        self.trailing_bytes.get()
    }
}

impl Parser {
    pub(super) fn run(&self, entry: &Entry<'_>, memory: &mut Memory, each: Each<'_>) -> Result<(), String> {
        match self {
            Parser::Json => each(entry.object()?),
            Parser::Text(parser) => parser.run(entry, memory, each),
            Parser::Native(native) => (native.parse)(entry, memory, each),
        }
    }

    pub(super) fn as_is(&self) -> AsIs {
        match self {
            Parser::Json => AsIs::Always,
            Parser::Native(native) => native.as_is,
            Parser::Text(_) => AsIs::Never,
        }
    }

    /// Whether it remembers records of the object for the sake of later ones.
    pub(super) fn looks_back(&self) -> bool {
        match self {
            Parser::Json => false,
            Parser::Text(parser) => parser.looks_back(),
            Parser::Native(native) => native.has_header,
        }
    }

    /// Lets a record pass that another parser of the object has consumed, to remember what it says: a header.
    pub(super) fn pass(&self, entry: &Entry<'_>, memory: &mut Memory) {
        if let Parser::Text(parser) = self {
            parser.consumes(entry, memory);
        }
    }
}
