//! Files of the crate's own writer and of others, whole and broken.

use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, Encoding};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, FixedLenByteArray, Int96};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;

use super::*;
use crate::decode::testing::{LIMITS, show, stream};
use crate::decode::{Pace, decode_all};
use crate::model::{Stream, StreamType};

pub(super) type Group<'a> = SerializedRowGroupWriter<'a, Vec<u8>>;

/// What a column is written from: values, definition levels, repetition levels.
macro_rules! column {
    ($group:expr, $kind:ident, $values:expr, $def:expr, $rep:expr) => {{
        let mut column = $group.next_column().unwrap().unwrap();
        let ColumnWriter::$kind(writer) = column.untyped() else { panic!("not such a column") };
        writer.write_batch($values, $def, $rep).unwrap();
        column.close().unwrap();
    }};
}

pub(super) fn file(
    schema: &str,
    properties: WriterPropertiesBuilder,
    groups: &mut dyn FnMut(usize, &mut Group<'_>) -> bool,
) -> Bytes {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties.build())).unwrap();
    for number in 0.. {
        let mut group = writer.next_row_group().unwrap();
        let more = groups(number, &mut group);
        group.close().unwrap();
        if !more {
            break;
        }
    }
    writer.into_inner().unwrap().into()
}

/// Pieces as text, and the error; no range reaches out of the file.
fn rows(file: &Bytes) -> (Vec<String>, Option<DecodeError>) {
    let mut pieces = Vec::new();
    let error = decode_file(file, LIMITS, &mut pieces).err();
    (pieces.iter().map(show).collect(), error)
}

pub(super) fn texts(values: &[&str]) -> Vec<ByteArray> {
    values.iter().map(|value| ByteArray::from(*value)).collect()
}

const EVENTS: &str = "message events {
    required int64 n;
    optional binary name (STRING);
    optional group tags (LIST) { repeated group list { optional binary element (STRING); } }
    optional group actor { required binary id (STRING); optional int32 age; }
    optional group counts (MAP) { repeated group key_value { required binary key (STRING); optional int32 value; } }
    repeated int32 ports;
}";

/// Three rows: everything, nothing, and what lies between.
fn events(properties: WriterPropertiesBuilder, groups: usize) -> Bytes {
    file(EVENTS, properties, &mut |number, group| {
        column!(group, Int64ColumnWriter, &[1, 2, i64::MAX], None, None);
        column!(group, ByteArrayColumnWriter, &texts(&["é\"", ""]), Some(&[1, 0, 1]), None);
        let tags = texts(&["a", "b", "c"]);
        column!(group, ByteArrayColumnWriter, &tags, Some(&[3, 2, 3, 0, 3]), Some(&[0, 1, 1, 0, 0]));
        column!(group, ByteArrayColumnWriter, &texts(&["x", "y"]), Some(&[1, 0, 1]), None);
        column!(group, Int32ColumnWriter, &[-7], Some(&[2, 0, 1]), None);
        column!(group, ByteArrayColumnWriter, &texts(&["k", "l"]), Some(&[2, 2, 0, 1]), Some(&[0, 1, 0, 0]));
        column!(group, Int32ColumnWriter, &[5], Some(&[3, 2, 0, 1]), Some(&[0, 1, 0, 0]));
        column!(group, Int32ColumnWriter, &[22, 80, 443], Some(&[1, 1, 0, 1]), Some(&[0, 1, 0, 0]));
        number + 1 < groups
    })
}

const EXPECTED: [&str; 3] = [
    r#"{"n":1,"name":"é\"","tags":["a",null,"b"],"actor":{"id":"x","age":-7},"counts":{"k":5,"l":null},"ports":[22,80]}"#,
    r#"{"n":2,"ports":[]}"#,
    r#"{"n":9223372036854775807,"name":"","tags":["c"],"actor":{"id":"y"},"counts":{},"ports":[443]}"#,
];

