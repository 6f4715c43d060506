//! `margay test`: the tests that detections carry in their YAML.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::{block_on, here, print, usage};
use crate::app;
use crate::detect::testing::{self, Filter, Selection};
use crate::detect::{self, WorkerCommand};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Folders with detections, read recursively.
    #[arg(default_value = "rules")]
    paths: Vec<PathBuf>,
    /// One more folder; the other way to write it.
    #[arg(long = "path", value_name = "FOLDER")]
    more_paths: Vec<PathBuf>,
    /// `text` for people, `jsonl` for programs (one line a case), `junit` for CI systems.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Only detections whose YAML has KEY=VALUE, or has not (KEY!=VALUE). Several values, separated by commas, are
    /// alternatives; several filters must all hold.
    #[arg(long, value_name = "KEY=VALUE", num_args = 1..)]
    filter: Vec<String>,
    /// Only cases of these names.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    test_names: Vec<String>,
    /// Leave out YAML files of these names.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    ignore_files: Vec<String>,
    /// Load everything and run no test.
    #[arg(long)]
    skip_tests: bool,
    /// Leave out the tests of detections that are not enabled.
    #[arg(long)]
    skip_disabled_tests: bool,
    /// Tests that a detection must have; of two or more, one must expect an alert and one none.
    #[arg(long, value_name = "N", default_value_t = 0)]
    minimum_tests: usize,
    /// A destination that `destinations()` may name. Without any, every name is taken.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    available_destination: Vec<String>,
    /// In the order of the names instead of that of the files.
    #[arg(long)]
    sort_test_results: bool,
    /// Show only detections that failed.
    #[arg(long)]
    show_failures_only: bool,
    /// Worker processes; by default one per core.
    #[arg(long)]
    workers: Option<usize>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Text,
    Jsonl,
    Junit,
}

impl Arguments {
    /// The folders: `--path` alone replaces the default.
    fn folders(&self) -> Vec<PathBuf> {
        let is_default = self.paths == [PathBuf::from("rules")] && !self.more_paths.is_empty();
        let named = if is_default { &[][..] } else { &self.paths };
        named.iter().chain(&self.more_paths).cloned().collect()
    }

    fn selection(&self) -> Result<Selection, String> {
        Ok(Selection {
            filters: self.filter.iter().map(|text| Filter::parse(text)).collect::<Result<_, _>>()?,
            cases: self.test_names.clone(),
            ignored_files: self.ignore_files.clone(),
            without_tests: self.skip_tests,
            without_disabled: self.skip_disabled_tests,
            minimum: self.minimum_tests,
            destinations: self.available_destination.clone(),
        })
    }
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    if let Err(problem) = here(&arguments.folders()) {
        return usage(&problem);
    }
    let selection = match arguments.selection() {
        Ok(selection) => selection,
        Err(problem) => return usage(&problem),
    };
    block_on(async {
        let defaults = detect::Config::default();
        let command = WorkerCommand {
            program: app::program()?,
            memory_mib: defaults.worker_memory_mib,
            call_timeout: Duration::from_millis(defaults.call_timeout_ms),
            require_seccomp: defaults.require_seccomp,
        };
        let workers = arguments.workers.unwrap_or_else(detect::cores);
        let mut report = testing::run(arguments.folders(), selection, command, workers).await?;
        let all_passed = report.all_passed();
        if arguments.sort_test_results {
            report.rules.sort_by(|a, b| a.id.cmp(&b.id));
        }
        let shown =
            testing::Shown { color: std::io::stdout().is_terminal(), only_failed: arguments.show_failures_only };
        print(&match arguments.format {
            Format::Text => testing::text(&report, shown),
            Format::Jsonl => testing::jsonl(&report),
            Format::Junit => testing::junit(&report),
        })?;
        Ok(if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}
