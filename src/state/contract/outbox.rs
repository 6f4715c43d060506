//! Deliveries.

use std::sync::Arc;
use std::time::Duration;

use super::{failed, token};
use crate::model::{AlertStatus, News, Receiver, RuleMeta, Taken};
use crate::state::fixtures::{START, matched, matches, rule};
use crate::state::{AlertFilter, PendingDelivery, StateStore, TriageChange, Waiting};

const LEASE: Duration = Duration::from_secs(60);

/// Opens one alert with these destinations; gives its id.
async fn opened<S: StateStore>(store: &S, to: &[&str]) -> String {
    let token = token(store).await;
    let to: Vec<Receiver> = to.iter().copied().map(Receiver::accepting_all).collect();
    store.record(&token, &matches([matched(&Arc::new(rule("r")), 1)]), &to, START).await.unwrap().opened.remove(0).id
}

fn names(due: &[PendingDelivery]) -> Vec<&str> {
    let mut names: Vec<&str> = due.iter().map(|pending| pending.destination.as_str()).collect();
    names.sort_unstable();
    names
}

pub(in crate::state) async fn a_new_alert_is_delivered_once_to_each_destination<S: StateStore>(store: &S) {
    let id = opened(store, &["slack", "stdout"]).await;
    for name in ["slack", "stdout"] {
        let due = store.due(name, START, LEASE, 10).await.unwrap();
        assert_eq!(names(&due), [name]);
        assert!(due.iter().all(|pending| pending.alert.id == id && pending.attempts == 0 && pending.resent == 0));
        store.delivered(&id, name, News::Opened, &Taken::with(Some(200)), START).await.unwrap();
        assert!(store.due(name, START + LEASE * 100, LEASE, 10).await.unwrap().is_empty());
    }
    assert!(store.due("another", START, LEASE, 10).await.unwrap().is_empty());
}

pub(in crate::state) async fn a_lease_hands_a_delivery_to_one_caller<S: StateStore>(store: &S) {
    opened(store, &["stdout"]).await;
    assert!(store.due("stdout", START - LEASE, LEASE, 10).await.unwrap().is_empty());
    assert_eq!(store.due("stdout", START, LEASE, 10).await.unwrap().len(), 1);
    assert!(store.due("stdout", START + LEASE / 2, LEASE, 10).await.unwrap().is_empty());
    assert_eq!(store.due("stdout", START + LEASE, LEASE, 10).await.unwrap().len(), 1);
}

pub(in crate::state) async fn a_failed_delivery_waits_for_its_next_attempt<S: StateStore>(store: &S) {
    let id = opened(store, &["slack", "stdout"]).await;
    store.due("slack", START, LEASE, 10).await.unwrap();
    store.delivered(&id, "stdout", News::Opened, &Taken::with(None), START).await.unwrap();
    let next = START + LEASE * 10;
    store.failed(&id, "slack", News::Opened, &failed("503", Some(503), Some(next)), START).await.unwrap();
    assert!(store.due("slack", next - Duration::from_secs(1), LEASE, 10).await.unwrap().is_empty());
    let due = store.due("slack", next, LEASE, 10).await.unwrap();
    assert_eq!((names(&due), due[0].attempts), (vec!["slack"], 1));
}

pub(in crate::state) async fn a_delivery_that_failed_for_good_is_over<S: StateStore>(store: &S) {
    let id = opened(store, &["slack"]).await;
    store.due("slack", START, LEASE, 10).await.unwrap();
    store.failed(&id, "slack", News::Opened, &failed("gone", Some(503), None), START).await.unwrap();
    store.failed(&id, "slack", News::Opened, &failed("late", Some(503), Some(START)), START).await.unwrap();
    assert!(store.due("slack", START + LEASE * 1000, LEASE, 10).await.unwrap().is_empty());
}

