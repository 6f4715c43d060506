//! Claims and outcomes.

use time::Duration;

use super::{LEASE, claimed, token, tried};
use crate::model::{Detections, ObjectRef, Reject};
use crate::state::fixtures::{START, object};
use crate::state::{Attempts, Claim, ClaimToken, ObjectOutcome, ObjectState, StateError, StateStore};

fn committed() -> ObjectOutcome {
    ObjectOutcome { state: ObjectState::Committed, reason: String::new(), events: 3, rejects: 1, bytes: 99 }
}

pub(in crate::state) async fn a_new_object_is_granted_and_then_held<S: StateStore>(store: &S) {
    token(store).await;
    let again = store.claim(&object("key"), "source", None, START, START + LEASE).await.unwrap();
    assert_eq!(again, Claim::Held(START + LEASE));
    claimed(store, "another key", START).await;
}

pub(in crate::state) async fn an_expired_lease_is_taken_over_with_a_higher_fence<S: StateStore>(store: &S) {
    let first = token(store).await;
    let before =
        store.claim(&object("key"), "s", None, START + LEASE - Duration::SECOND, START + LEASE * 2).await.unwrap();
    assert_eq!(before, Claim::Held(START + LEASE));
    let second = claimed(store, "key", START + LEASE).await;
    assert!(second.fence > first.fence);
}

pub(in crate::state) async fn a_renewed_claim_is_held_longer<S: StateStore>(store: &S) {
    let token = token(store).await;
    store.renew(&token, START + LEASE * 3).await.unwrap();
    let again = store.claim(&object("key"), "s", None, START + LEASE * 2, START + LEASE * 4).await.unwrap();
    assert_eq!(again, Claim::Held(START + LEASE * 3));
}

pub(in crate::state) async fn a_released_object_can_be_claimed_at_once<S: StateStore>(store: &S) {
    let first = token(store).await;
    store.release(&first, "lake", "full", START).await.unwrap();
    store.release(&first, "lake", "full", START).await.unwrap();
    let second = token(store).await;
    assert!(second.fence > first.fence);
    assert!(
        matches!(store.release(&first, "lake", "full", START).await, Err(StateError::Fenced(id)) if id == first.object)
    );
    assert_eq!(store.outcome(first.object).await.unwrap(), None);
}

pub(in crate::state) async fn a_finished_object_is_done_for_good<S: StateStore>(store: &S) {
    let token = token(store).await;
    store.finish(&token, &committed(), START).await.unwrap();
    let much_later = START + LEASE * 100;
    let again = store.claim(&object("key"), "s", None, much_later, much_later + LEASE).await.unwrap();
    assert_eq!(again, Claim::Done(ObjectState::Committed));
    assert_eq!(store.outcome(token.object).await.unwrap(), Some(committed()));
    assert_eq!(store.outcome(object("never seen").id()).await.unwrap(), None);
}

pub(in crate::state) async fn every_way_to_end_is_remembered<S: StateStore>(store: &S) {
    for state in ObjectState::ALL {
        let token = claimed(store, state.as_str(), START).await;
        let outcome = ObjectOutcome::without_events(state, "why");
        store.finish(&token, &outcome, START).await.unwrap();
        assert_eq!(store.outcome(token.object).await.unwrap(), Some(outcome));
    }
}

pub(in crate::state) async fn what_a_person_can_mend_is_claimed_again<S: StateStore>(store: &S) {
    for state in ObjectState::ALL {
        let name = state.as_str();
        let first = claimed(store, name, START).await;
        store.finish(&first, &ObjectOutcome::without_events(state, "why"), START).await.unwrap();
        let again = store.claim(&object(name), "s", None, START, START + LEASE).await.unwrap();
        match again {
            Claim::Done(done) => assert!(done == state && state.ends_reading(), "{name}"),
            Claim::Granted(second, _) => {
                assert!(!state.ends_reading() && second.fence > first.fence, "{name}");
                store.finish(&second, &committed(), START).await.unwrap();
                assert_eq!(store.outcome(second.object).await.unwrap(), Some(committed()));
            }
            Claim::Held(_) => panic!("{name} is finished"),
        }
    }
}

pub(in crate::state) async fn an_outcome_answers_what_was_announced_before_its_claim<S: StateStore>(store: &S) {
    let parked = ObjectOutcome::without_events(ObjectState::Parked, "forbidden");
    let first = token(store).await;
    let (during, after) = (START + Duration::SECOND, START + Duration::MINUTE);
    store.finish(&first, &parked, after).await.unwrap();
    for announced in [START - Duration::SECOND, START] {
        let answered = store.claim(&object("key"), "s", Some(announced), after, after + LEASE).await.unwrap();
        assert_eq!(answered, Claim::Done(ObjectState::Parked), "{announced}");
    }
    // Access was granted, and the object announced again, while the last look was under way.
    let again = store.claim(&object("key"), "s", Some(during), after, after + LEASE).await.unwrap();
    let Claim::Granted(second, _) = again else { panic!("{again:?}") };
    store.finish(&second, &parked, after).await.unwrap();
    let answered = store.claim(&object("key"), "s", Some(during), after, after + LEASE).await.unwrap();
    assert_eq!(answered, Claim::Done(ObjectState::Parked), "the last claim counts");
}

