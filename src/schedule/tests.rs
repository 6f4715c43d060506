//! Runs over the real store of the state, a lake in memory and the real queries. Rules run in other processes and have their
//! stories in the integration tests; here every row matches.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use time::macros::datetime;

use super::rows::LOG_TYPE;
use super::*;
use crate::detect::{Engine, content};
use crate::lake::Lake;
use crate::lake::committer::{Committer, Limits};
use crate::lake::families::{RULE_MATCHES, SIGNALS};
use crate::lake::memory::{Call, Fault, MemoryCatalog};
use crate::model::{Detections, EventBatch, Match};
use crate::pipeline::tests::pipeline_of;
use crate::runtime::{Clock, SharedClock};
use crate::search::dry::DryTables;
use crate::search::queries::{Filter, Origin};
use crate::search::saved::Saved;
use crate::search::{self, Search};
use crate::state::sqlite::SqliteStore;
use crate::state::{AlertFilter, AlertStore, KeptRows, Ledger, ObjectState, Schedules, SqliteConfig, fixtures, run_of};
use crate::telemetry::Telemetry;

const DUE: OffsetDateTime = datetime!(2026-01-15 12:00 UTC);
const HOUR: time::Duration = time::Duration::HOUR;

struct At(Mutex<OffsetDateTime>);

impl Clock for At {
    fn now(&self) -> OffsetDateTime {
        *self.0.lock().unwrap()
    }
}

/// What outlives daemons.
struct World {
    state: Arc<SqliteStore>,
    catalog: Arc<MemoryCatalog>,
    clock: Arc<At>,
    folder: tempfile::TempDir,
}

struct Daemon {
    scheduler: Scheduler,
    lake: Arc<Committer<MemoryCatalog>>,
    telemetry: Telemetry,
    _search: tempfile::TempDir,
}

/// An hourly query, and a rule over its rows.
fn write_rules(folder: &std::path::Path, sql: &str) {
    let query =
        "AnalysisType: scheduled_query\nQueryName: Q\nEnabled: true\nSchedule: {RateMinutes: 60, TimeoutMinutes: 1}\n";
    std::fs::write(folder.join("q.yml"), format!("{query}Query: \"{sql}\"\n")).unwrap();
    let rule = "AnalysisType: scheduled_rule\nRuleID: R\nEnabled: true\nSeverity: Low\nScheduledQueries: [Q]\n\
                Detection: [{Key: a, Condition: Exists}]\n";
    std::fs::write(folder.join("r.yml"), rule).unwrap();
}

impl World {
    async fn new(sql: &str) -> World {
        let folder = tempfile::tempdir().unwrap();
        write_rules(folder.path(), sql);
        let state = SqliteStore::open(&SqliteConfig { path: folder.path().join("margay.db") }).await.unwrap();
        let clock = Arc::new(At(Mutex::new(DUE - HOUR / 2)));
        let world = World { state: Arc::new(state), catalog: Arc::new(MemoryCatalog::new()), clock, folder };
        // Planned half an hour before its first time.
        world.daemon().await.scheduler.look(&mut None).await.unwrap();
        assert_eq!(world.planned().await.due, DUE);
        world.set(DUE);
        world
    }

    fn set(&self, now: OffsetDateTime) {
        *self.clock.0.lock().unwrap() = now;
    }

    async fn planned(&self) -> Planned {
        self.state.planned().await.unwrap().remove(0)
    }

    async fn daemon(&self) -> Daemon {
        self.daemon_that(|| {}).await
    }

    /// Calls back whenever its rules are asked.
    async fn daemon_that(&self, asked: impl Fn() + Send + Sync + 'static) -> Daemon {
        let clock: SharedClock = self.clock.clone();
        let limits = Limits { retries: 0, ..Limits::default() };
        let lake = Committer::new(self.catalog.clone(), self.state.clone(), clock.clone(), Telemetry::new(), limits);
        let lake = Arc::new(lake);
        let rule = Arc::new(fixtures::rule("R"));
        let found = move |batch: &EventBatch| {
            asked();
            let matches = batch.events.iter().map(|event| Match {
                row_id: event.row_id,
                log_type: event.log_type.clone(),
                event_time: event.time,
                ..fixtures::matched(&rule, 1)
            });
            Ok(Detections { matches: matches.collect(), ..Detections::default() })
        };
        let engine = Engine::evaluating_for(content::read(&[self.folder.path().into()]), found);
        let mut pipeline = pipeline_of(self.state.clone(), clock.clone());
        (pipeline.lake, pipeline.engine) = (lake.clone(), engine);
        let telemetry = pipeline.telemetry.clone();
        let registry = crate::logtype::Registry::default();
        let search_folder = tempfile::tempdir().unwrap();
        let config = search::Config { threads: 1, path: search_folder.path().to_owned(), ..search::Config::default() };
        let search = Search::new(Arc::new(DryTables::new("margay_", registry.schemas())), config.limits());
        let saved = Saved::new(Vec::new);
        let queries = Queries::open(&config, search, saved, clock, telemetry.clone()).await.unwrap();
        let scheduler = Scheduler { pipeline: Arc::new(pipeline), queries, most_rows: 4 };
        Daemon { scheduler, lake, telemetry, _search: search_folder }
    }

