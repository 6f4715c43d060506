//! Events that are read again, at every point at which the first reading may have ended, and stores that are slow or down.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use proptest::prelude::*;
use time::OffsetDateTime;

use super::*;
use crate::lookup::Tables;
use crate::model::key_value::{Item, Operation};
use crate::model::{Alerting, Severity};
use crate::runtime::{Clock, SystemClock};
use crate::state::memory::MemoryState;

fn rules() -> Vec<Arc<RuleMeta>> {
    let rule = |id: &str| RuleMeta {
        id: id.into(),
        version: String::new(),
        display_name: String::new(),
        severity: Severity::Low,
        description: String::new(),
        reference: String::new(),
        runbook: String::new(),
        dedup_period_minutes: 60,
        threshold: 1,
        summary_attributes: Vec::new(),
        create_alert: true,
        tags: Vec::new(),
        reports: BTreeMap::new(),
        output_ids: Vec::new(),
        alerting: Alerting::default(),
    };
    vec![Arc::new(rule("first")), Arc::new(rule("second"))]
}

/// Of the events, a day apart.
fn event_time(event: u8) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + time::Duration::days(10_000 + i64::from(event))
}

/// A daemon's way to the store.
struct Daemon {
    key_values: KeyValues,
    telemetry: Telemetry,
    rules: Vec<Arc<RuleMeta>>,
    tables: Tables,
}

impl Daemon {
    fn over(store: Arc<dyn KeyValue>) -> Daemon {
        let key_values = KeyValues::new(store, Arc::new(SystemClock));
        Daemon { key_values, telemetry: Telemetry::new(), rules: rules(), tables: Tables::default() }
    }

    fn desk(&self, events: u8) -> Desk<'_> {
        Desk {
            key_values: &self.key_values,
            telemetry: &self.telemetry,
            object: ObjectId([7; 16]),
            rows: (0..events).map(|event| (RowId([event; 16]), event_time(event))).collect(),
            rules: &self.rules,
            lookups: Rows { tables: &self.tables, now: SystemClock.now() },
        }
    }
}

fn call(key: &str, operation: Operation) -> Call {
    Call { key: key.to_owned(), operation }
}

fn increment(key: &str) -> Call {
    call(key, Operation::IncrementCounter { by: 1, expires: None })
}

fn add(key: &str, string: &str) -> Call {
    call(key, Operation::AddToStringSet { strings: [string.to_owned()].into() })
}

/// What a rule does on an event: it looks before it changes anything, and sees what an earlier event has left; and it gets
/// answers that are too long to be remembered.
fn calls_on(event: u8) -> Vec<Call> {
    let event = event.to_string();
    let put = Operation::PutStringSet { strings: [event.clone()].into(), expires: None };
    vec![
        call("last", Operation::GetStringSet),
        call("last", put),
        increment("all"),
        call("all", Operation::GetCounter),
        add("long", &"x".repeat(700)),
        add("long", &"y".repeat(700)),
        call("all", Operation::EvaluateThreshold { threshold: 1000.0, expiry_seconds: 60.0 }),
    ]
}

/// Reads the events up to a number of calls; every answer.
async fn read(daemon: &Daemon, events: u8, mut most: usize) -> Vec<Answered> {
    let desk = daemon.desk(events);
    let mut calls = desk.calls();
    let mut answers = Vec::new();
    for event in 0..events {
        for rule in 0..2 {
            for call in calls_on(event) {
                if most == 0 {
                    return answers;
                }
                most -= 1;
                answers.push(calls.answer(event.into(), rule, &call).await.unwrap());
            }
        }
    }
    answers
}

