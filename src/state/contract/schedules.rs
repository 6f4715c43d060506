//! A scheduled query has one run at a time, whose rows are those that were kept first.

use futures_util::future::join_all;
use time::{Duration, OffsetDateTime};

use super::LEASE;
use crate::state::fixtures::{START, object};
use crate::state::schedules::run_of;
use crate::state::{Claim, Conclusion, KeptRows, LastRun, ObjectOutcome, ObjectState, Planned, StateStore};

const QUERY: &str = "Root logins\u{0} '; --";

fn kept(text: &'static str) -> KeptRows {
    KeptRows { rows: text.as_bytes().into(), is_cut: text.len() > 3, at: START }
}

fn run(due: OffsetDateTime, error: Option<&str>) -> LastRun {
    let error = error.map(str::to_owned);
    LastRun { due, ended: due + Duration::MINUTE, rows: 3, is_cut: true, matches: 2, error }
}

async fn only<S: StateStore>(store: &S) -> Planned {
    let planned = store.planned().await.unwrap();
    let [planned] = planned.as_slice() else { panic!("one query is planned: {planned:?}") };
    planned.clone()
}

pub(in crate::state) async fn a_query_is_planned_once_and_anew_with_another_schedule<S: StateStore>(store: &S) {
    let (first, second) = (START + Duration::HOUR, START + Duration::HOUR * 2);
    store.plan(QUERY, "hourly", first, None).await.unwrap();
    let planned = only(store).await;
    let as_planned = (planned.due, planned.not_before, planned.tries, planned.failures, &planned.last);
    assert_eq!(as_planned, (first, first, 0, 0, &None));
    store.plan(QUERY, "hourly", second, None).await.unwrap();
    assert_eq!(only(store).await, planned);
    store.plan(QUERY, "daily", second, None).await.unwrap();
    assert_eq!((only(store).await.due, only(store).await.schedule.as_str()), (second, "daily"));
    store.plan("Another", "daily", first, None).await.unwrap();
    let names: Vec<String> = store.planned().await.unwrap().into_iter().map(|planned| planned.query).collect();
    assert_eq!(names, ["Another", QUERY]);
}

pub(in crate::state) async fn a_missed_run_is_replaced_unless_it_has_rows<S: StateStore>(store: &S) {
    let (missed, latest) = (START, START + Duration::HOUR);
    store.plan(QUERY, "hourly", missed, None).await.unwrap();
    store.plan(QUERY, "hourly", latest, Some(latest)).await.unwrap();
    assert_eq!(only(store).await.due, missed, "that is not the run which is next");
    store.plan(QUERY, "hourly", latest, Some(missed)).await.unwrap();
    assert_eq!(only(store).await.due, latest);
    store.keep_rows(QUERY, latest, Some(&kept("[1]"))).await.unwrap();
    store.plan(QUERY, "hourly", latest + Duration::HOUR, Some(latest)).await.unwrap();
    store.plan(QUERY, "daily", latest + Duration::DAY, None).await.unwrap();
    assert_eq!((only(store).await.due, only(store).await.schedule.as_str()), (latest, "hourly"));
    let ended = Conclusion::Ended { next: latest + Duration::HOUR, run: run(latest, None) };
    assert!(store.conclude(QUERY, latest, &ended).await.unwrap());
    store.plan(QUERY, "daily", latest + Duration::DAY, None).await.unwrap();
    assert_eq!((only(store).await.due, only(store).await.schedule.as_str()), (latest + Duration::DAY, "daily"));
}

pub(in crate::state) async fn the_rows_that_are_kept_first_stay_until_the_run_has_ended<S: StateStore>(store: &S) {
    let next = START + Duration::HOUR;
    assert_eq!(store.keep_rows(QUERY, START, Some(&kept("a"))).await.unwrap(), None);
    store.plan(QUERY, "hourly", START, None).await.unwrap();
    assert_eq!(store.keep_rows(QUERY, START, None).await.unwrap(), None);
    assert_eq!(store.keep_rows(QUERY, next, Some(&kept("a"))).await.unwrap(), None);
    assert_eq!(store.keep_rows(QUERY, START, Some(&kept("first"))).await.unwrap(), Some(kept("first")));
    assert_eq!(store.keep_rows(QUERY, START, Some(&kept("b"))).await.unwrap(), Some(kept("first")));
    let again = Conclusion::Again { not_before: next };
    assert!(store.conclude(QUERY, START, &again).await.unwrap());
    assert_eq!(store.keep_rows(QUERY, START, None).await.unwrap(), Some(kept("first")));
    let ended = Conclusion::Ended { next, run: run(START, None) };
    assert!(store.conclude(QUERY, START, &ended).await.unwrap());
    assert_eq!(store.keep_rows(QUERY, START, None).await.unwrap(), None);
    assert_eq!(store.keep_rows(QUERY, next, None).await.unwrap(), None);
    // A run without a row has no rows, which is another thing than not knowing them.
    assert_eq!(store.keep_rows(QUERY, next, Some(&kept(""))).await.unwrap(), Some(kept("")));
}

