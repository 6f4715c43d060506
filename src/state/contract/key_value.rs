//! What rules keep between events: applied once, one call after the other, within bounds, and told again to a rule that
//! sees an event again.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use time::{Duration, OffsetDateTime};

use super::claimed;
use crate::model::key_value::{Answer, Call, Items, MOST_ITEM_BYTES, MOST_RULE_BYTES, Operation, Refusal};
use crate::model::{ObjectId, RowId};
use crate::state::fixtures::START;
use crate::state::{Caller, Changed, ObjectOutcome, ObjectState, Remember, StateStore, Told};

const NOTHING: Remember<'static> = Remember { known: 0, keep: 0, told: &[] };

fn call(key: &str, operation: Operation) -> Call {
    Call { key: key.to_owned(), operation }
}

fn increment(key: &str) -> Call {
    call(key, Operation::IncrementCounter { by: 1, expires: None })
}

fn set(strings: &[&str]) -> BTreeSet<String> {
    strings.iter().map(|one| (*one).to_owned()).collect()
}

fn row(number: u64) -> RowId {
    RowId::new(ObjectId([1; 16]), number, 0)
}

fn caller(rule: &str, number: u64) -> Caller<'_> {
    Caller { object: ObjectId([1; 16]), row: row(number), rule }
}

async fn changed<S: StateStore>(
    store: &S,
    caller: &Caller<'_>,
    remember: Remember<'_>,
    call: &Call,
    now: OffsetDateTime,
) -> Result<Answer, Refusal> {
    match store.change(caller, remember, call, now).await.unwrap() {
        Changed::Answered(answer) => answer,
        Changed::Overtaken => panic!("{call:?} was overtaken"),
    }
}

async fn counter<S: StateStore>(store: &S, key: &str) -> Option<i64> {
    store.item(key).await.unwrap().and_then(|item| item.value.counter)
}

/// Random calls for few keys at times that go on, also by way of expiry: the store answers as the pure items do.
pub(in crate::state) async fn calls_are_applied_as_the_model_applies_them<S: StateStore>(store: &S) {
    let strings = || prop::collection::btree_set("[a-c\0\u{10ffff}']{0,2}", 0..4);
    let expires = || prop::option::of(prop_oneof![-10.0..100.0, Just(1.0), Just(1_767_323_100.0)]);
    let operation = prop_oneof![
        Just(Operation::GetCounter),
        Just(Operation::GetStringSet),
        Just(Operation::GetDictionary),
        Just(Operation::ResetCounter),
        Just(Operation::ResetStringSet),
        (-3..9i64, expires()).prop_map(|(by, expires)| Operation::IncrementCounter { by, expires }),
        expires().prop_map(|expires| Operation::SetExpiration { expires }),
        (1.0..4.0, 1.0..60.0)
            .prop_map(|(threshold, expiry_seconds)| Operation::EvaluateThreshold { threshold, expiry_seconds }),
        (strings(), expires()).prop_map(|(strings, expires)| Operation::PutStringSet { strings, expires }),
        strings().prop_map(|strings| Operation::AddToStringSet { strings }),
        strings().prop_map(|strings| Operation::RemoveFromStringSet { strings }),
        ("[{}\"\0é]{0,9}", expires()).prop_map(|(json, expires)| Operation::PutDictionary { json, expires }),
    ];
    let step = ("[ab\0]{1,2}", operation, 0..20i64, 0..2usize);
    let mut runner = TestRunner::deterministic();
    let steps = prop::collection::vec(step, 300).new_tree(&mut runner).unwrap().current();
    let (mut model, mut now) = (Items::default(), START);
    for (number, (key, operation, seconds, rule)) in (0..).zip(steps) {
        now += Duration::seconds(seconds);
        let (call, rule) = (call(&key, operation), ["r1", "r2"][rule]);
        let answer = changed(store, &caller(rule, number), NOTHING, &call, now).await;
        assert_eq!(answer, model.call(rule, &call, now), "step {number}: {call:?}");
        assert_eq!(store.item(&key).await.unwrap().as_ref(), model.get(&key), "step {number}: {call:?}");
    }
}

pub(in crate::state) async fn counts_at_once_are_each_another<S: StateStore>(store: &S) {
    spread(&[store]).await;
}

