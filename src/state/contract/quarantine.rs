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

pub(in crate::state) async fn a_later_reading_replaces_the_rejects_of_an_earlier_one<S: StateStore>(store: &S) {
    for (state, left) in [(ObjectState::Committed, &["new"][..]), (ObjectState::Quarantined, &["new", "old"])] {
        let key = state.as_str();
        let first = claimed(store, key, START).await;
        let damaged = |ordinal| Reject { ordinal, raw: "old".into(), reason: "damaged".into() };
        store.keep_rejects(&first, &[damaged(0), damaged(1)], START).await.unwrap();
        store.finish(&first, &ObjectOutcome::without_events(ObjectState::Partial, "bad CRC"), START).await.unwrap();
        let second = claimed(store, key, START).await;
        let mended = Reject { ordinal: 0, raw: "new".into(), reason: "no event".into() };
        store.keep_rejects(&second, &[mended], START).await.unwrap();
        store.finish(&second, &ObjectOutcome::without_events(state, ""), START).await.unwrap();
        let kept = store.quarantined(10).await.unwrap();
        let of_key = kept.iter().filter(|kept| kept.subject.contains(&format!("/{key}#")));
        let mut raw: Vec<_> = of_key.map(|kept| str::from_utf8(&kept.raw).unwrap()).collect();
        raw.sort_unstable();
        assert_eq!(raw, left, "{key}");
    }
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
    let expected =
        ["archived: why", "missing: why", "parked: why", "partial: why", "quarantined: why", "unrouted: why"];
    assert_eq!(kept, expected);
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
