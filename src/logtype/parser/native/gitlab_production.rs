//! Requests to GitLab's Rails controllers: plain JSON that must say which controller action or ETag route answered.
//! Requests to the API have the same shape otherwise, and a type of their own.

use super::{Each, Entry, Memory};
use crate::logtype::json::Form;

pub(super) fn parse(entry: &Entry<'_>, _: &mut Memory, each: Each<'_>) -> Result<(), String> {
    let record = entry.object()?;
    let has = |key| record.get(key).is_some_and(|value| !matches!(value.form(), Form::Null));
    if has("action") || has("etag_route") {
        each(record)
    } else {
        Err("the record has neither an `action` nor an `etag_route`".into())
    }
}
