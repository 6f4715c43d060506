//! Where a condition looks: a key, a path, a query in JMESPath, a row of a lookup table.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::Undecided;
use crate::model::{Map, Value};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Field {
    /// The value itself: an element of a list.
    This,
    Path(Vec<Step>),
    Query(Query),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Step {
    /// As in Python's event: this key, else the first that differs only in case.
    Key(String),
    /// From the end when negative.
    Index(i64),
    /// An object itself, or each element of a list: a selector of a lookup table gives one row or several.
    Each,
}

/// A JMESPath expression. Its text crosses the pipe to the worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Query(jmespath::Expression<'static>);

impl Field {
    /// A path as `KeyPath` has it: the plain ones, which nearly all are, need no query.
    pub(super) fn parse(text: &str) -> Result<Field, String> {
        match plain(text) {
            Some(steps) => Ok(Field::Path(steps)),
            None => Query::try_from(text.to_owned()).map(Field::Query),
        }
    }

    pub(super) fn find_in(&self, event: &Map) -> Result<Option<Value>, Undecided> {
        Ok(self.find(&Value::Map(event.clone()))?.map(Cow::into_owned))
    }

    pub(super) fn find<'a>(&self, value: &'a Value) -> Result<Option<Cow<'a, Value>>, Undecided> {
        match self {
            Field::This => Ok(Some(Cow::Borrowed(value))),
            Field::Path(steps) => Ok(walk(value, steps)),
            Field::Query(query) => query.search(value).map(|found| found.map(Cow::Owned)),
        }
    }
}

fn walk<'a>(value: &'a Value, steps: &[Step]) -> Option<Cow<'a, Value>> {
    let Some((step, rest)) = steps.split_first() else { return Some(Cow::Borrowed(value)) };
    match (step, value) {
        (Step::Key(key), Value::Map(map)) => walk(map.get_ignore_case(key)?, rest),
        (Step::Index(index), Value::List(items)) => walk(items.get(position(*index, items.len())?)?, rest),
        (Step::Each, Value::List(items)) => {
            let found = items.iter().filter_map(|item| walk(item, rest)).map(Cow::into_owned);
            Some(Cow::Owned(Value::List(found.collect())))
        }
        (Step::Each, _) => walk(value, rest),
        _ => None,
    }
}

fn position(index: i64, length: usize) -> Option<usize> {
    match usize::try_from(index) {
        Ok(index) => Some(index),
        Err(_) => length.checked_sub(usize::try_from(index.unsigned_abs()).ok()?),
    }
}

/// `a.b[0].c`: names and indexes, nothing else of JMESPath.
fn plain(text: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    for part in text.split('.') {
        let (name, mut indexes) = part.split_at(part.find('[').unwrap_or(part.len()));
        let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name {
            return None;
        }
        steps.push(Step::Key(name.to_owned()));
        while !indexes.is_empty() {
            let (index, rest) = indexes.strip_prefix('[')?.split_once(']')?;
            steps.push(Step::Index(index.parse().ok()?));
            indexes = rest;
        }
    }
    Some(steps)
}

impl Query {
    fn search(&self, value: impl Serialize) -> Result<Option<Value>, Undecided> {
        let undecided = |error: &dyn std::fmt::Display| Undecided(format!("`{}`: {error}", self.0.as_str()));
        let found = self.0.search(value).map_err(|error| undecided(&error.reason))?;
        if found.is_null() {
            return Ok(None);
        }
        let json = serde_json::to_value(&*found).map_err(|error| undecided(&error))?;
        serde_json::from_value(json).map(Some).map_err(|error| undecided(&error))
    }
}

impl TryFrom<String> for Query {
    type Error = String;

    fn try_from(text: String) -> Result<Query, String> {
        jmespath::compile(&text).map(Query).map_err(|error| format!("`{text}` is no JMESPath: {}", error.reason))
    }
}

impl From<Query> for String {
    fn from(query: Query) -> String {
        query.0.as_str().to_owned()
    }
}

impl PartialEq for Query {
    fn eq(&self, other: &Query) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, event: serde_json::Value) -> Option<serde_json::Value> {
        let event: Map = serde_json::from_value(event).unwrap();
        let found = Field::parse(path).unwrap().find_in(&event).unwrap();
        found.map(|value| serde_json::to_value(value).unwrap())
    }

    #[test]
    fn paths_step_through_objects_and_lists_and_ignore_case() {
        let event = serde_json::json!({"a": {"B": [{"c": 1}, {"c": 2}]}});
        assert_eq!(found("a.b[0].c", event.clone()), Some(1.into()));
        assert_eq!(found("a.b[-1].C", event.clone()), Some(2.into()));
        for nothing in ["a.b[2].c", "a.b[-3].c", "a.x", "a.b.c", "a[0]"] {
            assert_eq!(found(nothing, event.clone()), None, "{nothing}");
        }
    }

    #[test]
    fn what_is_no_plain_path_is_a_query() {
        let event = serde_json::json!({"items": [{"n": "x", "v": 1}, {"n": "y", "v": 18446744073709551615u64}]});
        assert_eq!(found("items[?n=='y'].v | [0]", event.clone()), Some(18446744073709551615u64.into()));
        assert_eq!(found("items[*].n", event.clone()), Some(serde_json::json!(["x", "y"])));
        assert_eq!(found("items[?n=='z'] | [0]", event), None);
        assert!(Field::parse("items[").unwrap_err().contains("JMESPath"));
    }

    #[test]
    fn a_query_that_an_event_does_not_suit_is_undecided() {
        let event: Map = serde_json::from_str(r#"{"a": 1}"#).unwrap();
        let error = Field::parse("length(a)").unwrap().find_in(&event).unwrap_err();
        assert!(error.to_string().starts_with("`length(a)`: "), "{error}");
    }
}