fn codecs() -> [Compression; 6] {
    [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(Default::default()),
        Compression::ZSTD(Default::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
    ]
}

#[test]
fn nested_rows_come_out_of_every_codec_page_version_and_encoding() {
    for codec in codecs() {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            for dictionary in [true, false] {
                let properties = WriterProperties::builder()
                    .set_compression(codec)
                    .set_writer_version(version)
                    .set_dictionary_enabled(dictionary)
                    .set_data_page_row_count_limit(1)
                    .set_write_batch_size(1);
                let (found, error) = rows(&events(properties, 3));
                assert_eq!(error, None, "{codec:?} {version:?}");
                assert_eq!(found, EXPECTED.repeat(3), "{codec:?} {version:?}");
            }
        }
    }
}

#[test]
fn every_type_is_text_of_its_own_kind() {
    let schema = "message types {
        required boolean truth; required int32 small (INTEGER(8,false)); required int64 large (INTEGER(64,false));
        required int96 old; required float half; required double whole; required binary raw;
        required fixed_len_byte_array(4) fixed; required fixed_len_byte_array(16) id (UUID);
        required int64 at (TIMESTAMP(NANOS,true)); required int64 local (TIMESTAMP(MILLIS,false));
        required int32 day (DATE); required int64 clock (TIME(MICROS,true)); required int32 price (DECIMAL(9,2));
        required fixed_len_byte_array(9) sum (DECIMAL(20,3)); required binary kind (ENUM); required binary doc (JSON);
    }";
    for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
        let properties = WriterProperties::builder().set_writer_version(version).set_dictionary_enabled(false);
        let file = file(schema, properties, &mut |_, group| {
            let mut old = Int96::new();
            old.set_data(0x4e94_914f, 0x0000_0d3f, 2_460_000);
            column!(group, BoolColumnWriter, &[true], None, None);
            column!(group, Int32ColumnWriter, &[255], None, None);
            column!(group, Int64ColumnWriter, &[-1], None, None);
            column!(group, Int96ColumnWriter, &[old], None, None);
            column!(group, FloatColumnWriter, &[f32::NAN], None, None);
            column!(group, DoubleColumnWriter, &[-1e-300], None, None);
            column!(group, ByteArrayColumnWriter, &[ByteArray::from(vec![0, 255])], None, None);
            column!(group, FixedLenByteArrayColumnWriter, &[fixed(b"abcd")], None, None);
            column!(group, FixedLenByteArrayColumnWriter, &[fixed(&[0x1f; 16])], None, None);
            column!(group, Int64ColumnWriter, &[1], None, None);
            column!(group, Int64ColumnWriter, &[1], None, None);
            column!(group, Int32ColumnWriter, &[-1], None, None);
            column!(group, Int64ColumnWriter, &[1], None, None);
            column!(group, Int32ColumnWriter, &[-12345], None, None);
            column!(
                group,
                FixedLenByteArrayColumnWriter,
                &[fixed(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff")],
                None,
                None
            );
            column!(group, ByteArrayColumnWriter, &texts(&["A"]), None, None);
            column!(group, ByteArrayColumnWriter, &texts(&["{}"]), None, None);
            false
        });
        let expected = [
            r#"{"truth":true,"small":255,"large":18446744073709551615,"old":"2023-02-24T04:02:45.552460111Z","#,
            r#""half":"NaN","whole":-1e-300,"raw":"AP8=","fixed":"YWJjZA==","#,
            r#""id":"1f1f1f1f-1f1f-1f1f-1f1f-1f1f1f1f1f1f","at":"1970-01-01T00:00:00.000000001Z","#,
            r#""local":"1970-01-01T00:00:00.001Z","day":"1969-12-31","clock":"00:00:00.000001","price":"-123.45","#,
            r#""sum":"-0.001","kind":"A","doc":"{}"}"#,
        ];
        assert_eq!(rows(&file), (vec![expected.concat()], None), "{version:?}");
    }
}

fn fixed(bytes: &[u8]) -> FixedLenByteArray {
    ByteArray::from(bytes.to_vec()).into()
}

/// A large file of one column, in `groups` row groups.
fn large(groups: usize, text: &dyn Fn(usize) -> String, properties: WriterPropertiesBuilder) -> Bytes {
    file("message m { required binary t (STRING); }", properties, &mut |number, group| {
        let values: Vec<ByteArray> = (0..200).map(|n| ByteArray::from(text(n).into_bytes())).collect();
        column!(group, ByteArrayColumnWriter, &values, None, None);
        number + 1 < groups
    })
}

