//! Commits over a scripted catalog and the real ledger: crashes, lost answers, and owners that don't know of each other.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use time::OffsetDateTime;
use time::macros::datetime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::catalog::Catalog;
use super::committer::{Committer, Limits};
use super::families::{RULE_MATCHES, SIGNALS};
use super::memory::{Call, Fault, MemoryCatalog};
use super::{Beside, CommitTicket, Lake, LakeError};
use crate::model::{Event, EventBatch, MapBuilder, Match, ObjectId, ObjectRef, Position, RowId};
use crate::runtime::{Backoff, SystemClock, Tasks};
use crate::state::sqlite::SqliteStore;
use crate::state::{Claim, ClaimToken, Commits, Ledger, Placed, SqliteConfig, fixtures};
use crate::telemetry::Telemetry;

pub(super) const TRAIL: &str = "AWS.CloudTrail";
pub(super) const OKTA: &str = "Okta.SystemLog";
pub(super) const START: OffsetDateTime = datetime!(2026-01-02 03:04:05 UTC);
pub(super) const LEASE: time::Duration = time::Duration::minutes(5);

/// Nothing is committed by itself, and an attempt is tried again once.
pub(super) fn limits() -> Limits {
    Limits {
        flush_age: Duration::from_secs(3600),
        retries: 1,
        backoff: Backoff::new(Duration::from_millis(1), Duration::from_millis(1)),
        ..Limits::default()
    }
}

pub(super) type Owner<C = MemoryCatalog> = Arc<Committer<C>>;

/// A ledger and a catalog, which outlive their users.
pub(super) struct World<C = MemoryCatalog> {
    pub(super) state: Arc<SqliteStore>,
    pub(super) catalog: Arc<C>,
    _folder: tempfile::TempDir,
}

impl World {
    pub(super) async fn new() -> World {
        World::with(MemoryCatalog::new()).await
    }

    /// Every row of a table, sorted.
    pub(super) fn row_ids(&self, table: &str) -> Vec<RowId> {
        let mut ids: Vec<RowId> = self.catalog.rows(table).iter().map(|event| event.row_id).collect();
        ids.sort();
        ids
    }
}

impl<C: Catalog> World<C> {
    pub(super) async fn with(catalog: C) -> World<C> {
        let folder = tempfile::tempdir().unwrap();
        let state = SqliteStore::open(&SqliteConfig { path: folder.path().join("margay.db") }).await.unwrap();
        World { state: Arc::new(state), catalog: Arc::new(catalog), _folder: folder }
    }

    /// A daemon's lake.
    pub(super) fn owner(&self, limits: Limits) -> Owner<C> {
        let (ledger, clock) = (self.state.clone(), Arc::new(SystemClock));
        Arc::new(Committer::new(self.catalog.clone(), ledger, clock, Telemetry::new(), limits))
    }

    /// The claim number `n` of an object: each takes it from the one before.
    pub(super) async fn claim(&self, key: &str, n: i32) -> ClaimToken {
        let now = START + LEASE * n;
        match self.state.claim(&object(key), "logs", None, now, now + LEASE).await.unwrap() {
            Claim::Granted(token, _) => token,
            other => panic!("{key} was not granted: {other:?}"),
        }
    }
}

pub(super) fn object(key: &str) -> ObjectRef {
    ObjectRef {
        bucket: "b".into(),
        key: key.into(),
        version_id: None,
        etag: Some("e".into()),
        size: None,
        region: None,
        sequencer: None,
    }
}

/// The records `ordinals` of an object, of `table` unless they say otherwise.
pub(super) fn batch(token: &ClaimToken, ordinals: Range<u64>, table: impl Fn(u64) -> &'static str) -> Arc<EventBatch> {
    let event = |ordinal| Event {
        log_type: table(ordinal).into(),
        row_id: RowId::new(token.object, ordinal, 0),
        position: Position { ordinal, index: 0 },
        time: START,
        fields: MapBuilder::default().build(),
    };
    let bytes = (ordinals.end - ordinals.start) * 1024;
    let events = ordinals.map(event).collect();
    Arc::new(EventBatch { object: token.object, source: "logs".into(), events, rejects: Vec::new(), bytes })
}

