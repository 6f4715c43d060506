//! JSON as margay keeps it: a tree whose containers are shared, so that handing a nested part of an event to
//! another owner (an Arrow builder, a Python wrapper) is a reference count and never a copy.
//!
//! Maps keep the order of the input; a repeated key keeps its first place and its last value, as in Python.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::part::Part;
use super::tape::{self, Children, Tape};

/// One JSON value. Integers are exact from `i64::MIN` to `u64::MAX`; other numbers are `f64`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    /// An integer above `i64::MAX`.
    UInt(u64),
    Float(f64),
    Str(Arc<str>),
    List(Arc<[Value]>),
    Map(Map),
}

impl Value {
    pub fn str(text: impl AsRef<str>) -> Value {
        Value::Str(Arc::from(text.as_ref()))
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// What a message to a person calls this kind of value.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Int(_) | Value::UInt(_) | Value::Float(_) => "a number",
            Value::Str(_) => "a string",
            Value::List(_) => "an array",
            Value::Map(_) => "an object",
        }
    }
}

/// From this many keys on, a map answers lookups from an index: a hostile object with a hundred thousand keys
/// must not make every rule walk all of them.
const INDEX_FROM: usize = 24;

/// An immutable, ordered map with shared ownership: built, or on the tape of an event, or another with an entry more. One
/// on a tape keeps the whole tape alive.
#[derive(Clone)]
pub struct Map(Arc<Inner>);

enum Inner {
    Built(Built),
    Taped(Taped),
    Longer(Longer),
}

/// A map and one entry behind its own, which does not copy the map.
struct Longer {
    map: Map,
    last: (Arc<str>, Value),
}

struct Built {
    entries: Box<[(Arc<str>, Value)]>,
    exact: OnceLock<HashMap<Arc<str>, usize>>,
    folded: OnceLock<HashMap<String, usize>>,
}

/// Makes a value when it is asked for.
struct Taped {
    tape: Arc<Tape>,
    at: usize,
    cells: OnceLock<Box<[Cell]>>,
    /// Large ones are built whole.
    whole: OnceLock<Built>,
}

/// A member of a map on a tape: its place there, and the value once somebody wanted it.
struct Cell {
    at: usize,
    entry: OnceLock<(Arc<str>, Value)>,
}

/// From this many keys on, a map on a tape is built whole at the first question.
const WHOLE_FROM: usize = 64;

impl Map {
    pub(super) fn on_tape(tape: Arc<Tape>, at: usize) -> Map {
        Map(Arc::new(Inner::Taped(Taped { tape, at, cells: OnceLock::new(), whole: OnceLock::new() })))
    }

    /// This map with an entry more at its end, and without one of that name that it has.
    pub fn with(&self, key: &Arc<str>, value: Value) -> Map {
        if self.get(key).is_none() {
            return Map(Arc::new(Inner::Longer(Longer { map: self.clone(), last: (key.clone(), value) })));
        }
        let others = self.iter().filter(|(name, _)| *name != key);
        let others = others.map(|(name, value)| (name.clone(), value.clone()));
        others.chain([(key.clone(), value)]).collect()
    }

    pub fn len(&self) -> usize {
        match &*self.0 {
            Inner::Built(built) => built.entries.len(),
            Inner::Taped(taped) => taped.members().size_hint().0,
            Inner::Longer(longer) => longer.map.len() + 1,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Value)> {
        (0..self.len()).filter_map(|position| self.entry(position))
    }

    /// Shows each entry, in the order of the input, of those on a tape without making their values.
    pub fn each<'m>(&'m self, show: &mut dyn FnMut(&'m str, Part<'m>)) {
        match &*self.0 {
            Inner::Taped(taped) => taped.members().for_each(|member| show(member.key(), Part::Taped(member))),
            Inner::Longer(Longer { map, last: (key, value) }) => {
                map.each(show);
                show(key, Part::Made(value));
            }
            Inner::Built(built) => built.entries.iter().for_each(|(key, value)| show(key, Part::Made(value))),
        }
    }