/// Several rules on several stores count for the same keys at once: no two get the same number, and none is left out.
pub(in crate::state) async fn spread<S: StateStore>(stores: &[&S]) {
    const CALLS: u64 = 60;
    let calls = (0..CALLS).map(|number| async move {
        let (key, rule) = (format!("k{}", number % 2), format!("r{}", number % 3));
        let store = stores[number as usize % stores.len()];
        let answer = changed(store, &caller(&rule, number), NOTHING, &increment(&key), START).await;
        let Ok(Answer::Count(count)) = answer else { panic!("{answer:?}") };
        (key, count)
    });
    let mut counts: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for (key, count) in join_all(calls).await {
        counts.entry(key).or_default().push(count);
    }
    for (key, mut counts) in counts {
        counts.sort_unstable();
        assert!(counts.iter().copied().eq(1..=CALLS as i64 / 2), "{key}: {counts:?}");
    }
}

pub(in crate::state) async fn a_threshold_is_reached_by_one_of_many<S: StateStore>(store: &S) {
    let threshold = call("t", Operation::EvaluateThreshold { threshold: 10.0, expiry_seconds: 60.0 });
    let threshold = &threshold;
    let calls = (0..35).map(|number| async move {
        changed(store, &caller("r", number), NOTHING, threshold, START).await == Ok(Answer::Reached(true))
    });
    let reached = join_all(calls).await.into_iter().filter(|reached| *reached).count();
    assert_eq!((reached, counter(store, "t").await), (3, Some(5)));
}

pub(in crate::state) async fn a_call_is_remembered_with_what_came_before_it<S: StateStore>(store: &S) {
    let (one, other) = (caller("r", 1), caller("s", 1));
    assert_eq!(store.recall(&one).await.unwrap(), []);
    let look = call("k\0", Operation::GetStringSet);
    let looked = Told::new(&look, &Ok(Answer::Strings(set(&["\0", "é"]))));
    let refused = Told::new(&look, &Err(Refusal::Limit("a\u{10ffff}\nb".into())));
    let remember = Remember { known: 0, keep: 0, told: &[looked.clone(), refused.clone()] };
    assert_eq!(changed(store, &one, remember, &increment("k"), START).await, Ok(Answer::Count(1)));
    let first = Told::new(&increment("k"), &Ok(Answer::Count(1)));
    assert_eq!(store.recall(&one).await.unwrap(), [looked.clone(), refused.clone(), first.clone()]);
    assert_eq!(store.recall(&other).await.unwrap(), []);

    let remember = Remember { known: 3, keep: 3, told: std::slice::from_ref(&looked) };
    changed(store, &one, remember, &increment("k"), START).await.unwrap();
    let second = Told::new(&increment("k"), &Ok(Answer::Count(2)));
    assert_eq!(store.recall(&one).await.unwrap(), [looked.clone(), refused, first, looked.clone(), second]);
    // It went another way.
    let remember = Remember { known: 5, keep: 0, told: std::slice::from_ref(&looked) };
    changed(store, &one, remember, &increment("k"), START).await.unwrap();
    let third = Told::new(&increment("k"), &Ok(Answer::Count(3)));
    assert_eq!(store.recall(&one).await.unwrap(), [looked, third]);
}

pub(in crate::state) async fn who_does_not_know_of_every_call_is_overtaken<S: StateStore>(store: &S) {
    let one = caller("r", 1);
    let calls = (0..8).map(|_| store.change(&one, NOTHING, &SAME, START));
    let said: Vec<Changed> = join_all(calls).await.into_iter().map(|changed| changed.unwrap()).collect();
    let answered = said.iter().filter(|said| **said != Changed::Overtaken).count();
    assert_eq!((answered, counter(store, "k").await), (1, Some(1)), "{said:?}");
    let call = increment("k");
    for known in [0, 2] {
        let remember = Remember { known, ..NOTHING };
        assert_eq!(store.change(&one, remember, &call, START).await.unwrap(), Changed::Overtaken);
    }
    let unknown = Remember { known: 1, ..NOTHING };
    assert_eq!(store.change(&caller("r", 2), unknown, &call, START).await.unwrap(), Changed::Overtaken);
    assert_eq!(counter(store, "k").await, Some(1));
}

static SAME: std::sync::LazyLock<Call> = std::sync::LazyLock::new(|| increment("k"));

