//! Loaded log types against the revisions that the state store remembers: before the first event of a start or a reload
//! is made, and without remembering anything, for `margay check`.

use std::sync::Arc;

use time::OffsetDateTime;

use super::state_for_reading;
use crate::config::Config;
use crate::logtype::revision::{Settled, settle};
use crate::pipeline::Catalogue;
use crate::state::{self, StateStore, postgres};

/// Other processes that may have been faster, one after the other.
const TRIES: usize = 5;

/// The catalogue with the versions of its schemas, which are remembered; or everything that stored events do not allow.
/// A failure of the store is a problem like any other: without its answer nothing can be said.
pub(super) async fn settled(
    catalogue: Catalogue,
    config: &Config,
    state: &dyn StateStore,
    now: OffsetDateTime,
) -> Result<Catalogue, Vec<String>> {
    for _ in 0..TRIES {
        let last = state.revisions().await.map_err(|error| vec![error.to_string()])?;
        let log_types = (*catalogue.log_types).clone();
        let Settled { log_types, new, warnings } =
            settle(log_types, &used(config), &last, config.log_types.allow_widening)?;
        if new.is_empty() || state.revise(&new, now).await.map_err(|error| vec![error.to_string()])? {
            for warning in warnings {
                tracing::warn!(target: "margay::logtype", "{warning}");
            }
            return Ok(Catalogue { log_types: Arc::new(log_types), ..catalogue });
        }
    }
    Err(vec!["other processes change the revisions of log types all the time; stop all but one margay".to_owned()])
}

/// What a check finds.
#[derive(Default)]
pub struct Held {
    pub problems: Vec<String>,
    /// Also why there is nothing to compare with.
    pub notes: Vec<String>,
}

/// What [`settled`] would say, without changing anything.
pub async fn held_to_revisions(config: &Config, catalogue: &Catalogue) -> Held {
    let exists = match config.state.kind {
        state::Kind::Sqlite => tokio::fs::try_exists(&config.state.sqlite.path).await.unwrap_or(false),
        // Its failure is told below.
        state::Kind::Postgres => postgres::is_there(&config.state.postgres).await.unwrap_or(true),
    };
    if !exists {
        // Before the first start.
        return Held::default();
    }
    let last = match state_for_reading(config).await {
        Ok(state) => state.revisions().await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match last {
        Err(reason) => {
            let note = format!("log types were not compared with those that events are stored in: {reason}");
            Held { notes: vec![note], ..Held::default() }
        }
        Ok(last) => {
            let log_types = (*catalogue.log_types).clone();
            match settle(log_types, &used(config), &last, config.log_types.allow_widening) {
                Ok(settled) => Held { notes: settled.warnings, ..Held::default() },
                Err(problems) => Held { problems, ..Held::default() },
            }
        }
    }
}

/// The log types that sources name.
fn used(config: &Config) -> Vec<&str> {
    let prefixes = config.sources.iter().flat_map(|source| &source.prefixes);
    prefixes.flat_map(|prefix| &prefix.log_types).map(|name| name.as_ref()).collect()
}
