//! The time budget of calls into Python, kept by a thread beside the interpreter.
//!
//! Python cannot be interrupted from within (a backtracking regular expression never looks up), so the only answer to an
//! overrun is to report it and end the process. A call that ends in time costs two atomic writes and no look at the
//! clock: the watchdog compares what it sees from tick to tick.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::functions::Function;
use crate::detect::protocol::{Place, Reply, RuleKind};

/// Importing a module may take this many times as long as a call.
const LOAD_FACTOR: u32 = 10;
const LOAD_MINIMUM: Duration = Duration::from_secs(10);

const ALIVE_INTERVAL: Duration = Duration::from_secs(1);

/// Until the daemon has said its budget.
const UNSET_BUDGET_MS: u64 = 15_000;

/// What the interpreter is doing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Work {
    Call { event: u32, rule: u32, function: Function, kind: RuleKind },
    Load(Place),
}

/// Shared by the interpreter's thread and the watchdog's.
#[derive(Debug)]
pub(super) struct Watch {
    /// Odd while work is under way; [`CONDEMNED`] from the moment it overran.
    epoch: AtomicU64,
    place: AtomicU64,
    kind: AtomicU32,
    /// How often a rule was begun on an event.
    evaluations: AtomicU64,
    /// A request is being worked on; the watchdog sleeps without a tick otherwise.
    active: AtomicBool,
    budget_ms: AtomicU64,
    /// The work waits for the daemon, in whose time it is.
    waiting: AtomicBool,
    /// Of all waits that have ended.
    waited_nanos: AtomicU64,
    watchdog: OnceLock<Thread>,
}

const CONDEMNED: u64 = u64::MAX;

/// Work under way; ends when dropped.
pub(super) struct Running<'a> {
    watch: &'a Watch,
    epoch: u64,
}

impl Default for Watch {
    fn default() -> Watch {
        Watch {
            epoch: AtomicU64::new(0),
            place: AtomicU64::new(0),
            kind: AtomicU32::new(0),
            evaluations: AtomicU64::new(0),
            active: AtomicBool::new(false),
            budget_ms: AtomicU64::new(UNSET_BUDGET_MS),
            waiting: AtomicBool::new(false),
            waited_nanos: AtomicU64::new(0),
            watchdog: OnceLock::new(),
        }
    }
}