pub(in crate::state) async fn calls_are_forgotten_when_their_object_has_ended<S: StateStore>(store: &S) {
    let token = claimed(store, "key", START).await;
    let (of_it, of_another) = (Caller { object: token.object, row: row(1), rule: "r" }, caller("r", 1));
    for caller in [&of_it, &of_another] {
        changed(store, caller, NOTHING, &increment("k"), START).await.unwrap();
    }
    let ended = |state| ObjectOutcome::without_events(state, "");
    store.finish(&token, &ended(ObjectState::Partial), START).await.unwrap();
    assert_eq!(store.recall(&of_it).await.unwrap().len(), 1, "it is read again");
    let token = claimed(store, "key", START + Duration::HOUR).await;
    store.finish(&token, &ended(ObjectState::Committed), START + Duration::HOUR).await.unwrap();
    assert_eq!(store.recall(&of_it).await.unwrap(), []);
    assert_eq!(store.recall(&of_another).await.unwrap().len(), 1);
    assert_eq!(counter(store, "k").await, Some(2));
}

pub(in crate::state) async fn what_has_ended_and_old_calls_are_forgotten_in_batches<S: StateStore>(store: &S) {
    for number in 0..5u64 {
        let expires = Some(10.0 + number as f64);
        let call = call(&format!("k{number}"), Operation::IncrementCounter { by: 1, expires });
        let now = START + Duration::seconds(number as i64) * 100;
        changed(store, &caller("r", number), NOTHING, &call, now).await.unwrap();
    }
    let never = START - Duration::DAY;
    let at = START + Duration::seconds(220);
    assert_eq!(store.forget_items(at, never, 2).await.unwrap(), 2);
    assert_eq!(store.forget_items(at, never, 2).await.unwrap(), 1);
    assert_eq!(store.forget_items(at, never, 2).await.unwrap(), 0);
    assert_eq!((counter(store, "k2").await, counter(store, "k3").await), (None, Some(1)));

    assert_eq!(store.forget_items(never, at, 2).await.unwrap(), 2);
    assert_eq!(store.forget_items(never, at, 2).await.unwrap(), 1);
    assert_eq!(store.forget_items(never, at, 2).await.unwrap(), 0);
    assert_eq!(store.recall(&caller("r", 2)).await.unwrap(), []);
    assert_eq!(store.recall(&caller("r", 3)).await.unwrap().len(), 1);
}

pub(in crate::state) async fn a_rule_that_keeps_too_much_is_refused_until_it_keeps_less<S: StateStore>(store: &S) {
    let large = |key: String, end: f64| {
        let json = "x".repeat(MOST_ITEM_BYTES);
        call(&key, Operation::PutDictionary { json, expires: Some(end) })
    };
    let fitting = MOST_RULE_BYTES / (MOST_ITEM_BYTES as u64 + 300);
    for number in 0..fitting {
        changed(store, &caller("r", number), NOTHING, &large(number.to_string(), 60.0), START).await.unwrap();
    }
    let more = large("more".into(), 3600.0);
    for _ in 0..2 {
        let refused = changed(store, &caller("r", 1000), NOTHING, &more, START).await;
        assert!(matches!(&refused, Err(Refusal::Limit(said)) if said.contains("the keys of this rule")), "{refused:?}");
    }
    assert_eq!(store.item("more").await.unwrap(), None);
    assert_eq!(store.recall(&caller("r", 1000)).await.unwrap(), [], "a refusal is not remembered by itself");
    // Another has room, and takes over what it replaces.
    changed(store, &caller("s", 1), NOTHING, &large("0".into(), 61.0), START).await.unwrap();
    changed(store, &caller("r", 1001), NOTHING, &more, START).await.unwrap();
    let again = large("again".into(), 60.0);
    assert!(changed(store, &caller("r", 1002), NOTHING, &again, START).await.is_err());
    // What it has may be counted up and made smaller.
    changed(store, &caller("r", 1003), NOTHING, &increment("1"), START).await.unwrap();
    let less = call("1", Operation::PutDictionary { json: "{}".into(), expires: Some(60.0) });
    changed(store, &caller("r", 1004), NOTHING, &less, START).await.unwrap();
    changed(store, &caller("r", 1005), NOTHING, &again, START).await.unwrap();
    // What has ended is no longer charged when it is forgotten.
    let later = START + Duration::HOUR - Duration::SECOND;
    while store.forget_items(later, START - Duration::DAY, 50).await.unwrap() > 0 {}
    for number in 0..fitting - 1 {
        let call = large(format!("new {number}"), 60.0);
        changed(store, &caller("r", 2000 + number), NOTHING, &call, later).await.unwrap();
    }
    assert!(changed(store, &caller("r", 3000), NOTHING, &large("last".into(), 60.0), later).await.is_err());
}
