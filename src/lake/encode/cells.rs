//! Builders of Arrow arrays in the shape of the table, each of which takes a JSON value and gives back what of it it could
//! not hold.
//!
//! Most columns are empty in most rows. A column learns of the rows that it has no value in when the next value comes, or
//! at the end, so that they cost nothing each.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int32Builder, Int64Builder, ListArray, NullBufferBuilder, StringBuilder,
    StructArray, TimestampMicrosecondBuilder, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, FieldRef, Fields as ArrowFields, TimeUnit};
use serde::Serialize;

use super::left::Left;
use super::time_text::microseconds;
use super::{Column, Shape};
use crate::model::{Items, Look, Members, Part};

/// Beyond these, integers have no exact `f64`.
const EXACT: i64 = 1 << 53;

pub(super) enum Cells {
    Text(StringBuilder),
    Json(Json),
    Int(Int32Builder),
    Long(Int64Builder),
    Double(Float64Builder),
    Boolean(BooleanBuilder),
    Time(TimestampMicrosecondBuilder),
    List(Box<List>),
    Struct(Box<Struct>),
    /// A column of a type that margay does not write: somebody else's.
    Empty(DataType, usize),
}

#[derive(Default)]
pub(super) struct Json {
    cells: StringBuilder,
    /// The text of one value, before it is in the column.
    text: Vec<u8>,
}

pub(super) struct List {
    field: FieldRef,
    ends: Vec<i32>,
    valid: NullBufferBuilder,
    items: Cells,
    count: i32,
}

pub(super) struct Struct {
    fields: Fields,
    valid: NullBufferBuilder,
}

impl Cells {
    fn new(data_type: &DataType, shape: Option<&Shape>) -> Cells {
        match data_type {
            DataType::Utf8 if shape == Some(&Shape::Json) => Cells::Json(Json::default()),
            DataType::Utf8 => Cells::Text(StringBuilder::new()),
            DataType::Int32 => Cells::Int(Int32Builder::new()),
            DataType::Int64 => Cells::Long(Int64Builder::new()),
            DataType::Float64 => Cells::Double(Float64Builder::new()),
            DataType::Boolean => Cells::Boolean(BooleanBuilder::new()),
            DataType::Timestamp(TimeUnit::Microsecond, None) => Cells::Time(TimestampMicrosecondBuilder::new()),
            DataType::List(field) => {
                let shape = if let Some(Shape::List(shape)) = shape { Some(&**shape) } else { None };
                let items = Cells::new(field.data_type(), shape);
                let valid = NullBufferBuilder::new(0);
                Cells::List(Box::new(List { field: field.clone(), ends: vec![0], valid, items, count: 0 }))
            }
            DataType::Struct(fields) => {
                let columns = if let Some(Shape::Struct(columns)) = shape { &columns[..] } else { &[] };
                let fields = Fields::new(fields, columns);
                Cells::Struct(Box::new(Struct { fields, valid: NullBufferBuilder::new(0) }))
            }
            other => Cells::Empty(other.clone(), 0),
        }
    }

    /// Takes the value; what the cell could not hold of it.
    fn put<'v>(&mut self, part: Part<'v>) -> Option<Left<'v>> {
        if let Cells::Json(json) = self {
            json.put(&part);
            return None;
        }
        match (self, part.look()) {
            (Cells::Text(cells), Look::Str(text)) => cells.append_value(text),
            (Cells::Int(cells), Look::Int(number)) if i32::try_from(number).is_ok() => {
                cells.append_value(number as i32);
            }
            (Cells::Long(cells), Look::Int(number)) => cells.append_value(number),
            (Cells::Double(cells), Look::Float(number)) => cells.append_value(number),
            (Cells::Double(cells), Look::Int(number)) if (-EXACT..=EXACT).contains(&number) => {
                cells.append_value(number as f64);
            }
            (Cells::Boolean(cells), Look::Bool(truth)) => cells.append_value(truth),
            (Cells::Time(cells), Look::Str(text)) => match microseconds(text) {
                Some((at, says_more)) => {
                    cells.append_value(at);
                    return says_more.then_some(Left::Whole(part));
                }
                None => {
                    cells.append_null();
                    return Some(Left::Whole(part));
                }
            },
            (Cells::List(list), Look::List(items)) => return list.put(items),
            (Cells::Struct(cells), Look::Map(members)) => {
                cells.valid.append_non_null();
                return cells.fields.put_all(members);
            }
            (cells, _) => {
                cells.put_nulls(1);
                return Some(Left::Whole(part));
            }
        }
        None
    }

    fn put_nulls(&mut self, count: usize) {
        match self {
            Cells::Text(cells) => cells.append_nulls(count),
            Cells::Json(json) => json.cells.append_nulls(count),
            Cells::Int(cells) => cells.append_nulls(count),
            Cells::Long(cells) => cells.append_nulls(count),
            Cells::Double(cells) => cells.append_nulls(count),
            Cells::Boolean(cells) => cells.append_nulls(count),
            Cells::Time(cells) => cells.append_nulls(count),
            Cells::List(list) => {
                list.ends.extend(std::iter::repeat_n(list.count, count));
                list.valid.append_n_nulls(count);
            }
            Cells::Struct(cells) => {
                cells.valid.append_n_nulls(count);
                cells.fields.rows += count;
            }
            Cells::Empty(_, all) => *all += count,
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Cells::Text(cells) => Arc::new(cells.finish()),
            Cells::Json(json) => Arc::new(json.cells.finish()),
            Cells::Int(cells) => Arc::new(cells.finish()),
            Cells::Long(cells) => Arc::new(cells.finish()),
            Cells::Double(cells) => Arc::new(cells.finish()),
            Cells::Boolean(cells) => Arc::new(cells.finish()),
            Cells::Time(cells) => Arc::new(cells.finish()),
            Cells::List(list) => list.finish(),
            Cells::Struct(cells) => {
                let valid = cells.valid.finish();
                let arrays = cells.fields.finish();
                Arc::new(StructArray::new(cells.fields.arrow.clone(), arrays, valid))
            }
            Cells::Empty(data_type, count) => new_null_array(data_type, std::mem::take(count)),
        }
    }
}

