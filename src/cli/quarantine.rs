//! `margay quarantine`: what could not be processed and is kept. Reads only; the daemon may be running.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Subcommand;

use super::{ConfigArgument, block_on, print};
use crate::alert::render::safe;
use crate::app;
use crate::model::rfc3339;
use crate::state::Quarantined;

/// Of the raw bytes, in a table.
const SHOWN: usize = 60;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List messages, objects and records, newest first.
    List(List),
}

#[derive(clap::Args)]
struct List {
    #[command(flatten)]
    config: ConfigArgument,
    /// `table` for people, `jsonl` for programs, with all the bytes that were kept.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
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
        let kept = app::state_for_reading(&config).await?.quarantined(list.limit).await?;
        let line = match list.format {
            Format::Table => table_line,
            Format::Jsonl => json_line,
        };
        print(&kept.iter().map(line).collect::<String>())?;
        Ok(ExitCode::SUCCESS)
    })
}

fn table_line(kept: &Quarantined) -> String {
    let mut line =
        format!("{}  {:<7}  {}\n    {}\n", rfc3339(kept.at), kind(kept), safe(&kept.subject), safe(&kept.reason));
    if !kept.raw.is_empty() {
        let shown = &kept.raw[..kept.raw.len().min(SHOWN)];
        let more = if shown.len() < kept.raw.len() { "…" } else { "" };
        writeln!(line, "    {}{more}", shown.escape_ascii()).expect("a String takes all text");
    }
    line
}

/// `raw` as text; where it is no UTF-8, bytes are escaped as in `\xff` and `escaped` is true.
fn json_line(kept: &Quarantined) -> String {
    let text = std::str::from_utf8(&kept.raw);
    let line = serde_json::json!({
        "at": rfc3339(kept.at),
        "kind": kind(kept),
        "subject": kept.subject,
        "reason": kept.reason,
        "raw": text.map_or_else(|_| kept.raw.escape_ascii().to_string(), str::to_owned),
        "escaped": text.is_err(),
    });
    format!("{line}\n")
}

fn kind(kept: &Quarantined) -> &'static str {
    use crate::state::QuarantineKind::{Message, Object, Record};
    match kept.kind {
        Message => "message",
        Object => "object",
        Record => "record",
    }
}
