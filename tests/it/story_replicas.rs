//! Several daemons on one PostgreSQL and one queue: what one begins and never ends, another does, and the counts are those
//! of the events.

use std::collections::{BTreeMap, BTreeSet};

use crate::aws::gzip;
use crate::cloud::{Cloud, Effect, Gate, Op, on};
use crate::daemon::Setup;
use crate::events::{COUNT_EACH, logins_of};
use crate::postgres::server;

const OBJECTS: usize = 8;

/// Of each object.
const EVENTS: usize = 400;

/// Groups the events of all objects, which all daemons work on, in one window.
const COUNT_ALL: &str = "def rule(event):\n    return True\ndef title(event):\n    return 'all'\n";

/// Daemons with one queue and one database; leases are as short as they can be.
async fn setup(cloud: &Cloud) -> Setup {
    let url = server::empty_schema().await;
    let setup = Setup::new().rule("Each", COUNT_EACH).rule("All", COUNT_ALL).reading_cloud(cloud);
    let setup = setup.configured(&format!("[state]\ntype = \"postgres\"\n[state.postgres]\nurl = \"{url}\"\n"));
    let short = setup.config().replace("visibility_timeout_seconds = 1000", "visibility_timeout_seconds = 30");
    setup.reconfigure(&short);
    setup
}

fn names() -> impl Iterator<Item = String> {
    (0..OBJECTS).map(|number| format!("object-{number}"))
}

fn announce(cloud: &Cloud) {
    for name in names() {
        cloud.put(&name, gzip(logins_of(&name, EVENTS)));
    }
}

fn expected() -> BTreeMap<String, u64> {
    let all = ("all".to_owned(), (OBJECTS * EVENTS) as u64);
    names().map(|name| (name, EVENTS as u64)).chain([all]).collect()
}

/// Titles of the alerts that were printed.
fn titles(printed: &[String]) -> Vec<String> {
    let alert = |line: &String| serde_json::from_str::<serde_json::Value>(line).expect("an alert is printed as JSON");
    printed.iter().map(|line| alert(line)["title"].as_str().expect("an alert has a title").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_share_a_queue_and_count_every_event_once() {
    let cloud = Cloud::start();
    let setup = setup(&cloud).await;
    let (one, other) = (setup.start().await, setup.start().await);
    announce(&cloud);
    one.until(|_| {
        cloud.end_delays();
        cloud.depth() == (0, 0)
    })
    .await;
    assert_eq!(setup.counts(), expected());
    assert_eq!(setup.alerts().len(), OBJECTS + 1);
    let delivered = |alert: &serde_json::Value| alert["deliveryResponses"][0]["success"] == true;
    one.until(|daemon| daemon.alerts().iter().all(delivered)).await;
    let mut printed = titles(&[one.printed(), other.printed()].concat());
    printed.sort();
    assert!(printed.iter().eq(expected().keys()), "each alert is delivered once: {printed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_its_work_and_another_finishes() {
    let cloud = Cloud::start();
    let setup = setup(&cloud).await;
    let gate = Gate::new();
    cloud.fault(on(Op::GetObject).about("object-2").does(Effect::HoldAfter(2000, gate.clone())));
    let mut killed = setup.start().await;
    announce(&cloud);
    killed.until(|_| gate.is_reached()).await;
    let other = setup.start().await;
    killed.signal("KILL");
    killed.ended();
    let before = killed.printed();

    other
        .until(|_| {
            cloud.end_delays();
            cloud.depth() == (0, 0)
        })
        .await;
    assert_eq!(setup.counts(), expected());
    assert_eq!(setup.alerts().len(), OBJECTS + 1);
    // A delivery that the killed one had taken ends by its lease.
    let delivered = |alert: &serde_json::Value| alert["deliveryResponses"][0]["success"] == true;
    other.until(|daemon| daemon.alerts().iter().all(delivered)).await;
    let after = titles(&other.printed());
    let once: BTreeSet<&String> = after.iter().collect();
    assert_eq!(once.len(), after.len(), "no alert is delivered twice: {after:?}");
    let all: BTreeSet<String> = titles(&before).into_iter().chain(after).collect();
    assert!(all.iter().eq(expected().keys()), "no alert is lost: {all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_that_start_at_once_on_an_empty_database_all_get_ready() {
    let url = server::empty_schema().await;
    let runtime = tokio::runtime::Handle::current();
    let starts: Vec<_> = (0..3)
        .map(|_| {
            let (url, runtime) = (url.clone(), runtime.clone());
            std::thread::spawn(move || {
                let setup = Setup::new().watching_directory().rule("Each", COUNT_EACH);
                let state = format!("[state]\ntype = \"postgres\"\n[state.postgres]\nurl = \"{url}\"\n");
                let setup = setup.configured(&state);
                // Returns when it is ready.
                drop(runtime.block_on(setup.start()));
            })
        })
        .collect();
    for start in starts {
        start.join().expect("every daemon gets ready");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_used_ends_the_start_with_a_reason_and_no_password() {
    let address = &server::server().address;
    let url = format!("postgres://postgres:hunter2@{address}/postgres?sslmode=disable");
    let setup = Setup::new().watching_directory().rule("Each", COUNT_EACH);
    let setup = setup.configured(&format!("[state]\ntype = \"postgres\"\n[state.postgres]\nurl = \"{url}\"\n"));
    for command in ["run", "config"] {
        let arguments: &[&str] = if command == "run" { &["run"] } else { &["config", "--dump"] };
        let output = setup.margay(&[arguments, &["--config", "margay.toml"]].concat());
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!said.contains("hunter2"), "{said}");
        assert!(said.contains(if command == "run" { "password authentication failed" } else { "***" }), "{said}");
    }
}
