//! Where the pages of the columns lie: within the file, and nowhere twice. Looked at before the first row, for all row
//! groups: a file that names the same pages in a thousand row groups would be a thousand times what it is.

use std::ops::Range;

use parquet::basic::Compression;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};

use super::super::error::Reason;
use super::footer::corrupt;

/// Bytes of the magic that a file begins with.
const MAGIC: u64 = 4;

/// The most that the largest objects have need of.
const MAX_GROUPS: usize = 16 * 1024;

/// Every row group has `columns` columns, each in bytes of its own before `footer`, where the footer begins.
pub(super) fn check(metadata: &ParquetMetaData, columns: usize, footer: u64) -> Result<(), Reason> {
    let groups = metadata.num_row_groups();
    if groups > MAX_GROUPS {
        return Err(corrupt(format!("it has {groups} row groups, and {MAX_GROUPS} are the most")));
    }
    let descr = metadata.file_metadata().schema_descr();
    let mut taken: Vec<(Range<u64>, usize)> = Vec::new();
    for (number, group) in metadata.row_groups().iter().enumerate() {
        let in_group = |fault: String| corrupt(format!("row group {number}: {fault}"));
        if group.num_rows() < 0 {
            return Err(in_group("a negative number of rows".to_owned()));
        }
        if group.columns().len() != columns || descr.num_columns() != columns {
            return Err(in_group(format!("it has {} columns of {columns}", group.columns().len())));
        }
        // What has no rows is not read: its columns have nothing, often not even a page.
        if group.num_rows() == 0 {
            continue;
        }
        check_support(group)?;
        for (index, chunk) in group.columns().iter().enumerate() {
            let stored = stored(chunk).filter(|stored| stored.start >= MAGIC && stored.end <= footer);
            let path = || descr.column(index).path().string();
            let stored =
                stored.ok_or_else(|| in_group(format!("column {}: its pages are not in the object", path())))?;
            if !stored.is_empty() {
                taken.push((stored, number));
            }
        }
    }
    taken.sort_unstable_by_key(|(stored, _)| stored.start);
    for pair in taken.windows(2) {
        let [(first, a), (second, b)] = pair else { continue };
        if second.start < first.end {
            return Err(corrupt(format!("columns of the row groups {a} and {b} lie in the same bytes")));
        }
    }
    Ok(())
}

fn check_support(group: &RowGroupMetaData) -> Result<(), Reason> {
    for chunk in group.columns() {
        let (name, remedy) = match chunk.compression() {
            Compression::BROTLI(_) | Compression::LZO => {
                ("a Parquet file with Brotli or LZO pages", "write it with zstd, snappy, gzip or lz4")
            }
            _ if chunk.file_path().is_some() => ("a Parquet file whose columns are in other files", "write it whole"),
            _ => continue,
        };
        return Err(Reason::Container { name, remedy });
    }
    Ok(())
}

/// Where the pages of a column are, if that is anywhere.
pub(super) fn stored(chunk: &ColumnChunkMetaData) -> Option<Range<u64>> {
    let data = chunk.data_page_offset();
    // Some writers say zero where there is no dictionary.
    let start = match chunk.dictionary_page_offset() {
        Some(dictionary) if dictionary > 0 => dictionary.min(data),
        _ => data,
    };
    let start = u64::try_from(start).ok()?;
    let end = start.checked_add(u64::try_from(chunk.compressed_size()).ok()?)?;
    Some(start..end)
}
