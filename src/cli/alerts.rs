//! `margay alerts`: the alerts in the state store. Reads only; the daemon may be running.

use std::process::ExitCode;

use clap::Subcommand;

use super::{ConfigArgument, block_on, complain, print};
use crate::alert::render;
use crate::app;
use crate::model::Severity;
use crate::state::AlertFilter;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List alerts, newest first.
    List(List),
}

#[derive(clap::Args)]
struct List {
    #[command(flatten)]
    config: ConfigArgument,
    /// `table` for people, `jsonl` for programs.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Only alerts of this rule.
    #[arg(long, value_name = "ID")]
    rule: Option<String>,
    /// Only alerts of at least this severity.
    #[arg(long, value_name = "SEVERITY")]
    severity: Option<Severity>,
    /// At most this many.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Table,
    Jsonl,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let Command::List(list) = &arguments.command;
    let config = match list.config.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    block_on(async {
        let state = app::state_for_reading(&config).await?;
        let filter = AlertFilter {
            rule_id: list.rule.clone(),
            severity_at_least: list.severity,
            kind: None,
            limit: Some(list.limit),
        };
        let alerts = state.alerts(&filter).await?;
        print(&match list.format {
            Format::Table => render::table(&alerts),
            Format::Jsonl => render::jsonl(&alerts),
        })?;
        if alerts.len() as u64 == u64::from(list.limit) {
            complain(format_args!("there may be more than {}; --limit shows more", list.limit));
        }
        Ok(ExitCode::SUCCESS)
    })
}
