//! What a decoder found out about an object on its way: how it is packed, how its text is encoded, how it is split and
//! why so. For the log and for people who ask; nothing is decided from it.

use crate::model::{Stream, StreamType};

/// What is known so far; all of it once the first record came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Names of the compressions, the outermost first.
    pub layers: Vec<&'static str>,
    /// Of the text; `None` until enough of it came.
    pub encoding: Option<&'static str>,
    /// `None` until it is chosen.
    pub split: Option<Split>,
}

/// How the text is split into records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    pub kind: StreamType,
    /// Dot-separated keys that lead to the array of records; empty without one.
    pub envelope: String,
    /// Lines whose quoted values may hold line ends.
    pub delimited: bool,
    pub why: &'static str,
}

impl Split {
    pub(super) fn new(stream: &Stream, why: &'static str) -> Split {
        Split {
            kind: stream.kind,
            envelope: stream.json_array_envelope_field.clone(),
            delimited: stream.kind == StreamType::Lines && !stream.csv_delimiters.is_empty(),
            why,
        }
    }
}

/// Why a stream type was taken without a look at the object.
pub(super) const CONFIGURED: &str = "the source says so";

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::decode::testing::{LIMITS, array, stream};
    use crate::decode::{Decoder, Pace};

    fn found(stream: &Stream, mut input: &[u8]) -> Findings {
        let mut decoder = Decoder::new(stream, LIMITS);
        let mut out = Vec::new();
        while decoder.push(&mut input, &mut out).unwrap() != Pace::Done {}
        while decoder.finish(&mut out).unwrap() != Pace::Done {}
        decoder.findings()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn nothing_is_found_before_the_first_bytes() {
        let undecided = Decoder::new(&stream(StreamType::Auto), LIMITS);
        assert_eq!(undecided.findings(), Findings::default());
        let configured = Decoder::new(&array("a.b"), LIMITS).findings().split.unwrap();
        assert_eq!(
            (configured.kind, &*configured.envelope, configured.why),
            (StreamType::JsonArray, "a.b", CONFIGURED)
        );
    }

    #[test]
    fn layers_are_told_from_the_outside_to_the_inside() {
        let zstd = zstd_of(b"a\n");
        assert_eq!(found(&stream(StreamType::Auto), b"a\n").layers, [""; 0]);
        assert_eq!(found(&stream(StreamType::Auto), &gzip(b"a\n")).layers, ["gzip"]);
        assert_eq!(found(&stream(StreamType::Auto), &gzip(&zstd)).layers, ["gzip", "zstd"]);
    }

    /// A frame of one raw block.
    fn zstd_of(bytes: &[u8]) -> Vec<u8> {
        let header = u32::try_from(bytes.len()).unwrap() << 3 | 1;
        let size = [0x20, u8::try_from(bytes.len()).unwrap()];
        [&[0x28, 0xb5, 0x2f, 0xfd][..], &size, &header.to_le_bytes()[..3], bytes].concat()
    }

    #[test]
    fn the_encoding_is_that_of_the_byte_order_mark() {
        let wide: Vec<u8> = "\u{feff}a\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = "\u{feff}a\n".encode_utf16().flat_map(u16::to_be_bytes).collect();
        for (input, encoding) in [(&b"a\n"[..], "UTF-8"), (&wide, "UTF-16LE"), (&big, "UTF-16BE")] {
            assert_eq!(found(&stream(StreamType::Auto), input).encoding, Some(encoding));
        }
    }

    #[test]
    fn a_choice_is_told_with_its_reason() {
        let split = found(&stream(StreamType::Auto), br#"{"Records":[{"a":1}]}"#).split.unwrap();
        assert_eq!((split.kind, &*split.envelope), (StreamType::JsonArray, "Records"));
        assert_eq!(split.why, "the document's only member, `Records`, is an array");
        let csv = Stream { csv_delimiters: b",".to_vec(), ..stream(StreamType::Auto) };
        assert!(found(&csv, b"a,b\n").split.unwrap().delimited);
    }
}