    /// Every key with its position, in input order, without making a value.
    pub fn each_key(&self, look: &mut dyn FnMut(usize, &str)) {
        match self.stands() {
            Stands::Built(built) => built.entries.iter().enumerate().for_each(|(at, (key, _))| look(at, key)),
            Stands::Taped(taped) => taped.members().enumerate().for_each(|(at, member)| look(at, member.key())),
            Stands::Longer(Longer { map, last: (key, _) }) => {
                map.each_key(look);
                look(map.len(), key);
            }
        }
    }

    /// The entry at a position of the input order.
    pub fn entry(&self, position: usize) -> Option<(&Arc<str>, &Value)> {
        let (key, value) = match self.stands() {
            Stands::Built(built) => built.entries.get(position)?,
            Stands::Taped(taped) => taped.entry(taped.cells().get(position)?),
            Stands::Longer(Longer { map, last }) => return map.entry(position).or_else(|| longer(position, map, last)),
        };
        Some((key, value))
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        match self.stands() {
            Stands::Built(built) => built.position(key).map(|at| &built.entries[at].1),
            Stands::Taped(taped) => taped.find(|name| name == key),
            Stands::Longer(Longer { last: (name, value), .. }) if **name == *key => Some(value),
            Stands::Longer(longer) => longer.map.get(key),
        }
    }

    /// The exact key first, else the first key that is equal when case is ignored.
    pub fn get_ignore_case(&self, key: &str) -> Option<&Value> {
        if let Some(found) = self.get(key) {
            return Some(found);
        }
        match self.stands() {
            Stands::Built(built) => built.folded_position(key).map(|at| &built.entries[at].1),
            Stands::Taped(taped) => taped.find(|name| eq_ignore_case(name, key)),
            Stands::Longer(Longer { map, last: (name, value) }) => {
                map.get_ignore_case(key).or_else(|| eq_ignore_case(name, key).then_some(value))
            }
        }
    }

    fn stands(&self) -> Stands<'_> {
        match &*self.0 {
            Inner::Built(built) => Stands::Built(built),
            Inner::Longer(longer) => Stands::Longer(longer),
            Inner::Taped(taped) if self.len() < WHOLE_FROM => Stands::Taped(taped),
            Inner::Taped(taped) => Stands::Built(taped.whole()),
        }
    }
}

/// Where lookups go.
enum Stands<'m> {
    Built(&'m Built),
    Taped(&'m Taped),
    Longer(&'m Longer),
}

/// The last entry, if the position is its own.
fn longer<'m>(position: usize, map: &Map, (key, value): &'m (Arc<str>, Value)) -> Option<(&'m Arc<str>, &'m Value)> {
    (position == map.len()).then_some((key, value))
}

impl Taped {
    fn members(&self) -> Children<'_> {
        self.tape.seen(self.at).members()
    }

    fn cells(&self) -> &[Cell] {
        self.cells.get_or_init(|| self.members().map(|member| Cell { at: member.at, entry: OnceLock::new() }).collect())
    }

    fn entry<'m>(&'m self, cell: &'m Cell) -> &'m (Arc<str>, Value) {
        cell.entry.get_or_init(|| self.made(cell.at))
    }

    fn made(&self, at: usize) -> (Arc<str>, Value) {
        (self.tape.seen(at).shared_key(), tape::value(&self.tape, at))
    }

    fn find(&self, is_meant: impl Fn(&str) -> bool) -> Option<&Value> {
        let at = self.members().position(|member| is_meant(member.key()))?;
        Some(&self.entry(&self.cells()[at]).1)
    }

    fn whole(&self) -> &Built {
        self.whole.get_or_init(|| Built::new(self.members().map(|member| self.made(member.at)).collect()))
    }
}

impl Built {
    fn new(entries: Vec<(Arc<str>, Value)>) -> Built {
        Built { entries: entries.into(), exact: OnceLock::new(), folded: OnceLock::new() }
    }

