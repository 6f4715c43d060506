//! Rules that open more alerts than are delivered.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use time::{Duration as Span, OffsetDateTime};

use super::{claimed, token};
use crate::model::{Alert, AlertKind, Alerting, Detections, Match, News, OnStorm, Receiver, RuleMeta, Severity, Taken};
use crate::state::fixtures::{START, fault, matched, rule};
use crate::state::{AlertFilter, ClaimToken, Condition, Fact, Lift, Recorded, StateStore, Storm, stopped};

const LEASE: Duration = Duration::from_secs(60);

fn limited(id: &str, limit: u64, on_storm: OnStorm) -> Arc<RuleMeta> {
    let alerting = Alerting { max_alerts_per_hour: limit, on_storm, ..Alerting::default() };
    Arc::new(RuleMeta { alerting, ..rule(id) })
}

/// A match that opens an alert of its own.
fn loud(rule: &Arc<RuleMeta>, number: u16) -> Match {
    let mut found = matched(rule, 0);
    found.row_id.0[..2].copy_from_slice(&number.to_be_bytes());
    found.detail.dedup = number.to_string();
    found.detail.title = format!("title {number}");
    found
}

async fn record<S: StateStore>(
    store: &S,
    token: &ClaimToken,
    rule: &Arc<RuleMeta>,
    numbers: std::ops::Range<u16>,
    now: OffsetDateTime,
) -> Recorded {
    let to = [Receiver::accepting_all("slack"), Receiver::accepting_all("stdout")];
    let found = Detections { matches: numbers.map(|number| loud(rule, number)).collect(), ..Detections::default() };
    store.record(token, &found, &to, now).await.unwrap()
}

async fn due<S: StateStore>(store: &S, now: OffsetDateTime) -> Vec<Alert> {
    let due = store.due("slack", now, LEASE, 10_000).await.unwrap();
    due.into_iter().map(|pending| pending.alert).collect()
}

pub(in crate::state) async fn more_alerts_than_the_limit_are_created_and_not_delivered<S: StateStore>(store: &S) {
    let (token, rule) = (token(store).await, limited("r", 5, OnStorm::Digest));
    let first = record(store, &token, &rule, 0..3, START).await;
    assert_eq!((first.opened.len(), first.held), (3, 0));
    let second = record(store, &token, &rule, 3..8, START + Span::MINUTE).await;
    assert_eq!((second.opened.len(), second.held, second.matches), (5, 3, 5));
    // Repeats open nothing and count for nothing.
    assert_eq!(record(store, &token, &rule, 0..8, START).await.opened.len(), 0);
    assert_eq!(due(store, START + Span::HOUR).await.len(), 5);

    let filter = AlertFilter { oldest_first: true, ..AlertFilter::default() };
    let alerts = store.alerts(&filter).await.unwrap();
    let held: Vec<&Alert> =
        alerts.iter().filter(|alert| alert.delivery_responses[0].message.contains("held back")).collect();
    assert_eq!((alerts.len(), held.len()), (8, 3));
    assert!(held[0].delivery_responses.iter().all(|sent| sent.attempt == 0 && sent.dispatched_at.is_none()));
    // Another rule has an hour of its own, and so have errors.
    let other = limited("other", 5, OnStorm::Digest);
    assert_eq!(record(store, &token, &other, 0..5, START).await.held, 0);
    // A person can have one that is held back.
    store.resend(&held[0].id, &["slack".into()], "me", START).await.unwrap();
    assert!(due(store, START + Span::DAY).await.iter().any(|alert| alert.id == held[0].id));
}

pub(in crate::state) async fn error_alerts_have_a_limit_of_their_own<S: StateStore>(store: &S) {
    let (token, rule) = (token(store).await, Arc::new(rule("r")));
    let mut faults = Vec::new();
    for number in 0..13u8 {
        let mut failed = fault(&rule, number);
        failed.error_type = format!("Error{number}");
        faults.push(failed);
    }
    let found = Detections { matches: vec![loud(&rule, 1)], faults, ..Detections::default() };
    let recorded = store.record(&token, &found, &[Receiver::accepting_all("slack")], START).await.unwrap();
    assert_eq!((recorded.opened.len(), recorded.held), (14, 3));
    let storms = store.storms().await.unwrap();
    assert_eq!(storms.len(), 1);
    assert_eq!((storms[0].kind, storms[0].opened, storms[0].held), (AlertKind::RuleError, 13, 3));
}

