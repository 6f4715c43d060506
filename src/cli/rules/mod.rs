//! `margay rules`: which rules there are, what of them is decided without Python, and what they cost a running daemon.
//! Runs none.

mod lift;
mod list;
mod show;
mod top;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use super::folders::{self, FolderArgument};
use super::{block_on, complain, here, print, usage};
use crate::detect::survey::{Surveyed, survey};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the rules with kind, severity, log types, version, and whether a guard can turn events away without Python.
    List(list::List),
    /// Show one rule: what its YAML says, its files, its tests, its guard.
    Show(show::Show),
    /// Show by which fields events reach a rule, and what in its source only Python understands.
    Explain {
        /// Id of the rule.
        rule: String,
        #[command(flatten)]
        folder: FolderArgument,
    },
    /// Show which rules of the running daemon cost most.
    Top(top::Top),
    /// List the rules that are stopped, switched off or held back, and those that were let go on.
    Stopped(lift::Stopped),
    /// Let a rule go on that was stopped, switched off or held back.
    Lift(lift::Lift),
}

impl Command {
    fn folder(&self) -> Option<PathBuf> {
        match self {
            Command::List(list) => Some(list.folder.folder()),
            Command::Show(show) => Some(show.folder.folder()),
            Command::Explain { folder, .. } => Some(folder.folder()),
            Command::Top(_) | Command::Stopped(_) | Command::Lift(_) => None,
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    if let Some(Err(problem)) = arguments.command.folder().map(|folder| here(&[folder])) {
        return usage(&problem);
    }
    match &arguments.command {
        Command::List(list) => list.run(),
        Command::Show(show) => show.run(),
        Command::Explain { rule, folder } => block_on(async {
            let rule = one(rule, &folder.folder()).await?;
            print(&format!("{}\n{}", rule.meta.id, rule.guard))?;
            Ok(ExitCode::SUCCESS)
        }),
        Command::Top(top) => top.run(),
        Command::Stopped(stopped) => stopped.run(),
        Command::Lift(lift) => lift.run(),
    }
}

/// The rule with this id. What could not be read beside it is told.
async fn one(id: &str, folder: &Path) -> anyhow::Result<Surveyed> {
    let (mut rules, problems) = survey(folders::read_for(&[folder.to_owned()]), Vec::new()).await;
    problems.iter().for_each(|problem| complain(format_args!("{problem}")));
    if let Some(at) = rules.iter().position(|rule| *rule.meta.id == *id) {
        return Ok(rules.swap_remove(at));
    }
    let near = super::nearest(id, rules.iter().map(|rule| &*rule.meta.id));
    anyhow::bail!("{} holds no rule {id:?}{near}", folder.display())
}
