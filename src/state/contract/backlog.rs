//! What waits, and what is forgotten.

use bytes::Bytes;
use time::Duration;

use super::{LEASE, claimed, token, tried};
use crate::model::{ObjectRef, Position, Reject};
use crate::state::fixtures::{START, object};
use crate::state::{
    Attempts, Claim, ClaimToken, CommitId, Earlier, Intended, KeptFilter, ObjectFilter, ObjectOutcome, ObjectState,
    Part, QuarantineKind, StateError, StateStore,
};

fn reject(ordinal: u64) -> Reject {
    Reject { ordinal, raw: Bytes::from(format!("raw {ordinal}")), reason: "why".into() }
}

fn outcome(state: ObjectState) -> ObjectOutcome {
    ObjectOutcome { state, reason: "why".into(), events: 2, rejects: 3, bytes: 9 }
}

/// An object that ended in this state, with the key of its name.
async fn ended<S: StateStore>(store: &S, key: &str, state: ObjectState) -> ClaimToken {
    let token = claimed(store, key, START).await;
    store.finish(&token, &outcome(state), START).await.unwrap();
    token
}

/// A committed object with three rejects.
async fn committed<S: StateStore>(store: &S, key: &str) -> ClaimToken {
    let token = claimed(store, key, START).await;
    store.keep_rejects(&token, &[reject(1), reject(4), reject(9)], START).await.unwrap();
    store.finish(&token, &outcome(ObjectState::Committed), START).await.unwrap();
    token
}

pub(in crate::state) async fn open_objects_come_in_pages_and_by_filter<S: StateStore>(store: &S) {
    for state in ObjectState::ALL {
        ended(store, state.as_str(), state).await;
    }
    ended(store, "more/parked", ObjectState::Parked).await;
    let all = ObjectFilter::default();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = store.open_objects(&ObjectState::ALL, &all, after, 2, START).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.object.id());
        seen.extend(page.iter().map(|entry| entry.object.key.clone()));
    }
    seen.sort();
    assert_eq!(seen, ["archived", "missing", "more/parked", "parked", "partial", "quarantined", "unrouted"]);

    let only = |filter: ObjectFilter| async move {
        let found = store.open_objects(&[ObjectState::Parked], &filter, None, 9, START).await.unwrap();
        let mut keys: Vec<String> = found.into_iter().map(|entry| entry.object.key).collect();
        keys.sort();
        keys
    };
    let later = START + Duration::SECOND;
    for (filter, keys) in [
        (ObjectFilter::default(), &["more/parked", "parked"][..]),
        (ObjectFilter { prefix: Some("more/".into()), ..all.clone() }, &["more/parked"]),
        (ObjectFilter { bucket: Some("bucket".into()), ..all.clone() }, &["more/parked", "parked"]),
        (ObjectFilter { bucket: Some("other".into()), ..all.clone() }, &[]),
        (ObjectFilter { source: Some("other".into()), ..all.clone() }, &[]),
        (ObjectFilter { since: Some(START), until: Some(later), ..all.clone() }, &["more/parked", "parked"]),
        (ObjectFilter { until: Some(START), ..all.clone() }, &[]),
        (ObjectFilter { since: Some(later), ..all.clone() }, &[]),
    ] {
        assert_eq!(only(filter.clone()).await, keys, "{filter:?}");
    }
    let entry = store.open_objects(&[ObjectState::Missing], &all, None, 9, START).await.unwrap().remove(0);
    assert_eq!((&*entry.source, entry.state, &*entry.reason), ("source", ObjectState::Missing, "why"));
    assert_eq!(entry.object, object("missing"));
}

pub(in crate::state) async fn an_object_is_open_until_it_has_another_outcome<S: StateStore>(store: &S) {
    ended(store, "key", ObjectState::Parked).await;
    let parked = async |now| {
        let open = store.open_objects(&[ObjectState::Parked], &ObjectFilter::default(), None, 9, now).await.unwrap();
        open.iter().any(|entry| entry.reason == "why")
    };
    let token = claimed(store, "key", START).await;
    assert!(!parked(START).await, "it is in work");
    assert!(parked(START + LEASE).await, "whoever had it is gone");
    assert_eq!(store.outcome(token.object).await.unwrap(), None);
    store.release(&token, "test", "", START).await.unwrap();
    assert!(parked(START).await, "it came to no outcome");
    assert_eq!(store.kept(&KeptFilter::default(), 9).await.unwrap()[0].reason, "parked: why");
    assert!(matches!(store.finish(&token, &outcome(ObjectState::Committed), START).await, Err(StateError::Fenced(_))));
    ended(store, "key", ObjectState::Committed).await;
    assert!(!parked(START + LEASE).await);
}

