//! One record a line: split at LF, one CR before it dropped, the last line needs no terminator. A lone CR is data, and
//! a blank line is a record (of nothing).

use super::pending::{Emit, Pending};

pub(super) struct Lines(Pending);

impl Lines {
    pub(super) fn new(limit: usize) -> Lines {
        Lines(Pending::new(limit))
    }

    pub(super) fn push(&mut self, text: &[u8], emit: &mut Emit<'_>) {
        let mut from = 0;
        for at in memchr::memchr_iter(b'\n', text) {
            self.0.extend(&text[from..at]);
            self.end(emit);
            from = at + 1;
        }
        self.0.extend(&text[from..]);
    }

    /// A torn text does not end where it ended.
    pub(super) fn finish(&mut self, torn: bool, emit: &mut Emit<'_>) {
        match self.0.is_empty() {
            true => {}
            false if torn => self.0.torn(emit),
            false => self.end(emit),
        }
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.0.held()
    }

    fn end(&mut self, emit: &mut Emit<'_>) {
        let strip = usize::from(self.0.last() == Some(b'\r'));
        self.0.record(strip, emit);
    }
}

#[cfg(test)]
mod tests {
    use crate::decode::testing::{LIMITS, decode, decode_cut, show, stream};
    use crate::model::StreamType;

    #[test]
    fn terminators_go_and_everything_else_stays() {
        let (pieces, error) = decode(&stream(StreamType::Lines), b"a\r\n\n b\rc \r\r\nlast");
        assert_eq!(pieces, ["a", "", " b\rc \r", "last"]);
        assert_eq!(error, None);
        assert_eq!(decode(&stream(StreamType::Lines), b"").0, [""; 0]);
        assert_eq!(decode(&stream(StreamType::Lines), b"\n").0, [""]);
    }

    #[test]
    fn a_line_that_is_too_long_or_no_utf8_is_one_reject_among_records() {
        let input = [&b"ok\n"[..], &vec![b'x'; LIMITS.max_record_bytes + 1], b"\n\xff\xfeq\nok"].concat();
        let (pieces, error) = decode_cut(&stream(StreamType::Lines), LIMITS, &input, 1000);
        let shown: Vec<String> = pieces.iter().map(show).collect();
        assert_eq!(shown.len(), 4);
        assert_eq!((shown[0].as_str(), shown[3].as_str()), ("ok", "ok"));
        assert!(shown[1].starts_with("!the record has 1048577 bytes"), "{:.80}", shown[1]);
        assert!(shown[2].starts_with("!the record is not UTF-8 (first invalid byte at 0)"), "{}", shown[2]);
        assert_eq!(error, None);
    }
}
