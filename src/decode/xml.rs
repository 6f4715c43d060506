//! XML documents, one record per child of the root element, streamed: one child is in memory, however long the
//! document.
//!
//! Here only the markup is told apart (XML 1.0, fifth edition: tags, comments, CDATA sections, processing
//! instructions), to find where an element ends; [`super::element`] reads the element. A document type declaration is
//! refused. Text and faults between elements: text is a reject, a tag out of place ends the object.

use super::element::to_json;
use super::error::Reason;
use super::pending::{Emit, Pending, not_utf8};

pub(super) struct Xml {
    root: Option<String>,
    at: At,
    /// The beginning of markup whose kind is not known yet.
    opening: Vec<u8>,
    /// The last two bytes of a comment, CDATA section or instruction.
    last: [u8; 2],
    /// The name of a tag outside of records.
    name: Vec<u8>,
    /// Name of the root element that is open, as it is written.
    open_root: Vec<u8>,
    /// Open elements, the root among them.
    depth: usize,
    record: Pending,
    /// Text where only elements should be.
    stray: Pending,
    offset: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum At {
    Text,
    Opening,
    Tag { ends: bool, quote: Option<u8>, slash: bool, named: bool },
    Comment,
    CData,
    Instruction,
}

/// A longer name is no root's.
const NAME_LIMIT: usize = 1024;
const CDATA: &[u8] = b"<![CDATA[";
const COMMENT: &[u8] = b"<!--";

impl Xml {
    pub(super) fn new(root: Option<&str>, limit: usize) -> Xml {
        Xml {
            root: root.map(str::to_string),
            at: At::Text,
            opening: Vec::new(),
            last: [0; 2],
            name: Vec::new(),
            open_root: Vec::new(),
            depth: 0,
            record: Pending::new(limit),
            stray: Pending::new(limit),
            offset: 0,
        }
    }

