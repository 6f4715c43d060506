//! An event in one piece: its text once, and flat nodes that point into it. A string that the record spells as the event
//! has it is not copied a second time, a name that the schema knows is a number, and nothing is allocated for a field.
//!
//! A [`Map`] that stands on a tape makes the values that somebody asks for, and writes JSON without making any.

use std::ops::Range;
use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::value::{Map, Value};

/// Names that the events of a log type share; a number stands for each.
pub type Names = Arc<[Arc<str>]>;

/// A piece of the text of a tape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    at: u32,
    len: u32,
}

/// The name of a member; elements of lists have none.
#[derive(Clone, Copy, Debug)]
pub struct Key(Span);

/// Length of a span that is the number of a name.
const NUMBERED: u32 = u32::MAX;

impl Key {
    pub const NONE: Key = Key(Span { at: 0, len: 0 });

    pub const fn numbered(number: u32) -> Key {
        Key(Span { at: number, len: NUMBERED })
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Leaf {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    Str(Span),
    /// So many elements in so many nodes, which follow.
    List {
        len: u32,
        nodes: u32,
    },
    Map {
        len: u32,
        nodes: u32,
    },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    key: Key,
    leaf: Leaf,
}

#[derive(Debug)]
pub(super) struct Tape {
    names: Names,
    text: Box<str>,
    nodes: Box<[Node]>,
}

impl Tape {
    /// The value of a node.
    pub(super) fn seen(&self, at: usize) -> Seen<'_> {
        Seen { names: &self.names, text: Text { record: &self.text, beyond: "" }, nodes: &self.nodes, at }
    }
}

/// Where events are written, one after the other: each takes with it what it needs, to the byte.
#[derive(Default)]
pub struct TapeRoom {
    beyond: String,
    nodes: Vec<Node>,
    ordered: Vec<Node>,
}

/// Room for more is given back.
const ROOM: usize = 1 << 16;

impl TapeRoom {
    /// Empties the room; what one event needed beyond measure is not kept for the next.
    fn empty(&mut self) {
        self.beyond.clear();
        self.beyond.shrink_to(ROOM);
        self.nodes.clear();
        self.nodes.shrink_to(ROOM);
        self.ordered.shrink_to(ROOM);
    }
}

/// Writes a tape, parents before children. Whatever text comes from the record is pointed at, not copied.
pub struct Writer<'a> {
    names: &'a Names,
    record: &'a str,
    /// Where the rest of the text and the nodes are.
    room: &'a mut TapeRoom,
}

impl<'a> Writer<'a> {
    pub fn new(names: &'a Names, record: &'a str, room: &'a mut TapeRoom) -> Writer<'a> {
        room.empty();
        Writer { names, record, room }
    }

    /// Where a text is on the tape already.
    #[inline]
    pub fn find(&self, text: &str) -> Option<Span> {
        let within = |whole: &str| {
            let at = text.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
            (at <= whole.len() && text.len() <= whole.len() - at).then_some(at)
        };
        let at = within(self.record).or_else(|| Some(self.record.len() + within(&self.room.beyond)?));
        at.map(|at| span(at, text.len()))
    }

    #[inline]
    pub fn span(&mut self, text: &str) -> Span {
        self.find(text).unwrap_or_else(|| {
            let at = self.record.len() + self.room.beyond.len();
            self.room.beyond.push_str(text);
            span(at, text.len())
        })
    }

    pub fn key(&mut self, name: &str) -> Key {
        Key(self.span(name))
    }

    pub fn text(&self, span: Span) -> &str {
        self.whole_text().piece(span)
    }

    fn whole_text(&self) -> Text<'_> {
        Text { record: self.record, beyond: &self.room.beyond }
    }

    #[inline]
    pub fn put(&mut self, key: Key, leaf: Leaf) {
        self.room.nodes.push(Node { key, leaf });
    }

    pub fn put_text(&mut self, key: Key, text: &str) {
        let span = self.span(text);
        self.put(key, Leaf::Str(span));
    }

    /// Begins a list or map; [`Writer::end_list`] or [`Writer::end_map`] end it.
    pub fn begin(&mut self, key: Key) -> usize {
        self.put(key, Leaf::Null);
        self.room.nodes.len() - 1
    }

    pub fn end_list(&mut self, begun: usize, len: usize) {
        self.room.nodes[begun].leaf = Leaf::List { len: number(len), nodes: number(self.room.nodes.len() - begun - 1) };
    }

    pub fn end_map(&mut self, begun: usize, len: usize) {
        self.room.nodes[begun].leaf = Leaf::Map { len: number(len), nodes: number(self.room.nodes.len() - begun - 1) };
    }

