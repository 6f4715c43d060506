//! Builders of Arrow arrays in the shape of the table, each of which takes a JSON value and gives back what of it it could
//! not hold.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int32Builder, Int64Builder, ListArray, NullBufferBuilder, StringBuilder,
    StructArray, TimestampMicrosecondBuilder, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, FieldRef, Fields as ArrowFields, TimeUnit};

use super::time_text::microseconds;
use super::{Column, Shape};
use crate::model::{MapBuilder, Value};

/// Beyond these, integers have no exact `f64`.
const EXACT: i64 = 1 << 53;

pub(super) enum Cells {
    Text(StringBuilder),
    Json(StringBuilder),
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
            DataType::Utf8 if shape == Some(&Shape::Json) => Cells::Json(StringBuilder::new()),
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
    fn put(&mut self, value: &Value) -> Option<Value> {
        match (self, value) {
            (Cells::Text(cells), Value::Str(text)) => cells.append_value(text),
            (Cells::Json(cells), value) => {
                let text = serde_json::to_string(value).expect("strings and finite numbers always serialise");
                cells.append_value(text);
            }
            (Cells::Int(cells), Value::Int(number)) if i32::try_from(*number).is_ok() => {
                cells.append_value(*number as i32);
            }
            (Cells::Long(cells), Value::Int(number)) => cells.append_value(*number),
            (Cells::Double(cells), Value::Float(number)) => cells.append_value(*number),
            (Cells::Double(cells), Value::Int(number)) if (-EXACT..=EXACT).contains(number) => {
                cells.append_value(*number as f64);
            }
            (Cells::Boolean(cells), Value::Bool(truth)) => cells.append_value(*truth),
            (Cells::Time(cells), Value::Str(text)) => match microseconds(text) {
                Some((at, says_more)) => {
                    cells.append_value(at);
                    return says_more.then(|| value.clone());
                }
                None => {
                    cells.append_null();
                    return Some(value.clone());
                }
            },
            (Cells::List(list), Value::List(items)) => return list.put(items),
            (Cells::Struct(cells), Value::Map(map)) => {
                cells.valid.append_non_null();
                return cells.fields.put_all(map);
            }
            (cells, value) => {
                cells.put_null();
                return Some(value.clone());
            }
        }
        None
    }

    fn put_null(&mut self) {
        match self {
            Cells::Text(cells) | Cells::Json(cells) => cells.append_null(),
            Cells::Int(cells) => cells.append_null(),
            Cells::Long(cells) => cells.append_null(),
            Cells::Double(cells) => cells.append_null(),
            Cells::Boolean(cells) => cells.append_null(),
            Cells::Time(cells) => cells.append_null(),
            Cells::List(list) => list.end(false),
            Cells::Struct(cells) => {
                cells.valid.append_null();
                cells.fields.begin();
                cells.fields.end();
            }
            Cells::Empty(_, count) => *count += 1,
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Cells::Text(cells) | Cells::Json(cells) => Arc::new(cells.finish()),
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

impl List {
    fn put(&mut self, items: &[Value]) -> Option<Value> {
        let mut left: Vec<Value> = Vec::new();
        for (at, item) in items.iter().enumerate() {
            if let Value::Null = item {
                self.items.put_null();
            } else if let Some(rest) = self.items.put(item) {
                left.resize(at, Value::Null);
                left.push(rest);
            }
            self.count += 1;
        }
        self.end(true);
        (!left.is_empty()).then(|| {
            left.resize(items.len(), Value::Null);
            Value::List(left.into())
        })
    }

    fn end(&mut self, valid: bool) {
        self.ends.push(self.count);
        self.valid.append(valid);
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
    by_name: HashMap<String, usize>,
    /// Which have a value in the row that is being put together.
    filled: Vec<bool>,
    /// Where the next field is expected: events have theirs in the order of the schema.
    next: usize,
}

impl Fields {
    pub(super) fn new(arrow: &ArrowFields, columns: &[Column]) -> Fields {
        let shape = |name: &str| columns.iter().find(|column| *column.name == *name).map(|column| &column.shape);
        let cells = arrow.iter().map(|field| Cells::new(field.data_type(), shape(field.name()))).collect();
        let by_name = arrow.iter().enumerate().map(|(at, field)| (field.name().clone(), at)).collect();
        Fields { arrow: arrow.clone(), cells, by_name, filled: vec![false; arrow.len()], next: 0 }
    }

    pub(super) fn position(&mut self, name: &str) -> Option<usize> {
        let ahead = self.arrow.iter().skip(self.next).take(2).position(|field| field.name() == name);
        let at = ahead.map(|ahead| self.next + ahead).or_else(|| self.by_name.get(name).copied())?;
        self.next = at + 1;
        Some(at)
    }

    pub(super) fn begin(&mut self) {
        self.filled.fill(false);
        self.next = 0;
    }

    pub(super) fn has(&self, at: usize) -> bool {
        self.filled[at]
    }

    /// A field comes once a row, as maps have each key once.
    pub(super) fn put(&mut self, at: usize, value: &Value) -> Option<Value> {
        self.filled[at] = true;
        self.cells[at].put(value)
    }

    pub(super) fn end(&mut self) {
        for (cells, filled) in self.cells.iter_mut().zip(&self.filled) {
            if !filled {
                cells.put_null();
            }
        }
    }

    fn put_all(&mut self, map: &crate::model::Map) -> Option<Value> {
        self.begin();
        let mut rest = MapBuilder::default();
        let mut is_whole = true;
        for (key, value) in map.iter() {
            let left = match self.position(key) {
                Some(at) => self.put(at, value),
                None => Some(value.clone()),
            };
            if let Some(left) = left {
                rest.insert(key.clone(), left);
                is_whole = false;
            }
        }
        self.end();
        (!is_whole).then(|| Value::Map(rest.build()))
    }

    pub(super) fn finish(&mut self) -> Vec<ArrayRef> {
        self.cells.iter_mut().map(Cells::finish).collect()
    }
}
