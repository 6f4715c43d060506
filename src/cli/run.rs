//! `margay run`: the daemon.

use std::process::ExitCode;

use super::{ConfigArgument, block_on, failure, usage};
use crate::{app, telemetry};

pub(super) fn run(argument: &ConfigArgument) -> ExitCode {
    let config = match argument.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    // Dropped last: what the end itself logs is written too.
    let (log, _end) = match telemetry::init(&config.log) {
        Ok(log) => log,
        Err(error) => return failure(&error.into()),
    };
    block_on(async {
        // First of all, because what is in the folders is a part of the configuration.
        let copies = app::copies(&config).await?;
        let catalogue = match app::catalogue(&config) {
            Ok(catalogue) => catalogue,
            Err(problems) => return Ok(usage(&argument.located(&problems))),
        };
        app::run(&argument.config, config, catalogue, copies, log).await.map(|()| ExitCode::SUCCESS)
    })
}
