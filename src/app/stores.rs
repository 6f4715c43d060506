//! The stores that commands work on, beside a running daemon or without one.

use std::sync::Arc;

use super::object_store;
use crate::config::Config;
use crate::fetch::ObjectStore;
use crate::runtime::{SharedClock, SystemClock, Tasks};
use crate::state::postgres::PostgresStore;
use crate::state::sqlite::SqliteStore;
use crate::state::{self, StateStore};

/// The object store, for commands that only list.
pub async fn store_for_listing(config: &Config) -> anyhow::Result<Arc<dyn ObjectStore>> {
    let clock: SharedClock = Arc::new(SystemClock);
    object_store(config, &clock, &Tasks::new()).await
}

/// The state store, for commands beside a running daemon.
pub async fn state_for_reading(config: &Config) -> anyhow::Result<Arc<dyn StateStore>> {
    match config.state.kind {
        state::Kind::Sqlite => Ok(Arc::new(SqliteStore::open_read_only(&config.state.sqlite).await?)),
        state::Kind::Postgres => Ok(Arc::new(PostgresStore::open_read_only(&config.state.postgres).await?)),
    }
}

/// The same for commands that change what is in it.
pub async fn state_for_changing(config: &Config) -> anyhow::Result<Arc<dyn StateStore>> {
    match config.state.kind {
        state::Kind::Sqlite => Ok(Arc::new(SqliteStore::open_beside(&config.state.sqlite).await?)),
        state::Kind::Postgres => Ok(Arc::new(PostgresStore::open(&config.state.postgres).await?)),
    }
}
