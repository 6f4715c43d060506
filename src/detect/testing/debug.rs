//! Cases of one rule, watched: every call and every print is told as it happens, and a fault has its whole traceback.

use std::path::PathBuf;
use std::sync::Arc;

use super::{CaseReport, desk, empty_store, ended_by, event_of, failed, fault, judge, lookups, mocks};
use crate::detect::content::{self, Content, Problem};
use crate::detect::protocol::{LoadFault, Place, Sources, Step};
use crate::detect::worker::{Worker, WorkerCommand, WorkerError};
use crate::lookup::Loading;
use crate::runtime::blocking;
use crate::telemetry::Telemetry;

/// What happens, in order.
pub enum Debugged<'a> {
    /// A case begins; whether it expects an alert.
    Case {
        name: &'a str,
        expected: bool,
    },
    Step(Step),
    Ended(&'a CaseReport),
}

#[derive(Debug, thiserror::Error)]
pub enum DebugError {
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// With the ids of those there are.
    #[error("no rule of this id can be read")]
    NoRule(Vec<String>, Vec<Problem>),
    /// With the names of those there are.
    #[error("the rule has no test of this name")]
    NoCase(Vec<String>),
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    NotLoaded(Vec<Problem>),
}

/// Runs one case of a rule, or all of them; whether all passed.
pub async fn debug(
    directories: Vec<PathBuf>,
    rule: &str,
    case: Option<&str>,
    command: &WorkerCommand,
    loading: Loading,
    tell: &mut (dyn FnMut(Debugged<'_>) + Send),
) -> Result<bool, DebugError> {
    let mut content = blocking(move || content::read(&directories)).await;
    content.data_models.retain(|model| model.enabled);
    let ids = content.rules.iter().map(|rule| rule.meta.id.to_string()).collect();
    content.rules.retain(|candidate| *candidate.meta.id == *rule);
    let Some(rule) = content.rules.first() else { return Err(DebugError::NoRule(ids, content.problems)) };
    let tests: Vec<_> = rule.tests.iter().filter(|test| case.is_none_or(|wanted| wanted == test.name)).collect();
    if tests.is_empty() {
        return Err(DebugError::NoCase(rule.tests.iter().map(|test| test.name.clone()).collect()));
    }
    let sources = Arc::new(content.sources());
    let tables = lookups(&content, loading).await;
    let mut worker = start(&content, &sources, command).await?;
    let (mut all_passed, telemetry) = (true, Telemetry::new());
    for test in tests {
        tell(Debugged::Case { name: &test.name, expected: test.expected_result });
        let functions = match event_of(test) {
            Err(message) => failed(fault("InvalidTest", message)),
            Ok(event) => {
                let mut watcher = |step: Step| tell(Debugged::Step(step));
                let kept = empty_store();
                let desk = desk(&kept, &telemetry, std::slice::from_ref(&rule.meta), &tables);
                match worker.test(0, event, mocks(test), &mut desk.calls(), Some(&mut watcher)).await {
                    Ok(functions) => functions,
                    Err(error) => {
                        worker = start(&content, &sources, command).await?;
                        failed(ended_by(error, command))
                    }
                }
            }
        };
        let report = judge(rule, test, functions);
        all_passed &= report.passed;
        tell(Debugged::Ended(&report));
    }
    Ok(all_passed)
}

/// Everything beside the rule may be broken, unless the rule needs it.
async fn start(content: &Content, sources: &Arc<Sources>, command: &WorkerCommand) -> Result<Worker, DebugError> {
    let mut worker = Worker::start(command).await?;
    let faults = worker.load(sources).await?;
    let is_rule = |fault: &LoadFault| matches!(fault.place, Place::Rule(_));
    if faults.iter().any(is_rule) {
        return Err(DebugError::NotLoaded(faults.iter().map(|fault| content.load_problem(fault)).collect()));
    }
    Ok(worker)
}
