//! The state store in one SQLite file: the embedded default, for one daemon.
//!
//! The file belongs to one daemon at a time, which a lock on `<path>.lock` enforces; commands may read it meanwhile, and
//! a command that works (`replay`, `backfill`) writes to it, too, and shares a lock on `<path>.errands` with others of its
//! kind, so that a daemon that starts knows of them. All writes of a process go through one connection; between processes
//! a transaction waits for the other's, and fences decide who holds what.
//! No type of the driver leaves this folder.

mod alerts;
mod archive;
mod backlog;
mod columns;
mod commits;
mod desk;
mod key_value;
mod leases;
mod ledger;
mod migrations;
mod notices;
mod outbox;
mod quarantine;
mod record;
mod revisions;
mod schedules;
mod summary;
mod upkeep;

use std::fs::{File, TryLockError};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::sync::{Mutex, MutexGuard};

use super::{SqliteConfig, StateError};
use crate::runtime::blocking;

/// Only a reader of another process, or the checkpoint of one, can hold a lock, and not for long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
const READERS: u32 = 4;

/// An open state file.
pub struct SqliteStore {
    path: PathBuf,
    readers: SqlitePool,
    /// `None` when opened for reading only.
    writer: Option<Mutex<Writer>>,
    /// The daemon's, or the one that errands share. Last, so that it is given up after the connections to the file.
    _lock: Option<File>,
}

impl SqliteStore {
    /// Opens the file for the daemon, and creates or upgrades it. Delivery leases in it were left by a daemon that is gone,
    /// so they end here, and so do claims unless a command is at work that may hold them: then each ends by its lease.
    pub async fn open(config: &SqliteConfig) -> Result<SqliteStore, StateError> {
        let path = config.path.clone();
        let lock = blocking({
            let path = path.clone();
            move || take_lock(&path)
        })
        .await?;
        let options = options(&path).create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
        let mut connection = options.connect().await.map_err(|error| cannot_open(&path, &error))?;
        migrations::run(&mut connection, &path).await?;
        // Held until the claims have ended, so that a command that starts meanwhile has none yet.
        let alone = blocking({
            let path = path.clone();
            move || no_errands(&path)
        })
        .await?;
        let claims = "UPDATE objects SET claimed_until = NULL, crashed = crashed + 1 WHERE claimed_until IS NOT NULL";
        let deliveries = "UPDATE deliveries SET leased_until = NULL WHERE leased_until IS NOT NULL";
        for leftover in alone.iter().map(|_| claims).chain([deliveries]) {
            sqlx::query(leftover).execute(&mut connection).await.during("end the claims of an earlier process")?;
        }
        drop(alone);
        let readers = readers(&path).await?;
        let writer = Some(Mutex::new(Writer { connection, durability: None, is_open: false }));
        Ok(SqliteStore { path, readers, writer, _lock: Some(lock) })
    }

    /// Opens the file for a command that works beside a daemon, or without one: claims of others stay theirs, and a daemon
    /// that starts meanwhile leaves the command its own.
    pub async fn open_beside(config: &SqliteConfig) -> Result<SqliteStore, StateError> {
        let path = config.path.clone();
        let lock = blocking({
            let path = path.clone();
            move || take_lock(&path)
        })
        .await;
        let options = options(&path).create_if_missing(lock.is_ok()).journal_mode(SqliteJournalMode::Wal);
        let mut connection = options.connect().await.map_err(|error| cannot_open(&path, &error))?;
        match lock {
            // Nobody else is here to bring the file up to date. The lock is for that alone: a daemon may start.
            Ok(_held) => migrations::run(&mut connection, &path).await?,
            Err(_) => migrations::check(&mut connection, &path).await?,
        }
        let errand = blocking({
            let path = path.clone();
            move || join_errands(&path)
        })
        .await?;
        let readers = readers(&path).await?;
        let writer = Some(Mutex::new(Writer { connection, durability: None, is_open: false }));
        Ok(SqliteStore { path, readers, writer, _lock: Some(errand) })
    }

    /// Opens the file of a daemon that may be running. Whatever would write fails.
    pub async fn open_read_only(config: &SqliteConfig) -> Result<SqliteStore, StateError> {
        let path = config.path.clone();
        let exists = tokio::fs::try_exists(&path).await;
        if !exists.map_err(|error| cannot_open(&path, &error))? {
            return Err(StateError::Store(format!(
                "there is no state file {}; start `margay run` first, or correct `state.sqlite.path`",
                path.display()
            )));
        }
        let readers = readers(&path).await?;
        let mut connection = readers.acquire().await.map_err(|error| cannot_open(&path, &error))?;
        migrations::check(&mut connection, &path).await?;
        drop(connection);
        Ok(SqliteStore { path, readers, writer: None, _lock: None })
    }

    /// Begins a transaction on the one writing connection; waits for its turn.
    async fn write(&self, durability: Durability) -> Result<Write<'_>, StateError> {
        let Some(writer) = &self.writer else {
            let path = self.path.display();
            return Err(StateError::Store(format!("the state file {path} is open for reading only")));
        };
        let mut writer = writer.lock().await;
        writer.begin(durability).await?;
        Ok(Write { writer })
    }
}

