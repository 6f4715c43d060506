//! The columns of a table as Glue shows them. Engines read those of the metadata; these are for people and for rules about
//! columns.

use iceberg::spec::{NestedFieldRef, PrimitiveType, TableMetadata, Type};
use serde_json::{Value, json};

/// Glue refuses longer comments.
const LONGEST_COMMENT: usize = 255;

pub(super) fn descriptor(metadata: &TableMetadata) -> Value {
    let columns = metadata.current_schema().as_struct().fields().iter().map(column);
    json!({ "Columns": columns.collect::<Vec<Value>>(), "Location": metadata.location() })
}

fn column(field: &NestedFieldRef) -> Value {
    let mut column = json!({
        "Name": field.name,
        "Type": name(&field.field_type),
        "Parameters": { "iceberg.field.id": field.id.to_string(), "iceberg.field.optional": (!field.required).to_string() },
    });
    if let Some(doc) = &field.doc {
        // Glue takes no line ends, either.
        let comment: String = doc.chars().filter(|letter| !letter.is_control()).take(LONGEST_COMMENT).collect();
        column["Comment"] = json!(comment);
    }
    column
}

/// The type as Hive calls it.
fn name(of: &Type) -> String {
    match of {
        Type::Primitive(primitive) => match primitive {
            PrimitiveType::Long => "bigint".into(),
            PrimitiveType::Timestamp | PrimitiveType::Timestamptz => "timestamp".into(),
            PrimitiveType::Time | PrimitiveType::Uuid => "string".into(),
            PrimitiveType::Fixed(_) => "binary".into(),
            PrimitiveType::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
            other => other.to_string(),
        },
        Type::Struct(fields) => {
            let fields = fields.fields().iter().map(|field| format!("{}:{}", field.name, name(&field.field_type)));
            format!("struct<{}>", fields.collect::<Vec<_>>().join(","))
        }
        Type::List(list) => format!("array<{}>", name(&list.element_field.field_type)),
        Type::Map(map) => format!("map<{},{}>", name(&map.key_field.field_type), name(&map.value_field.field_type)),
    }
}
