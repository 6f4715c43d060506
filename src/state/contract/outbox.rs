//! Deliveries.

use std::sync::Arc;
use std::time::Duration;

use super::token;
use crate::model::RuleMeta;
use crate::state::fixtures::{START, matched, matches, rule};
use crate::state::{AlertFilter, PendingDelivery, StateStore};

const LEASE: Duration = Duration::from_secs(60);

/// Opens one alert with these destinations; gives its id.
async fn opened<S: StateStore>(store: &S, to: &[&str]) -> String {
    let token = token(store).await;
    let to: Vec<String> = to.iter().map(|name| name.to_string()).collect();
    store.record(&token, &matches([matched(&Arc::new(rule("r")), 1)]), &to, START).await.unwrap().opened.remove(0).id
}

fn names(due: &[PendingDelivery]) -> Vec<&str> {
    let mut names: Vec<&str> = due.iter().map(|pending| pending.destination.as_str()).collect();
    names.sort_unstable();
    names
}

pub(in crate::state) async fn a_new_alert_is_delivered_once_to_each_destination<S: StateStore>(store: &S) {
    let id = opened(store, &["slack", "stdout"]).await;
    let due = store.due(START, LEASE, 10).await.unwrap();
    assert_eq!(names(&due), ["slack", "stdout"]);
    assert!(due.iter().all(|pending| pending.alert.id == id && pending.attempts == 0));
    for name in ["slack", "stdout"] {
        store.delivered(&id, name, START).await.unwrap();
    }
    assert!(store.due(START + LEASE * 100, LEASE, 10).await.unwrap().is_empty());
}

pub(in crate::state) async fn a_lease_hands_a_delivery_to_one_caller<S: StateStore>(store: &S) {
    opened(store, &["stdout"]).await;
    assert!(store.due(START - LEASE, LEASE, 10).await.unwrap().is_empty());
    assert_eq!(store.due(START, LEASE, 10).await.unwrap().len(), 1);
    assert!(store.due(START + LEASE / 2, LEASE, 10).await.unwrap().is_empty());
    assert_eq!(store.due(START + LEASE, LEASE, 10).await.unwrap().len(), 1);
}

pub(in crate::state) async fn a_failed_delivery_waits_for_its_next_attempt<S: StateStore>(store: &S) {
    let id = opened(store, &["slack", "stdout"]).await;
    store.due(START, LEASE, 10).await.unwrap();
    store.delivered(&id, "stdout", START).await.unwrap();
    let next = START + LEASE * 10;
    store.failed(&id, "slack", "503", Some(next), START).await.unwrap();
    assert!(store.due(next - Duration::from_secs(1), LEASE, 10).await.unwrap().is_empty());
    let due = store.due(next, LEASE, 10).await.unwrap();
    assert_eq!((names(&due), due[0].attempts), (vec!["slack"], 1));
}

pub(in crate::state) async fn a_delivery_that_failed_for_good_is_over<S: StateStore>(store: &S) {
    let id = opened(store, &["slack"]).await;
    store.due(START, LEASE, 10).await.unwrap();
    store.failed(&id, "slack", "gone", None, START).await.unwrap();
    store.failed(&id, "slack", "late", Some(START), START).await.unwrap();
    assert!(store.due(START + LEASE * 1000, LEASE, 10).await.unwrap().is_empty());
}

pub(in crate::state) async fn a_late_failure_does_not_undo_a_success<S: StateStore>(store: &S) {
    let id = opened(store, &["slack"]).await;
    store.delivered(&id, "slack", START).await.unwrap();
    store.failed(&id, "slack", "timeout", Some(START), START).await.unwrap();
    store.delivered(&id, "slack", START).await.unwrap();
    assert!(store.due(START + LEASE, LEASE, 10).await.unwrap().is_empty());
}

pub(in crate::state) async fn the_rule_and_its_metadata_choose_destinations<S: StateStore>(store: &S) {
    let token = token(store).await;
    let by_metadata = Arc::new(RuleMeta { output_ids: vec!["slack".into()], ..rule("metadata") });
    let mut nowhere = matched(&Arc::new(rule("nowhere")), 1);
    nowhere.detail.destinations = Some(Vec::new());
    let mut by_rule = matched(&by_metadata, 2);
    by_rule.detail.destinations = Some(vec!["stdout".into()]);
    by_rule.detail.dedup = "another".into();
    let to = ["slack".to_string(), "stdout".to_string()];
    let recorded = store.record(&token, &matches([nowhere, matched(&by_metadata, 1), by_rule]), &to, START).await;
    assert_eq!(recorded.unwrap().opened.len(), 3);
    let due = store.due(START, LEASE, 10).await.unwrap();
    let routed: Vec<_> = due.iter().map(|pending| (&*pending.alert.title, &*pending.destination)).collect();
    assert_eq!(routed, [("title 1", "slack"), ("title 2", "stdout")]);
}

pub(in crate::state) async fn deliveries_come_oldest_first_up_to_the_limit<S: StateStore>(store: &S) {
    let token = token(store).await;
    let to = ["stdout".to_string()];
    for row in [3, 1, 2] {
        let rule = Arc::new(rule(&format!("r{row}")));
        let now = START + Duration::from_secs(row.into());
        store.record(&token, &matches([matched(&rule, row)]), &to, now).await.unwrap();
    }
    let titles = |due: Vec<PendingDelivery>| due.into_iter().map(|pending| pending.alert.title).collect::<Vec<_>>();
    let now = START + LEASE;
    assert_eq!(titles(store.due(now, LEASE, 2).await.unwrap()), ["title 1", "title 2"]);
    assert_eq!(titles(store.due(now, LEASE, 2).await.unwrap()), ["title 3"]);
}

pub(in crate::state) async fn an_unknown_delivery_is_an_error<S: StateStore>(store: &S) {
    let id = opened(store, &["stdout"]).await;
    for (alert, destination) in [(id.as_str(), "slack"), ("no such alert", "stdout")] {
        assert!(store.delivered(alert, destination, START).await.is_err());
        assert!(store.failed(alert, destination, "x", None, START).await.is_err());
    }
}

pub(in crate::state) async fn an_alert_tells_how_its_deliveries_stand<S: StateStore>(store: &S) {
    let id = opened(store, &["bad", "good", "new"]).await;
    store.delivered(&id, "good", START).await.unwrap();
    store.failed(&id, "bad", "no answer", None, START).await.unwrap();
    let told = store.alert(&id).await.unwrap().unwrap().delivery_responses;
    let told: Vec<_> =
        told.iter().map(|r| (&*r.destination_id, r.attempt, r.success, &*r.message, r.dispatched_at)).collect();
    let done = Some(START);
    assert_eq!(told, [("bad", 1, false, "no answer", done), ("good", 1, true, "", done), ("new", 0, false, "", None)]);
    assert_eq!(store.alerts(&AlertFilter::default()).await.unwrap()[0].delivery_responses.len(), 3);
}
