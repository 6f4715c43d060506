//! What callers ask for, and why they do not get it.

use std::time::Duration;

use time::OffsetDateTime;

use super::record::{Origin, Record, Status};
use crate::model::SavedQuery;
use crate::search::SearchError;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Ask {
    pub sql: String,
    pub origin: Origin,
    /// Of a saved query.
    pub name: Option<String>,
    /// What the time macros count from; now, if not given.
    pub reference_time: Option<OffsetDateTime>,
    /// Below those of the configuration.
    pub rows: Option<usize>,
    pub time: Option<Duration>,
    /// Ranges of time macros begin so much earlier.
    pub lookback: Duration,
}

impl Ask {
    pub fn sql(sql: impl Into<String>) -> Ask {
        Ask {
            sql: sql.into(),
            origin: Origin::Sql,
            name: None,
            reference_time: None,
            rows: None,
            time: None,
            lookback: Duration::ZERO,
        }
    }

    pub fn saved(query: SavedQuery) -> Ask {
        Ask { origin: Origin::Saved, name: Some(query.name), ..Ask::sql(query.sql) }
    }
}

/// Why something is not done.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("{0}")]
    Query(SearchError),
    #[error("too many queries wait; ask again when some have ended, or cancel some")]
    Full,
    #[error("margay is ending")]
    Ending,
    #[error("there is no query `{0}`; answers and their history are kept for a time only")]
    Unknown(String),
    #[error("query `{0}` has no rows: it is {1}")]
    NoRows(String, &'static str),
    #[error("the place in the rows is none that was given out")]
    NoPlace,
    #[error("the answer could not be read: {0}")]
    Unreadable(String),
}

/// Which queries are listed, newest first.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub status: Option<Status>,
    pub user: Option<String>,
    pub name: Option<String>,
    /// In the text of the query or its name, in any case.
    pub contains: Option<String>,
    pub since: Option<OffsetDateTime>,
    /// Only older ones than this id.
    pub before: Option<String>,
    pub limit: usize,
}

impl Filter {
    pub(super) fn takes(&self, record: &Record) -> bool {
        let contains = |text: &str, part: &str| text.to_lowercase().contains(&part.to_lowercase());
        let in_any =
            |part: &str| contains(&record.sql, part) || record.name.as_ref().is_some_and(|n| contains(n, part));
        self.status.is_none_or(|status| status == record.status)
            && self.user.as_ref().is_none_or(|user| *user == record.user)
            && self.name.as_ref().is_none_or(|name| Some(name) == record.name.as_ref())
            && self.contains.as_deref().is_none_or(in_any)
            && self.since.is_none_or(|since| record.submitted_at >= since)
            && self.before.as_ref().is_none_or(|before| record.id < *before)
    }
}
