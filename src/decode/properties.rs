//! What must hold for every input: the cut of the chunks does not matter, and no text is lost.

use std::io::Write;

use proptest::prelude::*;

use super::testing::{self, LIMITS, decode_cut};
use super::*;
use crate::model::StreamType;

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
        Just("{\"messageType\":\"DATA_MESSAGE\",\"owner\":\"1\",\"logEvents\":["),
        Just("{\"logEvents\":["),
        Just("\"messageType\":\"DATA_MESSAGE\""),
        Just("{\"id\":\"1\",\"timestamp\":1,\"message\":\"a\\nb\"}"),
        Just("<r>"),
        Just("</r>"),
        Just("<e a='1'>"),
        Just("</e>"),
        Just("<e/>"),
        Just("<![CDATA["),
        Just("]]>"),
        Just("<!--"),
        Just("-->"),
        Just("&lt;"),
    ];
    proptest::collection::vec(token, 0..40).prop_map(|tokens| tokens.concat().into_bytes())
}

/// Every stream type, with options that make a difference.
fn stream() -> impl Strategy<Value = Stream> {
    proptest::sample::select(testing::streams())
}

#[derive(Clone, Copy, Debug)]
enum Packing {
    Plain,
    Gzip,
    Zstd,
    Bzip2,
    Snappy,
    Lz4,
}

fn packing() -> impl Strategy<Value = Packing> {
    use Packing::*;
    prop_oneof![Just(Plain), Just(Gzip), Just(Zstd), Just(Bzip2), Just(Snappy), Just(Lz4)]
}

fn pack(packing: Packing, data: &[u8]) -> Vec<u8> {
    match packing {
        Packing::Plain => data.to_vec(),
        Packing::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
        Packing::Zstd => {
            let mut packed = vec![0; zstd_safe::compress_bound(data.len())];
            let length = zstd_safe::CCtx::create().compress2(&mut packed[..], data).unwrap();
            packed.truncate(length);
            packed
        }
        Packing::Bzip2 => {
            let mut encoder = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::fast());
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
        Packing::Snappy => {
            let mut encoder = snap::write::FrameEncoder::new(Vec::new());
            encoder.write_all(data).unwrap();
            encoder.into_inner().unwrap()
        }
        Packing::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
    }
}

/// A byte to change, and how.
fn damage() -> impl Strategy<Value = Option<(usize, u8)>> {
    proptest::option::of((0usize..200, 1u8..))
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
    fn the_cut_of_the_chunks_changes_nothing(
        input in text(), stream in stream(), cut in 1usize..9,
        outer in packing(), inner in packing(), twice: bool,
    ) {
        // A second member of the same kind: all codecs take concatenated streams.
        let inner = pack(inner, &input);
        let mut input = pack(outer, &inner);
        if twice {
            input.extend_from_slice(&pack(outer, &inner));
        }
        let limits = Limits { max_record_bytes: 24, ..LIMITS };
        let whole = decode_cut(&stream, limits, &input, usize::MAX);
        prop_assert_eq!(whole, decode_cut(&stream, limits, &input, cut));
    }

    #[test]
    fn a_compressed_object_gives_what_the_plain_one_gives(input in text(), outer in packing(), cut in 1usize..9) {
        let plain = decode_cut(&testing::stream(StreamType::Lines), LIMITS, &input, usize::MAX);
        prop_assert_eq!(plain, decode_cut(&testing::stream(StreamType::Lines), LIMITS, &pack(outer, &input), cut));
    }

    #[test]
    fn damaged_data_ends_in_an_error_or_in_the_same_way_for_every_cut(
        input in text(), outer in packing(), keep in 0usize..200, damage in damage(), cut in 1usize..9,
    ) {
        let mut packed = pack(outer, &input);
        packed.truncate(keep);
        if let Some((at, bits)) = damage
            && let Some(byte) = packed.get_mut(at)
        {
            *byte ^= bits;
        }
        let whole = decode_cut(&testing::stream(StreamType::Lines), LIMITS, &packed, usize::MAX);
        prop_assert_eq!(whole, decode_cut(&testing::stream(StreamType::Lines), LIMITS, &packed, cut));
    }

    #[test]
    fn csv_loses_only_terminators(input in text()) {
        let csv = Stream { csv_delimiters: vec![b','], ..testing::stream(StreamType::Lines) };
        let (pieces, error) = decode_cut(&csv, LIMITS, &input, 5);
        prop_assert_eq!(error, None);
        prop_assert_eq!(without(&raw(&pieces), b"\r\n"), without(&input, b"\r\n"));
    }

    #[test]
    fn ordinals_count_pieces(input in text(), stream in stream()) {
        let (pieces, _) = decode_cut(&stream, LIMITS, &input, 7);
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
        let (pieces, error) = decode_cut(&testing::stream(StreamType::Lines), LIMITS, &input, usize::MAX);
        prop_assert_eq!(error, None);
        prop_assert_eq!(without(&raw(&pieces), b"\r\n"), without(&input, b"\r\n"));
    }

    #[test]
    fn json_loses_only_space_between_values(input in text()) {
        let (pieces, error) = decode_cut(&testing::stream(StreamType::Json), LIMITS, &input, usize::MAX);
        prop_assert_eq!(error, None);
        prop_assert_eq!(without(&raw(&pieces), b" \r\n"), without(&input, b" \r\n"));
    }

    #[test]
    fn arbitrary_bytes_never_panic(input: Vec<u8>, stream in stream(), cut in 1usize..9) {
        let whole = decode_cut(&stream, LIMITS, &input, usize::MAX);
        prop_assert_eq!(whole, decode_cut(&stream, LIMITS, &input, cut));
    }
}
