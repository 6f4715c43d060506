//! The contract on SQLite, and what is SQLite's own: the file, its lock, its versions, and what a crash leaves.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use time::Duration as Span;

use super::*;
use crate::model::Receiver;
use crate::state::fixtures::{START, matched, matches, object, rule};
use crate::state::{AlertFilter, AlertStore, Claim, ClaimToken, Ledger, Outbox, Quarantine};

const LEASE: Duration = Duration::from_secs(60);

/// A store and the folder it lives in.
struct Opened {
    store: SqliteStore,
    folder: TempDir,
}

impl Deref for Opened {
    type Target = SqliteStore;
    fn deref(&self) -> &SqliteStore {
        &self.store
    }
}

fn config(folder: &Path) -> SqliteConfig {
    SqliteConfig { path: folder.join("margay.db") }
}

async fn open() -> Opened {
    let folder = tempfile::tempdir().unwrap();
    Opened { store: SqliteStore::open(&config(folder.path())).await.unwrap(), folder }
}

mod contract {
    crate::state::contract::contract_tests!(super::super::open);
}

/// A store over a file that a version to come has brought up to date: by whatever takes nothing away.
async fn open_from_the_future() -> Opened {
    let Opened { store, folder } = open().await;
    let mut tx = store.write(Durability::Process).await.unwrap();
    let tables = "SELECT name FROM sqlite_master
        WHERE type = 'table' AND substr(name, 1, 6) NOT IN ('sqlite', '_sqlx_')";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut *tx).await.unwrap();
    assert!(tables.len() > 10, "{tables:?}");
    for table in &tables {
        for change in [
            format!("ALTER TABLE {table} ADD COLUMN to_come TEXT"),
            format!("ALTER TABLE {table} ADD COLUMN to_come_counted INTEGER NOT NULL DEFAULT 7"),
            format!("CREATE INDEX {table}_by_to_come ON {table} (to_come)"),
            format!("CREATE TABLE {table}_to_come (id INTEGER PRIMARY KEY) STRICT"),
        ] {
            sqlx::query(&change).execute(&mut *tx).await.unwrap();
        }
    }
    let made = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (9999, 'to come', true, x'00', 0)";
    sqlx::query(made).execute(&mut *tx).await.unwrap();
    tx.commit("pretend").await.unwrap();
    drop(store);
    Opened { store: SqliteStore::open(&config(folder.path())).await.unwrap(), folder }
}

mod contract_on_a_file_from_the_future {
    crate::state::contract::contract_tests!(super::super::open_from_the_future);
}

#[tokio::test]
async fn a_file_from_the_future_is_read_and_worked_with_until_a_version_breaks_with_this_one() {
    let Opened { store, folder } = open_from_the_future().await;
    let config = config(folder.path());
    assert!(SqliteStore::open_read_only(&config).await.is_ok());
    assert!(SqliteStore::open_beside(&config).await.is_ok());
    let mut tx = store.write(Durability::Process).await.unwrap();
    let breaking = "UPDATE _sqlx_migrations SET description = 'breaking_' || description WHERE version = 9999";
    sqlx::query(breaking).execute(&mut *tx).await.unwrap();
    tx.commit("pretend").await.unwrap();
    drop(store);
    for refused in [
        error(SqliteStore::open(&config).await),
        error(SqliteStore::open_beside(&config).await),
        error(SqliteStore::open_read_only(&config).await),
    ] {
        assert!(refused.contains("newer margay"), "{refused}");
    }
}

async fn claim(store: &SqliteStore) -> ClaimToken {
    match store.claim(&object("key"), "source", None, START, START + Span::HOUR).await.unwrap() {
        Claim::Granted(token, _) => token,
        other => panic!("{other:?}"),
    }
}

