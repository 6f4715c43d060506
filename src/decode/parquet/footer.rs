//! The footer of a file: where it is, and whether what it declares is there, before the crate decodes it.

use std::ops::Range;

use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::super::error::Reason;
use super::thrift::{Compact, Fault};
use super::values::guarded;

/// Length of the footer, and the magic.
pub(super) const TAIL: u64 = 8;

/// The magics at both ends and the length between.
const LEAST: u64 = 12;

/// The most that a footer may have; one of ten thousand column chunks has about one.
const MAX_FOOTER: u64 = 16 * 1024 * 1024;

/// Groups within groups, and columns of one row.
const MAX_DEPTH: usize = 64;
const MAX_COLUMNS: u64 = 16 * 1024;

/// Bytes of one structure of the footer once it is decoded, at the most.
const STRUCTURE: u64 = 640;

/// Where the footer is, from the last bytes of a file of `size` bytes.
pub(super) fn locate(size: u64, end: &[u8]) -> Result<Range<u64>, Reason> {
    let tail = end.last_chunk::<{ TAIL as usize }>().ok_or(Reason::Truncated { codec: "Parquet" })?;
    let (length, magic) = tail.split_at(4);
    match magic {
        b"PAR1" => {}
        b"PARE" => {
            let remedy = "write it without encryption, or let the bucket encrypt it";
            return Err(Reason::Container { name: "an encrypted Parquet file", remedy });
        }
        // What is uploaded or written in part has no end.
        _ => return Err(Reason::Truncated { codec: "Parquet" }),
    }
    let length = u64::from(length.iter().rev().fold(0_u32, |length, byte| length << 8 | u32::from(*byte)));
    if size < LEAST || length == 0 || length > size - LEAST {
        return Err(corrupt(format!("its footer of {length} bytes does not fit into the object")));
    }
    if length > MAX_FOOTER {
        return Err(corrupt(format!("its footer has {length} bytes, and {MAX_FOOTER} are the most")));
    }
    Ok(size - TAIL - length..size - TAIL)
}

/// Bytes that the footer needs once it is decoded. Looks at all that the crate makes room for, or goes deeper for,
/// without asking whether it is there.
pub(super) fn weigh(footer: &[u8]) -> Result<usize, Reason> {
    let mut compact = Compact::new(footer);
    let mut open: Vec<u32> = Vec::new();
    let mut elements = 0_u64;
    compact
        .fields(|compact, id, field| {
            if id != 2 || !field.is_list() {
                return compact.skip(field);
            }
            let (element, count) = compact.list()?;
            elements = count;
            if !element.is_struct() {
                return Err(Fault::Bad("its schema is none".to_owned()));
            }
            for _ in 0..count {
                let mut children = 0;
                compact.fields(|compact, id, field| {
                    if id == 5 && field.is_integer() {
                        children = compact.count()?;
                        return Ok(());
                    }
                    compact.skip(field)
                })?;
                descend(&mut open, children, count)?;
            }
            Ok(())
        })
        .map_err(|fault| match fault {
            Fault::Short => corrupt("its footer declares more than it has".to_owned()),
            Fault::Bad(fault) => corrupt(fault),
        })?;
    if elements > MAX_COLUMNS {
        return Err(corrupt(format!("it has {elements} columns, and {MAX_COLUMNS} are the most")));
    }
    Ok(footer.len().saturating_add(usize::try_from(compact.structs() * STRUCTURE).unwrap_or(usize::MAX)))
}

/// `open` are the groups around, with the children that are to come.
fn descend(open: &mut Vec<u32>, children: u32, elements: u64) -> Result<(), Fault> {
    while open.last() == Some(&0) {
        open.pop();
    }
    if let Some(left) = open.last_mut() {
        *left -= 1;
    }
    if u64::from(children) >= elements.max(1) {
        return Err(Fault::Bad("its schema declares more than it has".to_owned()));
    }
    if children > 0 {
        open.push(children);
    }
    if open.len() > MAX_DEPTH {
        return Err(Fault::Bad(format!("its columns are nested deeper than {MAX_DEPTH}")));
    }
    Ok(())
}

pub(super) fn decode(footer: &[u8]) -> Result<ParquetMetaData, Reason> {
    guarded(|| ParquetMetaDataReader::decode_metadata(footer)).map_err(corrupt)
}

pub(super) fn corrupt(fault: String) -> Reason {
    Reason::Corrupt { codec: "Parquet", fault }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn located(size: u64, end: &[u8]) -> Result<Range<u64>, String> {
        locate(size, end).map_err(|reason| reason.to_string())
    }

    #[test]
    fn a_footer_lies_before_the_end_or_nowhere() {
        assert_eq!(located(100, b"..\x0a\0\0\0PAR1"), Ok(82..92));
        for (size, end, told) in [
            (100, &b"\x59\0\0\0PAR1"[..], "footer of 89 bytes"),
            (100, b"\xff\xff\xff\xffPAR1", "footer of 4294967295 bytes"),
            (u64::MAX, b"\xff\xff\xff\xffPAR1", "are the most"),
            (8, b"\x01\0\0\0PAR1", "footer of 1 bytes"),
            (100, b"\0\0\0\0PAR1", "footer of 0 bytes"),
            (100, b"\x0a\0\0\0PARE", "encrypted"),
            (100, b"\x0a\0\0\0PAR2", "truncated"),
            (4, b"PAR1", "truncated"),
        ] {
            let error = located(size, end).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn deep_and_endless_schemas_are_found_before_they_are_decoded() {
        // Each element: field 5 (children), an i32.
        let schema = |children: &[u8]| {
            let mut footer = vec![0x29, 0xfc];
            let count = children.len();
            footer.extend([(count & 0x7f) as u8 | 0x80, (count >> 7) as u8]);
            children.iter().for_each(|count| footer.extend([0x55, count * 2, 0]));
            footer.push(0);
            weigh(&footer).map_err(|reason| reason.to_string())
        };
        assert!(schema(&[2, 1, 0, 0]).is_ok());
        assert!(schema(&[1; 1000]).unwrap_err().contains("nested deeper"));
        assert!(schema(&[4, 0, 0]).unwrap_err().contains("declares more"));
        assert!(weigh(&[0x29, 0xfc, 0xff, 0xff, 0x7f]).unwrap_err().to_string().contains("declares more"));
    }
}
