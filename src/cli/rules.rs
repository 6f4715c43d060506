//! `margay rules`: which rules there are, and what of them is decided without Python. Runs none.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::{block_on, complain, here, print, usage};
use crate::detect::survey::{Surveyed, survey};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the rules with their log types, severity, and whether a guard can turn events away without Python.
    List {
        /// Folder with detections, read recursively.
        #[arg(default_value = "rules")]
        folder: PathBuf,
    },
    /// Show by which fields events reach a rule, and what in its source only Python understands.
    Explain {
        /// Id of the rule.
        rule: String,
        /// Folder with detections, read recursively.
        #[arg(default_value = "rules")]
        folder: PathBuf,
    },
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let (Command::List { folder } | Command::Explain { folder, .. }) = &arguments.command;
    if let Err(problem) = here(std::slice::from_ref(folder)) {
        return usage(&problem);
    }
    block_on(async {
        let (rules, problems) = survey(vec![folder.clone()]).await;
        problems.iter().for_each(|problem| complain(format_args!("{problem}")));
        match &arguments.command {
            Command::List { .. } => {
                print(&list(&rules))?;
                Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
            Command::Explain { rule: id, .. } => {
                let Some(rule) = rules.iter().find(|rule| rule.id == *id) else {
                    let near = rules
                        .iter()
                        .map(|rule| &*rule.id)
                        .max_by(|a, b| strsim::jaro_winkler(a, id).total_cmp(&strsim::jaro_winkler(b, id)));
                    let hint = near.map(|near| format!("; the nearest is {near:?}")).unwrap_or_default();
                    anyhow::bail!("{} holds no rule {id:?}{hint}", folder.display());
                };
                print(&format!("{}\n{}", rule.id, rule.guard))?;
                Ok(ExitCode::SUCCESS)
            }
        }
    })
}

fn list(rules: &[Surveyed]) -> String {
    let width = rules.iter().map(|rule| rule.id.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for rule in rules {
        let state = match (rule.enabled, rule.guard.guarded) {
            (false, _) => "disabled",
            (true, true) => "guarded",
            (true, false) => "python",
        };
        let types = if rule.log_types.is_empty() { "(scheduled)".to_owned() } else { rule.log_types.join(", ") };
        writeln!(out, "{:<width$}  {:<8}  {state:<8}  {types}", rule.id, rule.severity.to_string())
            .expect("a String takes all text");
    }
    out
}
