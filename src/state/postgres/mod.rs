//! The state store in PostgreSQL: for any number of daemons on one queue.
//!
//! Each method is one statement, or one transaction of few statements, whatever the number of its rows. Who holds a claim
//! keeps its row of `objects` locked for the length of each transaction under it, so that nobody takes it over in the
//! middle; windows are locked in the order of their ids. What the database undoes because two such transactions met is
//! done again here.
//!
//! Every commit is on the server's disk when it returns. What SQLite may lose in a power cut dies with the daemon that
//! believes in it; a daemon outlives the crash of this server, and would finish an object whose matches are gone.
//!
//! Times are those of the daemons' clocks, as in SQLite. Clocks that differ let a lease end early or late, and fences see to
//! it that nothing is done twice for that.
//! No type of the driver leaves this folder but the connections of the lake's catalog, which is in the same database.

mod alerts;
mod archive;
mod backlog;
mod columns;
mod commits;
mod desk;
mod failure;
mod key_value;
mod leases;
mod ledger;
mod migrations;
mod notices;
mod options;
mod outbox;
mod quarantine;
mod record;
mod revisions;
mod schedules;
mod summary;
mod upkeep;

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Executor, PgConnection, Postgres, Row, Transaction};

use self::failure::{During, Failure};
use super::{PostgresConfig, StateError};

pub use self::options::check_url;

/// A connection that is idle for so long is closed …
const IDLE: Duration = Duration::from_secs(10 * 60);

/// … and one that is so old, too, so that a new primary or a load balancer gets its share.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// How long a call waits for a connection, or for the server.
const PATIENCE: Duration = Duration::from_secs(30);

/// Most connections of the lake's catalog: a commit needs one for a moment.
const FOR_THE_LAKE: u32 = 4;

/// The oldest version of the server that has what is used here.
const LEAST_VERSION: i32 = 130_000;

/// A connected store.
pub struct PostgresStore {
    pool: PgPool,
}

impl PostgresStore {
    /// Connects, and brings the tables up to date. Several daemons that start at once do that one after the other.
    pub async fn open(config: &PostgresConfig) -> Result<PostgresStore, StateError> {
        let options = options::connect_options(config).await?;
        let mut connection = connect(&options).await?;
        check_server(&mut connection, &options).await?;
        migrations::run(&mut connection, &options).await?;
        drop(connection);
        Ok(PostgresStore { pool: pool(config, options, false) })
    }

    /// Connects for a command that only reads. Whatever would write fails.
    pub async fn open_read_only(config: &PostgresConfig) -> Result<PostgresStore, StateError> {
        let options = options::connect_options(config).await?;
        let mut connection = connect(&options).await?;
        migrations::check(&mut connection, &options).await?;
        drop(connection);
        Ok(PostgresStore { pool: pool(config, options, true) })
    }

    /// Begins a transaction. Dropped without a commit it comes to nothing.
    async fn begin(&self) -> Result<Transaction<'static, Postgres>, Failure> {
        self.pool.begin().await.during("begin a transaction")
    }
}

/// Connections for the catalog of the lake, with the tables that it keeps there itself.
pub async fn connections(config: &PostgresConfig) -> Result<PgPool, StateError> {
    let options = options::connect_options(config).await?;
    let mut connection = connect(&options).await?;
    check_server(&mut connection, &options).await?;
    let config = PostgresConfig { max_connections: config.max_connections.min(FOR_THE_LAKE), ..config.clone() };
    Ok(pool(&config, options, false))
}

/// Whether a daemon has made its tables in the database; for commands that can do without.
pub async fn is_there(config: &PostgresConfig) -> Result<bool, StateError> {
    let options = options::connect_options(config).await?;
    let mut connection = connect(&options).await?;
    Ok(migrations::version(&mut connection).await? > 0)
}

/// Without the limits of the pool: a migration may take long.
async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StateError> {
    match tokio::time::timeout(PATIENCE, options.connect()).await {
        Ok(connected) => connected.map_err(|error| failure::cannot_connect(options, &error)),
        Err(_) => Err(failure::cannot_connect(options, &"no answer")),
    }
}

async fn check_server(connection: &mut PgConnection, options: &PgConnectOptions) -> Result<(), StateError> {
    const ATTEMPT: &str = "ask the server what it is";
    let row = sqlx::query(
        "SELECT current_setting('server_version_num')::int AS version, pg_is_in_recovery() AS standby,
            current_setting('server_encoding') AS encoding",
    )
    .fetch_one(connection)
    .await
    .during(ATTEMPT)?;
    let (version, standby): (i32, bool) =
        (row.try_get("version").during(ATTEMPT)?, row.try_get("standby").during(ATTEMPT)?);
    let encoding: String = row.try_get("encoding").during(ATTEMPT)?;
    let place = options::place(options);
    let problem = if version < LEAST_VERSION {
        format!("{place} is version {}; margay needs 13 or newer", version / 10_000)
    } else if standby {
        format!("{place} is a standby that cannot be written to; let `state.postgres.url` name the primary")
    } else if encoding != "UTF8" {
        format!("{place} stores text as {encoding}; create the database with `ENCODING 'UTF8' TEMPLATE template0`")
    } else {
        return Ok(());
    };
    Err(StateError::Store(problem))
}

fn pool(config: &PostgresConfig, options: PgConnectOptions, reads_only: bool) -> PgPool {
    let settings = format!(
        "SET statement_timeout = '{0}s'; SET idle_in_transaction_session_timeout = '{0}s'; \
         SET default_transaction_read_only = {reads_only}; \
         SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
        config.statement_timeout_seconds
    );
    PgPoolOptions::new()
        .max_connections(config.max_connections)
        .acquire_timeout(PATIENCE)
        .idle_timeout(IDLE)
        .max_lifetime(LIFETIME)
        .after_connect(move |connection, _| {
            let settings = settings.clone();
            Box::pin(async move {
                connection.execute(&*settings).await?;
                Ok(())
            })
        })
        .connect_lazy_with(options)
}

#[cfg(test)]
pub(crate) mod tests;
