//! Evaluates batches on the current rule set and swaps rule sets. The face of detection to the rest of margay.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use super::Config;
#[cfg(test)]
use super::content::Content;
use super::content::{Problem, Query};
#[cfg(test)]
use super::generation::Generation;
use super::generation::{Evaluated, Turnover};
use super::key_value::{Desk, KeyValues};
use super::load::{Current, LoadPlan, LoadReport, split};
use super::plan::{Plan, Tally};
use super::rows::Rows;
use super::ruleset::RuleSet;
use super::scheduled::{ScheduledQuery, topic};
use super::verdicts::Verdicts;
use super::worker::{WorkerCommand, WorkerError};
#[cfg(test)]
use crate::lookup::Limits;
use crate::lookup::{Refresher, Surroundings, Tables};
#[cfg(test)]
use crate::model::Alerting;
use crate::model::{Detections, EventBatch, RuleMeta, SavedQuery, SwitchedOff};
#[cfg(test)]
use crate::runtime::SystemClock;
use crate::runtime::blocking;
use crate::state::StateError;
use crate::telemetry::{Stage, Telemetry};

#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// No worker could be had, or a batch kills workers in a way that no call explains. Worth trying again later.
    #[error(transparent)]
    Worker(WorkerError),
    /// A rule asked for what it keeps between events and the state store gave no answer. Worth trying again later.
    #[error(transparent)]
    State(StateError),
    #[error("the rule folders hold no rule any more; if that is meant, send SIGHUP")]
    Empty,
}

impl From<WorkerError> for DetectError {
    fn from(error: WorkerError) -> DetectError {
        match error {
            WorkerError::Store(error) => DetectError::State(error),
            error => DetectError::Worker(error),
        }
    }
}

impl DetectError {
    /// Whether a batch can be the reason. That no worker can be started is none of any batch.
    pub fn is_of_the_batch(&self) -> bool {
        !matches!(self, DetectError::Worker(WorkerError::Start { .. }) | DetectError::State(_))
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    plan: LoadPlan,
    current: RwLock<Current>,
    /// One at a time: a load begins with what the last one made.
    loading: tokio::sync::Mutex<()>,
    /// Number of the current rule set, from 1.
    generation: AtomicU64,
    usage: Mutex<Usage>,
    key_values: KeyValues,
    telemetry: Telemetry,
    /// Stands in for rules and workers.
    #[cfg(test)]
    double: Option<Double>,
}

#[cfg(test)]
type Double = Box<dyn Fn(&EventBatch) -> Result<Detections, DetectError> + Send + Sync>;

/// What evaluating has taken since the start.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Events that went to a rule worker, and the calls of rules on them.
    pub events_crossed: u64,
    pub python_calls: u64,
    /// In rules, in all workers together.
    pub python_time: Duration,
    /// Of batches, beside the work of their workers: writing, reading and understanding both ways.
    pub crossing_time: Duration,
    /// Deciding without Python.
    pub guard_time: Duration,
}

impl Engine {
    /// Loads the rules and starts the workers. Broken rules are in the report and never stop the rest. What rules keep
    /// between events ends with the engine.
    pub async fn start(
        config: &Config,
        program: PathBuf,
        telemetry: Telemetry,
        surroundings: Surroundings,
    ) -> Result<(Engine, LoadReport), DetectError> {
        let key_values = KeyValues::in_memory(surroundings.clock.clone());
        Engine::start_over(config, program, key_values, telemetry, surroundings).await
    }

    /// The same with these rules alone, enabled or not, over logs of the past: what rules keep ends in the time of the events.
    pub async fn start_only(
        config: &Config,
        rules: BTreeSet<String>,
        program: PathBuf,
        telemetry: Telemetry,
        surroundings: Surroundings,
    ) -> Result<(Engine, LoadReport), DetectError> {
        let key_values = KeyValues::in_time_of_events();
        Engine::start_with(config, Some(rules), program, key_values, telemetry, surroundings).await
    }

