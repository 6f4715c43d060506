//! The versions of the tables, oldest first. A file that was released is never changed; a change is a new file.
//!
//! The driver runs them under an advisory lock, so that of several daemons that start at once one works and the others
//! find everything done. Like the tables, its own one stands in the first schema of the search path.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;

use sqlx::PgConnection;
use sqlx::error::BoxDynError;
use sqlx::migrate::{MigrateError, Migration, MigrationSource, MigrationType, Migrator};
use sqlx::postgres::PgConnectOptions;

use super::During;
use super::options::place;
use crate::state::StateError;
use crate::state::versions::{self, Standing};

/// Version, name and text. A list and not a folder read by a macro, so that no compile-time feature of the driver is
/// needed; a test compares it with the folder.
const VERSIONS: &[(i64, &str, &str)] = &[
    (1, "state", include_str!("migrations/0001_state.sql")),
    (2, "notices", include_str!("migrations/0002_notices.sql")),
    (3, "key_value", include_str!("migrations/0003_key_value.sql")),
    (4, "leases", include_str!("migrations/0004_leases.sql")),
    (5, "follow_ups", include_str!("migrations/0005_follow_ups.sql")),
    (6, "schedules", include_str!("migrations/0006_schedules.sql")),
];

#[derive(Debug)]
struct Embedded;

impl MigrationSource<'static> for Embedded {
    fn resolve(self) -> Pin<Box<dyn Future<Output = Result<Vec<Migration>, BoxDynError>> + Send>> {
        let migration = |&(version, name, sql): &(i64, &'static str, &'static str)| {
            Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, Cow::Borrowed(sql), false)
        };
        Box::pin(std::future::ready(Ok(VERSIONS.iter().map(migration).collect())))
    }
}

/// Brings the tables to the newest version; those that are ahead of it are left alone where both can work with them.
pub(super) async fn run(connection: &mut PgConnection, options: &PgConnectOptions) -> Result<(), StateError> {
    let place = place(options);
    if versions::standing(&known(), &made(connection).await?) == Standing::Newer {
        return Err(newer(&place));
    }
    let failed = |error: MigrateError| {
        let denied = error.to_string().contains("permission denied");
        let remedy = if denied {
            "; let the role own its schema: `CREATE SCHEMA margay AUTHORIZATION <role>; \
             ALTER ROLE <role> SET search_path = margay`"
        } else {
            ""
        };
        StateError::Store(format!("could not bring {place} up to date: {error}{remedy}"))
    };
    let mut migrator = Migrator::new(Embedded).await.map_err(failed)?;
    migrator.set_ignore_missing(true);
    migrator.run_direct(connection).await.map_err(failed)
}

/// Refuses tables of another version; for readers, who cannot change them.
pub(super) async fn check(connection: &mut PgConnection, options: &PgConnectOptions) -> Result<(), StateError> {
    let found = match versions::standing(&known(), &made(connection).await?) {
        Standing::Good => return Ok(()),
        Standing::Newer => return Err(newer(&place(options))),
        Standing::Behind(found) => found,
    };
    let known = known().last().copied().unwrap_or_default();
    Err(StateError::Store(format!(
        "{} is of version {found} and this margay reads version {known}; start `margay run` once to bring it up to date",
        place(options)
    )))
}

fn known() -> Vec<i64> {
    VERSIONS.iter().map(|(version, ..)| *version).collect()
}

/// 0 where nothing was made yet.
pub(super) async fn version(connection: &mut PgConnection) -> Result<i64, StateError> {
    Ok(made(connection).await?.last().map_or(0, |(version, _)| *version))
}

/// Versions that were made, in order, with their names.
async fn made(connection: &mut PgConnection) -> Result<Vec<(i64, String)>, StateError> {
    const ATTEMPT: &str = "read the version";
    let tables: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await
        .during(ATTEMPT)?;
    if !tables {
        return Ok(Vec::new());
    }
    let made = sqlx::query_as("SELECT version, description FROM _sqlx_migrations ORDER BY version");
    Ok(made.fetch_all(connection).await.during(ATTEMPT)?)
}

fn newer(place: &str) -> StateError {
    StateError::Store(format!("{place} was written by a newer margay; use that version, or another database or schema"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn every_file_of_the_folder_is_a_version() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/state/postgres/migrations");
        let files: BTreeSet<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let listed = VERSIONS.iter().map(|(version, name, _)| format!("{version:04}_{name}.sql")).collect();
        assert_eq!(files, listed);
    }
}
