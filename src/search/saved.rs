//! Queries that have a name: the `saved_query` and `scheduled_query` files of the rule folders. They are written, reviewed
//! and deleted where the rules are, so that every daemon has the same ones; here they are found and run.

use std::sync::Arc;

use time::OffsetDateTime;

use super::{Limits, Rows, Search, SearchError};
use crate::logtype::schema::suggestion;
use crate::model::SavedQuery;

/// Those that there are now.
#[derive(Clone)]
pub struct Saved(Arc<dyn Fn() -> Vec<SavedQuery> + Send + Sync>);

impl Saved {
    pub fn new(current: impl Fn() -> Vec<SavedQuery> + Send + Sync + 'static) -> Saved {
        Saved(Arc::new(current))
    }

    /// By name.
    pub fn all(&self) -> Vec<SavedQuery> {
        let mut all = (self.0)();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    pub fn get(&self, name: &str) -> Result<SavedQuery, SearchError> {
        let mut all = (self.0)();
        if let Some(at) = all.iter().position(|query| query.name == name) {
            return Ok(all.swap_remove(at));
        }
        let near = suggestion(name, all.iter().map(|query| &*query.name));
        let near = near.map(|near| format!("did you mean `{near}`?"));
        let near = near.unwrap_or_else(|| "they are the `saved_query` files of `rules.directories`".into());
        Err(SearchError::new(format!("there is no saved query `{name}`; {near}")))
    }

    /// Runs one as if it were `at`, which its time macros count from.
    pub async fn run(
        &self,
        search: &Search,
        name: &str,
        at: OffsetDateTime,
        limits: Limits,
    ) -> Result<Rows, SearchError> {
        let query = self.get(name)?;
        search.within(limits).start(&query.sql, at).await
    }
}
