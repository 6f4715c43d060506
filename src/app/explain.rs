//! The parts of a pipeline that change nothing, for telling what the others would do.

use std::sync::Arc;

use anyhow::Context as _;

use super::{lookups, object_store, program, state_for_reading};
use crate::config::Config;
use crate::detect::Engine;
use crate::fetch::ObjectStore;
use crate::lookup::{Refresher, Surroundings};
use crate::pipeline::Catalogue;
use crate::pipeline::explain::Explainer;
use crate::runtime::{SharedClock, SystemClock, Tasks};
use crate::state::{self, StateStore, postgres};
use crate::telemetry::Telemetry;

/// What the store reads ahead ends with `work`.
pub async fn explainer(config: &Config, catalogue: Catalogue, work: &Tasks) -> anyhow::Result<Explainer> {
    let clock: SharedClock = Arc::new(SystemClock);
    let objects = object_store(config, &clock, work).await?;
    explainer_over(objects, config, catalogue, clock).await
}

pub(super) async fn explainer_over(
    objects: Arc<dyn ObjectStore>,
    config: &Config,
    catalogue: Catalogue,
    clock: SharedClock,
) -> anyhow::Result<Explainer> {
    let surroundings = Surroundings::fixed(catalogue.log_types.clone(), clock.clone());
    let telemetry = Telemetry::new();
    let (engine, _) = Engine::start(&config.rules, program()?, telemetry.clone(), surroundings).await?;
    lookups::first(&engine, &mut Refresher::new(objects.clone(), telemetry.clone()), &telemetry).await;
    Ok(Explainer {
        catalogue: Arc::new(catalogue),
        objects,
        state: state_if_there(config).await?,
        engine,
        clock,
        limits: config.pipeline.limits(),
        poison_after: config.pipeline.poison_after,
        destinations: config.alerts.receivers(),
    })
}

/// The state store, where a daemon has made one.
pub(super) async fn state_if_there(config: &Config) -> anyhow::Result<Option<Arc<dyn StateStore>>> {
    let there = match config.state.kind {
        state::Kind::Sqlite => {
            let path = &config.state.sqlite.path;
            let there = tokio::fs::try_exists(path).await;
            there.with_context(|| format!("could not look for the state file {}", path.display()))?
        }
        state::Kind::Postgres => postgres::is_there(&config.state.postgres).await?,
    };
    if there { Ok(Some(state_for_reading(config).await?)) } else { Ok(None) }
}