#[test]
fn large_row_groups_are_read_by_windows_and_memory_is_counted() {
    let limits = Limits { max_object_bytes: 1 << 30, ..LIMITS };
    let text = |n: usize| format!("{n}{}", "x".repeat(120_000));
    let plain = || WriterProperties::builder().set_dictionary_enabled(false).set_write_batch_size(1);
    let file = large(3, &text, plain());
    assert!(file.len() as u64 > 3 * SPAN);
    let mut decoder = RowDecoder::new(limits, file.len() as u64);
    let (mut count, mut most) = (0, 0);
    loop {
        let mut pieces = Vec::new();
        let want = decoder.advance(&mut pieces).unwrap();
        count += pieces.len();
        most = most.max(decoder.meter.used() as u64);
        match want {
            Want::Done => break,
            Want::More => {}
            Want::LargeWindow => panic!("windows and pages are small"),
            Want::Bytes(range) => {
                assert!(range.end - range.start <= SPAN);
                decoder.supply(file.slice(range.start as usize..range.end as usize)).unwrap();
            }
        }
    }
    assert_eq!(count, 600);
    assert!(most < RowDecoder::HELD && most > WINDOWS, "{most} bytes");
    assert!(decoder.meter.used() < 100_000, "all of the row groups is given back: {}", decoder.meter.used());

    // The dictionary is one page.
    let limit = 200 * 1024 * 1024;
    let dictionary = large(
        1,
        &|n| format!("{n}{}", "x".repeat(300_000)),
        WriterProperties::builder().set_dictionary_page_size_limit(limit),
    );
    let mut decoder = RowDecoder::new(limits, dictionary.len() as u64);
    let mut asked = 0;
    loop {
        match decoder.advance(&mut Vec::new()).unwrap() {
            Want::Done => break,
            Want::More => {}
            Want::LargeWindow => {
                asked += 1;
                decoder.allow_large_windows();
            }
            Want::Bytes(range) => decoder.supply(dictionary.slice(range.start as usize..range.end as usize)).unwrap(),
        }
    }
    assert_eq!(asked, 1);
}

#[test]
fn rows_that_are_no_records_are_rejects_and_the_others_stay() {
    let file = file("message m { required binary t (STRING); }", WriterProperties::builder(), &mut |_, group| {
        let values = [b"a".to_vec(), b"\xff\"".to_vec(), vec![b'x'; 2 * LIMITS.max_record_bytes], b"b".to_vec()];
        column!(group, ByteArrayColumnWriter, &values.map(ByteArray::from), None, None);
        false
    });
    let mut pieces = Vec::new();
    decode_file(&file, LIMITS, &mut pieces).unwrap();
    let [Piece::Record(first), Piece::Reject(text), Piece::Reject(long), Piece::Record(last)] = &pieces[..] else {
        panic!("{} pieces", pieces.len())
    };
    assert_eq!((first.ordinal, text.ordinal, long.ordinal, last.ordinal), (0, 1, 2, 3));
    assert_eq!((&text.raw[..], &last.bytes[..]), (&b"{\"t\":\"\xff\\\"\"}"[..], &b"{\"t\":\"b\"}"[..]));
    assert!(text.reason.contains("not UTF-8"), "{}", text.reason);
    assert!(long.reason.contains("max_record_mib"), "{}", long.reason);
    assert_eq!(long.raw.len(), crate::model::Reject::RAW_LIMIT);
}

