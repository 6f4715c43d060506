//! What rules keep between events is counted once and by all: by several workers, by several daemons, and by those that
//! come after one that died.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use margay::detect::{Engine, KeyValues};
use margay::lookup::Surroundings;
use margay::model::key_value::{Call, Item};
use margay::runtime::SystemClock;
use margay::state::sqlite::SqliteStore;
use margay::state::{Caller, Changed, KeyValue, Remember, SqliteConfig, StateError, Told, TransientItems};

use crate::aws::gzip;
use crate::cloud::Cloud;
use crate::daemon::{MARGAY, Setup};
use crate::events::logins_of;
use crate::postgres::server;
use crate::sandbox::{World, batch, event, matches};

const OBJECTS: usize = 6;

/// Of each object.
const EVENTS: usize = 300;

const ALL: usize = OBJECTS * EVENTS;

/// Matches once when the last event of all is counted; were one counted twice, or two by the same number, there would
/// be another number of alerts.
fn threshold() -> String {
    format!(
        "from panther_detection_helpers.caching import evaluate_threshold, get_counter, increment_counter\n\
         def rule(event):\n    return evaluate_threshold('logins', {ALL}, 86400)\n\
         def title(event):\n    return f\"{{get_counter('logins')}} since, {{increment_counter('alerts')}} so far\"\n"
    )
}

/// Matches each event after the last, too.
fn counted(pause: &str) -> String {
    format!(
        "import time\nfrom panther_detection_helpers.caching import increment_counter\n\
         def rule(event):\n    {pause}\n    return increment_counter('logins') >= {ALL}\n\
         def title(event):\n    return 'all'\n"
    )
}

fn announce(cloud: &Cloud) {
    for number in 0..OBJECTS {
        let name = format!("object-{number}");
        cloud.put(&name, gzip(logins_of(&name, EVENTS)));
    }
}

fn is_drained(cloud: &Cloud) -> bool {
    cloud.end_delays();
    cloud.depth() == (0, 0)
}

fn with_workers(setup: Setup, count: usize) -> Setup {
    let config = setup.config().replace("workers = 1", &format!("workers = {count}"));
    setup.reconfigure(&config);
    setup
}

fn with_postgres(setup: Setup, url: &str) -> Setup {
    setup.configured(&format!("[state]\ntype = \"postgres\"\n[state.postgres]\nurl = \"{url}\"\n"))
}

