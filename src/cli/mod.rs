//! The command line: one file a command. A command reads its arguments, calls the library, prints the result.
//!
//! Exit codes: 0 well, 1 the thing that was asked for failed, 64 the command line or the configuration is wrong.

mod alerts;
mod audit;
mod backfill;
mod backtest;
mod bench;
mod check;
mod config;
mod debug;
mod destinations;
mod explain;
mod folders;
mod health;
mod lake;
mod listing;
mod lookup_table;
mod moment;
mod parse;
mod progress;
mod quarantine;
mod queries;
mod replay;
mod rule_worker;
mod rules;
mod run;
mod schema;
mod search;
mod source;
mod table;
mod test;

use std::future::Future;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Config;
use crate::remote::Prefix;

/// A configuration or command line that can't be used (`EX_USAGE` of BSD's sysexits).
const EXIT_USAGE: u8 = 64;

/// Reads security logs from S3, runs Python detections over every event, and raises alerts.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon until SIGTERM or SIGINT.
    Run(ConfigArgument),
    /// Check configuration, sources, log types and rules without starting.
    Check(ConfigArgument),
    /// Show the configuration in effect.
    Config(config::Arguments),
    /// Run the tests that detections carry.
    Test(test::Arguments),
    /// Run one test case of a rule, and show what it prints, what each function gives, and whole tracebacks.
    Debug(debug::Arguments),
    /// Run rules over raw logs, and tell which alerts there would be. Changes nothing.
    Backtest(Box<backtest::Arguments>),
    /// Read lookup tables as the daemon would, and look values up in them.
    TestLookupTable(lookup_table::Arguments),
    /// List and show rules, explain what of them is decided without Python, and what they cost a running daemon.
    Rules(rules::Arguments),
    /// Turn raw log entries into events.
    Parse(parse::Arguments),
    /// List, show, infer, test and compare the schemas of log types.
    Schema(schema::Arguments),
    /// Print templates for the accounts around a source, and tell how its sources fare.
    Source(source::Arguments),
    /// Show what would become of an object or a notification, step by step, and where it stops. Changes nothing.
    Explain(explain::Arguments),
    /// Search the stored events with SQL, or for indicators.
    Search(search::Arguments),
    /// List, show and run the queries of the rule folders, and tell how those with a schedule fare.
    Queries(queries::Arguments),
    /// Look after the tables of the lake.
    Lake(lake::Arguments),
    /// List alerts, show one, work on them, send one again.
    Alerts(alerts::Arguments),
    /// List where alerts go, and send a test there.
    Destinations(destinations::Arguments),
    /// Show what was kept aside: messages, objects and records, each with its reason.
    Quarantine(quarantine::Arguments),
    /// Send what was kept aside through the pipeline again.
    Replay(replay::Arguments),
    /// Read a bucket without notifications.
    Backfill(backfill::Arguments),
    /// Find the objects of a bucket that were not ingested.
    Audit(audit::Arguments),
    /// Ask the daemon of this host whether it lives; for health checks of containers.
    Health(health::Arguments),
    /// Measure the pipeline from memory, stage by stage.
    Bench(bench::Arguments),
    /// The inside of a rule worker; started by the daemon and by `test`.
    #[command(hide = true)]
    RuleWorker(rule_worker::Arguments),
}

/// The configuration that a command works with.
#[derive(clap::Args)]
struct ConfigArgument {
    /// Configuration file.
    #[arg(long, env = "MARGAY_CONFIG", value_name = "FILE", default_value = "config/local.toml")]
    config: PathBuf,
}

impl ConfigArgument {
    /// The configuration, or its problems on standard error and the exit code for them.
    fn load(&self) -> Result<Config, ExitCode> {
        crate::config::load(&self.config).map_err(|problems| usage(&problems))
    }

    /// One line a problem, each with the file.
    fn located(&self, problems: &[String]) -> String {
        let lines: Vec<String> =
            problems.iter().map(|problem| format!("{}: {problem}", self.config.display())).collect();
        lines.join("\n")
    }
}

/// Runs the command of this process.
pub fn main() -> ExitCode {
    crate::runtime::few_arenas();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version go to standard output and are no errors.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match arguments.command {
        Command::Run(config) => run::run(&config),
        Command::Check(config) => check::run(&config),
        Command::Config(arguments) => config::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Debug(arguments) => debug::run(&arguments),
        Command::Backtest(arguments) => backtest::run(&arguments),
        Command::TestLookupTable(arguments) => lookup_table::run(&arguments),
        Command::Rules(arguments) => rules::run(&arguments),
        Command::Parse(arguments) => parse::run(&arguments),
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Source(arguments) => source::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Search(arguments) => search::run(&arguments),
        Command::Queries(arguments) => queries::run(&arguments),
        Command::Lake(arguments) => lake::run(&arguments),
        Command::Alerts(arguments) => alerts::run(&arguments),
        Command::Destinations(arguments) => destinations::run(&arguments),
        Command::Quarantine(arguments) => quarantine::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Backfill(arguments) => backfill::run(&arguments),
        Command::Audit(arguments) => audit::run(&arguments),
        Command::Health(arguments) => health::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::RuleWorker(arguments) => rule_worker::run(&arguments),
    }
}

/// Folders that a command reads lie on this machine; what to do about one that does not.
fn here(folders: &[PathBuf]) -> Result<(), String> {
    match folders.iter().find(|folder| Prefix::parse(folder).is_some()) {
        Some(remote) => Err(format!(
            "{0} is in S3, and this command reads folders of this machine: `aws s3 sync {0} FOLDER`, and name the folder",
            remote.display()
        )),
        None => Ok(()),
    }
}

/// Runs a command's asynchronous part; an error goes to standard error with its causes.
fn block_on(work: impl Future<Output = anyhow::Result<ExitCode>>) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failure(&anyhow::Error::new(error).context("could not start the runtime's threads")),
    };
    let code = runtime.block_on(work).unwrap_or_else(|error| failure(&error));
    // Blocking work that is still going on has nobody left to answer to.
    runtime.shutdown_background();
    code
}

fn failure(error: &anyhow::Error) -> ExitCode {
    complain(format_args!("error: {error:#}"));
    ExitCode::FAILURE
}

fn usage(problem: &impl std::fmt::Display) -> ExitCode {
    complain(format_args!("{problem}"));
    ExitCode::from(EXIT_USAGE)
}

/// A hint at what may have been meant; empty where there is nothing to choose from.
fn nearest<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> String {
    let likeness = |name: &&str| strsim::jaro_winkler(name, wanted);
    let near = known.max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    near.map(|near| format!("; the nearest is {near:?}")).unwrap_or_default()
}

fn complain(text: std::fmt::Arguments<'_>) {
    // With standard error closed there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Prints a command's result. A reader that has enough (`| head`) closes the pipe, and that is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
