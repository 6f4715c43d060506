//! Bodies that mean harm, `tests/corpus/decode/` among them: nothing panics, what is held stays bounded, and the cut of
//! the chunks still changes nothing.

use std::path::Path;

use super::testing::{LIMITS, decode_cut, decode_to, lines, stream, streams};
use super::*;
use crate::model::StreamType;

/// What one call may give or hold beside a record: two slices, the head of an undecided text, and the terminators.
const CALL: usize = 4 * SLICE;

fn size(pieces: &[Piece]) -> usize {
    let raw = pieces.iter().map(|piece| match piece {
        Piece::Record(record) => record.bytes.len(),
        Piece::Reject(reject) => reject.raw.len(),
    });
    raw.sum()
}

/// Decodes and forgets; how many pieces there were, and how it ended.
fn bounded<C: AsRef<[u8]>>(
    stream: &Stream,
    limits: Limits,
    chunks: impl IntoIterator<Item = C>,
) -> (usize, Option<DecodeError>) {
    let mut count = 0;
    // Beside the record that is collected, log events of CloudWatch are held back, or the text between elements.
    let most = 2 * limits.max_record_bytes + CALL;
    let result = decode_to(stream, limits, chunks, &mut |pieces, held| {
        assert!(held <= most, "{held} bytes are held");
        assert!(size(pieces) <= most, "{} bytes come at once", size(pieces));
        count += pieces.len();
        pieces.clear();
    });
    (count, result.err())
}

#[test]
fn no_body_of_the_corpus_does_harm() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/decode");
    let limits = Limits { max_object_bytes: 512 * 1024, max_record_bytes: 4096 };
    let mut bodies = 0;
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let body = std::fs::read(&path).unwrap();
        for stream in streams() {
            let (count, error) = bounded(&stream, limits, [&body]);
            let whole = decode_cut(&stream, limits, &body, usize::MAX);
            assert_eq!((whole.0.len(), &whole.1), (count, &error));
            for cut in [1, 7, 4099] {
                let found = decode_cut(&stream, limits, &body, cut);
                assert!(found == whole, "{} as {:?} differs, cut at {cut}", path.display(), stream.kind);
            }
        }
        bodies += 1;
    }
    assert!(bodies >= 40, "{bodies} bodies");
}

#[test]
fn a_long_array_on_one_line_needs_memory_for_one_element() {
    let element = format!("{{\"a\":\"{}\"}},", "x".repeat(9000));
    let count = 5000;
    let limits = Limits { max_record_bytes: 16 * 1024, ..LIMITS };
    for (start, end, stream) in [
        ("[", "0]", stream(StreamType::JsonArray)),
        ("{\"Records\":[", "0]}", stream(StreamType::Auto)),
        ("{\"messageType\":\"DATA_MESSAGE\",\"logEvents\":[", "0]}", stream(StreamType::Auto)),
    ] {
        let chunks = [start].into_iter().chain(std::iter::repeat_n(element.as_str(), count)).chain([end]);
        assert_eq!(bounded(&stream, limits, chunks), (count + 1, None));
    }
}

#[test]
fn one_value_without_end_is_one_reject() {
    let limits = Limits { max_record_bytes: 16 * 1024, ..LIMITS };
    for stream in streams() {
        for (start, more) in
            [("", "x"), ("[\"", "x"), ("{\"a\":\"", "x"), ("<r><e>", "<a>"), ("", "["), ("<", "r"), ("a,\"", "x")]
        {
            let chunk = more.repeat(64 * 1024);
            let chunks = [start].into_iter().chain(std::iter::repeat_n(chunk.as_str(), 20));
            let (count, _) = bounded(&stream, limits, chunks);
            assert!(count <= 1, "{start}{more} as {:?}: {count}", stream.kind);
        }
    }
}

/// zstd blocks that repeat one byte (RFC 8878, RLE blocks): four bytes for each 128 KiB.
fn repetitive(mib: usize) -> Vec<u8> {
    // Window of 128 KiB, no checksum.
    let mut frame = b"\x28\xb5\x2f\xfd\x00\x38".to_vec();
    for block in 1..=mib * 8 {
        let header: u32 = (128 * 1024) << 3 | 1 << 1 | u32::from(block == mib * 8);
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(b'x');
    }
    frame
}

#[test]
fn repetition_is_no_bomb_below_a_gibibyte() {
    let limits = Limits { max_object_bytes: u64::MAX, max_record_bytes: 4096 };
    assert_eq!(bounded(&stream(StreamType::Lines), limits, [repetitive(64)]), (1, None));
    let (count, error) = bounded(&stream(StreamType::Lines), limits, [repetitive(1025)]);
    assert_eq!(count, 1);
    assert!(matches!(error, Some(DecodeError { reason: Reason::Bomb { .. }, .. })), "{error:?}");
    assert!(matches!(lines(&repetitive(65)).1, Some(Reason::TooLarge { .. })));
}

#[test]
fn a_large_window_waits_for_permission() {
    // Window of 16 MiB; one RLE block as its content.
    let mut frame = b"\x28\xb5\x2f\xfd\x00\x70".to_vec();
    frame.extend_from_slice(&[(3 << 3) | (1 << 1) | 1, 0, 0, b'x']);
    for cut in [1, 100] {
        let mut decoder = Decoder::new(&stream(StreamType::Lines), LIMITS);
        let mut out = Vec::new();
        for chunk in frame.chunks(cut) {
            assert_eq!(decoder.push(&mut &chunk[..], &mut out), Ok(Pace::Done));
        }
        assert_eq!(decoder.finish(&mut out), Ok(Pace::LargeWindow));
        assert_eq!(decoder.finish(&mut out), Ok(Pace::LargeWindow));
        decoder.allow_large_windows();
        assert_eq!(decoder.finish(&mut out), Ok(Pace::Done));
        assert_eq!(out.iter().map(testing::show).collect::<Vec<_>>(), ["xxx"]);
    }
    // Allowed before it is asked for.
    let mut decoder = Decoder::new(&stream(StreamType::Lines), LIMITS);
    let mut out = Vec::new();
    decoder.allow_large_windows();
    assert_eq!(decoder.push(&mut &frame[..], &mut out), Ok(Pace::Done));
    assert_eq!(decoder.finish(&mut out), Ok(Pace::Done));
    assert_eq!(out.len(), 1);
}
