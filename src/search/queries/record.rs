//! What is known of a query: who asked what, and what became of it. As it is kept and as callers see it.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::search::SearchError;

/// One query from its submission on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub id: String,
    pub status: Status,
    pub user: String,
    pub origin: Origin,
    /// Of a saved query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub sql: String,
    /// What the time macros count from.
    #[serde(with = "time::serde::rfc3339")]
    pub reference_time: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub submitted_at: OffsetDateTime,
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub started_at: Option<OffsetDateTime>,
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub ended_at: Option<OffsetDateTime>,
    pub rows: u64,
    /// Of the rows as JSON.
    pub bytes: u64,
    /// Of the files of the lake.
    pub bytes_read: u64,
    /// There were more rows than the limits.
    pub is_cut: bool,
    /// The rows can be asked for.
    pub has_rows: bool,
    pub columns: Vec<Column>,
    pub warnings: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<SearchError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Waiting,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl Status {
    pub fn has_ended(self) -> bool {
        !matches!(self, Status::Waiting | Status::Running)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Status::Waiting => "waiting",
            Status::Running => "running",
            Status::Succeeded => "succeeded",
            Status::Failed => "failed",
            Status::Cancelled => "cancelled",
        }
    }
}

impl std::str::FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Status, String> {
        let all = [Status::Waiting, Status::Running, Status::Succeeded, Status::Failed, Status::Cancelled];
        let known = all.into_iter().find(|status| status.as_str() == text);
        known.ok_or_else(|| format!("write one of {}", all.map(Status::as_str).join(", ")))
    }
}

/// How a query came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    Sql,
    Indicators,
    Saved,
    /// By the schedule of a query.
    Scheduled,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
}

impl Column {
    pub fn of(schema: &arrow::datatypes::Schema) -> Vec<Column> {
        let column = |field: &std::sync::Arc<arrow::datatypes::Field>| Column {
            name: field.name().clone(),
            kind: kind(field.data_type()),
        };
        schema.fields().iter().map(column).collect()
    }
}

/// In the words of SQL.
fn kind(data_type: &arrow::datatypes::DataType) -> String {
    use arrow::datatypes::DataType;
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".into(),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => "int".into(),
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => "bigint".into(),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => "double".into(),
        DataType::Boolean => "boolean".into(),
        DataType::Timestamp(..) => "timestamp".into(),
        DataType::Date32 | DataType::Date64 => "date".into(),
        DataType::List(item) | DataType::LargeList(item) => format!("array<{}>", kind(item.data_type())),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|field| format!("{}:{}", field.name(), kind(field.data_type())));
            format!("struct<{}>", fields.collect::<Vec<_>>().join(","))
        }
        other => other.to_string().to_lowercase(),
    }
}