pub(in crate::state) async fn every_version_of_a_key_is_known<S: StateStore>(store: &S) {
    ended(store, "key", ObjectState::Superseded).await;
    ended(store, "other", ObjectState::Committed).await;
    let newer = ObjectRef { version_id: Some("v2".into()), etag: Some("e2".into()), ..object("key") };
    store.claim(&newer, "source", None, START, START + LEASE).await.unwrap();
    let known = store.versions("bucket", "key").await.unwrap();
    let seen: Vec<_> = known.iter().map(|known| (known.object.version_id.as_deref(), known.state)).collect();
    assert_eq!(seen, [(None, Some(ObjectState::Superseded)), (Some("v2"), None)]);
    assert_eq!((known[0].finished, known[1].finished), (Some(START), None));
    assert_eq!((known[0].attempts.started, known[1].attempts.started), (0, 1));
    let Claim::Granted(token, _) = store.claim(&newer, "source", None, START + LEASE, START + LEASE).await.unwrap()
    else {
        panic!("its first claim has ended")
    };
    store.release(&token, "fetch", "", START + LEASE).await.unwrap();
    let attempts = &store.versions("bucket", "key").await.unwrap()[1].attempts;
    assert_eq!((attempts.started, attempts.crashed, attempts.given_up_for("fetch")), (2, 1, 1));
    assert!(store.versions("bucket", "ke").await.unwrap().is_empty());
}

pub(in crate::state) async fn what_ended_comes_in_the_order_of_its_end<S: StateStore>(store: &S) {
    let at = |minutes: i64| START + Duration::minutes(minutes);
    for (minute, key, state) in [
        (4, "d", ObjectState::Committed),
        (1, "a", ObjectState::Excluded),
        (2, "b", ObjectState::Parked),
        (2, "c", ObjectState::Committed),
        (3, "partial", ObjectState::Partial),
        (9, "later", ObjectState::Committed),
    ] {
        let token = claimed(store, key, START).await;
        store.finish(&token, &outcome(state), at(minute)).await.unwrap();
    }
    claimed(store, "in work", START).await;
    let page = |after, limit| async move {
        let page = store.ended(after, at(5), limit).await.unwrap();
        page.into_iter().map(|ended| ended.object.key).collect::<Vec<_>>()
    };
    // Those of one moment come together, by their ids.
    assert_eq!(page(None, 10).await, ["a", "c", "b", "d"]);
    assert_eq!(page(None, 1).await, ["a", "c", "b"]);
    assert_eq!(page(Some(at(1)), 1).await, ["c", "b"]);
    assert_eq!(page(Some(at(2)), 10).await, ["d"]);
    let ended = &store.ended(Some(at(2)), at(5), 1).await.unwrap()[0];
    assert_eq!((&ended.outcome, ended.at, ended.claimed), (&outcome(ObjectState::Committed), at(4), START));
    assert_eq!((&*ended.source, ended.tries, &ended.object), ("source", 1, &ObjectRef { ..object("d") }));
    // Claimed again, it has not ended.
    claimed(store, "b", at(60)).await;
    assert_eq!(page(Some(at(1)), 1).await, ["c", "d"]);
}

pub(in crate::state) async fn mended_rejects_leave_and_are_counted<S: StateStore>(store: &S) {
    let first = committed(store, "key").await;
    ended(store, "without", ObjectState::Committed).await;
    let found = store.with_rejects(&ObjectFilter::default(), None, 9, START).await.unwrap();
    assert_eq!(found.iter().map(|entry| &*entry.object.key).collect::<Vec<_>>(), ["key"]);
    assert!(store.with_rejects(&ObjectFilter::default(), Some(first.object), 9, START).await.unwrap().is_empty());

    let token = store.reopen(first.object, START, START + LEASE).await.unwrap().unwrap();
    assert!(token.fence > first.fence);
    assert_eq!(store.reopen(first.object, START, START + LEASE).await.unwrap(), None);
    // To everybody else it stays committed.
    assert_eq!(
        store.claim(&object("key"), "source", None, START, START + LEASE).await.unwrap(),
        Claim::Done(ObjectState::Committed)
    );
    store.mend(&token, &[1, 9], 5).await.unwrap();
    let left = store.rejects(first.object, None, 9).await.unwrap();
    assert_eq!(left, [reject(4)]);
    let now = store.outcome(first.object).await.unwrap().unwrap();
    assert_eq!((now.state, now.events, now.rejects), (ObjectState::Committed, 7, 1));
    store.release(&token, "test", "", START).await.unwrap();
    assert!(matches!(store.mend(&token, &[4], 1).await, Err(StateError::Fenced(_))));
    assert!(store.reopen(first.object, START, START + LEASE).await.unwrap().is_some());
}

