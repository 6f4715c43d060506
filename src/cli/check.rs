//! `margay check`: everything that can be found wrong before a start, all at once.

use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;

use super::{ConfigArgument, EXIT_USAGE, block_on, print};
use crate::app;
use crate::config::Config;
use crate::detect::{Engine, LoadReport};
use crate::lake;
use crate::logtype::Registry;
use crate::lookup::{Surroundings, Wanted};
use crate::runtime::SystemClock;
use crate::telemetry::Telemetry;

pub(super) fn run(argument: &ConfigArgument) -> ExitCode {
    let config = match argument.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    block_on(check(argument, config))
}

async fn check(argument: &ConfigArgument, config: Config) -> anyhow::Result<ExitCode> {
    let catalogue = app::catalogue(&config);
    // What is wrong with them is told with the catalogue.
    let log_types = app::log_types(&config.log_types.directories).unwrap_or_else(|_| Registry::built_in());
    let surroundings = Surroundings::fixed(Arc::new(log_types), Arc::new(SystemClock));
    let (engine, report) = Engine::start(&config.rules, app::program()?, Telemetry::new(), surroundings).await?;

    let mut text = String::new();
    let mut problems = report.problems.len();
    for problem in &report.problems {
        writeln!(text, "{problem}")?;
    }
    for warning in &report.warnings {
        writeln!(text, "warning: {warning}")?;
    }
    for Wanted { definition, .. } in engine.tables().wanted() {
        let name = &definition.name;
        writeln!(
            text,
            "note: the lookup table {name} is read from its bucket by the daemon; its rows are not checked here"
        )?;
    }
    if report.scheduled_queries > 0 && config.lake.kind == lake::Kind::None {
        writeln!(text, "note: no scheduled query runs: `lake.type` is `none`, so there is nothing to search")?;
    }
    match &catalogue {
        Ok(catalogue) => {
            let held = app::held_to_revisions(&config, catalogue).await;
            problems += held.problems.len();
            for problem in &held.problems {
                writeln!(text, "{problem}")?;
            }
            for note in &held.notes {
                writeln!(text, "note: {note}")?;
            }
            for warning in catalogue.log_types.warnings() {
                writeln!(text, "warning: {warning}")?;
            }
            for warning in catalogue.sources.warnings() {
                writeln!(text, "warning: {warning}")?;
            }
            let unknown = engine.log_types().into_iter().filter(|name| catalogue.log_types.get(name).is_err());
            for log_type in unknown {
                writeln!(text, "note: rules wait for log type {log_type}, which is not known here")?;
            }
        }
        Err(found) => {
            problems += found.len();
            writeln!(text, "{}", argument.located(found))?;
        }
    }
    let vault = app::Vault::default();
    if let Err(found) = app::destinations(&argument.config, &config, &vault).await {
        problems += found.len();
        writeln!(text, "{}", argument.located(&found))?;
    }
    let api = app::api(&argument.config, &config, &vault).await.err();
    let traces = app::exporter(&argument.config, &config, &Telemetry::new()).err();
    for problem in api.into_iter().chain(traces) {
        problems += 1;
        writeln!(text, "{}", argument.located(&[problem.to_string()]))?;
    }
    write!(text, "{}", summary(&config, &report, problems))?;
    print(&text)?;
    Ok(match (problems, catalogue.is_ok()) {
        (0, _) => ExitCode::SUCCESS,
        (_, true) => ExitCode::FAILURE,
        (_, false) => ExitCode::from(EXIT_USAGE),
    })
}

fn summary(config: &Config, report: &LoadReport, problems: usize) -> String {
    let count = |n: usize, one: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") };
    let mut text = format!("{}, {}", count(config.sources.len(), "source"), count(report.rules, "rule"));
    if report.tables > 0 {
        text += &format!(", {}", count(report.tables, "lookup table"));
    }
    if report.scheduled_queries > 0 {
        text += &format!(", {}", count(report.scheduled_queries, "scheduled query").replace("querys", "queries"));
    }
    for (kind, items) in &report.not_evaluated {
        text += &format!(", {items} {kind} (not evaluated)");
    }
    let found = if problems == 0 { "no problem".to_owned() } else { count(problems, "problem") };
    format!("{text}: {found}\n")
}
