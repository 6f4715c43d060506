//! Files that mean harm: pages written by hand, under a footer of the crate's own writer. Each ends with its reason,
//! and never is more held, or about to be fetched, than is allowed.

use std::sync::Arc;

use parquet::basic::{Compression, Type};
use parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, ParquetMetaDataBuilder, ParquetMetaDataWriter, RowGroupMetaData,
};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{SchemaDescriptor, Type as SchemaType};

use super::*;
use crate::decode::testing::LIMITS;

const MIB: usize = 1024 * 1024;

/// No cap on the object, so that only what it grows to can be too much.
const UNCAPPED: Limits = Limits { max_object_bytes: u64::MAX, ..LIMITS };

const TEXT: &str = "message m { required binary t (STRING); }";
const LIST: &str = "message m { repeated binary t; }";

/// A row group: its rows, and where the pages of its columns are said to be.
type Group = (i64, Vec<Range<usize>>);

/// `pages` behind the magic, and a footer that says where they are.
fn file(schema: &str, codec: Compression, pages: &[u8], groups: &[Group]) -> Bytes {
    under(parse_message_type(schema).unwrap(), codec, pages, groups)
}

fn under(schema: SchemaType, codec: Compression, pages: &[u8], groups: &[Group]) -> Bytes {
    let schema = Arc::new(SchemaDescriptor::new(Arc::new(schema)));
    let group = |(rows, chunks): &Group| {
        let chunk = |(index, at): (usize, &Range<usize>)| {
            ColumnChunkMetaData::builder(schema.column(index))
                .set_compression(codec)
                .set_data_page_offset(at.start as i64)
                .set_total_compressed_size(at.len() as i64)
                .build()
                .unwrap()
        };
        let chunks = chunks.iter().enumerate().map(chunk).collect();
        RowGroupMetaData::builder(schema.clone()).set_num_rows(*rows).set_column_metadata(chunks).build().unwrap()
    };
    let metadata = FileMetaData::new(1, groups.iter().map(|(rows, _)| rows).sum(), None, None, schema.clone(), None);
    let metadata = ParquetMetaDataBuilder::new(metadata).set_row_groups(groups.iter().map(group).collect()).build();
    let mut file = [b"PAR1", pages].concat();
    ParquetMetaDataWriter::new(&mut file, &metadata).finish().unwrap();
    file.into()
}

/// One row group of `rows` with one column.
fn one(schema: &str, codec: Compression, rows: i64, pages: &[u8]) -> Bytes {
    file(schema, codec, pages, &[(rows, vec![Range { start: 4, end: 4 + pages.len() }])])
}

/// An integer of a header, with the field that it is.
fn field(head: u8, value: usize) -> Vec<u8> {
    let (mut field, mut left) = (vec![head], value * 2);
    while left >= 0x80 {
        field.push(left as u8 | 0x80);
        left >>= 7;
    }
    field.push(left as u8);
    field
}

/// A data page of plain values.
fn page(levels: usize, unpacked: usize, stored: usize, content: &[u8]) -> Vec<u8> {
    let sizes = [field(0x15, 0), field(0x15, unpacked), field(0x15, stored), vec![0x2c]].concat();
    let part = [field(0x15, levels), field(0x15, 0), field(0x15, 3), field(0x15, 3)].concat();
    [&sizes, &part, &[0, 0][..], content].concat()
}

fn dictionary(count: usize, unpacked: usize, content: &[u8]) -> Vec<u8> {
    let sizes = [field(0x15, 2), field(0x15, unpacked), field(0x15, content.len()), vec![0x4c]].concat();
    [&sizes, &field(0x15, count), &field(0x15, 0), &[0, 0][..], content].concat()
}

fn zstd(content: &[u8]) -> Vec<u8> {
    let mut packed = vec![0; zstd_safe::compress_bound(content.len())];
    let length = zstd_safe::compress(&mut packed[..], content, 1).unwrap();
    packed.truncate(length);
    packed
}

/// A value of plain text.
fn text(length: usize) -> Vec<u8> {
    [&(length as u32).to_le_bytes()[..], &vec![b'x'; length]].concat()
}

/// Reads a file to its end or to its reason; how many rows there were.
fn read(file: &Bytes, limits: Limits) -> (usize, Option<Reason>) {
    let mut decoder = RowDecoder::new(limits, file.len() as u64);
    let mut rows = 0;
    loop {
        let mut pieces = Vec::new();
        let want = decoder.advance(&mut pieces);
        rows += pieces.len();
        assert!(decoder.meter.used() <= decoder.meter.limit(), "{} bytes are held", decoder.meter.used());
        match want {
            Err(error) => return (rows, Some(error.reason)),
            Ok(Want::Done) => return (rows, None),
            Ok(Want::More) => {}
            Ok(Want::LargeWindow) => decoder.allow_large_windows(),
            Ok(Want::Bytes(range)) => {
                let bytes = file.slice(range.start as usize..range.end as usize);
                if let Err(error) = decoder.supply(bytes) {
                    return (rows, Some(error.reason));
                }
            }
        }
    }
}