fn assert_reached_once(setup: &Setup) {
    assert_eq!(setup.counts(), [("0 since, 1 so far".to_owned(), 1)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_count_to_one_threshold() {
    let cloud = Cloud::start();
    let setup = with_workers(Setup::new().rule("Threshold", &threshold()).reading_cloud(&cloud), 2);
    announce(&cloud);
    let daemon = setup.start().await;
    daemon.until(|_| is_drained(&cloud)).await;
    assert_reached_once(&setup);
    let metrics = daemon.metrics();
    let threshold = r#"margay_key_value_calls_total{operation="evaluate_threshold",outcome="answered"}"#;
    assert_eq!(metrics.get(threshold), ALL as f64);
    assert_eq!(metrics.get("margay_key_value_seconds_count"), (ALL + 2) as f64);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_count_to_one_threshold() {
    let cloud = Cloud::start();
    let url = server::empty_schema().await;
    let setup = with_postgres(Setup::new().rule("Threshold", &threshold()).reading_cloud(&cloud), &url);
    let setup = with_workers(setup, 2);
    let (one, other) = (setup.start().await, setup.start().await);
    announce(&cloud);
    one.until(|_| is_drained(&cloud)).await;
    assert_reached_once(&setup);
    let calls = |daemon: &crate::daemon::Daemon<'_>| daemon.metrics().get("margay_key_value_seconds_count");
    assert_eq!(calls(&one) + calls(&other), (ALL + 2) as f64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_again_and_again_counts_every_event_once() {
    let cloud = Cloud::start();
    // Every event takes a moment, so that objects are in the middle of their rules.
    let setup = Setup::new().rule("Counted", &counted("time.sleep(0.001)")).reading_cloud(&cloud);
    announce(&cloud);
    for calls in [30.0, 50.0, 70.0, 90.0] {
        let mut daemon = setup.start().await;
        let before = daemon.metrics().get("margay_key_value_seconds_count");
        let counting = |daemon: &crate::daemon::Daemon<'_>| {
            daemon.metrics().get("margay_key_value_seconds_count") > before + calls
        };
        daemon.until(|daemon| counting(daemon) || is_drained(&cloud)).await;
        daemon.signal("KILL");
        daemon.ended();
        cloud.end_leases();
    }
    let daemon = setup.start().await;
    daemon.until(|_| is_drained(&cloud)).await;
    assert_eq!(setup.counts(), [("all".to_owned(), 1)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_outlives_the_daemon() {
    let rule = "from panther_oss_helpers import add_to_string_set\n\
                def rule(event):\n    return len(add_to_string_set('seen', event.get('uuid'))) == 3\n\
                def title(event):\n    return 'three'\n";
    let setup = Setup::new().rule("Three", rule).watching_directory();
    for number in 0..3 {
        let daemon = setup.start().await;
        setup.file(&format!("{number}.jsonl"), logins_of("ana", 1));
        let calls = "margay_key_value_calls_total{operation=\"add_to_string_set\",outcome=\"answered\"}";
        daemon.until(|daemon| daemon.metrics().get(calls) == 1.0).await;
        if number == 2 {
            daemon.until(|_| setup.counts() == [("three".to_owned(), 1)].into()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_ends_its_worker_makes_no_other_count_twice() {
    const ROWS: u64 = 60;
    let counts = "from panther_oss_helpers import increment_counter\n\
                  def rule(event):\n    return increment_counter('all') > 0\n\
                  def title(event):\n    return str(increment_counter('matches'))\n";
    let bomb = "import time\ndef rule(event):\n    if event.get('bomb'):\n        time.sleep(600)\n    return False\n";
    // Longer than any other call takes on a busy machine.
    let world = World::new().rule("Count", counts).configured(|config| config.call_timeout_ms = 2000);
    world.write_rule("Bomb", &["Custom.Count".to_owned()], bomb);
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&SqliteConfig { path: folder.path().join("margay.db") }).await.unwrap();
    let store = Arc::new(store);
    let engine = start(&world, store.clone()).await;
    let events = (0..ROWS).map(|at| event("Count", at, if at % 20 == 13 { r#"{"bomb":1}"# } else { "{}" }));
    let found = engine.evaluate(&batch(events.collect())).await.unwrap();
    assert_eq!((matches(&found, "Count"), found.faults.len()), (ROWS as usize, 3));
    for key in ["all", "matches"] {
        assert_eq!(store.item(key).await.unwrap().unwrap().value.counter, Some(ROWS as i64), "{key}");
    }
    let told = r#"margay_key_value_calls_total{operation="increment_counter",outcome="remembered"}"#;
    assert!(world.metric(told) > 0, "workers were replaced in the middle of the batch");
    // The whole batch once more, as after a crash of the daemon.
    let events = (0..ROWS).map(|at| event("Count", at, "{}"));
    let again = engine.evaluate(&batch(events.collect())).await.unwrap();
    let titles = |found: &margay::model::Detections| {
        let of_count = found.matches.iter().filter(|found| &*found.rule.id == "Count");
        of_count.map(|found| found.detail.title.clone()).collect::<Vec<_>>()
    };
    assert_eq!(titles(&again), titles(&found));
    assert_eq!(store.item("all").await.unwrap().unwrap().value.counter, Some(ROWS as i64));
}

/// An engine over a store.
async fn start(world: &World, store: Arc<dyn KeyValue>) -> Engine {
    let key_values = KeyValues::new(store, Arc::new(SystemClock));
    let surroundings = Surroundings::fixed(Arc::default(), Arc::new(SystemClock));
    let telemetry = world.telemetry.clone();
    Engine::start_over(&world.config, MARGAY.into(), key_values, telemetry, surroundings).await.unwrap().0
}

/// Answers late.
struct Slow(TransientItems);

#[async_trait]
impl KeyValue for Slow {
    async fn item(&self, key: &str) -> Result<Option<Item>, StateError> {
        self.0.item(key).await
    }

    async fn change(
        &self,
        caller: &Caller<'_>,
        remember: Remember<'_>,
        call: &Call,
        now: time::OffsetDateTime,
    ) -> Result<Changed, StateError> {
        tokio::time::sleep(Duration::from_millis(4000)).await;
        self.0.change(caller, remember, call, now).await
    }

    async fn recall(&self, caller: &Caller<'_>) -> Result<Vec<Told>, StateError> {
        self.0.recall(caller).await
    }

    async fn forget_items(
        &self,
        now: time::OffsetDateTime,
        before: time::OffsetDateTime,
        limit: u32,
    ) -> Result<u64, StateError> {
        self.0.forget_items(now, before, limit).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_does_not_pay_for_a_slow_store_but_for_a_loop_of_refused_calls() {
    let patient = "from panther_oss_helpers import increment_counter\n\
                   def rule(event):\n    return increment_counter('k') == 1\n";
    let endless = "from panther_oss_helpers import get_counter\n\
                   def rule(event):\n    while True:\n        try:\n            get_counter('k')\n\
                   \x20       except RuntimeError:\n            pass\n";
    let world = World::new().rule("Patient", patient).rule("Endless", endless);
    let world = world.configured(|config| config.call_timeout_ms = 2000);
    let engine = start(&world, Arc::new(Slow(TransientItems::default()))).await;
    let found = engine.evaluate(&batch(vec![event("Patient", 1, "{}")])).await.unwrap();
    assert_eq!((matches(&found, "Patient"), found.faults.len()), (1, 0));
    let found = engine.evaluate(&batch(vec![event("Endless", 2, "{}")])).await.unwrap();
    let faults: Vec<_> = found.faults.iter().map(|fault| (&*fault.rule.id, &*fault.error_type)).collect();
    assert_eq!(faults, [("Endless", "RuleTimeout")]);
    // Refused by the worker itself.
    let asked = r#"margay_key_value_calls_total{operation="get_counter",outcome="answered"}"#;
    assert_eq!(world.metric(asked), 100);
}
