//! Matches, windows and alerts.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use time::Duration;

use super::{LEASE, claimed, token};
use crate::model::{
    Alert, AlertKind, AlertStatus, Alerting, Detections, Match, News, Receiver, RuleMeta, Severity, Taken, Triage,
};
use crate::state::fixtures::{START, fault, matched, matches, rule};
use crate::state::{AlertFilter, Placed, StateError, StateStore, TriageChange};

async fn list<S: StateStore>(store: &S) -> Vec<Alert> {
    store.alerts(&AlertFilter::default()).await.unwrap()
}

fn unique(mut found: Match, value: &str) -> Match {
    found.detail.unique = Some(value.into());
    found
}

pub(in crate::state) async fn a_repeated_match_counts_once<S: StateStore>(store: &S) {
    let token = token(store).await;
    let rule = Arc::new(rule("r"));
    let detections = matches([matched(&rule, 1), matched(&rule, 2), matched(&rule, 1)]);
    let first = store.record(&token, &detections, &[], START).await.unwrap();
    assert_eq!((first.matches, first.opened.len()), (2, 1));
    let second = store.record(&token, &detections, &[], START + Duration::HOUR).await.unwrap();
    assert_eq!((second.opened, second.matches), (vec![], 0));
    assert_eq!(second.placed, first.placed, "a repeat counts where it was counted at first");

    // Another owner of the object finds the same rows again, long after the window.
    let later = START + Duration::DAY;
    let token = claimed(store, "key", later).await;
    let third = store.record(&token, &detections, &[], later).await.unwrap();
    assert_eq!((third.opened, third.matches), (vec![], 0));
    assert_eq!(third.placed, first.placed);
    let of_alert = |placed: &Placed| placed.alert_id.as_ref() == Some(&first.opened[0].id);
    assert!(first.placed.len() == 3 && first.placed.iter().all(of_alert), "{:?}", first.placed);
    let alerts = list(store).await;
    assert_eq!((alerts.len(), alerts[0].event_count, alerts[0].id.clone()), (1, 2, first.opened[0].id.clone()));
}

/// Random histories of two rules, one with a threshold, and of two dedup strings, cut into calls at random.
pub(in crate::state) async fn any_order_and_any_repeats_open_the_same_alerts<S: StateStore>(store: &S) {
    let token = token(store).await;
    let calls = prop::collection::vec(prop::collection::vec((0..2usize, 0..2usize, 0..12u8), 0..12), 1..6);
    let mut runner = TestRunner::deterministic();
    for case in 0..24 {
        let thresholds = [1u64, 3];
        let rules = [0, 1].map(|i| Arc::new(RuleMeta { threshold: thresholds[i], ..rule(&format!("{case}-{i}")) }));
        let mut rows: BTreeMap<(usize, u8), usize> = BTreeMap::new();
        for call in calls.new_tree(&mut runner).unwrap().current() {
            let found = call.into_iter().map(|(which, dedup, row)| {
                // A row has one dedup string for a rule: that of its first match.
                let dedup = *rows.entry((which, row)).or_insert(dedup);
                let mut found = matched(&rules[which], row);
                found.detail.dedup = dedup.to_string();
                found
            });
            store.record(&token, &matches(found), &[], START).await.unwrap();
        }
        for (which, rule) in rules.iter().enumerate() {
            for dedup in 0..2 {
                let expected = rows.iter().filter(|((w, _), d)| (*w, **d) == (which, dedup)).count() as u64;
                let filter = AlertFilter { rule_id: Some(rule.id.to_string()), ..AlertFilter::default() };
                let alerts = store.alerts(&filter).await.unwrap();
                let count = alerts.iter().find(|alert| alert.dedup == dedup.to_string()).map(|alert| alert.event_count);
                let expected = (expected >= rule.threshold).then_some(expected);
                assert_eq!(count, expected, "case {case}, rule {which}, dedup {dedup}");
            }
        }
    }
}