/// Why a file gives no row.
fn refused(file: &Bytes, limits: Limits) -> Reason {
    let (rows, reason) = read(file, limits);
    assert_eq!(rows, 0, "{reason:?}");
    reason.expect("the file is refused")
}

fn told(file: &Bytes) -> String {
    refused(file, LIMITS).to_string()
}

#[test]
fn pages_written_by_hand_are_read() {
    let values = [text(3), text(1)].concat();
    let pages = page(2, values.len(), values.len(), &values);
    assert_eq!(read(&one(TEXT, Compression::UNCOMPRESSED, 2, &pages), LIMITS), (2, None));
}

#[test]
fn row_groups_that_share_bytes_are_refused_before_a_row_comes_of_them() {
    let values = text(3);
    let pages = page(1, values.len(), values.len(), &values);
    let at = 4..4 + pages.len();
    let twice = [&pages[..], &pages].concat();
    let next = at.end..at.end + pages.len();
    let plain = Compression::UNCOMPRESSED;
    assert_eq!(read(&file(TEXT, plain, &twice, &[(1, vec![next.clone()]), (1, vec![at.clone()])]), LIMITS), (2, None));
    for second in [at.clone(), at.end - 1..next.end - 1, at.start + 1..at.end] {
        let error = told(&file(TEXT, plain, &twice, &[(1, vec![at.clone()]), (1, vec![second])]));
        assert!(error.contains("row groups 0 and 1 lie in the same bytes"), "{error}");
    }
    let two = "message m { required binary t; required binary u; }";
    let error = told(&file(two, plain, &twice, &[(1, vec![at.clone(), at])]));
    assert!(error.contains("row groups 0 and 0 lie"), "{error}");
}

#[test]
fn columns_lie_between_the_magic_and_the_footer() {
    let values = text(3);
    let pages = page(1, values.len(), values.len(), &values);
    let end = 4 + pages.len();
    for at in [0..end, 3..end, 4..end + 1, end..end + 9, 1 << 40..(1 << 40) + 9, usize::MAX >> 1..usize::MAX] {
        let error = told(&file(TEXT, Compression::UNCOMPRESSED, &pages, &[(1, vec![at])]));
        assert!(error.contains("row group 0: column t: its pages are not in the object"), "{error}");
    }
}

#[test]
fn more_columns_and_row_groups_than_any_log_has_are_refused() {
    let groups = vec![(0, vec![Range { start: 4, end: 4 }]); 16 * 1024 + 1];
    let error = told(&file(TEXT, Compression::UNCOMPRESSED, b"", &groups));
    assert!(error.contains("it has 16385 row groups, and 16384 are the most"), "{error}");

    let column = |number: usize| {
        Arc::new(SchemaType::primitive_type_builder(&format!("c{number}"), Type::INT32).build().unwrap())
    };
    let schema = SchemaType::group_type_builder("m").with_fields((0..16 * 1024).map(column).collect()).build();
    let error = told(&under(schema.unwrap(), Compression::UNCOMPRESSED, b"", &[]));
    assert!(error.contains("16385 columns, and 16384 are the most"), "{error}");
}

#[test]
fn a_page_can_not_claim_what_is_not_there() {
    let values = text(3);
    let codec = Compression::ZSTD(Default::default());
    let huge = 0x7fff_ffff;
    let error = told(&one(TEXT, codec, 1, &page(1, values.len(), huge, &zstd(&values))));
    assert!(error.contains("a page reaches beyond its column"), "{error}");
    let packed = zstd(&values);
    let claims = one(TEXT, codec, 1, &page(1, huge, packed.len(), &packed));
    assert_eq!(refused(&claims, UNCAPPED), Reason::TooWide { limit: Decoder::LARGE_WINDOWS });
    assert_eq!(refused(&claims, LIMITS), Reason::TooWide { limit: Decoder::LARGE_WINDOWS });
    let error = told(&one(TEXT, codec, 1, &page(1, 8 * MIB, packed.len(), &packed)));
    assert!(error.contains("it has 7 bytes where its header says 8388608"), "{error}");
    let error = told(&one(TEXT, Compression::UNCOMPRESSED, huge as i64, &page(huge, 7, 7, &values)));
    assert!(error.contains("row group 0, column t: its decoder ended with"), "{error}");
    // Statistics of two MiB, which are not there.
    let endless = [&[0x15, 0, 0x38, 0x80, 0x80, 0x80, 0x01][..], &vec![0; MIB]].concat();
    let error = told(&one(TEXT, codec, 1, &endless));
    assert!(error.contains("a page header has no end"), "{error}");
}

