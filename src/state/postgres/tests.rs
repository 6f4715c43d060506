//! The contract on PostgreSQL, and what is PostgreSQL's own: many stores on one database, connections, its versions.

#[path = "../../../tests/it/postgres/server.rs"]
pub(crate) mod server;
#[path = "../../../tests/it/venv.rs"]
pub(crate) mod venv;

use std::sync::Arc;

use futures_util::future::join_all;
use time::Duration as Span;

use super::*;
use crate::model::Receiver;
use crate::state::contract;
use crate::state::fixtures::{START, matched, matches, object, rule};
use crate::state::{
    AlertFilter, AlertStore, Claim, ClaimToken, Desk, Ledger, Notices, Outbox, Quarantine, TriageChange,
};

const LEASE: Duration = Duration::from_secs(60);

fn at(url: impl Into<String>) -> PostgresConfig {
    PostgresConfig { url: Some(url.into()), ..PostgresConfig::default() }
}

async fn open() -> Box<PostgresStore> {
    Box::new(PostgresStore::open(&at(server::empty_schema().await)).await.unwrap())
}

/// Stores of several daemons on one schema.
async fn replicas(count: usize) -> Vec<PostgresStore> {
    let config = at(server::empty_schema().await);
    let opened = join_all((0..count).map(|_| PostgresStore::open(&config))).await;
    opened.into_iter().map(|store| store.unwrap()).collect()
}

mod contract_of_the_port {
    crate::state::contract::contract_tests!(super::super::open);
}

/// A store over tables that a version to come has brought up to date: by whatever takes nothing away.
async fn open_from_the_future() -> Box<PostgresStore> {
    Box::new(from_the_future().await.0)
}

async fn from_the_future() -> (PostgresStore, PostgresConfig) {
    let config = at(server::empty_schema().await);
    let store = PostgresStore::open(&config).await.unwrap();
    let tables = "SELECT tablename::text FROM pg_tables
        WHERE schemaname = current_schema() AND left(tablename, 6) <> '_sqlx_'";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&store.pool).await.unwrap();
    assert!(tables.len() > 10, "{tables:?}");
    let change = |table: &String| {
        format!(
            "ALTER TABLE {table} ADD COLUMN to_come TEXT;
             ALTER TABLE {table} ADD COLUMN to_come_counted BIGINT NOT NULL DEFAULT 7;
             CREATE INDEX {table}_to_come ON {table} (to_come_counted);
             CREATE TABLE {table}_after (id BIGINT PRIMARY KEY);"
        )
    };
    let changes: String = tables.iter().map(change).collect();
    store.pool.execute(&*changes).await.unwrap();
    let made = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (9999, 'to come', true, '\\x00', 0)";
    store.pool.execute(made).await.unwrap();
    store.pool.close().await;
    (PostgresStore::open(&config).await.unwrap(), config)
}

mod contract_on_tables_from_the_future {
    crate::state::contract::contract_tests!(super::super::open_from_the_future);
}

async fn claim(store: &PostgresStore, key: &str) -> ClaimToken {
    match store.claim(&object(key), "source", None, START, START + Span::HOUR).await.unwrap() {
        Claim::Granted(token, _) => token,
        other => panic!("{other:?}"),
    }
}