    /// Takes back a value and all after it.
    pub fn undo(&mut self, begun: usize) {
        self.room.nodes.truncate(begun);
    }

    /// Puts the values since a place, each in its nodes, into another order.
    pub fn reorder(&mut self, begun: usize, values: impl Iterator<Item = Range<usize>>) {
        let TapeRoom { nodes, ordered, .. } = &mut *self.room;
        ordered.clear();
        // What stands before is moved over, unless that is more than what would have to come back.
        let comes_back = begun > nodes.len() - begun;
        ordered.extend_from_slice(if comes_back { &[] } else { &nodes[..begun] });
        values.for_each(|value| ordered.extend_from_slice(&nodes[value]));
        if comes_back {
            nodes.truncate(begun);
            nodes.extend_from_slice(ordered);
        } else {
            std::mem::swap(nodes, ordered);
        }
    }

    /// The place of the next value.
    pub fn place(&self) -> usize {
        self.room.nodes.len()
    }

    /// A value that is written to its end.
    pub fn seen(&self, at: usize) -> Seen<'_> {
        Seen { names: self.names, text: self.whole_text(), nodes: &self.room.nodes, at }
    }

    /// The map that was begun first.
    pub fn finish(self) -> Map {
        let Writer { names, record, room } = self;
        let mut text = String::with_capacity(record.len() + room.beyond.len());
        text.push_str(record);
        text.push_str(&room.beyond);
        let (text, nodes) = (text.into_boxed_str(), room.nodes.as_slice().into());
        Map::on_tape(Arc::new(Tape { names: names.clone(), text, nodes }), 0)
    }
}

fn number(count: usize) -> u32 {
    count.try_into().expect("a record is far smaller than 4 GiB")
}

fn span(at: usize, len: usize) -> Span {
    Span { at: number(at), len: number(len) }
}

/// The text of an event: its record, and what it has beyond it.
#[derive(Clone, Copy)]
struct Text<'t> {
    record: &'t str,
    beyond: &'t str,
}

impl<'t> Text<'t> {
    #[inline]
    fn piece(self, span: Span) -> &'t str {
        let (at, len) = (span.at as usize, span.len as usize);
        match at.checked_sub(self.record.len()) {
            Some(at) => &self.beyond[at..][..len],
            None => &self.record[at..][..len],
        }
    }
}

/// One value on a tape.
#[derive(Clone, Copy)]
pub struct Seen<'t> {
    names: &'t [Arc<str>],
    text: Text<'t>,
    nodes: &'t [Node],
    pub(super) at: usize,
}

/// What a value is; containers by their children.
pub enum View<'t> {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    Str(&'t str),
    List(Children<'t>),
    Map(Children<'t>),
}

impl<'t> Seen<'t> {
    pub fn view(self) -> View<'t> {
        match self.nodes[self.at].leaf {
            Leaf::Null => View::Null,
            Leaf::Bool(value) => View::Bool(value),
            Leaf::Int(value) => View::Int(value),
            Leaf::UInt(value) => View::UInt(value),
            Leaf::Float(value) => View::Float(value),
            Leaf::Str(span) => View::Str(self.text.piece(span)),
            Leaf::List { len, .. } => View::List(self.children(len)),
            Leaf::Map { len, .. } => View::Map(self.children(len)),
        }
    }

    pub fn key(self) -> &'t str {
        let Key(span) = self.nodes[self.at].key;
        if span.len == NUMBERED { &self.names[span.at as usize] } else { self.text.piece(span) }
    }

    /// The name as one that can be kept.
    pub(super) fn shared_key(self) -> Arc<str> {
        let Key(span) = self.nodes[self.at].key;
        if span.len == NUMBERED { self.names[span.at as usize].clone() } else { self.text.piece(span).into() }
    }

    /// The children of a list or map, else none.
    pub(super) fn members(self) -> Children<'t> {
        match self.view() {
            View::List(children) | View::Map(children) => children,
            _ => self.children(0),
        }
    }

    fn children(self, len: u32) -> Children<'t> {
        Children { next: Seen { at: self.at + 1, ..self }, left: len as usize }
    }

    fn nodes(self) -> usize {
        match self.nodes[self.at].leaf {
            Leaf::List { nodes, .. } | Leaf::Map { nodes, .. } => 1 + nodes as usize,
            _ => 1,
        }
    }
}

#[derive(Clone, Copy)]
pub struct Children<'t> {
    next: Seen<'t>,
    left: usize,
}

impl<'t> Children<'t> {
    /// The value under a key of a map.
    pub fn get(mut self, key: &str) -> Option<View<'t>> {
        self.find(|child| child.key() == key).map(Seen::view)
    }
}

impl<'t> Iterator for Children<'t> {
    type Item = Seen<'t>;

