//! Reads an event from its JSON text. What a log may hold is nested deeper than the reader of JSON takes at once, so that
//! what it refuses is read level by level: an event that is stored is one that rules see.

use serde::Deserialize;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::model::{Map, MapBuilder, Value};

/// Far above what a log holds, JSON within the texts of JSON counted; everything that walks a value recurses.
const MOST_LEVELS: usize = 512;

pub(super) fn parse(event: &RawValue) -> Result<Map, String> {
    let read = match read::<Map>(event.get()) {
        Ok(map) => return Ok(map),
        Err(None) => levels(event, 0),
        Err(Some(error)) => Err(error),
    };
    match read {
        Ok(Value::Map(map)) => Ok(map),
        Ok(_) => Err("it is no object".to_owned()),
        Err(error) => Err(error),
    }
    .map_err(|error| format!("the event is not a JSON object that can be read: {error}"))
}

/// At once; `None` says that it is nested too deep for that.
fn read<T: DeserializeOwned>(text: &str) -> Result<T, Option<String>> {
    serde_json::from_str(text).map_err(|error| {
        // The reader has no other way to tell.
        let said = error.to_string();
        (!said.starts_with("recursion limit exceeded")).then_some(said)
    })
}

/// This level apart from those below it.
fn levels(value: &RawValue, level: usize) -> Result<Value, String> {
    if level == MOST_LEVELS {
        return Err(format!("it is nested deeper than {MOST_LEVELS} levels"));
    }
    let below = |value: &RawValue| levels(value, level + 1);
    let said = |error: serde_json::Error| error.to_string();
    match value.get().as_bytes().first() {
        Some(b'{') => {
            let Members(members) = serde_json::from_str(value.get()).map_err(said)?;
            let mut map = MapBuilder::default();
            members.into_iter().try_for_each(|(key, value)| below(value).map(|value| map.insert(key, value)))?;
            Ok(Value::Map(map.build()))
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(said)?;
            let items: Result<Vec<Value>, String> = items.into_iter().map(below).collect();
            Ok(Value::List(items?.into()))
        }
        _ => serde_json::from_str(value.get()).map_err(said),
    }
}

/// Of an object, in their order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Members<'de>, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = from.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<String, String> {
        let raw: Box<RawValue> = serde_json::from_str(text).unwrap();
        parse(&raw).map(|map| serde_json::to_string(&map).unwrap())
    }

    fn nested(levels: usize) -> String {
        format!(r#"{{"é":1.50,"a":{}"x"{},"z":null}}"#, r#"[{"k":"#.repeat(levels), "}]".repeat(levels))
    }

    #[test]
    fn an_event_is_read_however_deep_a_log_may_nest_it() {
        for levels in [0, 1, 62, 63, 64, 65, 128, 255] {
            assert_eq!(parsed(&nested(levels)), Ok(nested(levels).replace("1.50", "1.5")), "{levels}");
        }
        assert!(parsed(&nested(256)).unwrap_err().contains("deeper than 512 levels"));
        assert!(parsed(&nested(20_000)).unwrap_err().contains("deeper than 512 levels"));
    }

    #[test]
    fn what_is_no_object_is_told() {
        for text in ["[]", "1", "null", &format!("{}{}", "[".repeat(200), "]".repeat(200))] {
            assert!(parsed(text).unwrap_err().starts_with("the event is not a JSON object"), "{text}");
        }
    }
}
