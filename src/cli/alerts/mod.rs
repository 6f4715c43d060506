//! `margay alerts`: the alerts in the state store, to look at and to work on; the daemon may be running.

mod attributes;
mod change;
mod list;
mod route;
mod show;
mod summary;

use std::process::ExitCode;

use clap::Subcommand;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List alerts, newest first.
    List(Box<list::List>),
    /// Count alerts by rule, severity, status, type and day.
    Summary(summary::Summary),
    /// Show what the events of an alert have in common: the most frequent values of their fields.
    Attributes(attributes::Attributes),
    /// Show one alert whole, with its deliveries, comments and history.
    Show(show::Show),
    /// List the matches that an alert counts, a line of JSON each.
    Events(show::Events),
    /// Change status or assignee of alerts, or comment on them.
    Set(change::Set),
    /// Send an alert again, to all destinations that it went to or to those named.
    Resend(change::Resend),
    /// Explain where an alert would go, and why.
    Route(route::Route),
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match &arguments.command {
        Command::List(list) => list.run(),
        Command::Attributes(attributes) => attributes.run(),
        Command::Show(show) => show.run(),
        Command::Events(events) => events.run(),
        Command::Set(set) => set.run(),
        Command::Resend(resend) => resend.run(),
        Command::Summary(summary) => summary.run(),
        Command::Route(route) => route.run(),
    }
}
