//! The daemon ends at the worst moments, and is started again: `kill -9` at every seam of the way of a message, SIGTERM
//! and `kill -9` at times drawn from a seed, a freeze beyond the lease, a second daemon on the same state.
//!
//! The oracle is the same each time: what was deleted from the queue had been counted in full by then, and in the end
//! the queue is empty and every event of every object is counted exactly once.

use std::collections::BTreeMap;
use std::process::Output;
use std::time::Duration;

use crate::aws::gzip;
use crate::cloud::{Cloud, Effect, Gate, Moment, Op, on};
use crate::daemon::Setup;
use crate::events::{COUNT_EACH, logins_of};

/// Of each object, where a story does not say otherwise.
const EVENTS: u64 = 600;

/// Makes every event take a moment, so that an object is in the middle of its rules for a while.
const SLOW: &str = "import time\ndef rule(event):\n    time.sleep(0.001)\n    return True\n\
                    def title(event):\n    return event.deep_get('actor', 'alternateId')\n";

/// A queue with announced objects, and what must come of them.
struct Story {
    cloud: Cloud,
    /// Object by message.
    announced: BTreeMap<String, String>,
    /// Of each object.
    events: u64,
}

impl Story {
    fn with_objects(count: usize) -> Story {
        Story::with_events(count, EVENTS)
    }

    fn with_events(count: usize, events: u64) -> Story {
        let cloud = Cloud::start();
        let object = |number| {
            let name = format!("object-{number}");
            (cloud.put(&name, gzip(logins_of(&name, events as usize))), name)
        };
        let announced = (0..count).map(object).collect();
        Story { cloud, announced, events }
    }

    fn setup(&self, rule: &str) -> Setup {
        Setup::new().rule("Count", rule).reading_cloud(&self.cloud)
    }

    /// Nothing was acknowledged early.
    fn assert_deleted_is_counted(&self, counts: &BTreeMap<String, u64>) {
        for message in self.cloud.deleted() {
            let object = &self.announced[&message];
            assert_eq!(counts.get(object), Some(&self.events), "{object} was deleted from the queue: {counts:?}");
        }
    }

    fn is_drained(&self) -> bool {
        self.cloud.end_delays();
        self.cloud.depth() == (0, 0)
    }

    fn assert_counted_once(&self, setup: &Setup) {
        let expected = self.announced.values().map(|object| (object.clone(), self.events)).collect();
        assert_eq!(setup.counts(), expected);
    }
}

/// Kills the daemon where it comes to the gate, and starts it again.
async fn killed_at(seam: impl FnOnce(&Cloud, Gate)) {
    let story = Story::with_objects(4);
    let gate = Gate::new();
    seam(&story.cloud, gate.clone());
    let setup = story.setup(COUNT_EACH);
    let mut daemon = setup.start().await;
    daemon.until(|_| gate.is_reached()).await;
    daemon.signal("KILL");
    daemon.ended();
    story.assert_deleted_is_counted(&setup.counts());
    story.cloud.end_leases();

    let daemon = setup.start().await;
    daemon.until(|_| story.is_drained()).await;
    story.assert_counted_once(&setup);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_messages_are_on_their_way_to_it() {
    killed_at(|cloud, gate| cloud.fault(on(Op::ReceiveMessage).does(Effect::Hold(Moment::After, gate)))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_the_receipt_before_the_object_is_asked_for() {
    killed_at(|cloud, gate| {
        cloud.fault(on(Op::GetObject).about("object-2").does(Effect::Hold(Moment::Before, gate)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_a_body() {
    killed_at(|cloud, gate| cloud.fault(on(Op::GetObject).about("object-1").does(Effect::HoldAfter(2000, gate)))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_the_last_byte_and_the_commit() {
    let story = Story::with_objects(2);
    let setup = story.setup(SLOW);
    let mut daemon = setup.start().await;
    daemon.until(|daemon| !daemon.counts().is_empty()).await;
    daemon.signal("KILL");
    daemon.ended();
    let counts = setup.counts();
    assert!(counts.values().sum::<u64>() < 2 * EVENTS, "it was killed on the way: {counts:?}");
    story.assert_deleted_is_counted(&counts);
    story.cloud.end_leases();

    let daemon = setup.start().await;
    daemon.until(|_| story.is_drained()).await;
    story.assert_counted_once(&setup);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_a_deletion_has_its_effect() {
    killed_at(|cloud, gate| cloud.fault(on(Op::DeleteMessage).after(1).does(Effect::Hold(Moment::Before, gate)))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_a_deletion_had_its_effect() {
    killed_at(|cloud, gate| cloud.fault(on(Op::DeleteMessage).does(Effect::Hold(Moment::After, gate)))).await;
}

/// Numbers below a limit, the same for the same seed.
fn chance(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |limit| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % limit
    }
}

/// Ends the daemon again and again until the queue is empty.
async fn ended_again_and_again(signal: &str, seed: u64) {
    // Few at a time, so that some are done, some are not begun and some are on their way.
    let story = Story::with_events(12, 200);
    let setup = story.setup(SLOW).configured("[pipeline]\nmax_in_flight = 3\nshutdown_grace_seconds = 1\n");
    let mut chance = chance(seed);
    let mut rounds = 0;
    while !story.is_drained() {
        rounds += 1;
        let mut daemon = setup.start().await;
        // Longer with every round, so that the story ends on a slow machine, too.
        tokio::time::sleep(Duration::from_millis(chance(700 * rounds))).await;
        daemon.signal(signal);
        let status = daemon.ended();
        if signal == "TERM" {
            assert!(status.success(), "seed {seed}, round {rounds}: {status}");
            assert_eq!(story.cloud.depth().1, 0, "seed {seed}, round {rounds}: all is handed back at once");
        }
        story.assert_deleted_is_counted(&setup.counts());
        story.cloud.end_leases();
    }
    assert!(rounds > 1, "seed {seed}: it was never ended on the way");
    story.assert_counted_once(&setup);
}

#[tokio::test(flavor = "multi_thread")]
async fn terminated_at_any_time_it_hands_its_messages_back() {
    ended_again_and_again("TERM", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_time_it_loses_nothing() {
    ended_again_and_again("KILL", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_beyond_its_lease_it_counts_nothing_twice() {
    let story = Story::with_objects(3);
    let gate = Gate::new();
    story.cloud.fault(on(Op::GetObject).about("object-1").does(Effect::HoldAfter(2000, gate.clone())));
    let setup = story.setup(COUNT_EACH);
    let daemon = setup.start().await;
    daemon.until(|_| gate.is_reached()).await;
    daemon.signal("STOP");
    // Nobody extends the leases now; the queue itself takes the messages back.
    story.cloud.end_leases();
    gate.open();
    daemon.signal("CONT");
    daemon.until(|_| story.is_drained()).await;
    story.assert_counted_once(&setup);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_the_same_state_is_refused_and_takes_no_message() {
    let story = Story::with_objects(3);
    let gate = Gate::new();
    story.cloud.fault(on(Op::GetObject).about("object-1").does(Effect::HoldAfter(2000, gate.clone())));
    let setup = story.setup(COUNT_EACH);
    let daemon = setup.start().await;
    daemon.until(|_| gate.is_reached()).await;
    let Output { status, stderr, .. } = setup.margay(&["run", "--config", "margay.toml"]);
    let said = String::from_utf8(stderr).unwrap();
    assert!(!status.success() && said.contains("margay.db") && said.contains("state.sqlite.path"), "{said}");
    gate.open();
    daemon.until(|_| story.is_drained()).await;
    story.assert_counted_once(&setup);
}
