//! What margay has to tell of itself: facts, and the alerts about conditions.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use time::Duration as Span;

use super::{claimed, failed, token};
use crate::model::{AlertKind, AlertStatus, News, Receiver, Severity, Taken};
use crate::state::fixtures::{START, matched, matches, rule};
use crate::state::{Condition, Fact, Noted, Notice, OWN_NAME, ObjectOutcome, ObjectState, StateStore, TriageChange};

const LEASE: Duration = Duration::from_secs(60);

pub(in crate::state) fn notice(condition: Condition, subject: &str) -> Notice {
    Notice {
        condition,
        subject: subject.into(),
        title: format!("title of {subject}"),
        description: "what happened \0 here".into(),
        runbook: "what to do".into(),
    }
}

fn about(noted: &[Noted], fact: Fact) -> Vec<(&str, &str)> {
    noted.iter().filter(|own| own.fact == fact).map(|own| (&*own.subject, &*own.detail)).collect()
}

pub(in crate::state) async fn a_fact_is_written_down_once_in_a_while<S: StateStore>(store: &S) {
    let fact = Fact::Trouble(Condition::Unclassified);
    store.note(fact, "s\0/role", "first", START).await.unwrap();
    store.note(fact, "s\0/role", "too soon", START + Span::seconds(59)).await.unwrap();
    assert_eq!(about(&store.noted().await.unwrap(), fact), [("s\0/role", "first")]);
    let later = START + Span::seconds(61);
    store.note(fact, "s\0/role", "later", later).await.unwrap();
    store.note(fact, "s\0/role", "from the past", START).await.unwrap();
    let noted = store.noted().await.unwrap();
    assert_eq!((about(&noted, fact), noted[0].at), (vec![("s\0/role", "later")], later));
    // Each kind of fact and each subject is apart.
    store.note(Fact::Events, "s\0/role", "", later).await.unwrap();
    store.note(fact, "t", "", later).await.unwrap();
    assert_eq!(store.noted().await.unwrap().len(), 3);
}

pub(in crate::state) async fn an_outcome_is_a_fact_about_its_source<S: StateStore>(store: &S) {
    let outcome = |state, events, rejects| ObjectOutcome { state, reason: "why".into(), events, rejects, bytes: 1 };
    for (key, outcome) in [
        ("good", outcome(ObjectState::Committed, 5, 2)),
        ("bad", outcome(ObjectState::Quarantined, 0, 0)),
        ("again", outcome(ObjectState::Missing, 0, 0)),
    ] {
        let token = claimed(store, key, START).await;
        store.finish(&token, &outcome, START).await.unwrap();
        // Repeating it tells nothing new.
        store.finish(&token, &outcome, START + Span::HOUR).await.unwrap();
    }
    let noted = store.noted().await.unwrap();
    assert!(noted.iter().all(|own| own.subject == "source" && own.at == START), "{noted:?}");
    assert_eq!(about(&noted, Fact::Events), [("source", "")]);
    let unclassified = about(&noted, Fact::Trouble(Condition::Unclassified));
    assert_eq!(unclassified, [("source", "2 of 7 records of an object became no event")]);
    let failed = about(&noted, Fact::Trouble(Condition::ObjectFailed));
    assert_eq!(failed, [("source", "an object is quarantined: why")], "the second came a moment later");
}

pub(in crate::state) async fn a_notice_opens_one_alert_that_stands_until_it_is_ended<S: StateStore>(store: &S) {
    let notice = notice(Condition::SourceSilent, "logs\0");
    let only_rules = Receiver { alert_types: vec![AlertKind::Rule], ..Receiver::accepting_all("rules") };
    let some_logs = Receiver { log_types: vec!["X.Y".into()], ..Receiver::accepting_all("logs") };
    let to = [Receiver::accepting_all("slack"), only_rules, some_logs];
    let raised = join_all((0..4).map(|_| store.raise(&notice, &to, START))).await;
    let opened: Vec<_> = raised.into_iter().filter_map(|raised| raised.unwrap()).collect();
    assert_eq!(opened.len(), 1, "of all that ask at once, one is given it");
    let alert = store.alert(&opened[0].id).await.unwrap().unwrap();
    assert_eq!(
        (alert.kind, alert.severity, alert.status),
        (AlertKind::SystemError, Severity::Critical, AlertStatus::Open)
    );
    assert_eq!((&*alert.rule_id, &*alert.dedup, &*alert.title), ("Margay.SourceSilent", "logs\0", "title of logs\0"));
    assert_eq!((&*alert.description, &*alert.runbook, alert.event_count), ("what happened \0 here", "what to do", 1));
    let told: Vec<&str> = alert.delivery_responses.iter().map(|sent| &*sent.destination_id).collect();
    assert_eq!(told, ["slack"]);

    let week = START + Span::WEEK;
    assert_eq!(store.raise(&notice, &to, week).await.unwrap(), None, "it stands");
    let resolved =
        TriageChange { status: Some(AlertStatus::Resolved), tell: vec!["slack".into()], ..TriageChange::default() };
    let ids = [alert.id.clone()];
    store.triage(&ids, &resolved, OWN_NAME, START).await.unwrap();
    assert_eq!(store.raise(&notice, &to, START + Span::minutes(30)).await.unwrap(), None, "it comes and goes");
    let next = store.raise(&notice, &to, week).await.unwrap().unwrap();
    assert_ne!(next.id, alert.id);
    assert_eq!(store.raise(&notice, &to, week).await.unwrap(), None);
}

pub(in crate::state) async fn what_fails_is_told_to_the_others<S: StateStore>(store: &S) {
    let token = token(store).await;
    let to = ["pager", "slack"].map(Receiver::accepting_all);
    let found = matches([matched(&Arc::new(rule("r")), 1)]);
    let id = store.record(&token, &found, &to, START).await.unwrap().opened.remove(0).id;
    let fact = Fact::Trouble(Condition::DeliveryFailed);
    store.failed(&id, "pager", News::Opened, &failed("503", Some(503), Some(START)), START).await.unwrap();
    assert!(about(&store.noted().await.unwrap(), fact).is_empty(), "it is tried again");
    store.failed(&id, "pager", News::Opened, &failed("gone", None, None), START).await.unwrap();
    let noted = store.noted().await.unwrap();
    assert_eq!(about(&noted, fact), [("pager", &*format!("alert {id} of r was given up: gone"))]);

    let raised = store.raise(&notice(Condition::DeliveryFailed, "pager"), &to, START).await.unwrap().unwrap();
    let due = store.due("slack", START, LEASE, 10).await.unwrap();
    assert!(due.iter().any(|pending| pending.alert.id == raised.id));
    assert!(store.due("pager", START, LEASE, 10).await.unwrap().is_empty());
    // That this can't be delivered either is told nowhere.
    store.failed(&raised.id, "slack", News::Opened, &failed("gone, too", None, None), START).await.unwrap();
    assert_eq!(about(&store.noted().await.unwrap(), fact).len(), 1);
    store.delivered(&id, "slack", News::Opened, &Taken::with(Some(200)), START).await.unwrap();
    assert_eq!(about(&store.noted().await.unwrap(), Fact::Delivered), [("slack", "")]);
}
