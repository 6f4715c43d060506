//! An XML element as JSON: an object with its attributes as `@name`, its text as `#text` and its child elements by
//! name, several of one name as an array. A child with nothing but text is that text. White space around text is
//! dropped.
//!
//! Only the predefined entities and character references are resolved. Depth and number of elements are bounded,
//! because the object takes more memory than the text.

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;
use serde_json::map::Entry;
use serde_json::{Map, Value};

/// Parsers of JSON end at 128 levels.
const MAX_DEPTH: usize = 100;
/// Elements and attributes of one record.
const MAX_NODES: usize = 100_000;

struct Element {
    name: String,
    members: Map<String, Value>,
    text: String,
}

pub(super) fn to_json(text: &str) -> Result<String, String> {
    let mut reader = Reader::from_str(text);
    let mut open: Vec<Element> = Vec::new();
    let mut nodes = 0;
    loop {
        let event = reader.read_event().map_err(malformed)?;
        let closed = match event {
            Event::Start(start) => {
                if open.len() == MAX_DEPTH {
                    return Err(format!("elements lie within more than {MAX_DEPTH} others"));
                }
                open.push(Element::new(&start, &mut nodes)?);
                continue;
            }
            Event::Empty(start) => Element::new(&start, &mut nodes)?,
            Event::End(_) => open.pop().ok_or("an end tag has no start tag")?,
            Event::Eof => return Err("the element does not end".into()),
            Event::DocType(_) => return Err("a document type declaration is refused".into()),
            other => {
                let Some(element) = open.last_mut() else { continue };
                match other {
                    Event::Text(text) => element.text.push_str(&text.xml10_content()),
                    Event::CData(text) => element.text.push_str(&text.xml10_content()),
                    Event::GeneralRef(reference) => element.resolve(&reference)?,
                    // Comments and instructions say nothing to the reader of a log.
                    _ => {}
                }
                continue;
            }
        };
        match open.last_mut() {
            Some(parent) => parent.add(closed),
            None => return Ok(Value::Object(closed.object()).to_string()),
        }
    }
}

impl Element {
    fn new(start: &BytesStart<'_>, nodes: &mut usize) -> Result<Element, String> {
        let mut members = Map::new();
        *nodes += 1;
        for attribute in start.attributes() {
            let attribute = attribute.map_err(malformed)?;
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(malformed)?;
            members.insert(format!("@{}", attribute.key.as_ref()), Value::String(value.into_owned()));
            *nodes += 1;
        }
        if *nodes > MAX_NODES {
            return Err(format!("the record has more than {MAX_NODES} elements and attributes"));
        }
        Ok(Element { name: start.name().as_ref().to_string(), members, text: String::new() })
    }

    fn resolve(&mut self, reference: &BytesRef<'_>) -> Result<(), String> {
        if let Some(character) = reference.resolve_char_ref().map_err(malformed)? {
            self.text.push(character);
            return Ok(());
        }
        let name = reference.xml10_content();
        let text = resolve_predefined_entity(&name)
            .ok_or_else(|| format!("the entity `&{name};` is not predefined, and none may be declared"))?;
        self.text.push_str(text);
        Ok(())
    }

    fn add(&mut self, child: Element) {
        let name = child.name.clone();
        let value = if child.members.is_empty() {
            Value::String(child.text.trim_ascii().to_string())
        } else {
            Value::Object(child.object())
        };
        match self.members.entry(name) {
            Entry::Vacant(place) => {
                place.insert(value);
            }
            Entry::Occupied(mut place) => match place.get_mut() {
                // No value of a single child is an array.
                Value::Array(values) => values.push(value),
                single => *single = Value::Array(vec![single.take(), value]),
            },
        }
    }

    fn object(mut self) -> Map<String, Value> {
        let text = self.text.trim_ascii();
        if !text.is_empty() {
            self.members.insert("#text".to_string(), text.into());
        }
        self.members
    }
}

fn malformed(error: impl std::fmt::Display) -> String {
    format!("not an XML element: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_become_objects() {
        for (xml, json) in [
            ("<e/>", "{}"),
            ("<e> a &amp; &#x41;<!-- c --> </e>", r##"{"#text":"a & A"}"##),
            (r#"<e a="1 &lt;" b='2'>t</e>"#, r##"{"@a":"1 <","@b":"2","#text":"t"}"##),
            ("<e><a>1</a><b x='y'/><a/><a>3</a></e>", r#"{"a":["1","","3"],"b":{"@x":"y"}}"#),
            ("<e>m<n:i>ix</n:i>ed</e>", r##"{"n:i":"ix","#text":"med"}"##),
            ("<e><![CDATA[<&>]]></e>", r##"{"#text":"<&>"}"##),
        ] {
            assert_eq!(to_json(xml).as_deref(), Ok(json), "{xml}");
        }
    }

    #[test]
    fn faults_are_told() {
        for (xml, word) in [
            ("<e>&nbsp;</e>", "nbsp"),
            ("<e a='&nbsp;'/>", "not an XML element"),
            ("<e a='1' a='2'/>", "not an XML element"),
            ("<e><a></e>", "not an XML element"),
            ("<e>&#0;</e>", "not an XML element"),
        ] {
            let error = to_json(xml).expect_err(xml);
            assert!(error.contains(word), "{xml}: {error}");
        }
        let many = format!("<e>{}</e>", "<a/>".repeat(MAX_NODES));
        assert!(to_json(&many).unwrap_err().contains("more than 100000"));
    }
}
