//! Evaluates batches on the current rule set and swaps rule sets. The face of detection to the rest of margay.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use super::Config;
use super::content::{self, Content, Problem};
use super::generation::{Evaluated, Generation};
use super::plan::Plan;
use super::protocol::{Fault, LoadFault, Place};
use super::ruleset::RuleSet;
use super::verdicts::Verdicts;
use super::worker::{WorkerCommand, WorkerError};
use crate::model::{Detections, EventBatch, SavedQuery};
use crate::runtime::{blocking, blocking_deep};
use crate::telemetry::Telemetry;

/// A failed rule is restored, then loaded again; a helper's restoration can uncover a rule's. More rounds never help.
const LOAD_ROUNDS: usize = 3;

#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// No worker could be had, or a batch kills workers in a way that no call explains. Worth trying again later.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    #[error("the rule folders hold no rule any more; if that is meant, send SIGHUP")]
    Empty,
}

impl DetectError {
    /// Whether a batch can be the reason. That no worker can be started is none of any batch.
    pub fn is_of_the_batch(&self) -> bool {
        !matches!(self, DetectError::Worker(WorkerError::Start { .. }))
    }
}

/// What a rule set is loaded from and how it is run.
struct LoadPlan {
    directories: Vec<PathBuf>,
    packs: Vec<String>,
    command: WorkerCommand,
    workers: usize,
    guards: bool,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    plan: LoadPlan,
    current: RwLock<Current>,
    /// Number of the current rule set, from 1.
    generation: AtomicU64,
    python_calls: AtomicU64,
    telemetry: Telemetry,
    /// Stands in for rules and workers.
    #[cfg(test)]
    double: Option<Double>,
}

#[cfg(test)]
type Double = Box<dyn Fn(&EventBatch) -> Result<Detections, DetectError> + Send + Sync>;

#[derive(Clone)]
struct Current {
    generation: Arc<Generation>,
    /// What stands in for items that break later.
    good: Arc<Content>,
}

/// How a load went: what runs now, and everything that was wrong.
#[derive(Debug)]
pub struct LoadReport {
    pub rules: usize,
    pub problems: Vec<Problem>,
    /// What takes the guards of rules away.
    pub warnings: Vec<Problem>,
    /// Items of kinds that are not evaluated, by kind.
    pub not_evaluated: BTreeMap<String, usize>,
    /// Why the kernel does not keep rule workers from system calls, where it does not.
    pub unwalled: Option<String>,
}

impl Engine {
    /// Loads the rules and starts the workers. Broken rules are in the report and never stop the rest.
    pub async fn start(
        config: &Config,
        program: PathBuf,
        telemetry: Telemetry,
    ) -> Result<(Engine, LoadReport), DetectError> {
        let command = WorkerCommand {
            program,
            memory_mib: config.worker_memory_mib,
            call_timeout: Duration::from_millis(config.call_timeout_ms),
            require_seccomp: config.require_seccomp,
        };
        let workers = match config.workers {
            0 => super::cores(),
            workers => workers,
        };
        let plan = LoadPlan {
            directories: config.directories.clone(),
            packs: config.packs.clone(),
            command,
            workers,
            guards: config.guards,
        };
        let (current, report) = plan.load(None).await?;
        tell_loaded(&telemetry, 1, &report);
        let inner = Inner {
            plan,
            current: RwLock::new(current),
            generation: AtomicU64::new(1),
            python_calls: AtomicU64::new(0),
            telemetry,
            #[cfg(test)]
            double: None,
        };
        Ok((Engine { inner: Arc::new(inner) }, report))
    }

    /// An engine to which no event means anything: for what is tested without rules.
    #[cfg(test)]
    pub(crate) fn without_rules() -> Engine {
        Engine::evaluating(|_| Ok(Detections::default()))
    }

    /// An engine whose workers can't be started.
    #[cfg(test)]
    pub(crate) fn without_any_worker() -> Engine {
        Engine::evaluating(|_| {
            Err(WorkerError::Start { program: PathBuf::from("margay"), reason: "it is not there".into() }.into())
        })
    }

