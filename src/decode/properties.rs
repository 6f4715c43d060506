//! What must hold for every input: the cut of the chunks does not matter, and no text is lost.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::testing::{LIMITS, decode_cut};
use super::*;

/// Text that is rich in what the splitters look at.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just("{\"Records\":["),
        Just("{\"a\":1}"),
        Just("]}"),
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just(","),
        Just(":"),
        Just("\""),
        Just("\\"),
        Just("null"),
        Just("-1.5"),
        Just("\n"),
        Just("\r\n"),
        Just(" "),
        Just("é"),
        Just("word"),
    ];
    proptest::collection::vec(token, 0..40).prop_map(|tokens| tokens.concat().into_bytes())
}

fn stream() -> impl Strategy<Value = (StreamType, &'static str)> {
    prop_oneof![
        Just((StreamType::Auto, "")),
        Just((StreamType::Lines, "")),
        Just((StreamType::Json, "")),
        Just((StreamType::JsonArray, "")),
        Just((StreamType::JsonArray, "Records")),
    ]
}

fn raw(pieces: &[Piece]) -> Vec<u8> {
    let raw = pieces.iter().map(|piece| match piece {
        Piece::Record(record) => &record.bytes,
        Piece::Reject(reject) => &reject.raw,
    });
    raw.flat_map(|bytes| bytes.iter().copied()).collect()
}

fn without(bytes: &[u8], dropped: &[u8]) -> Vec<u8> {
    bytes.iter().copied().filter(|byte| !dropped.contains(byte)).collect()
}

proptest! {
    #[test]
    fn the_cut_of_the_chunks_changes_nothing(input in text(), (stream, envelope) in stream(), cut in 1usize..9, gzip: bool) {
        let input = if gzip {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&input).unwrap();
            encoder.finish().unwrap()
        } else {
            input
        };
        let limits = Limits { max_record_bytes: 24, ..LIMITS };
        let whole = decode_cut(stream.clone(), envelope, limits, &input, usize::MAX);
        prop_assert_eq!(whole, decode_cut(stream, envelope, limits, &input, cut));
    }

    #[test]
    fn ordinals_count_pieces(input in text(), (stream, envelope) in stream()) {
        let (pieces, _) = decode_cut(stream, envelope, LIMITS, &input, 7);
        let ordinals: Vec<u64> = pieces
            .iter()
            .map(|piece| match piece {
                Piece::Record(record) => record.ordinal,
                Piece::Reject(reject) => reject.ordinal,
            })
            .collect();
        prop_assert_eq!(ordinals, (0..pieces.len() as u64).collect::<Vec<_>>());
    }

    #[test]
    fn lines_lose_only_terminators(input in text()) {
        let (pieces, error) = decode_cut(StreamType::Lines, "", LIMITS, &input, usize::MAX);
        prop_assert_eq!(error, None);
        prop_assert_eq!(without(&raw(&pieces), b"\r\n"), without(&input, b"\r\n"));
    }

    #[test]
    fn json_loses_only_space_between_values(input in text()) {
        let (pieces, error) = decode_cut(StreamType::Json, "", LIMITS, &input, usize::MAX);
        prop_assert_eq!(error, None);
        prop_assert_eq!(without(&raw(&pieces), b" \r\n"), without(&input, b" \r\n"));
    }

    #[test]
    fn arbitrary_bytes_never_panic(input: Vec<u8>, (stream, envelope) in stream(), cut in 1usize..9) {
        let whole = decode_cut(stream.clone(), envelope, LIMITS, &input, usize::MAX);
        prop_assert_eq!(whole, decode_cut(stream, envelope, LIMITS, &input, cut));
    }
}
