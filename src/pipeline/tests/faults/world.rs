//! What outlives a daemon: queue, store, state, what the lake holds; and the dice that decide every fault.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

use super::content::Version;
use crate::fetch::memory::MemoryStore;
use crate::lake::memory::MemoryCatalog;
use crate::logtype::Registry;
use crate::model::ObjectId;
use crate::queue::memory::MemoryQueue;
use crate::runtime::{Clock, Tasks};
use crate::state::memory::MemoryState;
use crate::state::{ObjectOutcome, fixtures};

pub(super) const LEASE: Duration = Duration::from_secs(60);

/// A kind of fault. Each world has some of them, each with a rate of its own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// The process dies.
    Crash,
    /// An answer takes seconds.
    Slow,
    /// An answer takes longer than a lease.
    VerySlow,
    QueueRefuses,
    /// Applied, and answered with an error.
    QueueAnswerLost,
    Redelivery,
    Reorder,
    StateRefuses,
    StateAnswerLost,
    CatalogRefuses,
    CatalogAnswerLost,
    /// Answered with an error, and applied long after if nothing else was.
    CommitIsLate,
    StoreRefuses,
    StoreThrottles,
    StoreMisses,
    StoreForbids,
    /// A transfer breaks and says so.
    Reset,
    /// A compressed transfer ends early and looks whole.
    Damage,
    DetectFails,
}

const FAULTS: usize = Fault::DetectFails as usize + 1;

pub(super) struct World {
    pub(super) seed: u64,
    pub(super) daemons: u64,
    /// How long faults happen.
    pub(super) stormy: Duration,
    pub(super) queue: MemoryQueue,
    pub(super) store: MemoryStore,
    pub(super) state: MemoryState,
    pub(super) catalog: MemoryCatalog,
    /// What happens outside of the daemons.
    pub(super) others: Tasks,
    pub(super) log_types: Arc<Registry>,
    origin: Instant,
    rates: [f64; FAULTS],
    calm: AtomicBool,
    dice: Mutex<fastrand::Rng>,
    trace: Mutex<Vec<(Duration, String)>>,
    pub(super) book: Mutex<Book>,
}

/// What the oracle knows.
#[derive(Default)]
pub(super) struct Book {
    /// Every object ever stored, in order.
    pub(super) versions: Vec<Version>,
    /// What each message speaks of, by its id.
    pub(super) messages: BTreeMap<String, Vec<super::oracle::Promise>>,
    /// Every outcome that was written, with the fence of its claim.
    pub(super) finished: BTreeMap<ObjectId, Vec<(i64, ObjectOutcome)>>,
    violations: Vec<String>,
}

/// The time of the world, which daemons know only roughly.
struct TrueClock(Instant);

impl Clock for TrueClock {
    fn now(&self) -> OffsetDateTime {
        fixtures::START + self.0.elapsed()
    }
}

fn registry() -> Arc<Registry> {
    static BUILT_IN: std::sync::OnceLock<Arc<Registry>> = std::sync::OnceLock::new();
    BUILT_IN.get_or_init(|| Arc::new(Registry::built_in())).clone()
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut rates = [0.0; FAULTS];
        for rate in &mut rates {
            if dice.bool() {
                *rate = *dice.choice(&[0.01, 0.05, 0.2]).unwrap();
            }
        }
        rates[Fault::Crash as usize] /= 10.0;
        rates[Fault::VerySlow as usize] /= 5.0;
        World {
            seed,
            daemons: dice.u64(1..=2),
            stormy: Duration::from_secs(dice.u64(120..1500)),
            queue: MemoryQueue::with_clock(LEASE, Arc::new(TrueClock(Instant::now()))),
            store: MemoryStore::with_chunks(512),
            state: MemoryState::new(),
            catalog: MemoryCatalog::new(),
            others: Tasks::new(),
            log_types: registry(),
            origin: Instant::now(),
            rates,
            calm: AtomicBool::new(false),
            dice: Mutex::new(dice),
            trace: Mutex::default(),
            book: Mutex::default(),
        }
    }

    pub(super) fn dice(&self) -> MutexGuard<'_, fastrand::Rng> {
        self.dice.lock().unwrap()
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    pub(super) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    pub(super) fn happens(&self, fault: Fault) -> bool {
        let rate = self.rates[fault as usize];
        rate > 0.0 && !self.is_calm() && self.dice().f64() < rate
    }

    /// How long an answer takes.
    pub(super) fn delay(&self) -> Duration {
        if self.happens(Fault::VerySlow) {
            return Duration::from_millis(self.dice().u64(10_000..150_000));
        }
        if self.happens(Fault::Slow) {
            return Duration::from_millis(self.dice().u64(1..8_000));
        }
        Duration::ZERO
    }

    pub(super) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// No fault happens from now on.
    pub(super) fn calm(&self) {
        self.calm.store(true, Ordering::Relaxed);
        self.note("the faults stop".into());
    }

    pub(super) fn note(&self, what: String) {
        self.trace.lock().unwrap().push((self.now(), what));
    }

    pub(super) fn violated(&self, what: String) {
        self.note(format!("VIOLATED: {what}"));
        self.book().violations.push(what);
    }

    /// The trace; an error when something did not hold.
    pub(super) fn report(&self) -> Result<String, String> {
        let mut text = String::new();
        for (at, what) in &*self.trace.lock().unwrap() {
            writeln!(text, "{:>10.3} {what}", at.as_secs_f64()).unwrap();
        }
        let violations = &self.book().violations;
        if violations.is_empty() {
            return Ok(text);
        }
        let seed = self.seed;
        Err(format!(
            "seed {seed}, rates {:?}\n{text}\n{}\n\nrun it alone: MARGAY_FAULT_SEED={seed} cargo test --lib \
             whatever_fails -- --nocapture",
            self.rates,
            violations.join("\n"),
        ))
    }
}
