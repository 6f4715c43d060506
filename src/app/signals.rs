//! The signals that a daemon listens to: those that end it, and the one that has it load anew what has changed.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGHUP, for each that loads something anew.
pub(super) struct Hangups {
    pub(super) rules: Signal,
    pub(super) catalogue: Signal,
}

impl Hangups {
    pub(super) fn new() -> anyhow::Result<Hangups> {
        let hangups = || signal(SignalKind::hangup()).context("could not listen to SIGHUP");
        Ok(Hangups { rules: hangups()?, catalogue: hangups()? })
    }
}

/// The signals that end a daemon.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> anyhow::Result<Signals> {
        let failed = "could not listen to signals";
        Ok(Signals {
            terminate: signal(SignalKind::terminate()).context(failed)?,
            interrupt: signal(SignalKind::interrupt()).context(failed)?,
        })
    }

    /// Waits to be asked to end.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
