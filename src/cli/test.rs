//! `margay test`: the tests that detections carry in their YAML.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::{block_on, print};
use crate::app;
use crate::detect::{self, WorkerCommand, testing};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Folders with detections, read recursively.
    #[arg(default_value = "rules")]
    paths: Vec<PathBuf>,
    /// `text` for people, `jsonl` for programs: one line a case.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Worker processes; by default one per core.
    #[arg(long)]
    workers: Option<usize>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Text,
    Jsonl,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    block_on(async {
        let defaults = detect::Config::default();
        let command = WorkerCommand {
            program: app::program()?,
            memory_mib: defaults.worker_memory_mib,
            require_seccomp: false,
            call_timeout: Duration::from_millis(defaults.call_timeout_ms),
        };
        let workers = arguments.workers.unwrap_or_else(detect::cores);
        let report = testing::run(arguments.paths.clone(), command, workers).await?;
        match arguments.format {
            Format::Text => print(&testing::text(&report, std::io::stdout().is_terminal()))?,
            Format::Jsonl => print(&testing::jsonl(&report))?,
        }
        Ok(if report.all_passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}
