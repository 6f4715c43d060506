//! One rule set with the worker processes that have it loaded. A generation is swapped in whole; the batches that began
//! on it end on it, and its workers end with the last of them.
//!
//! A worker that dies costs its batch a retry and nothing else: what was evaluated stays, the call that killed it becomes a
//! fault, the rest of the batch is evaluated by the next worker.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::key_value::Desk;
use super::plan::Tally;
use super::profile::Profile;
use super::protocol::{EventCalls, Fault, Functions, LoadFault, Outcome, Sources, Spent};
use super::ruleset::RuleSet;
use super::strikes::{Pause, Strikes};
use super::worker::{Progress, Worker, WorkerCommand, WorkerError};
use crate::model::SwitchedOff;
use crate::telemetry::Telemetry;

/// A worker that has taken more than this part of its address space is replaced before a rule that needs a little more
/// of it is blamed for what others have left behind.
const MOST_OF_MEMORY: f64 = 0.75;

/// A batch is given up after this many workers died without saying in which call.
const UNEXPLAINED_DEATHS: u32 = 3;

pub struct Generation {
    pub set: RuleSet,
    command: WorkerCommand,
    idle: Mutex<Vec<Worker>>,
    /// Since when each worker is missing that died and has no successor yet.
    vacancies: Mutex<Vec<Instant>>,
    slots: Semaphore,
    strikes: Strikes,
    profile: Profile,
    telemetry: Telemetry,
}

/// What a batch gave, and what it cost.
#[derive(Default)]
pub struct Evaluated {
    pub outcomes: Vec<Outcome>,
    /// Workers that went and came meanwhile, in order.
    pub turnover: Vec<Turnover>,
    /// Rules that this batch switched off for a while.
    pub disabled: Vec<Disabled>,
    /// What the calls cost, by rule.
    pub spent: BTreeMap<u32, Spent>,
    /// How long the batch took beside the work of its worker: writing, reading and understanding both ways.
    pub crossing: Duration,
}

pub enum Turnover {
    Died(Death),
    /// The successor was ready so long after the worker before it had gone.
    Replaced(Duration),
}

/// A rule that is switched off.
pub struct Disabled {
    /// By index.
    pub rule: u32,
    pub pause: Duration,
    /// What it did the last time.
    pub cause: String,
}

/// Why a worker had to be replaced.
pub struct Death {
    /// `timeout`, `crash`, `tampering` or `memory`.
    pub reason: &'static str,
    pub detail: String,
}

impl Generation {
    /// Starts one worker with `sources`; its faults decide what the rule set becomes.
    pub async fn first_worker(
        command: &WorkerCommand,
        sources: &Arc<Sources>,
    ) -> Result<(Worker, Vec<LoadFault>), WorkerError> {
        let mut worker = Worker::start(command).await?;
        let faults = worker.load(sources).await?;
        Ok((worker, faults))
    }

    #[cfg(test)]
    pub(crate) fn without_workers(set: RuleSet, command: WorkerCommand) -> Generation {
        Generation::of(set, command, Vec::new(), Telemetry::new())
    }

    fn of(set: RuleSet, command: WorkerCommand, idle: Vec<Worker>, telemetry: Telemetry) -> Generation {
        Generation {
            set,
            command,
            slots: Semaphore::new(idle.len()),
            idle: Mutex::new(idle),
            vacancies: Mutex::default(),
            strikes: Strikes::default(),
            profile: Profile::default(),
            telemetry,
        }
    }

    /// A generation of `workers` processes around the first one.
    pub async fn start(
        set: RuleSet,
        command: WorkerCommand,
        first: Worker,
        workers: usize,
        telemetry: Telemetry,
    ) -> Result<Generation, WorkerError> {
        let mut idle = vec![first];
        let started = (1..workers).map(|_| Generation::first_worker(&command, &set.sources));
        for worker in futures_util::future::join_all(started).await {
            idle.push(worker?.0);
        }
        Ok(Generation::of(set, command, idle, telemetry))
    }

    /// Counts what a batch asked for and cost.
    pub fn count(&self, tally: &Tally, done: &Evaluated) {
        self.profile.add(tally, &done.spent);
    }

    /// Tells telemetry what was counted since the last time.
    pub fn tell(&self) {
        self.profile.tell(&self.set, &self.telemetry);
    }

    /// Rules that are switched off now, with why.
    pub fn switched_off(&self) -> Vec<SwitchedOff> {
        let told = |Pause { rule, left, cause }| SwitchedOff {
            rule: self.set.rules[rule as usize].clone(),
            pause: left,
            cause,
        };
        self.strikes.pauses().into_iter().map(told).collect()
    }