#[test]
fn the_stream_type_says_what_a_parquet_file_is() {
    let file = events(WriterProperties::builder(), 1);
    let decode = |kind: StreamType, input: &[u8]| {
        let mut pieces = Vec::new();
        let result = decode_all(&stream(kind), LIMITS, input, &mut pieces);
        (pieces.len(), result.err().map(|error| error.to_string()).unwrap_or_default())
    };
    for kind in [StreamType::Auto, StreamType::Parquet] {
        assert_eq!(decode(kind, &file), (3, String::new()));
        let (count, error) = decode(kind, &gzip(&file));
        assert!(count == 0 && error.contains("in another compression"), "{error}");
    }
    let (count, error) = decode(StreamType::Lines, &file);
    assert!(count == 0 && error.contains("`stream_type`"), "{error}");
    let (count, error) = decode(StreamType::Parquet, b"{\"a\":1}\n");
    assert!(count == 0 && error.contains("it is none"), "{error}");
    let mut decoder = Decoder::new(&Stream::default(), LIMITS);
    let mut input = &file[..];
    assert_eq!(decoder.push(&mut input, &mut Vec::new()), Ok(Pace::Done), "as long as it may be anything");
    assert_eq!(decoder.finish(&mut Vec::new()), Ok(Pace::Ranges));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn cut_files_are_truncated() {
    let file = events(WriterProperties::builder(), 2);
    for cut in 0..file.len() {
        let (found, error) = rows(&file.slice(..cut));
        assert!(found.is_empty() && error.is_some(), "cut at {cut}");
    }
}

/// Every byte of a file in turn is another one: nothing panics, and it ends.
#[test]
fn damaged_files_end_in_rows_or_in_a_reason() {
    for properties in [
        WriterProperties::builder().set_compression(Compression::SNAPPY),
        WriterProperties::builder().set_writer_version(WriterVersion::PARQUET_2_0).set_dictionary_enabled(false),
        WriterProperties::builder().set_dictionary_enabled(false).set_encoding(Encoding::PLAIN),
    ] {
        let file = events(properties, 1);
        let mut faults = 0;
        for at in 4..file.len() {
            for value in [0, 0x7f, 0xff, file[at] ^ 1, file[at] ^ 0x10] {
                let mut damaged = file.to_vec();
                damaged[at] = value;
                faults += usize::from(rows(&damaged.into()).1.is_some());
            }
        }
        assert!(faults > file.len(), "{faults} faults");
    }
}

/// Files that pyarrow wrote, each with the rows that pyarrow reads in it.
#[test]
fn files_of_another_writer_are_read_as_it_reads_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/parquet");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "parquet") {
            continue;
        }
        let (found, error) = rows(&std::fs::read(&path).unwrap().into());
        assert_eq!(error, None, "{}", path.display());
        let expected = std::fs::read_to_string(path.with_extension("jsonl")).unwrap();
        let value = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
        let found: Vec<_> = found.iter().map(|row| value(row)).collect();
        let expected: Vec<_> = expected.lines().map(value).collect();
        assert!(found == expected, "{}: {found:#?}\n{expected:#?}", path.display());
        files += 1;
    }
    assert!(files >= 6, "{files} files");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nested_lists_survive(
        rows_of in prop::collection::vec(prop::option::of(prop::collection::vec(prop::option::of(
            prop::collection::vec(prop::option::of("[a-c]{0,3}"), 0..4)), 0..4)), 1..40),
        page in 1_usize..30,
        version in prop::sample::select(vec![WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0]),
        dictionary: bool,
    ) {
        let schema = "message m { optional group a (LIST) { repeated group list { optional group element (LIST) {
            repeated group list { optional binary element (STRING); } } } } }";
        let (mut values, mut def, mut rep) = (Vec::new(), Vec::new(), Vec::new());
        for outer in &rows_of {
            let Some(outer) = outer else { def.push(0); rep.push(0); continue };
            if outer.is_empty() { def.push(1); rep.push(0); }
            for (at, inner) in outer.iter().enumerate() {
                let from = i16::from(at > 0);
                match inner {
                    None => { def.push(2); rep.push(from); }
                    Some(inner) if inner.is_empty() => { def.push(3); rep.push(from); }
                    Some(inner) => for (at, text) in inner.iter().enumerate() {
                        rep.push(if at > 0 { 2 } else { from });
                        def.push(if text.is_some() { 5 } else { 4 });
                        values.extend(text.as_deref().map(ByteArray::from));
                    },
                }
            }
        }
        let properties = WriterProperties::builder().set_writer_version(version)
            .set_dictionary_enabled(dictionary).set_data_page_row_count_limit(page).set_write_batch_size(1);
        let file = file(schema, properties, &mut |_, group| {
            column!(group, ByteArrayColumnWriter, &values, Some(&def), Some(&rep));
            false
        });
        let expected: Vec<String> = rows_of.iter().map(|row| match row {
            Some(row) => serde_json::json!({ "a": row }).to_string(),
            None => "{}".to_owned(),
        }).collect();
        prop_assert_eq!(rows(&file), (expected, None));
    }
}
