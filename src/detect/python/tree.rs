//! Reading an event's tree the way rules do: stepping through keys, walking through lists, equality.
//!
//! Not about Python objects. Values are equal here when they are equal in Python: `1`, `1.0` and `True` are the same,
//! an object equals another with the same items in any order.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use crate::model::{Map, Value};

/// Python's `==`.
pub(in crate::detect) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Str(a), Value::Str(b)) => a == b,
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same(a, b)),
        (Value::Map(a), Value::Map(b)) => same_items(a, b),
        _ => match (Number::of(a), Number::of(b)) {
            (Some(a), Some(b)) => a == b,
            _ => false,
        },
    }
}

pub(in crate::detect) fn same_items(a: &Map, b: &Map) -> bool {
    a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
}

/// A number in the one form that equal numbers share.
#[derive(PartialEq)]
enum Number {
    Whole(i128),
    Float(f64),
}

impl Number {
    fn of(value: &Value) -> Option<Number> {
        // Every integer of a tree is below 2^64; a float that is whole and below this bound converts exactly.
        const EXACT: f64 = (1u128 << 100) as f64;
        Some(match *value {
            Value::Bool(value) => Number::Whole(value.into()),
            Value::Int(value) => Number::Whole(value.into()),
            Value::UInt(value) => Number::Whole(value.into()),
            Value::Float(value) if value.fract() == 0.0 && value.abs() < EXACT => Number::Whole(value as i128),
            Value::Float(value) => Number::Float(value),
            _ => return None,
        })
    }
}

/// The value at the end of `keys`, case ignored; `None` when a step is missing or not an object, or the end is null.
pub(in crate::detect) fn deep_get<K: AsRef<str>>(map: &Map, keys: impl IntoIterator<Item = K>) -> Option<&Value> {
    let mut keys = keys.into_iter();
    let mut value = map.get_ignore_case(keys.next()?.as_ref())?;
    for key in keys {
        value = value.as_map()?.get_ignore_case(key.as_ref())?;
    }
    (*value != Value::Null).then_some(value)
}

/// Which of several results [`deep_walk`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::detect) enum Pick {
    First,
    Last,
    All,
}

/// What stands in for an element of a list in which the remaining keys lead nowhere. The reference behaviour hands the
/// default down into lists, so a default other than None appears among the results of a list.
#[derive(Clone, Debug)]
pub(in crate::detect) enum Gap {
    /// None: leaves no trace.
    Skipped,
    Value(Value),
    /// A default that is not a JSON value.
    Opaque,
}

#[derive(Clone, Debug, PartialEq)]
pub(in crate::detect) enum Item {
    Value(Value),
    /// The default itself, once.
    Default,
}

#[derive(Debug, PartialEq)]
pub(in crate::detect) enum Walked {
    Nothing,
    One(Item),
    Many(Vec<Item>),
}

/// Steps through objects by key and applies the remaining keys to each element of a list on the way.
pub(in crate::detect) fn deep_walk(value: &Value, keys: &[String], pick: Pick, gap: &Gap) -> Walked {
    let Some((key, rest)) = keys.split_first() else {
        let nothing = *value == Value::Null || only_empty_lists(value);
        return if nothing { Walked::Nothing } else { Walked::One(Item::Value(value.clone())) };
    };
    match value {
        Value::Map(map) => match map.get_ignore_case(key) {
            None | Some(Value::Null) => Walked::Nothing,
            Some(next) => deep_walk(next, rest, pick, gap),
        },
        Value::List(items) => {
            let mut found = Distinct::default();
            for item in items.iter() {
                match deep_walk(item, keys, pick, gap) {
                    Walked::Nothing => match gap {
                        Gap::Skipped => {}
                        Gap::Value(value) => found.spread(value.clone()),
                        Gap::Opaque => found.push(Item::Default),
                    },
                    Walked::One(Item::Value(value)) => found.spread(value),
                    Walked::One(item) => found.push(item),
                    Walked::Many(items) => items.into_iter().for_each(|item| found.push(item)),
                }
            }
            found.pick(pick)
        }
        _ => Walked::Nothing,
    }
}

fn only_empty_lists(value: &Value) -> bool {
    matches!(value, Value::List(items) if items.iter().all(only_empty_lists))
}

/// Results in order of first occurrence, each once. Hashed: a hostile event can hold a very long list.
#[derive(Default)]
struct Distinct {
    items: Vec<Item>,
    by_hash: HashMap<u64, Vec<usize>>,
}

impl Distinct {
    fn spread(&mut self, value: Value) {
        match value {
            Value::List(items) => items.iter().for_each(|item| self.push(Item::Value(item.clone()))),
            value => self.push(Item::Value(value)),
        }
    }

    fn push(&mut self, item: Item) {
        let mut hasher = DefaultHasher::new();
        match &item {
            Item::Value(value) => hash(value, &mut hasher),
            Item::Default => 0xdef.hash(&mut hasher),
        }
        let places = self.by_hash.entry(hasher.finish()).or_default();
        let known = places.iter().any(|at| match (&self.items[*at], &item) {
            (Item::Value(a), Item::Value(b)) => same(a, b),
            (a, b) => a == b,
        });
        if !known {
            places.push(self.items.len());
            self.items.push(item);
        }
    }

