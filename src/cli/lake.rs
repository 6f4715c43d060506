//! `margay lake`: the upkeep of the tables by hand, or by a scheduler of one's own. It may run beside daemons.

use std::process::ExitCode;

use clap::Subcommand;

use super::{ConfigArgument, block_on, print};
use crate::app;
use crate::lake::names::TableId;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Put small files together, expire old snapshots and rows, and remove files that nothing refers to.
    Maintain(Maintain),
}

#[derive(clap::Args)]
struct Maintain {
    #[command(flatten)]
    config: ConfigArgument,
    /// Only this table, as `namespace.table`.
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let Command::Maintain(maintain) = &arguments.command;
    let config = match maintain.config.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    block_on(async {
        let upkeep = app::lake_upkeep(&config).await?;
        let tables: Vec<TableId> = upkeep.tables().await?;
        let wanted = |table: &TableId| maintain.table.as_ref().is_none_or(|wanted| *wanted == table.to_string());
        let wanted: Vec<&TableId> = tables.iter().filter(|table| wanted(table)).collect();
        anyhow::ensure!(
            maintain.table.is_none() || !wanted.is_empty(),
            "there is no such table; `margay search \"SHOW TABLES\"` lists those that there are"
        );
        for table in wanted {
            let done = upkeep.maintain(table).await?;
            print(&format!(
                "{table}: {} small files became {}, {} files of old rows dropped, {} snapshots expired, {} unused files \
                 removed\n",
                done.files_before, done.files_after, done.files_dropped, done.snapshots_expired, done.orphans_removed
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    })
}
