//! Tests of the delivery loop: paused time against an outbox in memory, then once against the real store.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Mutex;

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::*;
use crate::alert::destination::Destination;
use crate::alert::destination::stdout::{self, Stdout};
use crate::alert::render::Style;
use crate::model::{Alert, News, Receiver, Taken};
use crate::runtime::Clock;
use crate::state::fixtures::{START, alert, matched, matches, object, rule};
use crate::state::sqlite::SqliteStore;
use crate::state::{AlertStore, Claim, Failed, Ledger, SqliteConfig, Waiting};

const HOUR: Duration = Duration::from_secs(3600);

/// A time of day that goes with tokio's paused time.
struct PausedClock(Instant);

impl Clock for PausedClock {
    fn now(&self) -> OffsetDateTime {
        START + self.0.elapsed()
    }
}

fn clock() -> SharedClock {
    Arc::new(PausedClock(Instant::now()))
}

#[derive(Clone, Debug, PartialEq)]
enum End {
    Pending,
    Delivered,
    Failed,
}

struct Row {
    pending: PendingDelivery,
    next_attempt: OffsetDateTime,
    leased_until: OffsetDateTime,
    reasons: Vec<String>,
    end: End,
}

/// Leases that really expire, and errors when told to.
#[derive(Default)]
struct MemoryOutbox {
    rows: Mutex<Vec<Row>>,
    broken_calls: Mutex<u32>,
}

impl MemoryOutbox {
    fn add(&self, id: &str, destination: &str) {
        let alert = Alert { id: id.into(), ..alert(rule("r")) };
        self.rows.lock().unwrap().push(Row {
            pending: PendingDelivery {
                alert,
                destination: destination.into(),
                attempts: 0,
                resent: 0,
                news: News::Opened,
                ticket: None,
            },
            next_attempt: START,
            leased_until: START,
            reasons: Vec::new(),
            end: End::Pending,
        });
    }

    fn with<T>(&self, id: &str, destination: &str, look: impl FnOnce(&mut Row) -> T) -> T {
        let mut rows = self.rows.lock().unwrap();
        let row = rows.iter_mut().find(|row| row.pending.alert.id == id && row.pending.destination == destination);
        look(row.unwrap())
    }
}

#[async_trait]
impl Outbox for MemoryOutbox {
    async fn due(
        &self,
        destination: &str,
        now: OffsetDateTime,
        lease: Duration,
        limit: u32,
    ) -> Result<Vec<PendingDelivery>, StateError> {
        let mut broken = self.broken_calls.lock().unwrap();
        if *broken > 0 {
            *broken -= 1;
            return Err(StateError::Store("broken".into()));
        }
        let mut rows = self.rows.lock().unwrap();
        let own = rows.iter_mut().filter(|row| row.pending.destination == destination);
        let due = own.filter(|row| row.end == End::Pending && row.next_attempt.max(row.leased_until) <= now);
        let due = due.take(limit as usize).map(|row| {
            row.leased_until = now + lease;
            row.pending.clone()
        });
        Ok(due.collect())
    }

    async fn give_back(
        &self,
        destination: &str,
        alerts: &[&str],
        leased_until: OffsetDateTime,
    ) -> Result<(), StateError> {
        for alert in alerts {
            self.with(alert, destination, |row| {
                if row.leased_until == leased_until {
                    row.leased_until = START;
                }
            });
        }
        Ok(())
    }

    async fn delivered(
        &self,
        alert: &str,
        destination: &str,
        _: News,
        _: &Taken,
        _: OffsetDateTime,
    ) -> Result<(), StateError> {
        self.with(alert, destination, |row| row.end = End::Delivered);
        Ok(())
    }

