//! Runs the tests that detections carry in their YAML, in the same workers that the daemon uses.
//!
//! In test mode every function runs and nothing is replaced by a default: a failing function is a failing case.
//! `selection` says what is run; `format` turns the result into the conventional text, JSON lines or JUnit's XML. `debug`
//! runs cases of one rule and tells what happens meanwhile; `tables` looks at what saved queries read.

mod debug;
mod format;
mod selection;
mod tables;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::value::{RawValue, to_raw_value};

pub use super::spec::Keys;
pub use debug::{DebugError, Debugged, debug};
pub use format::{Shown, jsonl, junit, text};
pub use selection::{Filter, Selection};
pub use tables::TableNames;

use super::content::{self, Content, Problem, Rule};
use super::key_value::{Desk, KeyValues};
use super::outcome;
use super::protocol::{Fault, Functions, LoadFault, Mock, Place, RuleKind, Sources};
use super::rows::{self, Rows};
use super::spec::TestSpec;
use super::worker::{Worker, WorkerCommand, WorkerError};
use crate::lookup::{Loading, Tables};
use crate::model::{ObjectId, RowId, RuleMeta};
use crate::runtime::{Clock, SystemClock, blocking};
use crate::telemetry::Telemetry;

/// The result of a whole run, in the order of the content.
pub struct TestReport {
    pub directories: Vec<PathBuf>,
    pub rules: Vec<RuleReport>,
    /// What could not be read or loaded.
    pub invalid: Vec<Problem>,
    /// Detections whose tests were left out.
    pub skipped: usize,
}

pub struct RuleReport {
    pub id: String,
    pub create_alert: bool,
    pub cases: Vec<CaseReport>,
    /// What its tests lack, beside that they pass.
    pub lack: Option<String>,
}

pub struct CaseReport {
    pub name: String,
    pub expected: bool,
    pub passed: bool,
    pub functions: Functions,
    /// The dedup string that an alert would have.
    pub dedup: Option<String>,
}

impl TestReport {
    pub fn all_passed(&self) -> bool {
        self.invalid.is_empty() && self.rules.iter().all(RuleReport::passed)
    }
}

impl RuleReport {
    pub fn passed(&self) -> bool {
        self.lack.is_none() && self.cases.iter().all(|case| case.passed)
    }
}

/// Runs the selected tests below `directories` on `workers` processes.
pub async fn run(
    directories: Vec<PathBuf>,
    selection: Selection,
    command: WorkerCommand,
    workers: usize,
    loading: Loading,
) -> Result<TestReport, WorkerError> {
    let folders = directories.clone();
    let keys = selection.keys;
    let mut content = blocking(move || content::read_with(&folders, keys)).await;
    // A disabled model may still be the one its rules were written for, but only an enabled one is chosen.
    content.data_models.retain(|model| model.enabled);
    let skipped = selection.apply(&mut content);
    let mut invalid = std::mem::take(&mut content.problems);
    if let Some(tables) = &selection.tables {
        invalid.extend(tables.problems(&content.queries));
    }
    let rules = content.rules.iter().map(|rule| rule.meta.clone()).collect();
    let (sources, telemetry) = (Arc::new(content.sources()), Telemetry::new());
    let tables = lookups(&content, loading).await;
    let run = Arc::new(Run { sources, rules, telemetry, tables, content, selection, command });

    let share = run.content.rules.len().div_ceil(workers.max(1)).max(1);
    let count = run.content.rules.len();
    let shares = (0..count.max(1)).step_by(share).map(|start| {
        let run = run.clone();
        async move { run.share(start..(start + share).min(count)).await }
    });
    let mut rules = Vec::new();
    let mut faults = Vec::new();
    for result in futures_util::future::join_all(shares).await {
        let (reports, found) = result?;
        rules.extend(reports);
        faults = found;
    }
    invalid.extend(faults.iter().map(|fault| run.content.load_problem(fault)));
    Ok(TestReport { directories, rules, invalid, skipped })
}

struct Run {
    content: Content,
    rules: Vec<Arc<RuleMeta>>,
    telemetry: Telemetry,
    tables: Tables,
    selection: Selection,
    sources: Arc<Sources>,
    command: WorkerCommand,
}

impl Run {
    /// One worker's part of the rules.
    async fn share(&self, range: std::ops::Range<usize>) -> Result<(Vec<RuleReport>, Vec<LoadFault>), WorkerError> {
        let (mut worker, faults) = self.worker().await?;
        let mut reports = Vec::new();
        for index in range {
            let rule = &self.content.rules[index];
            let place = Place::Rule(index as u32);
            let setup = faults.iter().find(|fault| fault.place == place).map(|fault| &fault.fault);
            let mut cases = Vec::new();
            for test in rule.tests.iter().filter(|test| self.selection.wants(&test.name)) {
                let functions = match setup {
                    Some(fault) => failed(fault.clone()),
                    None => self.case(&mut worker, index as u32, test).await?,
                };
                cases.push(judge(rule, test, self.among_known_destinations(functions)));
            }
            let lack = self.selection.lack(rule);
            reports.push(RuleReport {
                id: rule.meta.id.to_string(),
                create_alert: rule.meta.create_alert,
                cases,
                lack,
            });
        }
        Ok((reports, faults))
    }