    /// The same over a store in which what rules keep lasts.
    pub async fn start_over(
        config: &Config,
        program: PathBuf,
        key_values: KeyValues,
        telemetry: Telemetry,
        surroundings: Surroundings,
    ) -> Result<(Engine, LoadReport), DetectError> {
        Engine::start_with(config, None, program, key_values, telemetry, surroundings).await
    }

    async fn start_with(
        config: &Config,
        only: Option<BTreeSet<String>>,
        program: PathBuf,
        key_values: KeyValues,
        telemetry: Telemetry,
        surroundings: Surroundings,
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
            only,
            alerting: config.alerts,
            surroundings,
            table_limits: config.table_limits(),
        };
        telemetry.name_rules_in_metrics(config.named_in_metrics);
        let (current, report) = plan.load(None, &telemetry).await?;
        tell_loaded(&telemetry, 1, &current, &report);
        tell_tables(&telemetry, &Tables::default(), &current.tables);
        let inner = Inner {
            plan,
            current: RwLock::new(current),
            loading: tokio::sync::Mutex::default(),
            generation: AtomicU64::new(1),
            usage: Mutex::default(),
            key_values,
            telemetry,
            #[cfg(test)]
            double: None,
        };
        let inner = Arc::new(inner);
        let told = Arc::downgrade(&inner);
        inner.telemetry.sample_with(move |_| {
            if let Some(inner) = told.upgrade() {
                inner.current().generation.tell();
            }
        });
        Ok((Engine { inner }, report))
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
        Engine::evaluating_for(Content::default(), double)
    }

    /// The same over these rules and queries, of which none is run.
    #[cfg(test)]
    pub(crate) fn evaluating_for(
        content: Content,
        double: impl Fn(&EventBatch) -> Result<Detections, DetectError> + Send + Sync + 'static,
    ) -> Engine {
        let command = WorkerCommand {
            program: PathBuf::new(),
            memory_mib: 0,
            call_timeout: Duration::ZERO,
            require_seccomp: false,
        };
        let set = RuleSet::new(&content, Arc::new(content.sources()), &[]);
        let generation = Arc::new(Generation::without_workers(set, command.clone()));
        let plan = LoadPlan {
            directories: Vec::new(),
            packs: Vec::new(),
            command,
            workers: 0,
            guards: false,
            only: None,
            alerting: Alerting::default(),
            surroundings: Surroundings::fixed(Arc::default(), Arc::new(SystemClock)),
            table_limits: Limits { max_rows: 0, max_bytes: 0 },
        };
        let current = Current { generation, tables: Arc::default(), good: Arc::new(content) };
        let inner = Inner {
            plan,
            current: RwLock::new(current),
            loading: tokio::sync::Mutex::default(),
            generation: AtomicU64::new(1),
            usage: Mutex::default(),
            key_values: KeyValues::in_memory(Arc::new(SystemClock)),
            telemetry: Telemetry::new(),
            double: Some(Box::new(double)),
        };
        Engine { inner: Arc::new(inner) }
    }

    /// Loads the rules as they are on disk now, aside, and swaps them in whole. On an error the current ones stay. Folders
    /// that are suddenly without any rule are refused unless that is `meant`: a mount may be late.
    pub async fn reload(&self, meant: bool) -> Result<LoadReport, DetectError> {
        let inner = &self.inner;
        let _alone = inner.loading.lock().await;
        let last = inner.current();
        let (next, report) = inner.plan.load(Some(&last), &inner.telemetry).await?;
        if report.rules == 0 && !last.good.rules.is_empty() && !meant {
            return Err(DetectError::Empty);
        }
        tell_loaded(&inner.telemetry, inner.generation.fetch_add(1, Ordering::Relaxed) + 1, &next, &report);
        tell_tables(&inner.telemetry, &last.tables, &next.tables);
        *inner.current.write().expect("no holder of this lock panics") = next;
        Ok(report)
    }

    /// Reads the tables of buckets that are due, and swaps in each that changed as soon as it is read.
    pub async fn refresh(&self, refresher: &mut Refresher) {
        let inner = &self.inner;
        // Each once: one that does not stay (its log type has changed meanwhile) has its next turn later.
        for _ in 0..inner.current().tables.wanted().len() {
            let loading = inner.plan.moment();
            let read = refresher.round(inner.current().tables.wanted(), &loading).await;
            if read.is_empty() {
                return;
            }
            let _alone = inner.loading.lock().await;
            let last = inner.current().tables;
            let next = Arc::new(last.refreshed(read, &loading));
            tell_tables(&inner.telemetry, &last, &next);
            inner.current.write().expect("no holder of this lock panics").tables = next;
        }
    }

    /// Reads the tables anew after the log types have changed, and nothing else.
    pub async fn reload_tables(&self) {
        let inner = &self.inner;
        let _alone = inner.loading.lock().await;
        let Current { good, tables: last, .. } = self.inner.current();
        if good.tables.is_empty() {
            return;
        }
        let (next, problems) = inner.plan.tables(&good, &last).await;
        let (problems, _) = split(problems);
        problems.iter().for_each(|problem| tell_problem(&inner.telemetry, problem));
        tell_tables(&inner.telemetry, &last, &next);
        inner.current.write().expect("no holder of this lock panics").tables = next;
    }

    /// The lookup tables of now.
    pub fn tables(&self) -> Arc<Tables> {
        self.inner.current().tables
    }

    /// Log types that rules wait for.
    pub fn log_types(&self) -> Vec<String> {
        self.inner.current().generation.set.log_types().map(str::to_owned).collect()
    }

    /// Queries over the lake that stand beside the rules.
    pub fn queries(&self) -> Vec<SavedQuery> {
        self.inner.current().good.queries.iter().map(Query::saved).collect()
    }

    /// Those of them that run by themselves.
    pub fn scheduled_queries(&self) -> Vec<ScheduledQuery> {
        self.inner.current().good.scheduled_queries()
    }

    /// Whether rules wait for what a query finds.
    pub fn waits_for(&self, query: &str) -> bool {
        let (set, topic) = (self.inner.current().generation, topic(query));
        !set.set.for_log_type(&topic).is_empty() || !set.set.broken_for(&topic).is_empty()
    }

    /// Rules that are switched off for the moment, because they overran or crashed again and again.
    pub fn switched_off(&self) -> Vec<SwitchedOff> {
        self.inner.current().generation.switched_off()
    }

    /// Lets a rule go on that is switched off for the moment.
    pub fn forgive(&self, rule: &str) {
        self.inner.current().generation.forgive(rule);
    }

    /// A rule that runs now; `None` where no such rule does.
    pub fn rule(&self, id: &str) -> Option<Arc<RuleMeta>> {
        self.inner.current().generation.set.rules.iter().find(|own| *own.id == *id).cloned()
    }

    /// What evaluating has taken since the start.
    pub fn usage(&self) -> Usage {
        self.inner.usage.lock().expect("no holder of this lock panics").clone()
    }

    /// Runs every rule of each event's log type: natively where its guard is certain, else in Python.
    pub async fn evaluate(&self, batch: &Arc<EventBatch>) -> Result<Detections, DetectError> {
        #[cfg(test)]
        if let Some(double) = &self.inner.double {
            return double(batch);
        }
        let Current { generation, tables, .. } = self.inner.current();
        let now = self.inner.plan.surroundings.clock.now();
        let mut verdicts = Verdicts::default();
        let mut from = 0;
        // Once, unless the events have grown by much with what tables know.
        while from < batch.events.len() {
            let started = tokio::time::Instant::now();
            let (guarding, known, events) = (generation.clone(), tables.clone(), batch.clone());
            let telemetry = self.inner.telemetry.clone();
            let planned =
                blocking(move || telemetry.work(Stage::Guard, || Plan::of(&guarding.set, &known, now, &events, from)));
            let Plan { positions, calls, tally, through } = planned.await;
            let (guard_time, crossed) = (started.elapsed(), calls.len() as u64);
            let mut evaluated = Evaluated::default();
            let desk = Desk {
                key_values: &self.inner.key_values,
                telemetry: &self.inner.telemetry,
                object: batch.object,
                rows: positions.iter().map(|at| (batch.events[*at].row_id, batch.events[*at].time)).collect(),
                rules: &generation.set.rules,
                lookups: Rows { tables: &tables, now },
            };
            let ran = generation.run(calls, &desk, &mut evaluated).await;
            generation.count(&tally, &evaluated);
            self.add_usage(&tally, crossed, guard_time, &evaluated);
            self.report(&generation.set, &tally, started.elapsed(), &evaluated);
            ran?;
            evaluated.outcomes.sort_by_key(|outcome| (outcome.event, outcome.rule));
            for outcome in evaluated.outcomes {
                let event = &batch.events[positions[outcome.event as usize]];
                verdicts.add(&generation.set.rules[outcome.rule as usize], event, outcome.functions);
            }
            verdicts.add_switched_off(&generation.set, evaluated.disabled);
            from = through;
        }
        verdicts.add_broken(&generation.set, batch);
        verdicts.tell(&self.inner.telemetry);
        Ok(verdicts.detections)
    }

    fn report(&self, set: &RuleSet, tally: &Tally, took: Duration, evaluated: &Evaluated) {
        let telemetry = &self.inner.telemetry;
        telemetry.batch_evaluated(tally.evaluations(), took);
        tally.tell_found(telemetry);
        for turn in &evaluated.turnover {
            match turn {
                Turnover::Died(death) => telemetry.rule_worker_ended(death.reason, &death.detail),
                Turnover::Replaced(after) => telemetry.rule_worker_replaced(*after),
            }
        }
        for disabled in &evaluated.disabled {
            telemetry.rule_disabled(&set.rules[disabled.rule as usize].id, disabled.pause, &disabled.cause);
        }
    }

    fn add_usage(&self, tally: &Tally, crossed: u64, guard_time: Duration, evaluated: &Evaluated) {
        let nanos = evaluated.spent.values().map(|spent| spent.nanos).fold(0, u64::saturating_add);
        let mut usage = self.inner.usage.lock().expect("no holder of this lock panics");
        usage.events_crossed += crossed;
        usage.python_calls += tally.python_calls();
        usage.python_time += Duration::from_nanos(nanos);
        usage.crossing_time += evaluated.crossing;
        usage.guard_time += guard_time;
    }
}

impl Inner {
    fn current(&self) -> Current {
        self.current.read().expect("no holder of this lock panics").clone()
    }
}

fn tell_loaded(telemetry: &Telemetry, generation: u64, current: &Current, report: &LoadReport) {
    telemetry.rules_in_use(current.generation.set.rules.iter().map(|rule| rule.id.clone()));
    report.problems.iter().for_each(|problem| tell_problem(telemetry, problem));
    if let Some(reason) = &report.unwalled {
        telemetry.rule_workers_unwalled(reason);
    }
    telemetry.rule_set_loaded(generation, report.rules, report.problems.len());
}

fn tell_problem(telemetry: &Telemetry, problem: &Problem) {
    telemetry.rule_not_loaded(&problem.file.display().to_string(), &problem.to_string());
}

fn tell_tables(telemetry: &Telemetry, last: &Tables, next: &Tables) {
    let gone =
        last.sizes().filter(|(name, _)| next.sizes().all(|(other, _)| other != *name)).map(|(name, _)| (name, 0));
    let now = next.sizes().map(|(name, rows)| (name, rows.unwrap_or(0) as u64));
    for (name, rows) in gone.chain(now) {
        telemetry.metrics.lookup_table_rows.set([name], rows);
    }
}
