//! What margay tells of itself, over the state in memory and a clock that the test moves.

use std::sync::{Arc, Mutex};

use super::*;
use crate::model::{News, Receiver, Taken};
use crate::pipeline::Catalogue;
use crate::pipeline::tests::pipeline_of;
use crate::runtime::Clock;
use crate::source::{PrefixConfig, SourceConfig, SourceTable};
use crate::state::fixtures::{START, matched, matches, object, rule};
use crate::state::memory::MemoryState;
use crate::state::{AlertStore, Claim, Failed, Ledger, Notices, ObjectOutcome, ObjectState, Outbox};

const LEASE: std::time::Duration = std::time::Duration::from_secs(60);

struct Hand(Mutex<OffsetDateTime>);

impl Clock for Hand {
    fn now(&self) -> OffsetDateTime {
        *self.0.lock().unwrap()
    }
}

/// Two daemons on one state, which look at the same time.
struct World {
    state: Arc<MemoryState>,
    clock: Arc<Hand>,
    daemons: Vec<(Pipeline, SelfCheck)>,
}

/// That may be silent for so long, or for any time.
fn sources(names: &[&str], silent_after_minutes: u32) -> SourceTable {
    let prefix = || PrefixConfig { log_types: vec!["AWS.CloudTrail".into()], ..PrefixConfig::default() };
    let source = |name: &&str| SourceConfig { silent_after_minutes, ..SourceConfig::new(*name, *name, vec![prefix()]) };
    let sources: Vec<SourceConfig> = names.iter().map(source).collect();
    SourceTable::new(&sources).unwrap()
}

/// In minutes.
const DAY: u32 = 24 * 60;

impl World {
    /// With other sources from now on.
    fn configure(&self, names: &[&str], silent_after_minutes: u32) {
        for (pipeline, _) in &self.daemons {
            let log_types = pipeline.catalogue.get().log_types.clone();
            pipeline.catalogue.swap(Catalogue { log_types, sources: sources(names, silent_after_minutes) });
        }
    }

    fn new() -> World {
        let (state, clock) = (Arc::new(MemoryState::new()), Arc::new(Hand(Mutex::new(START))));
        let daemon = |_| {
            let pipeline = pipeline_of(state.clone(), clock.clone());
            pipeline.destinations.send_replace(["slack", "pager"].map(Receiver::accepting_all).to_vec().into());
            (pipeline, SelfCheck::default())
        };
        let daemons = (0..2).map(daemon).collect();
        let world = World { state, clock, daemons };
        world.configure(&["source", "other"], DAY);
        world
    }

    /// Both look after so long; then once more each minute, so that nothing that they look after has a gap.
    async fn after(&mut self, span: Duration) {
        let until = self.clock.now() + span;
        while self.clock.now() < until {
            let step = Duration::MINUTE.min(until - self.clock.now());
            *self.clock.0.lock().unwrap() += step;
            self.look().await;
        }
    }

    async fn look(&mut self) {
        let tolerance = Tolerance { source_checks: Duration::minutes(15), queue_age: Duration::HOUR };
        for (pipeline, check) in &mut self.daemons {
            check.round(pipeline, tolerance).await.unwrap();
        }
    }

    /// One object of `source` ended so, now.
    async fn object(&self, key: &str, state: ObjectState, events: u64, rejects: u64) {
        let now = self.clock.now();
        let claim = self.state.claim(&object(key), "source", None, now, now + Duration::HOUR).await.unwrap();
        let Claim::Granted(token, _) = claim else { panic!("{claim:?}") };
        let outcome = ObjectOutcome { state, reason: "why".into(), events, rejects, bytes: 1 };
        self.state.finish(&token, &outcome, now).await.unwrap();
    }

    /// Rules of the alerts about margay with their subjects, by whether they stand.
    async fn alerts(&self, stand: bool) -> Vec<(String, String)> {
        let filter = AlertFilter { kind: Some(AlertKind::SystemError), ..AlertFilter::default() };
        let alerts = self.state.alerts(&filter).await.unwrap();
        let mut told: Vec<_> = alerts
            .into_iter()
            .filter(|alert| alert.status.is_ended() != stand)
            .map(|alert| (alert.rule_id, alert.dedup))
            .collect();
        told.sort();
        told
    }

    /// What a destination is told, all of it taken.
    async fn told(&self, destination: &str) -> Vec<(News, String)> {
        let now = self.clock.now();
        let mut told = Vec::new();
        loop {
            let due = self.state.due(destination, now, LEASE, 100).await.unwrap();
            if due.is_empty() {
                return told;
            }
            for pending in due {
                self.state
                    .delivered(&pending.alert.id, destination, pending.news, &Taken::with(None), now)
                    .await
                    .unwrap();
                told.push((pending.news, pending.alert.rule_id));
            }
        }
    }
}

