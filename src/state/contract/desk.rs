//! What people do with alerts.

use std::sync::Arc;
use std::time::Duration;

use super::{failed, token};
use crate::model::{Alert, AlertStatus, News, Receiver, Severity, Taken};
use crate::state::fixtures::{START, matched, matches, rule};
use crate::state::{AlertFilter, AlertPlace, StateStore, Summary, TriageChange};

const LATER: Duration = Duration::from_secs(60);

/// Alerts of rules `r1`, `r2` and so on, created a second apart, but for the last two, at the same time.
async fn opened<S: StateStore>(store: &S, rows: u8) -> Vec<Alert> {
    let token = token(store).await;
    let mut alerts = Vec::new();
    for row in 1..=rows {
        let (rule, now) = (Arc::new(rule(&format!("r{row}"))), START + Duration::from_secs(row.min(rows - 1).into()));
        alerts.extend(store.record(&token, &matches([matched(&rule, row)]), &[], now).await.unwrap().opened);
    }
    alerts
}

pub(in crate::state) async fn a_change_is_made_and_written_down<S: StateStore>(store: &S) {
    let id = opened(store, 2).await.remove(0).id;
    let change = TriageChange {
        status: Some(AlertStatus::Triaged),
        assignee: Some("ana".into()),
        comment: Some("a \u{1b}\n'comment'".into()),
        ..TriageChange::default()
    };
    let ids = [id.clone(), "none".into()];
    assert_eq!(store.triage(&ids, &change, "me", START + LATER).await.unwrap(), ids[..1]);
    let alert = store.alert(&id).await.unwrap().unwrap();
    assert_eq!((alert.status, alert.triage.assignee.as_deref()), (AlertStatus::Triaged, Some("ana")));
    let comment = &alert.triage.comments[0];
    assert_eq!((&*comment.by, &*comment.text, comment.at), ("me", "a \u{1b}\n'comment'", START + LATER));
    assert_eq!(alert.triage.last_updated_by.as_deref(), Some("me"));
    assert_eq!(alert.triage.last_updated_by_time, Some(START + LATER));

    // The same once more changes neither status nor assignee, and says one thing more.
    store.triage(&ids, &change, "you", START + LATER * 2).await.unwrap();
    let nobody = TriageChange { assignee: Some(String::new()), ..TriageChange::default() };
    store.triage(&ids, &nobody, "you", START + LATER * 3).await.unwrap();
    let history = store.history(&id).await.unwrap();
    let told: Vec<_> = history.iter().map(|one| (&*one.by, &*one.field, &*one.before, &*one.after)).collect();
    let comment = "a \u{1b}\n'comment'";
    let expected = [
        ("me", "status", "OPEN", "TRIAGED"),
        ("me", "assignee", "", "ana"),
        ("me", "comment", "", comment),
        ("you", "comment", "", comment),
        ("you", "assignee", "ana", ""),
    ];
    assert_eq!(told, expected);
    assert_eq!(store.alert(&id).await.unwrap().unwrap().triage.assignee, None);
    assert!(store.history("none").await.unwrap().is_empty());
}

pub(in crate::state) async fn later_matches_leave_a_status_as_it_is<S: StateStore>(store: &S) {
    let token = token(store).await;
    let rule = Arc::new(rule("r"));
    let opened = store.record(&token, &matches([matched(&rule, 1)]), &[], START).await.unwrap().opened.remove(0);
    let closed = TriageChange { status: Some(AlertStatus::Closed), ..TriageChange::default() };
    store.triage(std::slice::from_ref(&opened.id), &closed, "me", START).await.unwrap();
    store.record(&token, &matches([matched(&rule, 2)]), &[], START + LATER).await.unwrap();
    let alert = store.alert(&opened.id).await.unwrap().unwrap();
    assert_eq!((alert.status, alert.event_count), (AlertStatus::Closed, 2));
}