impl Watch {
    pub(super) fn set_budget(&self, call: Duration) {
        self.budget_ms.store(call.as_millis().try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn budget(&self) -> Duration {
        Duration::from_millis(self.budget_ms.load(Ordering::Relaxed))
    }

    /// A request came in: work may follow.
    pub(super) fn wake(&self) {
        self.active.store(true, Ordering::Release);
        if let Some(watchdog) = self.watchdog.get() {
            watchdog.unpark();
        }
    }

    pub(super) fn rest(&self) {
        self.active.store(false, Ordering::Release);
    }

    pub(super) fn enter(&self, work: Work) -> Running<'_> {
        let (place, kind) = encode(work);
        self.place.store(place, Ordering::Relaxed);
        self.kind.store(kind, Ordering::Relaxed);
        // Only this thread changes an even epoch.
        let epoch = self.epoch.load(Ordering::Relaxed) + 1;
        self.epoch.store(epoch, Ordering::Release);
        Running { watch: self, epoch }
    }

    /// A rule is begun on an event: what its functions do belongs together.
    pub(super) fn begin_evaluation(&self) {
        self.evaluations.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of the evaluation that was begun last.
    pub(super) fn evaluation(&self) -> u64 {
        self.evaluations.load(Ordering::Relaxed)
    }

    /// Event and rule of the call that is under way. To be asked on the thread of the call.
    pub(super) fn calling(&self) -> Option<(u32, u32)> {
        let is_under_way = self.epoch.load(Ordering::Relaxed) % 2 == 1;
        match decode(self.place.load(Ordering::Relaxed), self.kind.load(Ordering::Relaxed)) {
            Work::Call { event, rule, .. } if is_under_way => Some((event, rule)),
            _ => None,
        }
    }

    /// Until the guard is dropped, time is not the work's.
    pub(super) fn wait(&self) -> Waiting<'_> {
        self.waiting.store(true, Ordering::Relaxed);
        Waiting { watch: self, since: Instant::now() }
    }

    /// How long was waited for the daemon, all waits that have ended together.
    pub(super) fn waited_nanos(&self) -> u64 {
        self.waited_nanos.load(Ordering::Relaxed)
    }

    /// Runs on the watchdog's thread until work overruns; returns what to say before the process ends. From then on
    /// the interpreter's thread can no longer leave the work, so it cannot answer as if nothing had happened. Calls
    /// `alive` every second while there is work, with how much was begun and ended so far, so that a long batch is told
    /// from a process that is stuck.
    pub(super) fn until_overrun(&self, mut alive: impl FnMut(u64)) -> Reply {
        let _ = self.watchdog.set(thread::current());
        let mut seen = Seen::default();
        let mut said_alive = Instant::now();
        // Time in which this process could run. A pause of all of it (a stopped machine, a throttled container) is not the
        // call's: a look counts for no more than two of its intervals.
        let mut watched = Duration::ZERO;
        loop {
            if !self.active.load(Ordering::Acquire) {
                thread::park();
                continue;
            }
            let tick = (self.budget() / 8).clamp(Duration::from_millis(1), Duration::from_millis(100));
            let asleep = Instant::now();
            thread::sleep(tick);
            if !self.waiting.load(Ordering::Relaxed) {
                watched += asleep.elapsed().min(tick * 2);
            }
            if said_alive.elapsed() >= ALIVE_INTERVAL {
                said_alive = Instant::now();
                alive(self.epoch.load(Ordering::Acquire));
            }
            // Not before the sleep: the budget must be the one under which the work that is seen now began.
            let call = self.budget();
            let epoch = self.epoch.load(Ordering::Acquire);
            let work = decode(self.place.load(Ordering::Relaxed), self.kind.load(Ordering::Relaxed));
            let budget = match work {
                Work::Call { .. } => call,
                Work::Load(_) => (call * LOAD_FACTOR).max(LOAD_MINIMUM),
            };
            if seen.overran(epoch, watched, budget)
                && self.epoch.compare_exchange(epoch, CONDEMNED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            {
                return match work {
                    Work::Call { event, rule, function, kind } => {
                        Reply::Overrun { event, rule, function: function.name(kind).to_owned() }
                    }
                    Work::Load(place) => Reply::LoadOverrun { place },
                };
            }
        }
    }
}

/// The work waits for the daemon.
pub(super) struct Waiting<'a> {
    watch: &'a Watch,
    since: Instant,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // A clock that is too coarse to see a wait must not deny it.
        let nanos = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1);
        self.watch.waited_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.watch.waiting.store(false, Ordering::Relaxed);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let ended = self.watch.epoch.compare_exchange(self.epoch, self.epoch + 1, Ordering::AcqRel, Ordering::Relaxed);
        while ended.is_err() {
            // Condemned: the watchdog is about to end the process.
            thread::park();
        }
    }
}

/// The decision, apart from threads and clocks: one and the same work seen for longer than its budget.
#[derive(Debug, Default)]
struct Seen {
    epoch: u64,
    since: Duration,
}

impl Seen {
    fn overran(&mut self, epoch: u64, now: Duration, budget: Duration) -> bool {
        if epoch != self.epoch {
            *self = Seen { epoch, since: now };
        }
        epoch % 2 == 1 && now.saturating_sub(self.since) >= budget
    }
}

const LOAD_GLOBAL: u32 = 100;
const LOAD_RULE: u32 = 101;
const LOAD_DATA_MODEL: u32 = 102;
const POLICY: u32 = 50;

fn encode(work: Work) -> (u64, u32) {
    match work {
        Work::Call { event, rule, function, kind } => {
            let policy = if kind == RuleKind::Policy { POLICY } else { 0 };
            (u64::from(event) << 32 | u64::from(rule), function as u32 + policy)
        }
        Work::Load(Place::Global(at)) => (at.into(), LOAD_GLOBAL),
        Work::Load(Place::Rule(at)) => (at.into(), LOAD_RULE),
        Work::Load(Place::DataModel(at)) => (at.into(), LOAD_DATA_MODEL),
    }
}

