//! Columns -> Iceberg schema: of a new table, and of one that gains columns. Pure.
//!
//! A table only grows: a column that no log type has any more stays, and one whose type changed keeps the type that it was
//! made with, because files were written so. What then does not fit goes into `p_extra` (see `lake/encode`).

use std::sync::Arc;

use iceberg::spec::{
    ListType, NestedField, NestedFieldRef, PartitionSpecRef, PrimitiveType, Schema, StructType, TableMetadata,
    Transform, Type, UnboundPartitionSpec,
};

use super::{Granularity, TABLE};
use crate::lake::columns::{Column, EVENT_TIME, Shape};
use crate::lake::families::Family;

/// The schema of a table with these columns, on top of what it has.
pub(super) fn schema(columns: &[Column], has: Option<&Schema>, last_id: i32) -> iceberg::Result<Schema> {
    let mut ids = Ids(last_id);
    let fields = fields(columns, has.map(Schema::as_struct), &mut ids);
    Schema::builder().with_fields(fields).build()
}

/// Whether the table lacks anything that these columns need. Ids are not compared: what is new has none yet.
pub(super) fn is_complete(columns: &[Column], has: &StructType) -> bool {
    columns.iter().all(|column| {
        has.field_by_name(&column.name).is_some_and(|field| is_type_complete(&column.shape, &field.field_type))
    })
}

fn is_type_complete(shape: &Shape, has: &Type) -> bool {
    match (shape, has) {
        (Shape::Struct(columns), Type::Struct(fields)) => is_complete(columns, fields),
        (Shape::List(item), Type::List(list)) => is_type_complete(item, &list.element_field.field_type),
        _ => true,
    }
}

/// By hour or day of a column that tells a time.
pub(super) fn partition_spec(schema: &Schema, column: &str, by: Granularity) -> iceberg::Result<UnboundPartitionSpec> {
    let (name, transform) = match by {
        Granularity::Hour => (format!("{column}_hour"), Transform::Hour),
        Granularity::Day => (format!("{column}_day"), Transform::Day),
    };
    let source = schema.field_id_by_name(column).expect("every table has the column that it is partitioned by");
    Ok(UnboundPartitionSpec::builder().add_partition_field(source, name, transform)?.build())
}

/// How a table is partitioned, as far as margay can write into it.
#[derive(Clone)]
pub(super) struct Written {
    pub(super) spec: PartitionSpecRef,
    /// `None`: all rows are in one partition.
    pub(super) by: Option<Granularity>,
}

/// The spec that new files of a table follow: its default, and where another engine made that one of another kind, the last
/// one that margay can follow. A table may have files of any of its specs, and each file says of which it is.
pub(super) fn written(metadata: &TableMetadata) -> iceberg::Result<Written> {
    let default = metadata.default_partition_spec();
    let mut others: Vec<&PartitionSpecRef> = metadata.partition_specs_iter().collect();
    others.sort_by_key(|spec| std::cmp::Reverse(spec.spec_id()));
    let table = metadata.properties().get(TABLE);
    let column = table.map_or(EVENT_TIME, |table| Family::of(table).0.partition);
    let time = metadata.current_schema().field_id_by_name(column);
    let known = std::iter::once(default).chain(others).find_map(|spec| {
        let by = match spec.fields() {
            [] => None,
            [field] if Some(field.source_id) == time && field.transform == Transform::Hour => Some(Granularity::Hour),
            [field] if Some(field.source_id) == time && field.transform == Transform::Day => Some(Granularity::Day),
            _ => return None,
        };
        Some(Written { spec: spec.clone(), by })
    });
    known.ok_or_else(|| {
        let text = format!(
            "the table is partitioned as margay does not write; add a partition spec of the day or hour of `{column}` to it"
        );
        iceberg::Error::new(iceberg::ErrorKind::FeatureUnsupported, text)
    })
}

/// Why files could be read wrongly, which is by name: a column has another name than in older files, or the name of a column
/// that is gone. Margay does neither, but others may.
pub(super) fn misread(metadata: &TableMetadata) -> Option<String> {
    let current = metadata.current_schema();
    metadata.schemas_iter().find_map(|schema| {
        schema.field_id_to_name_map().iter().find_map(|(id, before)| {
            if let Some(now) = current.name_by_field_id(*id).filter(|now| now != before) {
                return Some(format!("column `{now}` was called `{before}` before"));
            }
            let other = current.field_id_by_name(before).filter(|other| other != id);
            other.map(|_| format!("column `{before}` has the name of another one that was dropped"))
        })
    })
}

