//! Objects that stop before their end, or whose end is damaged: what was complete stays, and what was not is no record.

use std::io::Write;

use super::testing::{self, array, decode};
use crate::model::{Stream, StreamType};

const TORN: &str = "!the object stops in the middle of this record: ";

/// All that came of a text of lines which was cut is of these lines, and the last of it a reject.
pub(super) fn assert_torn(pieces: &[String], text: &str) {
    let (last, lines) = pieces.split_last().expect("there are pieces");
    let torn = last.strip_prefix(TORN).unwrap_or_else(|| panic!("the last piece is {last:?}"));
    assert!(text.starts_with(&(lines.join("\n") + "\n" + torn)), "{torn:?} follows {:?}", lines.last());
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn stream(kind: StreamType) -> Stream {
    testing::stream(kind)
}

#[test]
fn what_a_fault_cuts_is_a_reject_and_what_is_before_it_stays() {
    let csv = Stream { csv_delimiters: b",".to_vec(), ..stream(StreamType::Lines) };
    let event = r#"{"id":"1","timestamp":1,"message":"m"}"#;
    let envelope = format!(r#"{{"messageType":"DATA_MESSAGE","logEvents":[{event},{}"#, &event[..20]);
    let document = "the object ends in the middle of this";
    for (stream, input, kept, torn) in [
        (stream(StreamType::Lines), "a 1\nb 2", "a 1", TORN),
        (stream(StreamType::Lines), "a\n", "a", ""),
        (stream(StreamType::Auto), "a 1\nb 2", "a 1", TORN),
        (csv.clone(), "a,1\n\"b,\n2", "a,1", TORN),
        (csv, "a,1\nb,2", "a,1", TORN),
        (stream(StreamType::Json), "7 12", "7", TORN),
        (stream(StreamType::Json), "{\"a\":1}\n{\"b\"", "{\"a\":1}", TORN),
        (stream(StreamType::Json), "{\"a\":1}\n", "{\"a\":1}", ""),
        (array(""), "[7,12", "7", document),
        (stream(StreamType::CloudWatchLogs), &envelope, "m", document),
        (Stream { xml_root_element: Some("r".into()), ..stream(StreamType::Xml) }, "<r><e/><e>1", "{}", document),
    ] {
        let whole = gzip(input.as_bytes());
        let mut bad_crc = whole.clone();
        bad_crc[whole.len() - 8] ^= 1;
        for damaged in [&whole[..whole.len() - 1], &whole[..whole.len() - 8], &bad_crc] {
            let (pieces, error) = decode(&stream, damaged);
            assert!(error.is_some(), "{input}");
            assert_eq!(pieces[0], kept, "{input}");
            assert_eq!(pieces.len(), 1 + usize::from(!torn.is_empty()), "{input}: {pieces:?}");
            assert!(pieces.last().unwrap().contains(torn), "{input}: {pieces:?}");
        }
    }
}

#[test]
fn an_end_without_a_fault_tears_nothing() {
    for (input, last) in [("a 1\nb 2", "b 2"), ("7 12", "7 12")] {
        assert_eq!(decode(&stream(StreamType::Lines), &gzip(input.as_bytes())).0.last().unwrap(), last);
    }
    assert_eq!(decode(&stream(StreamType::Json), &gzip(b"7 12")).0, ["7", "12"]);
}

#[test]
fn text_that_ends_within_a_character_is_torn() {
    let text: Vec<u8> = "\u{feff}a\nb".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let (pieces, error) = decode(&stream(StreamType::Lines), &text[..text.len() - 1]);
    assert!(error.is_some());
    assert_eq!(pieces, ["a"]);
    let text = [&text[..], b"c"].concat();
    assert_eq!(decode(&stream(StreamType::Lines), &text).0, ["a", &format!("{TORN}b")]);
}
