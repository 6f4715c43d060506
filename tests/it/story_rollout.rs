//! An update: one daemon is ended by SIGTERM and replaced by another while objects keep coming. Nothing is lost, and
//! nothing is delivered a second time: what a daemon has begun it ends, and what it has not begun it never received.

use std::collections::{BTreeMap, BTreeSet};

use crate::aws::gzip;
use crate::cloud::{Cloud, Effect, Gate, Moment, Op, on};
use crate::daemon::{Daemon, Setup};
use crate::events::{COUNT_EACH, logins_of};
use crate::postgres::server;

/// Of each object.
const EVENTS: usize = 200;

/// Objects that are announced in each phase of the update.
const OBJECTS: usize = 20;

/// More than one daemon takes at a time.
const HELD: usize = IN_FLIGHT + 1;

/// Few at a time, so that some objects are done, some are on their way and some have not begun.
const IN_FLIGHT: usize = 4;

fn few_at_a_time() -> String {
    format!("[pipeline]\nmax_in_flight = {IN_FLIGHT}\nshutdown_grace_seconds = 60\n")
}

/// What was announced so far: object by message.
#[derive(Default)]
struct Load(BTreeMap<String, String>);

impl Load {
    fn put(&mut self, cloud: &Cloud) {
        for _ in 0..OBJECTS {
            self.put_one(cloud);
        }
    }

    /// Objects that nobody gets before the gate opens; of several daemons each has some.
    fn put_held(&mut self, cloud: &Cloud) -> Gate {
        let gate = Gate::new();
        for _ in 0..HELD {
            let held = on(Op::GetObject).about(&self.next()).does(Effect::Hold(Moment::Before, gate.clone()));
            cloud.fault(held);
            self.put_one(cloud);
        }
        gate
    }

    fn next(&self) -> String {
        format!("object-{}", self.0.len())
    }

    fn put_one(&mut self, cloud: &Cloud) {
        let name = self.next();
        self.0.insert(cloud.put(&name, gzip(logins_of(&name, EVENTS))), name);
    }

    fn counts(&self) -> BTreeMap<String, u64> {
        self.0.values().map(|name| (name.clone(), EVENTS as u64)).collect()
    }
}

fn is_at_work(daemon: &Daemon<'_>) -> bool {
    daemon.metrics().get("margay_in_flight_messages") > 0.0
}

fn takes_nothing_in(daemon: &Daemon<'_>) -> bool {
    daemon.get("/readyz").starts_with("HTTP/1.1 503")
}

/// Ends a daemon in the middle of objects that the gate holds, while more are announced.
async fn ended(daemon: &mut Daemon<'_>, gate: &Gate, announce: impl FnOnce()) {
    daemon.until(is_at_work).await;
    daemon.signal("TERM");
    daemon.until(takes_nothing_in).await;
    announce();
    gate.open();
    let status = daemon.ended();
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_are_replaced_one_by_one_under_load() {
    let cloud = Cloud::start();
    let url = server::empty_schema().await;
    let setup = Setup::new()
        .rule("Count", COUNT_EACH)
        .reading_cloud(&cloud)
        .configured(&format!("{}[state]\ntype = \"postgres\"\n[state.postgres]\nurl = \"{url}\"\n", few_at_a_time()));
    let mut load = Load::default();
    let mut old = setup.start().await;
    load.put(&cloud);
    for _ in 0..2 {
        // As a rolling update does it: the new one is ready before the old one is told to end.
        let new = setup.start().await;
        old.until(|_| cloud.depth() == (0, 0)).await;
        let gate = load.put_held(&cloud);
        ended(&mut old, &gate, || load.put(&cloud)).await;
        old = new;
    }
    old.until(|_| cloud.depth() == (0, 0)).await;

    assert_eq!(setup.counts(), load.counts(), "every event is counted once");
    let again: BTreeSet<(&String, u32)> =
        load.0.keys().map(|message| (message, cloud.receives(message))).filter(|(_, times)| *times != 1).collect();
    assert!(again.is_empty(), "delivered not once: {again:?}");
    let handed_back: u32 = load.0.keys().map(|message| cloud.hand_backs(message)).sum();
    assert_eq!(handed_back, 0);
    assert_eq!(setup.alerts().len(), load.0.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_daemon_is_replaced_under_load() {
    let cloud = Cloud::start();
    // As with a state in a file: the new one starts when the old one has ended.
    let setup = Setup::new().rule("Count", COUNT_EACH).reading_cloud(&cloud).configured(&few_at_a_time());
    let mut load = Load::default();
    let mut old = setup.start().await;
    for _ in 0..2 {
        old.until(|_| cloud.depth() == (0, 0)).await;
        let gate = load.put_held(&cloud);
        ended(&mut old, &gate, || load.put(&cloud)).await;
        old = setup.start().await;
    }
    old.until(|_| cloud.depth() == (0, 0)).await;
    assert_eq!(setup.counts(), load.counts());
    assert!(load.0.keys().all(|message| cloud.receives(message) == 1 && cloud.hand_backs(message) == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_within_the_grace_period_is_in_the_lake_when_the_daemon_has_ended() {
    let cloud = Cloud::start();
    let gate = Gate::new();
    cloud.fault(on(Op::GetObject).about("late").does(Effect::HoldAfter(2000, gate.clone())));
    // The lake would commit by itself after an hour.
    let setup = Setup::new().rule("Count", COUNT_EACH).reading_cloud(&cloud);
    let setup = setup.configured(
        "[pipeline]\nshutdown_grace_seconds = 60\n[lake]\ntype = \"local\"\nflush_seconds = 3600\n[lake.local]\npath = \"lake\"\n",
    );
    let mut daemon = setup.start().await;
    let message = cloud.put("late", gzip(logins_of("late", 500)));
    daemon.until(|_| gate.is_reached()).await;
    daemon.signal("TERM");
    daemon.until(|daemon| daemon.get("/readyz").starts_with("HTTP/1.1 503")).await;
    gate.open();
    assert!(daemon.ended().success());
    assert_eq!((cloud.deleted(), cloud.receives(&message), cloud.hand_backs(&message)), (vec![message.clone()], 1, 0));
    let asked = ["search", "--config", "margay.toml", "--format", "csv", "SELECT count(*) AS n FROM okta_systemlog"];
    let found = setup.margay(&asked);
    let rows = String::from_utf8_lossy(&found.stdout).lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(rows, ["n", "500"], "{}", String::from_utf8_lossy(&found.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_last_poll_brings_is_worked_on() {
    let cloud = Cloud::start();
    let gate = Gate::new();
    cloud.fault(on(Op::ReceiveMessage).does(Effect::Hold(Moment::After, gate.clone())));
    let message = cloud.put("last", gzip(logins_of("last", 20)));
    let setup = Setup::new().rule("Count", COUNT_EACH).reading_cloud(&cloud);
    let mut daemon = setup.start().await;
    // Leased to the daemon, and the answer is on its way.
    daemon.until(|_| gate.is_reached() && cloud.receives(&message) == 1).await;
    daemon.signal("TERM");
    daemon.until(|daemon| daemon.get("/readyz").starts_with("HTTP/1.1 503")).await;
    gate.open();
    assert!(daemon.ended().success());
    assert_eq!((cloud.deleted(), cloud.receives(&message)), (vec![message.clone()], 1));
    assert_eq!(setup.counts(), [("last".to_owned(), 20)].into());
}
