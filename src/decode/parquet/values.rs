//! The values of a column, of whatever physical type, as the crate unpacks them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parquet::basic::Type;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{
    AsBytes, BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FixedLenByteArray, FixedLenByteArrayType,
    FloatType, Int32Type, Int64Type, Int96, Int96Type,
};
use parquet::schema::types::{ColumnDescPtr, ColumnDescriptor};

use super::column::Pages;

/// Values that a buffer has room for even when it has none.
const MANY: usize = 4096;

/// Runs code of the crate. It is known to panic on data that mean harm; nothing that it was given is used after.
pub(super) fn guarded<T>(work: impl FnOnce() -> parquet::errors::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason");
            Err(format!("its decoder ended with: {text}"))
        }
    }
}

pub(super) struct Values {
    typed: Typed,
    /// Whether the current page's values are no parts of the page.
    are_made: bool,
    made: usize,
}

enum Typed {
    Bool(Buffer<BoolType>),
    I32(Buffer<Int32Type>),
    I64(Buffer<Int64Type>),
    I96(Buffer<Int96Type>),
    F32(Buffer<FloatType>),
    F64(Buffer<DoubleType>),
    Bytes(Buffer<ByteArrayType>),
    Fixed(Buffer<FixedLenByteArrayType>),
}

struct Buffer<T: DataType> {
    reader: ColumnReaderImpl<T>,
    values: Vec<T::T>,
}

/// A value that lies in a buffer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Raw<'a> {
    Bool(bool),
    I32(i32),
    I64(i64),
    I96(&'a Int96),
    F32(f32),
    F64(f64),
    Bytes(&'a [u8]),
}

macro_rules! each {
    ($typed:expr, $buffer:ident => $what:expr) => {
        match $typed {
            Typed::Bool($buffer) => $what,
            Typed::I32($buffer) => $what,
            Typed::I64($buffer) => $what,
            Typed::I96($buffer) => $what,
            Typed::F32($buffer) => $what,
            Typed::F64($buffer) => $what,
            Typed::Bytes($buffer) => $what,
            Typed::Fixed($buffer) => $what,
        }
    };
}

impl Values {
    /// Bytes of a value beside what it points to.
    pub(super) const SIZE: usize = size_of::<ByteArray>();

    pub(super) fn new(descr: &ColumnDescPtr, pages: Pages) -> Values {
        // Values without levels: these are unpacked apart from them.
        let plain = Arc::new(ColumnDescriptor::new(descr.self_type_ptr(), 0, 0, descr.path().clone()));
        let typed = match descr.physical_type() {
            Type::BOOLEAN => Typed::Bool(Buffer::new(plain, pages)),
            Type::INT32 => Typed::I32(Buffer::new(plain, pages)),
            Type::INT64 => Typed::I64(Buffer::new(plain, pages)),
            Type::INT96 => Typed::I96(Buffer::new(plain, pages)),
            Type::FLOAT => Typed::F32(Buffer::new(plain, pages)),
            Type::DOUBLE => Typed::F64(Buffer::new(plain, pages)),
            Type::BYTE_ARRAY => Typed::Bytes(Buffer::new(plain, pages)),
            Type::FIXED_LEN_BYTE_ARRAY => Typed::Fixed(Buffer::new(plain, pages)),
        };
        Values { typed, are_made: false, made: 0 }
    }

    pub(super) fn are_made(&mut self, are_made: bool) {
        self.are_made = are_made;
    }

    /// Exactly so many more.
    pub(super) fn read(&mut self, count: usize) -> Result<(), String> {
        if count == 0 {
            return Ok(());
        }
        let before = each!(&self.typed, buffer => buffer.values.len());
        let (read, length) = guarded(|| {
            let read = each!(&mut self.typed, buffer => buffer.read(count))?;
            // A dictionary that is cut has values without bytes, which the crate tells when they are looked at.
            Ok((read, (before..before + read).map(|index| self.length(index)).sum::<usize>()))
        })?;
        if read != count {
            return Err(format!("a page has {read} values where its levels tell of {count}"));
        }
        if self.are_made {
            self.made += length;
        }
        Ok(())
    }

    pub(super) fn forget(&mut self, count: usize) {
        each!(&mut self.typed, buffer => buffer.forget(count));
        if self.made > 0 {
            let left = each!(&self.typed, buffer => buffer.values.len());
            self.made = (0..left).map(|index| self.length(index)).sum();
        }
    }

    /// Bytes of values that are no parts of a page.
    pub(super) fn made(&self) -> usize {
        self.made
    }

    pub(super) fn cost(&self) -> usize {
        self.made + each!(&self.typed, buffer => buffer.values.capacity()) * Values::SIZE
    }

    /// Whether a page, or the dictionary, is kept by values that are here.
    pub(super) fn point_into_pages(&self) -> bool {
        match &self.typed {
            Typed::Bytes(buffer) => !buffer.values.is_empty(),
            Typed::Fixed(buffer) => !buffer.values.is_empty(),
            _ => false,
        }
    }

    fn length(&self, index: usize) -> usize {
        match self.get(index) {
            Some(Raw::Bytes(bytes)) => bytes.len(),
            _ => 0,
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<Raw<'_>> {
        Some(match &self.typed {
            Typed::Bool(buffer) => Raw::Bool(*buffer.values.get(index)?),
            Typed::I32(buffer) => Raw::I32(*buffer.values.get(index)?),
            Typed::I64(buffer) => Raw::I64(*buffer.values.get(index)?),
            Typed::I96(buffer) => Raw::I96(buffer.values.get(index)?),
            Typed::F32(buffer) => Raw::F32(*buffer.values.get(index)?),
            Typed::F64(buffer) => Raw::F64(*buffer.values.get(index)?),
            Typed::Bytes(buffer) => Raw::Bytes(buffer.values.get(index).map(ByteArray::as_bytes)?),
            Typed::Fixed(buffer) => Raw::Bytes(buffer.values.get(index).map(FixedLenByteArray::as_bytes)?),
        })
    }
}

impl<T: DataType> Buffer<T> {
    fn new(descr: ColumnDescPtr, pages: Pages) -> Buffer<T> {
        Buffer { reader: ColumnReaderImpl::new(descr, Box::new(pages)), values: Vec::new() }
    }

    fn read(&mut self, count: usize) -> parquet::errors::Result<usize> {
        let (_, values, _) = self.reader.read_records(count, None, None, &mut self.values)?;
        Ok(values)
    }

    fn forget(&mut self, count: usize) {
        self.values.drain(..count);
        // After a long row.
        if self.values.is_empty() && self.values.capacity() > MANY {
            self.values = Vec::new();
        }
    }
}