pub(in crate::state) async fn a_threshold_is_reached_over_several_calls<S: StateStore>(store: &S) {
    let token = token(store).await;
    let rule = Arc::new(RuleMeta { threshold: 5, dedup_period_minutes: 15, ..rule("r") });
    let to = [Receiver::accepting_all("stdout")];
    for row in 0..4 {
        let below = store.record(&token, &matches([matched(&rule, row)]), &to, START).await.unwrap();
        assert_eq!((below.opened, below.matches), (vec![], 1));
        let expected =
            Placed { alert_id: below.placed[0].alert_id.clone(), window_began: Some(START), recorded: START };
        assert_eq!(below.placed, [expected]);
        assert!(below.placed[0].alert_id.is_some(), "the id of the window is known before there is an alert");
    }
    assert!(list(store).await.is_empty());

    let crossing = START + Duration::MINUTE;
    let fifth = store.record(&token, &matches([matched(&rule, 4)]), &to, crossing).await.unwrap();
    let alert = store.alert(&fifth.opened[0].id).await.unwrap().unwrap();
    assert_eq!((alert.event_count, alert.created_at, alert.first_event_match_time), (5, crossing, START));

    let later = START + Duration::minutes(2);
    let sixth = store.record(&token, &matches([matched(&rule, 5)]), &to, later).await.unwrap();
    assert!(sixth.opened.is_empty());
    let alert = store.alert(&alert.id).await.unwrap().unwrap();
    assert_eq!((alert.event_count, alert.created_at, alert.updated_at), (6, crossing, later));
    let lease = std::time::Duration::from_secs(60);
    assert_eq!(store.due("stdout", later, lease, 10).await.unwrap().len(), 1);
}

fn alerting(id: &str, alerting: Alerting) -> Arc<RuleMeta> {
    Arc::new(RuleMeta { alerting, ..rule(id) })
}

pub(in crate::state) async fn a_higher_severity_raises_that_of_the_alert_if_that_is_wanted<S: StateStore>(store: &S) {
    let token = token(store).await;
    let severe = |rule: &Arc<RuleMeta>, row, severity| {
        let mut found = matched(rule, row);
        found.detail.severity = severity;
        matches([found])
    };
    for (escalate_severity, expected) in [(false, Severity::Low), (true, Severity::High)] {
        let rule = alerting(&escalate_severity.to_string(), Alerting { escalate_severity, ..Alerting::default() });
        let opened = store.record(&token, &severe(&rule, 1, Severity::Low), &[], START).await.unwrap().opened.remove(0);
        for (row, severity) in [(2, Severity::High), (3, Severity::Medium)] {
            store.record(&token, &severe(&rule, row, severity), &[], START).await.unwrap();
        }
        assert_eq!(store.alert(&opened.id).await.unwrap().unwrap().severity, expected);
    }
}

pub(in crate::state) async fn a_match_opens_an_ended_alert_again_if_that_is_wanted<S: StateStore>(store: &S) {
    let token = token(store).await;
    for (reopen_on_match, expected) in [(false, AlertStatus::Closed), (true, AlertStatus::Open)] {
        let rule = alerting(&reopen_on_match.to_string(), Alerting { reopen_on_match, ..Alerting::default() });
        let first = store.record(&token, &matches([matched(&rule, 1)]), &[], START).await.unwrap();
        let ids = [first.opened[0].id.clone()];
        let closed = TriageChange { status: Some(AlertStatus::Closed), ..TriageChange::default() };
        store.triage(&ids, &closed, "me", START).await.unwrap();
        store.record(&token, &matches([matched(&rule, 2)]), &[], START).await.unwrap();
        assert_eq!(store.alert(&ids[0]).await.unwrap().unwrap().status, expected);
        let last = store.history(&ids[0]).await.unwrap().pop().unwrap();
        assert_eq!(last.by, if reopen_on_match { "margay" } else { "me" });
    }
    // What begins as resolved was ended by nobody.
    let rule = alerting("info", Alerting { reopen_on_match: true, ..Alerting::default() });
    for row in [1, 2] {
        let mut found = matched(&rule, row);
        found.detail.severity = Severity::Info;
        store.record(&token, &matches([found]), &[], START).await.unwrap();
    }
    let filter = AlertFilter { rule_id: Some("info".into()), ..AlertFilter::default() };
    assert_eq!(store.alerts(&filter).await.unwrap()[0].status, AlertStatus::Resolved);
}

