//! A JSON tokenizer that finds where a value ends, fed in any cut, with no memory but the open brackets.
//!
//! It checks the structure (brackets, commas, colons, strings) and not the spelling of numbers and literals, which
//! the parser of the record does.

/// Follows one value from its first byte to its last.
#[derive(Default)]
pub(super) struct Scanner {
    /// Open containers; true is an object.
    open: Vec<bool>,
    expect: Expect,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Expect {
    #[default]
    Value,
    /// A value or `]`.
    FirstElement,
    /// A key or `}`.
    FirstKey,
    Key,
    Colon,
    /// `,` or the end of the container.
    Next,
    Text {
        key: bool,
    },
    Escaped {
        key: bool,
    },
    /// Within a number or literal.
    Scalar,
}

/// How far [`Scanner::feed`] came.
#[derive(Debug, PartialEq)]
pub(super) enum Fed {
    /// All bytes belong to the value and it goes on.
    More,
    /// The value ended; so many bytes belong to it.
    End(usize),
    /// The byte at this position cannot stand there.
    Bad(usize, &'static str),
}

/// Deeper nesting is refused, so that brackets cannot fill the memory.
const MAX_DEPTH: usize = 1 << 20;

pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

pub(super) fn starts_value(byte: u8) -> bool {
    matches!(byte, b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n')
}

impl Scanner {
    /// Takes bytes of the value. Leading white space counts as part of it.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Fed {
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            match self.expect {
                Expect::Text { key } => match text_end(&bytes[at..]) {
                    None => return Fed::More,
                    Some(offset) => {
                        at += offset;
                        match bytes[at] {
                            b'\\' => self.expect = Expect::Escaped { key },
                            b'"' if key => self.expect = Expect::Colon,
                            b'"' => {
                                if self.value_ended() {
                                    return Fed::End(at + 1);
                                }
                            }
                            _ => return Fed::Bad(at, "a control character stands in a string"),
                        }
                    }
                },
                Expect::Escaped { .. } if byte < 0x20 => return Fed::Bad(at, "a control character stands in a string"),
                Expect::Escaped { key } => self.expect = Expect::Text { key },
                Expect::Scalar if matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.') => {}
                Expect::Scalar => {
                    if self.value_ended() {
                        return Fed::End(at);
                    }
                    continue; // the same byte, now after the value
                }
                _ if is_space(byte) => {}
                _ => match self.structure(byte) {
                    Ok(false) => {}
                    Ok(true) => return Fed::End(at + 1),
                    Err(message) => return Fed::Bad(at, message),
                },
            }
            at += 1;
        }
        Fed::More
    }

    /// Whether the value is complete when nothing follows: a number or literal has no end of its own.
    pub(super) fn complete_at_end(&self) -> bool {
        self.expect == Expect::Scalar && self.open.is_empty()
    }

    /// A byte between tokens; true when it ended the value.
    fn structure(&mut self, byte: u8) -> Result<bool, &'static str> {
        match (self.expect, byte) {
            (Expect::FirstElement, b']') | (Expect::FirstKey, b'}') => return Ok(self.close()),
            (Expect::Value | Expect::FirstElement, b'{' | b'[') => {
                if self.open.len() == MAX_DEPTH {
                    return Err("the nesting is too deep");
                }
                self.open.push(byte == b'{');
                self.expect = if byte == b'{' { Expect::FirstKey } else { Expect::FirstElement };
            }
            (Expect::Value | Expect::FirstElement, b'"') => self.expect = Expect::Text { key: false },
            (Expect::Value | Expect::FirstElement, _) if starts_value(byte) => self.expect = Expect::Scalar,
            (Expect::FirstKey | Expect::Key, b'"') => self.expect = Expect::Text { key: true },
            (Expect::Colon, b':') => self.expect = Expect::Value,
            (Expect::Next, b',') => {
                self.expect = if self.open.last() == Some(&true) { Expect::Key } else { Expect::Value };
            }
            (Expect::Next, b'}') if self.open.last() == Some(&true) => return Ok(self.close()),
            (Expect::Next, b']') if self.open.last() == Some(&false) => return Ok(self.close()),
            (Expect::Value | Expect::FirstElement, _) => return Err("a value is expected"),
            (Expect::FirstKey | Expect::Key, _) => return Err("a key in quotes is expected"),
            (Expect::Colon, _) => return Err("a colon is expected"),
            _ => return Err("a comma or a closing bracket is expected"),
        }
        Ok(false)
    }

    fn close(&mut self) -> bool {
        self.open.pop();
        self.value_ended()
    }

    /// True when the value that ended is the outermost one.
    fn value_ended(&mut self) -> bool {
        self.expect = Expect::Next;
        self.open.is_empty()
    }
}

/// The first byte that is not plain content of a string.
fn text_end(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_where_they_end() {
        for (input, end) in [
            (r#"{"a":[1,{"b":"}\""}],"c":null} x"#, 30),
            (r#"[] []"#, 2),
            (r#""a\\" b"#, 5),
            ("  12.5e3,", 8),
            ("true\n", 4),
        ] {
            assert_eq!(Scanner::default().feed(input.as_bytes()), Fed::End(end), "{input}");
            for cut in 1..end {
                let mut scanner = Scanner::default();
                assert_eq!(scanner.feed(&input.as_bytes()[..cut]), Fed::More, "{input} cut at {cut}");
                assert_eq!(scanner.feed(&input.as_bytes()[cut..]), Fed::End(end - cut), "{input} cut at {cut}");
            }
        }
    }

    #[test]
    fn structure_is_checked() {
        for (input, at) in [
            (r#"{"a":1]"#, 6),
            ("[1}", 2),
            ("{1:2}", 1),
            (r#"{"a" 1}"#, 5),
            ("[1 2]", 3),
            ("[1,]", 3),
            ("x", 0),
            ("\"a\nb\"", 2),
            (r#"{"a":1,}"#, 7),
        ] {
            let Fed::Bad(position, _) = Scanner::default().feed(input.as_bytes()) else { panic!("{input} passes") };
            assert_eq!(position, at, "{input}");
        }
    }
}