/// How much a commit must survive. Both survive the death of the process (`kill -9`): a committed page is with the
/// operating system. They differ in a power cut.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Durability {
    /// May be undone by a power cut, back to an earlier whole transaction. Good for all that a redelivered message
    /// repeats: claims, matches, alerts, rejects, delivery marks.
    Process,
    /// On the disk when the commit returns, and with it every commit before, because they are one log. Needed where
    /// the caller next destroys the only other copy: it deletes the message.
    Power,
}

struct Writer {
    connection: SqliteConnection,
    /// What the connection is set to, when that is known.
    durability: Option<Durability>,
    /// A transaction was begun and not seen to end: its future was dropped, or a statement of it failed.
    is_open: bool,
}

impl Writer {
    /// Written out instead of the driver's own transactions: those lose count when SQLite itself rolls back (a full
    /// disk) or when a future is dropped at the wrong moment, and then commit into a transaction that never ends.
    async fn begin(&mut self, durability: Durability) -> Result<(), StateError> {
        if self.is_open {
            // Fails when SQLite has rolled back already. Were a transaction to stay open, `BEGIN` below would fail.
            sqlx::query("ROLLBACK").execute(&mut self.connection).await.ok();
        }
        if self.durability != Some(durability) {
            // Unknown until the statement has returned: the future can be dropped at the await.
            self.durability = None;
            let pragma = match durability {
                Durability::Process => "PRAGMA synchronous = NORMAL",
                Durability::Power => "PRAGMA synchronous = FULL",
            };
            sqlx::query(pragma).execute(&mut self.connection).await.during("set the durability")?;
            self.durability = Some(durability);
        }
        self.is_open = true;
        sqlx::query("BEGIN IMMEDIATE").execute(&mut self.connection).await.during("begin a transaction")?;
        Ok(())
    }
}

/// A transaction. Dropped without [`Write::commit`] it comes to nothing: the next one rolls it back.
struct Write<'a> {
    writer: MutexGuard<'a, Writer>,
}

impl Write<'_> {
    async fn commit(mut self, attempt: &str) -> Result<(), StateError> {
        sqlx::query("COMMIT").execute(&mut self.writer.connection).await.during(attempt)?;
        self.writer.is_open = false;
        Ok(())
    }

    /// Takes back what was done. Without this the file would stay locked for other processes until the next transaction.
    async fn undo(mut self, attempt: &str) -> Result<(), StateError> {
        sqlx::query("ROLLBACK").execute(&mut self.writer.connection).await.during(attempt)?;
        self.writer.is_open = false;
        Ok(())
    }
}

impl Deref for Write<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.writer.connection
    }
}

impl DerefMut for Write<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.writer.connection
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging()
}

async fn readers(path: &Path) -> Result<SqlitePool, StateError> {
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .connect_with(options(path).read_only(true))
        .await
        .map_err(|error| cannot_open(path, &error))
}

/// Creates the folder and takes the lock. The lock goes with the process, however it ends.
fn take_lock(path: &Path) -> Result<File, StateError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| {
            StateError::Store(format!(
                "could not create the folder {} of the state file: {error}; correct `state.sqlite.path` or the \
                 permissions",
                folder.display()
            ))
        })?;
    }
    let (lock, lock_path) = lock_file(path, ".lock")?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StateError::Store(format!(
            "the state file {} is in use by another margay; stop that one, or give this one its own \
             `state.sqlite.path`",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => Err(cannot_lock(&lock_path, &error)),
    }
}

/// The lock that keeps errands from starting; `None` while one is at work.
fn no_errands(path: &Path) -> Result<Option<File>, StateError> {
    let (lock, lock_path) = lock_file(path, ".errands")?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(cannot_lock(&lock_path, &error)),
    }
}

/// The lock that errands share. Waits for a daemon that starts.
fn join_errands(path: &Path) -> Result<File, StateError> {
    let (lock, lock_path) = lock_file(path, ".errands")?;
    lock.lock_shared().map_err(|error| cannot_lock(&lock_path, &error))?;
    Ok(lock)
}

fn lock_file(path: &Path, ending: &str) -> Result<(File, PathBuf), StateError> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(ending);
    let lock_path = PathBuf::from(lock_path);
    let lock = File::options().create(true).append(true).open(&lock_path).map_err(|error| {
        let lock_path = lock_path.display();
        StateError::Store(format!("could not open the lock file {lock_path}: {error}; correct its permissions"))
    })?;
    Ok((lock, lock_path))
}

fn cannot_lock(lock_path: &Path, error: &std::io::Error) -> StateError {
    StateError::Store(format!(
        "could not lock {}: {error}; the state file needs a file system with locks",
        lock_path.display()
    ))
}

fn cannot_open(path: &Path, error: &dyn std::fmt::Display) -> StateError {
    StateError::Store(format!(
        "could not open the state file {}: {error}; correct `state.sqlite.path` or the permissions",
        path.display()
    ))
}

/// Says in a driver error what was attempted.
trait During<T> {
    fn during(self, attempt: &str) -> Result<T, StateError>;
}

impl<T> During<T> for Result<T, sqlx::Error> {
    fn during(self, attempt: &str) -> Result<T, StateError> {
        self.map_err(|error| {
            let is_full = error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "13");
            let remedy = if is_full { "; free space on its disk" } else { "" };
            StateError::Store(format!("could not {attempt} in the state file: {error}{remedy}"))
        })
    }
}

#[cfg(test)]
mod tests;
