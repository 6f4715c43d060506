//! What columns hold of events, and what is left to `p_extra`: put together again they are the event.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, TimeUnit, TimestampMicrosecondType};
use time::macros::datetime;

use super::*;
use crate::model::{Map, ObjectId, Position, RowId};

fn column(name: &str, shape: Shape) -> Column {
    Column { name: name.into(), description: String::new(), shape }
}

fn data_type(shape: &Shape) -> DataType {
    match shape {
        Shape::Text | Shape::Json => DataType::Utf8,
        Shape::Int => DataType::Int32,
        Shape::Long => DataType::Int64,
        Shape::Double => DataType::Float64,
        Shape::Boolean => DataType::Boolean,
        Shape::Time => DataType::Timestamp(TimeUnit::Microsecond, None),
        Shape::List(item) => DataType::List(Arc::new(Field::new("element", data_type(item), true))),
        Shape::Struct(columns) => DataType::Struct(fields(columns).into()),
    }
}

fn fields(columns: &[Column]) -> Vec<Field> {
    columns.iter().map(|column| Field::new(&*column.name, data_type(&column.shape), true)).collect()
}

fn columns() -> Vec<Column> {
    let inner = vec![column("n", Shape::Int), column("t", Shape::Text)];
    vec![
        column("text", Shape::Text),
        column("int", Shape::Int),
        column("time", Shape::Time),
        column("json", Shape::Json),
        column("object", Shape::Struct(inner.clone())),
        column("list", Shape::List(Box::new(Shape::Struct(inner)))),
        column("double", Shape::Double),
        column(ROW_ID, Shape::Text),
        column(EVENT_TIME, Shape::Time),
        column(EXTRA, Shape::Json),
    ]
}

fn event(fields: &str) -> Event {
    let fields: Map = serde_json::from_str(fields).unwrap();
    Event {
        log_type: "Custom.A".into(),
        row_id: RowId([7; 16]),
        position: Position { ordinal: 0, index: 0 },
        time: datetime!(2024-01-02 03:04:05 UTC),
        fields,
    }
}

fn encode(events: &[&str]) -> RecordBatch {
    let columns = columns();
    let mut encoder = Encoder::new(Arc::new(Schema::new(fields(&columns))), &columns);
    events.iter().for_each(|fields| encoder.push(&event(fields)));
    let batch = encoder.finish().unwrap();
    assert_eq!(batch.num_rows(), events.len());
    batch
}

fn extra(batch: &RecordBatch, row: usize) -> Option<&str> {
    let extra = batch.column_by_name(EXTRA).unwrap().as_string::<i32>();
    extra.is_valid(row).then(|| extra.value(row))
}

#[test]
fn what_fits_goes_to_its_column_and_nothing_to_extra() {
    let batch = encode(&[
        r#"{"text":"a","int":-7,"time":"2024-01-02 03:04:05.000006000","json":{"b":[1,null]},"object":{"t":"x"},
            "list":[{"n":1},null,{"n":2,"t":"y"}],"double":3}"#,
        "{}",
    ]);
    assert_eq!(batch.num_rows(), 2);
    assert_eq!(batch.column_by_name("int").unwrap().as_primitive::<Int32Type>().value(0), -7);
    let time = batch.column_by_name("time").unwrap().as_primitive::<TimestampMicrosecondType>();
    assert_eq!(time.value(0), 1_704_164_645_000_006);
    assert_eq!(batch.column_by_name("json").unwrap().as_string::<i32>().value(0), r#"{"b":[1,null]}"#);
    let list = batch.column_by_name("list").unwrap().as_list::<i32>();
    assert_eq!((list.value(0).len(), list.value(0).null_count()), (3, 1));
    assert!(list.is_null(1) && batch.column_by_name("object").unwrap().is_null(1));
    assert_eq!((extra(&batch, 0), extra(&batch, 1)), (None, None));
}

#[test]
fn what_does_not_fit_is_kept_in_the_shape_of_the_event() {
    let batch = encode(&[
        r#"{"text":5,"int":3000000000,"more":{"x":null},"time":"yesterday","object":{"n":"one","t":"x","u":2},
            "list":[{"n":1},{"n":2,"z":0},"w"],"p_extra":1}"#,
        r#"{"object":"text","list":{},"time":"2024-01-02 03:04:05.000006001","double":9007199254740993}"#,
        r#"{"text":null}"#,
    ]);
    let expected = [
        r#"{"text":5,"int":3000000000,"more":{"x":null},"time":"yesterday","object":{"n":"one","u":2},"list":[null,{"z":0},"w"],"p_extra":1}"#,
        r#"{"object":"text","list":{},"time":"2024-01-02 03:04:05.000006001","double":9007199254740993}"#,
        r#"{"text":null}"#,
    ];
    for (row, expected) in expected.into_iter().enumerate() {
        assert_eq!(extra(&batch, row), Some(expected));
    }
    let object = batch.column_by_name("object").unwrap().as_struct();
    assert_eq!(object.column_by_name("t").unwrap().as_string::<i32>().value(0), "x");
    assert!(object.column_by_name("n").unwrap().is_null(0));
}

#[test]
fn rows_are_named_and_timed_by_the_lake() {
    let batch = encode(&["{}"]);
    assert_eq!(batch.column_by_name(ROW_ID).unwrap().as_string::<i32>().value(0), "07".repeat(16));
    let time = batch.column_by_name(EVENT_TIME).unwrap().as_primitive::<TimestampMicrosecondType>();
    assert_eq!(time.value(0), 1_704_164_645_000_000);
    let object = ObjectId([1; 16]);
    assert_ne!(RowId::new(object, 0, 0), RowId([7; 16]));
}

#[test]
fn digits_of_times_that_margay_gives_are_not_kept_beyond_microseconds() {
    let batch = encode(&[r#"{"p_event_time":"2024-01-02 03:04:05.000006789","p_row_id":"x"}"#]);
    assert_eq!(extra(&batch, 0), None);
    let time = batch.column_by_name(EVENT_TIME).unwrap().as_primitive::<TimestampMicrosecondType>();
    assert_eq!(time.value(0), 1_704_164_645_000_006);
}

#[test]
fn an_encoder_begins_anew_after_a_batch() {
    let columns = columns();
    let mut encoder = Encoder::new(Arc::new(Schema::new(fields(&columns))), &columns);
    for rows in [3, 1] {
        for _ in 0..rows {
            encoder.push(&event(r#"{"list":[{"n":1}],"text":"a"}"#));
        }
        assert_eq!(encoder.finish().unwrap().num_rows(), rows);
    }
}