#[tokio::test]
async fn an_event_that_is_read_again_is_told_the_same_wherever_the_first_reading_ended() {
    const EVENTS: u8 = 3;
    let all = EVENTS as usize * 2 * calls_on(0).len();
    let once = Daemon::over(Arc::new(MemoryState::new()));
    let expected = read(&once, EVENTS, all).await;
    for ends in 0..=all {
        let store = Arc::new(MemoryState::new());
        // As a worker or a daemon that dies, twice at different places.
        for ends in [ends, ends / 2] {
            let answers = read(&Daemon::over(store.clone()), EVENTS, ends).await;
            assert_eq!(answers, expected[..ends], "up to {ends}");
        }
        assert_eq!(read(&Daemon::over(store.clone()), EVENTS, all).await, expected, "after {ends}");
        for key in ["all", "last", "long"] {
            let kept = store.item(key).await.unwrap().map(|item| item.value);
            assert_eq!(kept, once.key_values.store.item(key).await.unwrap().map(|item| item.value), "after {ends}");
        }
    }
}

#[tokio::test]
async fn a_rule_that_goes_another_way_this_time_is_asked_anew_from_there() {
    let store = Arc::new(MemoryState::new());
    read(&Daemon::over(store.clone()), 1, 4).await;
    let daemon = Daemon::over(store.clone());
    let desk = daemon.desk(1);
    let mut calls = desk.calls();
    let first = calls_on(0);
    assert_eq!(calls.answer(0, 0, &first[0]).await.unwrap(), Ok(Answer::Strings(Default::default())));
    assert_eq!(calls.answer(0, 0, &increment("other")).await.unwrap(), Ok(Answer::Count(1)));
    assert_eq!(calls.answer(0, 0, &increment("all")).await.unwrap(), Ok(Answer::Count(2)));
    // What it did then is what is remembered.
    let desk = daemon.desk(1);
    let mut calls = desk.calls();
    calls.answer(0, 0, &first[0]).await.unwrap().unwrap();
    assert_eq!(calls.answer(0, 0, &increment("other")).await.unwrap(), Ok(Answer::Count(1)));
    assert_eq!(calls.answer(0, 0, &increment("all")).await.unwrap(), Ok(Answer::Count(2)));
    assert_eq!(calls.answer(0, 0, &increment("all")).await.unwrap(), Ok(Answer::Count(3)));
    let seen = |outcome| daemon.telemetry.metrics.key_value_calls_total.get(["increment_counter", outcome]);
    assert_eq!((seen("answered"), seen("remembered")), (3, 2));
}

#[tokio::test]
async fn two_daemons_that_read_the_same_object_count_it_once() {
    let store = Arc::new(MemoryState::new());
    let (one, other) = (Daemon::over(store.clone()), Daemon::over(store.clone()));
    let (one, other) = (one.desk(1), other.desk(1));
    let (mut one, mut other) = (one.calls(), other.calls());
    for _ in 0..3 {
        let counted = one.answer(0, 0, &increment("k")).await.unwrap();
        assert_eq!(other.answer(0, 0, &increment("k")).await.unwrap(), counted);
    }
    for call in [increment("k"), increment("k")] {
        let counted = other.answer(0, 0, &call).await.unwrap();
        assert_eq!(one.answer(0, 0, &call).await.unwrap(), counted);
    }
    assert_eq!(store.item("k").await.unwrap().unwrap().value.counter, Some(5));
}

proptest! {
    /// Of calls by two rules on few events, in any order of events and with any ends and repeats: each event counts once.
    #[test]
    fn each_event_counts_once_whatever_is_read_again(readings in prop::collection::vec((0..4u8, 0..9usize), 1..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let store = Arc::new(MemoryState::new());
            let mut told: BTreeMap<(u8, usize), Answered> = BTreeMap::new();
            for (event, most) in readings {
                let daemon = Daemon::over(store.clone());
                let desk = daemon.desk(4);
                let mut calls = desk.calls();
                for at in 0..most {
                    let answer = calls.answer(event.into(), 0, &increment(["a", "b"][at % 2])).await.unwrap();
                    assert_eq!(told.entry((event, at)).or_insert_with(|| answer.clone()), &answer);
                }
            }
            for (at, key) in ["a", "b"].into_iter().enumerate() {
                let counted = store.item(key).await.unwrap().and_then(|item| item.value.counter).unwrap_or(0);
                assert_eq!(counted as usize, told.keys().filter(|(_, call)| call % 2 == at).count());
            }
        });
    }
}

