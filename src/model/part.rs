//! A value to look at, wherever it stands: one on the tape of an event is read without being made.

use serde::ser::{Serialize, Serializer};

use super::tape::{self, Children, Seen};
use super::value::{Map, Value};

/// A value, or a part of one.
#[derive(Clone, Copy)]
pub enum Part<'v> {
    Taped(Seen<'v>),
    Made(&'v Value),
}

/// What it is; containers by their children.
pub enum Look<'v> {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    Str(&'v str),
    List(Items<'v>),
    Map(Members<'v>),
}

/// The elements of a list.
#[derive(Clone)]
pub enum Items<'v> {
    Taped(Children<'v>),
    Made(std::slice::Iter<'v, Value>),
}

/// The members of a map.
#[derive(Clone, Copy)]
pub enum Members<'v> {
    Taped(Children<'v>),
    Made(&'v Map),
}

impl<'v> Part<'v> {
    pub fn look(self) -> Look<'v> {
        match self {
            Part::Taped(seen) => match seen.view() {
                tape::View::Null => Look::Null,
                tape::View::Bool(truth) => Look::Bool(truth),
                tape::View::Int(number) => Look::Int(number),
                tape::View::UInt(number) => Look::UInt(number),
                tape::View::Float(number) => Look::Float(number),
                tape::View::Str(text) => Look::Str(text),
                tape::View::List(items) => Look::List(Items::Taped(items)),
                tape::View::Map(members) => Look::Map(Members::Taped(members)),
            },
            Part::Made(value) => match value {
                Value::Null => Look::Null,
                Value::Bool(truth) => Look::Bool(*truth),
                Value::Int(number) => Look::Int(*number),
                Value::UInt(number) => Look::UInt(*number),
                Value::Float(number) => Look::Float(*number),
                Value::Str(text) => Look::Str(text),
                Value::List(items) => Look::List(Items::Made(items.iter())),
                Value::Map(map) => Look::Map(Members::Made(map)),
            },
        }
    }
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Part::Taped(seen) => seen.serialize(serializer),
            Part::Made(value) => value.serialize(serializer),
        }
    }
}

impl<'v> Iterator for Items<'v> {
    type Item = Part<'v>;

    fn next(&mut self) -> Option<Part<'v>> {
        match self {
            Items::Taped(children) => children.next().map(Part::Taped),
            Items::Made(items) => items.next().map(Part::Made),
        }
    }
}

impl<'v> Members<'v> {
    /// Shows each member, in the order of the map.
    pub fn each(self, show: &mut dyn FnMut(&'v str, Part<'v>)) {
        match self {
            Members::Taped(children) => children.for_each(|member| show(member.key(), Part::Taped(member))),
            Members::Made(map) => map.each(show),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tape::{Key, Leaf, Names, TapeRoom, Writer};

    fn members(map: &Map) -> Vec<String> {
        let mut members = Vec::new();
        map.each(&mut |key, part| members.push(format!("{key}={}", serde_json::to_string(&part).unwrap())));
        members
    }

    #[test]
    fn a_map_shows_the_same_members_however_it_stands() {
        let (names, mut room) = (Names::from([]), TapeRoom::default());
        let mut out = Writer::new(&names, "", &mut room);
        let root = out.begin(Key::NONE);
        let key = out.key("list");
        let list = out.begin(key);
        out.put(Key::NONE, Leaf::Int(1));
        out.put_text(Key::NONE, "y");
        out.end_list(list, 2);
        let key = out.key("deep");
        let deep = out.begin(key);
        out.end_map(deep, 0);
        out.end_map(root, 2);
        let taped = out.finish();
        let built: Map = serde_json::from_str(r#"{"list":[1,"y"],"deep":{}}"#).unwrap();
        let more = Value::Map(built.clone());
        let longer = [&taped, &built].map(|map| map.with(&"a".into(), Value::Null).with(&"b".into(), more.clone()));
        let expected = ["list=[1,\"y\"]", "deep={}", "a=null", r#"b={"list":[1,"y"],"deep":{}}"#];
        assert_eq!(members(&taped), expected[..2]);
        assert_eq!(members(&built), expected[..2]);
        assert_eq!(longer.each_ref().map(members), [expected, expected]);
    }

    #[test]
    fn elements_of_lists_are_shown_one_by_one() {
        let value: Value = serde_json::from_str("[1,null,[true]]").unwrap();
        let Look::List(items) = Part::Made(&value).look() else { panic!("a list") };
        let shown: Vec<String> = items.map(|item| serde_json::to_string(&item).unwrap()).collect();
        assert_eq!(shown, ["1", "null", "[true]"]);
    }
}
