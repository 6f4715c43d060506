//! Searches: those of the daemon's API, and the saved queries for commands.

use std::sync::Arc;

use anyhow::Context as _;

use super::{Parts, log_types};
use crate::config::Config;
use crate::detect::{Engine, content};
use crate::http::AttributesOf;
use crate::model::SavedQuery;
use crate::runtime::{Tasks, blocking};
use crate::search::Search;
use crate::search::dry::DryTables;
use crate::search::queries::Queries;
use crate::search::saved::Saved;

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

/// Fields by which a rule wants its alerts summed up, as it runs now.
pub(super) fn attributes_of(engine: Engine) -> AttributesOf {
    Arc::new(move |rule: &str| engine.rule(rule).map(|own| own.summary_attributes.clone()).unwrap_or_default())
}

/// Over tables of all log types without a row, for commands that try queries.
pub fn dry_search(config: &Config) -> anyhow::Result<Search> {
    let log_types = log_types(&config.log_types.directories);
    let log_types = log_types.map_err(|problems| anyhow::anyhow!(problems.join("\n")))?;
    let tables = DryTables::new(&config.lake.namespace_prefix, log_types.schemas());
    Ok(Search::new(Arc::new(tables), config.search.limits()))
}

/// Fields by which a rule wants its alerts summed up, as its file says now; for commands.
pub async fn summary_attributes(config: &Config, rule: &str) -> Vec<String> {
    let directories = config.rules.directories.clone();
    let content = blocking(move || content::read(&directories)).await;
    let rule = content.rules.iter().find(|own| *own.meta.id == *rule);
    rule.map(|own| own.meta.summary_attributes.clone()).unwrap_or_default()
}

/// The saved queries as they are in the folders, for commands.
pub async fn saved_queries(config: &Config) -> Saved {
    let directories = config.rules.directories.clone();
    let content = blocking(move || content::read(&directories)).await;
    let queries: Vec<SavedQuery> = content.queries.iter().map(|query| query.spec.saved()).collect();
    Saved::new(move || queries.clone())
}
