//! `margay bench`: the whole pipeline in one process, from memory, with its stages shown.
//!
//! Each subcommand says for itself what it measures, and against what. Without one, everything is a ratio against a
//! baseline of the same run (decompressing the same bytes and parsing them as JSON, one thread), because machines differ
//! and are noisy. Rates count decompressed bytes.

mod cpu;
mod daemon;
mod events;
mod growth;
mod pipeline;
mod rules;
mod search;
mod stages;
mod state;

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use super::{block_on, print};
use crate::logtype::Registry;
use crate::lookup::Surroundings;
use crate::runtime::SystemClock;

/// Lookup tables of a benchmark are of built-in log types.
fn surroundings() -> Surroundings {
    Surroundings::fixed(Arc::new(Registry::built_in()), Arc::new(SystemClock))
}

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    only: Option<Only>,
    /// Events in all, in objects of a thousand.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..))]
    events: u32,
    /// Folder with the rules to run.
    #[arg(long, default_value = "rules")]
    rules: PathBuf,
    /// Rule workers; by default one per core.
    #[arg(long, default_value_t = 0)]
    workers: usize,
}

#[derive(clap::Subcommand)]
enum Only {
    /// Measure the whole path over the objects of a folder: files, rules, state and lake are real, only the queue is not.
    Pipeline(pipeline::Arguments),
    /// Measure the rules of a folder over events of a file, with or without their guards.
    Rules(rules::Arguments),
    /// Print invented CloudTrail events, one JSON line each, for `bench rules`.
    Events {
        #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..))]
        events: u32,
    },
    /// Measure what an event costs as rules of one log type become more: invented ones, each with constants of its own.
    Growth(growth::Arguments),
    /// Measure the state store: objects and matches a second.
    State(state::Arguments),
    /// Measure searches of a lake against DuckDB on the same files.
    Search(search::Arguments),
}

/// One line of the result.
struct Stage {
    name: &'static str,
    seconds: f64,
    /// CPU seconds of this process and of its rule workers.
    cpu_seconds: f64,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match &arguments.only {
        Some(Only::Pipeline(arguments)) => return block_on(pipeline::run(arguments)),
        Some(Only::Rules(arguments)) => return rules::run(arguments),
        Some(Only::Events { events }) => return block_on(async { events::print(*events as usize) }),
        Some(Only::Growth(arguments)) => return growth::run(arguments),
        Some(Only::State(arguments)) => {
            return block_on(async { state::run(arguments).await.map(|()| ExitCode::SUCCESS) });
        }
        Some(Only::Search(arguments)) => {
            let config = match arguments.config.load() {
                Ok(config) => config,
                Err(code) => return code,
            };
            return block_on(async { search::run(arguments, &config).await.map(|()| ExitCode::SUCCESS) });
        }
        None => {}
    }
    block_on(async {
        let objects = events::objects(arguments.events as usize);
        let stages = stages::measure(&objects, arguments).await?;
        print(&report(&objects, &stages))?;
        Ok(ExitCode::SUCCESS)
    })
}

fn report(objects: &events::Objects, stages: &[Stage]) -> String {
    let megabytes = objects.decoded_bytes as f64 / 1e6;
    let events = objects.events as f64;
    let baseline = stages[0].cpu_seconds;
    let mut out = String::new();
    let line = "a String takes all text";
    writeln!(out, "{events} CloudTrail events, {megabytes:.1} MB decompressed, {} objects\n", objects.bodies.len())
        .expect(line);
    writeln!(
        out,
        "{:<34}{:>12}{:>10}{:>16}{:>14}{:>12}",
        "stage", "events/s", "MB/s", "events/s/core", "MB/s/core", "x baseline"
    )
    .expect(line);
    for stage in stages {
        let Stage { name, seconds, cpu_seconds } = stage;
        writeln!(
            out,
            "{name:<34}{:>12.0}{:>10.1}{:>16.0}{:>14.1}{:>12.2}",
            events / seconds,
            megabytes / seconds,
            events / cpu_seconds,
            megabytes / cpu_seconds,
            cpu_seconds / baseline,
        )
        .expect(line);
    }
    out += "\n`rules alone` starts from events; every other stage includes those above it but the baseline. `x baseline` is CPU time over that of the baseline.\n";
    out
}
