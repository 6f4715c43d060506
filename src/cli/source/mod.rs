//! `margay source …`: the accounts around a source. One file a subcommand.

mod add;
mod check;
mod list;
mod template;

use std::process::ExitCode;

use clap::Subcommand;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a new source into the configuration file, and say what its account needs next.
    Add(add::Arguments),
    /// List the sources, and what the running daemon has seen of each since its start.
    List(list::Arguments),
    /// Examine sources step by step, from the role to the queue, with a remedy for what fails.
    Check(check::Arguments),
    /// Print a template, filled from the configuration, for what margay needs in an AWS account.
    Template(template::Arguments),
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match &arguments.command {
        Command::Add(arguments) => add::run(arguments),
        Command::List(arguments) => list::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Template(arguments) => template::run(arguments),
    }
}