pub(in crate::state) async fn only_a_committed_object_is_reopened<S: StateStore>(store: &S) {
    for state in ObjectState::ALL {
        let token = ended(store, state.as_str(), state).await;
        let reopened = store.reopen(token.object, START, START + LEASE).await.unwrap();
        assert_eq!(reopened.is_some(), state == ObjectState::Committed, "{state:?}");
    }
}

/// Lets the object come to a position in a table, under its claim.
async fn advance<S: StateStore>(store: &S, token: &ClaimToken) {
    let parts = [Part { token: token.clone(), through: Position { ordinal: 4, index: 0 } }];
    let commit = |n| CommitId([n; 16]);
    for n in [1, 2] {
        assert!(matches!(store.intend(commit(n), "t", &parts, START).await.unwrap(), Intended::Written(_)));
    }
    store.committed(commit(1), &[]).await.unwrap();
}

pub(in crate::state) async fn a_refused_reopening_and_a_mending_of_nothing_change_nothing<S: StateStore>(store: &S) {
    let held = claimed(store, "in work", START).await;
    advance(store, &held).await;
    assert_eq!(store.reopen(held.object, START, START + LEASE).await.unwrap(), None);
    assert_eq!(store.progress(held.object).await.unwrap().len(), 1);

    let object = committed(store, "key").await.object;
    let token = store.reopen(object, START, START + LEASE).await.unwrap().unwrap();
    for _ in 0..2 {
        // Said again by whoever did not hear the answer.
        store.mend(&token, &[4], 5).await.unwrap();
    }
    let now = store.outcome(object).await.unwrap().unwrap();
    assert_eq!((now.events, now.rejects), (7, 2));
}

pub(in crate::state) async fn a_reopened_claim_that_is_released_leaves_no_try_and_no_progress<S: StateStore>(
    store: &S,
) {
    let object = committed(store, "key").await.object;
    let token = store.reopen(object, START, START + LEASE).await.unwrap().unwrap();
    advance(store, &token).await;
    store.release(&token, "replay", "", START).await.unwrap();
    assert!(store.progress(object).await.unwrap().is_empty());
    assert_eq!(store.outcome(object).await.unwrap(), Some(outcome(ObjectState::Committed)));
    assert_eq!(store.versions("bucket", "key").await.unwrap()[0].attempts, Attempts::default());
    // The late end of its commit is nobody's progress.
    store.committed(CommitId([2; 16]), &[]).await.unwrap();
    assert!(store.progress(object).await.unwrap().is_empty());
}

pub(in crate::state) async fn rejects_come_in_pages<S: StateStore>(store: &S) {
    let object = committed(store, "key").await.object;
    let page = store.rejects(object, Some(1), 1).await.unwrap();
    assert_eq!(page, [reject(4)]);
    assert_eq!(store.rejects(object, Some(4), 9).await.unwrap(), [reject(9)]);
    assert!(store.rejects(object, Some(9), 9).await.unwrap().is_empty());
}

pub(in crate::state) async fn what_a_later_reading_takes_is_no_reject_any_more<S: StateStore>(store: &S) {
    let first = claimed(store, "key", START).await;
    store.keep_rejects(&first, &[reject(1), reject(4)], START).await.unwrap();
    store.finish(&first, &outcome(ObjectState::Quarantined), START).await.unwrap();
    let second = claimed(store, "key", START).await;
    store.keep_rejects(&second, &[reject(4)], START + Duration::SECOND).await.unwrap();
    store.finish(&second, &outcome(ObjectState::Committed), START).await.unwrap();
    assert_eq!(store.rejects(first.object, None, 9).await.unwrap(), [reject(4)]);
}

