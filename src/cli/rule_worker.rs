//! `margay rule-worker`: the process in which rules run. Speaks `detect/protocol` on standard input and output, and has
//! neither configuration nor logs.

use std::process::ExitCode;

use crate::detect::python;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Limit of the address space.
    #[arg(long)]
    memory_mib: u64,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    python::serve(std::io::stdin(), std::io::stdout(), Some(arguments.memory_mib * 1024 * 1024))
}
