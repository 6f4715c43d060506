//! Items of which not every key is known: such keys are taken out, one after the other, until the rest is what it should
//! be. What is wrong beside them is still an error.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use super::SpecError;

pub(super) fn read<T: DeserializeOwned>(mut value: Value) -> Result<T, SpecError> {
    loop {
        // Each round takes one key out, and there are only so many.
        match serde_path_to_error::deserialize(value.clone()) {
            Ok(item) => return Ok(item),
            Err(error) => {
                let said = error.inner().to_string();
                let removed = unknown_key(&said).is_some_and(|key| remove(&mut value, error.path(), key));
                if !removed {
                    return Err(SpecError::new(format!("{}: {said}", error.path())));
                }
            }
        }
    }
}

/// serde says it in words only.
fn unknown_key(said: &str) -> Option<&str> {
    said.strip_prefix("unknown field `")?.split('`').next()
}

/// Takes `key` out of the object that the path leads to, or whose key it ends with.
fn remove(value: &mut Value, path: &Path, key: &str) -> bool {
    let mut steps: Vec<&Segment> = path.iter().collect();
    if matches!(steps.last(), Some(Segment::Map { key: last }) if last == key) {
        steps.pop();
    }
    let object = steps.into_iter().try_fold(value, |at, step| match (step, at) {
        (Segment::Seq { index }, Value::Array(items)) => items.get_mut(*index),
        (Segment::Map { key }, Value::Object(entries)) => entries.get_mut(key),
        _ => None,
    });
    object.and_then(Value::as_object_mut).is_some_and(|entries| entries.shift_remove(key).is_some())
}
