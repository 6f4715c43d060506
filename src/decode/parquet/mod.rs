//! Rows of a Parquet file as records. Knows nothing of objects: it says which bytes of the file it needs, and takes
//! them.
//!
//! The footer comes first, then row group by row group: its columns side by side, page by page, row by row. What is
//! held at a time is counted: a small file or row group whole, else a window of each column; of each column one page,
//! its dictionary and a few rows. More than [`RowDecoder::HELD`] needs permission, more than [`Decoder::LARGE_WINDOWS`]
//! ends the reading. Nothing is made room for because a file says so: sizes and counts are held against the bytes that
//! are there, [`meter`] is charged before anything grows, and no byte of the file belongs to two columns ([`chunks`]).
//!
//! The crate `parquet` decodes footer and values. Levels, page headers and compression are read here: its own ways need
//! all pages of a column in memory, and bound neither what a page unpacks to nor a record that a page's levels make
//! long.
//!
//! [`Decoder::LARGE_WINDOWS`]: super::Decoder::LARGE_WINDOWS

mod chunks;
mod column;
mod delta;
mod footer;
mod levels;
mod meter;
mod page;
mod row;
mod schema;
mod text;
mod thrift;
mod values;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;

use std::ops::Range;

use bytes::Bytes;
use parquet::file::metadata::ParquetMetaData;

use super::error::{DecodeError, Reason};
use super::layer::SLICE;
use super::pending::Emit;
use super::{Decoder, Limits, Piece};
use column::{Column, Fill};
use footer::corrupt;
use meter::Meter;
use schema::Shape;
use values::guarded;

/// What a decoder needs to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// Nothing: take the pieces and call again.
    More,
    /// All rows are given.
    Done,
    /// These bytes of the file: [`RowDecoder::supply`].
    Bytes(Range<u64>),
    /// More memory than [`RowDecoder::HELD`]: [`RowDecoder::allow_large_windows`].
    LargeWindow,
}

/// Decodes one file.
pub struct RowDecoder {
    limits: Limits,
    size: u64,
    stage: Stage,
    wanted: Range<u64>,
    /// All of a small file.
    whole: Option<Bytes>,
    meter: Meter,
    bytes_out: u64,
    rows: u64,
    next_ordinal: u64,
}

enum Stage {
    /// The last bytes, which say where the footer is.
    Tail,
    Footer,
    Rows(Box<Table>),
}

struct Table {
    metadata: ParquetMetaData,
    shape: Shape,
    /// Row groups that were opened.
    opened: usize,
    columns: Vec<Column>,
    /// Rows of the open group that are to come.
    left: u64,
    /// What is charged for the open columns, and for the bytes of a small row group, which they share.
    cost: usize,
    /// Whose bytes are wanted; of all columns if of none.
    column: Option<usize>,
}

/// A file up to this size, or a row group of a larger one, is read whole.
const WHOLE: u64 = 8 * 1024 * 1024;
const SPAN: u64 = 16 * 1024 * 1024;

/// What is read at the end of a file at first; most footers are in it.
const END: u64 = 64 * 1024;

/// The windows of all columns of a larger row group together, and the least of one.
const WINDOWS: u64 = 8 * 1024 * 1024;
const LEAST_WINDOW: u64 = 4 * 1024;

/// Rows whose columns are unpacked together.
const TOGETHER: usize = 64;

/// What a row costs beside its text and a byte for each column, so that rows of nothing have an end, too.
const A_ROW: u64 = 64;

/// Bytes of a column beside what its pages and rows need.
const A_COLUMN: usize = 2 * 1024;

impl RowDecoder {
    /// Bytes that a decoder may hold without further permission.
    pub const HELD: u64 = 64 * 1024 * 1024;

    pub fn new(limits: Limits, size: u64) -> RowDecoder {
        RowDecoder {
            limits,
            size,
            stage: Stage::Tail,
            wanted: 0..0,
            whole: None,
            meter: Meter::new(RowDecoder::HELD as usize, limits.max_object_bytes),
            bytes_out: 0,
            rows: 0,
            next_ordinal: 0,
        }
    }