    /// Row ids that the rule has matched, in the store of the state and in the lake.
    async fn matched(&self) -> (u64, Vec<crate::model::RowId>) {
        let alerts = self.state.alerts(&AlertFilter::default()).await.unwrap();
        assert!(alerts.len() <= 1, "{alerts:?}");
        let signals = self.catalog.row_ids_of(&SIGNALS);
        let in_lake: Vec<_> = self.catalog.rows(&RULE_MATCHES.table(LOG_TYPE)).iter().map(|row| row.row_id).collect();
        assert_eq!(signals.len(), in_lake.len());
        (alerts.first().map_or(0, |alert| alert.event_count), in_lake)
    }
}

impl Daemon {
    /// One look, and one try of what is due.
    async fn turn(&self) {
        let due = self.scheduler.look(&mut None).await.unwrap();
        let commits = async {
            loop {
                let _ = self.lake.flush().await;
                tokio::task::yield_now().await;
            }
        };
        let end = CancellationToken::new();
        let tries = async {
            for (query, planned) in due {
                self.scheduler.one(query, planned, end.clone()).await;
            }
        };
        tokio::select! {
            () = tries => {}
            () = commits => {}
        }
    }
}

/// The death of a daemon at one of the calls that it makes while rules run and their finds become durable.
#[derive(Clone)]
struct Death {
    left: Arc<AtomicU32>,
    came: CancellationToken,
}

impl Death {
    fn at(call: u32) -> Death {
        Death { left: Arc::new(AtomicU32::new(call)), came: CancellationToken::new() }
    }

    fn called(&self) {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.came.cancel();
        }
    }
}