pub(in crate::state) async fn every_filter_of_a_list_asks_for_something<S: StateStore>(store: &S) {
    let alerts = opened(store, 3).await;
    let first = &alerts[0];
    let change =
        TriageChange { status: Some(AlertStatus::Resolved), assignee: Some("ana".into()), ..TriageChange::default() };
    store.triage(std::slice::from_ref(&first.id), &change, "me", START).await.unwrap();
    let token = super::claimed(store, "another", START).await;
    store.record(&token, &matches([matched(&Arc::new(rule("r1")), 9)]), &[], START + LATER).await.unwrap();
    let none = AlertFilter::default;
    for (filter, count) in [
        (none(), 3),
        (AlertFilter { statuses: vec![AlertStatus::Resolved, AlertStatus::Closed], ..none() }, 1),
        (AlertFilter { severities: vec![Severity::High], ..none() }, 3),
        (AlertFilter { severities: vec![Severity::Low], ..none() }, 0),
        (AlertFilter { title_contains: Some("TITLE 2".into()), ..none() }, 1),
        (AlertFilter { title_contains: Some("%".into()), ..none() }, 0),
        (AlertFilter { created_since: Some(alerts[1].created_at), ..none() }, 2),
        (AlertFilter { created_before: Some(alerts[1].created_at), ..none() }, 1),
        (AlertFilter { least_events: Some(2), ..none() }, 1),
        (AlertFilter { most_events: Some(1), ..none() }, 2),
        (AlertFilter { log_types: vec!["X.Y".into(), "AWS.CloudTrail".into()], ..none() }, 3),
        (AlertFilter { log_types: vec!["AWS".into()], ..none() }, 0),
        (AlertFilter { assignee: Some("ana".into()), ..none() }, 1),
        (AlertFilter { assignee: Some("ana".into()), least_events: Some(3), ..none() }, 0),
    ] {
        assert_eq!(store.alerts(&filter).await.unwrap().len(), count, "{filter:?}");
    }
}

pub(in crate::state) async fn pages_hold_every_alert_once_in_both_orders<S: StateStore>(store: &S) {
    let mut expected: Vec<AlertPlace> = opened(store, 5).await.iter().map(AlertPlace::from).collect();
    expected.sort();
    for oldest_first in [true, false] {
        let mut seen: Vec<AlertPlace> = Vec::new();
        loop {
            let after = seen.last().cloned();
            let filter = AlertFilter { oldest_first, after, limit: Some(2), ..AlertFilter::default() };
            let page = store.alerts(&filter).await.unwrap();
            if page.is_empty() {
                break;
            }
            seen.extend(page.iter().map(AlertPlace::from));
        }
        assert_eq!(seen, expected, "oldest first: {oldest_first}");
        expected.reverse();
    }
}

pub(in crate::state) async fn what_an_alert_counts_comes_in_pages<S: StateStore>(store: &S) {
    let token = token(store).await;
    let rule = Arc::new(rule("r"));
    let found = matches([3, 1, 2].map(|row| matched(&rule, row)));
    let id = store.record(&token, &found, &[], START).await.unwrap().opened.remove(0).id;
    let first = store.counted_by(&id, None, 2).await.unwrap();
    let titles: Vec<_> = first.iter().map(|found| &*found.title).collect();
    assert_eq!(titles, ["title 1", "title 2"]);
    assert_eq!((first[0].event_time, &*first[0].log_type), (START, "AWS.CloudTrail"));
    assert_eq!(first[0].context, serde_json::json!({ "user": "root" }));
    let rest = store.counted_by(&id, Some(first[1].row_id), 2).await.unwrap();
    assert_eq!(rest.iter().map(|found| &*found.title).collect::<Vec<_>>(), ["title 3"]);
    assert!(store.counted_by("none", None, 2).await.unwrap().is_empty());
}

pub(in crate::state) async fn an_alert_is_sent_again_as_if_for_the_first_time<S: StateStore>(store: &S) {
    let token = token(store).await;
    let to = ["slack", "down"].map(Receiver::accepting_all);
    let found = matches([matched(&Arc::new(rule("r")), 1)]);
    let id = store.record(&token, &found, &to, START).await.unwrap().opened.remove(0).id;
    store.delivered(&id, "slack", News::Opened, &Taken::with(Some(200)), START).await.unwrap();
    store.failed(&id, "down", News::Opened, &failed("no", Some(500), None), START).await.unwrap();
    let names = ["slack", "down", "new"].map(String::from);
    assert!(store.resend(&id, &names, "me", START + LATER).await.unwrap());
    assert!(!store.resend("none", &names, "me", START + LATER).await.unwrap());
    for name in ["slack", "down", "new"] {
        assert!(store.due(name, START, LATER, 10).await.unwrap().is_empty(), "{name}");
        let due = store.due(name, START + LATER, LATER, 10).await.unwrap();
        let told: Vec<_> = due.iter().map(|pending| (&*pending.alert.id, pending.attempts, pending.resent)).collect();
        assert_eq!(told, [(&*id, 0, 1)], "{name}");
    }
    store.delivered(&id, "slack", News::Opened, &Taken::with(Some(200)), START + LATER).await.unwrap();
    let sent = store.alert(&id).await.unwrap().unwrap().delivery_responses;
    let slack: Vec<_> = sent.iter().filter(|one| one.destination_id == "slack").map(|one| one.attempt).collect();
    assert_eq!(slack, [1, 1], "what was sent before stays written down");
    let history = store.history(&id).await.unwrap();
    assert_eq!(history.iter().filter(|one| one.field == "resent" && one.by == "me").count(), 3);
}

