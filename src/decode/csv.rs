//! Records of delimited text (RFC 4180): lines, but a line end within a quoted value belongs to the value.
//!
//! Quotes are as lazy as the parser of the records takes them: one inside an unquoted value is data, and so is a lone
//! one inside a quoted value unless the value ends there. A line that starts with `{` is never delimited text.

use super::pending::{Emit, Pending};

pub(super) struct Csv {
    delimiters: Vec<u8>,
    at: At,
    pending: Pending,
}

#[derive(Clone, Copy, PartialEq)]
enum At {
    /// Before the first value; white space there is trimmed from the record.
    Record,
    Value,
    Unquoted,
    Quoted,
    /// Behind a quote within a quoted value, which ends the value or not.
    Quote,
    QuoteReturn,
    /// In a line that is no delimited text.
    Other,
}

impl Csv {
    pub(super) fn new(delimiters: &[u8], limit: usize) -> Csv {
        Csv { delimiters: delimiters.to_vec(), at: At::Record, pending: Pending::new(limit) }
    }

    pub(super) fn push(&mut self, text: &[u8], emit: &mut Emit<'_>) {
        let mut from = 0;
        for (at, &byte) in text.iter().enumerate() {
            match self.next(byte) {
                Some(next) => self.at = next,
                // A quote that never ends must not take the rest of the object with it.
                None if self.at == At::Quoted => {
                    self.pending.extend(&text[from..at]);
                    from = at;
                    if self.pending.is_too_long() {
                        self.end(emit);
                        from = at + 1;
                    }
                }
                None => {
                    self.pending.extend(&text[from..at]);
                    from = at + 1;
                    self.end(emit);
                }
            }
        }
        self.pending.extend(&text[from..]);
    }

    /// A torn text does not end where it ended.
    pub(super) fn finish(&mut self, torn: bool, emit: &mut Emit<'_>) {
        match self.pending.is_empty() {
            true => {}
            false if torn => self.pending.torn(emit),
            false => self.end(emit),
        }
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.pending.held()
    }

    fn end(&mut self, emit: &mut Emit<'_>) {
        let strip = usize::from(self.pending.last() == Some(b'\r'));
        self.pending.record(strip, emit);
        self.at = At::Record;
    }

    /// Where the byte leads; `None` for a line end that ends the record or, within a quoted value, may have to.
    fn next(&self, byte: u8) -> Option<At> {
        Some(match (self.at, byte) {
            (_, b'\n') => return None,
            (At::Other, _) | (At::Record, b'{') => At::Other,
            (At::Record | At::Value, b'"') => At::Quoted,
            (At::Record, _) if byte.is_ascii_whitespace() => At::Record,
            (At::Quoted | At::QuoteReturn, b'"') => At::Quote,
            (At::Quoted, _) | (At::Quote, b'"') => At::Quoted,
            (At::Quote, b'\r') => At::QuoteReturn,
            (At::QuoteReturn, _) => At::Quoted,
            _ if self.delimiters.contains(&byte) => At::Value,
            (At::Quote, _) => At::Quoted,
            (At::Record | At::Value | At::Unquoted, _) => At::Unquoted,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::decode::Limits;
    use crate::decode::testing::{LIMITS, decode, decode_cut, show, stream};
    use crate::model::{Stream, StreamType};

    fn csv(delimiters: &[u8]) -> Stream {
        Stream { csv_delimiters: delimiters.to_vec(), ..stream(StreamType::Lines) }
    }

    #[test]
    fn a_quoted_value_may_hold_line_ends() {
        for (input, expected) in [
            ("a,b\r\n1,\"x\ny\"\r\n\n2,z", &["a,b", "1,\"x\ny\"", "", "2,z"][..]),
            ("\"a\r\nb\"\r\n\"c\"\n", &["\"a\r\nb\"", "\"c\""]),
            ("1,\"say \"\"hi\"\"\n\",2\n3", &["1,\"say \"\"hi\"\"\n\",2", "3"]),
            // Lazy: quotes that are data.
            ("a\"b,c\nd", &["a\"b,c", "d"]),
            ("\"a\"b\n\",c\nd", &["\"a\"b\n\",c", "d"]),
            ("  \"a\nb\"\n", &["  \"a\nb\""]),
            ("{\"a\":1,\"b\":2}\nc", &["{\"a\":1,\"b\":2}", "c"]),
            ("a;\"b\nc", &["a;\"b", "c"]),
            ("a,\"b\nc", &["a,\"b\nc"]),
        ] {
            let (pieces, error) = decode(&csv(b","), input.as_bytes());
            assert_eq!((pieces, error), (expected.iter().map(|text| text.to_string()).collect(), None), "{input}");
        }
        assert_eq!(decode(&csv(b",;"), b"a;\"b\nc\"").0, ["a;\"b\nc\""]);
    }

    #[test]
    fn a_quote_without_end_costs_one_record_of_the_longest_size() {
        let input = format!("a,\"b\n{}\nok,1\n", "x,y\n".repeat(20));
        let limits = Limits { max_record_bytes: 30, ..LIMITS };
        for cut in [1, 7, 1000] {
            let (pieces, error) = decode_cut(&csv(b","), limits, input.as_bytes(), cut);
            let shown: Vec<String> = pieces.iter().map(show).collect();
            assert_eq!(error, None);
            assert!(shown[0].starts_with("!the record has 32 bytes"), "{shown:?}");
            assert_eq!(shown[1..3], ["x,y", "x,y"]);
            assert_eq!(shown.last().unwrap(), "ok,1");
        }
    }
}