struct Ids(i32);

impl Ids {
    fn next(&mut self) -> i32 {
        self.0 += 1;
        self.0
    }
}

fn fields(columns: &[Column], has: Option<&StructType>, ids: &mut Ids) -> Vec<NestedFieldRef> {
    let known = |name: &str| columns.iter().find(|column| *column.name == *name);
    let mut fields: Vec<NestedFieldRef> = Vec::with_capacity(columns.len());
    for field in has.iter().flat_map(|has| has.fields()) {
        let Some(column) = known(&field.name) else {
            fields.push(field.clone());
            continue;
        };
        let mut grown = NestedField::clone(field);
        grown.field_type = Box::new(grow(&column.shape, &field.field_type, ids));
        fields.push(grown.into());
    }
    for column in columns {
        if has.is_none_or(|has| has.field_by_name(&column.name).is_none()) {
            let id = ids.next();
            let field = NestedField::optional(id, &column.name, new_type(&column.shape, ids));
            let described = !column.description.is_empty();
            fields.push(Arc::new(if described { field.with_doc(&column.description) } else { field }));
        }
    }
    fields
}

fn grow(shape: &Shape, has: &Type, ids: &mut Ids) -> Type {
    match (shape, has) {
        (Shape::Struct(columns), Type::Struct(has)) => Type::Struct(StructType::new(fields(columns, Some(has), ids))),
        (Shape::List(item), Type::List(list)) => {
            let mut element = NestedField::clone(&list.element_field);
            element.field_type = Box::new(grow(item, &list.element_field.field_type, ids));
            Type::List(ListType::new(element.into()))
        }
        _ => has.clone(),
    }
}

fn new_type(shape: &Shape, ids: &mut Ids) -> Type {
    Type::Primitive(match shape {
        Shape::Text | Shape::Json => PrimitiveType::String,
        Shape::Int => PrimitiveType::Int,
        Shape::Long => PrimitiveType::Long,
        Shape::Double => PrimitiveType::Double,
        Shape::Boolean => PrimitiveType::Boolean,
        Shape::Time => PrimitiveType::Timestamp,
        Shape::List(item) => {
            let id = ids.next();
            return Type::List(ListType::new(NestedField::list_element(id, new_type(item, ids), false).into()));
        }
        Shape::Struct(columns) => return Type::Struct(StructType::new(fields(columns, None, ids))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::columns::columns;
    use crate::logtype::Registry;

    fn column(name: &str, shape: Shape) -> Column {
        Column { name: name.into(), description: String::new(), shape }
    }

    #[test]
    fn every_shipped_log_type_makes_a_table() {
        let registry = Registry::built_in();
        for log_type in registry.schemas() {
            let columns = columns(Some(log_type));
            let schema = schema(&columns, None, 0).unwrap();
            assert!(is_complete(&columns, schema.as_struct()), "{}", log_type.name);
            partition_spec(&schema, EVENT_TIME, Granularity::Hour).unwrap();
            iceberg::arrow::schema_to_arrow_schema(&schema).unwrap();
        }
    }

    #[test]
    fn a_table_gains_columns_and_keeps_those_it_has() {
        let old = [
            column("gone", Shape::Int),
            column("retyped", Shape::Int),
            column("object", Shape::Struct(vec![column("a", Shape::Text)])),
            column("list", Shape::List(Box::new(Shape::Struct(vec![column("a", Shape::Text)])))),
        ];
        let before = schema(&old, None, 0).unwrap();
        let inner = vec![column("a", Shape::Text), column("b", Shape::Long)];
        let new = [
            column("retyped", Shape::Text),
            column("object", Shape::Struct(inner.clone())),
            column("list", Shape::List(Box::new(Shape::Struct(inner)))),
            column("more", Shape::Time),
        ];
        assert!(!is_complete(&new, before.as_struct()));
        let after = schema(&new, Some(&before), before.highest_field_id()).unwrap();
        assert!(is_complete(&new, after.as_struct()));
        for (name, id) in before.field_id_to_name_map().iter().map(|(id, name)| (name, *id)) {
            assert_eq!(after.field_id_by_name(name), Some(id), "{name}");
        }
        assert_eq!(after.field_by_name("retyped").unwrap().field_type.to_string(), "int");
        let added = ["object.b", "list.element.b", "more"];
        assert!(added.iter().all(|name| after.field_id_by_name(name) > Some(before.highest_field_id())));
        // Nothing is left to do.
        assert_eq!(schema(&new, Some(&after), after.highest_field_id()).unwrap().as_struct(), after.as_struct());
    }
}