    /// An engine that finds what `double` finds, without rules and workers.
    #[cfg(test)]
    pub(crate) fn evaluating(
        double: impl Fn(&EventBatch) -> Result<Detections, DetectError> + Send + Sync + 'static,
    ) -> Engine {
        let command = WorkerCommand {
            program: PathBuf::new(),
            memory_mib: 0,
            call_timeout: Duration::ZERO,
            require_seccomp: false,
        };
        let content = Content::default();
        let set = RuleSet::new(&content, Arc::new(content.sources()), &[]);
        let generation = Arc::new(Generation::without_workers(set, command.clone()));
        let plan = LoadPlan { directories: Vec::new(), packs: Vec::new(), command, workers: 0, guards: false };
        let inner = Inner {
            plan,
            current: RwLock::new(Current { generation, good: Arc::new(content) }),
            generation: AtomicU64::new(1),
            python_calls: AtomicU64::new(0),
            telemetry: Telemetry::new(),
            double: Some(Box::new(double)),
        };
        Engine { inner: Arc::new(inner) }
    }

    /// Loads the rules as they are on disk now, aside, and swaps them in whole. On an error the current ones stay. Folders
    /// that are suddenly without any rule are refused unless that is `meant`: a mount may be late.
    pub async fn reload(&self, meant: bool) -> Result<LoadReport, DetectError> {
        let good = self.current().good;
        let inner = &self.inner;
        let (next, report) = inner.plan.load(Some(&good)).await?;
        if report.rules == 0 && !good.rules.is_empty() && !meant {
            return Err(DetectError::Empty);
        }
        *inner.current.write().expect("no holder of this lock panics") = next;
        tell_loaded(&inner.telemetry, inner.generation.fetch_add(1, Ordering::Relaxed) + 1, &report);
        Ok(report)
    }

    /// Log types that rules wait for.
    pub fn log_types(&self) -> Vec<String> {
        self.current().generation.set.log_types().map(str::to_owned).collect()
    }

    /// Queries over the lake that stand beside the rules.
    pub fn queries(&self) -> Vec<SavedQuery> {
        self.current().good.queries.iter().map(|query| query.spec.saved()).collect()
    }

    /// Calls of rules that were sent to Python since the start.
    pub fn python_calls(&self) -> u64 {
        self.inner.python_calls.load(Ordering::Relaxed)
    }

    /// Runs every rule of each event's log type: natively where its guard is certain, else in Python.
    pub async fn evaluate(&self, batch: &Arc<EventBatch>) -> Result<Detections, DetectError> {
        #[cfg(test)]
        if let Some(double) = &self.inner.double {
            return double(batch);
        }
        let generation = self.current().generation;
        let started = tokio::time::Instant::now();
        let (guarding, events) = (generation.clone(), batch.clone());
        let Plan { positions, calls, tally } = blocking(move || Plan::of(&guarding.set, &events)).await;
        self.inner.python_calls.fetch_add(tally.python_calls(), Ordering::Relaxed);
        tally.tell(&generation.set, &self.inner.telemetry);
        let mut evaluated = Evaluated::default();
        let ran = generation.run(calls, &mut evaluated).await;
        self.report(&generation.set, tally.evaluations(), started.elapsed(), &evaluated);
        ran?;
        evaluated.outcomes.sort_by_key(|outcome| (outcome.event, outcome.rule));
        let mut verdicts = Verdicts::default();
        for outcome in evaluated.outcomes {
            let event = &batch.events[positions[outcome.event as usize]];
            verdicts.add(&generation.set.rules[outcome.rule as usize], event, outcome.functions);
        }
        verdicts.add_broken(&generation.set, batch);
        verdicts.tell(&self.inner.telemetry);
        Ok(verdicts.detections)
    }

