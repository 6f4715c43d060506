//! The versions of the schema, oldest first. A file that was released is never changed; a change is a new file.

use std::borrow::Cow;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;

use sqlx::SqliteConnection;
use sqlx::error::BoxDynError;
use sqlx::migrate::{Migration, MigrationSource, MigrationType, Migrator};

use super::During;
use crate::state::StateError;
use crate::state::versions::{self, Standing};

/// Version, name and text. A list and not a folder read by a macro, so that no compile-time feature of the driver is
/// needed; a test compares it with the folder.
const VERSIONS: &[(i64, &str, &str)] = &[
    (1, "state", include_str!("migrations/0001_state.sql")),
    (2, "commits", include_str!("migrations/0002_commits.sql")),
    (3, "attempts", include_str!("migrations/0003_attempts.sql")),
    (4, "backlog", include_str!("migrations/0004_backlog.sql")),
    (5, "revisions", include_str!("migrations/0005_revisions.sql")),
    (6, "claimed", include_str!("migrations/0006_claimed.sql")),
    (7, "desk", include_str!("migrations/0007_desk.sql")),
    (8, "notices", include_str!("migrations/0008_notices.sql")),
    (9, "key_value", include_str!("migrations/0009_key_value.sql")),
    (10, "leases", include_str!("migrations/0010_leases.sql")),
    (11, "follow_ups", include_str!("migrations/0011_follow_ups.sql")),
    (12, "schedules", include_str!("migrations/0012_schedules.sql")),
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

/// Brings a state file to the newest version; one that is ahead of it is left alone where both can work with it.
pub(super) async fn run(connection: &mut SqliteConnection, path: &Path) -> Result<(), StateError> {
    if standing(connection).await? == Standing::Newer {
        return Err(newer(path));
    }
    let failed =
        |error| StateError::Store(format!("could not bring the state file {} up to date: {error}", path.display()));
    let mut migrator = Migrator::new(Embedded).await.map_err(failed)?;
    migrator.set_ignore_missing(true);
    migrator.run_direct(connection).await.map_err(failed)
}

/// Refuses a state file of another version; for readers, who cannot change it.
pub(super) async fn check(connection: &mut SqliteConnection, path: &Path) -> Result<(), StateError> {
    let found = match standing(connection).await? {
        Standing::Good => return Ok(()),
        Standing::Newer => return Err(newer(path)),
        Standing::Behind(found) => found,
    };
    let known = known().last().copied().unwrap_or_default();
    Err(StateError::Store(format!(
        "the state file {} is of version {found} and this margay reads version {known}; \
         start `margay run` once to bring it up to date",
        path.display()
    )))
}

fn known() -> Vec<i64> {
    VERSIONS.iter().map(|(version, ..)| *version).collect()
}

async fn standing(connection: &mut SqliteConnection) -> Result<Standing, StateError> {
    const ATTEMPT: &str = "read the version";
    let tables = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM sqlite_master WHERE name = '_sqlx_migrations'");
    let made = match tables.fetch_one(&mut *connection).await.during(ATTEMPT)? {
        0 => Vec::new(),
        _ => sqlx::query_as("SELECT version, description FROM _sqlx_migrations ORDER BY version")
            .fetch_all(connection)
            .await
            .during(ATTEMPT)?,
    };
    Ok(versions::standing(&known(), &made))
}

fn newer(path: &Path) -> StateError {
    StateError::Store(format!(
        "the state file {} was written by a newer margay; use that version, or another file in `state.sqlite.path`",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_file_of_the_folder_is_a_version() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/state/sqlite/migrations");
        let files: BTreeSet<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let listed = VERSIONS.iter().map(|(version, name, _)| format!("{version:04}_{name}.sql")).collect();
        assert_eq!(files, listed);
    }
}