pub(in crate::state) async fn alerts_are_counted_by_what_they_are<S: StateStore>(store: &S) {
    let empty = store.summary(&AlertFilter::default()).await.unwrap();
    assert_eq!((empty.alerts, empty.events, empty.rules.len(), empty.days.len()), (0, 0, 0, 0));
    let token = token(store).await;
    for (row, id, days, severity) in
        [(1, "often", 0, Severity::High), (2, "often", 1, Severity::Low), (3, "once", 1, Severity::High)]
    {
        let mut found = matched(&Arc::new(rule(id)), row);
        found.detail.severity = severity;
        let now = START + time::Duration::days(days);
        store.record(&token, &matches([found]), &[], now).await.unwrap();
    }
    // It counts in the alert of before.
    let again = matches([matched(&Arc::new(rule("once")), 4)]);
    store.record(&token, &again, &[], START + time::Duration::DAY).await.unwrap();
    let summary = store.summary(&AlertFilter::default()).await.unwrap();
    let counts =
        |counts: &[(&str, u64)]| counts.iter().map(|(name, count)| (name.to_string(), *count)).collect::<Vec<_>>();
    let expected = Summary {
        alerts: 3,
        events: 4,
        rules: counts(&[("often", 2), ("once", 1)]),
        more_rules: false,
        severities: counts(&[("HIGH", 2), ("LOW", 1)]),
        statuses: counts(&[("OPEN", 3)]),
        types: counts(&[("RULE", 3)]),
        days: counts(&[("2026-01-02", 1), ("2026-01-03", 2)]),
    };
    assert_eq!(summary, expected);
    let high = AlertFilter {
        severities: vec![Severity::High],
        created_since: Some(START + time::Duration::HOUR),
        ..AlertFilter::default()
    };
    let summary = store.summary(&high).await.unwrap();
    assert_eq!((summary.alerts, summary.rules), (1, counts(&[("once", 1)])));
}

/// Alerts with a delivery to each of three destinations, of which the last has failed for good.
pub(in crate::state) async fn the_end_of_an_alert_is_told_behind_its_beginning<S: StateStore>(store: &S) {
    let (token, lease) = (token(store).await, Duration::from_secs(60));
    let to = ["pager", "slow", "failed", "deaf"].map(Receiver::accepting_all);
    let found = matches([matched(&Arc::new(rule("r")), 1)]);
    let id = store.record(&token, &found, &to, START).await.unwrap().opened.remove(0).id;
    store.delivered(&id, "pager", News::Opened, &Taken::with(Some(202)), START).await.unwrap();
    store.delivered(&id, "deaf", News::Opened, &Taken::with(Some(202)), START).await.unwrap();
    store.failed(&id, "failed", News::Opened, &failed("no", None, None), START).await.unwrap();
    assert_eq!(store.due("slow", START, lease, 9).await.unwrap()[0].news, News::Opened);

    let change = TriageChange {
        status: Some(AlertStatus::Resolved),
        tell: ["pager", "slow", "failed", "unknown"].map(String::from).to_vec(),
        ..TriageChange::default()
    };
    let ids = [id.clone()];
    for _ in 0..2 {
        store.triage(&ids, &change, "me", START + LATER).await.unwrap();
    }
    let news =
        |due: Vec<crate::state::PendingDelivery>| due.iter().map(|one| (one.news, one.attempts)).collect::<Vec<_>>();
    let now = START + LATER;
    assert_eq!(news(store.due("pager", now, lease, 9).await.unwrap()), [(News::Resolved, 0)]);
    // It has not taken the beginning yet, so that comes first.
    assert_eq!(news(store.due("slow", now, lease, 9).await.unwrap()), [(News::Opened, 0)]);
    store.delivered(&id, "slow", News::Opened, &Taken::with(None), now).await.unwrap();
    assert_eq!(news(store.due("slow", now, lease, 9).await.unwrap()), [(News::Resolved, 0)]);
    // Another daemon says late that it has delivered the beginning, too.
    store.delivered(&id, "slow", News::Opened, &Taken::with(None), now).await.unwrap();
    store.delivered(&id, "slow", News::Resolved, &Taken::with(None), now).await.unwrap();
    for name in ["slow", "failed", "deaf"] {
        assert!(store.due(name, now + lease * 9, lease, 9).await.unwrap().is_empty(), "{name}");
    }
    let slow = store.alert(&id).await.unwrap().unwrap().delivery_responses;
    assert_eq!(slow.iter().filter(|sent| sent.destination_id == "slow" && sent.success).count(), 2);
}