fn unique(ids: &[crate::model::RowId]) -> usize {
    ids.iter().collect::<BTreeSet<_>>().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_finds_rows_and_its_rule_counts_each() {
    let world = World::new("SELECT a, p_current_timestamp() AS at FROM (VALUES (1), (2), (2)) AS t(a)").await;
    let daemon = world.daemon().await;
    world.set(DUE + time::Duration::seconds(7));
    daemon.turn().await;
    let (counted, in_lake) = world.matched().await;
    assert_eq!((counted, in_lake.len(), unique(&in_lake)), (3, 3, 3));
    let row = &world.catalog.rows(&RULE_MATCHES.table(LOG_TYPE))[0].fields;
    let text = |key: &str| row.get(key).and_then(crate::model::Value::as_str).unwrap_or_default().to_owned();
    assert_eq!((text("at").as_str(), text("p_query_name").as_str()), ("2026-01-15 12:00:00.000000000", "Q"));
    let planned = world.planned().await;
    assert_eq!((planned.due, planned.tries, planned.failures), (DUE + HOUR, 0, 0));
    let last = planned.last.unwrap();
    assert_eq!((last.due, last.rows, last.matches, last.is_cut, last.error), (DUE, 3, 3, false, None));
    let outcome = world.state.outcome(run_of("Q", DUE).id()).await.unwrap().unwrap();
    assert_eq!((outcome.state, outcome.events), (ObjectState::Committed, 3));
    let asked = daemon.scheduler.queries.list(&Filter { limit: 9, ..Filter::default() });
    assert_eq!((asked.len(), asked[0].origin, asked[0].name.as_deref()), (1, Origin::Scheduled, Some("Q")));
    assert_eq!(daemon.telemetry.metrics.scheduled_runs_total.get(["succeeded"]), 1);
    // Nothing is due any more.
    daemon.turn().await;
    assert_eq!(world.matched().await.0, 3);
}

/// Every answer to this query is another one.
const EVER_NEW: &str = "SELECT random() AS a FROM (VALUES (1), (2)) AS t(b)";

#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_run_is_broken_off_another_ends_it_and_nothing_counts_twice() {
    let mut call = 0;
    loop {
        let world = World::new(EVER_NEW).await;
        call += 1;
        let death = Death::at(call);
        let (at_catalog, at_rules) = (death.clone(), death.clone());
        world.catalog.inject(move |_, _| {
            at_catalog.called();
            Fault::None
        });
        let daemon = world.daemon_that(move || at_rules.called()).await;
        let died = tokio::select! {
            biased;
            () = death.came.cancelled() => true,
            () = daemon.turn() => false,
        };
        drop(daemon);
        world.catalog.inject(|_, _| Fault::None);
        world.set(DUE + time::Duration::MINUTE);
        world.daemon().await.turn().await;
        let (counted, in_lake) = world.matched().await;
        assert_eq!((counted, in_lake.len(), unique(&in_lake)), (2, 2, 2), "broken off at call {call}");
        let planned = world.planned().await;
        assert_eq!((planned.due, planned.last.unwrap().matches), (DUE + HOUR, 2), "broken off at call {call}");
        if !died {
            break;
        }
    }
    assert!(call > 6, "rules are asked, and two tables are loaded, staged and committed: {call}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_daemons_one_runs_it() {
    let world = World::new(EVER_NEW).await;
    let daemons = [world.daemon().await, world.daemon().await, world.daemon().await];
    futures_util::future::join_all(daemons.iter().map(Daemon::turn)).await;
    let (counted, in_lake) = world.matched().await;
    assert_eq!((counted, in_lake.len()), (2, 2));
    let ended = daemons.iter().map(|daemon| daemon.telemetry.metrics.scheduled_runs_total.get(["succeeded"]));
    assert_eq!(ended.sum::<u64>(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_fails_is_tried_again_with_the_same_rows() {
    let world = World::new(EVER_NEW).await;
    world.catalog.inject_next(Call::Commit, [Fault::LoseAnswer]);
    world.daemon().await.turn().await;
    let planned = world.planned().await;
    assert_eq!((planned.due, planned.tries, planned.last), (DUE, 1, None));
    assert!(planned.not_before > DUE);
    let daemon = world.daemon().await;
    daemon.turn().await;
    assert_eq!(world.planned().await.tries, 1, "not before its time");
    world.set(planned.not_before);
    daemon.turn().await;
    let (counted, in_lake) = world.matched().await;
    assert_eq!((counted, in_lake.len(), unique(&in_lake)), (2, 2, 2));
    assert_eq!(world.planned().await.last.unwrap().matches, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_times_are_made_up_for_by_one_run_for_the_last_of_them() {
    let world = World::new("SELECT p_current_timestamp() AS a").await;
    world.set(DUE + HOUR * 5 + time::Duration::MINUTE);
    let daemon = world.daemon().await;
    daemon.turn().await;
    assert_eq!((world.planned().await.due, world.planned().await.last), (DUE + HOUR * 5, None));
    daemon.turn().await;
    daemon.turn().await;
    let planned = world.planned().await;
    assert_eq!((planned.due, planned.last.unwrap().due), (DUE + HOUR * 6, DUE + HOUR * 5));
    let rows = world.catalog.rows(&RULE_MATCHES.table(LOG_TYPE));
    let at = rows[0].fields.get("a").and_then(crate::model::Value::as_str);
    assert_eq!((rows.len(), at), (1, Some("2026-01-15 17:00:00.000000000")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_fails_is_tried_again_and_then_told() {
    let world = World::new("SELECT a FROM no_such_table").await;
    let daemon = world.daemon().await;
    for tries in 1..=3 {
        daemon.turn().await;
        let planned = world.planned().await;
        assert_eq!((planned.due, planned.tries, planned.failures), (DUE, tries, 0));
        world.set(planned.not_before);
    }
    daemon.turn().await;
    let planned = world.planned().await;
    assert_eq!((planned.due, planned.tries, planned.failures), (DUE + HOUR, 0, 1));
    let error = planned.last.unwrap().error.unwrap();
    assert!(error.contains("there is no table `no_such_table`"), "{error}");
    assert_eq!(daemon.telemetry.metrics.scheduled_runs_total.get(["failed"]), 1);
    daemon.turn().await;
    assert_eq!(daemon.telemetry.metrics.scheduled_queries_failing.get([]), 1);
    let noted = crate::state::Notices::noted(&*world.state).await.unwrap();
    let told = noted.iter().find(|noted| noted.fact == Fact::Trouble(Condition::QueryFailed)).unwrap();
    assert!(told.subject == "Q" && told.detail.contains("no_such_table"), "{told:?}");

    // Somebody corrects it.
    write_rules(world.folder.path(), "SELECT 1 AS a");
    world.set(DUE + HOUR);
    let daemon = world.daemon().await;
    daemon.turn().await;
    assert_eq!((world.planned().await.failures, world.matched().await.0), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_two_runs_show_counts_once() {
    let world = World::new("SELECT 'e1' AS p_row_id, 1 AS a").await;
    let daemon = world.daemon().await;
    daemon.turn().await;
    world.set(DUE + HOUR);
    daemon.turn().await;
    let (counted, in_lake) = world.matched().await;
    assert_eq!((counted, in_lake.len()), (1, 1));
    let last = world.planned().await.last.unwrap();
    assert_eq!((last.due, last.rows, last.matches), (DUE + HOUR, 1, 0));
    // The same sum at another time is another thing.
    write_rules(world.folder.path(), "SELECT 1 AS a");
    for hour in 2..4 {
        world.set(DUE + HOUR * hour);
        world.daemon().await.turn().await;
    }
    assert_eq!(world.catalog.rows(&RULE_MATCHES.table(LOG_TYPE)).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_beyond_the_limit_are_cut_and_that_is_told() {
    let world = World::new("SELECT unnest(generate_series(1, 9)) AS a").await;
    let daemon = world.daemon().await;
    daemon.turn().await;
    let last = world.planned().await.last.unwrap();
    assert_eq!((last.rows, last.is_cut, last.matches), (4, true, 4));
    assert_eq!(daemon.telemetry.metrics.scheduled_runs_total.get(["cut"]), 1);
    let outcome = world.state.outcome(run_of("Q", DUE).id()).await.unwrap().unwrap();
    assert!(outcome.reason.contains("more rows"), "{}", outcome.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_kept_and_cannot_be_read_end_their_run() {
    let world = World::new("SELECT 1 AS a").await;
    let kept = KeptRows { rows: "{\"a\":\n".into(), is_cut: false, at: DUE };
    world.state.keep_rows("Q", DUE, Some(&kept)).await.unwrap();
    let daemon = world.daemon().await;
    daemon.turn().await;
    let planned = world.planned().await;
    assert_eq!((planned.due, planned.tries, planned.failures), (DUE + HOUR, 0, 1));
    let error = planned.last.unwrap().error.unwrap();
    assert!(error.contains("the rows that are kept"), "{error}");
    world.set(DUE + HOUR);
    daemon.turn().await;
    assert_eq!((world.planned().await.failures, world.matched().await.0), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_panics_is_tried_again() {
    let world = World::new("SELECT 1 AS a").await;
    world.daemon_that(|| panic!("as a defect would")).await.turn().await;
    let planned = world.planned().await;
    assert_eq!((planned.due, planned.tries), (DUE, 1));
    world.set(planned.not_before);
    world.daemon().await.turn().await;
    assert_eq!((world.planned().await.due, world.matched().await.0), (DUE + HOUR, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_schedule_moves_what_is_not_due_yet() {
    let world = World::new("SELECT 1 AS a").await;
    let every = |minutes: u32| {
        let file = world.folder.path().join("q.yml");
        write_rules(world.folder.path(), "SELECT 1 AS a");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, text.replace("RateMinutes: 60", &format!("RateMinutes: {minutes}"))).unwrap();
    };
    // What is due is run.
    every(90);
    let daemon = world.daemon().await;
    daemon.turn().await;
    let planned = world.planned().await;
    assert_eq!((planned.due, planned.last.unwrap().due), (DUE + HOUR * 3 / 2, DUE));
    daemon.turn().await;
    let planned = world.planned().await;
    assert_eq!((planned.due, planned.schedule.as_str()), (DUE + HOUR * 3 / 2, "every 90 minutes"));
    every(30);
    world.daemon().await.turn().await;
    let planned = world.planned().await;
    assert_eq!((planned.due, planned.schedule.as_str()), (DUE + HOUR / 2, "every 30 minutes"));
    assert_eq!(planned.last.unwrap().due, DUE);
}

#[tokio::test(start_paused = true)]
async fn runs_go_on_while_a_look_waits_for_them() {
    let writer = tokio::sync::Mutex::new(());
    let mut runs = FuturesUnordered::new();
    runs.push(async {
        let _turn = writer.lock().await;
        sleep(LOOK).await;
        "Q".to_owned()
    });
    // It has its turn to write, and is not at its end.
    assert!(tokio::time::timeout(LOOK / 2, runs.next()).await.is_err());
    let look = async {
        let _turn = writer.lock().await;
    };
    let mut ended = Vec::new();
    let looked = tokio::time::timeout(LOOK * 2, beside(&mut runs, &mut ended, look)).await;
    assert_eq!((looked.is_ok(), ended), (true, vec!["Q".to_owned()]));
}