pub(in crate::state) async fn a_late_failure_does_not_undo_a_success<S: StateStore>(store: &S) {
    let id = opened(store, &["slack"]).await;
    store.delivered(&id, "slack", News::Opened, &Taken::with(None), START).await.unwrap();
    store.failed(&id, "slack", News::Opened, &failed("timeout", Some(503), Some(START)), START).await.unwrap();
    store.delivered(&id, "slack", News::Opened, &Taken::with(None), START).await.unwrap();
    assert!(store.due("slack", START + LEASE, LEASE, 10).await.unwrap().is_empty());
}

pub(in crate::state) async fn the_rule_and_its_metadata_choose_destinations<S: StateStore>(store: &S) {
    let token = token(store).await;
    let by_metadata = Arc::new(RuleMeta { output_ids: vec!["slack".into()], ..rule("metadata") });
    let mut nowhere = matched(&Arc::new(rule("nowhere")), 1);
    nowhere.detail.destinations = Some(Vec::new());
    let mut by_rule = matched(&by_metadata, 2);
    by_rule.detail.destinations = Some(vec!["stdout".into()]);
    by_rule.detail.dedup = "another".into();
    let to = ["slack", "stdout"].map(Receiver::accepting_all);
    let recorded = store.record(&token, &matches([nowhere, matched(&by_metadata, 1), by_rule]), &to, START).await;
    assert_eq!(recorded.unwrap().opened.len(), 3);
    for (name, title) in [("slack", "title 1"), ("stdout", "title 2")] {
        let due = store.due(name, START, LEASE, 10).await.unwrap();
        assert_eq!(due.iter().map(|pending| &*pending.alert.title).collect::<Vec<_>>(), [title]);
    }
}

pub(in crate::state) async fn deliveries_come_oldest_first_up_to_the_limit<S: StateStore>(store: &S) {
    let token = token(store).await;
    let to = [Receiver::accepting_all("stdout")];
    for row in [3, 1, 2] {
        let rule = Arc::new(rule(&format!("r{row}")));
        let now = START + Duration::from_secs(row.into());
        store.record(&token, &matches([matched(&rule, row)]), &to, now).await.unwrap();
    }
    let titles = |due: Vec<PendingDelivery>| due.into_iter().map(|pending| pending.alert.title).collect::<Vec<_>>();
    let now = START + LEASE;
    assert_eq!(titles(store.due("stdout", now, LEASE, 2).await.unwrap()), ["title 1", "title 2"]);
    assert_eq!(titles(store.due("stdout", now, LEASE, 2).await.unwrap()), ["title 3"]);
}

pub(in crate::state) async fn an_unknown_delivery_is_an_error<S: StateStore>(store: &S) {
    let id = opened(store, &["stdout"]).await;
    for (alert, destination) in [(id.as_str(), "slack"), ("no such alert", "stdout")] {
        assert!(store.delivered(alert, destination, News::Opened, &Taken::with(None), START).await.is_err());
        assert!(store.failed(alert, destination, News::Opened, &failed("x", Some(503), None), START).await.is_err());
    }
}

pub(in crate::state) async fn an_alert_tells_how_its_deliveries_stand<S: StateStore>(store: &S) {
    let id = opened(store, &["bad", "good", "new"]).await;
    store.delivered(&id, "good", News::Opened, &Taken::with(Some(204)), START).await.unwrap();
    store.failed(&id, "bad", News::Opened, &failed("no answer", Some(503), Some(START)), START).await.unwrap();
    store.failed(&id, "bad", News::Opened, &failed("no answer again", None, None), START + LEASE).await.unwrap();
    let told = store.alert(&id).await.unwrap().unwrap().delivery_responses;
    let told: Vec<_> =
        told.iter().map(|r| (&*r.destination_id, r.attempt, r.status_code, &*r.message, r.dispatched_at)).collect();
    let later = START + LEASE;
    assert_eq!(
        told,
        [
            ("bad", 1, Some(503), "no answer", Some(START)),
            ("bad", 2, None, "no answer again", Some(later)),
            ("good", 1, Some(204), "", Some(START)),
            ("new", 0, None, "", None),
        ]
    );
    let listed = store.alerts(&AlertFilter::default()).await.unwrap().remove(0).delivery_responses;
    assert_eq!(listed.iter().map(|response| response.success).collect::<Vec<_>>(), [false, false, true, false]);
}

