//! Rows as text: a table for people, JSON lines and CSV for programs.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;
use serde_json::{Map, Value};

use super::{Answer, SearchError};
use crate::lake::names::TableId;

/// Of a cell in a table for people.
const WIDEST: usize = 80;

/// One JSON object a line, with a key for every column.
pub fn json(answer: &Answer) -> Result<String, SearchError> {
    let bytes = lines(answer)?;
    String::from_utf8(bytes).map_err(|error| SearchError::new(error.to_string()))
}

/// A head and a line for each row. Lists and objects are JSON. Text that a spreadsheet would take for a formula has a `'`
/// before it.
pub fn csv(answer: &Answer) -> Result<String, SearchError> {
    let mut out = csv_head(answer.schema.fields().iter().map(|column| column.name().as_str()));
    for row in rows(answer)? {
        out += &csv_row(&row);
    }
    Ok(out)
}

/// One row of a table, with the names of its columns.
pub fn csv_row(row: &Map<String, Value>) -> String {
    csv_line(row.values().map(|value| match value {
        Value::String(text) => csv_text(text),
        Value::Number(number) => number.to_string(),
        other => csv_text(&cell(other)),
    }))
}

pub fn csv_head<'a>(columns: impl Iterator<Item = &'a str>) -> String {
    csv_line(columns.map(csv_text))
}

fn csv_line(cells: impl Iterator<Item = String>) -> String {
    let mut line = cells.collect::<Vec<_>>().join(",");
    line.push_str("\r\n");
    line
}

fn csv_text(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    let plain = !text.contains([',', '"', '\n', '\r']);
    if plain { format!("{guard}{text}") } else { format!("\"{guard}{}\"", text.replace('"', "\"\"")) }
}

/// Columns below each other; long values are cut.
pub fn table(answer: &Answer) -> Result<String, SearchError> {
    let head = answer.schema.fields().iter().map(|field| shown(field.name()));
    let mut lines: Vec<Vec<String>> = vec![head.collect()];
    lines.extend(rows(answer)?.iter().map(|row| row.values().map(|value| shown(&cell(value))).collect()));
    let columns = answer.schema.fields().len();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for line in &lines {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(text, "{cell:<width$}  ");
        }
        out += text.trim_end();
        out.push('\n');
    }
    Ok(out)
}

/// Names of tables as rows.
pub(super) fn names(tables: &[TableId]) -> Answer {
    let column = |of: &dyn Fn(&TableId) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(tables.iter().map(of)))
    };
    let fields = ["namespace", "table"].map(|name| Field::new(name, DataType::Utf8, false));
    let schema = Arc::new(Schema::new(fields.to_vec()));
    let columns = vec![column(&|table| table.namespace.clone()), column(&|table| table.name.clone())];
    let batch = RecordBatch::try_new(schema.clone(), columns).expect("both columns have a text for each table");
    Answer { schema, batches: vec![batch], is_cut: false, warnings: Vec::new() }
}

fn lines(answer: &Answer) -> Result<Vec<u8>, SearchError> {
    let mut text = Vec::new();
    for batch in &answer.batches {
        text.extend(json_lines(batch)?);
    }
    Ok(text)
}

/// One JSON object a line.
pub fn json_lines(batch: &RecordBatch) -> Result<Vec<u8>, SearchError> {
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
    let written = writer.write(batch);
    written.map_err(|error| SearchError::new(format!("the rows can't be written as JSON: {error}")))?;
    Ok(writer.into_inner())
}

fn rows(answer: &Answer) -> Result<Vec<Map<String, Value>>, SearchError> {
    let bytes = lines(answer)?;
    let rows: Result<Vec<Map<String, Value>>, _> = serde_json::Deserializer::from_slice(&bytes).into_iter().collect();
    rows.map_err(|error| SearchError::new(error.to_string()))
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// On one line, and not too long.
fn shown(text: &str) -> String {
    let clean: String = text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    if clean.chars().count() <= WIDEST {
        return clean;
    }
    clean.chars().take(WIDEST - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    fn answer() -> Answer {
        let schema = Arc::new(Schema::new(vec![
            Field::new("text", DataType::Utf8, true),
            Field::new("n", DataType::Int64, true),
        ]));
        let texts = StringArray::from(vec![Some("=1+1"), None, Some("a,\"b\"\nc")]);
        let numbers = Int64Array::from(vec![Some(-1), Some(2), None]);
        let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(texts), Arc::new(numbers)]).unwrap();
        Answer { schema, batches: vec![batch], is_cut: false, warnings: Vec::new() }
    }

    #[test]
    fn the_three_formats() {
        let expected =
            "{\"text\":\"=1+1\",\"n\":-1}\n{\"text\":null,\"n\":2}\n{\"text\":\"a,\\\"b\\\"\\nc\",\"n\":null}\n";
        assert_eq!(json(&answer()).unwrap(), expected);
        assert_eq!(csv(&answer()).unwrap(), "text,n\r\n'=1+1,-1\r\n,2\r\n\"a,\"\"b\"\"\nc\",\r\n");
        assert_eq!(table(&answer()).unwrap(), "text     n\n=1+1     -1\n         2\na,\"b\" c\n");
    }

    #[test]
    fn long_values_are_cut_in_a_table() {
        assert_eq!(shown(&"x".repeat(200)).chars().count(), WIDEST);
    }
}