pub(in crate::state) async fn a_kept_thing_is_found_by_its_id<S: StateStore>(store: &S) {
    committed(store, "key").await;
    ended(store, "parked", ObjectState::Parked).await;
    store.keep_message("m1", "body", "reason", START).await.unwrap();
    let kept = store.kept(&KeptFilter::default(), 9).await.unwrap();
    assert_eq!(kept.len(), 5);
    for one in &kept {
        assert_eq!(store.find(&one.id).await.unwrap(), std::slice::from_ref(one));
    }
    for id in ["", "m", "x00", "r000000000000", "r000000000000-", "o00000000000é", "m'--", "o000000000000"] {
        assert!(store.find(id).await.unwrap().is_empty(), "{id}");
    }
}

pub(in crate::state) async fn kept_things_are_filtered<S: StateStore>(store: &S) {
    committed(store, "key").await;
    ended(store, "parked", ObjectState::Parked).await;
    store.keep_message("late", "body", "reason", START + Duration::HOUR).await.unwrap();
    let count = |filter: KeptFilter| async move { store.kept(&filter, 9).await.unwrap().len() };
    let all = KeptFilter::default();
    let kind = |kind| KeptFilter { kind: Some(kind), ..KeptFilter::default() };
    assert_eq!(count(kind(QuarantineKind::Message)).await, 1);
    assert_eq!(count(kind(QuarantineKind::Object)).await, 1);
    assert_eq!(count(kind(QuarantineKind::Record)).await, 3);
    assert_eq!(count(KeptFilter { since: Some(START + Duration::SECOND), ..all.clone() }).await, 1);
    assert_eq!(count(KeptFilter { until: Some(START + Duration::SECOND), ..all.clone() }).await, 4);
    assert_eq!(count(KeptFilter { subject_contains: Some("key#9".into()), ..all.clone() }).await, 1);
}

pub(in crate::state) async fn messages_come_in_pages_and_leave<S: StateStore>(store: &S) {
    for (id, body) in [("a", "one"), ("a", "two"), ("b", "one")] {
        store.keep_message(id, body, "reason", START).await.unwrap();
    }
    let all = KeptFilter::default();
    let mut seen = Vec::new();
    while let Some(kept) = store.messages(&all, seen.last(), 1).await.unwrap().pop() {
        seen.push(kept);
    }
    assert_eq!(seen.len(), 3);
    assert_eq!(store.find(&seen[2].id).await.unwrap().len(), 2, "equal bodies share an id");
    store.forget_message(&seen[2]).await.unwrap();
    let left: Vec<String> = store.messages(&all, None, 9).await.unwrap().into_iter().map(|kept| kept.subject).collect();
    assert_eq!(left, ["a", "a"]);
}

pub(in crate::state) async fn a_checkpoint_is_kept_until_it_is_removed<S: StateStore>(store: &S) {
    assert_eq!(store.checkpoint("a").await.unwrap(), None);
    for position in ["k1", "k2"] {
        store.save_checkpoint("a", Some(position), START).await.unwrap();
        assert_eq!(store.checkpoint("a").await.unwrap().as_deref(), Some(position));
    }
    assert_eq!(store.checkpoint("b").await.unwrap(), None);
    store.save_checkpoint("a", None, START).await.unwrap();
    assert_eq!(store.checkpoint("a").await.unwrap(), None);
}

pub(in crate::state) async fn old_objects_are_forgotten_in_batches_unless_somebody_needs_them<S: StateStore>(
    store: &S,
) {
    for state in ObjectState::ALL {
        ended(store, state.as_str(), state).await;
    }
    committed(store, "with rejects").await;
    token(store).await;
    assert_eq!(store.forget_objects(START, 99).await.unwrap(), 0);
    assert_eq!(store.forgotten_before().await.unwrap(), None);
    let later = START + Duration::SECOND;
    assert_eq!(store.forget_objects(later, 2).await.unwrap(), 2);
    assert_eq!(store.forget_objects(later, 99).await.unwrap(), 3);
    assert_eq!(store.forgotten_before().await.unwrap(), Some(later));
    for state in ObjectState::ALL {
        let known = store.outcome(object(state.as_str()).id()).await.unwrap().is_some();
        assert_eq!(known, !state.is_final(), "{state:?}");
    }
    assert!(store.outcome(object("with rejects").id()).await.unwrap().is_some());

    store.keep_message("m", "body", "reason", START).await.unwrap();
    assert_eq!(store.forget_kept(START, 99).await.unwrap(), 0);
    assert_eq!(store.forget_kept(later, 2).await.unwrap(), 4, "message, two rejects, unrouted object");
    assert_eq!(store.forget_kept(later, 99).await.unwrap(), 1);
    assert_eq!(store.forget_objects(later, 99).await.unwrap(), 1);
}