impl Json {
    fn put(&mut self, value: &impl Serialize) {
        self.text.clear();
        serde_json::to_writer(&mut self.text, value).expect("strings and finite numbers always serialise");
        self.cells.append_value(std::str::from_utf8(&self.text).expect("JSON is written as UTF-8"));
    }
}

impl List {
    fn put<'v>(&mut self, items: Items<'v>) -> Option<Left<'v>> {
        let (mut left, mut len): (Vec<Option<Left<'v>>>, usize) = (Vec::new(), 0);
        for item in items {
            if let Look::Null = item.look() {
                self.items.put_nulls(1);
            } else if let Some(rest) = self.items.put(item) {
                left.resize_with(len, || None);
                left.push(Some(rest));
            }
            len += 1;
            self.count += 1;
        }
        self.ends.push(self.count);
        self.valid.append_non_null();
        (!left.is_empty()).then(|| {
            left.resize_with(len, || None);
            Left::List(left)
        })
    }

    fn finish(&mut self) -> ArrayRef {
        let ends = std::mem::replace(&mut self.ends, vec![0]);
        self.count = 0;
        let offsets = OffsetBuffer::new(ends.into());
        Arc::new(ListArray::new(self.field.clone(), offsets, self.items.finish(), self.valid.finish()))
    }
}

/// The columns of a row or the fields of a struct.
pub(super) struct Fields {
    arrow: ArrowFields,
    cells: Vec<Cells>,
    /// How many rows each of these knows of.
    lengths: Vec<usize>,
    /// Rows, the one that is being put together among them.
    rows: usize,
    by_name: HashMap<String, usize>,
    /// The field that came after each the last time, and first that of the beginning: it mostly does again.
    followers: Vec<usize>,
    /// One more than the last field of this row.
    last: usize,
}

impl Fields {
    pub(super) fn new(arrow: &ArrowFields, columns: &[Column]) -> Fields {
        let shape = |name: &str| columns.iter().find(|column| *column.name == *name).map(|column| &column.shape);
        let cells = arrow.iter().map(|field| Cells::new(field.data_type(), shape(field.name()))).collect();
        let by_name = arrow.iter().enumerate().map(|(at, field)| (field.name().clone(), at)).collect();
        let followers = (0..=arrow.len()).collect();
        Fields { arrow: arrow.clone(), cells, lengths: vec![0; arrow.len()], rows: 0, by_name, followers, last: 0 }
    }

    pub(super) fn position(&mut self, name: &str) -> Option<usize> {
        let guess = self.followers[self.last];
        let at = match self.arrow.get(guess) {
            Some(field) if field.name() == name => guess,
            _ => *self.by_name.get(name)?,
        };
        self.followers[self.last] = at;
        self.last = at + 1;
        Some(at)
    }

    pub(super) fn begin(&mut self) {
        self.rows += 1;
        self.last = 0;
    }

    pub(super) fn has(&self, at: usize) -> bool {
        self.lengths[at] == self.rows
    }

    /// A field comes once a row, as maps have each key once; what came again would be left.
    pub(super) fn put<'v>(&mut self, at: usize, part: Part<'v>) -> Option<Left<'v>> {
        if self.has(at) {
            return Some(Left::Whole(part));
        }
        self.reach(at).put(part)
    }

    /// The same of text that is JSON, or left over where the field holds something else.
    pub(super) fn put_left(&mut self, at: usize, left: &Left<'_>) {
        match self.reach(at) {
            Cells::Json(json) => json.put(left),
            // It can't be stored in a column that somebody made of another type.
            other => other.put_nulls(1),
        }
    }

    /// The cells of a field, with all rows before this one.
    fn reach(&mut self, at: usize) -> &mut Cells {
        let (cells, missing) = (&mut self.cells[at], self.rows - 1 - self.lengths[at]);
        if missing > 0 {
            cells.put_nulls(missing);
        }
        self.lengths[at] = self.rows;
        cells
    }

    fn put_all<'v>(&mut self, members: Members<'v>) -> Option<Left<'v>> {
        self.begin();
        let mut rest = Vec::new();
        members.each(&mut |key, part| {
            let left = match self.position(key) {
                Some(at) => self.put(at, part),
                None => Some(Left::Whole(part)),
            };
            rest.extend(left.map(|left| (key, left)));
        });
        Left::of_map(rest)
    }

    pub(super) fn finish(&mut self) -> Vec<ArrayRef> {
        let rows = std::mem::take(&mut self.rows);
        let all = self.cells.iter_mut().zip(&mut self.lengths);
        all.map(|(cells, length)| {
            let missing = rows - std::mem::take(length);
            if missing > 0 {
                cells.put_nulls(missing);
            }
            cells.finish()
        })
        .collect()
    }
}
