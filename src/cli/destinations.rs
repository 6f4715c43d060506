//! `margay destinations`: where alerts go, and whether one arrives there.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;

use super::{ConfigArgument, block_on, print, usage};
use crate::alert::message::{Message, test_alert};
use crate::alert::render::safe;
use crate::app;
use crate::model::Receiver;
use crate::runtime::{Clock, SystemClock};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List destinations with what they take.
    List(List),
    /// Send a test alert to one destination, and tell how it answers.
    Test(Test),
}

#[derive(clap::Args)]
struct List {
    #[command(flatten)]
    config: ConfigArgument,
}

#[derive(clap::Args)]
struct Test {
    #[command(flatten)]
    config: ConfigArgument,
    name: String,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match &arguments.command {
        Command::List(list) => list.run(),
        Command::Test(test) => test.run(),
    }
}

impl List {
    fn run(&self) -> ExitCode {
        let config = match self.config.load() {
            Ok(config) => config,
            Err(code) => return code,
        };
        let kind = |name: &str| {
            let own = config.alerts.destinations.iter().find(|own| own.name == name);
            own.map_or("stdout", |own| own.kinds()[0])
        };
        let lines = config.alerts.receivers().into_iter().map(|receiver| line(kind(&receiver.name), &receiver));
        match print(&lines.collect::<String>()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => super::failure(&error),
        }
    }
}

fn line(kind: &str, receiver: &Receiver) -> String {
    let Receiver { name, id, enabled, severities, alert_types, log_types, ends_incidents: _ } = receiver;
    let severities: Vec<&str> = severities.iter().map(|severity| severity.as_str()).collect();
    let types: Vec<&str> = alert_types.iter().map(|kind| kind.as_str()).collect();
    let log_types = if log_types.is_empty() { "all".into() } else { log_types.join(",") };
    let id = id.as_ref().map(|id| format!(" id={}", safe(id))).unwrap_or_default();
    let off = if *enabled { "" } else { " (not enabled)" };
    format!(
        "{}{id} {kind}{off} severities={} types={} log types={log_types}\n",
        safe(name),
        severities.join(","),
        types.join(",")
    )
}

impl Test {
    fn run(&self) -> ExitCode {
        let config = match self.config.load() {
            Ok(config) => config,
            Err(code) => return code,
        };
        block_on(async {
            let lines = match app::destinations(&self.config.config, &config, &app::Vault::default()).await {
                Ok(lines) => lines,
                Err(problems) => return Ok(usage(&self.config.located(&problems))),
            };
            let line = lines.iter().find(|line| line.destination.name() == self.name);
            let destination = &line
                .with_context(|| {
                    format!("there is no enabled destination `{}`; `margay destinations list` shows them", self.name)
                })?
                .destination;
            let now = SystemClock.now();
            let alert = test_alert(now);
            let message = Message::new(&alert, &self.name, config.alerts.link_base.as_deref(), 0, now);
            let taken = destination.send(&message).await?;
            let status = taken.status.map(|status| format!(", status {status}")).unwrap_or_default();
            // Standard output may be the destination.
            super::complain(format_args!("`{}` took the test alert{status}", self.name));
            Ok(ExitCode::SUCCESS)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_one_line() {
        let receiver = Receiver { enabled: false, id: Some("9f".into()), ..Receiver::accepting_all("s\u{1b}") };
        assert_eq!(
            line("slack", &receiver),
            "s\\u{1b} id=9f slack (not enabled) severities=INFO,LOW,MEDIUM,HIGH,CRITICAL types=RULE,RULE_ERROR,\
             SYSTEM_ERROR \
             log types=all\n"
        );
    }
}