pub(in crate::state) async fn what_came_to_no_outcome_is_forgotten_with_all_that_belongs_to_it<S: StateStore>(
    store: &S,
) {
    // Its message went away, or it was found under its other key.
    for key in ["a", "b", "c"] {
        let given_up = claimed(store, key, START).await;
        advance(store, &given_up).await;
        store.release(&given_up, "fetch", "", START).await.unwrap();
    }
    let abandoned = claimed(store, "abandoned", START).await;
    let parked = ended(store, "parked", ObjectState::Parked).await;
    let tried_again = claimed(store, "parked", START).await;
    store.release(&tried_again, "forbidden", "", START).await.unwrap();
    let with_rejects = claimed(store, "with rejects", START).await;
    store.keep_rejects(&with_rejects, &[reject(1)], START).await.unwrap();
    store.release(&with_rejects, "fetch", "", START).await.unwrap();
    let later = START + LEASE * 3;
    let recent = claimed(store, "c", START + LEASE * 2).await;
    store.release(&recent, "fetch", "", START + LEASE * 2).await.unwrap();
    let in_work = claimed(store, "in work", START + LEASE).await;
    store.renew(&in_work, later + LEASE).await.unwrap();

    let before = START + LEASE + Duration::SECOND;
    assert_eq!(store.forget_objects(START, 99).await.unwrap(), 0);
    assert_eq!(store.forget_objects(before, 2).await.unwrap(), 2);
    assert_eq!(store.forget_objects(before, 99).await.unwrap(), 1);
    assert_eq!(store.forgotten_before().await.unwrap(), Some(before));
    for (key, known) in [("a", false), ("b", false), ("c", true), ("abandoned", false), ("parked", true)] {
        assert_eq!(!store.versions("bucket", key).await.unwrap().is_empty(), known, "{key}");
        let progress = store.progress(object(key).id()).await.unwrap();
        assert_eq!(!progress.is_empty(), key == "c", "{key}");
    }
    assert!(matches!(store.renew(&abandoned, later).await, Err(StateError::Fenced(_))));
    assert!(store.renew(&in_work, later).await.is_ok());
    assert_eq!(store.rejects(with_rejects.object, None, 9).await.unwrap().len(), 1);
    assert_eq!(store.kept(&KeptFilter::default(), 9).await.unwrap().len(), 2, "the parked one and the reject");
    assert!(store.outcome(parked.object).await.unwrap().is_none(), "it came to no other outcome yet");

    // It begins anew: without its tries, and without doubt of what is in the lake.
    let (again, attempts) = tried(store, "a", later).await;
    assert_eq!(attempts, Attempts { started: 1, ..Attempts::default() });
    store.release(&again, "fetch", "", later).await.unwrap();
    let (again, attempts) = tried(store, "a", later).await;
    assert_eq!(attempts.given_up_for("fetch"), 1);
    let parts = [Part { token: again, through: Position { ordinal: 9, index: 0 } }];
    let written = store.intend(CommitId([9; 16]), "t", &parts, later).await.unwrap();
    assert_eq!(written, Intended::Written(Earlier::default()));
}

pub(in crate::state) async fn unrouted_objects_are_forgotten_with_what_was_kept<S: StateStore>(store: &S) {
    for state in ObjectState::ALL {
        ended(store, state.as_str(), state).await;
    }
    ended(store, "tried again", ObjectState::Unrouted).await;
    let tried_again = claimed(store, "tried again", START).await;
    advance(store, &tried_again).await;
    let later = START + Duration::SECOND;
    assert_eq!(store.forget_kept(START, 99).await.unwrap(), 0);
    assert_eq!(store.forget_kept(later, 99).await.unwrap(), 1, "one is in work");
    store.release(&tried_again, "fetch", "", START).await.unwrap();
    assert_eq!(store.forget_kept(later, 99).await.unwrap(), 1);
    assert_eq!(store.forget_kept(later, 99).await.unwrap(), 0);
    assert!(store.progress(tried_again.object).await.unwrap().is_empty());
    for state in ObjectState::ALL {
        let known = store.outcome(object(state.as_str()).id()).await.unwrap().is_some();
        assert_eq!(known, state != ObjectState::Unrouted, "{state:?}");
    }
    assert_eq!(store.forgotten_before().await.unwrap(), None, "a source that takes them now reads them");
}