    fn next(&mut self) -> Option<Seen<'t>> {
        self.left = self.left.checked_sub(1)?;
        let child = self.next;
        self.next.at += child.nodes();
        Some(child)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// Makes the value at a place of a tape; maps in it stand on the tape themselves.
pub(super) fn value(tape: &Arc<Tape>, at: usize) -> Value {
    let seen = tape.seen(at);
    match seen.view() {
        View::Null => Value::Null,
        View::Bool(value) => Value::Bool(value),
        View::Int(value) => Value::Int(value),
        View::UInt(value) => Value::UInt(value),
        View::Float(value) => Value::Float(value),
        View::Str(text) => Value::str(text),
        View::List(items) => Value::List(items.map(|item| value(tape, item.at)).collect()),
        View::Map(_) => Value::Map(Map::on_tape(tape.clone(), at)),
    }
}

impl Serialize for Seen<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.view() {
            View::Null => serializer.serialize_unit(),
            View::Bool(value) => serializer.serialize_bool(value),
            View::Int(value) => serializer.serialize_i64(value),
            View::UInt(value) => serializer.serialize_u64(value),
            View::Float(value) => serializer.serialize_f64(value),
            View::Str(text) => serializer.serialize_str(text),
            View::List(items) => {
                let mut out = serializer.serialize_seq(Some(items.left))?;
                for item in items {
                    out.serialize_element(&item)?;
                }
                out.end()
            }
            View::Map(members) => {
                let mut out = serializer.serialize_map(Some(members.left))?;
                for member in members {
                    out.serialize_entry(member.key(), &member)?;
                }
                out.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{"a": "x", "deep": {"list": [1, "y"]}, "made": true}` of a record that holds the texts but for one.
    fn map() -> Map {
        let record = r#"x,deep,y"#;
        let names: Names = Arc::new(["a".into(), "list".into()]);
        let mut room = TapeRoom::default();
        let mut out = Writer::new(&names, record, &mut room);
        let root = out.begin(Key::NONE);
        out.put_text(Key::numbered(0), &record[..1]);
        let key = out.key(&record[2..6]);
        let deep = out.begin(key);
        let list = out.begin(Key::numbered(1));
        out.put(Key::NONE, Leaf::Int(1));
        out.put_text(Key::NONE, &record[7..]);
        out.end_list(list, 2);
        out.end_map(deep, 1);
        let key = out.key("made");
        out.put(key, Leaf::Bool(true));
        out.end_map(root, 3);
        assert_eq!(out.room.beyond, "made");
        out.finish()
    }

    #[test]
    fn a_map_on_a_tape_is_like_one_that_was_built() {
        let text = r#"{"a":"x","deep":{"list":[1,"y"]},"made":true}"#;
        let built: Map = serde_json::from_str(text).unwrap();
        let taped = map();
        assert_eq!(serde_json::to_string(&taped).unwrap(), text);
        assert_eq!(taped, built);
        assert_eq!(built, map());
        assert_eq!(serde_json::to_string(&taped).unwrap(), text, "as before values were made of it");
        assert_eq!(taped.get("deep"), built.get("deep"));
        assert_eq!(taped.get_ignore_case("DEEP"), built.get("deep"));
        assert_eq!(taped.entry(2), built.entry(2));
        assert_eq!((taped.get("x"), taped.entry(3), taped.get_ignore_case("x")), (None, None, None));
    }

    #[test]
    fn large_maps_find_their_keys() {
        let record: String = (0..500).map(|n| format!("key{n:03}")).collect();
        let (names, mut room): (Names, _) = (Arc::new([]), TapeRoom::default());
        let mut out = Writer::new(&names, &record, &mut room);
        let root = out.begin(Key::NONE);
        for n in 0..500 {
            let key = out.key(&record[n * 6..][..6]);
            out.put(key, Leaf::Int(n as i64));
        }
        out.end_map(root, 500);
        let map = out.finish();
        assert_eq!(map.get("key499"), Some(&Value::Int(499)));
        assert_eq!(map.get_ignore_case("KEY007"), Some(&Value::Int(7)));
        assert_eq!(map.iter().count(), 500);
        assert_eq!(map.entry(3).map(|(key, _)| &**key), Some("key003"));
    }

    #[test]
    fn what_is_taken_back_leaves_nothing() {
        let (names, mut room): (Names, _) = (Arc::new([]), TapeRoom::default());
        let mut out = Writer::new(&names, "", &mut room);
        let root = out.begin(Key::NONE);
        let list = out.begin(Key::NONE);
        out.end_list(list, 0);
        out.undo(list);
        assert_eq!(out.place(), root + 1);
        out.end_map(root, 0);
        assert!(out.finish().is_empty());
    }
}
