//! `margay rules list`: one line a rule.

use std::process::ExitCode;

use super::{FolderArgument, Surveyed, folders, survey};
use crate::alert::render::{json_line, safe};
use crate::cli::{block_on, complain, print, table, usage};
use crate::detect::testing::Filter;

#[derive(clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    pub(super) folder: FolderArgument,
    /// Only rules whose YAML has KEY=VALUE, or has not (KEY!=VALUE). Several values, separated by commas, are
    /// alternatives; several filters must all hold.
    #[arg(long, value_name = "KEY=VALUE", num_args = 1..)]
    filter: Vec<String>,
    /// `table` for people, `json` for programs: one array.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

impl List {
    pub(super) fn run(&self) -> ExitCode {
        let filters = match self.filter.iter().map(|text| Filter::parse(text)).collect::<Result<_, _>>() {
            Ok(filters) => filters,
            Err(problem) => return usage(&problem),
        };
        block_on(async {
            let (rules, problems) = survey(folders::read_for(&[self.folder.folder()]), filters).await;
            problems.iter().for_each(|problem| complain(format_args!("{problem}")));
            print(&match self.format {
                Format::Table => text(&rules),
                Format::Json => json_line(&rules.iter().map(json).collect::<Vec<_>>()),
            })?;
            Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        })
    }
}

fn text(rules: &[Surveyed]) -> String {
    let head = ["ID", "KIND", "SEVERITY", "STATE", "GUARD", "VERSION", "LOG TYPES"].map(str::to_owned);
    let rows = rules.iter().map(|rule| {
        let types = if rule.log_types.is_empty() { "-".to_owned() } else { rule.log_types.join(", ") };
        [
            safe(&rule.meta.id),
            rule.kind.to_owned(),
            rule.meta.severity.to_string(),
            if rule.enabled { "enabled" } else { "disabled" }.to_owned(),
            rule.guard.quality().as_str().to_owned(),
            rule.meta.version.clone(),
            safe(&types),
        ]
    });
    table::text(std::iter::once(head).chain(rows), &[])
}

fn json(rule: &Surveyed) -> serde_json::Value {
    serde_json::json!({
        "id": *rule.meta.id,
        "kind": rule.kind,
        "severity": rule.meta.severity,
        "log_types": rule.log_types,
        "enabled": rule.enabled,
        "version": rule.meta.version,
        "guard": rule.guard.quality().as_str(),
        "indexed": rule.guard.is_indexed(),
        "tests": rule.tests.len(),
        "file": rule.file,
    })
}
