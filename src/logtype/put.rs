//! Writes raw values into an event as they are, where no schema says what they should be.

use std::collections::HashMap;

use time::OffsetDateTime;

use super::json::{Form, Raw};
use crate::model::{Key, Leaf, Writer, stored_digits};

/// Writes a value as it is.
pub(super) fn put_raw(key: Key, raw: Raw<'_>, out: &mut Writer<'_>) {
    put_form(key, raw.form(), out);
}

pub(super) fn put_form(key: Key, form: Form<'_>, out: &mut Writer<'_>) {
    match form {
        Form::Null => out.put(key, Leaf::Null),
        Form::Bool(value) => out.put(key, Leaf::Bool(value)),
        Form::Number(text) => {
            let leaf = number(text, out);
            out.put(key, leaf);
        }
        Form::Str(text) => out.put_text(key, text),
        Form::List(items) => {
            let list = out.begin(key);
            let mut length = 0;
            for (_, item) in items {
                put_raw(Key::NONE, item, out);
                length += 1;
            }
            out.end_list(list, length);
        }
        Form::Map(entries) => {
            let map = out.begin(key);
            let members = put_members(entries.collect(), out);
            out.end_map(map, members);
        }
    }
}

/// An integer where it fits one, else a float. An integer that neither holds exactly is an identifier more likely than
/// a quantity: it stays what it is, as text.
fn number(text: &str, out: &mut Writer<'_>) -> Leaf {
    if let Ok(int) = text.parse::<i64>() {
        return Leaf::Int(int);
    }
    if let Ok(int) = text.parse::<u64>() {
        return Leaf::UInt(int);
    }
    let is_integer = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    // Beyond the range of a float there is no number to give; the text is what is left.
    match text.parse::<f64>() {
        Ok(float) if float.is_finite() && !is_integer => Leaf::Float(float),
        _ => Leaf::Str(out.span(text)),
    }
}

/// Among so few names, repeated ones are found by comparing them all.
const COMPARED: usize = 16;

/// Writes members; a repeated name keeps its first place and its last value. Returns how many were written.
pub(super) fn put_members<K: AsRef<str>>(members: Vec<(K, Raw<'_>)>, out: &mut Writer<'_>) -> usize {
    let repeats = |at: usize| members[..at].iter().any(|(name, _)| name.as_ref() == members[at].0.as_ref());
    if members.len() > COMPARED || (1..members.len()).any(repeats) {
        let mut first = HashMap::with_capacity(members.len());
        let mut kept = Vec::with_capacity(members.len());
        for (name, value) in &members {
            match first.insert(name.as_ref(), kept.len()) {
                None => kept.push((name.as_ref(), *value)),
                Some(at) => {
                    first.insert(name.as_ref(), at);
                    kept[at].1 = *value;
                }
            }
        }
        return put_each(&kept, out);
    }
    put_each(&members, out)
}

fn put_each<K: AsRef<str>>(members: &[(K, Raw<'_>)], out: &mut Writer<'_>) -> usize {
    for (name, value) in members {
        let key = out.key(name.as_ref());
        put_raw(key, *value, out);
    }
    members.len()
}

/// Writes a point in time in its stored spelling.
pub(super) fn put_time(key: Key, at: OffsetDateTime, out: &mut Writer<'_>) {
    let digits = stored_digits(at);
    out.put_text(key, std::str::from_utf8(&digits).expect("digits and signs are ASCII"));
}