    pub(super) fn push(&mut self, text: &[u8], emit: &mut Emit<'_>) -> Result<(), Reason> {
        let mut rest = text;
        while !rest.is_empty() {
            let taken = match self.at {
                At::Text => self.text(rest, emit),
                At::Opening => {
                    self.opening.push(rest[0]);
                    self.opening()?;
                    1
                }
                At::Tag { .. } => self.tag(rest, emit)?,
                At::Comment => self.until(rest, *b"--"),
                At::CData => self.until(rest, *b"]]"),
                At::Instruction => self.until(rest, *b"?"),
            };
            self.offset += taken as u64;
            rest = &rest[taken..];
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, emit: &mut Emit<'_>) -> Result<(), Reason> {
        self.end_stray(emit);
        if self.depth == 0 && self.at == At::Text {
            return Ok(());
        }
        if !self.record.is_empty() {
            self.record.reject("the object ends in the middle of this element", emit);
        }
        Err(self.fault("the object ends in the middle of an XML document; it is truncated, upload it again"))
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.record.held() + self.stray.held() + self.name.len()
    }

    /// How many elements are open where records begin.
    fn base(&self) -> usize {
        usize::from(self.root.is_some())
    }

    fn in_record(&self) -> bool {
        !self.record.is_empty()
    }

    fn text(&mut self, rest: &[u8], emit: &mut Emit<'_>) -> usize {
        let end = memchr::memchr(b'<', rest).unwrap_or(rest.len());
        let text = &rest[..end];
        if self.in_record() {
            self.record.extend(text);
        } else if !self.stray.is_empty() || !text.trim_ascii().is_empty() {
            // Without the space before it, wherever that was cut.
            let text = if self.stray.is_empty() { text.trim_ascii_start() } else { text };
            self.stray.extend(text);
        }
        if end == rest.len() {
            return end;
        }
        self.end_stray(emit);
        self.at = At::Opening;
        self.opening.clear();
        self.opening.push(b'<');
        end + 1
    }

    fn end_stray(&mut self, emit: &mut Emit<'_>) {
        if !self.stray.is_empty() {
            self.stray.reject("text stands outside of the elements that are records", emit);
        }
    }

    /// Tells what kind of markup begins.
    fn opening(&mut self) -> Result<(), Reason> {
        let opening = self.opening.as_slice();
        let tag = |ends| At::Tag { ends, quote: None, slash: false, named: false };
        self.last = [0; 2];
        self.at = match opening {
            [_, b'?'] => At::Instruction,
            [_, b'/'] => tag(true),
            COMMENT => At::Comment,
            CDATA => At::CData,
            _ if COMMENT.starts_with(opening) || CDATA.starts_with(opening) => return Ok(()),
            [_, b'!', ..] => return Err(Reason::Doctype),
            [_, first] if first.is_ascii_alphabetic() || matches!(first, b'_' | b':' | 0x80..) => tag(false),
            _ => return Err(self.fault("the name of an element is expected behind `<`")),
        };
        self.name.clear();
        let begins = self.depth == self.base() && self.at == tag(false);
        if self.in_record() || begins {
            self.record.extend(&self.opening);
        } else if self.at == tag(false) {
            self.name.push(self.opening[1]);
        } else if self.at == At::CData {
            self.stray.extend(&self.opening);
        }
        Ok(())
    }

    /// Within a comment, a CDATA section or an instruction, to its end.
    fn until<const N: usize>(&mut self, rest: &[u8], end: [u8; N]) -> usize {
        let is_data = self.at == At::CData;
        let mut taken = rest.len();
        for (at, &byte) in rest.iter().enumerate() {
            if byte == b'>' && self.last.ends_with(&end) {
                self.at = At::Text;
                taken = at + 1;
                break;
            }
            self.last = [self.last[1], byte];
        }
        if self.in_record() {
            self.record.extend(&rest[..taken]);
        } else if is_data {
            self.stray.extend(&rest[..taken]);
        }
        taken
    }

    fn tag(&mut self, rest: &[u8], emit: &mut Emit<'_>) -> Result<usize, Reason> {
        let At::Tag { ends, mut quote, mut slash, mut named } = self.at else { return Ok(0) };
        for (at, &byte) in rest.iter().enumerate() {
            match (quote, byte) {
                (Some(open), _) if byte == open => quote = None,
                (Some(_), _) => {}
                (None, b'"' | b'\'') => quote = Some(byte),
                (None, b'>') => {
                    if self.in_record() {
                        self.record.extend(&rest[..=at]);
                    }
                    self.at = At::Text;
                    self.tag_ended(ends, slash, emit)?;
                    return Ok(at + 1);
                }
                _ => {}
            }
            slash = byte == b'/' && quote.is_none();
            named |= slash || byte.is_ascii_whitespace();
            if !named && self.name.len() < NAME_LIMIT {
                self.name.push(byte);
            }
        }
        if self.in_record() {
            self.record.extend(rest);
        }
        self.at = At::Tag { ends, quote, slash, named };
        Ok(rest.len())
    }

    fn tag_ended(&mut self, ends: bool, empty: bool, emit: &mut Emit<'_>) -> Result<(), Reason> {
        if ends {
            let Some(depth) = self.depth.checked_sub(1) else {
                return Err(self.fault("an end tag has no start tag"));
            };
            if !self.in_record() && self.name != self.open_root {
                return Err(self.fault("an end tag does not fit the root element"));
            }
            self.depth = depth;
        } else {
            if self.depth == 0 && !self.in_record() {
                self.check_root()?;
            }
            self.depth += usize::from(!empty);
        }
        if self.in_record() && self.depth == self.base() && (ends || empty) {
            self.end_record(emit);
        }
        Ok(())
    }

    fn check_root(&mut self) -> Result<(), Reason> {
        let root = self.root.as_deref().unwrap_or_default();
        let name = String::from_utf8_lossy(&self.name);
        let local = name.rsplit_once(':').map_or(&*name, |(_, local)| local);
        if name == root || local == root {
            self.open_root = std::mem::take(&mut self.name);
            return Ok(());
        }
        let message = format!("the root element is `{name}`, not `{root}`; correct `xml_root_element`");
        Err(self.fault(&message))
    }

    fn end_record(&mut self, emit: &mut Emit<'_>) {
        let Some(raw) = self.record.whole(emit) else { return };
        match std::str::from_utf8(&raw).map_err(not_utf8).and_then(to_json) {
            Ok(json) => emit.record(json.into(), None),
            Err(reason) => emit.reject(&raw, reason),
        }
    }

    fn fault(&self, message: &str) -> Reason {
        Reason::Syntax { at: self.offset, message: message.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use crate::decode::testing::{LIMITS, decode_cut, show, stream};
    use crate::decode::{Limits, Reason};
    use crate::model::{Stream, StreamType};

    fn xml(root: &str) -> Stream {
        let root = Some(root).filter(|root| !root.is_empty());
        Stream { xml_root_element: root.map(String::from), ..stream(StreamType::Xml) }
    }

    fn split(root: &str, input: &str) -> (Vec<String>, Option<Reason>) {
        let whole = decode_cut(&xml(root), LIMITS, input.as_bytes(), usize::MAX);
        assert_eq!(whole, decode_cut(&xml(root), LIMITS, input.as_bytes(), 1), "{input}");
        (whole.0.iter().map(show).collect(), whole.1.map(|error| error.reason))
    }

    #[test]
    fn children_of_the_root_are_records() {
        let input = "<?xml version=\"1.0\"?><!-- <r> --><n:r a=\"<\">\n<e a='>'>x</e><!-- - --><e/>\
                     <f><![CDATA[</f>]]]></f></n:r>\n<r/>";
        let (pieces, error) = split("r", input);
        assert_eq!(pieces, [r##"{"@a":">","#text":"x"}"##, "{}", r##"{"#text":"</f>]"}"##]);
        assert_eq!(error, None);
        assert_eq!(split("", "<e><e>1</e></e> <e b='2'/>").0, [r#"{"e":"1"}"#, r#"{"@b":"2"}"#]);
        assert_eq!(split("r", " "), (vec![], None));
    }

    #[test]
    fn a_fault_in_an_element_is_a_reject_and_the_rest_goes_on() {
        let (pieces, error) = split("r", "<r><e>&x;</e>text<e><a></b></e><e>1</e></r>");
        assert_eq!(error, None);
        assert_eq!(pieces.len(), 4, "{pieces:?}");
        assert!(pieces[0].starts_with("!the entity `&x;` is not predefined"), "{pieces:?}");
        assert_eq!(pieces[1], "!text stands outside of the elements that are records: text");
        assert!(pieces[2].starts_with("!not an XML element"), "{pieces:?}");
        assert_eq!(pieces[3], r##"{"#text":"1"}"##);
    }

    #[test]
    fn declarations_and_faults_of_the_document_end_it() {
        for (input, expected) in [
            ("<!DOCTYPE r [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><r><e>&x;</e></r>", "document type declaration"),
            ("<r><e><!ENTITY x \"y\"></e></r>", "document type declaration"),
            ("<s><e/></s>", "the root element is `s`, not `r`"),
            ("<r><e/></s>", "does not fit"),
            ("</r>", "no start tag"),
            ("<r>< e/></r>", "name of an element"),
            ("<r><e>", "truncated"),
            ("<r", "truncated"),
        ] {
            let error = split("r", input).1.unwrap_or_else(|| panic!("{input} passes"));
            assert!(error.to_string().contains(expected), "{input}: {error}");
        }
    }

    #[test]
    fn a_child_that_is_too_long_or_too_deep_is_one_reject() {
        let limits = Limits { max_record_bytes: 10_000, ..LIMITS };
        let deep = "<a>".repeat(900) + &"</a>".repeat(900);
        let input = format!("<r><e>{}</e><e>{deep}</e><e/></r>", "x".repeat(10_000));
        let (pieces, error) = decode_cut(&xml("r"), limits, input.as_bytes(), 99);
        let shown: Vec<String> = pieces.iter().map(show).collect();
        assert_eq!((shown.len(), error), (3, None));
        assert!(shown[0].starts_with("!the record has 10007 bytes"), "{:.80}", shown[0]);
        assert!(shown[1].starts_with("!elements lie within more than"), "{:.80}", shown[1]);
    }
}