pub(in crate::state) async fn after_the_hour_there_is_one_digest_and_delivery_goes_on<S: StateStore>(store: &S) {
    let (token, rule) = (token(store).await, limited("r", 2, OnStorm::Digest));
    record(store, &token, &rule, 0..60, START).await;
    for alert in due(store, START).await {
        store.delivered(&alert.id, "slack", News::Opened, &Taken::with(None), START).await.unwrap();
    }
    let storms = store.storms().await.unwrap();
    let [storm] = &storms[..] else { panic!("{storms:?}") };
    let hour = START.replace_time(time::macros::time!(3:00));
    let expected = Storm { rule_id: "r".into(), kind: AlertKind::Rule, hour, opened: 60, held: 58, forgiven: 0 };
    assert_eq!(*storm, expected);
    assert_eq!(store.digest(storm, storm.end() - Span::SECOND).await.unwrap(), None, "the hour is not over");

    let later = storm.end() + Span::MINUTE;
    let next = record(store, &token, &rule, 60..61, later).await;
    assert_eq!(next.held, 0, "delivery goes on");
    let digests = join_all((0..4).map(|_| store.digest(storm, later))).await;
    let digests: Vec<Alert> = digests.into_iter().filter_map(|digest| digest.unwrap()).collect();
    let [digest] = &digests[..] else { panic!("{digests:?}") };
    assert_eq!((digest.event_count, digest.severity, &*digest.rule_id), (58, Severity::High, "r"));
    let titles: Vec<&str> =
        digest.context["titles"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    assert_eq!(titles.len(), 50);
    assert!(titles.iter().all(|title| title.starts_with("title ") && *title != "title 60"));
    let sent = due(store, later).await;
    assert_eq!(sent.iter().filter(|alert| alert.id == digest.id).count(), 1);
    assert_eq!(sent.len(), 2, "the digest, and the alert of the next hour");
    assert_eq!(
        store.alert(&digest.id).await.unwrap().unwrap().delivery_responses.len(),
        2,
        "to where they would have gone"
    );
    assert!(store.storms().await.unwrap().is_empty());
}

pub(in crate::state) async fn a_storm_may_stop_its_rule_until_it_is_changed<S: StateStore>(store: &S) {
    let (token, rule) = (token(store).await, limited("r", 3, OnStorm::Disable));
    record(store, &token, &rule, 0..5, START).await;
    let stopped = store.noted().await.unwrap().into_iter().find(|own| own.fact == Fact::Stopped).unwrap();
    assert_eq!((&*stopped.subject, &*stopped.detail), ("r", "v1"));
    let later = START + Span::DAY;
    let more = record(store, &token, &rule, 5..9, later).await;
    assert_eq!((more.opened.len(), more.matches), (0, 4), "its matches are recorded");
    let changed = Arc::new(RuleMeta { version: "v2".into(), ..(*rule).clone() });
    assert_eq!(record(store, &token, &changed, 9..10, later).await.opened.len(), 1);
}

/// The limit goes by who opens first, which is not always who was seen first.
pub(in crate::state) async fn the_first_to_open_are_delivered<S: StateStore>(store: &S) {
    let token = token(store).await;
    let rule = Arc::new(RuleMeta { threshold: 2, ..(*limited("r", 1, OnStorm::Digest)).clone() });
    let hit = |number: u16, dedup: &str| {
        let mut found = loud(&rule, number);
        found.detail.dedup = dedup.into();
        found
    };
    let found = vec![hit(1, "seen first"), hit(2, "opens first"), hit(3, "opens first"), hit(4, "seen first")];
    let found = Detections { matches: found, ..Detections::default() };
    let recorded = store.record(&token, &found, &[Receiver::accepting_all("slack")], START).await.unwrap();
    let opened: Vec<&str> = recorded.opened.iter().map(|alert| &*alert.dedup).collect();
    assert_eq!((opened, recorded.held), (vec!["opens first", "seen first"], 1));
    let due = due(store, START).await;
    assert_eq!(due.iter().map(|alert| &*alert.dedup).collect::<Vec<_>>(), ["opens first"]);
}

/// A stop is a thing of the next call: what one call opens does not go by how its matches are split.
pub(in crate::state) async fn a_call_that_stops_its_rule_opens_all_of_its_alerts<S: StateStore>(store: &S) {
    let (token, rule) = (token(store).await, limited("r", 2, OnStorm::Disable));
    let first = record(store, &token, &rule, 0..7, START).await;
    assert_eq!((first.opened.len(), first.held), (7, 5));
    assert_eq!(record(store, &token, &rule, 7..9, START).await.opened.len(), 0);
}

fn lift(rule: &str, at: OffsetDateTime) -> Lift {
    Lift { rule_id: rule.into(), at, by: "ana\u{0}".into(), reason: "tuned".into() }
}

pub(in crate::state) async fn a_person_lets_a_stopped_rule_go_on<S: StateStore>(store: &S) {
    let (token, rule) = (token(store).await, limited("r", 3, OnStorm::Disable));
    assert!(!store.lift(&lift("r", START)).await.unwrap(), "nothing is in its way");
    assert_eq!(store.lifts(10).await.unwrap(), []);
    record(store, &token, &rule, 0..5, START).await;
    store.note(Fact::Stopped, "other", "v1", START).await.unwrap();
    assert!(store.lift(&lift("r", START)).await.unwrap());
    // In the same hour it has its whole limit once more, and is stopped again behind that.
    let more = record(store, &token, &rule, 5..8, START).await;
    assert_eq!((more.opened.len(), more.held), (3, 0));
    let more = record(store, &token, &rule, 8..9, START).await;
    assert_eq!((more.opened.len(), more.held), (1, 1));
    assert_eq!(record(store, &token, &rule, 9..10, START).await.opened.len(), 0);
    // What was held back is told all the same.
    let storms = store.storms().await.unwrap();
    assert_eq!((storms[0].opened, storms[0].held, storms[0].forgiven), (9, 3, 5));
    let stopped: Vec<String> = store.noted().await.unwrap().into_iter().map(|own| own.subject).collect();
    assert_eq!(stopped, ["other", "r"]);
    assert!(store.lift(&lift("other", START + Span::MINUTE)).await.unwrap());
    assert_eq!(store.lifts(10).await.unwrap(), [lift("other", START + Span::MINUTE), lift("r", START)]);
    assert_eq!(store.lifts(1).await.unwrap().len(), 1);
}

pub(in crate::state) async fn a_person_lets_what_is_held_back_go_out<S: StateStore>(store: &S) {
    let (token, rule) = (token(store).await, limited("r", 2, OnStorm::Digest));
    assert_eq!(record(store, &token, &rule, 0..5, START).await.held, 3);
    assert!(store.lift(&lift("r", START)).await.unwrap());
    assert!(!store.lift(&lift("r", START)).await.unwrap(), "once is enough");
    let facts = store.noted().await.unwrap();
    assert_eq!(stopped(&facts, &store.storms().await.unwrap(), START), [], "and it is listed no more");
    assert_eq!(record(store, &token, &rule, 5..8, START).await.held, 1);
    store.note(Fact::Trouble(Condition::RuleStopped), "slow", "it hung", START).await.unwrap();
    assert!(store.lift(&lift("slow", START)).await.unwrap());
    assert!(store.noted().await.unwrap().iter().all(|own| own.subject != "slow"));
}

/// Any number of daemons deliver together what the limit allows, and no more.
pub(in crate::state) async fn burst<S: StateStore>(stores: &[&S]) {
    const LIMIT: u64 = 37;
    let rule = limited("burst", LIMIT, OnStorm::Digest);
    let mut calls = Vec::new();
    for call in 0..12u16 {
        let store = stores[usize::from(call) % stores.len()];
        calls.push((store, claimed(store, &call.to_string(), START).await, call * 10..call * 10 + 10));
    }
    let work = calls.iter().map(|(store, token, numbers)| record(*store, token, &rule, numbers.clone(), START));
    let recorded = join_all(work).await;
    assert_eq!(recorded.iter().map(|one| one.opened.len()).sum::<usize>(), 120);
    assert_eq!(recorded.iter().map(|one| one.held).sum::<u64>(), 120 - LIMIT);
    let storms = stores[0].storms().await.unwrap();
    assert_eq!((storms[0].opened, storms[0].held), (120, 120 - LIMIT));
    assert_eq!(due(stores[0], START).await.len() as u64, LIMIT);
}

pub(in crate::state) async fn a_limit_holds_for_all_that_record_at_once<S: StateStore>(store: &S) {
    burst(&[store]).await;
}