pub(super) async fn append(owner: &Owner, token: &ClaimToken, ordinals: Range<u64>) -> Result<CommitTicket, LakeError> {
    owner.append(token, batch(token, ordinals, |_| TRAIL)).await
}

pub(super) fn ids(object: ObjectId, ordinals: Range<u64>) -> Vec<RowId> {
    let mut ids: Vec<RowId> = ordinals.map(|ordinal| RowId::new(object, ordinal, 0)).collect();
    ids.sort();
    ids
}

fn flush(owner: &Owner) -> JoinHandle<Result<(), LakeError>> {
    let owner = owner.clone();
    Tasks::new().spawn(async move { owner.flush().await })
}

/// Whoever makes the next call of this kind waits at the gate. The first answer comes when it is reached, the second is
/// for opening it.
fn gate(catalog: &MemoryCatalog, call: Call) -> (oneshot::Receiver<()>, oneshot::Sender<()>) {
    let (reached, is_reached) = oneshot::channel();
    let (open, opened) = oneshot::channel();
    let mut gate = Some((reached, opened));
    catalog.inject(move |called, _| match gate.take_if(|_| called == call) {
        Some((reached, opened)) => {
            reached.send(()).unwrap();
            Fault::Gate(opened)
        }
        None => Fault::None,
    });
    (is_reached, open)
}

fn is_fenced(result: &Result<(), LakeError>) -> bool {
    matches!(result, Err(LakeError::Fenced(_)))
}