    async fn failed(
        &self,
        alert: &str,
        destination: &str,
        _: News,
        failed: &Failed<'_>,
        now: OffsetDateTime,
    ) -> Result<(), StateError> {
        self.with(alert, destination, |row| {
            row.reasons.push(failed.reason.into());
            row.pending.attempts += 1;
            row.leased_until = now;
            match failed.next_attempt {
                Some(next) => row.next_attempt = next,
                None => row.end = End::Failed,
            }
        });
        Ok(())
    }

    async fn waiting(&self) -> Result<Vec<Waiting>, StateError> {
        let rows = self.rows.lock().unwrap();
        let pending = rows.iter().filter(|row| row.end == End::Pending);
        let mut waiting: BTreeMap<String, Waiting> = BTreeMap::new();
        for row in pending {
            let (destination, oldest) = (row.pending.destination.clone(), row.pending.alert.created_at);
            let none = Waiting { destination: destination.clone(), deliveries: 0, oldest };
            waiting.entry(destination).or_insert(none).deliveries += 1;
        }
        Ok(waiting.into_values().collect())
    }
}

/// What a destination does with every alert.
#[derive(Clone, Copy)]
enum Behaviour {
    Take,
    Down,
    Refuse,
    DownUntil(Instant),
    Hang,
    /// Takes all but one.
    Choke,
}

struct Scripted {
    name: &'static str,
    behaviour: Behaviour,
    attempts: Mutex<Vec<(String, Instant)>>,
}

impl Scripted {
    fn new(name: &'static str, behaviour: Behaviour) -> Arc<Scripted> {
        Arc::new(Scripted { name, behaviour, attempts: Mutex::default() })
    }

    fn times(&self) -> Vec<Instant> {
        self.attempts.lock().unwrap().iter().map(|(_, at)| *at).collect()
    }
}

#[async_trait]
impl Destination for Scripted {
    fn name(&self) -> &str {
        self.name
    }

    async fn send(&self, message: &Message<'_>) -> Result<Taken, SendError> {
        let id = &message.alert.id;
        self.attempts.lock().unwrap().push((id.clone(), Instant::now()));
        match self.behaviour {
            Behaviour::Take => Ok(Taken::with(Some(200))),
            Behaviour::Down => Err(SendError::unavailable("503")),
            Behaviour::DownUntil(end) if Instant::now() < end => Err(SendError::unavailable("503")),
            Behaviour::DownUntil(_) => Ok(Taken::default()),
            Behaviour::Refuse => Err(SendError::refused("404")),
            Behaviour::Hang => std::future::pending().await,
            Behaviour::Choke if id == "poison" => Err(SendError::unavailable("500")),
            Behaviour::Choke => Ok(Taken::default()),
        }
    }
}

fn delivery(outbox: Arc<dyn Outbox>) -> Delivery {
    Delivery {
        outbox,
        link_base: None,
        clock: clock(),
        telemetry: Telemetry::new(),
        backlogs: Arc::default(),
        doubt: Arc::default(),
    }
}

fn lines(destinations: &[Arc<Scripted>]) -> Vec<Line> {
    let line = |destination: &Arc<Scripted>| Line {
        destination: destination.clone(),
        rate_per_minute: u32::MAX,
        digests: false,
    };
    destinations.iter().map(line).collect()
}

/// Lines that nobody replaces.
fn fixed(lines: Vec<Line>) -> watch::Receiver<Vec<Line>> {
    watch::channel(lines).1
}

/// Runs the loops for `span` of paused time.
async fn run_for(span: Duration, outbox: &Arc<MemoryOutbox>, destinations: &[Arc<Scripted>]) {
    let stop = CancellationToken::new();
    let delivering = run(delivery(outbox.clone()), fixed(lines(destinations)), Arc::default(), stop.clone());
    let stopping = async {
        tokio::time::sleep(span).await;
        stop.cancel();
    };
    tokio::join!(delivering, stopping);
}

