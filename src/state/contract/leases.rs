//! A duty has one holder at a time, and who lost it is told.

use futures_util::future::join_all;
use time::Duration;

use super::LEASE;
use crate::state::fixtures::START;
use crate::state::{Lease, StateStore};

const DUTY: &str = "upkeep";

fn fence(lease: &Option<Lease>) -> i64 {
    lease.as_ref().expect("the duty is free").fence
}

pub(in crate::state) async fn a_duty_has_one_holder_until_its_lease_ends<S: StateStore>(store: &S) {
    let first = store.lease(DUTY, START, START + LEASE).await.unwrap();
    let almost = START + LEASE - Duration::MICROSECOND;
    assert_eq!(store.lease(DUTY, START, START + LEASE).await.unwrap(), None);
    assert_eq!(store.lease(DUTY, almost, almost + LEASE).await.unwrap(), None);
    let second = store.lease(DUTY, START + LEASE, START + 2 * LEASE).await.unwrap();
    assert!(fence(&second) > fence(&first));
    assert_eq!(store.lease(DUTY, START + LEASE, START + 2 * LEASE).await.unwrap(), None);
}

pub(in crate::state) async fn a_prolonged_lease_ends_later_and_a_shortened_one_earlier<S: StateStore>(store: &S) {
    let lease = store.lease(DUTY, START, START + LEASE).await.unwrap().unwrap();
    assert!(store.prolong(&lease, START + 3 * LEASE).await.unwrap());
    assert_eq!(store.lease(DUTY, START + 2 * LEASE, START + 4 * LEASE).await.unwrap(), None);
    // Late, but nobody has come meanwhile.
    assert!(store.prolong(&lease, START + 5 * LEASE).await.unwrap());
    assert!(store.prolong(&lease, START).await.unwrap());
    assert!(store.lease(DUTY, START, START + LEASE).await.unwrap().is_some());
}

pub(in crate::state) async fn a_lost_lease_can_not_be_prolonged<S: StateStore>(store: &S) {
    let lost = store.lease(DUTY, START, START + LEASE).await.unwrap().unwrap();
    let held = store.lease(DUTY, START + LEASE, START + 2 * LEASE).await.unwrap().unwrap();
    assert!(!store.prolong(&lost, START + 9 * LEASE).await.unwrap());
    assert!(store.lease(DUTY, START + 2 * LEASE, START + 3 * LEASE).await.unwrap().is_some());
    assert!(!store.prolong(&held, START + 9 * LEASE).await.unwrap());
    let never = Lease { duty: "nobody's".into(), fence: 1 };
    assert!(!store.prolong(&never, START + LEASE).await.unwrap());
}

pub(in crate::state) async fn duties_are_apart<S: StateStore>(store: &S) {
    let one = store.lease(DUTY, START, START + LEASE).await.unwrap().unwrap();
    let other = store.lease("other", START, START + LEASE).await.unwrap().unwrap();
    assert!(store.prolong(&other, START).await.unwrap());
    assert_eq!(store.lease(DUTY, START, START + LEASE).await.unwrap(), None);
    assert!(store.prolong(&one, START + LEASE).await.unwrap());
}

pub(in crate::state) async fn one_of_many_at_once_gets_the_duty<S: StateStore>(store: &S) {
    for round in 0..3 {
        let now = START + LEASE * round;
        let asked = join_all((0..8).map(|_| store.lease(DUTY, now, now + LEASE))).await;
        assert_eq!(asked.into_iter().filter(|lease| lease.as_ref().unwrap().is_some()).count(), 1);
    }
}