pub(in crate::state) async fn a_superseded_object_is_claimed_again_unless_its_version_is_pinned<S: StateStore>(
    store: &S,
) {
    let unnamed = ObjectRef { etag: None, ..object("key") };
    let version =
        |version: &str| ObjectRef { version_id: Some(version.into()), ..object(&format!("key of {version}")) };
    for object in [object("key"), unnamed, version("null"), version("v1")] {
        let claim = async |announced| store.claim(&object, "s", announced, START, START + LEASE).await.unwrap();
        let Claim::Granted(token, _) = claim(None).await else { panic!("it is new") };
        let read = ObjectOutcome::without_events(ObjectState::Superseded, "read under its identity");
        store.finish(&token, &read, START).await.unwrap();
        assert_eq!(claim(Some(START)).await, Claim::Done(ObjectState::Superseded));
        let again = claim(None).await;
        assert_eq!(matches!(again, Claim::Granted(..)), !object.is_pinned(), "{again:?}");
    }
}

pub(in crate::state) async fn finishing_again_changes_nothing<S: StateStore>(store: &S) {
    let token = token(store).await;
    store.finish(&token, &committed(), START).await.unwrap();
    let other = ObjectOutcome::without_events(ObjectState::Quarantined, "late");
    store.finish(&token, &other, START).await.unwrap();
    store.release(&token, "late", "", START).await.unwrap();
    assert_eq!(store.outcome(token.object).await.unwrap(), Some(committed()));
}

pub(in crate::state) async fn a_lost_claim_is_refused_everywhere<S: StateStore>(store: &S) {
    let lost = token(store).await;
    let taken = claimed(store, "key", START + LEASE).await;
    refused_everywhere(store, &lost).await;
    assert_eq!(store.outcome(lost.object).await.unwrap(), None);

    store.finish(&taken, &committed(), START).await.unwrap();
    refused_everywhere(store, &lost).await;
}

pub(in crate::state) async fn an_ended_claim_is_refused_everywhere<S: StateStore>(store: &S) {
    let released = token(store).await;
    store.release(&released, "lake", "full", START).await.unwrap();
    refused_everywhere(store, &released).await;
    let unknown = ClaimToken { object: object("never seen").id(), fence: 1 };
    refused_everywhere(store, &unknown).await;
}

pub(in crate::state) async fn tries_are_counted_by_how_they_ended_until_there_is_an_outcome<S: StateStore>(store: &S) {
    let (first, attempts) = tried(store, "key", START).await;
    assert_eq!(attempts, Attempts { started: 1, ..Attempts::default() });
    store.release(&first, "missing", "not there", START).await.unwrap();
    store.release(&first, "missing", "said twice, counted once", START).await.unwrap();
    let (second, _) = tried(store, "key", START).await;
    store.release(&second, "missing", "not there", START).await.unwrap();
    // Held by one that is never heard of again.
    tried(store, "key", START).await;
    let (fourth, attempts) = tried(store, "key", START + LEASE).await;
    let given_up = [("missing".to_owned(), 2)].into();
    assert_eq!(attempts, Attempts { started: 4, crashed: 1, given_up });
    store.release(&fourth, "lake", "full", START).await.unwrap();
    let (fifth, attempts) = tried(store, "key", START).await;
    assert_eq!((attempts.given_up_for("missing"), attempts.given_up_for("lake")), (2, 1));
    assert_eq!((attempts.crashed, attempts.given_up_for("fetch")), (1, 0));

    store.finish(&fifth, &ObjectOutcome::without_events(ObjectState::Parked, "why"), START).await.unwrap();
    let (_, attempts) = tried(store, "key", START).await;
    assert_eq!(attempts, Attempts { started: 1, ..Attempts::default() }, "an outcome begins the count anew");
    assert_eq!(store.claims(object("key").id()).await.unwrap(), Some((6, START)), "all of them");
    assert_eq!(store.claims(object("never seen").id()).await.unwrap(), None);
}

pub(in crate::state) async fn a_partial_reading_is_a_try_and_no_end<S: StateStore>(store: &S) {
    let (first, _) = tried(store, "key", START).await;
    let partial = ObjectOutcome::without_events(ObjectState::Partial, "bad CRC at 7");
    store.finish(&first, &partial, START).await.unwrap();
    store.finish(&first, &partial, START).await.unwrap();
    assert_eq!(store.outcome(first.object).await.unwrap(), Some(partial));
    let (second, attempts) = tried(store, "key", START).await;
    assert_eq!((attempts.started, attempts.crashed, attempts.given_up_for("partial")), (2, 0, 1));
    store.finish(&second, &committed(), START).await.unwrap();
    assert_eq!(store.outcome(first.object).await.unwrap(), Some(committed()));
}

async fn refused_everywhere<S: StateStore>(store: &S, token: &ClaimToken) {
    let reject = Reject { ordinal: 0, raw: "x".into(), reason: "y".into() };
    let results = [
        ("renew", store.renew(token, START + LEASE * 9).await),
        ("finish", store.finish(token, &committed(), START).await),
        ("record", store.record(token, &Detections::default(), &[], START).await.map(|_| ())),
        ("keep_rejects", store.keep_rejects(token, &[reject], START).await),
    ];
    for (call, result) in results {
        assert!(matches!(result, Err(StateError::Fenced(id)) if id == token.object), "{call}: {result:?}");
    }
    assert!(store.quarantined(10).await.unwrap().is_empty());
}