    /// Bytes of rows so far.
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out
    }

    pub fn allow_large_windows(&mut self) {
        self.meter.raise(Decoder::LARGE_WINDOWS as usize);
    }

    /// Gives rows until about [`SLICE`] bytes of them are there, or says what it needs. After an error the decoder is
    /// of no further use.
    pub fn advance(&mut self, out: &mut Vec<Piece>) -> Result<Want, DecodeError> {
        let want = match &self.stage {
            Stage::Tail => {
                let from = if self.size <= WHOLE { 0 } else { self.size - END };
                Ok(Want::Bytes(from..self.size))
            }
            Stage::Footer => Ok(Want::Bytes(self.wanted.clone())),
            Stage::Rows(_) => self.rows(out),
        };
        match want.map_err(|reason| self.error(reason))? {
            Want::LargeWindow if self.meter.limit() as u64 == Decoder::LARGE_WINDOWS => {
                Err(self.error(Reason::TooWide { limit: Decoder::LARGE_WINDOWS }))
            }
            Want::Bytes(range) => {
                self.wanted = range.clone();
                Ok(Want::Bytes(range))
            }
            want => Ok(want),
        }
    }

    /// The bytes that were wanted, all of them.
    pub fn supply(&mut self, bytes: Bytes) -> Result<(), DecodeError> {
        self.meter.was_read(bytes.len());
        self.accept(bytes).map_err(|reason| self.error(reason))
    }

    fn accept(&mut self, bytes: Bytes) -> Result<(), Reason> {
        if bytes.len() as u64 != self.wanted.end - self.wanted.start {
            return Err(Reason::Truncated { codec: "Parquet" });
        }
        match &mut self.stage {
            Stage::Tail => {
                let at = footer::locate(self.size, &bytes)?;
                if self.size <= WHOLE {
                    self.charge(bytes.len())?;
                    self.whole = Some(bytes.clone());
                }
                let start = self.wanted.start;
                if at.start < start {
                    (self.stage, self.wanted) = (Stage::Footer, at);
                    return Ok(());
                }
                self.open(&bytes[(at.start - start) as usize..(at.end - start) as usize], at.start)
            }
            Stage::Footer => self.open(&bytes, self.wanted.start),
            Stage::Rows(table) => {
                match table.column.take() {
                    Some(column) => table.columns[column].supply(self.wanted.start, bytes),
                    None => table.share(self.wanted.start, &bytes),
                }
                Ok(())
            }
        }
    }

    /// Charges what stays to the end. What needs permission for itself alone has no honest rows.
    fn charge(&mut self, bytes: usize) -> Result<(), Reason> {
        match self.meter.charge(&mut 0, bytes) {
            true => Ok(()),
            false => Err(Reason::TooWide { limit: self.meter.limit() as u64 }),
        }
    }

    /// Takes the footer, which begins at `start`.
    fn open(&mut self, footer: &[u8], start: u64) -> Result<(), Reason> {
        self.charge(footer::weigh(footer)?)?;
        let metadata = footer::decode(footer)?;
        let shape = schema::shape_of(metadata.file_metadata().schema()).map_err(corrupt)?;
        chunks::check(&metadata, shape.columns.len(), start)?;
        let table = Table { metadata, shape, opened: 0, columns: Vec::new(), left: 0, cost: 0, column: None };
        self.stage = Stage::Rows(Box::new(table));
        Ok(())
    }

    fn rows(&mut self, out: &mut Vec<Piece>) -> Result<Want, Reason> {
        let RowDecoder { stage: Stage::Rows(table), limits, meter, .. } = self else { return Ok(Want::More) };
        let until = self.bytes_out + SLICE as u64;
        let limits = *limits;
        let a_row = A_ROW + table.shape.columns.len() as u64;
        loop {
            if table.columns.is_empty() {
                while table.metadata.row_groups().get(table.opened).is_some_and(|group| group.num_rows() == 0) {
                    table.opened += 1;
                }
                if table.opened == table.metadata.num_row_groups() {
                    return Ok(Want::Done);
                }
                let Some(span) = table.open_group(meter)? else { return Ok(Want::LargeWindow) };
                let length = (span.end - span.start) as usize;
                let with_it = table.cost + length;
                match &self.whole {
                    Some(whole) => table.share(0, whole),
                    None if length as u64 <= SPAN && meter.charge(&mut table.cost, with_it) => {
                        return Ok(Want::Bytes(span));
                    }
                    None => {}
                }
            }
            match table.fill(meter)? {
                Fill::Ready => {}
                Fill::Bytes(range) => return Ok(Want::Bytes(range)),
                Fill::NoRoom => return Ok(Want::LargeWindow),
                Fill::Refused(reason) => return Err(reason),
            }
            let ready = table.columns.iter().map(Column::rows).min().unwrap_or(0) as u64;
            if ready.min(table.left) == 0 {
                table.close_group(meter)?;
                continue;
            }
            for _ in 0..ready.min(table.left) {
                let row = row::write(&mut table.columns, &table.shape, limits.max_record_bytes)
                    .map_err(|fault| corrupt(format!("row {} of the file: {fault}", self.rows)))?;
                table.left -= 1;
                self.rows += 1;
                self.bytes_out += row.json.len() as u64;
                let mut emit = Emit { out, next: &mut self.next_ordinal };
                if row.is_whole {
                    emit.record(row.json.into(), None);
                } else {
                    let limit = limits.max_record_bytes;
                    let reason = format!("the record has more than the {limit} bytes allowed; raise `max_record_mib`");
                    emit.reject(&row.json.into(), reason);
                }
                if self.bytes_out > limits.max_object_bytes {
                    return Err(Reason::TooLarge { limit: limits.max_object_bytes });
                }
                meter.check_ratio(self.bytes_out + self.rows * a_row)?;
                if self.bytes_out >= until || out.len() >= SLICE / A_ROW as usize {
                    return Ok(Want::More);
                }
            }
        }
    }

    fn error(&self, reason: Reason) -> DecodeError {
        DecodeError { offset: self.bytes_out, reason }
    }
}

