//! One column of a row group: its pages in order, and the levels and values of the next few rows.
//!
//! Of the stored bytes a column holds a window, of the pages one and the dictionary, of the rows a few. Levels are
//! unpacked here and values by the crate, which sees each page as one without levels.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, Type};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::schema::types::ColumnDescPtr;

use super::super::error::Reason;
use super::delta;
use super::levels::Levels;
use super::meter::Meter;
use super::page::{Data, Form, Header, Kind};
use super::thrift::Fault;
use super::values::Values;

/// A header with statistics of long values has that, an honest one.
const MAX_HEADER: usize = 1024 * 1024;

/// Levels that are looked at before their values are read.
const STEP: usize = 1024;

/// Values that the crate makes anew, one call may give so many bytes of.
const MADE: usize = 1024 * 1024;

const MALFORMED_LEVELS: &str = "its levels are malformed";

/// How filling ended.
#[derive(Debug, PartialEq)]
pub(super) enum Fill {
    /// There are complete rows, or there are no more.
    Ready,
    /// These bytes of the object come next.
    Bytes(Range<u64>),
    /// What comes next is more than may be held.
    NoRoom,
    /// What comes next is more than an object may become.
    Refused(Reason),
}

pub(super) struct Column {
    path: String,
    physical: Type,
    width: usize,
    max_def: i16,
    max_rep: i16,
    codec: Compression,
    /// What is not unpacked yet.
    stored: Range<u64>,
    window: (u64, Bytes),
    /// How much of a column is fetched at once.
    share: u64,
    pages: Pages,
    values: Values,
    has_dictionary: bool,
    page: Current,
    levels: Vec<(i16, i16)>,
    /// Levels and values that rows were made of.
    at: usize,
    value: usize,
    /// Complete rows that are not taken yet.
    rows: usize,
    /// The levels of a row that may go on.
    open: bool,
    ended: bool,
    costs: Costs,
}

/// The page that rows come from.
#[derive(Default)]
struct Current {
    left: u32,
    rep: Option<Levels>,
    def: Option<Levels>,
    step: usize,
    /// The row that is open began in it.
    begins_row: bool,
    /// What is charged for earlier pages, into which values of that row point.
    earlier: usize,
}

#[derive(Default)]
struct Costs {
    window: usize,
    page: usize,
    dictionary: usize,
    rows: usize,
}

