//! Writes raw values into an event as they are, where no schema says what they should be.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use time::OffsetDateTime;

use super::json::{Form, Raw};
use crate::model::{Key, Leaf, Span, Writer, stored_digits};

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
            let members = put_members(entries, out);
            out.end_map(map, members);
        }
    }
}

/// An integer where it fits one, else a float. An integer that neither holds exactly is an identifier more likely than
/// a quantity: it stays what it is, as text.
pub(super) fn number(text: &str, out: &mut Writer<'_>) -> Leaf {
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

/// Writes members; a repeated name keeps its first place and its last value. Returns how many were written.
pub(super) fn put_members<'d, K>(members: impl Iterator<Item = (K, Raw<'d>)> + Clone, out: &mut Writer<'_>) -> usize
where
    K: AsRef<str>,
{
    let mut names = Distinct::default();
    if !members.clone().all(|(name, _)| names.is_new(name.as_ref())) {
        return put_last(members, out);
    }
    members.map(|(name, value)| put_member(name.as_ref(), value, out)).count()
}

/// Of members of which some may have the same name.
fn put_last<'d, K: AsRef<str>>(members: impl Iterator<Item = (K, Raw<'d>)>, out: &mut Writer<'_>) -> usize {
    let members: Vec<(K, Raw<'_>)> = members.collect();
    let mut first = HashMap::with_capacity(members.len());
    let mut kept = Vec::with_capacity(members.len());
    for (name, value) in &members {
        match first.entry(name.as_ref()) {
            Entry::Vacant(entry) => {
                entry.insert(kept.len());
                kept.push((name.as_ref(), *value));
            }
            Entry::Occupied(entry) => kept[*entry.get()].1 = *value,
        }
    }
    kept.iter().for_each(|(name, value)| put_member(name, *value, out));
    kept.len()
}

fn put_member(name: &str, value: Raw<'_>, out: &mut Writer<'_>) {
    let key = out.key(name);
    put_raw(key, value, out);
}

/// Among so few names it is told in place that none is repeated.
const COMPARED: usize = 64;

/// What tells names apart, mostly, without looking at them again. Where it does not, or they are many, somebody has to look.
pub(super) struct Distinct {
    marks: [u32; COMPARED],
    count: usize,
}

impl Default for Distinct {
    fn default() -> Distinct {
        Distinct { marks: [0; COMPARED], count: 0 }
    }
}

impl Distinct {
    /// False: the name may be one of those before.
    pub(super) fn is_new(&mut self, name: &str) -> bool {
        let mark = mark(name.as_bytes());
        if self.count == COMPARED || self.marks[..self.count].contains(&mark) {
            return false;
        }
        self.marks[self.count] = mark;
        self.count += 1;
        true
    }
}

/// Of the length, the first and the last bytes of a name.
fn mark(name: &[u8]) -> u32 {
    let end = |bytes: Option<&[u8; 4]>| bytes.map(|bytes| u32::from_le_bytes(*bytes));
    match (end(name.first_chunk()), end(name.last_chunk())) {
        (Some(first), Some(last)) => first ^ last.rotate_left(11) ^ (name.len() as u32).rotate_left(24),
        _ => name.iter().fold(name.len() as u32, |mark, byte| mark << 8 | u32::from(*byte)),
    }
}

/// Writes a point in time in its stored spelling, and returns where that is.
pub(super) fn put_time(key: Key, at: OffsetDateTime, out: &mut Writer<'_>) -> Span {
    let digits = stored_digits(at);
    let span = out.span(std::str::from_utf8(&digits).expect("digits and signs are ASCII"));
    out.put(key, Leaf::Str(span));
    span
}