    /// Lets a rule go on that is switched off; one that is not there needs nothing.
    pub fn forgive(&self, rule: &str) {
        let place = (0..).zip(&self.set.rules).find(|(_, own)| *own.id == *rule);
        if let Some((place, _)) = place {
            self.strikes.forgive(place);
        }
    }

    /// Runs the calls of a batch. An error means that no worker could be had or that the batch kills workers in a way that
    /// no call explains; `done` has what was evaluated until then.
    pub(super) async fn run(
        &self,
        calls: Vec<EventCalls>,
        desk: &Desk<'_>,
        done: &mut Evaluated,
    ) -> Result<(), WorkerError> {
        let ran = self.run_all(calls, desk, done).await;
        self.fill_vacancies(&mut done.turnover).await;
        ran
    }

    async fn run_all(
        &self,
        mut calls: Vec<EventCalls>,
        desk: &Desk<'_>,
        done: &mut Evaluated,
    ) -> Result<(), WorkerError> {
        let mut careful = false;
        let mut unexplained = 0;
        loop {
            self.drop_disabled(&mut calls, done);
            if calls.iter().all(|call| call.rules.is_empty()) {
                return Ok(());
            }
            let shared = Arc::new(calls);
            let mut progress = Progress::default();
            let result = self.attempt(careful, &shared, desk, &mut progress, done).await;
            std::mem::take(&mut progress.spent).values().for_each(|spent| spent.add_to(&mut done.spent));
            calls =
                Arc::try_unwrap(shared).unwrap_or_else(|_| unreachable!("the request was dropped when it was sent"));
            let Err(error) = result else {
                done.outcomes.append(&mut progress.outcomes);
                return Ok(());
            };
            keep_finished(&mut calls, progress, done);
            let detail = error.to_string();
            let (event, rule, reason, fault) = match error {
                WorkerError::Overrun { event, rule, function } => {
                    let limit = self.command.call_timeout;
                    overrun(rule, limit).add_to(&mut done.spent);
                    let said = format!("`{function}` ran longer than {limit:?}");
                    (event, rule, "timeout", of_overrun(function, own_fault("RuleTimeout", said)))
                }
                WorkerError::Tampered { event, rule, what } => {
                    let said = format!("it changed {what}, which all rules share; leave it as it is");
                    (event, rule, "tampering", own_fault("RuleTampering", said))
                }
                WorkerError::Died { calling: Some((event, rule)), how } => {
                    let fault = own_fault("RuleCrash", format!("the call ended its worker process: {how}"));
                    (event, rule, "crash", fault)
                }
                WorkerError::Died { calling: None, .. } if unexplained < UNEXPLAINED_DEATHS => {
                    // The next worker announces each call, so that its death has a cause.
                    careful = true;
                    unexplained += 1;
                    done.turnover.push(Turnover::Died(Death { reason: "crash", detail }));
                    continue;
                }
                error => return Err(error),
            };
            if let Some(pause) = self.strikes.add(rule, &detail) {
                done.disabled.push(Disabled { rule, pause, cause: detail.clone() });
            }
            let detail = format!("{detail} (rule {})", self.set.rules[rule as usize].id);
            done.turnover.push(Turnover::Died(Death { reason, detail }));
            calls[event as usize].rules.retain(|candidate| *candidate != rule);
            done.outcomes.push(Outcome { event, rule, functions: fault });
        }
    }

    async fn attempt(
        &self,
        careful: bool,
        calls: &Arc<Vec<EventCalls>>,
        desk: &Desk<'_>,
        progress: &mut Progress,
        done: &mut Evaluated,
    ) -> Result<(), WorkerError> {
        let mut lease = self.worker(&mut done.turnover).await?;
        let began = Instant::now();
        lease.worker().evaluate(careful, calls, progress, &mut desk.calls()).await?;
        done.crossing += began.elapsed().saturating_sub(progress.busy);
        let limit = self.command.memory_mib * 1024 * 1024;
        match lease.worker().address_space() {
            Some(bytes) if bytes as f64 > limit as f64 * MOST_OF_MEMORY => {
                let detail = format!("it had taken {} of {} MiB", bytes / 1024 / 1024, self.command.memory_mib);
                done.turnover.push(Turnover::Died(Death { reason: "memory", detail }));
            }
            _ => lease.keep(),
        }
        Ok(())
    }

    /// Takes out the calls of rules that are switched off. That is a fault, once a batch: nobody should believe that
    /// such a rule is at work.
    fn drop_disabled(&self, calls: &mut [EventCalls], done: &mut Evaluated) {
        let disabled = self.strikes.disabled();
        for rule in disabled {
            let mut first = true;
            for (event, call) in (0..).zip(calls.iter_mut()) {
                let before = call.rules.len();
                call.rules.retain(|candidate| *candidate != rule);
                if call.rules.len() < before && std::mem::take(&mut first) {
                    let said = "the rule is switched off for a while after repeated overruns or crashes; mend it";
                    done.outcomes.push(Outcome { event, rule, functions: own_fault("RuleDisabled", said.into()) });
                }
            }
        }
    }

