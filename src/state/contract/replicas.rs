//! Many daemons at once: whatever order their work comes in, the alerts are those of its sum.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::join_all;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use time::Duration;

use super::claimed;
use crate::model::{AlertKind, Match, Receiver, RowId, RuleMeta};
use crate::state::fixtures::{START, fault, matched, rule};
use crate::state::window::GroupKey;
use crate::state::{AlertFilter, StateStore};

/// One hit: which object, row of it, rule and dedup string, and the unique value, if the rule has those.
type Drawn = (u8, u8, usize, u8, u8);

/// Rules of a case: a plain one, one with a threshold, one that counts unique values.
fn rules(case: usize) -> [Arc<RuleMeta>; 3] {
    let of = |name: &str, threshold| Arc::new(RuleMeta { threshold, ..rule(&format!("{case} {name}")) });
    [of("plain", 1), of("threshold", 4), of("unique", 3)]
}

fn hit(rules: &[Arc<RuleMeta>; 3], (object, row, which, dedup, value): Drawn) -> Match {
    let mut found = matched(&rules[which], row);
    found.row_id = RowId([object, row, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    found.log_type = format!("Type.{}", row % 3).into();
    // What a rule says of a row is a function of the row.
    found.detail.dedup = ((dedup ^ row) % 3).to_string();
    found.detail.unique = (which == 2).then(|| (value % 5).to_string());
    found
}

/// What must come of the hits: events and log types by rule and dedup string, for those at their threshold.
fn expected(hits: &BTreeMap<(usize, RowId), Match>) -> BTreeMap<String, (u64, Vec<String>)> {
    let mut groups: BTreeMap<(usize, &str), Vec<&Match>> = BTreeMap::new();
    for ((which, _), found) in hits {
        groups.entry((*which, &found.detail.dedup)).or_default().push(found);
    }
    let alert = |((_, dedup), found): ((usize, &str), Vec<&Match>)| {
        let values: BTreeSet<_> = found.iter().filter_map(|found| found.detail.unique.as_ref()).collect();
        let count = if values.is_empty() { found.len() } else { values.len() } as u64;
        let log_types: BTreeSet<String> = found.iter().map(|found| found.log_type.to_string()).collect();
        let key = GroupKey { rule_id: found[0].rule.id.clone(), kind: AlertKind::Rule, dedup: dedup.to_owned() };
        (count >= found[0].rule.threshold)
            .then(|| (key.alert_id(1), (count, log_types.into_iter().collect::<Vec<_>>())))
    };
    groups.into_iter().filter_map(alert).collect()
}

/// Random hits over a few objects, each object with a store of its own, each in calls that overlap and repeat each other, all
/// at once.
pub(in crate::state) async fn spread<S: StateStore>(stores: &[&S]) {
    const OBJECTS: u8 = 6;
    let drawn = prop::collection::vec((0..OBJECTS, 0..12u8, 0..3usize, 0..3u8, 0..5u8), 1..120);
    let mut runner = TestRunner::deterministic();
    for case in 0..12 {
        let rules = rules(case);
        let mut hits: BTreeMap<(usize, RowId), Match> = BTreeMap::new();
        let mut calls: Vec<Vec<Match>> = vec![Vec::new(); OBJECTS.into()];
        for drawn in drawn.new_tree(&mut runner).unwrap().current() {
            let found = hit(&rules, drawn);
            let found = hits.entry((drawn.2, found.row_id)).or_insert(found);
            calls[usize::from(drawn.0)].push(found.clone());
        }
        let to = ["stdout", "slack"].map(Receiver::accepting_all);
        let mut tokens = Vec::new();
        for object in 0..OBJECTS {
            let store = stores[usize::from(object) % stores.len()];
            tokens.push((store, claimed(store, &format!("{case} {object}"), START).await));
        }
        let work = tokens.iter().zip(&calls).flat_map(|((store, token), found)| {
            let halves = [&found[..], &found[found.len() / 2..], &found[..found.len() / 2]];
            let to = &to;
            halves.map(|half| async move {
                let detections = crate::state::fixtures::matches(half.iter().cloned());
                store.record(token, &detections, to, START).await.unwrap()
            })
        });
        let recorded = join_all(work).await;
        let expected = expected(&hits);
        let matches: u64 = recorded.iter().map(|recorded| recorded.matches).sum();
        assert_eq!(matches, hits.len() as u64, "case {case}: each match is new once");
        let mut opened: Vec<_> =
            recorded.into_iter().flat_map(|recorded| recorded.opened).map(|alert| alert.id).collect();
        opened.sort();
        assert!(opened.iter().eq(expected.keys()), "case {case}: each alert is opened once: {opened:?}");
        let mut found = BTreeMap::new();
        for rule in &rules {
            let filter = AlertFilter { rule_id: Some(rule.id.to_string()), ..AlertFilter::default() };
            for alert in stores[0].alerts(&filter).await.unwrap() {
                let sent: Vec<&str> = alert.delivery_responses.iter().map(|sent| &*sent.destination_id).collect();
                assert_eq!(sent, ["slack", "stdout"], "case {case}");
                found.insert(alert.id, (alert.event_count, alert.log_types));
            }
        }
        assert_eq!(found, expected, "case {case}");
    }
}

pub(in crate::state) async fn any_order_and_any_repeats_at_once_give_the_same_alerts<S: StateStore>(store: &S) {
    spread(&[store]).await;
}

/// Windows that end while several write: each time opens one alert, and errors go beside matches.
pub(in crate::state) async fn concurrent_windows_follow_one_another<S: StateStore>(store: &S) {
    let rule = Arc::new(rule("r"));
    let mut tokens = Vec::new();
    for object in 0..4u8 {
        tokens.push(claimed(store, &object.to_string(), START).await);
    }
    for hours in 0..3 {
        let now = START + Duration::HOUR * (hours * 2);
        let work = tokens.iter().zip(0..4u8).map(|(token, object)| {
            let mut found = matched(&rule, object);
            found.row_id = RowId([object * 16 + hours as u8; 16]);
            let mut failed = fault(&rule, object);
            failed.row_id = found.row_id;
            let detections =
                crate::model::Detections { matches: vec![found], faults: vec![failed], ..Default::default() };
            async move { store.record(token, &detections, &[], now).await.unwrap() }
        });
        let opened: usize = join_all(work).await.iter().map(|recorded| recorded.opened.len()).sum();
        assert_eq!(opened, 2, "one alert of matches and one of errors in window {hours}");
    }
    let alerts = store.alerts(&AlertFilter::default()).await.unwrap();
    assert_eq!(alerts.iter().map(|alert| alert.event_count).collect::<Vec<_>>(), [4; 6]);
}
