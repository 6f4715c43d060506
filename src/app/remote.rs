//! Folders in S3 for the daemon: taken before it starts, and looked at while it runs.

use std::sync::Arc;
use std::time::Duration;

use super::s3_store;
use crate::aws;
use crate::config::Config;
use crate::fetch::ObjectStore;
use crate::remote::{self, Mirror};
use crate::runtime::{SharedClock, SystemClock, Tasks};
use crate::telemetry::Telemetry;

/// The copies of a daemon, and what was counted while they were taken.
pub struct Copies {
    mirrors: Vec<Mirror>,
    clock: SharedClock,
    every: Duration,
    pub(super) telemetry: Telemetry,
}

/// Takes what the configuration names in S3; without any such folder nothing is asked of anybody.
pub async fn copies(config: &Config) -> anyhow::Result<Copies> {
    let clock: SharedClock = Arc::new(SystemClock);
    let every = Duration::from_secs(config.remote.poll_seconds);
    let telemetry = Telemetry::new();
    let mut mirrors = Vec::new();
    if !config.remote.prefixes.is_empty() {
        // Nothing here is long enough to be read ahead.
        let store: Arc<dyn ObjectStore> = Arc::new(s3_store(&aws::sdk_config().await, config, &clock, &Tasks::new()));
        let new = |prefix: &remote::Prefix| Mirror::new(prefix.clone(), &config.remote, store.clone());
        mirrors = config.remote.prefixes.iter().map(new).collect();
        remote::first(&mut mirrors, every, &clock, &telemetry).await.map_err(anyhow::Error::msg)?;
    }
    Ok(Copies { mirrors, clock, every, telemetry })
}

impl Copies {
    /// Looks at the folders again and again, as a task of `work`.
    pub(super) fn keep(self, work: &Tasks) {
        let Copies { mirrors, clock, every, telemetry } = self;
        work.spawn_critical("remote folders", remote::poll(mirrors, every, clock, telemetry, work.token().clone()));
    }
}