    fn report(&self, set: &RuleSet, evaluations: u64, took: Duration, evaluated: &Evaluated) {
        let telemetry = &self.inner.telemetry;
        telemetry.batch_evaluated(evaluations, took);
        for death in &evaluated.deaths {
            telemetry.rule_worker_restarted(death.reason, &death.detail);
        }
        for rule in &evaluated.disabled {
            telemetry.rule_disabled(&set.rules[*rule as usize].id);
        }
    }

    fn current(&self) -> Current {
        self.inner.current.read().expect("no holder of this lock panics").clone()
    }
}

fn tell_loaded(telemetry: &Telemetry, generation: u64, report: &LoadReport) {
    for problem in &report.problems {
        telemetry.rule_not_loaded(&problem.file.display().to_string(), &problem.to_string());
    }
    if let Some(reason) = &report.unwalled {
        telemetry.rule_workers_unwalled(reason);
    }
    telemetry.rule_set_loaded(generation, report.rules, report.problems.len());
}

impl LoadPlan {
    async fn load(&self, good: Option<&Content>) -> Result<(Current, LoadReport), DetectError> {
        let directories = self.directories.clone();
        let mut content = blocking(move || content::read(&directories)).await;
        content.enable_packs(&self.packs);
        content.retain_runnable();
        let mut problems = std::mem::take(&mut content.problems);
        let not_evaluated = std::mem::take(&mut content.not_evaluated);
        if let Some(good) = good {
            content.problems.clone_from(&problems);
            content.restore_unreadable(good);
            content.problems.clear();
        }
        let mut round = 1;
        let (first, sources, faults) = loop {
            let sources = Arc::new(content.sources());
            let (worker, faults) = match Generation::first_worker(&self.command, &sources).await {
                Err(error @ (WorkerError::LoadStuck { place } | WorkerError::LoadDied { place, .. })) => {
                    // This module alone is left out (or replaced by its last good version): there is one fewer each time.
                    let fault = of_the_load(place, &error);
                    remember(&mut problems, &content, std::slice::from_ref(&fault));
                    if !good.is_some_and(|good| content.restore_faulted(std::slice::from_ref(&fault), good)) {
                        content = content.without(&[fault]);
                    }
                    continue;
                }
                started => started?,
            };
            remember(&mut problems, &content, &faults);
            let restored = good.is_some_and(|good| content.restore_faulted(&faults, good));
            if !restored || round == LOAD_ROUNDS {
                break (worker, sources, faults);
            }
            round += 1;
        };
        let mut set = RuleSet::new(&content, sources, &faults);
        if self.guards {
            let faults = faults.clone();
            set = blocking_deep(move || set.guarded(&faults)).await;
        }
        let warnings = set.reflections().iter().map(|(place, found)| content.guard_warning(*place, found)).collect();
        let unwalled = first.unwalled().map(str::to_owned);
        let generation = Generation::start(set, self.command.clone(), first, self.workers).await?;
        let report = LoadReport {
            rules: content.rules.len() - faults.iter().filter(|fault| is_rule(fault)).count(),
            problems,
            warnings,
            not_evaluated,
            unwalled,
        };
        let good = Arc::new(content.without(&faults));
        Ok((Current { generation: Arc::new(generation), good }, report))
    }
}

fn remember(problems: &mut Vec<Problem>, content: &Content, faults: &[LoadFault]) {
    for fault in faults {
        let problem = content.load_problem(fault);
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
}

/// An import that no worker survives.
fn of_the_load(place: Place, error: &WorkerError) -> LoadFault {
    let (error_type, message) = match error {
        WorkerError::LoadDied { how, .. } => {
            ("RuleCrash", format!("the import of this module ended its process: {how}"))
        }
        _ => {
            let said = "the import of this module did not end; look for a loop outside of its functions";
            ("RuleTimeout", said.to_owned())
        }
    };
    let short_error = format!("{error_type}({message:?})");
    LoadFault { place, fault: Fault { error_type: error_type.into(), short_error, message }, line: None }
}

fn is_rule(fault: &LoadFault) -> bool {
    matches!(fault.place, Place::Rule(_))
}