fn error(result: Result<SqliteStore, StateError>) -> String {
    match result {
        Ok(_) => panic!("the store was opened"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_new_process_ends_the_claims_and_leases_of_the_last_and_keeps_the_rest() {
    let opened = open().await;
    let token = claim(&opened).await;
    let detections = matches([matched(&Arc::new(rule("r")), 1)]);
    opened.record(&token, &detections, &[Receiver::accepting_all("stdout")], START).await.unwrap();
    assert_eq!(opened.due("stdout", START, LEASE, 10).await.unwrap().len(), 1);

    let Opened { store, folder } = opened;
    drop(store);
    let store = SqliteStore::open(&config(folder.path())).await.unwrap();
    assert!(matches!(store.renew(&token, START + Span::DAY).await, Err(StateError::Fenced(_))));
    assert!(claim(&store).await.fence > token.fence);
    assert_eq!(store.due("stdout", START, LEASE, 10).await.unwrap().len(), 1);
    assert_eq!(store.alerts(&AlertFilter::default()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_daemon_that_starts_beside_a_command_leaves_all_claims_to_their_leases() {
    let Opened { store, folder } = open().await;
    let of_a_daemon = claim(&store).await;
    drop(store);
    let command = SqliteStore::open_beside(&config(folder.path())).await.unwrap();
    let claimed = command.claim(&object("other"), "source", None, START, START + Span::HOUR).await.unwrap();
    let Claim::Granted(of_the_command, _) = claimed else { panic!("{claimed:?}") };

    let daemon = SqliteStore::open(&config(folder.path())).await.unwrap();
    command.renew(&of_the_command, START + Span::HOUR).await.unwrap();
    let held = daemon.claim(&object("key"), "source", None, START, START + Span::HOUR).await.unwrap();
    assert!(matches!(held, Claim::Held(_)), "whose it is nobody knows: {held:?}");
    let later = START + Span::HOUR;
    let over = daemon.claim(&object("key"), "source", None, later, later + Span::HOUR).await.unwrap();
    let Claim::Granted(taken, attempts) = over else { panic!("{over:?}") };
    assert!(taken.fence > of_a_daemon.fence && attempts.crashed == 1);

    drop((command, daemon));
    let daemon = SqliteStore::open(&config(folder.path())).await.unwrap();
    assert!(matches!(daemon.renew(&of_the_command, later).await, Err(StateError::Fenced(_))));
}

#[tokio::test]
async fn a_crash_loses_nothing_that_was_committed() {
    let opened = open().await;
    let token = claim(&opened).await;
    let detections = matches([matched(&Arc::new(rule("r")), 1)]);
    opened.record(&token, &detections, &[Receiver::accepting_all("stdout")], START).await.unwrap();

    // The files as they are while the process runs are the files as a kill leaves them.
    let crashed = tempfile::tempdir().unwrap();
    for name in ["margay.db", "margay.db-wal"] {
        std::fs::copy(opened.folder.path().join(name), crashed.path().join(name)).unwrap();
    }
    let reader = SqliteStore::open_read_only(&config(crashed.path())).await.unwrap();
    assert_eq!(reader.alerts(&AlertFilter::default()).await.unwrap().len(), 1);
    drop(reader);
    let after = SqliteStore::open(&config(crashed.path())).await.unwrap();
    let token = claim(&after).await;
    assert_eq!(
        after.record(&token, &detections, &[Receiver::accepting_all("stdout")], START).await.unwrap().matches,
        0
    );
    assert_eq!(after.due("stdout", START, LEASE, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_recording_that_is_dropped_half_way_is_whole_or_nothing() {
    let opened = open().await;
    let token = claim(&opened).await;
    let rule = Arc::new(rule("r"));
    let detections = matches((0..50).map(|row| matched(&rule, row)));
    for patience in 0..40 {
        let give_up = async {
            for _ in 0..patience {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            recorded = opened.record(&token, &detections, &[], START) => { recorded.unwrap(); }
            () = give_up => {}
        }
        let alerts = opened.alerts(&AlertFilter::default()).await.unwrap();
        assert!(alerts.iter().all(|alert| alert.event_count == 50), "{alerts:?}");
    }
    opened.record(&token, &detections, &[], START).await.unwrap();
    assert_eq!(opened.alerts(&AlertFilter::default()).await.unwrap()[0].event_count, 50);
}

#[tokio::test]
async fn a_full_disk_is_named_and_the_store_works_again_when_there_is_space() {
    let opened = open().await;
    let token = claim(&opened).await;
    let limit_pages = async |pages: u32| {
        let pragma = format!("PRAGMA max_page_count = {pages}");
        let mut tx = opened.write(Durability::Process).await.unwrap();
        sqlx::query(&pragma).execute(&mut *tx).await.unwrap();
    };
    let rule = Arc::new(rule("r"));
    let mut large = matched(&rule, 1);
    large.detail.description = "x".repeat(1_000_000);
    let detections = matches([matched(&rule, 0), large]);

    // As many pages as there are.
    limit_pages(1).await;
    for _ in 0..2 {
        let refused = opened.record(&token, &detections, &[], START).await.unwrap_err().to_string();
        assert!(refused.contains("free space"), "{refused}");
    }
    assert!(opened.alerts(&AlertFilter::default()).await.unwrap().is_empty());
    limit_pages(1_000_000).await;
    assert_eq!(opened.record(&token, &detections, &[], START).await.unwrap().matches, 2);
    assert_eq!(opened.alerts(&AlertFilter::default()).await.unwrap()[0].event_count, 2);
    drop(opened.store);
    let again = SqliteStore::open(&config(opened.folder.path())).await.unwrap();
    assert_eq!(again.alerts(&AlertFilter::default()).await.unwrap()[0].event_count, 2);
}

#[tokio::test]
async fn concurrent_writers_take_turns() {
    let opened = open().await;
    let token = claim(&opened).await;
    let rule = Arc::new(rule("r"));
    let batches: Vec<_> = (0..40).map(|row| matches([matched(&rule, row)])).collect();
    let calls = batches.iter().map(|batch| opened.record(&token, batch, &[], START));
    for recorded in futures_util::future::join_all(calls).await {
        assert_eq!(recorded.unwrap().matches, 1);
    }
    assert_eq!(opened.alerts(&AlertFilter::default()).await.unwrap()[0].event_count, 40);
}

#[tokio::test]
async fn a_second_daemon_is_refused_and_told_why() {
    let opened = open().await;
    let refused = error(SqliteStore::open(&config(opened.folder.path())).await);
    assert!(refused.contains("margay.db is in use by another margay"), "{refused}");
}

#[tokio::test]
async fn a_command_reads_while_the_daemon_writes() {
    let opened = open().await;
    let reader = SqliteStore::open_read_only(&config(opened.folder.path())).await.unwrap();
    let token = claim(&opened).await;
    opened.record(&token, &matches([matched(&Arc::new(rule("r")), 1)]), &[], START).await.unwrap();
    assert_eq!(reader.alerts(&AlertFilter::default()).await.unwrap().len(), 1);

    let refused = reader.keep_message("m", "b", "r", START).await.unwrap_err().to_string();
    assert!(refused.contains("reading only"), "{refused}");
    assert!(reader.due("stdout", START, LEASE, 1).await.is_err());

    let Opened { store, folder } = opened;
    drop((store, reader));
    let reader = SqliteStore::open_read_only(&config(folder.path())).await.unwrap();
    assert_eq!(reader.alerts(&AlertFilter::default()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_reader_of_a_missing_file_is_told_what_to_run_and_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let refused = error(SqliteStore::open_read_only(&config(folder.path())).await);
    assert!(refused.contains("no state file") && refused.contains("margay run"), "{refused}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_file_that_is_behind_is_not_read() {
    let empty = tempfile::tempdir().unwrap();
    std::fs::write(config(empty.path()).path, "").unwrap();
    let refused = error(SqliteStore::open_read_only(&config(empty.path())).await);
    assert!(refused.contains("version 0") && refused.contains("margay run"), "{refused}");
}

#[tokio::test]
async fn missing_folders_are_created_and_a_path_that_cannot_be_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a/b");
    SqliteStore::open(&config(&deep)).await.unwrap();

    std::fs::write(folder.path().join("file"), "").unwrap();
    let refused = error(SqliteStore::open(&config(&folder.path().join("file"))).await);
    assert!(refused.contains("state.sqlite.path"), "{refused}");
    let refused = error(SqliteStore::open(&SqliteConfig { path: deep }).await);
    assert!(refused.contains("could not open the state file"), "{refused}");
    std::fs::write(folder.path().join("margay.db"), "this is no database, whatever its name says").unwrap();
    let refused = error(SqliteStore::open(&config(folder.path())).await);
    assert!(refused.contains("margay.db"), "{refused}");
}

#[tokio::test]
async fn only_the_promise_to_a_deleted_message_waits_for_the_disk() {
    let opened = open().await;
    for (durability, level) in [(Durability::Power, 2), (Durability::Process, 1), (Durability::Power, 2)] {
        let mut tx = opened.write(durability).await.unwrap();
        let set: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *tx).await.unwrap();
        assert_eq!(set, level);
    }
    let mut tx = opened.write(Durability::Power).await.unwrap();
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *tx).await.unwrap();
    assert_eq!(mode, "wal");
}
