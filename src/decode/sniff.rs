//! The stream type of an object, from its first bytes.

use serde_json::{Map, Value};

use super::grammar::{Fed, Scanner, is_space, starts_value};
use crate::model::StreamType;

/// The text that is looked at.
pub(super) const WINDOW: usize = 64 * 1024;

/// The member that CloudTrail and others wrap their events in.
const RECORDS: &str = "Records";

/// Stream type and envelope. `head` is the beginning of the text, or all of it; `hint` an envelope to prefer.
pub(super) fn sniff(head: &[u8], hint: &str) -> (StreamType, String) {
    let plain = |stream| (stream, String::new());
    let Some(start) = head.iter().position(|&byte| !is_space(byte)) else { return plain(StreamType::Lines) };
    let head = &head[start..];
    if head[0] != b'{' && head[0] != b'[' {
        return plain(StreamType::Lines);
    }
    let fed = Scanner::default().feed(head);
    // A first line that is not JSON is text that happens to begin with a bracket.
    if let Fed::Bad(at, _) = fed
        && !head[..at].contains(&b'\n')
    {
        return plain(StreamType::Lines);
    }
    if head[0] == b'[' {
        return plain(StreamType::JsonArray);
    }
    let end = if let Fed::End(end) = fed { end } else { head.len() };
    let (value, rest) = head.split_at(end);
    if let Some(envelope) = envelope(value, hint) {
        return (StreamType::JsonArray, envelope);
    }
    if !value.contains(&b'\n') && next_line_starts_value(rest) {
        return plain(StreamType::Lines);
    }
    plain(StreamType::Json)
}

/// The keys to the array of records, when the first value (or the beginning of it) is an envelope.
fn envelope(value: &[u8], hint: &str) -> Option<String> {
    if let Ok(members) = serde_json::from_slice::<Map<String, Value>>(value) {
        if !hint.is_empty() && leads_to_array(&members, hint) {
            return Some(hint.to_string());
        }
        let sole = members.len() == 1 && members.get(RECORDS).is_some_and(Value::is_array);
        return sole.then(|| RECORDS.to_string());
    }
    // The window ends within the value: its first member has to do.
    let (key, opening) = first_member(value)?;
    let mut path = hint.split('.');
    if path.next() == Some(key.as_str()) && opening == if path.next().is_some() { b'{' } else { b'[' } {
        return Some(hint.to_string());
    }
    (key == RECORDS && opening == b'[').then_some(key)
}

fn leads_to_array(members: &Map<String, Value>, path: &str) -> bool {
    let mut keys = path.split('.');
    let first = keys.next().and_then(|key| members.get(key));
    keys.fold(first, |value, key| value.and_then(|value| value.get(key))).is_some_and(Value::is_array)
}

/// The first key of an object and the first byte of its value.
fn first_member(object: &[u8]) -> Option<(String, u8)> {
    let inner = object[1..].trim_ascii_start();
    let Fed::End(end) = Scanner::default().feed(inner) else { return None };
    let key = serde_json::from_slice(&inner[..end]).ok()?;
    let value = inner[end..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    Some((key, *value.first()?))
}

fn next_line_starts_value(rest: &[u8]) -> bool {
    let mut bytes = rest.iter().copied().skip_while(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
    bytes.next() == Some(b'\n') && bytes.next().is_some_and(starts_value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_decide() {
        let records = (StreamType::JsonArray, "Records".to_string());
        let plain = |stream| (stream, String::new());
        let long = format!(r#"{{"Records":[{{"a":"{}"#, "x".repeat(WINDOW));
        for (head, expected) in [
            ("", plain(StreamType::Lines)),
            ("  \n\n", plain(StreamType::Lines)),
            ("2 123 eni-1", plain(StreamType::Lines)),
            ("[06/Feb/2019:00:00:38 +0000] x", plain(StreamType::Lines)),
            ("{not json}\n{\"a\":1}", plain(StreamType::Lines)),
            ("[{\"a\":1}]", plain(StreamType::JsonArray)),
            (" [\n", plain(StreamType::JsonArray)),
            ("{\"Records\":[]}", records.clone()),
            ("{\n\"Records\" : [\n{}]\n}", records.clone()),
            ("{\"Records\":[{}],\"x\":1}", plain(StreamType::Json)),
            ("{\"Records\":7}", plain(StreamType::Json)),
            (&long, records.clone()),
            ("{\"a\":1}\n{\"b\":2}\n", plain(StreamType::Lines)),
            ("{\"a\":1}\r\n7\n", plain(StreamType::Lines)),
            ("{\"a\":1}\n", plain(StreamType::Json)),
            ("{\"a\":1}{\"b\":2}\n", plain(StreamType::Json)),
            ("{\n\"a\":1}\n{\"b\":2}\n", plain(StreamType::Json)),
        ] {
            assert_eq!(sniff(head.as_bytes(), ""), expected, "{head:.40}");
        }
    }

    #[test]
    fn a_hint_is_used_where_its_array_is() {
        let hinted = (StreamType::JsonArray, "a.b".to_string());
        assert_eq!(sniff(br#"{"x":1,"a":{"b":[]}}"#, "a.b"), hinted);
        assert_eq!(sniff(br#"{"a":{"b":["#, "a.b"), hinted);
        assert_eq!(sniff(br#"{"a":{"b":1}}"#, "a.b").0, StreamType::Json);
    }
}