pub(in crate::state) async fn an_alert_that_grows_tenfold_is_told_again_if_that_is_wanted<S: StateStore>(store: &S) {
    let (token, to) = (token(store).await, [Receiver::accepting_all("slack")]);
    let lease = std::time::Duration::from_secs(60);
    for (notify_on_update, expected) in [(false, vec![]), (true, vec![News::Updated])] {
        let rule = alerting(&notify_on_update.to_string(), Alerting { notify_on_update, ..Alerting::default() });
        let first = store.record(&token, &matches([matched(&rule, 0)]), &to, START).await.unwrap();
        store.delivered(&first.opened[0].id, "slack", News::Opened, &Taken::with(None), START).await.unwrap();
        let before = store.record(&token, &matches((1..9).map(|row| matched(&rule, row))), &to, START).await;
        before.unwrap();
        assert!(store.due("slack", START, lease, 10).await.unwrap().is_empty());
        for rows in [9..12, 12..20] {
            store.record(&token, &matches(rows.map(|row| matched(&rule, row))), &to, START).await.unwrap();
        }
        let due = store.due("slack", START, lease, 10).await.unwrap();
        assert_eq!(due.iter().map(|pending| pending.news).collect::<Vec<_>>(), expected);
    }
}

pub(in crate::state) async fn a_window_ends_and_the_next_is_another_alert<S: StateStore>(store: &S) {
    let token = token(store).await;
    let rule = Arc::new(rule("r"));
    for (row, seconds) in [(0, 0), (1, 3599), (2, 3600), (3, 3601)] {
        let now = START + Duration::seconds(seconds);
        store.record(&token, &matches([matched(&rule, row)]), &[], now).await.unwrap();
    }
    let counts: Vec<_> = list(store).await.into_iter().map(|alert| (alert.event_count, alert.title)).collect();
    assert_eq!(counts, [(1, "title 3".to_string()), (3, "title 0".to_string())]);
}

pub(in crate::state) async fn unique_values_count_once_in_each_window<S: StateStore>(store: &S) {
    let token = token(store).await;
    let rule = Arc::new(RuleMeta { threshold: 2, ..rule("r") });
    let first = matches([unique(matched(&rule, 1), "x"), unique(matched(&rule, 2), "x")]);
    assert!(store.record(&token, &first, &[], START).await.unwrap().opened.is_empty());
    let second = matches([unique(matched(&rule, 3), "x"), unique(matched(&rule, 4), "y")]);
    assert_eq!(store.record(&token, &second, &[], START).await.unwrap().opened.len(), 1);
    assert_eq!(list(store).await[0].event_count, 2);

    let later = START + Duration::HOUR * 2;
    let third = matches([unique(matched(&rule, 5), "x")]);
    assert!(store.record(&token, &third, &[], later).await.unwrap().opened.is_empty());
    let fourth = matches([unique(matched(&rule, 6), "z")]);
    assert_eq!(store.record(&token, &fourth, &[], later).await.unwrap().opened.len(), 1);
}

pub(in crate::state) async fn matches_and_faults_of_one_row_are_apart<S: StateStore>(store: &S) {
    let token = token(store).await;
    let rule = Arc::new(rule("r"));
    let mut found = matched(&rule, 1);
    found.detail.dedup = "KeyError".into();
    let detections =
        Detections { matches: vec![found], faults: vec![fault(&rule, 1), fault(&rule, 2)], ..Detections::default() };
    let recorded = store.record(&token, &detections, &[], START).await.unwrap();
    assert_eq!((recorded.matches, recorded.opened.len()), (3, 2));
    let of_kind = |kind| {
        let filter = AlertFilter { kind: Some(kind), ..AlertFilter::default() };
        async move { store.alerts(&filter).await.unwrap().into_iter().map(|alert| alert.event_count).collect::<Vec<_>>() }
    };
    assert_eq!((of_kind(AlertKind::Rule).await, of_kind(AlertKind::RuleError).await), (vec![1], vec![2]));
}

pub(in crate::state) async fn a_signal_is_recorded_without_an_alert<S: StateStore>(store: &S) {
    let token = token(store).await;
    let rule = Arc::new(RuleMeta { create_alert: false, ..rule("r") });
    let detections = matches([matched(&rule, 1), matched(&rule, 1), matched(&rule, 2)]);
    let recorded = store.record(&token, &detections, &[Receiver::accepting_all("stdout")], START).await.unwrap();
    assert_eq!((recorded.opened, recorded.matches), (vec![], 2));
    let signal = Placed { alert_id: None, window_began: None, recorded: START };
    assert_eq!(recorded.placed, [signal.clone(), signal.clone(), signal]);
    assert!(list(store).await.is_empty());
}