#[test]
fn pages_without_levels_are_passed_over_and_what_they_unpack_to_is_counted() {
    let values = text(3);
    let last = page(1, values.len(), zstd(&values).len(), &zstd(&values));
    let codec = Compression::ZSTD(Default::default());
    let empty = page(0, 0, zstd(b"").len(), &zstd(b"")).repeat(1000);
    assert_eq!(read(&one(TEXT, codec, 1, &[&empty[..], &last].concat()), LIMITS), (1, None));

    let packed = zstd(&vec![0; 8 * MIB]);
    let blown_up = page(0, 8 * MIB, packed.len(), &packed);
    let pages = [&blown_up.repeat(130)[..], &last].concat();
    assert!(pages.len() < MIB, "{} bytes", pages.len());
    let file = one(TEXT, codec, 1, &pages);
    assert!(matches!(refused(&file, UNCAPPED), Reason::Bomb { .. }));
    assert_eq!(refused(&file, LIMITS), Reason::TooLarge { limit: LIMITS.max_object_bytes });
}

#[test]
fn dictionaries_are_no_larger_than_may_be_held_and_have_the_values_that_fit_into_them() {
    let codec = Compression::ZSTD(Default::default());
    let packed = zstd(&vec![0; MIB]);
    let error = told(&one(TEXT, codec, 1, &dictionary(MIB, MIB, &packed)));
    assert!(error.contains("its dictionary of 1048576 bytes can't have 1048576 values"), "{error}");
    // Each value needs far more than its four bytes.
    let file = one(TEXT, codec, 1, &dictionary(48 * MIB, 192 * MIB, &packed));
    assert_eq!(refused(&file, UNCAPPED), Reason::TooWide { limit: Decoder::LARGE_WINDOWS });
    let twice = dictionary(1, MIB, &packed).repeat(2);
    let error = told(&one(TEXT, codec, 1, &twice));
    assert!(error.contains("it has two dictionaries"), "{error}");
}

#[test]
fn one_row_can_not_hold_all_pages_of_a_file() {
    let codec = Compression::ZSTD(Default::default());
    // Levels of one byte: the first value of the row, or a further one; each is there.
    let value = |first: bool| {
        let repetition = [&[2, 0, 0, 0, 0x02][..], &[u8::from(!first)]].concat();
        let content = [&repetition[..], &[2, 0, 0, 0, 0x02, 1], &text(8 * MIB)].concat();
        let packed = zstd(&content);
        page(1, content.len(), packed.len(), &packed)
    };
    let pages = [value(true), value(false).repeat(3)].concat();
    let (rows, reason) = read(&one(LIST, codec, 1, &pages), UNCAPPED);
    assert_eq!((rows, reason), (1, None), "a reject, because it is too long");
    let pages = [value(true), value(false).repeat(40)].concat();
    let reason = refused(&one(LIST, codec, 1, &pages), UNCAPPED);
    assert_eq!(reason, Reason::TooWide { limit: Decoder::LARGE_WINDOWS });
    // Rows that each begin in a page and end in the next need no more than two at a time.
    let both = {
        let repetition = [&[4, 0, 0, 0, 0x02, 1][..], &[0x02, 0]].concat();
        let content = [&repetition[..], &[2, 0, 0, 0, 0x04, 1], &text(4 * MIB), &text(4 * MIB)].concat();
        let packed = zstd(&content);
        page(2, content.len(), packed.len(), &packed)
    };
    let pages = [&value(true)[..], &both.repeat(60)].concat();
    assert_eq!(read(&one(LIST, codec, 61, &pages), UNCAPPED), (61, None));
}

#[test]
fn windows_of_many_columns_are_charged_before_they_are_fetched() {
    let columns = 3000;
    let values = text(7000);
    let pages = page(1, values.len(), values.len(), &values);
    let names: String = (0..columns).map(|number| format!("required binary c{number};")).collect();
    let chunks = (0..columns).map(|number| 4 + number * pages.len()..4 + (number + 1) * pages.len()).collect();
    let file =
        file(&format!("message m {{ {names} }}"), Compression::UNCOMPRESSED, &pages.repeat(columns), &[(1, chunks)]);
    assert!(file.len() as u64 > SPAN);
    let limits = Limits { max_record_bytes: 64 * MIB, ..UNCAPPED };
    assert_eq!(read(&file, limits), (1, None));
}
