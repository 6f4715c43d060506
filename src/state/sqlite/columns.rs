//! A row of SQLite as the columns that both databases share.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::During;
use crate::state::StateError;
use crate::state::columns::Columns;

impl Columns for SqliteRow {
    fn text_or_null(&self, column: &str) -> Result<Option<String>, StateError> {
        self.try_get(column).during("read a text")
    }

    fn int_or_null(&self, column: &str) -> Result<Option<i64>, StateError> {
        self.try_get(column).during("read a number")
    }
}