/// Loses answers: what it is asked has been done all the same.
#[derive(Default)]
struct Failing {
    inner: MemoryState,
    /// Errors to come.
    errors: AtomicU32,
    asked: Mutex<u32>,
}

impl Failing {
    fn lost<T>(&self, answer: T) -> Result<T, StateError> {
        *self.asked.lock().unwrap() += 1;
        let left = self.errors.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map_or(Ok(answer), |_| Err(StateError::Store("the answer was lost".into())))
    }
}

#[async_trait]
impl KeyValue for Failing {
    async fn item(&self, key: &str) -> Result<Option<Item>, StateError> {
        self.lost(self.inner.item(key).await?)
    }

    async fn change(
        &self,
        caller: &Caller<'_>,
        remember: Remember<'_>,
        call: &Call,
        now: OffsetDateTime,
    ) -> Result<Changed, StateError> {
        self.lost(self.inner.change(caller, remember, call, now).await?)
    }

    async fn recall(&self, caller: &Caller<'_>) -> Result<Vec<Told>, StateError> {
        self.lost(self.inner.recall(caller).await?)
    }

    async fn forget_items(&self, _: OffsetDateTime, _: OffsetDateTime, _: u32) -> Result<u64, StateError> {
        Ok(0)
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_for_a_moment_costs_a_moment_and_nothing_else() {
    let store = Arc::new(Failing::default());
    let daemon = Daemon::over(store.clone());
    let desk = daemon.desk(1);
    let mut calls = desk.calls();
    for expected in 1..5 {
        store.errors.store(4, Ordering::Relaxed);
        assert_eq!(calls.answer(0, 0, &increment("k")).await.unwrap(), Ok(Answer::Count(expected)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_down_ends_the_batch_and_says_why() {
    let store = Arc::new(Failing::default());
    store.errors.store(u32::MAX, Ordering::Relaxed);
    let daemon = Daemon::over(store.clone());
    let desk = daemon.desk(1);
    let mut calls = desk.calls();
    let started = Instant::now();
    let Err(WorkerError::Store(error)) = calls.answer(0, 0, &increment("k")).await else { panic!("it is down") };
    assert_eq!(started.elapsed(), PATIENCE);
    assert_eq!(error.to_string(), "a rule waited 30s for what it keeps: the answer was lost");
    assert!(*store.asked.lock().unwrap() < 100, "it is not asked without a pause");
    assert_eq!(daemon.telemetry.metrics.key_value_calls_total.get(["increment_counter", "failed"]), 1);
    // The patience is that of one event.
    let again = calls.answer(0, 0, &increment("k")).await;
    assert!(matches!(again, Err(WorkerError::Store(_))) && started.elapsed() == PATIENCE);
}

#[tokio::test]
async fn a_worker_that_asks_without_end_is_taken_for_broken() {
    let daemon = Daemon::over(Arc::new(TransientItems::default()));
    let desk = daemon.desk(2);
    let mut calls = desk.calls();
    for event in 0..2 {
        for _ in 0..MOST_CALLS {
            calls.answer(event, 1, &call("k", Operation::GetCounter)).await.unwrap().unwrap();
        }
    }
    let broken = calls.answer(1, 1, &call("k", Operation::GetCounter)).await;
    assert!(matches!(broken, Err(WorkerError::Died { calling: Some((1, 1)), .. })));
}

#[tokio::test]
async fn what_logs_of_long_ago_keep_ends_in_their_own_time() {
    let daemon = Daemon { key_values: KeyValues::in_time_of_events(), ..Daemon::over(Arc::new(MemoryState::new())) };
    let desk = daemon.desk(4);
    let mut calls = desk.calls();
    // For half a day, and the events are a day apart.
    let count = Call { key: "k".into(), operation: Operation::IncrementCounter { by: 1, expires: Some(43_200.0) } };
    let mut counts = Vec::new();
    for event in 0..4 {
        match calls.answer(event, 0, &count).await.unwrap().unwrap() {
            Answer::Count(count) => counts.push(count),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(counts, [1, 1, 1, 1]);
}