pub(in crate::state) async fn what_waits_is_counted_by_destination<S: StateStore>(store: &S) {
    assert!(store.waiting().await.unwrap().is_empty());
    let token = token(store).await;
    let to = ["down", "good"].map(Receiver::accepting_all);
    for row in [1, 2] {
        let (rule, now) = (Arc::new(rule(&format!("r{row}"))), START + Duration::from_secs(row.into()));
        let opened = store.record(&token, &matches([matched(&rule, row)]), &to, now).await.unwrap().opened.remove(0);
        store.delivered(&opened.id, "good", News::Opened, &Taken::with(None), now).await.unwrap();
    }
    let oldest = START + Duration::from_secs(1);
    assert_eq!(store.waiting().await.unwrap(), [Waiting { destination: "down".into(), deliveries: 2, oldest }]);
}

pub(in crate::state) async fn what_was_taken_and_not_tried_is_given_back<S: StateStore>(store: &S) {
    let token = token(store).await;
    let to = [Receiver::accepting_all("slack")];
    let found = [1, 2, 3].map(|row| matched(&Arc::new(rule(&format!("r{row}"))), row));
    store.record(&token, &matches(found), &to, START).await.unwrap();
    let due = store.due("slack", START, LEASE, 10).await.unwrap();
    let ids: Vec<&str> = due.iter().map(|pending| &*pending.alert.id).collect();
    store.delivered(ids[0], "slack", News::Opened, &Taken::default(), START).await.unwrap();
    // Of another lease, and of another destination, is none of it.
    store.give_back("slack", &ids, START + LEASE * 2).await.unwrap();
    store.give_back("pager", &ids, START + LEASE).await.unwrap();
    assert!(store.due("slack", START, LEASE, 10).await.unwrap().is_empty());
    store.give_back("slack", &ids[..2], START + LEASE).await.unwrap();
    let again = store.due("slack", START, LEASE, 10).await.unwrap();
    assert_eq!(again.iter().map(|pending| &*pending.alert.id).collect::<Vec<_>>(), ids[1..2]);
    assert_eq!(again[0].attempts, 0);
}

pub(in crate::state) async fn a_ticket_is_kept_for_what_comes_later<S: StateStore>(store: &S) {
    let id = opened(store, &["jira"]).await;
    assert_eq!(store.due("jira", START, LEASE, 10).await.unwrap()[0].ticket, None);
    let taken = Taken { status: Some(201), ticket: Some("SEC-1\u{0}".into()) };
    store.delivered(&id, "jira", News::Opened, &taken, START).await.unwrap();
    let end =
        TriageChange { status: Some(AlertStatus::Resolved), tell: vec!["jira".into()], ..TriageChange::default() };
    store.triage(std::slice::from_ref(&id), &end, "ana", START).await.unwrap();
    let due = store.due("jira", START, LEASE, 10).await.unwrap();
    assert_eq!((due[0].news, due[0].ticket.clone()), (News::Resolved, taken.ticket.clone()));
    // Who answers without one has no other.
    store.delivered(&id, "jira", News::Resolved, &Taken::with(Some(204)), START).await.unwrap();
    let told = store.alert(&id).await.unwrap().unwrap().delivery_responses;
    assert_eq!(told.iter().map(|one| one.ticket.clone()).collect::<Vec<_>>(), [taken.ticket.clone(), taken.ticket]);
    // What a person sends again is told as if for the first time.
    store.resend(&id, &["jira".into()], "ana", START).await.unwrap();
    assert_eq!(store.due("jira", START, LEASE, 10).await.unwrap()[0].ticket, None);
}
