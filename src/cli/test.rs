//! `margay test`: the tests that detections carry in their YAML.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::schema::LogTypes;
use super::{block_on, complain, folders, here, print, usage};
use crate::app;
use crate::config::TestSettings;
use crate::detect::testing::{self, Filter, Keys, Selection, TableNames, TestReport};
use crate::detect::{self, WorkerCommand};
use crate::lake::names::table_name;
use crate::logtype::Registry;

#[derive(clap::Args)]
#[command(
    after_help = "What is not given may stand in variables `PANTHER_<OPTION>`, or in `.panther_settings.yml` in the working folder."
)]
pub(super) struct Arguments {
    /// Folders with detections, read recursively; `rules` without any.
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
    /// Pass over keys of the YAML that margay does not know.
    #[arg(long)]
    ignore_extra_keys: bool,
    /// Load everything and run no test.
    #[arg(long)]
    skip_tests: bool,
    /// Leave out the tests of detections that are not enabled.
    #[arg(long)]
    skip_disabled_tests: bool,
    /// Tests that a detection must have; of two or more, one must expect an alert and one none.
    #[arg(long, value_name = "N")]
    minimum_tests: Option<usize>,
    /// A destination that `destinations()` may name. Without any, every name is taken.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    available_destination: Vec<String>,
    /// Tables that saved queries may read beside those of log types; `*` stands for any characters.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    valid_table_names: Vec<String>,
    /// Do not look at which tables saved queries read.
    #[arg(long)]
    ignore_table_names: bool,
    /// In the order of the names instead of that of the files.
    #[arg(long)]
    sort_test_results: bool,
    /// Show only detections that failed.
    #[arg(long)]
    show_failures_only: bool,
    /// Worker processes; by default one per core.
    #[arg(long)]
    workers: Option<usize>,
    #[command(flatten)]
    log_types: LogTypes,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Text,
    Jsonl,
    Junit,
}

/// The options with what stands elsewhere in the place of those that were not given.
struct Options {
    folders: Vec<PathBuf>,
    selection: Selection,
    sorted: bool,
    only_failed: bool,
    workers: usize,
}

impl Arguments {
    fn with(&self, settings: TestSettings) -> Result<Options, String> {
        let folders: Vec<PathBuf> = match [&self.paths[..], &self.more_paths].concat() {
            none if none.is_empty() => vec![settings.path.unwrap_or_else(|| "rules".into())],
            given => given,
        };
        let either = |given: &[String], set: Vec<String>| if given.is_empty() { set } else { given.to_vec() };
        let filters = either(&self.filter, settings.filter);
        let tables = either(&self.valid_table_names, settings.valid_table_names);
        let selection = Selection {
            filters: filters.iter().map(|text| Filter::parse(text)).collect::<Result<_, _>>()?,
            cases: either(&self.test_names, settings.test_names),
            ignored_files: either(&self.ignore_files, settings.ignore_files),
            without_tests: self.skip_tests || settings.skip_tests,
            without_disabled: self.skip_disabled_tests || settings.skip_disabled_tests,
            minimum: self.minimum_tests.or(settings.minimum_tests).unwrap_or(0),
            destinations: either(&self.available_destination, settings.available_destination),
            keys: if self.ignore_extra_keys || settings.ignore_extra_keys { Keys::Any } else { Keys::Known },
            tables: (!self.ignore_table_names && !settings.ignore_table_names).then(|| own_tables(tables)),
        };
        Ok(Options {
            folders,
            selection,
            sorted: self.sort_test_results || settings.sort_test_results,
            only_failed: self.show_failures_only || settings.show_failures_only,
            workers: self.workers.or(settings.workers).filter(|workers| *workers > 0).unwrap_or_else(detect::cores),
        })
    }
}

/// The tables of margay's own lake are known by the names that its search takes.
fn own_tables(mut names: Vec<String>) -> TableNames {
    let registry = Registry::built_in();
    names.extend(registry.names().map(|name| table_name(name)).flat_map(|table| [format!("*logs.{table}"), table]));
    names.push("all_logs".to_owned());
    TableNames(names)
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let settings = match TestSettings::read() {
        Ok(settings) => settings,
        Err(problems) => return usage(&problems.join("\n")),
    };
    let options = match arguments.with(settings).and_then(|options| here(&options.folders).map(|()| options)) {
        Ok(options) => options,
        Err(problem) => return usage(&problem),
    };
    let loading = match arguments.log_types.loading() {
        Ok(loading) => loading,
        Err(faults) => return usage(&faults.join("\n")),
    };
    block_on(async {
        let defaults = detect::Config::default();
        let command = WorkerCommand {
            program: app::program()?,
            memory_mib: defaults.worker_memory_mib,
            call_timeout: Duration::from_millis(defaults.call_timeout_ms),
            require_seccomp: defaults.require_seccomp,
        };
        let folders = folders::read_for(&options.folders);
        let Selection { filters, cases, .. } = &options.selection;
        let named = Named { is_filtered: !filters.is_empty(), cases: cases.clone() };
        let mut report = testing::run(folders, options.selection, command, options.workers, loading).await?;
        let all_passed = report.all_passed();
        // As they were named.
        report.directories = options.folders;
        if options.sorted {
            report.rules.sort_by(|a, b| a.id.cmp(&b.id));
        }
        let shown = testing::Shown { color: std::io::stdout().is_terminal(), only_failed: options.only_failed };
        print(&match arguments.format {
            Format::Text => testing::text(&report, shown),
            Format::Jsonl => testing::jsonl(&report),
            Format::Junit => testing::junit(&report),
        })?;
        if let Some(reason) = nothing_ran(&report, &named) {
            complain(format_args!("{reason}"));
            return Ok(ExitCode::FAILURE);
        }
        Ok(if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// What was asked for, as far as it can leave nothing to test.
struct Named {
    is_filtered: bool,
    cases: Vec<String>,
}

/// Why a run that found nothing wrong found nothing at all: a misspelt name must not pass for a success.
fn nothing_ran(report: &TestReport, named: &Named) -> Option<String> {
    let folders: Vec<String> = report.directories.iter().map(|folder| folder.display().to_string()).collect();
    let folders = folders.join(", ");
    if report.rules.is_empty() && report.invalid.is_empty() && report.skipped == 0 {
        let what = if named.is_filtered { "no detection that the filters let through" } else { "no detection" };
        return Some(format!("{folders} holds {what}: nothing was tested"));
    }
    let ran = report.rules.iter().any(|rule| !rule.cases.is_empty());
    let is_lost = !named.cases.is_empty() && !ran && report.invalid.is_empty();
    is_lost.then(|| format!("{folders} holds no test case of the names {:?}: nothing was tested", named.cases))
}
