//! The elements of an array, one record each, streamed: one element is in memory, however long the array.
//!
//! The array is the document itself or lies in it under dot-separated keys; everything around it is skipped. Documents
//! may be concatenated. A fault in the structure ends the object, because what follows it cannot be told apart.

use super::cloudwatch::CloudWatch;
use super::error::Reason;
use super::grammar::{Fed, Scanner, is_space};
use super::pending::{Emit, Pending};

pub(super) struct Array {
    path: Vec<String>,
    at: At,
    /// Whether this document had an array (or null) where the path leads.
    found: bool,
    element: Pending,
    /// Where the elements are log events of CloudWatch.
    cloudwatch: Option<CloudWatch>,
    key: Vec<u8>,
    /// Bytes of text taken so far.
    offset: u64,
}

/// Levels count the keys of the path that have been followed.
enum At {
    Between,
    Value { level: usize },
    FirstKey { level: usize },
    Key { level: usize },
    KeyText { level: usize, scanner: Scanner },
    Colon { level: usize, hit: bool },
    Skip { level: usize, scanner: Scanner },
    After { level: usize },
    FirstElement,
    NextElement,
    Element(Scanner),
    AfterElement,
}

/// A longer key cannot be one of the path; it is compared only as far.
const KEY_LIMIT: usize = 4096;

impl Array {
    pub(super) fn new(envelope: &str, limit: usize) -> Array {
        let path = if envelope.is_empty() { Vec::new() } else { envelope.split('.').map(String::from).collect() };
        let element = Pending::new(limit);
        Array { path, at: At::Between, found: false, element, cloudwatch: None, key: Vec::new(), offset: 0 }
    }

    pub(super) fn of_cloudwatch(retain_envelope: bool, limit: usize) -> Array {
        Array { cloudwatch: Some(CloudWatch::new(retain_envelope, limit)), ..Array::new("logEvents", limit) }
    }