impl Column {
    pub(super) fn new(descr: &ColumnDescPtr, codec: Compression, stored: Range<u64>, share: u64) -> Column {
        let pages = Pages::default();
        Column {
            path: descr.path().string(),
            physical: descr.physical_type(),
            width: usize::try_from(descr.type_length()).unwrap_or(0),
            max_def: descr.max_def_level(),
            max_rep: descr.max_rep_level(),
            codec,
            window: (stored.start, Bytes::new()),
            stored,
            share,
            values: Values::new(descr, pages.clone()),
            pages,
            has_dictionary: false,
            page: Current::default(),
            levels: Vec::new(),
            at: 0,
            value: 0,
            rows: 0,
            open: false,
            ended: false,
            costs: Costs::default(),
        }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Complete rows that are at hand.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes that begin at `start`. They are charged already: as the window that was asked for, or to the row group.
    pub(super) fn supply(&mut self, start: u64, bytes: Bytes) {
        self.window = (start, bytes);
    }

    /// Asks for the bytes that come next, `least` of them or the column's share. What there was of them makes room.
    fn want(&mut self, least: usize, meter: &mut Meter) -> Fill {
        let left = self.stored.end - self.stored.start;
        let length = (least as u64).max(self.share).min(left);
        // Twice: as they come, and in one.
        if !meter.charge(&mut self.costs.window, 2 * length as usize) {
            return Fill::NoRoom;
        }
        self.window = (self.stored.start, Bytes::new());
        Fill::Bytes(self.stored.start..self.stored.start + length)
    }

    /// Makes room where everything of the column is done with.
    pub(super) fn release(self, meter: &mut Meter) {
        let Costs { window, page, dictionary, rows } = self.costs;
        meter.give_back(window + page + dictionary + rows);
    }

    /// Has up to `rows` complete rows at hand, and one at the least if there is one.
    pub(super) fn fill(&mut self, rows: usize, meter: &mut Meter) -> Result<Fill, String> {
        self.forget();
        while self.rows < rows && !self.ended {
            let cost = self.levels.capacity() * size_of::<(i16, i16)>() + self.values.cost();
            if !meter.charge(&mut self.costs.rows, cost) {
                return Ok(Fill::NoRoom);
            }
            if self.rows > 0 && (self.page.left == 0 || self.values.made() > MADE) {
                break;
            }
            if self.page.left > 0 {
                self.scan(rows)?;
                continue;
            }
            match self.load(meter)? {
                Some(Fill::Ready) => {}
                Some(other) => return Ok(other),
                None => {
                    self.ended = true;
                    self.rows += usize::from(std::mem::take(&mut self.open));
                }
            }
        }
        Ok(Fill::Ready)
    }

    fn forget(&mut self) {
        self.levels.drain(..std::mem::take(&mut self.at));
        self.values.forget(std::mem::take(&mut self.value));
        // After a long row.
        if self.levels.is_empty() && self.levels.capacity() > 4 * STEP {
            self.levels = Vec::new();
        }
    }

    /// Takes levels and values from the page.
    fn scan(&mut self, rows: usize) -> Result<(), String> {
        let mut present = 0;
        let page = &mut self.page;
        for _ in 0..page.step {
            if page.left == 0 || self.rows >= rows {
                break;
            }
            let rep = page.rep.as_mut().map_or(Some(0), Levels::peek).ok_or(MALFORMED_LEVELS)?;
            if rep == 0 && self.open {
                (self.rows, self.open) = (self.rows + 1, false);
                continue;
            }
            if let Some(levels) = &mut page.rep {
                levels.next();
            }
            let def = page.def.as_mut().map_or(Some(0), Levels::next).ok_or(MALFORMED_LEVELS)?;
            if rep > self.max_rep || def > self.max_def || rep > 0 && !self.open {
                return Err(MALFORMED_LEVELS.to_owned());
            }
            page.left -= 1;
            self.levels.push((rep, def));
            present += usize::from(def == self.max_def);
            if self.max_rep == 0 {
                self.rows += 1
            } else {
                self.open = true
            }
            page.begins_row |= rep == 0;
        }
        self.values.read(present)
    }

    /// Unpacks the next page; `None` where there is none.
    fn load(&mut self, meter: &mut Meter) -> Result<Option<Fill>, String> {
        loop {
            let left = self.stored.end - self.stored.start;
            if left == 0 {
                return Ok(None);
            }
            let from = usize::try_from(self.stored.start - self.window.0).unwrap_or(usize::MAX);
            let have = self.window.1.get(from..).unwrap_or_default();
            let held = have.len();
            let header = match Header::read(have) {
                Ok(header) => header,
                Err(Fault::Short) if (held as u64) < left && held < MAX_HEADER => {
                    return Ok(Some(self.want(held * 2 + 1024, meter)));
                }
                Err(Fault::Short) => return Err("a page header has no end".to_owned()),
                Err(Fault::Bad(fault)) => return Err(fault),
            };
            let total = header.length + header.stored as usize;
            if total as u64 > left {
                return Err("a page reaches beyond its column".to_owned());
            }
            if header.kind == Kind::Other {
                self.stored.start += total as u64;
                continue;
            }
            if held < total {
                return Ok(Some(self.want(total, meter)));
            }
            let size = header.content(self.codec);
            if let Kind::Dictionary { count, .. } = header.kind {
                self.check_dictionary(count, size)?;
                let cost = size + count as usize * Values::SIZE;
                if !meter.charge(&mut self.costs.dictionary, cost) {
                    return Ok(Some(Fill::NoRoom));
                }
            } else if !meter.has_room(size) {
                // Beside the page before, which is there until this one is open.
                return Ok(Some(Fill::NoRoom));
            }
            if let Err(reason) = meter.unpack(size) {
                return Ok(Some(Fill::Refused(reason)));
            }
            let page = header
                .unpack(self.codec, &have[header.length..total])
                .map_err(|fault| format!("a page is corrupt: {fault}"))?;
            match header.kind {
                Kind::Dictionary { count, encoding } => {
                    let page = Page::DictionaryPage { buf: page, num_values: count, encoding, is_sorted: false };
                    self.pages.push(page);
                    self.has_dictionary = true;
                    self.stored.start += total as u64;
                }
                Kind::Data(data) => {
                    if !self.open_page(&data, page, meter)? {
                        return Ok(Some(Fill::NoRoom));
                    }
                    self.stored.start += total as u64;
                    return Ok(Some(Fill::Ready));
                }
                Kind::Other => {}
            }
        }
    }

    /// The crate makes room for as many values as there are said to be.
    fn check_dictionary(&self, count: u32, size: usize) -> Result<(), String> {
        let least = match self.physical {
            Type::BOOLEAN => return Err("truth values have a dictionary".to_owned()),
            Type::INT32 | Type::FLOAT | Type::BYTE_ARRAY => 4,
            Type::INT64 | Type::DOUBLE => 8,
            Type::INT96 => 12,
            Type::FIXED_LEN_BYTE_ARRAY => self.width.max(1) as u64,
        };
        if u64::from(count) * least > size as u64 {
            return Err(format!("its dictionary of {size} bytes can't have {count} values"));
        }
        if self.has_dictionary {
            return Err("it has two dictionaries".to_owned());
        }
        Ok(())
    }

    /// False where there is no room for what it needs beside its bytes.
    fn open_page(&mut self, data: &Data, mut page: Bytes, meter: &mut Meter) -> Result<bool, String> {
        let size = page.len();
        let (rep, def) = match data.form {
            Form::V1 { definition, repetition } => {
                let rep = part(&mut page, repetition, self.max_rep)?;
                (rep, part(&mut page, definition, self.max_def)?)
            }
            Form::V2 { definition, repetition, .. } => {
                let (definition, repetition) = (definition as usize, repetition as usize);
                if definition.saturating_add(repetition) > size {
                    return Err("its levels are longer than the page".to_owned());
                }
                (page.split_to(repetition), page.split_to(definition))
            }
        };
        let levels = |data, max| (max > 0).then(|| Levels::new(data, max));
        let (rep, def) = (levels(rep, self.max_rep), levels(def, self.max_def));
        let present = match &def {
            Some(levels) => levels.clone().occurrences(self.max_def, data.levels).ok_or(MALFORMED_LEVELS)?,
            None => data.levels,
        };
        let by_dictionary = matches!(data.encoding, Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY);
        if by_dictionary && !self.has_dictionary {
            return Err("a page has indexes into a dictionary that is not there".to_owned());
        }
        let is_made = data.encoding == Encoding::DELTA_BYTE_ARRAY;
        let step = if is_made { MADE.checked_div(size).unwrap_or(STEP).clamp(1, STEP) } else { STEP };
        if present > 0 {
            delta::check(data.encoding, &page, present)?;
        }
        // At this point there are no values but of the open row.
        let earlier = match self.values.point_into_pages() {
            false => 0,
            true if self.page.begins_row => self.costs.page - self.page.earlier,
            true => self.costs.page,
        };
        let cost = size.saturating_add(delta::unpacked(data.encoding, present));
        if !meter.has_room(cost) || !meter.charge(&mut self.costs.page, earlier + cost) {
            return Ok(false);
        }
        self.values.are_made(is_made);
        self.page = Current { left: data.levels, rep, def, step, begins_row: false, earlier };
        if present == 0 {
            return Ok(true);
        }
        self.pages.push(Page::DataPage {
            buf: page,
            num_values: present,
            encoding: data.encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        });
        Ok(true)
    }

    /// Repetition and definition level of what comes next.
    pub(super) fn peek(&self) -> Option<(i16, i16)> {
        self.levels.get(self.at).copied()
    }

    /// Passes over one level; the index of its value if it has one.
    pub(super) fn take(&mut self) -> Option<(i16, Option<usize>)> {
        let (_, def) = self.peek()?;
        self.at += 1;
        if def < self.max_def {
            return Some((def, None));
        }
        self.value += 1;
        Some((def, Some(self.value - 1)))
    }

    pub(super) fn values(&self) -> &Values {
        &self.values
    }

    /// A row was made. False when the column has more of it than the others.
    pub(super) fn end_row(&mut self) -> bool {
        self.rows = self.rows.saturating_sub(1);
        self.peek().is_none_or(|(rep, _)| rep == 0)
    }
}

/// The levels at the front of a page, which begin with their length.
fn part(page: &mut Bytes, encoding: Encoding, max: i16) -> Result<Bytes, String> {
    if max == 0 {
        return Ok(Bytes::new());
    }
    if encoding != Encoding::RLE {
        return Err(format!("its levels have the encoding {encoding}, which is long deprecated; write it anew"));
    }
    let length = page.first_chunk().map(|head: &[u8; 4]| u32::from_le_bytes(*head) as usize);
    match length {
        Some(length) if length <= page.len() - 4 => {
            let mut part = page.split_to(4 + length);
            Ok(part.split_off(4))
        }
        _ => Err("its levels are longer than the page".to_owned()),
    }
}

/// The pages that the crate may read now.
#[derive(Clone, Default)]
pub(super) struct Pages(Arc<Mutex<VecDeque<Page>>>);

impl Pages {
    fn push(&self, page: Page) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(page);
    }

    fn pop(&self) -> Option<Page> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl Iterator for Pages {
    type Item = parquet::errors::Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.pop().map(Ok)
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> parquet::errors::Result<Option<Page>> {
        Ok(self.pop())
    }

    fn peek_next_page(&mut self) -> parquet::errors::Result<Option<PageMetadata>> {
        Ok(None)
    }

    fn skip_next_page(&mut self) -> parquet::errors::Result<()> {
        self.pop();
        Ok(())
    }
}
