//! The rows of queries that have succeeded, for whoever comes for them.

use super::{Page, Queries, Record, Refused, Status};
use crate::runtime::blocking;

impl Queries {
    /// Rows of a query that has succeeded, from a place on.
    pub async fn page(&self, id: &str, from: u64, most: usize) -> Result<(Record, Page), Refused> {
        let record = self.with_rows(id)?;
        let (shelf, own) = (self.0.shelf.clone(), id.to_owned());
        let page = blocking(move || shelf.page(&own, from, most)).await;
        let page = page.map_err(|error| Refused::Unreadable(error.to_string()))?;
        Ok((record, page.ok_or(Refused::NoPlace)?))
    }

    /// The file with all rows, JSON lines.
    pub async fn file(&self, id: &str) -> Result<(Record, std::fs::File), Refused> {
        let record = self.with_rows(id)?;
        let path = self.0.shelf.rows_of(id);
        let file = blocking(move || std::fs::File::open(path)).await;
        Ok((record, file.map_err(|error| Refused::Unreadable(error.to_string()))?))
    }

    fn with_rows(&self, id: &str) -> Result<Record, Refused> {
        let record = self.get(id)?;
        match (record.has_rows, record.status) {
            (true, _) => Ok(record),
            (false, Status::Succeeded) => Err(Refused::NoRows(id.to_owned(), "kept no longer")),
            (false, status) => Err(Refused::NoRows(id.to_owned(), status.as_str())),
        }
    }
}
