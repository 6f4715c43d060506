//! Intents, doubts and progress.

use std::collections::BTreeMap;

use super::{LEASE, claimed, token};
use crate::model::{ObjectId, Position};
use crate::state::fixtures::{START, object};
use crate::state::{ClaimToken, CommitId, Earlier, Intended, ObjectOutcome, ObjectState, Part, StateStore};

const TABLE: &str = "aws_cloudtrail";

fn commit(n: u8) -> CommitId {
    CommitId([n; 16])
}

fn at(ordinal: u64, index: u32) -> Position {
    Position { ordinal, index }
}

fn part(token: &ClaimToken, through: Position) -> Part {
    Part { token: token.clone(), through }
}

async fn progress<S: StateStore>(store: &S, object: ObjectId) -> BTreeMap<String, Position> {
    store.progress(object).await.unwrap().into_iter().collect()
}

/// Writes an intent that is not refused, and gives the commits in doubt.
async fn intend<S: StateStore>(store: &S, id: u8, table: &str, parts: &[Part]) -> Vec<(CommitId, ObjectId, Position)> {
    match store.intend(commit(id), table, parts, START).await.unwrap() {
        Intended::Written(Earlier { doubts, .. }) => {
            assert!(doubts.iter().all(|doubt| doubt.since == START), "{doubts:?}");
            let mut found: Vec<_> = doubts.iter().map(|doubt| (doubt.commit, doubt.object, doubt.through)).collect();
            found.sort();
            found
        }
        refused => panic!("{refused:?}"),
    }
}

pub(in crate::state) async fn a_commit_becomes_progress_of_its_table<S: StateStore>(store: &S) {
    let (a, b) = (token(store).await, claimed(store, "other", START).await);
    intend(store, 1, TABLE, &[part(&a, at(9, 2)), part(&b, at(u64::from(u32::MAX) * 8, u32::MAX))]).await;
    intend(store, 2, "other", &[part(&a, at(4, 0))]).await;
    assert!(progress(store, a.object).await.is_empty());

    store.committed(commit(1), &[]).await.unwrap();
    store.committed(commit(1), &[]).await.unwrap();
    assert_eq!(progress(store, a.object).await, BTreeMap::from([(TABLE.into(), at(9, 2))]));
    let far = at(u64::from(u32::MAX) * 8, u32::MAX);
    assert_eq!(progress(store, b.object).await, BTreeMap::from([(TABLE.into(), far)]));
    store.committed(commit(2), &[]).await.unwrap();
    assert_eq!(progress(store, a.object).await.len(), 2);
}

pub(in crate::state) async fn an_intent_is_in_doubt_until_its_commit_is_known<S: StateStore>(store: &S) {
    let first = token(store).await;
    assert!(intend(store, 1, TABLE, &[part(&first, at(9, 0))]).await.is_empty());
    // It does not doubt itself, and other tables and objects have nothing to do with it.
    let other = claimed(store, "other", START).await;
    assert!(intend(store, 1, TABLE, &[part(&first, at(9, 0))]).await.is_empty());
    assert!(intend(store, 2, "elsewhere", &[part(&first, at(9, 0))]).await.is_empty());
    assert!(intend(store, 3, TABLE, &[part(&other, at(9, 0))]).await.is_empty());

    let second = claimed(store, "key", START + LEASE).await;
    let parts = [part(&second, at(5, 1))];
    assert_eq!(intend(store, 4, TABLE, &parts).await, [(commit(1), first.object, at(9, 0))]);
    store.committed(commit(1), &[]).await.unwrap();
    assert!(intend(store, 4, TABLE, &parts).await.is_empty());
    assert_eq!(progress(store, first.object).await, BTreeMap::from([(TABLE.into(), at(9, 0))]));
}

pub(in crate::state) async fn an_intent_is_told_what_is_durable_already<S: StateStore>(store: &S) {
    let (first, other) = (token(store).await, claimed(store, "other", START).await);
    intend(store, 1, TABLE, &[part(&first, at(9, 2))]).await;
    intend(store, 2, "elsewhere", &[part(&other, at(9, 2))]).await;
    let second = claimed(store, "key", START + LEASE).await;
    // The old owner comes to its end.
    store.committed(commit(1), &[]).await.unwrap();
    store.committed(commit(2), &[]).await.unwrap();
    let parts = [part(&second, at(9, 2)), part(&other, at(1, 0))];
    let answer = store.intend(commit(3), TABLE, &parts, START).await.unwrap();
    let progress = vec![(first.object, at(9, 2))];
    assert_eq!(answer, Intended::Written(Earlier { progress, doubts: Vec::new() }));
}

pub(in crate::state) async fn a_dead_commit_is_no_doubt_and_no_progress<S: StateStore>(store: &S) {
    let first = token(store).await;
    intend(store, 1, TABLE, &[part(&first, at(9, 0))]).await;
    let second = claimed(store, "key", START + LEASE).await;
    intend(store, 2, TABLE, &[part(&second, at(3, 0))]).await;
    store.committed(commit(2), &[commit(1)]).await.unwrap();
    // Whoever still speaks of it is late.
    store.committed(commit(1), &[]).await.unwrap();
    assert_eq!(progress(store, first.object).await, BTreeMap::from([(TABLE.into(), at(3, 0))]));
    assert!(intend(store, 3, TABLE, &[part(&second, at(9, 0))]).await.is_empty());
}

pub(in crate::state) async fn progress_never_goes_back<S: StateStore>(store: &S) {
    let token = token(store).await;
    for (id, through) in [(1, at(3, 7)), (2, at(4, 1)), (3, at(4, 0))] {
        intend(store, id, TABLE, &[part(&token, through)]).await;
    }
    for (id, expected) in [(2, at(4, 1)), (1, at(4, 1)), (3, at(4, 1))] {
        store.committed(commit(id), &[]).await.unwrap();
        assert_eq!(progress(store, token.object).await, BTreeMap::from([(TABLE.into(), expected)]));
    }
}

pub(in crate::state) async fn one_lost_claim_refuses_the_whole_intent<S: StateStore>(store: &S) {
    let lost = token(store).await;
    let held = claimed(store, "held", START).await;
    let ended = claimed(store, "ended", START).await;
    store.release(&ended, "test", "", START).await.unwrap();
    let taken = claimed(store, "key", START + LEASE).await;

    let parts = [part(&lost, at(1, 0)), part(&held, at(1, 0)), part(&ended, at(1, 0))];
    let answer = store.intend(commit(1), TABLE, &parts, START).await.unwrap();
    assert_eq!(answer, Intended::Refused(vec![lost.object, ended.object]));
    assert!(intend(store, 2, TABLE, &[part(&held, at(1, 0)), part(&taken, at(1, 0))]).await.is_empty());
    store.committed(commit(1), &[]).await.unwrap();
    assert!(progress(store, held.object).await.is_empty());
}

pub(in crate::state) async fn only_what_is_finished_for_good_is_forgotten<S: StateStore>(store: &S) {
    for state in ObjectState::ALL {
        let name = state.as_str();
        let first = claimed(store, name, START).await;
        intend(store, 1, name, &[part(&first, at(1, 0))]).await;
        store.committed(commit(1), &[]).await.unwrap();
        intend(store, 2, name, &[part(&first, at(2, 0))]).await;
        store.finish(&first, &ObjectOutcome::without_events(state, "why"), START).await.unwrap();
        store.committed(commit(2), &[]).await.unwrap();
        let expected = if state.ends_reading() { None } else { Some(at(2, 0)) };
        assert_eq!(progress(store, object(name).id()).await.get(name).copied(), expected, "{name}");
    }
}
