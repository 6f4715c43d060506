//! Concatenated JSON values, one record each, white space between them optional.
//!
//! After a syntax error everything up to the next line that starts with `{` is one reject, and splitting goes on there.

use super::grammar::{Fed, Scanner, is_space};
use super::pending::{Emit, Pending};

pub(super) struct Json {
    state: State,
    pending: Pending,
    /// Whether the next byte is the first of a line.
    line_start: bool,
}

enum State {
    Between,
    Value(Scanner),
    /// Looking for a line to go on with; the message is what was wrong.
    Recover(&'static str),
}

impl Json {
    pub(super) fn new(limit: usize) -> Json {
        Json { state: State::Between, pending: Pending::new(limit), line_start: true }
    }

    pub(super) fn push(&mut self, text: &[u8], emit: &mut Emit<'_>) {
        let mut rest = text;
        while !rest.is_empty() {
            let taken = match &mut self.state {
                State::Between => {
                    let spaces = rest.iter().take_while(|&&byte| is_space(byte)).count();
                    if spaces < rest.len() {
                        self.state = State::Value(Scanner::default());
                    }
                    spaces
                }
                State::Value(scanner) => match scanner.feed(rest) {
                    Fed::More => {
                        self.pending.extend(rest);
                        rest.len()
                    }
                    Fed::End(end) => {
                        self.pending.extend(&rest[..end]);
                        self.pending.record(0, emit);
                        self.state = State::Between;
                        end
                    }
                    Fed::Bad(at, message) => {
                        self.pending.extend(&rest[..at]);
                        self.state = State::Recover(message);
                        at
                    }
                },
                State::Recover(message) => {
                    let message = *message;
                    match restart(rest, self.line_start) {
                        Some(at) => {
                            self.pending.extend(&rest[..at]);
                            self.reject(message, emit);
                            self.state = State::Between;
                            at
                        }
                        None => {
                            self.pending.extend(rest);
                            rest.len()
                        }
                    }
                }
            };
            if taken > 0 {
                self.line_start = rest[taken - 1] == b'\n';
            }
            rest = &rest[taken..];
        }
    }

    /// A torn text does not end where it ended: a number may have gone on.
    pub(super) fn finish(&mut self, torn: bool, emit: &mut Emit<'_>) {
        match std::mem::replace(&mut self.state, State::Between) {
            State::Between => {}
            State::Value(_) if torn => self.pending.torn(emit),
            State::Value(scanner) if scanner.complete_at_end() => self.pending.record(0, emit),
            State::Value(_) => self.reject("the object ends in the middle of a value", emit),
            State::Recover(message) => self.reject(message, emit),
        }
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.pending.held()
    }

    fn reject(&mut self, message: &str, emit: &mut Emit<'_>) {
        self.pending.reject(format!("not a JSON value: {message}"), emit);
    }
}

/// Where the first line that starts with `{` begins.
fn restart(text: &[u8], line_start: bool) -> Option<usize> {
    if line_start && text[0] == b'{' {
        return Some(0);
    }
    memchr::memmem::find(text, b"\n{").map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use crate::decode::Piece;
    use crate::decode::testing::{LIMITS, decode, decode_cut, stream};
    use crate::model::StreamType;

    fn split(input: &str) -> Vec<String> {
        let (pieces, error) = decode(&stream(StreamType::Json), input.as_bytes());
        assert_eq!(error, None);
        pieces
    }

    #[test]
    fn values_may_touch_and_may_be_pretty() {
        assert_eq!(split("{\"a\":1}{\"b\":\n 2}\n\n[1] 7"), [r#"{"a":1}"#, "{\"b\":\n 2}", "[1]", "7"]);
        assert_eq!(split(" \n "), [""; 0]);
    }

    #[test]
    fn splitting_goes_on_at_the_next_line_with_a_brace() {
        assert_eq!(
            split("{\"a\":1}\n{\"b\":\n{\"c\":3}\n}\ngarbage\nmore\n{\"d\":4}"),
            [
                "{\"a\":1}",
                "{\"b\":\n{\"c\":3}\n}",
                "!not a JSON value: a value is expected: garbage\nmore\n",
                "{\"d\":4}"
            ]
        );
        assert_eq!(
            split("{\"a\":1\n{\"b\":2}\n"),
            ["!not a JSON value: a comma or a closing bracket is expected: {\"a\":1\n", "{\"b\":2}"]
        );
    }

    #[test]
    fn what_is_not_utf8_is_told_so_first_and_kept_as_it_is() {
        let (pieces, error) = decode_cut(&stream(StreamType::Json), LIMITS, b"\xff{\n{\"a\":\"\xe9\"}\n{\"b\":1}", 3);
        assert_eq!(error, None);
        let [Piece::Reject(garbage), Piece::Reject(value), Piece::Record(record)] = &pieces[..] else {
            panic!("{pieces:?}")
        };
        assert_eq!(
            garbage.reason,
            "the record is not UTF-8 (first invalid byte at 0); not a JSON value: a value is expected"
        );
        assert_eq!(&garbage.raw[..], b"\xff{\n");
        assert_eq!(value.reason, "the record is not UTF-8 (first invalid byte at 6)");
        assert_eq!(&record.bytes[..], b"{\"b\":1}");
    }

    #[test]
    fn a_cut_value_is_kept_as_a_reject() {
        assert_eq!(
            split("{\"a\":1}\n{\"b\":"),
            ["{\"a\":1}", "!not a JSON value: the object ends in the middle of a value: {\"b\":"]
        );
    }
}
