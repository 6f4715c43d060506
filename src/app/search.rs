//! Searches: those of the daemon's API, and the saved queries for commands.

use std::sync::Arc;

use anyhow::Context as _;
use futures_util::FutureExt;
use futures_util::future::ready;

use super::explain::state_if_there;
use super::live::{DryLive, Live};
use super::{Parts, log_types, tables_for_reading};
use crate::config::Config;
use crate::detect::{Engine, content};
use crate::http::AttributesOf;
use crate::lookup::{Definition, Loading, Tables};
use crate::model::SavedQuery;
use crate::pipeline::Pipeline;
use crate::runtime::{Clock, SystemClock, Tasks, blocking};
use crate::schedule::Scheduler;
use crate::search::dry::DryTables;
use crate::search::queries::Queries;
use crate::search::saved::Saved;
use crate::search::{Limits, Search};
use crate::state::Planned;

/// Searches over the lake of the parts, if they have one; `work` looks after what they leave.
pub(super) async fn queries(config: &Config, parts: &Parts, work: &Tasks) -> anyhow::Result<Option<Queries>> {
    let Some(tables) = parts.lake.tables() else { return Ok(None) };
    let pipeline = &parts.pipeline;
    let engine = pipeline.engine.clone();
    let (names, looked_up, catalogue) = (engine.clone(), engine.clone(), pipeline.catalogue.clone());
    let state = pipeline.state.clone();
    let live = Live {
        prefix: config.lake.namespace_prefix.clone(),
        state: Arc::new(move || ready(Ok(state.clone())).boxed()),
        names: Box::new(move || names.tables().sizes().map(|(name, _)| name.to_owned()).collect()),
        lookups: Box::new(move || ready(looked_up.tables()).boxed()),
        log_types: Box::new(move || catalogue.get().log_types.clone()),
    };
    let search = Search::new(tables, config.search.limits()).with_live(Arc::new(live));
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

/// Over the tables of the configuration, for commands: lookup tables are read when a query names one. Those of buckets, which
/// the daemon reads, have no rows here.
pub async fn search_for_reading(config: &Config, limits: Limits) -> anyhow::Result<Search> {
    let log_types = log_types(&config.log_types.directories);
    let log_types = Arc::new(log_types.map_err(|problems| anyhow::anyhow!(problems.join("\n")))?);
    let directories = config.rules.directories.clone();
    let content = blocking(move || content::read(&directories)).await;
    let tables = content.tables.into_iter().filter(|table| table.enabled).map(|table| table.definition);
    let definitions: Arc<Vec<Arc<Definition>>> = Arc::new(tables.collect());
    let (named, known, own) = (definitions.clone(), log_types.clone(), config.clone());
    let table_limits = config.rules.table_limits();
    let load = move || {
        let (definitions, log_types) = (definitions.clone(), log_types.clone());
        let load = move || {
            let loading = Loading { log_types, limits: table_limits, now: SystemClock.now() };
            Arc::new(Tables::load(&definitions, &loading, &Tables::default()).0)
        };
        blocking(load).boxed()
    };
    let live = Live {
        prefix: config.lake.namespace_prefix.clone(),
        state: Arc::new(move || {
            let config = own.clone();
            let opened = async move {
                let state = state_if_there(&config).await.map_err(|error| format!("{error:#}"))?;
                state.ok_or_else(|| "there is no state store yet; start `margay run` first".to_owned())
            };
            opened.boxed()
        }),
        names: Box::new(move || named.iter().map(|definition| definition.name.to_string()).collect()),
        lookups: Box::new(load),
        log_types: Box::new(move || known.clone()),
    };
    Ok(Search::new(tables_for_reading(config).await?, limits).with_live(Arc::new(live)))
}

/// Fields by which a rule wants its alerts summed up, as it runs now.
pub(super) fn attributes_of(engine: Engine) -> AttributesOf {
    Arc::new(move |rule: &str| engine.rule(rule).map(|own| own.summary_attributes.clone()).unwrap_or_default())
}

/// Over all tables that there are to search, without a row, for commands that try queries.
pub fn dry_search(config: &Config) -> anyhow::Result<Search> {
    let log_types = log_types(&config.log_types.directories);
    let log_types = Arc::new(log_types.map_err(|problems| anyhow::anyhow!(problems.join("\n")))?);
    let mut content = content::read(&config.rules.directories);
    content.enable_packs(&config.rules.packs);
    let lookups = content.tables.into_iter().filter(|table| table.enabled).map(|table| table.definition).collect();
    let prefix = config.lake.namespace_prefix.clone();
    let tables = DryTables::new(&prefix, log_types.schemas());
    let live = DryLive { prefix, lookups, log_types };
    Ok(Search::new(Arc::new(tables), config.search.limits()).with_live(Arc::new(live)))
}

/// Fields by which a rule wants its alerts summed up, as its file says now; for commands.
pub async fn summary_attributes(config: &Config, rule: &str) -> Vec<String> {
    let directories = config.rules.directories.clone();
    let content = blocking(move || content::read(&directories)).await;
    let rule = content.rules.iter().find(|own| *own.meta.id == *rule);
    rule.map(|own| own.meta.summary_attributes.clone()).unwrap_or_default()
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
    let mut content = blocking(move || content::read(&directories)).await;
    content.enable_packs(&config.rules.packs);
    let queries: Vec<SavedQuery> = content.queries.iter().map(content::Query::saved).collect();
    Saved::new(move || queries.clone())
}