impl Table {
    /// Begins the next row group; where its bytes are. `None` where there is no room for its columns.
    fn open_group(&mut self, meter: &mut Meter) -> Result<Option<Range<u64>>, Reason> {
        let count = self.shape.columns.len();
        if !meter.charge(&mut self.cost, count * A_COLUMN) {
            return Ok(None);
        }
        let number = self.opened;
        let in_group = |fault: String| corrupt(format!("row group {number}: {fault}"));
        let group = self.metadata.row_group(number);
        let descr = self.metadata.file_metadata().schema_descr();
        self.opened += 1;
        self.left = group.num_rows().unsigned_abs();
        let share = (WINDOWS / count as u64).max(LEAST_WINDOW);
        let mut span = Range { start: u64::MAX, end: 0 };
        for (index, chunk) in group.columns().iter().enumerate() {
            let descr = descr.column(index);
            let stored = chunks::stored(chunk).ok_or_else(|| in_group("its pages are nowhere".to_owned()))?;
            span = span.start.min(stored.start)..span.end.max(stored.end);
            let column = guarded(|| Ok(Column::new(&descr, chunk.compression(), stored, share))).map_err(in_group)?;
            self.columns.push(column);
        }
        Ok(Some(span))
    }

    /// Hands all columns their part of bytes that begin at `start`.
    fn share(&mut self, start: u64, bytes: &Bytes) {
        for column in &mut self.columns {
            column.supply(start, bytes.clone());
        }
    }

    fn fill(&mut self, meter: &mut Meter) -> Result<Fill, Reason> {
        for (index, column) in self.columns.iter_mut().enumerate() {
            let filled = column.fill(TOGETHER, meter).map_err(|fault| {
                corrupt(format!("row group {}, column {}: {fault}", self.opened - 1, column.path()))
            })?;
            if filled != Fill::Ready {
                self.column = matches!(filled, Fill::Bytes(_)).then_some(index);
                return Ok(filled);
            }
        }
        Ok(Fill::Ready)
    }

    /// All rows were made of it; there must be nothing left, and nothing missing.
    fn close_group(&mut self, meter: &mut Meter) -> Result<(), Reason> {
        if self.left > 0 || self.columns.iter().any(|column| column.rows() > 0) {
            let number = self.opened - 1;
            return Err(corrupt(format!("row group {number}: its columns have other numbers of rows than it says")));
        }
        self.columns.drain(..).for_each(|column| column.release(meter));
        meter.give_back(std::mem::take(&mut self.cost));
        Ok(())
    }
}

/// Decodes a file that is in memory, as are all its pieces then.
pub(super) fn decode_file(file: &Bytes, limits: Limits, out: &mut Vec<Piece>) -> Result<(), DecodeError> {
    let mut decoder = RowDecoder::new(limits, file.len() as u64);
    decoder.allow_large_windows();
    loop {
        match decoder.advance(out)? {
            Want::Done => return Ok(()),
            Want::More | Want::LargeWindow => {}
            Want::Bytes(range) => decoder.supply(file.slice(range.start as usize..range.end as usize))?,
        }
    }
}