pub(in crate::state) async fn a_refused_recording_writes_nothing<S: StateStore>(store: &S) {
    let lost = token(store).await;
    let taken = claimed(store, "key", START + LEASE).await;
    let detections = matches([matched(&Arc::new(rule("r")), 1)]);
    let refused = store.record(&lost, &detections, &[Receiver::accepting_all("stdout")], START).await;
    assert!(matches!(refused, Err(StateError::Fenced(_))));
    assert!(list(store).await.is_empty());
    assert_eq!(store.record(&taken, &detections, &[], START).await.unwrap().matches, 1);
}

pub(in crate::state) async fn an_alert_has_every_field_of_its_opening_match<S: StateStore>(store: &S) {
    let token = token(store).await;
    let rule = Arc::new(RuleMeta { severity: Severity::Info, ..rule("r") });
    let mut found = matched(&rule, 1);
    found.detail.destinations = Some(vec!["slack".into()]);
    let other = Match { log_type: "AWS.ALB".into(), ..matched(&rule, 2) };
    let recorded = store.record(&token, &matches([found.clone(), other]), &[], START).await.unwrap();
    let alert = store.alert(&recorded.opened[0].id).await.unwrap().unwrap();
    let expected = Alert {
        id: recorded.opened[0].id.clone(),
        kind: AlertKind::Rule,
        rule_id: "r".into(),
        rule_version: "v1".into(),
        rule_display_name: "Shown".into(),
        title: "title 1".into(),
        severity: Severity::Info,
        description: "of the match".into(),
        reference: String::new(),
        runbook: String::new(),
        context: serde_json::json!({ "user": "root" }),
        dedup: "dedup".into(),
        destinations: found.detail.destinations,
        status: AlertStatus::Resolved,
        event_count: 2,
        log_types: vec!["AWS.ALB".into(), "AWS.CloudTrail".into()],
        first_event_match_time: START,
        created_at: START,
        updated_at: START,
        tags: vec!["t".into()],
        reports: rule.reports.clone(),
        delivery_responses: Vec::new(),
        triage: Triage::default(),
    };
    let json = |alert: &Alert| serde_json::to_value(alert).unwrap();
    assert_eq!(json(&alert), json(&expected));
    assert!(store.alert("no such id").await.unwrap().is_none());
}

pub(in crate::state) async fn hostile_text_survives<S: StateStore>(store: &S) {
    let token = token(store).await;
    let hostile = "'; DROP TABLE alerts; --\" \u{1b}[2J\r\n\u{202e}\u{10ffff} ?1 %s \0 $1";
    let rule = Arc::new(rule(hostile));
    let mut found = matched(&rule, 1);
    found.detail.title = hostile.into();
    found.detail.dedup = hostile.into();
    found.detail.context = serde_json::json!({ hostile: hostile }).to_string();
    store.record(&token, &matches([found]), &[], START).await.unwrap();
    let filter = AlertFilter { rule_id: Some(hostile.into()), ..AlertFilter::default() };
    let alert = store.alerts(&filter).await.unwrap().remove(0);
    assert_eq!([&alert.title, &alert.dedup, &alert.rule_id], [hostile; 3]);
    assert_eq!(alert.context[hostile], hostile);
}

pub(in crate::state) async fn alerts_are_filtered_and_newest_first<S: StateStore>(store: &S) {
    let token = token(store).await;
    for (minutes, severity) in (0..).zip(Severity::ALL) {
        let rule = Arc::new(RuleMeta { severity, ..rule(severity.as_str()) });
        let now = START + Duration::minutes(minutes);
        store.record(&token, &matches([matched(&rule, 1)]), &[], now).await.unwrap();
    }
    let ids = |filter: AlertFilter| async move {
        store.alerts(&filter).await.unwrap().into_iter().map(|alert| alert.rule_id).collect::<Vec<_>>()
    };
    let all = AlertFilter::default();
    assert_eq!(ids(all.clone()).await, ["CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO"]);
    assert_eq!(ids(AlertFilter { limit: Some(2), ..all.clone() }).await, ["CRITICAL", "HIGH"]);
    let least = AlertFilter { severity_at_least: Some(Severity::Medium), ..all.clone() };
    assert_eq!(ids(least.clone()).await, ["CRITICAL", "HIGH", "MEDIUM"]);
    assert_eq!(ids(AlertFilter { rule_id: Some("HIGH".into()), ..least.clone() }).await, ["HIGH"]);
    assert!(ids(AlertFilter { rule_id: Some("LOW".into()), ..least }).await.is_empty());
    assert!(ids(AlertFilter { kind: Some(AlertKind::RuleError), ..all }).await.is_empty());
}