    async fn case(&self, worker: &mut Worker, rule: u32, test: &TestSpec) -> Result<Functions, WorkerError> {
        let event = match event_of(test) {
            Ok(event) => event,
            Err(message) => return Ok(failed(fault("InvalidTest", message))),
        };
        let kept = empty_store();
        let desk = desk(&kept, &self.telemetry, &self.rules, &self.tables);
        let error = match worker.test(rule, event, mocks(test), &mut desk.calls(), None).await {
            Ok(functions) => return Ok(functions),
            Err(error) => error,
        };
        *worker = self.worker().await?.0;
        Ok(failed(ended_by(error, &self.command)))
    }

    /// Names of destinations that don't exist are a fault, where it is said which exist.
    fn among_known_destinations(&self, mut functions: Functions) -> Functions {
        let known = &self.selection.destinations;
        let names = functions.destinations.iter().flatten();
        let unknown: Vec<&str> = names.filter(|name| !known.contains(name)).map(String::as_str).collect();
        if !known.is_empty() && !unknown.is_empty() {
            let said = format!("no destination is named {}; there are {}", unknown.join(", "), known.join(", "));
            functions.faults.insert("destinations".into(), fault("UnknownDestinationError", said));
        }
        functions
    }

    async fn worker(&self) -> Result<(Worker, Vec<LoadFault>), WorkerError> {
        let mut worker = Worker::start(&self.command).await?;
        let faults = worker.load(&self.sources).await?;
        Ok((worker, faults))
    }
}

/// What each case finds of what rules keep between events.
fn empty_store() -> KeyValues {
    KeyValues::in_memory(Arc::new(SystemClock))
}

fn desk<'a>(
    key_values: &'a KeyValues,
    telemetry: &'a Telemetry,
    rules: &'a [Arc<RuleMeta>],
    tables: &'a Tables,
) -> Desk<'a> {
    let lookups = Rows { tables, now: SystemClock.now() };
    Desk { key_values, telemetry, object: ObjectId([0; 16]), rows: vec![(RowId([0; 16]), lookups.now)], rules, lookups }
}

/// The lookup tables that lie beside the rules. They are read when a rule may ask for a row; one that can't be read is told
/// to the rule that does.
async fn lookups(content: &Content, loading: Loading) -> Tables {
    match rows::is_asked(content) {
        true => rows::tables_of(content, loading, &Arc::default()).await.0,
        false => Tables::default(),
    }
}

fn mocks(test: &TestSpec) -> Vec<Mock> {
    let mocks = test.mocks.iter();
    mocks.map(|mock| Mock { object_name: mock.object_name.clone(), return_value: mock.return_value.clone() }).collect()
}

/// What a case did that its worker did not survive.
fn ended_by(error: WorkerError, command: &WorkerCommand) -> Fault {
    match error {
        WorkerError::Overrun { function, .. } => {
            fault("RuleTimeout", format!("`{function}` ran longer than {:?}", command.call_timeout))
        }
        other => fault("RuleCrash", other.to_string()),
    }
}

fn event_of(test: &TestSpec) -> Result<Box<RawValue>, String> {
    let event = match &test.log {
        serde_json::Value::String(text) => {
            serde_json::from_str(text).map_err(|error| format!("`Log` is text that is no JSON: {error}"))?
        }
        value => value.clone(),
    };
    if !event.is_object() {
        return Err("`Log` must be a mapping, or text with a JSON object".into());
    }
    to_raw_value(&event).map_err(|error| error.to_string())
}

/// Applies the rule of test mode to one case.
fn judge(rule: &Rule, test: &TestSpec, functions: Functions) -> CaseReport {
    // A policy alerts where it returns false, a rule where it returns true.
    let alerts = rule.kind != RuleKind::Policy;
    let passed =
        functions.rule == Some(test.expected_result) && (test.expected_result != alerts || functions.faults.is_empty());
    let failed = functions.faults.contains_key("dedup");
    let dedup =
        (!failed).then(|| outcome::dedup(&rule.meta.id, functions.dedup.clone(), functions.title.as_deref(), false));
    let mut functions = functions;
    if functions.severity.as_deref() == Some("DEFAULT") {
        functions.severity = Some(rule.meta.severity.to_string());
    }
    CaseReport { name: test.name.clone(), expected: test.expected_result, passed, functions, dedup }
}

fn fault(error_type: &str, message: String) -> Fault {
    Fault {
        error_type: error_type.into(),
        short_error: format!("{error_type}({message:?})"),
        message,
        ..Fault::default()
    }
}

fn failed(fault: Fault) -> Functions {
    Functions { faults: [("rule".to_owned(), fault)].into(), ..Functions::default() }
}
