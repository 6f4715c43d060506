//! The stream type of an object, from its first bytes.

use super::grammar::{Fed, Scanner, starts_value};
use crate::model::{Stream, StreamType};

/// The text that is looked at.
pub(super) const WINDOW: usize = 64 * 1024;

/// The member that CloudTrail and others wrap their events in.
const RECORDS: &str = "Records";

/// The stream with its type decided, and why so. `head` is the beginning of the text, or all of it.
pub(super) fn sniff(head: &[u8], stream: &Stream) -> (Stream, &'static str) {
    let (kind, envelope, why) = decide(head, stream);
    (Stream { kind, json_array_envelope_field: envelope.to_string(), ..stream.clone() }, why)
}

/// Stream type, envelope, reason.
fn decide<'a>(head: &[u8], stream: &'a Stream) -> (StreamType, &'a str, &'static str) {
    let head = head.trim_ascii_start();
    match head.first() {
        Some(b'<') if stream.xml_root_element.is_some() => {
            return (StreamType::Xml, "", "it begins with `<`, and the source has an `xml_root_element`");
        }
        Some(b'{' | b'[') => {}
        Some(_) => return (StreamType::Lines, "", "it begins with neither `{` nor `[`"),
        None => return (StreamType::Lines, "", "there is no text"),
    }
    let fed = Scanner::default().feed(head);
    // A first line that is not JSON is text that happens to begin with a bracket.
    if let Fed::Bad(at, _) = fed
        && !head[..at].contains(&b'\n')
    {
        return (StreamType::Lines, "", "it begins with a bracket, but the first line is no JSON");
    }
    if head[0] == b'[' {
        return (StreamType::JsonArray, "", "the document is an array");
    }
    let end = if let Fed::End(end) = fed { end } else { head.len() };
    let (value, rest) = head.split_at(end);
    let members = Members::of(value);
    if is_cloudwatch(&members) {
        return (StreamType::CloudWatchLogs, "", "it has the `logEvents` of a CloudWatch Logs subscription");
    }
    let hint = stream.json_array_envelope_field.as_str();
    if !hint.is_empty() && leads_to_array(&members, hint) {
        return (StreamType::JsonArray, hint, "the envelope field of the source or of its log types leads to an array");
    }
    if members.all.len() == 1 && leads_to_array(&members, RECORDS) {
        return (StreamType::JsonArray, RECORDS, "the document's only member, `Records`, is an array");
    }
    if !value.contains(&b'\n') && next_line_starts_value(rest) {
        return (StreamType::Lines, "", "the first line is a JSON object, and the next line begins another value");
    }
    (StreamType::Json, "", "it begins with a JSON object, and is neither lines of them nor a known envelope")
}

/// The members of an object, as far as it is known. The value of the last one may be cut.
struct Members<'a> {
    all: Vec<(String, &'a [u8])>,
    cut: bool,
}

