//! What could not be processed.

use bytes::Bytes;
use time::Duration;

use super::{LEASE, claimed, token};
use crate::model::Reject;
use crate::state::fixtures::START;
use crate::state::{ObjectOutcome, ObjectState, QuarantineKind, Quarantined, StateStore};

fn reject(ordinal: u64, raw: &'static [u8]) -> Reject {
    Reject { ordinal, raw: Bytes::from_static(raw), reason: format!("reason {ordinal}") }
}

pub(in crate::state) async fn rejects_are_kept_once<S: StateStore>(store: &S) {
    let token = token(store).await;
    let rejects = [reject(0, b"\x00\xff"), reject(7, b"")];
    store.keep_rejects(&token, &rejects, START).await.unwrap();
    store.keep_rejects(&token, &rejects, START + Duration::SECOND).await.unwrap();
    let later = claimed(store, "key", START + LEASE).await;
    store.keep_rejects(&later, &rejects[..1], START + LEASE).await.unwrap();

    let kept = store.quarantined(10).await.unwrap();
    let expected = |ordinal: u64, raw: &'static [u8]| Quarantined {
        kind: QuarantineKind::Record,
        subject: format!("s3://bucket/key#{ordinal}"),
        reason: format!("reason {ordinal}"),
        raw: Bytes::from_static(raw),
        at: START,
    };
    assert_eq!(kept, [expected(0, b"\x00\xff"), expected(7, b"")]);
}

pub(in crate::state) async fn what_only_a_broken_reading_rejected_goes_with_a_final_outcome<S: StateStore>(store: &S) {
    let outcome = |state| ObjectOutcome::without_events(state, "");
    let first = token(store).await;
    store.keep_rejects(&first, &[reject(0, b"a"), reject(1, b"half a rec")], START).await.unwrap();
    store.finish(&first, &outcome(ObjectState::Quarantined), START).await.unwrap();
    let other = claimed(store, "other", START).await;
    store.keep_rejects(&other, &[reject(1, b"x")], START).await.unwrap();

    let second = token(store).await;
    store.keep_rejects(&second, &[reject(0, b"a")], START).await.unwrap();
    store.finish(&second, &outcome(ObjectState::Missing), START).await.unwrap();
    let of_records = |kept: Vec<Quarantined>| {
        let records = kept.into_iter().filter(|kept| kept.kind == QuarantineKind::Record);
        records.map(|kept| kept.subject).collect::<Vec<_>>()
    };
    assert_eq!(of_records(store.quarantined(10).await.unwrap()).len(), 3, "it may be the last that is known of it");

    let third = token(store).await;
    store.keep_rejects(&third, &[reject(0, b"a")], START).await.unwrap();
    store.finish(&third, &outcome(ObjectState::Committed), START).await.unwrap();
    let kept = of_records(store.quarantined(10).await.unwrap());
    assert_eq!(kept, ["s3://bucket/key#0", "s3://bucket/other#1"]);
}

pub(in crate::state) async fn every_part_of_a_message_is_kept_once<S: StateStore>(store: &S) {
    for (body, reason) in [("first", "no bucket"), ("second", "no key"), ("first", "no bucket")] {
        store.keep_message("m1", body, reason, START).await.unwrap();
    }
    let mut kept = store.quarantined(10).await.unwrap();
    kept.sort_by(|a, b| a.raw.cmp(&b.raw));
    let seen: Vec<_> = kept.iter().map(|kept| (&*kept.subject, &kept.raw[..], &*kept.reason)).collect();
    assert_eq!(seen, [("m1", &b"first"[..], "no bucket"), ("m1", b"second", "no key")]);
    assert!(kept.iter().all(|kept| kept.kind == QuarantineKind::Message));
}

pub(in crate::state) async fn objects_that_can_be_tried_again_are_listed<S: StateStore>(store: &S) {
    for state in ObjectState::ALL {
        let token = claimed(store, state.as_str(), START).await;
        store.finish(&token, &ObjectOutcome::without_events(state, "why"), START).await.unwrap();
    }
    let mut kept: Vec<String> = store.quarantined(20).await.unwrap().into_iter().map(|kept| kept.reason).collect();
    kept.sort();
    assert_eq!(kept, ["archived: why", "missing: why", "parked: why", "quarantined: why", "unrouted: why"]);
}

pub(in crate::state) async fn the_newest_come_first_up_to_the_limit<S: StateStore>(store: &S) {
    let token = token(store).await;
    store.keep_message("old", "body", "reason", START).await.unwrap();
    store.keep_rejects(&token, &[reject(1, b"x")], START + Duration::SECOND).await.unwrap();
    store.keep_message("new", "body", "reason", START + Duration::MINUTE).await.unwrap();
    let subjects = |kept: Vec<Quarantined>| kept.into_iter().map(|kept| kept.subject).collect::<Vec<_>>();
    assert_eq!(subjects(store.quarantined(10).await.unwrap()), ["new", "s3://bucket/key#1", "old"]);
    assert_eq!(subjects(store.quarantined(2).await.unwrap()), ["new", "s3://bucket/key#1"]);
}
