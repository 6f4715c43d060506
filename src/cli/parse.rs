//! `margay parse`: raw log entries in, events out. Needs no configuration, no network and no state.

use std::io::{BufRead, BufWriter, Write};
use std::process::ExitCode;

use super::{failure, usage};
use crate::logtype::{Registry, batch};
use crate::runtime::{Clock, SystemClock};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Read requests as JSON lines on standard input and answer each with one JSON line: `id`, `log_type`, `input`
    /// (array of entries) and optionally `schema` (YAML) give `id` and `events`, or `error`.
    #[arg(long)]
    batch: bool,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    if !arguments.batch {
        return usage(&"nothing to do; `margay parse --batch` reads requests on standard input");
    }
    match answer_all() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure(&error.into()),
    }
}

fn answer_all() -> std::io::Result<()> {
    let registry = Registry::built_in();
    let mut out = BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if !line.trim().is_empty() {
            writeln!(out, "{}", batch::answer(&registry, &line, SystemClock.now()))?;
        }
    }
    out.flush()
}