async fn refused(url: String) -> String {
    match PostgresStore::open(&at(url)).await {
        Ok(_) => panic!("the store was opened"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn many_daemons_that_start_at_once_bring_the_tables_up_to_date_once() {
    let config = at(server::empty_schema().await);
    assert!(!is_there(&config).await.unwrap());
    let Err(early) = PostgresStore::open_read_only(&config).await else { panic!("there is nothing to read") };
    assert!(early.to_string().contains("version 0") && early.to_string().contains("margay run"), "{early}");
    let stores = join_all((0..8).map(|_| PostgresStore::open(&config))).await;
    for store in stores {
        assert!(store.unwrap().alerts(&AlertFilter::default()).await.unwrap().is_empty());
    }
    assert!(is_there(&config).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn any_order_and_any_repeats_on_several_replicas_give_the_same_alerts() {
    let stores = replicas(3).await;
    contract::replicas::spread(&stores.iter().collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_replicas_deliver_together_what_the_limit_allows() {
    let stores = replicas(3).await;
    contract::storms::burst(&stores.iter().collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_replicas_raise_one_alert_about_one_condition() {
    let stores = replicas(4).await;
    let notice = contract::notices::notice(crate::state::Condition::QueueOld, "queue");
    for days in 0..3 {
        let now = START + Span::days(days);
        let raised = join_all(stores.iter().map(|store| Notices::raise(store, &notice, &[], now))).await;
        let opened: Vec<_> = raised.into_iter().filter_map(|raised| raised.unwrap()).collect();
        assert_eq!(opened.len(), 1, "day {days}");
        let resolved = TriageChange { status: Some(crate::model::AlertStatus::Resolved), ..TriageChange::default() };
        stores[0].triage(&[opened[0].id.clone()], &resolved, "me", now).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_at_once_on_several_replicas_are_each_another() {
    let stores = replicas(3).await;
    contract::key_value::spread(&stores.iter().collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_granted_to_one_of_many_daemons() {
    let stores = replicas(4).await;
    for key in 0..20 {
        let object = object(&key.to_string());
        let claims = stores.iter().map(|store| store.claim(&object, "source", None, START, START + Span::HOUR));
        let claims = join_all(claims).await.into_iter().map(|claim| claim.unwrap()).collect::<Vec<_>>();
        let granted = claims.iter().filter(|claim| matches!(claim, Claim::Granted(..))).count();
        let held = claims.iter().filter(|claim| **claim == Claim::Held(START + Span::HOUR)).count();
        assert_eq!((granted, held), (1, 3), "{claims:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_taken_by_one_of_many_daemons() {
    let stores = replicas(4).await;
    let token = claim(&stores[0], "key").await;
    let rules: Vec<_> = (0..40).map(|number| Arc::new(rule(&number.to_string()))).collect();
    let detections = matches(rules.iter().map(|rule| matched(rule, 1)));
    stores[0].record(&token, &detections, &[Receiver::accepting_all("stdout")], START).await.unwrap();
    let taken = join_all(stores.iter().map(|store| store.due("stdout", START, LEASE, 15))).await;
    let mut ids: Vec<String> = taken.into_iter().flat_map(|due| due.unwrap()).map(|due| due.alert.id).collect();
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count);
    while let Some(due) = stores[3].due("stdout", START, LEASE, 15).await.unwrap().pop() {
        ids.push(due.alert.id);
        assert!(ids.len() <= 40);
    }
    assert!(ids.len() >= 30, "what was passed over is handed out later: {}", ids.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_one_alert_by_many_at_once_follow_one_another() {
    let stores = replicas(4).await;
    let token = claim(&stores[0], "key").await;
    let detections = matches([matched(&Arc::new(rule("r")), 1)]);
    let ids = [stores[0].record(&token, &detections, &[], START).await.unwrap().opened.remove(0).id];
    let names: Vec<String> = (0..20).map(|number| format!("{number} with a \0")).collect();
    let changes = names.iter().zip(stores.iter().cycle()).map(async |(name, store)| {
        let change = TriageChange { assignee: Some(name.clone()), ..TriageChange::default() };
        store.triage(&ids, &change, name, START).await.unwrap()
    });
    assert!(join_all(changes).await.iter().all(|changed| *changed == ids));
    let mut before = String::new();
    let history = stores[1].history(&ids[0]).await.unwrap();
    for change in &history {
        assert_eq!((&change.before, &change.by), (&before, &change.after), "{history:?}");
        before.clone_from(&change.after);
    }
    assert_eq!(history.len(), names.len());
    assert_eq!(stores[2].alert(&ids[0]).await.unwrap().unwrap().triage.assignee, Some(before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_not_taken_over_in_the_middle_of_a_transaction() {
    let stores = replicas(2).await;
    let token = claim(&stores[0], "key").await;
    let mut tx = stores[0].begin().await.unwrap();
    ledger::check_claim(&mut tx, &token).await.unwrap();
    let later = START + Span::DAY;
    let other = object("key");
    let mut takeover = Box::pin(stores[1].claim(&other, "source", None, later, later + Span::HOUR));
    // Nothing but the end of the transaction lets it go on.
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut takeover).await.is_err());
    tx.commit().await.unwrap();
    let Claim::Granted(taken, attempts) = takeover.await.unwrap() else { panic!("its lease is over") };
    assert!(taken.fence > token.fence && attempts.crashed == 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_meets_another_transaction_is_done_again() {
    let stores = replicas(2).await;
    let (one, other) = (claim(&stores[0], "one").await, claim(&stores[1], "other").await);
    // Each waits for the row that the other has, until the server ends one of them.
    let deadlock = async |store: &PostgresStore, first: ClaimToken, second: ClaimToken| {
        failure::retried(|| async {
            let mut tx = store.begin().await?;
            ledger::check_claim(&mut tx, &first).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
            ledger::check_claim(&mut tx, &second).await?;
            tx.commit().await.during("commit")
        })
        .await
    };
    let ends = tokio::join!(
        deadlock(&stores[0], one.clone(), other.clone()),
        deadlock(&stores[1], other.clone(), one.clone())
    );
    assert!(ends.0.is_ok() && ends.1.is_ok(), "{ends:?}");
}

#[tokio::test]
async fn a_recording_that_is_dropped_half_way_is_whole_or_nothing() {
    let store = open().await;
    let token = claim(&store, "key").await;
    let rule = Arc::new(rule("r"));
    let detections = matches((0..50).map(|row| matched(&rule, row)));
    for patience in 0..60 {
        let give_up = async {
            for _ in 0..patience {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            recorded = store.record(&token, &detections, &[], START) => { recorded.unwrap(); }
            () = give_up => {}
        }
        let alerts = store.alerts(&AlertFilter::default()).await.unwrap();
        assert!(alerts.iter().all(|alert| alert.event_count == 50), "{alerts:?}");
    }
    store.record(&token, &detections, &[], START).await.unwrap();
    assert_eq!(store.alerts(&AlertFilter::default()).await.unwrap()[0].event_count, 50);
}

#[tokio::test]
async fn the_store_works_on_when_its_connections_were_cut() {
    let url = server::empty_schema().await;
    let store = PostgresStore::open(&at(url)).await.unwrap();
    let token = claim(&store, "key").await;
    let own: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&store.pool).await.unwrap();
    server::execute(&format!("SELECT pg_terminate_backend({own}, 5000)")).await;
    store.renew(&token, START + Span::DAY).await.unwrap();
}

#[tokio::test]
async fn a_command_reads_and_whatever_would_write_fails() {
    let config = at(server::empty_schema().await);
    let store = PostgresStore::open(&config).await.unwrap();
    let reader = PostgresStore::open_read_only(&config).await.unwrap();
    let token = claim(&store, "key").await;
    store.record(&token, &matches([matched(&Arc::new(rule("r")), 1)]), &[], START).await.unwrap();
    assert_eq!(reader.alerts(&AlertFilter::default()).await.unwrap().len(), 1);
    let said = reader.keep_message("m", "b", "r", START).await.unwrap_err().to_string();
    assert!(said.contains("only reads"), "{said}");
}

#[tokio::test]
async fn a_commit_waits_for_the_disk_whatever_the_server_s_default_is() {
    let url = server::empty_schema().await;
    let store = PostgresStore::open(&at(format!("{url}&options[synchronous_commit]=off"))).await.unwrap();
    let set: String = sqlx::query_scalar("SHOW synchronous_commit").fetch_one(&store.pool).await.unwrap();
    assert_eq!(set, "on");
    let timeout: String = sqlx::query_scalar("SHOW statement_timeout").fetch_one(&store.pool).await.unwrap();
    assert_eq!(timeout, "1min");
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_ended_and_told() {
    let url = server::empty_schema().await;
    let store = PostgresStore::open(&at(&url)).await.unwrap();
    let token = claim(&store, "key").await;
    let mut tx = store.begin().await.unwrap();
    ledger::check_claim(&mut tx, &token).await.unwrap();
    let config = PostgresConfig { statement_timeout_seconds: 1, ..at(url) };
    let blocked = PostgresStore::open(&config).await.unwrap();
    let said = blocked.renew(&token, START).await.unwrap_err().to_string();
    assert!(said.contains("state.postgres.statement_timeout_seconds"), "{said}");
    drop(tx);
}

#[tokio::test]
async fn tables_from_the_future_are_worked_with_until_a_version_breaks_with_this_one() {
    let (store, config) = from_the_future().await;
    assert!(PostgresStore::open_read_only(&config).await.is_ok());
    let breaking = "UPDATE _sqlx_migrations SET description = 'breaking_' || description WHERE version = 9999";
    store.pool.execute(breaking).await.unwrap();
    let Err(reader) = PostgresStore::open_read_only(&config).await else { panic!("it is of another version") };
    let daemon = refused(config.url.unwrap()).await;
    for said in [reader.to_string(), daemon] {
        assert!(said.contains("newer margay"), "{said}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_connection_is_told_without_the_password() {
    let address = &server::server().address;
    let wrong = refused(format!("postgres://postgres:hunter2@{address}/postgres?sslmode=disable")).await;
    assert!(wrong.contains("password authentication failed") && wrong.contains("state.postgres.url"), "{wrong}");
    let missing = refused(format!("postgres://{}@{address}/nowhere?sslmode=disable", server::OWNER)).await;
    assert!(missing.contains("`nowhere`") && missing.contains("does not exist"), "{missing}");
    server::execute("CREATE ROLE guest LOGIN PASSWORD 'hunter2'").await;
    let denied = refused(format!("postgres://guest:hunter2@{address}/postgres?sslmode=disable")).await;
    assert!(denied.contains("permission denied") && denied.contains("AUTHORIZATION"), "{denied}");
    for said in [wrong, missing, denied] {
        assert!(!said.contains("hunter2") && !said.contains("secret"), "{said}");
    }
}

#[tokio::test]
async fn a_connection_is_encrypted_and_the_server_s_certificate_verified() {
    let server = server::server();
    let (owner, encrypted, authority) = (server::OWNER, &server.encrypted, &server.authority);
    let url = format!("postgres://{owner}@{encrypted}/postgres?sslmode=verify-full");
    let unknown = refused(url.clone()).await;
    assert!(unknown.contains("sslrootcert"), "{unknown}");
    let wrong_name = url.replace("127.0.0.1", "localhost");
    let said = refused(format!("{wrong_name}&sslrootcert={authority}")).await;
    assert!(said.contains("sslrootcert") && said.contains("localhost"), "{said}");
    let plain = refused(format!("postgres://{owner}@{}/postgres?sslmode=verify-full", server.address)).await;
    assert!(plain.contains("sslmode=disable"), "{plain}");

    let schema = server::empty_schema().await;
    let (_, search_path) = schema.split_once("&options").unwrap();
    let store = PostgresStore::open(&at(format!("{url}&sslrootcert={authority}&options{search_path}"))).await.unwrap();
    claim(&store, "key").await;
}