impl<'a> Members<'a> {
    fn of(object: &'a [u8]) -> Members<'a> {
        let mut members = Members { all: Vec::new(), cut: false };
        let mut rest = object.strip_prefix(b"{");
        while let Some(inner) = rest {
            rest = members.next(inner.trim_ascii_start());
        }
        members
    }

    /// Takes a member from the front; what follows its comma.
    fn next(&mut self, text: &'a [u8]) -> Option<&'a [u8]> {
        // An object without members.
        if text.first() == Some(&b'}') {
            return None;
        }
        self.cut = true;
        let Fed::End(end) = Scanner::default().feed(text) else { return None };
        let key = serde_json::from_slice(&text[..end]).ok()?;
        let value = text[end..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        if value.is_empty() {
            return None;
        }
        let Fed::End(end) = Scanner::default().feed(value) else {
            self.all.push((key, value));
            return None;
        };
        let (value, rest) = value.split_at(end);
        self.all.push((key, value));
        let rest = rest.trim_ascii_start();
        self.cut = rest.is_empty();
        rest.strip_prefix(b",")
    }

    fn get(&self, key: &str) -> Option<&'a [u8]> {
        self.all.iter().find(|(name, _)| name == key).map(|(_, value)| *value)
    }
}

fn is_cloudwatch(members: &Members<'_>) -> bool {
    let Some(events) = members.get("logEvents") else { return false };
    if members.get("messageType").is_some() {
        return true;
    }
    // The window ends before all members were seen: the log events have to do.
    members.cut
        && events.strip_prefix(b"[").is_some_and(|elements| {
            let first = Members::of(elements.trim_ascii_start());
            ["id", "timestamp", "message"].iter().all(|key| first.get(key).is_some())
        })
}

fn leads_to_array(members: &Members<'_>, path: &str) -> bool {
    let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
    match (members.get(key), rest) {
        (Some(value), None) => value.first() == Some(&b'['),
        (Some(value), Some(rest)) => leads_to_array(&Members::of(value), rest),
        (None, _) => false,
    }
}

fn next_line_starts_value(rest: &[u8]) -> bool {
    let mut bytes = rest.iter().copied().skip_while(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
    bytes.next() == Some(b'\n') && bytes.next().is_some_and(starts_value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sniffed(head: &str, stream: &Stream) -> (StreamType, String) {
        let (found, _) = sniff(head.as_bytes(), stream);
        (found.kind, found.json_array_envelope_field)
    }

    #[test]
    fn first_bytes_decide() {
        let records = (StreamType::JsonArray, "Records".to_string());
        let plain = |kind| (kind, String::new());
        let long = format!(r#"{{"Records":[{{"a":"{}"#, "x".repeat(WINDOW));
        let late = format!(r#"{{"logEvents":[{{"id":"1","timestamp":1,"message":"m"}},{{"id":"{}"#, "x".repeat(WINDOW));
        let others = format!(r#"{{"logEvents":[{{"id":"1"}},{{"id":"{}"#, "x".repeat(WINDOW));
        for (head, expected) in [
            ("", plain(StreamType::Lines)),
            ("  \n\n", plain(StreamType::Lines)),
            ("2 123 eni-1", plain(StreamType::Lines)),
            ("<a>1</a>", plain(StreamType::Lines)),
            ("[06/Feb/2019:00:00:38 +0000] x", plain(StreamType::Lines)),
            ("{not json}\n{\"a\":1}", plain(StreamType::Lines)),
            ("[{\"a\":1}]", plain(StreamType::JsonArray)),
            (" [\n", plain(StreamType::JsonArray)),
            ("{\"Records\":[]}", records.clone()),
            ("{\n\"Records\" : [\n{}]\n}", records.clone()),
            ("{\"Records\":[{}],\"x\":1}", plain(StreamType::Json)),
            ("{\"x\":1,\"Records\":[", plain(StreamType::Json)),
            ("{\"Records\":7}", plain(StreamType::Json)),
            (&long, records.clone()),
            ("{\"logEvents\":[],\"messageType\":\"DATA_MESSAGE\"}", plain(StreamType::CloudWatchLogs)),
            ("{\"messageType\":\"DATA_MESSAGE\",\"owner\":\"1\",\"logEvents\":[{", plain(StreamType::CloudWatchLogs)),
            ("{\"messageType\":\"DATA_MESSAGE\"}", plain(StreamType::Json)),
            ("{\"logEvents\":[]}", plain(StreamType::Json)),
            (&late, plain(StreamType::CloudWatchLogs)),
            (&others, plain(StreamType::Json)),
            ("{\"a\":1}\n{\"b\":2}\n", plain(StreamType::Lines)),
            ("{\"a\":1}\r\n7\n", plain(StreamType::Lines)),
            ("{\"a\":1}\n", plain(StreamType::Json)),
            ("{\"a\":1}{\"b\":2}\n", plain(StreamType::Json)),
            ("{\n\"a\":1}\n{\"b\":2}\n", plain(StreamType::Json)),
            ("{}", plain(StreamType::Json)),
        ] {
            assert_eq!(sniffed(head, &Stream::default()), expected, "{head:.40}");
        }
    }

    #[test]
    fn a_configured_root_makes_it_xml() {
        let stream = Stream { xml_root_element: Some("r".into()), ..Stream::default() };
        assert_eq!(sniffed("\n<r>", &stream).0, StreamType::Xml);
        assert_eq!(sniffed("{}", &stream).0, StreamType::Json);
    }

    #[test]
    fn a_hint_is_used_where_its_array_is() {
        let stream = Stream { json_array_envelope_field: "a.b".into(), ..Stream::default() };
        let hinted = (StreamType::JsonArray, "a.b".to_string());
        assert_eq!(sniffed(r#"{"x":1,"a":{"b":[]}}"#, &stream), hinted);
        assert_eq!(sniffed(r#"{"x":1,"a":{"c":2,"b":["#, &stream), hinted);
        assert_eq!(sniffed(r#"{"a":{"b":1}}"#, &stream), (StreamType::Json, String::new()));
        assert_eq!(sniffed(r#"{"Records":[1]}"#, &stream), (StreamType::JsonArray, "Records".to_string()));
    }
}
