//! A row as the JSON of its event: what `p_event` of the views gives.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::json::writer::{EncoderOptions, NullableEncoder, make_encoder};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, col, lit,
};

use crate::lake::columns::EXTRA;

/// Calls it on the columns of a table, of which `json` hold JSON as text.
pub(super) fn call(schema: &Schema, json: &[String]) -> Expr {
    let fields: Vec<FieldRef> = schema.fields().iter().filter(|field| is_of_event(field)).cloned().collect();
    if fields.is_empty() {
        return lit("{}");
    }
    let columns = fields.iter().map(|field| col(format!("\"{}\"", field.name()))).collect();
    let is_json = fields.iter().map(|field| json.contains(field.name())).collect();
    let signature = Signature::any(fields.len(), Volatility::Immutable);
    ScalarUDF::from(EventJson { fields, is_json, signature }).call(columns)
}

/// What margay says of an event begins with `p_`, beside what of it no other column can hold.
fn is_of_event(field: &Field) -> bool {
    !field.name().starts_with("p_") || field.name() == EXTRA
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct EventJson {
    fields: Vec<FieldRef>,
    is_json: Vec<bool>,
    signature: Signature,
}

impl ScalarUDFImpl for EventJson {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &'static str {
        "event_json"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let arrays: Vec<ArrayRef> = args.args.into_iter().map(|value| value.into_array(rows)).collect::<Result<_>>()?;
        let options = EncoderOptions::default();
        let mut cells = Vec::with_capacity(arrays.len());
        for ((field, is_json), array) in self.fields.iter().zip(&self.is_json).zip(&arrays) {
            let name = serde_json::to_string(field.name()).expect("a string always serialises");
            let cell = match array.as_string_opt::<i32>() {
                Some(text) if *is_json => Cell::Json(text),
                _ => Cell::Typed(make_encoder(field, array, &options)?),
            };
            cells.push((name, cell));
        }
        let (mut texts, mut text) = (StringBuilder::with_capacity(rows, rows * 256), Vec::new());
        for row in 0..rows {
            text.clear();
            for (name, cell) in &mut cells {
                let begin = text.len();
                text.extend_from_slice(if begin == 0 { b"{" } else { b"," });
                text.extend_from_slice(name.as_bytes());
                text.push(b':');
                if !cell.put(row, &mut text) {
                    text.truncate(begin);
                }
            }
            text.extend_from_slice(if text.is_empty() { b"{}" } else { b"}" });
            texts.append_value(String::from_utf8_lossy(&text));
        }
        Ok(ColumnarValue::Array(Arc::new(texts.finish())))
    }
}

enum Cell<'a> {
    Json(&'a arrow::array::StringArray),
    Typed(NullableEncoder<'a>),
}

impl Cell<'_> {
    /// `false`, and nothing is put, where there is no value.
    fn put(&mut self, row: usize, text: &mut Vec<u8>) -> bool {
        match self {
            Cell::Json(texts) if texts.is_null(row) => return false,
            Cell::Json(texts) => text.extend_from_slice(texts.value(row).as_bytes()),
            Cell::Typed(encoder) if encoder.is_null(row) => return false,
            Cell::Typed(encoder) => encoder.encode(row, text),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, StringArray};
    use datafusion::config::ConfigOptions;

    use super::*;

    #[test]
    fn a_row_is_an_object_without_what_it_lacks() {
        let schema = Schema::new(vec![
            Field::new("text", DataType::Utf8, true),
            Field::new("number", DataType::Int32, true),
            Field::new("json", DataType::Utf8, true),
            Field::new("p_any_emails", DataType::Utf8, true),
        ]);
        let Expr::ScalarFunction(function) = call(&schema, &["json".to_owned()]) else { panic!("it is a call") };
        assert_eq!(function.args.len(), 3);
        let arrays: [ArrayRef; 3] = [
            Arc::new(StringArray::from(vec![Some("{\"a\""), None])),
            Arc::new(Int32Array::from(vec![Some(7), None])),
            Arc::new(StringArray::from(vec![Some("{\"b\":[1]}"), None])),
        ];
        let fields: Vec<FieldRef> = schema.fields().iter().take(3).cloned().collect();
        let args = ScalarFunctionArgs {
            args: arrays.into_iter().map(ColumnarValue::Array).collect(),
            arg_fields: fields,
            number_rows: 2,
            return_field: Arc::new(Field::new("p_event", DataType::Utf8, true)),
            config_options: Arc::new(ConfigOptions::default()),
        };
        let texts = function.func.invoke_with_args(args).unwrap().into_array(2).unwrap();
        let texts = texts.as_string::<i32>();
        assert_eq!(texts.value(0), r#"{"text":"{\"a\"","number":7,"json":{"b":[1]}}"#);
        assert_eq!(texts.value(1), "{}");
    }
}