    /// Waits for a free worker; starts one where the last died.
    async fn worker(&self, turnover: &mut Vec<Turnover>) -> Result<Lease<'_>, WorkerError> {
        let permit = self.slots.acquire().await.expect("the slots are never closed");
        let idle = self.idle.lock().expect("no holder of this lock panics").pop();
        let worker = match idle {
            Some(worker) => worker,
            None => self.successor(self.vacancy(), turnover).await?,
        };
        Ok(Lease { generation: self, worker: Some(worker), _permit: permit })
    }

    /// Starts successors now, so that the next batch finds all workers. Where every slot is taken, a batch has it, and
    /// starts one itself when it finds none.
    async fn fill_vacancies(&self, turnover: &mut Vec<Turnover>) {
        while let Ok(_permit) = self.slots.try_acquire()
            && let Some(since) = self.vacancy()
        {
            // Why it can't be started is told by the batch that needs it and can't have it.
            let Ok(worker) = self.successor(Some(since), turnover).await else { return };
            self.idle.lock().expect("no holder of this lock panics").push(worker);
        }
    }

    /// A worker in the place of one that is gone since then.
    async fn successor(&self, since: Option<Instant>, turnover: &mut Vec<Turnover>) -> Result<Worker, WorkerError> {
        let vacancy = Vacancy { generation: self, since };
        // It has loaded these sources before: that it does not now is no matter of the batch.
        let started = Generation::first_worker(&self.command, &self.set.sources).await;
        let (worker, _) = started.map_err(|error| error.at_start(&self.command))?;
        turnover.extend(vacancy.filled().map(|since| Turnover::Replaced(since.elapsed())));
        Ok(worker)
    }

    /// The oldest.
    fn vacancy(&self) -> Option<Instant> {
        let mut vacancies = self.vacancies.lock().expect("no holder of this lock panics");
        (!vacancies.is_empty()).then(|| vacancies.remove(0))
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.tell();
    }
}

/// A place that is being filled; when it is not, it is vacant as before.
struct Vacancy<'a> {
    generation: &'a Generation,
    since: Option<Instant>,
}

impl Vacancy<'_> {
    fn filled(mut self) -> Option<Instant> {
        self.since.take()
    }
}

impl Drop for Vacancy<'_> {
    fn drop(&mut self) {
        if let Some(since) = self.since.take() {
            self.generation.vacancies.lock().expect("no holder of this lock panics").push(since);
        }
    }
}

/// A worker in use. Unless it is kept, it is killed when the lease ends.
struct Lease<'a> {
    generation: &'a Generation,
    worker: Option<Worker>,
    _permit: SemaphorePermit<'a>,
}

impl Lease<'_> {
    fn worker(&mut self) -> &mut Worker {
        self.worker.as_mut().expect("the worker is only taken when the lease ends")
    }

    /// It works on.
    fn keep(mut self) {
        let worker = self.worker.take().expect("the worker is only taken when the lease ends");
        self.generation.idle.lock().expect("no holder of this lock panics").push(worker);
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if self.worker.take().is_some() {
            self.generation.vacancies.lock().expect("no holder of this lock panics").push(Instant::now());
        }
    }
}

/// A call that was ended took all of its time.
fn overrun(rule: u32, limit: Duration) -> Spent {
    let nanos = limit.as_nanos().try_into().unwrap_or(u64::MAX);
    Spent { rule, calls: 1, nanos, longest_nanos: nanos, waited_nanos: 0 }
}

/// Of a batch whose worker died: what is done is not done again, and what an unfinished event gave is forgotten.
fn keep_finished(calls: &mut [EventCalls], progress: Progress, done: &mut Evaluated) {
    for call in &mut calls[..progress.through as usize] {
        call.rules.clear();
    }
    done.outcomes.extend(progress.outcomes.into_iter().filter(|outcome| outcome.event < progress.through));
}

/// A function that says what a match is about never loses the match: the defaults stand in for it, and for the others, whose
/// results went with the process.
fn of_overrun(function: String, mut functions: Functions) -> Functions {
    if !["rule", "policy"].contains(&function.as_str())
        && let Some(fault) = functions.faults.remove("rule")
    {
        functions.rule = Some(true);
        functions.faults.insert(function, fault);
    }
    functions
}

/// A fault of `rule` that Python did not raise.
fn own_fault(error_type: &str, message: String) -> Functions {
    let fault = Fault {
        error_type: error_type.into(),
        short_error: format!("{error_type}({message:?})"),
        message,
        ..Fault::default()
    };
    Functions { faults: BTreeMap::from([("rule".to_owned(), fault)]), ..Functions::default() }
}
