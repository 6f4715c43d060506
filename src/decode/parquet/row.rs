//! Rows from the levels and values of their columns (Dremel's record assembly), as JSON text. A null member is left
//! out, as an absent one; a null element stays, because its neighbours are counted.

use super::column::Column;
use super::schema::{Kind, Leaf, Repeated, Shape};
use super::text;
use super::values::Raw;
use crate::model::Reject;

/// A row that is being written.
struct Row<'a> {
    columns: &'a mut [Column],
    json: Json,
}

/// Text that ends where it is too long.
struct Json {
    out: Vec<u8>,
    /// More is not kept, but passed over.
    limit: usize,
    /// A value did not fit; nothing more is written.
    is_cut: bool,
}

/// What a row became.
pub(super) struct Written {
    /// Cut where it is too long.
    pub(super) json: Vec<u8>,
    pub(super) is_whole: bool,
}

const DISAGREE: &str = "its columns disagree about how often something is there";

/// Writes the next row, of which every column has all levels.
pub(super) fn write(columns: &mut [Column], shape: &Shape, limit: usize) -> Result<Written, String> {
    let mut row = Row { columns, json: Json { out: Vec::new(), limit, is_cut: false } };
    row.value(shape)?;
    for column in row.columns.iter_mut() {
        if !column.end_row() {
            return Err(DISAGREE.to_owned());
        }
    }
    Ok(Written { is_whole: row.json.takes_more(), json: row.json.out })
}

impl Json {
    fn takes_more(&self) -> bool {
        !self.is_cut && self.out.len() <= self.limit
    }

    fn put(&mut self, bytes: &[u8]) {
        if self.takes_more() {
            self.out.extend_from_slice(bytes);
        }
    }

    /// Writes a value with `write`. Of one that is too long by itself, as much as a reject shows.
    fn value(&mut self, leaf: Leaf, raw: Raw<'_>, write: fn(&mut Vec<u8>, Leaf, Raw<'_>)) {
        if !self.takes_more() {
            return;
        }
        let room = self.limit - self.out.len();
        match raw {
            Raw::Bytes(bytes) if !text::fits(leaf, raw, room) => {
                self.is_cut = true;
                let shown = bytes.len().min(room).min(Reject::RAW_LIMIT);
                write(&mut self.out, leaf, Raw::Bytes(&bytes[..shown]));
            }
            raw => write(&mut self.out, leaf, raw),
        }
    }
}

impl Row<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.json.put(bytes);
    }

    /// Writes a value, if there is one.
    fn value(&mut self, shape: &Shape) -> Result<bool, String> {
        let first = shape.columns.start;
        if shape.optional && self.peek(first)?.1 < shape.def {
            self.absent(shape, shape.def)?;
            return Ok(false);
        }
        match &shape.kind {
            Kind::Leaf(leaf) => self.leaf(first, *leaf)?,
            Kind::Group(members) => self.members(members)?,
            Kind::List(repeated, element) => {
                self.put(b"[");
                self.elements(shape, *repeated, |row| {
                    if !row.value(element)? {
                        row.put(b"null");
                    }
                    Ok(())
                })?;
                self.put(b"]");
            }
            Kind::Map(repeated, key, entry) => {
                self.put(b"{");
                self.elements(shape, *repeated, |row| row.entry(key, entry.as_deref()))?;
                self.put(b"}");
            }
        }
        Ok(true)
    }

    fn members(&mut self, members: &[(Vec<u8>, Shape)]) -> Result<(), String> {
        self.put(b"{");
        let mut is_first = true;
        for (key, member) in members {
            let before = self.json.out.len();
            if !is_first {
                self.put(b",");
            }
            self.put(key);
            if self.value(member)? { is_first = false } else { self.json.out.truncate(before) }
        }
        self.put(b"}");
        Ok(())
    }

    fn elements(
        &mut self,
        shape: &Shape,
        repeated: Repeated,
        mut element: impl FnMut(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        let first = shape.columns.start;
        if self.peek(first)?.1 < repeated.def {
            return self.absent(shape, repeated.def);
        }
        loop {
            element(self)?;
            match self.columns[first].peek() {
                Some((rep, _)) if rep == repeated.rep => self.put(b","),
                _ => return Ok(()),
            }
        }
    }

    fn entry(&mut self, key: &Shape, entry: Option<&Shape>) -> Result<(), String> {
        let column = key.columns.start;
        let (_, index) = self.columns[column].take().ok_or(DISAGREE)?;
        let raw = index.and_then(|index| self.columns[column].values().get(index));
        match (&key.kind, raw) {
            (Kind::Leaf(leaf), Some(raw)) => self.json.value(*leaf, raw, text::write_key),
            // Keys are required; some writers say otherwise, and hardly mean it.
            _ => self.put(b"\"\""),
        }
        self.put(b":");
        let is_there = match entry {
            Some(entry) => self.value(entry)?,
            None => false,
        };
        if !is_there {
            self.put(b"null");
        }
        Ok(())
    }

    fn leaf(&mut self, column: usize, leaf: Leaf) -> Result<(), String> {
        let (_, index) = self.columns[column].take().ok_or(DISAGREE)?;
        let raw = index.and_then(|index| self.columns[column].values().get(index)).ok_or(DISAGREE)?;
        self.json.value(leaf, raw, text::write);
        Ok(())
    }

    /// Every column has one level that says so.
    fn absent(&mut self, shape: &Shape, def: i16) -> Result<(), String> {
        for column in &mut self.columns[shape.columns.clone()] {
            match column.take() {
                Some((found, None)) if found < def => {}
                _ => return Err(DISAGREE.to_owned()),
            }
        }
        Ok(())
    }

    fn peek(&self, column: usize) -> Result<(i16, i16), String> {
        self.columns[column].peek().ok_or_else(|| DISAGREE.to_owned())
    }
}