/// An attempt that was the last.
fn failed(reason: &str, status: Option<u16>, next_attempt: Option<OffsetDateTime>) -> Failed<'_> {
    Failed { reason, status, next_attempt }
}

fn of(condition: Condition, subject: &str) -> (String, String) {
    (condition.rule_id().to_owned(), subject.to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_source_that_falls_silent_is_told_once_and_so_is_its_return() {
    let mut world = World::new();
    world.look().await;
    world.after(Duration::hours(20)).await;
    world.object("a", ObjectState::Committed, 3, 0).await;
    world.after(Duration::hours(5)).await;
    // The other has sent nothing since it was configured.
    assert_eq!(world.alerts(true).await, [of(Condition::SourceSilent, "other")]);
    world.after(Duration::hours(20)).await;
    assert_eq!(world.alerts(true).await, [of(Condition::SourceSilent, "other"), of(Condition::SourceSilent, "source")]);
    let silent = (News::Opened, "Margay.SourceSilent".to_owned());
    assert_eq!(world.told("slack").await, [silent.clone(), silent.clone()], "each once, from two daemons");
    world.object("b", ObjectState::Committed, 1, 0).await;
    world.after(Duration::MINUTE).await;
    assert_eq!(world.alerts(true).await, [of(Condition::SourceSilent, "other")]);
    assert_eq!(world.told("slack").await, [(News::Resolved, "Margay.SourceSilent".to_owned())]);
    assert_eq!(world.told("pager").await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_silence_counts_from_when_somebody_listens() {
    let mut world = World::new();
    world.object("a", ObjectState::Committed, 3, 0).await;
    world.look().await;
    // No daemon for two days: what waits in the queue is read first.
    *world.clock.0.lock().unwrap() += Duration::days(2);
    world.after(Duration::hours(23)).await;
    assert!(world.alerts(true).await.is_empty());
    world.after(Duration::hours(2)).await;
    assert_eq!(world.alerts(true).await.len(), 2);
    // A source that is not configured any more is not missed.
    world.configure(&["other"], DAY);
    world.after(Duration::MINUTE).await;
    assert_eq!(world.alerts(true).await, [of(Condition::SourceSilent, "other")]);
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_with_objects_is_told_of_their_source() {
    let mut world = World::new();
    world.configure(&["source"], 0);
    world.object("a", ObjectState::Committed, 3, 1).await;
    world.object("b", ObjectState::Parked, 0, 0).await;
    world.look().await;
    let both = [of(Condition::Unclassified, "source"), of(Condition::ObjectFailed, "source")];
    assert_eq!(world.alerts(true).await, both);
    // More of the same are no more alerts, for as long as they go on.
    for hour in 0..3 {
        world.after(Duration::minutes(50)).await;
        world.object(&format!("c{hour}"), ObjectState::Quarantined, 0, 0).await;
        world.object(&format!("d{hour}"), ObjectState::Committed, 3, 1).await;
        world.look().await;
    }
    assert_eq!(world.alerts(true).await, both);
    world.after(Duration::minutes(61)).await;
    assert_eq!(world.alerts(true).await, both[1..], "an hour without a reject");
    world.after(Duration::hours(23)).await;
    assert_eq!(world.alerts(true).await, []);
    assert_eq!(world.told("slack").await.len(), 4, "two alerts and two recoveries");
}

#[tokio::test(start_paused = true)]
async fn a_step_that_fails_is_told_until_an_examination_was_well() {
    let mut world = World::new();
    for daemon in &world.daemons {
        let fact = Fact::Trouble(Condition::SourceUnhealthy);
        daemon.0.state.note(fact, "source/role", "denied", START).await.unwrap();
        daemon.0.state.note(fact, "gone/role", "denied", START).await.unwrap();
        daemon.0.state.note(Fact::Examined, "source", "", START).await.unwrap();
    }
    world.look().await;
    assert_eq!(world.alerts(true).await, [of(Condition::SourceUnhealthy, "source/role")]);
    world.after(Duration::hours(5)).await;
    assert_eq!(world.alerts(true).await.len(), 1, "the others are examined first, and they are many");
    let later = world.clock.now();
    world.state.note(Fact::Trouble(Condition::SourceUnhealthy), "source/role", "still denied", later).await.unwrap();
    world.state.note(Fact::Examined, "source", "", later).await.unwrap();
    world.after(Duration::minutes(1)).await;
    assert_eq!(world.alerts(true).await.len(), 1, "it fails still");
    world.state.note(Fact::Examined, "source", "", world.clock.now()).await.unwrap();
    world.after(Duration::minutes(1)).await;
    assert_eq!(world.alerts(false).await, [of(Condition::SourceUnhealthy, "source/role")]);
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_fails_is_told_to_the_others_until_it_takes_something() {
    let mut world = World::new();
    let now = world.clock.now();
    let claim = world.state.claim(&object("k"), "source", None, now, now + Duration::HOUR).await.unwrap();
    let Claim::Granted(token, _) = claim else { panic!("{claim:?}") };
    let mut ids = Vec::new();
    for row in 0..3 {
        let found = matches([matched(&Arc::new(rule(&format!("r{row}"))), row)]);
        let to = [Receiver::accepting_all("pager")];
        ids.push(world.state.record(&token, &found, &to, now).await.unwrap().opened.remove(0).id);
    }
    for id in &ids[..2] {
        world.state.failed(id, "pager", News::Opened, &failed("410", Some(410), None), now).await.unwrap();
    }
    world.look().await;
    assert_eq!(world.alerts(true).await, [of(Condition::DeliveryFailed, "pager")]);
    assert_eq!(world.told("slack").await, [(News::Opened, "Margay.DeliveryFailure".to_owned())]);
    world.after(Duration::days(2)).await;
    assert!(world.alerts(true).await.contains(&of(Condition::DeliveryFailed, "pager")), "nothing says that it works");
    world.state.delivered(&ids[2], "pager", News::Opened, &Taken::with(Some(200)), world.clock.now()).await.unwrap();
    world.after(Duration::MINUTE).await;
    assert_eq!(world.alerts(false).await, [of(Condition::DeliveryFailed, "pager")]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_to_tell_of_a_failure_goes_no_further() {
    let mut world = World::new();
    let fact = Fact::Trouble(Condition::DeliveryFailed);
    world.state.note(fact, "pager", "given up", START).await.unwrap();
    world.look().await;
    let due = world.state.due("slack", START, LEASE, 9).await.unwrap();
    world.state.failed(&due[0].alert.id, "slack", News::Opened, &failed("no", None, None), START).await.unwrap();
    world.after(Duration::HOUR).await;
    assert_eq!(world.alerts(true).await, [of(Condition::DeliveryFailed, "pager")]);
}

#[tokio::test(start_paused = true)]
async fn a_storm_is_told_while_it_lasts_and_then_digested_once() {
    let mut world = World::new();
    let now = world.clock.now();
    let claim = world.state.claim(&object("k"), "source", None, now, now + Duration::HOUR).await.unwrap();
    let Claim::Granted(token, _) = claim else { panic!("{claim:?}") };
    let mut meta = rule("loud");
    meta.alerting.max_alerts_per_hour = 2;
    let meta = Arc::new(meta);
    let found = (0..5).map(|row| {
        let mut found = matched(&meta, row);
        found.detail.dedup = row.to_string();
        found
    });
    let to = world.daemons[0].0.destinations();
    let recorded = world.state.record(&token, &matches(found), &to, now).await.unwrap();
    assert_eq!((recorded.opened.len(), recorded.held), (5, 3));
    world.look().await;
    assert_eq!(world.alerts(true).await, [of(Condition::AlertStorm, "loud")]);
    world.after(Duration::HOUR).await;
    assert_eq!(world.alerts(false).await, [of(Condition::AlertStorm, "loud")]);
    let told = world.told("slack").await;
    let count = |news, rule: &str| told.iter().filter(|(own, of)| *own == news && of == rule).count();
    assert_eq!(count(News::Opened, "loud"), 3, "two alerts and the digest of three");
    assert_eq!((count(News::Opened, "Margay.AlertStorm"), count(News::Resolved, "Margay.AlertStorm")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_queue_and_a_lake_in_trouble_are_told() {
    let mut world = World::new();
    world.look().await;
    let telemetry = &world.daemons[0].0.telemetry;
    telemetry.message_age(Duration::hours(2));
    telemetry.lake_gave_up("t", &"no");
    world.after(Duration::MINUTE).await;
    assert_eq!(world.alerts(true).await, [of(Condition::LakeStalled, "lake"), of(Condition::QueueOld, "queue")]);
    world.after(Duration::minutes(10)).await;
    assert!(world.alerts(true).await.iter().all(|(rule, _)| rule != "Margay.LakeStalled"));
}
