//! `margay check`: everything that can be found wrong before a start, all at once.

use std::fmt::Write;
use std::process::ExitCode;

use super::{ConfigArgument, EXIT_USAGE, block_on, print};
use crate::app;
use crate::config::Config;
use crate::detect::{Engine, LoadReport};
use crate::telemetry::Telemetry;

pub(super) fn run(argument: &ConfigArgument) -> ExitCode {
    let config = match argument.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    block_on(check(config))
}

async fn check(config: Config) -> anyhow::Result<ExitCode> {
    let mut problems = Vec::new();
    let log_types = match app::log_types(&config) {
        Ok(log_types) => Some(log_types),
        Err(found) => {
            problems.extend(found);
            None
        }
    };
    if let Some(log_types) = &log_types {
        problems.extend(app::sources(&config, log_types).err().into_iter().flatten());
    }
    let configuration_holds = problems.is_empty();
    let (engine, report) = Engine::start(&config.rules, app::program()?, Telemetry::new()).await?;
    problems.extend(report.problems.iter().map(ToString::to_string));

    let mut text = String::new();
    for problem in &problems {
        writeln!(text, "{problem}")?;
    }
    if let Some(log_types) = &log_types {
        for log_type in engine.log_types().into_iter().filter(|name| log_types.get(name).is_err()) {
            writeln!(text, "note: rules wait for log type {log_type}, which is not known here")?;
        }
    }
    write!(text, "{}", summary(&config, &report, problems.len()))?;
    print(&text)?;
    Ok(match (problems.is_empty(), configuration_holds) {
        (true, _) => ExitCode::SUCCESS,
        (false, true) => ExitCode::FAILURE,
        (false, false) => ExitCode::from(EXIT_USAGE),
    })
}

fn summary(config: &Config, report: &LoadReport, problems: usize) -> String {
    let mut text = format!("{} sources, {} rules", config.sources.len(), report.rules);
    for (kind, count) in &report.not_evaluated {
        text += &format!(", {count} {kind} (not evaluated)");
    }
    match problems {
        0 => text + ": no problem\n",
        1 => text + ": 1 problem\n",
        n => text + &format!(": {n} problems\n"),
    }
}
