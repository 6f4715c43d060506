//! One rule set with the worker processes that have it loaded. A generation is swapped in whole; the batches that began
//! on it end on it, and its workers end with the last of them.
//!
//! A worker that dies costs its batch a retry and nothing else: the call that killed it becomes a fault, the rest of
//! the batch is evaluated by the next worker.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::protocol::{EventCalls, Fault, Functions, LoadFault, Outcome, Sources};
use super::ruleset::RuleSet;
use super::worker::{Worker, WorkerCommand, WorkerError};

/// After this many calls that overran or killed a worker, a rule runs no more until the rules change.
const STRIKES: u32 = 5;

/// A batch is given up after this many workers died without saying in which call.
const UNEXPLAINED_DEATHS: u32 = 3;

pub struct Generation {
    pub set: RuleSet,
    command: WorkerCommand,
    idle: Mutex<Vec<Worker>>,
    slots: Semaphore,
    strikes: Vec<AtomicU32>,
}

/// What a batch gave, and what it cost.
#[derive(Default)]
pub struct Evaluated {
    pub outcomes: Vec<Outcome>,
    /// Workers that died meanwhile.
    pub deaths: Vec<Death>,
    /// Rules that were switched off by this batch, by index.
    pub disabled: Vec<u32>,
}

/// Why a worker had to be replaced.
pub struct Death {
    /// `timeout` or `crash`.
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
        Generation { set, command, idle: Mutex::new(Vec::new()), slots: Semaphore::new(0), strikes: Vec::new() }
    }

    /// A generation of `workers` processes around the first one.
    pub async fn start(
        set: RuleSet,
        command: WorkerCommand,
        first: Worker,
        workers: usize,
    ) -> Result<Generation, WorkerError> {
        let strikes = set.rules.iter().map(|_| AtomicU32::new(0)).collect();
        let mut idle = vec![first];
        let started = (1..workers).map(|_| Generation::first_worker(&command, &set.sources));
        for worker in futures_util::future::join_all(started).await {
            idle.push(worker?.0);
        }
        Ok(Generation { set, command, idle: Mutex::new(idle), slots: Semaphore::new(workers), strikes })
    }

    /// Runs the calls of a batch. An error means that no worker could be had or that the batch kills workers in a way that no
    /// call explains.
    pub async fn run(&self, mut calls: Vec<EventCalls>) -> Result<Evaluated, WorkerError> {
        let mut done = Evaluated::default();
        let mut careful = false;
        let mut unexplained = 0;
        loop {
            self.drop_disabled(&mut calls);
            if calls.iter().all(|call| call.rules.is_empty()) {
                return Ok(done);
            }
            let shared = Arc::new(calls);
            let result = {
                let mut lease = self.worker().await?;
                let result = lease.worker().evaluate(careful, &shared).await;
                if result.is_ok() {
                    lease.keep();
                }
                result
            };
            calls =
                Arc::try_unwrap(shared).unwrap_or_else(|_| unreachable!("the request was dropped when it was sent"));
            let error = match result {
                Ok(outcomes) => {
                    done.outcomes.extend(outcomes);
                    return Ok(done);
                }
                Err(error) => error,
            };
            let detail = error.to_string();
            let (event, rule, reason, fault) = match error {
                WorkerError::Overrun { event, rule, function } => {
                    let limit = self.command.call_timeout;
                    let fault = own_fault("RuleTimeout", format!("`{function}` ran longer than {limit:?}"));
                    (event, rule, "timeout", fault)
                }
                WorkerError::Died { calling: Some((event, rule)), how } => {
                    let fault = own_fault("RuleCrash", format!("the call ended its worker process: {how}"));
                    (event, rule, "crash", fault)
                }
                WorkerError::Died { calling: None, .. } if unexplained < UNEXPLAINED_DEATHS => {
                    // The next worker announces each call, so that its death has a cause.
                    careful = true;
                    unexplained += 1;
                    done.deaths.push(Death { reason: "crash", detail });
                    continue;
                }
                error => return Err(error),
            };
            let detail = format!("{detail} (rule {})", self.set.rules[rule as usize].id);
            done.deaths.push(Death { reason, detail });
            self.strike(rule, &mut done.disabled);
            remove_call(&mut calls, event, rule);
            done.outcomes.push(Outcome { event, rule, functions: fault });
        }
    }

    fn strike(&self, rule: u32, disabled: &mut Vec<u32>) {
        let strikes = &self.strikes[rule as usize];
        if strikes.fetch_add(1, Ordering::Relaxed) + 1 == STRIKES {
            disabled.push(rule);
        }
    }

    fn drop_disabled(&self, calls: &mut [EventCalls]) {
        for call in calls {
            call.rules.retain(|rule| self.strikes[*rule as usize].load(Ordering::Relaxed) < STRIKES);
        }
    }

    /// Waits for a free worker; starts one where the last died.
    async fn worker(&self) -> Result<Lease<'_>, WorkerError> {
        let permit = self.slots.acquire().await.expect("the slots are never closed");
        let idle = self.idle.lock().expect("no holder of this lock panics").pop();
        let worker = match idle {
            Some(worker) => worker,
            None => Generation::first_worker(&self.command, &self.set.sources).await?.0,
        };
        Ok(Lease { generation: self, worker: Some(worker), _permit: permit })
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

    fn keep(mut self) {
        let worker = self.worker.take().expect("the worker is only taken when the lease ends");
        self.generation.idle.lock().expect("no holder of this lock panics").push(worker);
    }
}

fn remove_call(calls: &mut [EventCalls], event: u32, rule: u32) {
    if let Some(call) = calls.get_mut(event as usize) {
        call.rules.retain(|candidate| *candidate != rule);
    }
}

/// A fault of `rule` that Python did not raise.
fn own_fault(error_type: &str, message: String) -> Functions {
    let fault = Fault { error_type: error_type.into(), short_error: format!("{error_type}({message:?})"), message };
    Functions { faults: BTreeMap::from([("rule".to_owned(), fault)]), ..Functions::default() }
}
