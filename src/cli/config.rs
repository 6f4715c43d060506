//! `margay config`: the configuration in effect, of the file and the environment together.

use std::process::ExitCode;

use super::{ConfigArgument, failure, print, usage};
use crate::config::dump;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Print the effective values as TOML, secrets masked.
    #[arg(long)]
    dump: bool,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let config = match arguments.config.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    if !arguments.dump {
        return usage(&"nothing to do; `margay config --dump` prints the effective values");
    }
    match print(&dump(&config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure(&error),
    }
}
