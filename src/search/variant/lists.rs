//! Lists out of JSON, and lists made over. Values in, values out.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, ListBuilder, StringArray, StringBuilder, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, exec_err};
use serde_json::Value;

/// A list as it is; of JSON the elements of arrays, as their texts, and any other value alone.
pub(super) fn of(values: &ArrayRef) -> Result<ArrayRef> {
    match values.data_type() {
        DataType::List(_) => Ok(values.clone()),
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => {
            let texts = cast(values, &DataType::Utf8)?;
            let mut lists = ListBuilder::new(StringBuilder::new());
            for text in texts.as_string::<i32>() {
                append(&mut lists, text);
            }
            Ok(Arc::new(lists.finish()))
        }
        DataType::Null => Ok(arrow::array::new_null_array(&DataType::new_list(DataType::Utf8, true), values.len())),
        other => exec_err!("a value of type {other} is no list"),
    }
}

fn append(lists: &mut ListBuilder<StringBuilder>, text: Option<&str>) {
    let parsed = text.map(serde_json::from_str::<Value>);
    match (text, parsed) {
        (Some(_), Some(Ok(Value::Array(elements)))) => {
            for element in elements {
                match element {
                    Value::Null => lists.values().append_null(),
                    Value::String(text) => lists.values().append_value(text),
                    other => lists.values().append_value(other.to_string()),
                }
            }
            lists.append(true);
        }
        (_, None | Some(Ok(Value::Null))) => lists.append(false),
        (Some(text), _) => {
            lists.values().append_value(text);
            lists.append(true);
        }
        (None, _) => lists.append(false),
    }
}

/// A single NULL in the place of an empty or missing list.
pub(super) fn or_null(lists: &ArrayRef) -> Result<ArrayRef> {
    picked(
        lists,
        |is_there, from, to| {
            if !is_there || from == to { vec![None] } else { (from..to).map(Some).collect() }
        },
    )
}

pub(super) fn without_nulls(lists: &ArrayRef) -> Result<ArrayRef> {
    let elements = lists.as_list::<i32>().values().clone();
    let kept = picked(lists, |_, from, to| {
        (from..to).filter(|at| elements.is_valid(usize::try_from(*at).unwrap_or(usize::MAX))).map(Some).collect()
    })?;
    // What was no list is none.
    let made = kept.as_list::<i32>();
    let nulls: Option<NullBuffer> = lists.nulls().cloned();
    let item = Arc::new(Field::new_list_field(made.value_type(), true));
    Ok(Arc::new(ListArray::new(item_of(lists, item), made.offsets().clone(), made.values().clone(), nulls)))
}

/// Each list with other elements of its own, by their places.
fn picked(lists: &ArrayRef, pick: impl Fn(bool, u64, u64) -> Vec<Option<u64>>) -> Result<ArrayRef> {
    let made = lists.as_list::<i32>();
    let (mut places, mut lengths) = (Vec::new(), Vec::with_capacity(made.len()));
    for row in 0..made.len() {
        let is_there = made.is_valid(row);
        let at = |row: usize| u64::try_from(made.value_offsets()[row]).unwrap_or(0);
        let own = pick(is_there, at(row), at(row + 1));
        lengths.push(own.len());
        places.extend(own);
    }
    let values = take(made.values(), &UInt64Array::from(places), None)?;
    let item = Arc::new(Field::new_list_field(made.value_type(), true));
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::new(item_of(lists, item), offsets, values, None)))
}

/// The element's field as the list had it.
fn item_of(lists: &ArrayRef, other: Arc<Field>) -> Arc<Field> {
    match lists.data_type() {
        DataType::List(item) if item.is_nullable() => item.clone(),
        _ => other,
    }
}

/// Whether a text of each list is an address of the block.
pub(super) fn in_block(lists: &ArrayRef, block: &str) -> Result<ArrayRef> {
    let Ok(block) = block.parse::<ipnet::IpNet>() else { return exec_err!("`{block}` is no block of addresses") };
    let is_in = |list: Option<ArrayRef>| {
        let texts = list.and_then(|list| cast(&list, &DataType::Utf8).ok());
        texts.map(|texts| {
            let mut texts = texts.as_string::<i32>().iter().flatten();
            texts.any(|text| text.parse::<std::net::IpAddr>().is_ok_and(|address| block.contains(&address)))
        })
    };
    Ok(Arc::new(lists.as_list::<i32>().iter().map(is_in).collect::<BooleanArray>()))
}

/// Texts that are JSON, and NULL for others.
pub(super) fn json_only(values: &ArrayRef) -> Result<ArrayRef> {
    let texts = cast(values, &DataType::Utf8)?;
    let is_json = |text: &&str| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    let kept = texts.as_string::<i32>().iter().map(|text| text.filter(is_json));
    Ok(Arc::new(kept.collect::<StringArray>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    fn shown(lists: &ArrayRef) -> Vec<String> {
        let row = |list: Option<ArrayRef>| {
            list.map_or("none".into(), |list| format!("{:?}", list.as_string::<i32>().iter().collect::<Vec<_>>()))
        };
        lists.as_list::<i32>().iter().map(row).collect()
    }

    #[test]
    fn json_becomes_lists() {
        let json = texts(&[Some(r#"["a", 1, {"b": [2]}, null]"#), Some("x"), Some("null"), None, Some("[]")]);
        let lists = of(&json).unwrap();
        let expected = [r#"[Some("a"), Some("1"), Some("{\"b\":[2]}"), None]"#, r#"[Some("x")]"#, "none", "none", "[]"];
        assert_eq!(shown(&lists), expected);
        let compact = without_nulls(&lists).unwrap();
        assert_eq!(shown(&compact)[0], r#"[Some("a"), Some("1"), Some("{\"b\":[2]}")]"#);
        assert_eq!(shown(&compact)[3..], ["none", "[]"]);
        assert_eq!(shown(&or_null(&lists).unwrap())[1..], [r#"[Some("x")]"#, "[None]", "[None]", "[None]"]);
    }

    #[test]
    fn only_json_is_json() {
        let kept = json_only(&texts(&[Some("{}"), Some("{"), Some("1"), None])).unwrap();
        let kept: Vec<Option<&str>> = kept.as_string::<i32>().iter().collect();
        assert_eq!(kept, [Some("{}"), None, Some("1"), None]);
    }
}
