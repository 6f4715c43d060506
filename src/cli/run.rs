//! `margay run`: the daemon.

use std::process::ExitCode;

use super::{ConfigArgument, block_on, failure, usage};
use crate::{app, telemetry};

pub(super) fn run(argument: &ConfigArgument) -> ExitCode {
    let config = match argument.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    let catalogue = match app::catalogue(&config) {
        Ok(catalogue) => catalogue,
        Err(problems) => return usage(&argument.located(&problems)),
    };
    // Dropped last: what the end itself logs is written too.
    let (log, _end) = match telemetry::init(&config.log) {
        Ok(log) => log,
        Err(error) => return failure(&error.into()),
    };
    block_on(async { app::run(&argument.config, config, catalogue, log).await.map(|()| ExitCode::SUCCESS) })
}
