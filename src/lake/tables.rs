//! What searches read: the port to tables as they are at one moment, and which of their files may hold what is looked for.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;

use super::catalog::CatalogError;
use super::names::TableId;

/// The tables of a lake.
#[async_trait]
pub trait Tables: Send + Sync {
    /// What the namespaces begin with.
    fn prefix(&self) -> &str;

    /// Every table, sorted.
    async fn list(&self) -> Result<Vec<TableId>, CatalogError>;

    /// The table as it is now; it does not change while it is read. `None` where there is none.
    async fn open(&self, table: &TableId) -> Result<Option<Arc<dyn Snapshot>>, CatalogError>;
}

/// A table at one moment.
#[async_trait]
pub trait Snapshot: Send + Sync {
    fn schema(&self) -> SchemaRef;

    /// The columns whose text is JSON.
    fn json_columns(&self) -> &[String];

    /// The files without which rows that meet all conditions would be missing; there may be more. A condition that nothing
    /// is known about skips no file.
    async fn files(&self, conditions: &[Condition]) -> Result<Vec<ParquetFile>, CatalogError>;

    /// Reads the files; `None` where they are in the file system of this machine.
    fn remote(&self) -> Option<Arc<dyn Ranges>>;
}

/// Files of another machine, which never change.
#[async_trait]
pub trait Ranges: fmt::Debug + Send + Sync {
    /// Exactly these bytes of a file, or an error. However many ask, so many requests are under way as the store bears.
    async fn read(&self, location: &str, range: Range<u64>) -> Result<Bytes, CatalogError>;
}

#[derive(Clone, Debug, PartialEq)]
pub struct ParquetFile {
    /// A URL.
    pub location: String,
    pub bytes: u64,
    pub rows: Option<u64>,
    /// Of the times in it, where its partition tells.
    pub times: Option<Times>,
}

/// Every row has a time in this column, which is at or after the one and before the other; in microseconds since 1970, UTC.
#[derive(Clone, Debug, PartialEq)]
pub struct Times {
    pub column: String,
    pub from: i64,
    pub to: i64,
}

impl Times {
    /// Whether every row meets the condition.
    pub fn meet(&self, condition: &Condition) -> bool {
        let Scalar::Time(at) = condition.value else { return false };
        self.column == condition.column
            && match condition.comparison {
                Comparison::Equal => false,
                Comparison::Less => at >= self.to,
                Comparison::LessOrEqual => at >= self.to - 1,
                Comparison::Greater => at < self.from,
                Comparison::GreaterOrEqual => at <= self.from,
            }
    }
}

/// What rows that are looked for have in a column of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    pub column: String,
    pub comparison: Comparison,
    pub value: Scalar,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    Text(String),
    Number(i64),
    /// Microseconds since 1970, UTC.
    Time(i64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_met_by_all_times_or_it_is_not() {
        let times = Times { column: "at".into(), from: 10, to: 20 };
        let meet = |comparison, at| times.meet(&Condition { column: "at".into(), comparison, value: Scalar::Time(at) });
        for (comparison, met, not) in [
            (Comparison::GreaterOrEqual, 10, 11),
            (Comparison::Greater, 9, 10),
            (Comparison::Less, 20, 19),
            (Comparison::LessOrEqual, 19, 18),
        ] {
            assert!(meet(comparison, met) && !meet(comparison, not), "{comparison:?}");
        }
        assert!(!meet(Comparison::Equal, 10));
        let other = Condition { column: "other".into(), comparison: Comparison::Greater, value: Scalar::Time(0) };
        assert!(!times.meet(&other));
    }
}