    fn position(&self, key: &str) -> Option<usize> {
        let entries = &self.entries;
        if entries.len() < INDEX_FROM {
            return entries.iter().position(|(name, _)| **name == *key);
        }
        let index =
            self.exact.get_or_init(|| entries.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect());
        index.get(key).copied()
    }

    /// The first key that is equal when case is ignored.
    fn folded_position(&self, key: &str) -> Option<usize> {
        let entries = &self.entries;
        if entries.len() < INDEX_FROM {
            return entries.iter().position(|(name, _)| eq_ignore_case(name, key));
        }
        let index = self.folded.get_or_init(|| {
            let mut index = HashMap::with_capacity(entries.len());
            for (at, (name, _)) in entries.iter().enumerate() {
                index.entry(name.to_lowercase()).or_insert(at);
            }
            index
        });
        index.get(&key.to_lowercase()).copied()
    }
}

fn eq_ignore_case(a: &str, b: &str) -> bool {
    if a.is_ascii() && b.is_ascii() {
        return a.eq_ignore_ascii_case(b);
    }
    a.chars().flat_map(char::to_lowercase).eq(b.chars().flat_map(char::to_lowercase))
}

impl PartialEq for Map {
    /// Equal as Python dictionaries are: the same items in any order.
    fn eq(&self, other: &Map) -> bool {
        self.len() == other.len() && self.iter().all(|(key, value)| other.get(key) == Some(value))
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl FromIterator<(Arc<str>, Value)> for Map {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Value)>>(entries: I) -> Map {
        let mut builder = MapBuilder::default();
        for (key, value) in entries {
            builder.insert(key, value);
        }
        builder.build()
    }
}

/// Collects the entries of a [`Map`].
#[derive(Default)]
pub struct MapBuilder {
    entries: Vec<(Arc<str>, Value)>,
    index: HashMap<Arc<str>, usize>,
}

impl MapBuilder {
    pub fn insert(&mut self, key: impl Into<Arc<str>>, value: Value) {
        let key = key.into();
        match self.position(&key) {
            Some(at) => self.entries[at].1 = value,
            None => {
                let at = self.entries.len();
                if at + 1 == INDEX_FROM {
                    self.index = self.entries.iter().enumerate().map(|(at, (k, _))| (k.clone(), at)).collect();
                }
                if at + 1 >= INDEX_FROM {
                    self.index.insert(key.clone(), at);
                }
                self.entries.push((key, value));
            }
        }
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.position(key).map(|at| &self.entries[at].1)
    }

    pub fn build(self) -> Map {
        Map(Arc::new(Inner::Built(Built::new(self.entries))))
    }

    fn position(&self, key: &str) -> Option<usize> {
        if self.entries.len() < INDEX_FROM {
            return self.entries.iter().position(|(name, _)| **name == *key);
        }
        self.index.get(key).copied()
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(value) => serializer.serialize_i64(*value),
            Value::UInt(value) => serializer.serialize_u64(*value),
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Str(text) => serializer.serialize_str(text),
            Value::List(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                for item in items.iter() {
                    seq.serialize_element(item)?;
                }
                seq.end()
            }
            Value::Map(map) => map.serialize(serializer),
        }
    }
}

impl Serialize for Map {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Inner::Taped(taped) = &*self.0 {
            return taped.tape.seen(taped.at).serialize(serializer);
        }
        let mut out = serializer.serialize_map(Some(self.len()))?;
        self.write(&mut out)?;
        out.end()
    }
}