fn decode(place: u64, kind: u32) -> Work {
    let low = place as u32;
    match kind {
        LOAD_GLOBAL => Work::Load(Place::Global(low)),
        LOAD_RULE => Work::Load(Place::Rule(low)),
        LOAD_DATA_MODEL => Work::Load(Place::DataModel(low)),
        call => {
            let policy = call >= POLICY;
            let at = if policy { call - POLICY } else { call };
            let auxiliary = Function::AUXILIARY.into_iter().find(|function| *function as u32 == at);
            Work::Call {
                event: (place >> 32) as u32,
                rule: low,
                function: auxiliary.unwrap_or(Function::Rule),
                kind: if policy { RuleKind::Policy } else { RuleKind::Rule },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_and_the_same_work_can_overrun() {
        let ms = Duration::from_millis;
        let mut seen = Seen::default();
        let budget = ms(100);
        for (epoch, now, expected) in [
            (0, 0, false),
            (0, 900, false),  // idle
            (1, 1000, false), // first look
            (1, 1099, false), // within
            (3, 1100, false), // another call
            (3, 1199, false),
            (3, 1200, true),
            (4, 1300, false), // it ended after all
            (4, 9000, false),
        ] {
            assert_eq!(seen.overran(epoch, ms(now), budget), expected, "epoch {epoch} at {now} ms");
        }
    }

    #[test]
    fn work_survives_its_encoding() {
        for function in Function::AUXILIARY.into_iter().chain([Function::Rule]) {
            for kind in [RuleKind::Rule, RuleKind::Policy] {
                let work = Work::Call { event: u32::MAX, rule: 7, function, kind };
                let (place, code) = encode(work);
                assert_eq!(decode(place, code), work);
            }
        }
        for place in [Place::Global(1), Place::Rule(2), Place::DataModel(u32::MAX)] {
            let (at, code) = encode(Work::Load(place));
            assert_eq!(decode(at, code), Work::Load(place));
        }
    }

    #[test]
    fn an_overrun_is_reported_with_its_call_and_cannot_be_left() {
        let watch = Watch::default();
        watch.set_budget(Duration::from_millis(20));
        let work = Work::Call { event: 3, rule: 4, function: Function::Dedup, kind: RuleKind::Rule };
        let running = watch.enter(work);
        watch.wake();
        let reply = thread::scope(|scope| scope.spawn(|| watch.until_overrun(|_| ())).join().unwrap());
        let Reply::Overrun { event: 3, rule: 4, function } = reply else { panic!("{reply:?}") };
        assert_eq!(function, "dedup");
        assert_eq!(watch.epoch.load(Ordering::Relaxed), CONDEMNED);
        // Dropping it would wait for the end of the process.
        std::mem::forget(running);
    }

    #[test]
    fn a_wait_is_not_the_works_time() {
        let watch = Watch::default();
        watch.set_budget(Duration::from_millis(200));
        let running = watch.enter(Work::Call { event: 1, rule: 2, function: Function::Rule, kind: RuleKind::Rule });
        watch.wake();
        assert_eq!(watch.calling(), Some((1, 2)));
        let mut waiting = Some(watch.wait());
        let alive = std::sync::atomic::AtomicU32::new(0);
        thread::scope(|scope| {
            let watchdog = scope.spawn(|| {
                watch.until_overrun(|_| {
                    alive.fetch_add(1, Ordering::Relaxed);
                })
            });
            // Said once a second: five budgets have gone by.
            while alive.load(Ordering::Relaxed) == 0 {
                assert!(!watchdog.is_finished());
                thread::yield_now();
            }
            waiting.take();
            assert!(matches!(watchdog.join().unwrap(), Reply::Overrun { event: 1, rule: 2, .. }));
        });
        std::mem::forget(running);
    }

    #[test]
    fn work_that_ended_leaves_no_trace() {
        let watch = Watch::default();
        for _ in 0..3 {
            drop(watch.enter(Work::Load(Place::Rule(1))));
        }
        assert_eq!(watch.epoch.load(Ordering::Relaxed), 6);
    }
}
