//! How far a long command has come, on standard error: often on a terminal, in lines of a log else.

use std::io::IsTerminal;
use std::time::Duration;

use tokio::time::Instant;

use super::complain;

const ON_TERMINAL: Duration = Duration::from_secs(1);
const IN_LOG: Duration = Duration::from_secs(15);

pub(super) struct Progress {
    started: Instant,
    shown: Instant,
    known: u64,
    done: u64,
    left: u64,
    bytes: u64,
}

impl Default for Progress {
    fn default() -> Progress {
        let now = Instant::now();
        Progress { started: now, shown: now, known: 0, done: 0, left: 0, bytes: 0 }
    }
}

impl Progress {
    /// An object that was done before.
    pub(super) fn known(&mut self) {
        self.known += 1;
    }

    pub(super) fn done(&mut self, bytes: u64) {
        self.done += 1;
        self.bytes += bytes;
    }

    pub(super) fn left(&mut self) {
        self.left += 1;
    }

    pub(super) fn nothing_left(&self) -> bool {
        self.left == 0
    }

    /// Says how it stands, when it is time to. How much is still to come is not known before the listing has ended.
    pub(super) fn show(&mut self) {
        let interval = if std::io::stderr().is_terminal() { ON_TERMINAL } else { IN_LOG };
        if self.shown.elapsed() >= interval {
            self.shown = Instant::now();
            complain(format_args!("{}", self.summary()));
        }
    }

    pub(super) fn summary(&self) -> String {
        let Progress { known, done, left, bytes, .. } = self;
        let seconds = self.started.elapsed().as_secs_f64().max(0.001);
        let (objects, mib) = (*done as f64 / seconds, *bytes as f64 / seconds / (1024.0 * 1024.0));
        format!(
            "{done} objects done, {bytes} bytes, {left} not done, {known} done before; {objects:.1} objects/s, {mib:.1} MiB/s"
        )
    }
}