impl Map {
    /// Writes the entries, of those on a tape without making their values.
    fn write<M: SerializeMap>(&self, out: &mut M) -> Result<(), M::Error> {
        match &*self.0 {
            Inner::Taped(taped) => taped.members().try_for_each(|member| out.serialize_entry(member.key(), &member)),
            Inner::Longer(Longer { map, last: (key, value) }) => {
                map.write(out)?;
                out.serialize_entry(&**key, value)
            }
            Inner::Built(built) => built.entries.iter().try_for_each(|(key, value)| out.serialize_entry(&**key, value)),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

impl<'de> Deserialize<'de> for Map {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Map, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Map(map) => Ok(map),
            other => Err(D::Error::custom(format_args!("{} where an object is needed", other.kind()))),
        }
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::UInt(value), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::str(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut builder = MapBuilder::default();
        while let Some((key, value)) = map.next_entry::<Key, Value>()? {
            builder.insert(key.0, value);
        }
        Ok(Value::Map(builder.build()))
    }
}

/// A map key, straight into shared text.
struct Key(Arc<str>);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_str<E>(self, text: &str) -> Result<Key, E> {
                Ok(Key(Arc::from(text)))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn text_survives_a_round_trip_in_order() {
        let text = r#"{"b":1,"a":[null,true,-7,18446744073709551615,1.5,"x"],"c":{"d":{}}}"#;
        assert_eq!(serde_json::to_string(&parse(text)).unwrap(), text);
    }

    #[test]
    fn a_repeated_key_keeps_its_place_and_its_last_value() {
        assert_eq!(serde_json::to_string(&parse(r#"{"a":1,"b":2,"a":3}"#)).unwrap(), r#"{"a":3,"b":2}"#);
    }

    #[test]
    fn lookups_agree_below_and_above_the_index_threshold() {
        for size in [1, INDEX_FROM - 1, INDEX_FROM, INDEX_FROM + 1, 200] {
            let map: Map = (0..size).map(|i| (Arc::from(format!("Key{i}")), Value::Int(i as i64))).collect();
            assert_eq!(map.len(), size);
            for i in 0..size {
                assert_eq!(map.get(&format!("Key{i}")), Some(&Value::Int(i as i64)));
                assert_eq!(map.get(&format!("key{i}")), None);
                assert_eq!(map.get_ignore_case(&format!("kEY{i}")), Some(&Value::Int(i as i64)));
            }
            assert_eq!(map.get_ignore_case("nothing"), None);
        }
    }

    #[test]
    fn exact_case_wins_over_an_earlier_key_in_another_case() {
        let Value::Map(map) = parse(r#"{"KEY":1,"key":2}"#) else { panic!("an object") };
        assert_eq!(map.get_ignore_case("key"), Some(&Value::Int(2)));
        assert_eq!(map.get_ignore_case("Key"), Some(&Value::Int(1)));
    }

    #[test]
    fn a_longer_map_is_as_one_that_was_built_with_the_entry() {
        let Value::Map(short) = parse(r#"{"b":1,"KEY":2}"#) else { panic!("an object") };
        let long = short.with(&"key".into(), Value::Int(3)).with(&"c".into(), Value::Null);
        assert_eq!(serde_json::to_string(&long).unwrap(), r#"{"b":1,"KEY":2,"key":3,"c":null}"#);
        assert_eq!(parse(r#"{"b":1,"KEY":2,"key":3,"c":null}"#), Value::Map(long.clone()));
        assert_eq!((long.len(), long.entry(4).is_none()), (4, true));
        assert_eq!(long.entry(2).map(|(key, _)| &**key), Some("key"));
        let values = ["key", "Key", "KEY", "B", "d"].map(|key| long.get_ignore_case(key).cloned());
        assert_eq!(values, [Some(3), Some(2), Some(2), Some(1), None].map(|value| value.map(Value::Int)));
        let replaced = short.with(&"b".into(), Value::Int(9));
        assert_eq!(serde_json::to_string(&replaced).unwrap(), r#"{"KEY":2,"b":9}"#);
        assert_eq!(serde_json::to_string(&short).unwrap(), r#"{"b":1,"KEY":2}"#);
    }

    #[test]
    fn maps_are_equal_in_any_order() {
        assert_eq!(parse(r#"{"a":1,"b":[2]}"#), parse(r#"{"b":[2],"a":1}"#));
        assert_ne!(parse(r#"{"a":1}"#), parse(r#"{"a":1,"b":null}"#));
    }
}
