//! Decoded bytes to UTF-8 text: byte order marks, UTF-16, and the refusal of binary data.
//!
//! UTF-8 itself is not checked here; a record that is not UTF-8 becomes a reject of its own.

use encoding_rs::{Decoder, DecoderResult, UTF_16BE, UTF_16LE};

use super::error::{Reason, Sink};

/// The bytes in which a NUL means binary data.
const HEAD: usize = 4096;

pub(super) enum Text {
    Head(Vec<u8>),
    Utf8,
    Utf16(Box<Decoder>),
}

impl Text {
    pub(super) fn new() -> Text {
        Text::Head(Vec::new())
    }

    pub(super) fn push(&mut self, bytes: &[u8], sink: Sink<'_>) -> Result<(), Reason> {
        match self {
            Text::Head(head) => {
                head.extend_from_slice(bytes);
                if head.len() < HEAD { Ok(()) } else { self.decide(sink) }
            }
            Text::Utf8 => sink(bytes),
            Text::Utf16(decoder) => transcode(decoder, bytes, false, sink),
        }
    }

    pub(super) fn finish(&mut self, sink: Sink<'_>) -> Result<(), Reason> {
        if matches!(self, Text::Head(_)) {
            self.decide(sink)?;
        }
        match self {
            Text::Utf16(decoder) => transcode(decoder, &[], true, sink),
            Text::Head(_) | Text::Utf8 => Ok(()),
        }
    }

    /// `None` until it is decided.
    pub(super) fn encoding(&self) -> Option<&'static str> {
        match self {
            Text::Head(_) => None,
            Text::Utf8 => Some("UTF-8"),
            Text::Utf16(decoder) => Some(decoder.encoding().name()),
        }
    }

    fn decide(&mut self, sink: Sink<'_>) -> Result<(), Reason> {
        let Text::Head(head) = self else { return Ok(()) };
        let head = std::mem::take(head);
        let (state, skip) = match head.as_slice() {
            [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => return Err(Reason::Utf32),
            [0xff, 0xfe, ..] => (Text::Utf16(Box::new(UTF_16LE.new_decoder_without_bom_handling())), 2),
            [0xfe, 0xff, ..] => (Text::Utf16(Box::new(UTF_16BE.new_decoder_without_bom_handling())), 2),
            [0xef, 0xbb, 0xbf, ..] => (Text::Utf8, 3),
            _ => (Text::Utf8, 0),
        };
        if matches!(state, Text::Utf8) && head[..head.len().min(HEAD)].contains(&0) {
            return Err(Reason::Binary);
        }
        *self = state;
        self.push(&head[skip..], sink)
    }
}

fn transcode(decoder: &mut Decoder, mut bytes: &[u8], last: bool, sink: Sink<'_>) -> Result<(), Reason> {
    let mut text = [0; 8192];
    loop {
        let (result, read, written) = decoder.decode_to_utf8_without_replacement(bytes, &mut text, last);
        sink(&text[..written])?;
        bytes = &bytes[read..];
        match result {
            DecoderResult::InputEmpty => return Ok(()),
            DecoderResult::OutputFull => {}
            DecoderResult::Malformed(..) => return Err(Reason::Utf16Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::testing::lines;

    #[test]
    fn a_byte_order_mark_decides_the_encoding_and_goes() {
        let little: Vec<u8> = "\u{feff}é\n😀".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = "\u{feff}é\n😀".encode_utf16().flat_map(u16::to_be_bytes).collect();
        for input in ["\u{feff}é\n😀".as_bytes(), &little, &big] {
            assert_eq!(lines(input), (vec!["é".into(), "😀".into()], None));
        }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        assert_eq!(lines(b"a\0b").1, Some(Reason::Binary));
        assert_eq!(lines(b"\xff\xfe\0\0a\0\0\0").1, Some(Reason::Utf32));
        assert_eq!(lines(b"\xff\xfea\0\n\0\0\xd8").1, Some(Reason::Utf16Malformed));
    }

    #[test]
    fn a_late_nul_is_data() {
        let input = [vec![b'x'; HEAD], vec![0]].concat();
        assert_eq!(lines(&input).1, None);
    }
}