#[tokio::test]
async fn a_ticket_answers_when_every_table_has_its_rows() {
    let world = World::new().await;
    let owner = world.owner(limits());
    let token = world.claim("a", 0).await;
    let rows = batch(&token, 0..10, |ordinal| if ordinal % 2 == 0 { TRAIL } else { OKTA });
    let ticket = owner.append(&token, rows).await.unwrap();
    let mut committed = Box::pin(ticket.committed());
    assert!((&mut committed).now_or_never().is_none());
    assert_eq!(owner.buffered_rows(), 10);

    let mut held = Some(());
    world.catalog.inject(move |call, table| match (call, table) {
        (Call::Commit, OKTA) if held.take().is_some() => Fault::Fail,
        _ => Fault::None,
    });
    owner.flush().await.unwrap();
    committed.await.unwrap();
    assert_eq!((world.row_ids(TRAIL).len(), world.row_ids(OKTA).len()), (5, 5));
    assert_eq!(owner.bytes_held(), 0);
    assert_eq!(world.state.progress(token.object).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_crash_drops_the_buffers_and_the_next_owner_commits_the_rows_once() {
    let world = World::new().await;
    let owner = world.owner(limits());
    let first = world.claim("a", 0).await;
    let tickets = [append(&owner, &first, 0..5).await.unwrap(), append(&owner, &first, 5..9).await.unwrap()];
    owner.flush().await.unwrap();
    let lost = append(&owner, &first, 9..12).await.unwrap();
    drop(owner);
    for ticket in tickets {
        ticket.committed().await.unwrap();
    }
    assert!(lost.committed().await.is_err());

    let owner = world.owner(limits());
    let second = world.claim("a", 1).await;
    // All of this is durable, so there is nothing to wait for.
    let ticket = append(&owner, &second, 0..7).await.unwrap();
    assert_eq!(owner.buffered_rows(), 0);
    ticket.committed().await.unwrap();
    let ticket = append(&owner, &second, 7..12).await.unwrap();
    assert_eq!(owner.buffered_rows(), 3);
    owner.flush().await.unwrap();
    ticket.committed().await.unwrap();
    assert_eq!(world.row_ids(TRAIL), ids(first.object, 0..12));
}

/// What the rule of this name finds in all of these records.
async fn append_found(owner: &Owner, token: &ClaimToken, ordinals: Range<u64>, name: &str) -> CommitTicket {
    let (batch, rule) = (batch(token, ordinals, |_| TRAIL), Arc::new(fixtures::rule(name)));
    let found = batch.events.iter().map(|event| Match { row_id: event.row_id, ..fixtures::matched(&rule, 0) });
    let detections = fixtures::matches(found);
    let placed = Placed { alert_id: None, window_began: None, recorded: START };
    let placed = vec![placed; detections.matches.len()];
    let found = Beside::Found { batch: &batch, detections: &detections, placed: &placed };
    owner.append_beside(token, found).await.unwrap()
}

#[tokio::test]
async fn of_two_readings_with_other_rules_each_table_has_one_after_the_other() {
    let world = World::new().await;
    let owner = world.owner(limits());
    let first = world.claim("a", 0).await;
    let before = append_found(&owner, &first, 0..5, "before").await;
    owner.flush().await.unwrap();
    before.committed().await.unwrap();
    drop(append_found(&owner, &first, 5..8, "before").await);
    drop(owner);

    let owner = world.owner(limits());
    let second = world.claim("a", 1).await;
    let after = append_found(&owner, &second, 0..10, "after").await;
    owner.flush().await.unwrap();
    after.committed().await.unwrap();
    for table in [RULE_MATCHES.table(TRAIL), SIGNALS.table(TRAIL)] {
        let rows = world.catalog.rows(&table);
        let of = |name: &str| {
            let is_of = |row: &&Event| row.fields.get("p_rule_id").unwrap().as_str() == Some(name);
            rows.iter().filter(is_of).map(|row| row.position.ordinal).collect::<Vec<_>>()
        };
        assert_eq!((of("before"), of("after")), ((0..5).collect(), (5..10).collect()), "{table}");
    }
}

#[tokio::test]
async fn a_lost_answer_is_looked_for_and_not_repeated() {
    let world = World::new().await;
    let owner = world.owner(limits());
    let token = world.claim("a", 0).await;
    world.catalog.inject_next(Call::Commit, [Fault::LoseAnswer]);
    let ticket = append(&owner, &token, 0..5).await.unwrap();
    owner.flush().await.unwrap();
    ticket.committed().await.unwrap();
    assert_eq!(world.row_ids(TRAIL), ids(token.object, 0..5));
    assert_eq!(world.state.progress(token.object).await.unwrap(), [(TRAIL.into(), Position { ordinal: 4, index: 0 })]);
}

#[tokio::test]
async fn a_request_that_arrives_after_its_repetition_is_refused() {
    let world = World::new().await;
    let owner = world.owner(limits());
    let token = world.claim("a", 0).await;
    world.catalog.inject_next(Call::Commit, [Fault::Late]);
    let ticket = append(&owner, &token, 0..5).await.unwrap();
    owner.flush().await.unwrap();
    ticket.committed().await.unwrap();
    assert_eq!(world.catalog.deliver_late(), [super::catalog::Outcome::Conflict]);
    assert_eq!(world.row_ids(TRAIL), ids(token.object, 0..5));
}

#[tokio::test]
async fn an_overtaken_commit_is_tried_again_and_given_up_in_the_end() {
    let world = World::new().await;
    let owner = world.owner(limits());
    let token = world.claim("a", 0).await;
    world.catalog.inject_next(Call::Commit, [Fault::Conflict]);
    let ticket = append(&owner, &token, 0..5).await.unwrap();
    owner.flush().await.unwrap();
    ticket.committed().await.unwrap();

    world.catalog.inject_next(Call::Commit, [Fault::Conflict, Fault::Conflict]);
    let ticket = append(&owner, &token, 5..6).await.unwrap();
    let error = owner.flush().await.unwrap_err();
    assert!(error.to_string().contains("overtaken"), "{error}");
    assert_eq!(ticket.committed().await, Err(error));
    assert_eq!(world.row_ids(TRAIL), ids(token.object, 0..5));
}

#[tokio::test]
async fn after_a_failure_nothing_more_is_committed_under_the_claim() {
    let world = World::new().await;
    let owner = world.owner(limits());
    let first = world.claim("a", 0).await;
    let failed = append(&owner, &first, 0..5).await.unwrap();
    let (reached, open) = gate(&world.catalog, Call::Load);
    let flushed = flush(&owner);
    reached.await.unwrap();
    // In the buffer before the rows in front of it have failed.
    let behind = append(&owner, &first, 5..9).await.unwrap();
    world.catalog.inject(|call, _| if call == Call::Commit { Fault::Fail } else { Fault::None });
    open.send(()).unwrap();
    assert!(flushed.await.unwrap().is_err());
    world.catalog.inject(|_, _| Fault::None);

    owner.flush().await.unwrap();
    assert!(append(&owner, &first, 9..12).await.is_err());
    assert!(failed.committed().await.is_err());
    assert!(behind.committed().await.is_err());
    assert!(world.row_ids(TRAIL).is_empty());

    let second = world.claim("a", 1).await;
    let ticket = append(&owner, &second, 0..12).await.unwrap();
    owner.flush().await.unwrap();
    ticket.committed().await.unwrap();
    assert_eq!(world.row_ids(TRAIL), ids(first.object, 0..12));
}

#[tokio::test]
async fn an_old_owner_that_comes_first_is_found() {
    for between in [false, true] {
        let world = World::new().await;
        let (old, new) = (world.owner(limits()), world.owner(limits()));
        let first = world.claim("a", 0).await;
        let old_ticket = append(&old, &first, 0..5).await.unwrap();
        let (reached, open) = gate(&world.catalog, Call::Commit);
        let old_flush = flush(&old);
        reached.await.unwrap();

        let second = world.claim("a", 1).await;
        let ticket = append(&new, &second, 0..9).await.unwrap();
        let committed = if between {
            // The new owner has looked and not found it, and is about to commit.
            let (reached, proceed) = gate(&world.catalog, Call::Commit);
            let new_flush = flush(&new);
            reached.await.unwrap();
            open.send(()).unwrap();
            assert!(old_flush.await.unwrap().is_ok());
            proceed.send(()).unwrap();
            new_flush.await.unwrap()
        } else {
            open.send(()).unwrap();
            assert!(old_flush.await.unwrap().is_ok());
            new.flush().await
        };
        committed.unwrap();
        ticket.committed().await.unwrap();
        // Its rows are there; what it must not do is finish the object.
        old_ticket.committed().await.unwrap();
        assert_eq!(world.row_ids(TRAIL), ids(first.object, 0..9), "between: {between}");
    }
}

#[tokio::test]
async fn an_old_owner_that_comes_last_is_refused() {
    let world = World::new().await;
    let (old, new) = (world.owner(limits()), world.owner(limits()));
    let first = world.claim("a", 0).await;
    let other = world.claim("other", 0).await;
    let fenced = append(&old, &first, 0..5).await.unwrap();
    let kept = append(&old, &other, 0..2).await.unwrap();
    let (reached, open) = gate(&world.catalog, Call::Commit);
    let old_flush = flush(&old);
    reached.await.unwrap();

    let second = world.claim("a", 1).await;
    let ticket = append(&new, &second, 0..3).await.unwrap();
    new.flush().await.unwrap();
    ticket.committed().await.unwrap();
    open.send(()).unwrap();
    // Only the rows of the lost claim leave the commit.
    old_flush.await.unwrap().unwrap();
    assert!(is_fenced(&fenced.committed().await));
    kept.committed().await.unwrap();
    let ticket = append(&new, &second, 3..9).await.unwrap();
    new.flush().await.unwrap();
    ticket.committed().await.unwrap();

    let mut expected = [ids(first.object, 0..9), ids(other.object, 0..2)].concat();
    expected.sort();
    assert_eq!(world.row_ids(TRAIL), expected);
}

#[tokio::test]
async fn rows_that_leave_a_commit_take_its_id_with_them() {
    for answer_lost in [false, true] {
        let world = World::new().await;
        let (old, new) = (world.owner(limits()), world.owner(limits()));
        let first = world.claim("a", 0).await;
        let other = world.claim("other", 0).await;
        let fenced = append(&old, &first, 0..5).await.unwrap();
        let kept = append(&old, &other, 0..2).await.unwrap();
        // The first attempt has an unknown outcome; before the second, one of the objects is taken over.
        let (reached, is_reached) = oneshot::channel();
        let (open, opened) = oneshot::channel();
        let mut script = vec![(Call::Load, None), (Call::Commit, None), (Call::Load, Some((reached, opened)))];
        script.reverse();
        world.catalog.inject(move |call, _| match script.pop_if(|(expected, _)| *expected == call) {
            Some((Call::Commit, _)) if answer_lost => Fault::LoseAnswer,
            Some((Call::Commit, _)) => Fault::Late,
            Some((_, Some((reached, opened)))) => {
                reached.send(()).unwrap();
                Fault::Gate(opened)
            }
            _ => Fault::None,
        });
        let old_flush = flush(&old);
        is_reached.await.unwrap();
        let second = world.claim("a", 1).await;
        open.send(()).unwrap();
        old_flush.await.unwrap().unwrap();
        assert!(is_fenced(&fenced.committed().await));
        kept.committed().await.unwrap();

        let ticket = append(&new, &second, 0..5).await.unwrap();
        new.flush().await.unwrap();
        ticket.committed().await.unwrap();
        world.catalog.deliver_late();
        let mut expected = [ids(first.object, 0..5), ids(other.object, 0..2)].concat();
        expected.sort();
        assert_eq!(world.row_ids(TRAIL), expected, "answer lost: {answer_lost}");
    }
}

#[tokio::test]
async fn a_new_owner_without_rows_leaves_the_old_one_s_rows_to_arrive_once() {
    let world = World::new().await;
    let (old, new) = (world.owner(limits()), world.owner(limits()));
    let first = world.claim("a", 0).await;
    let ticket = append(&old, &first, 0..5).await.unwrap();
    let (reached, open) = gate(&world.catalog, Call::Commit);
    let old_flush = flush(&old);
    reached.await.unwrap();
    // It could not read the object this time.
    world.state.release(&world.claim("a", 1).await, "fetch", "", START).await.unwrap();
    open.send(()).unwrap();
    old_flush.await.unwrap().unwrap();
    ticket.committed().await.unwrap();

    let third = world.claim("a", 2).await;
    append(&new, &third, 0..5).await.unwrap().committed().await.unwrap();
    assert_eq!(world.row_ids(TRAIL), ids(first.object, 0..5));
}

#[tokio::test]
async fn a_dropped_flush_is_a_failure() {
    let world = World::new().await;
    let owner = world.owner(limits());
    let token = world.claim("a", 0).await;
    let ticket = append(&owner, &token, 0..5).await.unwrap();
    let (reached, _open) = gate(&world.catalog, Call::Commit);
    tokio::select! {
        flushed = owner.flush() => panic!("{flushed:?}"),
        reached = reached => reached.unwrap(),
    }
    assert!(ticket.committed().await.is_err());
    let second = world.claim("a", 1).await;
    let ticket = append(&owner, &second, 0..5).await.unwrap();
    owner.flush().await.unwrap();
    ticket.committed().await.unwrap();
    assert_eq!(world.row_ids(TRAIL), ids(token.object, 0..5));
}

#[tokio::test]
async fn a_catalog_that_never_answers_is_a_failure() {
    let world = World::new().await;
    let owner = world.owner(Limits { patience: Duration::from_millis(1), ..limits() });
    let token = world.claim("a", 0).await;
    world.catalog.inject(|_, _| Fault::Delay(Duration::from_secs(3600)));
    let ticket = append(&owner, &token, 0..5).await.unwrap();
    let error = owner.flush().await.unwrap_err();
    assert!(error.to_string().contains("in time"), "{error}");
    assert_eq!(ticket.committed().await, Err(error));
}

#[tokio::test]
async fn rows_out_of_order_and_an_older_claim_are_refused() {
    let world = World::new().await;
    let owner = world.owner(limits());
    let first = world.claim("a", 0).await;
    let _ticket = append(&owner, &first, 3..5).await.unwrap();
    let error = append(&owner, &first, 4..6).await.unwrap_err();
    assert!(error.to_string().contains("out of order"), "{error}");

    let second = world.claim("a", 1).await;
    let _ticket = append(&owner, &second, 0..5).await.unwrap();
    assert_eq!(append(&owner, &first, 5..6).await.unwrap_err(), LakeError::Fenced(first.object));
}

/// A lake that commits by itself, and the means to end it.
fn running(owner: &Owner) -> (CancellationToken, CancellationToken, JoinHandle<()>) {
    let (draining, end) = (CancellationToken::new(), CancellationToken::new());
    let run = Tasks::new().spawn({
        let (owner, draining, end) = (owner.clone(), draining.clone(), end.clone());
        async move { owner.run(draining, end).await }
    });
    (draining, end, run)
}

#[tokio::test]
async fn size_age_and_waiting_objects_each_bring_a_commit() {
    for limits in [
        Limits { flush_bytes: 4096, ..limits() },
        Limits { flush_age: Duration::from_millis(5), ..limits() },
        Limits { flush_waiting: 1, ..limits() },
    ] {
        let world = World::new().await;
        let owner = world.owner(limits);
        let (_, end, run) = running(&owner);
        let token = world.claim("a", 0).await;
        append(&owner, &token, 0..5).await.unwrap().committed().await.unwrap();
        end.cancel();
        run.await.unwrap();
        assert_eq!(world.row_ids(TRAIL), ids(token.object, 0..5));
    }
}

#[tokio::test]
async fn full_buffers_are_committed_to_make_room() {
    let world = World::new().await;
    // Room for one batch; nobody waits for a ticket yet.
    let owner = world.owner(Limits { buffer_bytes: 6 * 1024, ..limits() });
    let (_, end, run) = running(&owner);
    let token = world.claim("a", 0).await;
    let mut tickets = Vec::new();
    for n in 0..4 {
        tickets.push(append(&owner, &token, n * 5..n * 5 + 5).await.unwrap());
        assert!(owner.bytes_held() <= 6 * 1024);
    }
    // More than there will ever be room for.
    tickets.push(append(&owner, &token, 20..40).await.unwrap());
    end.cancel();
    run.await.unwrap();
    for ticket in tickets {
        ticket.committed().await.unwrap();
    }
    assert_eq!(world.row_ids(TRAIL), ids(token.object, 0..40));
}

#[tokio::test]
async fn a_draining_lake_commits_at_once_and_an_ending_one_commits_the_rest() {
    let world = World::new().await;
    let owner = world.owner(limits());
    let (draining, end, run) = running(&owner);
    let token = world.claim("a", 0).await;
    draining.cancel();
    append(&owner, &token, 0..5).await.unwrap().committed().await.unwrap();
    let last = append(&owner, &token, 5..6).await.unwrap();
    end.cancel();
    run.await.unwrap();
    last.committed().await.unwrap();
    assert_eq!(world.row_ids(TRAIL), ids(token.object, 0..6));
}