    fn pick(mut self, pick: Pick) -> Walked {
        let last = self.items.len().saturating_sub(1);
        match (pick, self.items.len()) {
            (_, 0) => Walked::Nothing,
            (Pick::First, _) | (Pick::All, 1) => Walked::One(self.items.swap_remove(0)),
            (Pick::Last, _) => Walked::One(self.items.swap_remove(last)),
            (Pick::All, _) => Walked::Many(self.items),
        }
    }
}

/// Equal values hash alike, in the sense of [`same`].
fn hash(value: &Value, into: &mut DefaultHasher) {
    match value {
        Value::Null => 0u8.hash(into),
        Value::Str(text) => text.hash(into),
        Value::List(items) => {
            items.len().hash(into);
            items.iter().for_each(|item| hash(item, into));
        }
        Value::Map(map) => {
            let entries = map.iter().map(|(key, value)| {
                let mut one = DefaultHasher::new();
                key.hash(&mut one);
                hash(value, &mut one);
                one.finish()
            });
            entries.fold(0u64, u64::wrapping_add).hash(into);
        }
        number => match Number::of(number) {
            Some(Number::Whole(value)) => value.hash(into),
            Some(Number::Float(value)) => value.to_bits().hash(into),
            None => {}
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn equality_is_that_of_python() {
        for (a, b, equal) in [
            ("1", "1.0", true),
            ("true", "1", true),
            ("0", "false", true),
            ("0", "null", false),
            ("18446744073709551615", "1.8446744073709552e19", false),
            ("9007199254740993", "9007199254740992.0", false),
            (r#""1""#, "1", false),
            ("[1,2]", "[1.0,2]", true),
            ("[1,2]", "[2,1]", false),
            (r#"{"a":1,"b":[true]}"#, r#"{"b":[1],"a":1.0}"#, true),
            (r#"{"a":1}"#, r#"{"A":1}"#, false),
        ] {
            assert_eq!(same(&value(a), &value(b)), equal, "{a} == {b}");
            assert_eq!(same(&value(b), &value(a)), equal, "{b} == {a}");
        }
    }

    #[test]
    fn deep_get_stops_at_what_is_not_an_object() {
        let Value::Map(event) = value(r#"{"A":{"b":{"C":0}},"n":null,"l":[{"x":1}],"s":"text"}"#) else { panic!() };
        for (keys, expected) in [
            (vec!["a", "B", "c"], Some("0")),
            (vec!["a", "b", "missing"], None),
            (vec!["n"], None),
            (vec!["l", "x"], None),
            (vec!["s", "t"], None),
            (vec![], None),
        ] {
            assert_eq!(deep_get(&event, &keys).cloned(), expected.map(value), "{keys:?}");
        }
    }

    fn walk(event: &str, path: &str, pick: Pick, gap: Gap) -> Option<String> {
        let keys: Vec<String> = path.split('.').map(String::from).collect();
        let text = |item: Item| match item {
            Item::Value(value) => serde_json::to_string(&value).unwrap(),
            Item::Default => "DEFAULT".into(),
        };
        match deep_walk(&value(event), &keys, pick, &gap) {
            Walked::Nothing => None,
            Walked::One(item) => Some(text(item)),
            Walked::Many(items) => Some(items.into_iter().map(text).collect::<Vec<_>>().join(" ")),
        }
    }

    #[test]
    fn deep_walk_descends_into_lists_and_keeps_each_result_once() {
        let event = r#"{"a":[{"b":1,"l":[1,2]},{"B":2,"l":[2,3]},{"b":1.0},{"x":0}],
                        "d":[{"m":{"k":1}},{"m":{"k":1}},{"m":{"k":2}}],
                        "n":[[{"b":5}],[{"b":6}]], "e":[[],[[]]], "one":[{"b":"x"}], "s":"text"}"#;
        for (path, pick, expected) in [
            ("a.b", Pick::All, Some("1 2")),
            ("a.b", Pick::First, Some("1")),
            ("a.b", Pick::Last, Some("2")),
            ("a.l", Pick::All, Some("1 2 3")),
            ("d.m", Pick::All, Some(r#"{"k":1} {"k":2}"#)),
            ("n.b", Pick::All, Some("5 6")),
            ("one.b", Pick::All, Some(r#""x""#)),
            ("e", Pick::All, None),
            ("a.missing", Pick::All, None),
            ("s.t", Pick::All, None),
            ("missing", Pick::All, None),
        ] {
            assert_eq!(walk(event, path, pick, Gap::Skipped).as_deref(), expected, "{path} {pick:?}");
        }
    }

    #[test]
    fn a_default_fills_the_gaps_of_a_list() {
        let event = r#"{"a":[{"b":1},{"c":1},{"c":2}]}"#;
        assert_eq!(walk(event, "a.b", Pick::All, Gap::Value(value(r#""""#))).unwrap(), r#"1 """#);
        assert_eq!(walk(event, "a.b", Pick::All, Gap::Value(value("[]"))).unwrap(), "1");
        assert_eq!(walk(event, "a.b", Pick::All, Gap::Opaque).unwrap(), "1 DEFAULT");
    }
}
