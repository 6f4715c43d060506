//! `margay debug`: one test case of a rule, with what it prints as it prints it, each function's result, and whole
//! tracebacks.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::schema::LogTypes;
use super::{EXIT_USAGE, block_on, complain, folders, nearest, print, usage};
use crate::alert::render::safe;
use crate::app;
use crate::detect::protocol::{Functions, Step};
use crate::detect::testing::{self, CaseReport, DebugError, Debugged};
use crate::detect::{self, WorkerCommand};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Id of the rule.
    rule: String,
    /// Name of the test case; without one, all cases of the rule are run.
    case: Option<String>,
    /// Folder with detections, read recursively.
    #[arg(long, value_name = "FOLDER", default_value = "rules")]
    path: PathBuf,
    /// How long one function may run, in milliseconds.
    #[arg(long, value_name = "MS")]
    timeout_ms: Option<u64>,
    #[command(flatten)]
    log_types: LogTypes,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let loading = match arguments.log_types.loading() {
        Ok(loading) => loading,
        Err(faults) => return usage(&faults.join("\n")),
    };
    block_on(async {
        let defaults = detect::Config::default();
        let command = WorkerCommand {
            program: app::program()?,
            memory_mib: defaults.worker_memory_mib,
            call_timeout: Duration::from_millis(arguments.timeout_ms.unwrap_or(defaults.call_timeout_ms)),
            require_seccomp: defaults.require_seccomp,
        };
        let mut shown = Shown { error: None, line_is_open: false };
        let (folders, case) = (folders::read_for(std::slice::from_ref(&arguments.path)), arguments.case.as_deref());
        let mut tell = |what: Debugged<'_>| shown.show(what);
        let ran = testing::debug(folders, &arguments.rule, case, &command, loading, &mut tell).await;
        if let Some(error) = shown.error {
            return Err(error);
        }
        match ran {
            Ok(true) => Ok(ExitCode::SUCCESS),
            Ok(false) => Ok(ExitCode::FAILURE),
            Err(error) => told(arguments, error),
        }
    })
}

/// A name that is not there is a mistake of the command line.
fn told(arguments: &Arguments, error: DebugError) -> anyhow::Result<ExitCode> {
    match error {
        DebugError::NoRule(ids, problems) => {
            problems.iter().for_each(|problem| complain(format_args!("{problem}")));
            let near = nearest(&arguments.rule, ids.iter().map(String::as_str));
            complain(format_args!("{} holds no rule {:?}{near}", arguments.path.display(), arguments.rule));
            Ok(ExitCode::from(EXIT_USAGE))
        }
        DebugError::NoCase(names) => {
            let what = arguments.case.as_ref().map_or_else(String::new, |case| format!(" named {case:?}"));
            let have = if names.is_empty() { "none".to_owned() } else { format!("{names:?}") };
            complain(format_args!("{} has no test{what}; there are {have}", arguments.rule));
            Ok(ExitCode::from(EXIT_USAGE))
        }
        other => Err(other.into()),
    }
}

/// What stands on the terminal.
struct Shown {
    /// Why nothing more can be shown.
    error: Option<anyhow::Error>,
    /// The rule has printed a part of a line.
    line_is_open: bool,
}

impl Shown {
    fn show(&mut self, what: Debugged<'_>) {
        let text = match what {
            Debugged::Case { name, expected } => {
                format!("{} (expects {})\n", safe(name), if expected { "true" } else { "false" })
            }
            Debugged::Step(Step::Calling(function)) => format!("{}  {function}\n", self.closed()),
            Debugged::Step(Step::Printed(text)) => self.printed(&text),
            Debugged::Ended(report) => self.closed().to_owned() + &results(report),
        };
        if let Err(error) = print(&text) {
            self.error.get_or_insert(error);
        }
    }

    fn closed(&mut self) -> &'static str {
        if std::mem::take(&mut self.line_is_open) { "\n" } else { "" }
    }

    /// Behind a bar, so that it can be told from what margay says.
    fn printed(&mut self, text: &str) -> String {
        let mut shown = String::new();
        for part in text.split_inclusive('\n') {
            if !self.line_is_open {
                shown += "    | ";
            }
            self.line_is_open = !part.ends_with('\n');
            shown += &safe(part.trim_end_matches('\n'));
            if !self.line_is_open {
                shown.push('\n');
            }
        }
        shown
    }
}

fn results(report: &CaseReport) -> String {
    let Functions { rule, title, description, reference, severity, runbook, destinations, .. } = &report.functions;
    let Functions { alert_context, unique, faults, .. } = &report.functions;
    let text = |value: &Option<String>| value.clone();
    let values = [
        ("rule", rule.map(|rule| rule.to_string())),
        ("title", text(title)),
        ("dedup", text(&report.dedup)),
        ("severity", text(severity)),
        ("description", text(description)),
        ("reference", text(reference)),
        ("runbook", text(runbook)),
        ("destinations", destinations.as_ref().map(|names| format!("{names:?}"))),
        ("alert_context", text(alert_context)),
        ("unique", text(unique)),
    ];
    let mut out = "  results\n".to_owned();
    for (name, value) in values {
        match (faults.get(name), value) {
            (Some(fault), _) => {
                out += &format!("    {name:<14}{}: {}\n", fault.error_type, safe(&fault.message));
                for line in fault.traceback.lines() {
                    out += &format!("      {}\n", safe(line));
                }
            }
            (None, Some(value)) => out += &format!("    {name:<14}{}\n", safe(&value)),
            (None, None) => {}
        }
    }
    out += if report.passed { "  PASS\n" } else { "  FAIL\n" };
    out
}