pub(in crate::state) async fn one_of_many_keeps_the_rows_and_one_ends_the_run<S: StateStore>(store: &S) {
    store.plan(QUERY, "hourly", START, None).await.unwrap();
    let both = [kept("one"), kept("another")];
    let found = join_all((0..8).map(|at| store.keep_rows(QUERY, START, Some(&both[at % 2])))).await;
    let found: Vec<_> = found.into_iter().map(Result::unwrap).collect();
    assert!(found.iter().all(|rows| rows.is_some() && *rows == found[0]), "{found:?}");
    let ended = Conclusion::Ended { next: START + Duration::HOUR, run: run(START, None) };
    let ended = join_all((0..8).map(|_| store.conclude(QUERY, START, &ended))).await;
    assert_eq!(ended.into_iter().filter(|ended| *ended.as_ref().unwrap()).count(), 1);
}

pub(in crate::state) async fn failures_are_counted_until_a_run_succeeds<S: StateStore>(store: &S) {
    let times: Vec<OffsetDateTime> = (0..4).map(|hour| START + Duration::HOUR * hour).collect();
    store.plan(QUERY, "hourly", times[0], None).await.unwrap();
    let retry = times[0] + Duration::MINUTE;
    let again = Conclusion::Again { not_before: retry };
    assert!(store.conclude(QUERY, times[0], &again).await.unwrap());
    let planned = only(store).await;
    assert_eq!((planned.due, planned.tries, planned.not_before, planned.failures), (times[0], 1, retry, 0));
    for (at, error, failures) in [(0, Some("no table"), 1), (1, Some("too slow"), 2), (2, None, 0)] {
        let last = run(times[at], error);
        let ended = Conclusion::Ended { next: times[at + 1], run: last.clone() };
        assert!(store.conclude(QUERY, times[at], &ended).await.unwrap());
        assert!(!store.conclude(QUERY, times[at], &ended).await.unwrap(), "it is over");
        let planned = only(store).await;
        assert_eq!((planned.due, planned.tries, planned.not_before), (times[at + 1], 0, times[at + 1]));
        assert_eq!((planned.failures, planned.last), (failures, Some(last)));
    }
    assert!(!store.conclude("nobody's", START, &again).await.unwrap());
}

pub(in crate::state) async fn old_runs_are_forgotten_and_no_object<S: StateStore>(store: &S) {
    let outcome =
        ObjectOutcome { state: ObjectState::Committed, reason: String::new(), events: 1, rejects: 0, bytes: 1 };
    let runs: Vec<_> = (0..4).map(|hour| run_of(QUERY, START + Duration::HOUR * hour)).collect();
    for (at, claimed) in runs.iter().chain([&object("key")]).enumerate() {
        let now = START + Duration::MINUTE * i32::try_from(at).unwrap();
        let Claim::Granted(token, _) = store.claim(claimed, "", None, now, now + LEASE).await.unwrap() else {
            panic!("{claimed} is new");
        };
        match at {
            // Given up, and never tried again.
            1 => store.release(&token, "query", "", now).await.unwrap(),
            _ => store.finish(&token, &outcome, now).await.unwrap(),
        }
    }
    let before = START + Duration::MINUTE * 3;
    assert_eq!(store.forget_runs(before, 2).await.unwrap(), 2);
    assert_eq!(store.forget_runs(before, 2).await.unwrap(), 1);
    assert_eq!(store.forget_runs(before, 2).await.unwrap(), 0);
    assert_eq!(store.outcome(runs[2].id()).await.unwrap(), None);
    assert_eq!(store.outcome(runs[3].id()).await.unwrap(), Some(outcome.clone()));
    assert_eq!(store.forget_runs(START + Duration::DAY, 9).await.unwrap(), 1);
    assert_eq!(store.outcome(object("key").id()).await.unwrap(), Some(outcome));
}
