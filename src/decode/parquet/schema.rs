//! The schema of a file as rows are made of it: which columns are an object's members, a list's elements, a map's
//! entries (parquet-format's LogicalTypes.md, the rules for lists and maps of older writers among them).

use std::ops::Range;

use parquet::basic::{ConvertedType, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::schema::types::{Type, TypePtr};

/// One value: of the row, of a member, of an element.
#[derive(Debug)]
pub(super) struct Shape {
    /// The definition level from which on there is a value. Below it is null.
    pub(super) def: i16,
    pub(super) optional: bool,
    /// The columns that are in it.
    pub(super) columns: Range<usize>,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Leaf(Leaf),
    /// Members with their keys, as JSON text with the colon.
    Group(Vec<(Vec<u8>, Shape)>),
    List(Repeated, Box<Shape>),
    Map(Repeated, Box<Shape>, Option<Box<Shape>>),
}

/// Below `def` there are no elements. One at the level `rep` is a further element of the same list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repeated {
    pub(super) rep: i16,
    pub(super) def: i16,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Leaf {
    Bool,
    Signed,
    Unsigned,
    Float,
    Half,
    Text,
    Binary,
    Uuid,
    /// Digits behind the point.
    Decimal(usize),
    Date,
    /// Digits of the fraction of a second.
    Time(usize),
    Timestamp(usize),
    /// Nanoseconds of a day, then the Julian day.
    Int96,
}

/// A scale that no writer's decimal has.
const MAX_SCALE: i32 = 1000;

pub(super) fn shape_of(root: &Type) -> Result<Shape, String> {
    let mut next = 0;
    let members = members(root.get_fields(), Level { def: 0, rep: 0 }, &mut next)?;
    if next == 0 {
        return Err("it has no columns".to_owned());
    }
    Ok(Shape { def: 0, optional: false, columns: 0..next, kind: Kind::Group(members) })
}

#[derive(Clone, Copy)]
struct Level {
    def: i16,
    rep: i16,
}

impl Level {
    fn within(self, node: &Type) -> Level {
        let info = node.get_basic_info();
        match info.has_repetition().then(|| info.repetition()) {
            Some(Repetition::OPTIONAL) => Level { def: self.def + 1, ..self },
            Some(Repetition::REPEATED) => self.repeated(),
            Some(Repetition::REQUIRED) | None => self,
        }
    }

    fn repeated(self) -> Level {
        Level { def: self.def + 1, rep: self.rep + 1 }
    }

    fn of_elements(self) -> Repeated {
        Repeated { rep: self.rep, def: self.def }
    }
}

fn is_repeated(node: &Type) -> bool {
    let info = node.get_basic_info();
    info.has_repetition() && info.repetition() == Repetition::REPEATED
}

fn members(fields: &[TypePtr], level: Level, next: &mut usize) -> Result<Vec<(Vec<u8>, Shape)>, String> {
    let member = |field: &TypePtr| {
        let mut key = serde_json::to_vec(field.name()).map_err(|error| error.to_string())?;
        key.push(b':');
        Ok((key, shape(field, level, next)?))
    };
    fields.iter().map(member).collect()
}

fn shape(node: &Type, outer: Level, next: &mut usize) -> Result<Shape, String> {
    let level = outer.within(node);
    let first = *next;
    if is_repeated(node) {
        // A repeated field that no list is around: a list of required elements.
        let element = value(node, level, next)?;
        let element = Shape { def: level.def, optional: false, columns: first..*next, kind: element };
        let kind = Kind::List(level.of_elements(), Box::new(element));
        return Ok(Shape { def: outer.def, optional: false, columns: first..*next, kind });
    }
    let kind = value(node, level, next)?;
    if *next == first {
        return Err(format!("the group {:?} has no columns", node.name()));
    }
    Ok(Shape { def: level.def, optional: level.def > outer.def, columns: first..*next, kind })
}

fn value(node: &Type, level: Level, next: &mut usize) -> Result<Kind, String> {
    let info = node.get_basic_info();
    if node.is_primitive() {
        *next += 1;
        return leaf(node).map(Kind::Leaf);
    }
    let fields = node.get_fields();
    let logical = info.logical_type_ref();
    if let ([inner], false) = (fields, is_repeated(node))
        && is_repeated(inner)
    {
        let (is_list, is_map) = (matches!(logical, Some(LogicalType::List)), matches!(logical, Some(LogicalType::Map)));
        match info.converted_type() {
            _ if is_list => return list(node, inner, level.repeated(), next),
            _ if is_map => return map(inner, level.repeated(), next),
            ConvertedType::LIST => return list(node, inner, level.repeated(), next),
            ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE => return map(inner, level.repeated(), next),
            _ => {}
        }
    }
    members(fields, level, next).map(Kind::Group)
}

fn list(node: &Type, inner: &Type, level: Level, next: &mut usize) -> Result<Kind, String> {
    let first = *next;
    let is_element = inner.is_primitive()
        || inner.get_fields().len() != 1
        || inner.name() == "array"
        || inner.name() == format!("{}_tuple", node.name())
        || is_repeated(&inner.get_fields()[0]);
    let element = if is_element {
        let kind = value(inner, level, next)?;
        Shape { def: level.def, optional: false, columns: first..*next, kind }
    } else {
        shape(&inner.get_fields()[0], level, next)?
    };
    Ok(Kind::List(level.of_elements(), Box::new(element)))
}

fn map(inner: &Type, level: Level, next: &mut usize) -> Result<Kind, String> {
    if inner.is_primitive() {
        return Err("a map has no keys".to_owned());
    }
    let (key, entry) = match inner.get_fields() {
        [key] => (key, None),
        [key, value] => (key, Some(value)),
        fields => return Err(format!("the entries of a map have {} fields", fields.len())),
    };
    if !key.is_primitive() || is_repeated(key) {
        return Err("the keys of a map are no single values".to_owned());
    }
    let key = shape(key, level, next)?;
    let entry = entry.map(|entry| shape(entry, level, next)).transpose()?;
    Ok(Kind::Map(level.of_elements(), Box::new(key), entry.map(Box::new)))
}

fn leaf(node: &Type) -> Result<Leaf, String> {
    let info = node.get_basic_info();
    let decimal = |scale: i32| match scale {
        0..=MAX_SCALE => Ok(Leaf::Decimal(scale as usize)),
        _ => Err(format!("the decimals of {:?} have a scale of {scale}", node.name())),
    };
    let digits = |unit: &TimeUnit| match unit {
        TimeUnit::MILLIS => 3,
        TimeUnit::MICROS => 6,
        TimeUnit::NANOS => 9,
    };
    let physical = node.get_physical_type();
    let is_integer = matches!(physical, Physical::INT32 | Physical::INT64);
    let is_bytes = matches!(physical, Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY);
    match info.logical_type_ref() {
        Some(LogicalType::Decimal { scale, .. }) if is_integer || is_bytes => return decimal(*scale),
        Some(LogicalType::String | LogicalType::Enum | LogicalType::Json) if is_bytes => return Ok(Leaf::Text),
        Some(LogicalType::Uuid) if is_bytes => return Ok(Leaf::Uuid),
        Some(LogicalType::Float16) if is_bytes => return Ok(Leaf::Half),
        Some(LogicalType::Date) if is_integer => return Ok(Leaf::Date),
        Some(LogicalType::Time { unit, .. }) if is_integer => return Ok(Leaf::Time(digits(unit))),
        Some(LogicalType::Timestamp { unit, .. }) if is_integer => return Ok(Leaf::Timestamp(digits(unit))),
        Some(LogicalType::Integer { is_signed: false, .. }) if is_integer => return Ok(Leaf::Unsigned),
        _ => {}
    }
    Ok(match (physical, info.converted_type()) {
        (Physical::BOOLEAN, _) => Leaf::Bool,
        (Physical::FLOAT | Physical::DOUBLE, _) => Leaf::Float,
        (Physical::INT96, _) => Leaf::Int96,
        (_, ConvertedType::DECIMAL) => return decimal(node.get_scale()),
        (Physical::BYTE_ARRAY, ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON) => Leaf::Text,
        (Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY, _) => Leaf::Binary,
        (_, ConvertedType::DATE) => Leaf::Date,
        (_, ConvertedType::TIME_MILLIS) => Leaf::Time(3),
        (_, ConvertedType::TIME_MICROS) => Leaf::Time(6),
        (_, ConvertedType::TIMESTAMP_MILLIS) => Leaf::Timestamp(3),
        (_, ConvertedType::TIMESTAMP_MICROS) => Leaf::Timestamp(6),
        (_, ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64) => {
            Leaf::Unsigned
        }
        _ => Leaf::Signed,
    })
}
