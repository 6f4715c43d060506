//! Searches: those of the daemon's API, and the saved queries for commands.

use std::sync::Arc;

use anyhow::Context as _;

use super::explain::state_if_there;
use super::{Parts, log_types};
use crate::config::Config;
use crate::detect::content;
use crate::model::SavedQuery;
use crate::pipeline::Pipeline;
use crate::runtime::{Tasks, blocking};
use crate::schedule::Scheduler;
use crate::search::Search;
use crate::search::dry::DryTables;
use crate::search::queries::Queries;
use crate::search::saved::Saved;
use crate::state::Planned;

/// Searches over the lake of the parts, if they have one; `work` looks after what they leave.
pub(super) async fn queries(config: &Config, parts: &Parts, work: &Tasks) -> anyhow::Result<Option<Queries>> {
    let Some(tables) = parts.lake.tables() else { return Ok(None) };
    let pipeline = &parts.pipeline;
    let engine = pipeline.engine.clone();
    let search = Search::new(tables, config.search.limits());
    let saved = Saved::new(move || engine.queries());
    let queries = Queries::open(&config.search, search, saved, pipeline.clock.clone(), pipeline.telemetry.clone());
    let folder = config.search.path.display();
    let queries = queries.await.with_context(|| format!("could not open the folder {folder} of `search.path`"))?;
    work.spawn_critical("upkeep of searches", queries.clone().look_after(work.token().clone()));
    Ok(Some(queries))
}

/// What runs those of them that have a schedule.
pub(super) fn scheduler(config: &Config, pipeline: Arc<Pipeline>, queries: Queries) -> Scheduler {
    Scheduler { pipeline, queries, most_rows: config.search.max_scheduled_rows }
}

/// Over tables of all log types without a row, for commands that try queries.
pub fn dry_search(config: &Config) -> anyhow::Result<Search> {
    let log_types = log_types(&config.log_types.directories);
    let log_types = log_types.map_err(|problems| anyhow::anyhow!(problems.join("\n")))?;
    let tables = DryTables::new(&config.lake.namespace_prefix, log_types.schemas());
    Ok(Search::new(Arc::new(tables), config.search.limits()))
}

/// What is known of the runs of scheduled queries; nothing where no daemon has run yet.
pub async fn planned_queries(config: &Config) -> anyhow::Result<Vec<Planned>> {
    Ok(match state_if_there(config).await? {
        Some(state) => state.planned().await?,
        None => Vec::new(),
    })
}

/// The saved queries as they are in the folders, for commands.
pub async fn saved_queries(config: &Config) -> Saved {
    let directories = config.rules.directories.clone();
    let content = blocking(move || content::read(&directories)).await;
    let queries: Vec<SavedQuery> = content.queries.iter().map(|query| query.spec.saved()).collect();
    Saved::new(move || queries.clone())
}