    pub(super) fn push(&mut self, text: &[u8], emit: &mut Emit<'_>) -> Result<(), Reason> {
        let mut rest = text;
        while !rest.is_empty() {
            let taken = match &mut self.at {
                At::Element(_) => self.element(rest, emit)?,
                At::KeyText { .. } | At::Skip { .. } => self.envelope(rest)?,
                _ if is_space(rest[0]) => rest.iter().take_while(|&&byte| is_space(byte)).count(),
                _ => self.structure(rest[0], emit)?,
            };
            self.offset += taken as u64;
            rest = &rest[taken..];
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, emit: &mut Emit<'_>) -> Result<(), Reason> {
        if let At::Between = self.at {
            return Ok(());
        }
        if !self.element.is_empty() {
            self.element.reject("the object ends in the middle of this array element", emit);
        }
        if let Some(cloudwatch) = &mut self.cloudwatch {
            cloudwatch.end(emit);
        }
        Err(self.fault("the object ends in the middle of a JSON document; it is truncated, upload it again"))
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.element.held() + self.key.len() + self.cloudwatch.as_ref().map_or(0, CloudWatch::held)
    }

    fn element(&mut self, rest: &[u8], emit: &mut Emit<'_>) -> Result<usize, Reason> {
        let At::Element(scanner) = &mut self.at else { unreachable!("called in this state only") };
        match scanner.feed(rest) {
            Fed::More => {
                self.element.extend(rest);
                Ok(rest.len())
            }
            Fed::End(end) => {
                self.element.extend(&rest[..end]);
                match &mut self.cloudwatch {
                    Some(cloudwatch) => cloudwatch.event(&mut self.element, emit),
                    None => self.element.record(0, emit),
                }
                self.at = At::AfterElement;
                Ok(end)
            }
            Fed::Bad(at, message) => {
                self.element.extend(&rest[..at]);
                if !self.element.is_empty() {
                    self.element.reject(format!("not a JSON value: {message}"), emit);
                }
                self.offset += at as u64;
                Err(self.fault(message))
            }
        }
    }

    /// Within a key, or within a value that is not on the path.
    fn envelope(&mut self, rest: &[u8]) -> Result<usize, Reason> {
        let (scanner, key) = match &mut self.at {
            At::KeyText { scanner, .. } => (scanner, true),
            At::Skip { scanner, .. } => (scanner, false),
            _ => unreachable!("called in these states only"),
        };
        let fed = scanner.feed(rest);
        let taken = match fed {
            Fed::More => rest.len(),
            Fed::End(end) => end,
            Fed::Bad(at, message) => {
                self.offset += at as u64;
                return Err(self.fault(message));
            }
        };
        if key {
            let room = KEY_LIMIT.saturating_sub(self.key.len());
            self.key.extend_from_slice(&rest[..taken.min(room)]);
        } else if let Some(cloudwatch) = &mut self.cloudwatch {
            cloudwatch.value(&rest[..taken]);
        }
        if let Fed::End(_) = fed {
            self.at = match self.at {
                At::KeyText { level, .. } => {
                    let key = serde_json::from_slice::<String>(&self.key).unwrap_or_default();
                    if let Some(cloudwatch) = &mut self.cloudwatch {
                        cloudwatch.key(&key);
                    }
                    At::Colon { level, hit: key == self.path[level] }
                }
                At::Skip { level, .. } => {
                    if let Some(cloudwatch) = &mut self.cloudwatch {
                        cloudwatch.value_ended();
                    }
                    At::After { level }
                }
                _ => unreachable!("matched above"),
            };
        }
        Ok(taken)
    }

    /// A byte between tokens. Returns how many bytes it took: 0 when the byte opens something that scans it itself.
    fn structure(&mut self, byte: u8, emit: &mut Emit<'_>) -> Result<usize, Reason> {
        let (next, taken) = match (&self.at, byte) {
            (At::Between, _) => {
                self.found = false;
                (At::Value { level: 0 }, 0)
            }
            (At::Value { level }, b'[') if *level == self.path.len() => {
                self.found = true;
                (At::FirstElement, 1)
            }
            (At::Value { level }, b'n') if *level == self.path.len() && *level > 0 => {
                self.found = true;
                (At::Skip { level: level - 1, scanner: Scanner::default() }, 0)
            }
            (At::Value { level }, b'{') if *level < self.path.len() => (At::FirstKey { level: *level }, 1),
            (At::Value { .. }, _) => return Err(self.no_array()),
            (At::FirstKey { level } | At::Key { level }, b'"') => {
                self.key.clear();
                (At::KeyText { level: *level, scanner: Scanner::default() }, 0)
            }
            (At::FirstKey { level } | At::After { level }, b'}') => (self.end_of_object(*level, emit)?, 1),
            (At::After { level }, b',') => (At::Key { level: *level }, 1),
            (At::Colon { level, hit: true }, b':') => (At::Value { level: level + 1 }, 1),
            (At::Colon { level, hit: false }, b':') => (At::Skip { level: *level, scanner: Scanner::default() }, 1),
            (At::FirstElement | At::AfterElement, b']') => (self.end_of_array(), 1),
            (At::FirstElement | At::NextElement, _) => (At::Element(Scanner::default()), 0),
            (At::AfterElement, b',') => (At::NextElement, 1),
            (At::FirstKey { .. } | At::Key { .. }, _) => return Err(self.fault("a key in quotes is expected")),
            (At::Colon { .. }, _) => return Err(self.fault("a colon is expected")),
            _ => return Err(self.fault("a comma or a closing bracket is expected")),
        };
        self.at = next;
        Ok(taken)
    }

    fn end_of_array(&self) -> At {
        match self.path.len() {
            0 => At::Between,
            levels => At::After { level: levels - 1 },
        }
    }

    fn end_of_object(&mut self, level: usize, emit: &mut Emit<'_>) -> Result<At, Reason> {
        let is_control = self.cloudwatch.as_mut().is_some_and(|cloudwatch| cloudwatch.end(emit));
        match level {
            0 if self.found || is_control => Ok(At::Between),
            0 => Err(self.no_array()),
            _ => Ok(At::After { level: level - 1 }),
        }
    }

    fn no_array(&self) -> Reason {
        self.fault(&match self.path.as_slice() {
            _ if self.cloudwatch.is_some() => {
                "the document is no envelope of CloudWatch Logs, which has an array under `logEvents`; set another \
                 `stream_type`"
                    .to_string()
            }
            [] => "the document is not an array; set another `stream_type`, or the `json_array_envelope_field` that \
                   leads to the array"
                .to_string(),
            path => format!(
                "the document has no array under `{}`; correct `json_array_envelope_field`, or set another `stream_type`",
                path.join(".")
            ),
        })
    }

    fn fault(&self, message: &str) -> Reason {
        Reason::Syntax { at: self.offset, message: message.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use crate::decode::testing::{array, decode};

    fn split(envelope: &str, input: &str) -> (Vec<String>, Option<String>) {
        let (pieces, error) = decode(&array(envelope), input.as_bytes());
        (pieces, error.map(|error| error.to_string()))
    }

    #[test]
    fn elements_keep_their_bytes() {
        let (pieces, error) = split("", "[ {\"a\": [1, \"]\"]} ,7,\"x\" , null]\n[] [true]");
        assert_eq!(pieces, ["{\"a\": [1, \"]\"]}", "7", "\"x\"", "null", "true"]);
        assert_eq!(error, None);
    }

    #[test]
    fn the_envelope_is_skipped_whatever_it_holds() {
        let (pieces, error) = split(
            "detail.Records",
            r#"{"n":{"Records":[9]},"detail":{"x":"}","R\u0065cords":[{"a":1},{"b":2}],"y":[]},"z":1} {"detail":{"Records":null}}"#,
        );
        assert_eq!(pieces, [r#"{"a":1}"#, r#"{"b":2}"#]);
        assert_eq!(error, None);
        assert_eq!(split("Records", r#"{"Records":[]}"#), (vec![], None));
    }

    #[test]
    fn a_missing_array_is_an_error_that_names_the_key() {
        for input in [r#"{"a":[1]}"#, r#"{"Records":{}}"#, "[1]", "7"] {
            let (pieces, error) = split("Records", input);
            assert_eq!(pieces, [""; 0]);
            assert!(error.unwrap().contains("no array under `Records`"), "{input}");
        }
        assert!(split("", "{}").1.unwrap().contains("json_array_envelope_field"));
    }

    #[test]
    fn elements_before_a_fault_stay_and_the_broken_one_is_kept() {
        let (pieces, error) = split("Records", r#"{"Records":[{"a":1},{"b":2"#);
        assert_eq!(pieces[0], r#"{"a":1}"#);
        assert_eq!(pieces[1], "!the object ends in the middle of this array element: {\"b\":2");
        assert!(error.unwrap().contains("truncated"));

        let (pieces, error) = split("", r#"[{"a":1},{"b":]}"#);
        assert_eq!(pieces, [r#"{"a":1}"#, "!not a JSON value: a value is expected: {\"b\":"]);
        assert!(error.unwrap().contains("after 14 decompressed bytes"));
    }
}