#[tokio::test(start_paused = true)]
async fn of_two_destinations_the_one_that_is_down_is_retried_alone_and_given_up_after_days() {
    let outbox = Arc::new(MemoryOutbox::default());
    let (good, bad) = (Scripted::new("good", Behaviour::Take), Scripted::new("bad", Behaviour::Down));
    outbox.add("a", "good");
    outbox.add("a", "bad");
    let start = Instant::now();
    run_for(HOUR * 24 * 4, &outbox, &[good.clone(), bad.clone()]).await;

    assert_eq!(good.times().len(), 1);
    outbox.with("a", "good", |row| assert_eq!(row.end, End::Delivered));
    outbox.with("a", "bad", |row| assert_eq!(row.end, End::Failed));
    let times = bad.times();
    let last = *times.last().unwrap() - start;
    assert!(times.len() > 100 && last >= HOUR * 72 && last <= HOUR * 73, "{} until {last:?}", times.len());
    for (retry, pair) in times.windows(2).enumerate() {
        let waited = pair[1] - pair[0];
        let step = Duration::from_secs(30 << retry.min(10)).min(HOUR / 2);
        // The breaker may hold it up for as long as it is open.
        assert!(waited >= step / 11 && waited <= step + HOUR / 12 + POLL, "retry {retry} came after {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_is_down_for_a_day_loses_nothing_and_is_left_alone() {
    let outbox = Arc::new(MemoryOutbox::default());
    let down = Scripted::new("down", Behaviour::DownUntil(Instant::now() + HOUR * 24));
    let alerts = 500;
    for alert in 0..alerts {
        outbox.add(&alert.to_string(), "down");
    }
    run_for(HOUR * 25, &outbox, std::slice::from_ref(&down)).await;
    for alert in 0..alerts {
        outbox.with(&alert.to_string(), "down", |row| assert_eq!(row.end, End::Delivered));
    }
    let in_vain = down.times().len() - alerts;
    assert!(in_vain < 1200, "it was tried {in_vain} times while it was down");
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_is_never_taken_holds_up_no_other() {
    let outbox = Arc::new(MemoryOutbox::default());
    let choking = Scripted::new("chokes", Behaviour::Choke);
    outbox.add("poison", "chokes");
    run_for(HOUR * 2, &outbox, std::slice::from_ref(&choking)).await;
    outbox.add("good", "chokes");
    run_for(Duration::from_secs(5), &outbox, std::slice::from_ref(&choking)).await;
    outbox.with("good", "chokes", |row| assert_eq!(row.end, End::Delivered));
    outbox.with("poison", "chokes", |row| assert_eq!(row.end, End::Pending));
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept_and_nothing_is_dropped() {
    let outbox = Arc::new(MemoryOutbox::default());
    let slow = Scripted::new("slow", Behaviour::Take);
    for alert in 0..100 {
        outbox.add(&alert.to_string(), "slow");
    }
    let stop = CancellationToken::new();
    let line = Line { destination: slow.clone(), rate_per_minute: 60, digests: false };
    let delivering = run(delivery(outbox.clone()), fixed(vec![line]), Arc::default(), stop.clone());
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let sent = slow.times().len();
        assert!((60..=75).contains(&sent), "{sent} were sent in the first minute");
        tokio::time::sleep(Duration::from_secs(60)).await;
        stop.cancel();
    };
    tokio::join!(delivering, stopping);
    assert_eq!(slow.times().len(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_long_backlog_comes_as_digests_to_people_and_one_by_one_to_programs() {
    for (digests, most) in [(true, 80), (false, 75)] {
        let outbox = Arc::new(MemoryOutbox::default());
        let slow = Scripted::new("slow", Behaviour::Take);
        for alert in 0..1500 {
            outbox.add(&alert.to_string(), "slow");
        }
        let stop = CancellationToken::new();
        let line = Line { destination: slow.clone(), rate_per_minute: 60, digests };
        let parts = delivery(outbox.clone());
        let telemetry = parts.telemetry.clone();
        let delivering = run(parts, fixed(vec![line]), Arc::default(), stop.clone());
        let stopping = async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            stop.cancel();
        };
        tokio::join!(delivering, stopping);
        let sent = slow.times().len();
        let left: u64 = outbox.waiting().await.unwrap().iter().map(|one| one.deliveries).sum();
        let digested = telemetry.metrics.deliveries_total.get(["slow", "digested"]);
        assert!(sent <= most, "{sent} messages");
        match digests {
            // Until so few are left that they come one by one.
            true => assert!(digested >= 500 && left < 1000, "{digested} digested, {left} left"),
            false => assert_eq!((digested, left), (0, 1500 - sent as u64)),
        }
    }
}

/// What was tried before does not go with others, however long the backlog is.
#[tokio::test(start_paused = true)]
async fn what_a_long_backlog_has_no_room_for_is_not_kept_from_the_next_round() {
    let outbox = Arc::new(MemoryOutbox::default());
    let slow = Scripted::new("slow", Behaviour::Take);
    for alert in 0..1500 {
        outbox.add(&alert.to_string(), "slow");
        outbox.with(&alert.to_string(), "slow", |row| row.pending.attempts = 1);
    }
    let stop = CancellationToken::new();
    let line = Line { destination: slow.clone(), rate_per_minute: 60, digests: true };
    let delivering = run(delivery(outbox.clone()), fixed(vec![line]), Arc::default(), stop.clone());
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        stop.cancel();
    };
    tokio::join!(delivering, stopping);
    let sent: Vec<String> = slow.attempts.lock().unwrap().iter().map(|(id, _)| id.clone()).collect();
    assert!(sent.len() >= 65, "{} were sent: the others were leased in vain", sent.len());
    let in_order: Vec<String> = (0..sent.len()).map(|alert| alert.to_string()).collect();
    assert_eq!(sent, in_order, "the oldest first");
}

#[tokio::test(start_paused = true)]
async fn other_destinations_take_the_place_of_those_at_work() {
    let outbox = Arc::new(MemoryOutbox::default());
    let (old, new) = (Scripted::new("old", Behaviour::Take), Scripted::new("new", Behaviour::Take));
    let (replace, current) = watch::channel(lines(std::slice::from_ref(&old)));
    let stop = CancellationToken::new();
    let delivering = run(delivery(outbox.clone()), current, Arc::default(), stop.clone());
    let replacing = async {
        outbox.add("a", "old");
        outbox.add("a", "new");
        tokio::time::sleep(Duration::from_secs(5)).await;
        replace.send_replace(lines(std::slice::from_ref(&new)));
        outbox.add("b", "old");
        outbox.add("b", "new");
        tokio::time::sleep(Duration::from_secs(5)).await;
        stop.cancel();
    };
    tokio::join!(delivering, replacing);
    assert_eq!((old.times().len(), new.times().len()), (1, 2));
    outbox.with("b", "old", |row| assert_eq!(row.end, End::Pending));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_tried_a_few_times_only() {
    let outbox = Arc::new(MemoryOutbox::default());
    let refusing = Scripted::new("gone", Behaviour::Refuse);
    outbox.add("a", "gone");
    run_for(HOUR, &outbox, std::slice::from_ref(&refusing)).await;
    assert_eq!(refusing.times().len(), outcome::REFUSED_ATTEMPTS as usize);
    outbox.with("a", "gone", |row| assert_eq!((&row.end, &*row.reasons[0]), (&End::Failed, "404")));
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_hangs_holds_no_other() {
    let outbox = Arc::new(MemoryOutbox::default());
    let (good, hanging) = (Scripted::new("good", Behaviour::Take), Scripted::new("hangs", Behaviour::Hang));
    outbox.add("a", "hangs");
    for alert in 0..BATCH * 2 {
        outbox.add(&alert.to_string(), "good");
    }
    let start = Instant::now();
    run_for(SEND_LIMIT + POLL * 2, &outbox, &[good.clone(), hanging.clone()]).await;
    assert_eq!(good.times().len(), BATCH as usize * 2);
    assert!(good.times().iter().all(|at| *at - start <= POLL));
    outbox.with("a", "hangs", |row| assert!(row.reasons[0].contains("no answer within 25 s"), "{:?}", row.reasons));
}

#[tokio::test(start_paused = true)]
async fn a_wake_is_not_kept_waiting() {
    let outbox = Arc::new(MemoryOutbox::default());
    let good = Scripted::new("good", Behaviour::Take);
    let (stop, wake) = (CancellationToken::new(), Arc::new(Notify::new()));
    let delivering =
        run(delivery(outbox.clone()), fixed(lines(std::slice::from_ref(&good))), wake.clone(), stop.clone());
    let recording = async {
        tokio::time::sleep(POLL / 2).await;
        let start = Instant::now();
        outbox.add("a", "good");
        wake.notify_one();
        tokio::time::sleep(POLL / 4).await;
        stop.cancel();
        start
    };
    let ((), start) = tokio::join!(delivering, recording);
    assert_eq!(good.times(), [start]);
}

#[tokio::test(start_paused = true)]
async fn what_is_due_at_shutdown_is_still_delivered() {
    let outbox = Arc::new(MemoryOutbox::default());
    let good = Scripted::new("good", Behaviour::Take);
    for alert in 0..BATCH * 3 + 1 {
        outbox.add(&alert.to_string(), "good");
    }
    let stop = CancellationToken::new();
    stop.cancel();
    run(delivery(outbox.clone()), fixed(lines(std::slice::from_ref(&good))), Arc::default(), stop).await;
    assert_eq!(good.times().len(), BATCH as usize * 3 + 1);
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_was_removed_keeps_its_deliveries_for_its_return() {
    let outbox = Arc::new(MemoryOutbox::default());
    outbox.add("a", "back");
    run_for(POLL, &outbox, &[]).await;
    outbox.with("a", "back", |row| assert_eq!((&row.end, row.reasons.len()), (&End::Pending, 0)));
    run_for(POLL, &outbox, &[Scripted::new("back", Behaviour::Take)]).await;
    outbox.with("a", "back", |row| assert_eq!(row.end, End::Delivered));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_asked_again() {
    let outbox = Arc::new(MemoryOutbox { broken_calls: Mutex::new(3), ..MemoryOutbox::default() });
    let good = Scripted::new("good", Behaviour::Take);
    outbox.add("a", "good");
    run_for(POLL * 10, &outbox, std::slice::from_ref(&good)).await;
    assert_eq!(good.times().len(), 1);
}

/// A writer that a test can look into.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn from_a_match_to_a_line_on_standard_output_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = SqliteConfig { path: folder.path().join("margay.db") };
    let store = Arc::new(SqliteStore::open(&config).await.unwrap());
    let claim = store.claim(&object("key"), "source", None, START, START + HOUR).await.unwrap();
    let Claim::Granted(token, _) = claim else { panic!("{claim:?}") };
    let detections = matches([matched(&Arc::new(rule("r")), 1)]);
    let names = [Receiver::accepting_all(stdout::NAME)];
    let opened = store.record(&token, &detections, &names, START).await.unwrap().opened;

    let output = Shared::default();
    let printer = Arc::new(Stdout::to(output.clone(), Style::Json));
    let stopped = CancellationToken::new();
    stopped.cancel();
    for _ in 0..2 {
        let line = Line { destination: printer.clone(), rate_per_minute: u32::MAX, digests: false };
        run(delivery(store.clone()), fixed(vec![line]), Arc::default(), stopped.clone()).await;
    }
    let written = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
    assert_eq!(written.lines().count(), 1, "{written}");
    assert!(written.contains(&opened[0].id), "{written}");
}
