//! How far a long command has come and how much is left, on standard error: often on a terminal, in lines of a log
//! else.

use std::io::IsTerminal;
use std::time::Duration;

use tokio::time::Instant;

use super::complain;

const ON_TERMINAL: Duration = Duration::from_secs(1);
const IN_LOG: Duration = Duration::from_secs(15);

pub(super) struct Progress {
    started: Instant,
    shown: Instant,
    known: Amount,
    done: Amount,
    left: Amount,
    /// What there is, as far as it was counted.
    found: Amount,
    counted: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Amount {
    objects: u64,
    bytes: u64,
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
    }
}

impl Default for Progress {
    fn default() -> Progress {
        let (now, none) = (Instant::now(), Amount::default());
        Progress { started: now, shown: now, known: none, done: none, left: none, found: none, counted: false }
    }
}

impl Progress {
    /// There is one more; it may have been worked on already.
    pub(super) fn found(&mut self, bytes: u64) {
        self.found.add(bytes);
    }

    /// There are no more than were found.
    pub(super) fn counted(&mut self) {
        self.counted = true;
    }

    /// An object that was done before.
    pub(super) fn known(&mut self, bytes: u64) {
        self.known.add(bytes);
    }

    pub(super) fn done(&mut self, bytes: u64) {
        self.done.add(bytes);
    }

    pub(super) fn left(&mut self, bytes: u64) {
        self.left.add(bytes);
    }

    pub(super) fn objects_done(&self) -> u64 {
        self.done.objects
    }

    pub(super) fn not_done(&self) -> u64 {
        self.left.objects
    }

    /// Says how it stands, when it is time to.
    pub(super) fn show(&mut self) {
        let interval = if std::io::stderr().is_terminal() { ON_TERMINAL } else { IN_LOG };
        if self.shown.elapsed() >= interval {
            self.shown = Instant::now();
            complain(format_args!("{}{}", self.summary(), self.ahead()));
        }
    }

    pub(super) fn summary(&self) -> String {
        let Progress { known, done, left, .. } = self;
        let seconds = self.seconds();
        let (objects, mib) = (done.objects as f64 / seconds, done.bytes as f64 / seconds / (1024.0 * 1024.0));
        format!(
            "{} objects done, {} bytes, {} not done, {} done before; {objects:.1} objects/s, {mib:.1} MiB/s",
            done.objects, done.bytes, left.objects, known.objects
        )
    }

    /// What is still to come, and how long that takes if it goes on like this: by objects or by bytes, whatever is
    /// slower.
    fn ahead(&self) -> String {
        let passed = |of: fn(&Amount) -> u64| of(&self.known) + of(&self.done) + of(&self.left);
        let to_come = |of: fn(&Amount) -> u64| of(&self.found).saturating_sub(passed(of));
        let (objects, bytes) = (to_come(|amount| amount.objects), to_come(|amount| amount.bytes));
        if !self.counted {
            return format!("; at least {objects} objects, {bytes} bytes to come");
        }
        let seconds = |of: fn(&Amount) -> u64| match passed(of) {
            0 => 0.0,
            passed => to_come(of) as f64 * self.seconds() / passed as f64,
        };
        let seconds = seconds(|amount| amount.objects).max(seconds(|amount| amount.bytes));
        format!("; {objects} objects, {bytes} bytes to come, about {}", duration(seconds))
    }

    fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64().max(0.001)
    }
}

/// In its two largest units.
fn duration(seconds: f64) -> String {
    match seconds.round() as u64 {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds @ 3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        seconds => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_to_come_is_told_with_the_time_that_it_takes() {
        let mut progress = Progress::default();
        for bytes in [1000, 1000, 1000, 97_000] {
            progress.found(bytes);
        }
        progress.known(1000);
        progress.done(1000);
        assert_eq!(progress.ahead(), "; at least 2 objects, 98000 bytes to come");
        progress.counted();
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(progress.ahead(), "; 2 objects, 98000 bytes to come, about 1 min 38 s");
        assert!(progress.summary().starts_with("1 objects done, 1000 bytes, 0 not done, 1 done before; 0.5 objects/s"));
        progress.left(97_000);
        assert!(progress.ahead().starts_with("; 1 objects, 1000 bytes to come"), "{}", progress.ahead());
        // What was put there after it was counted.
        (0..3).for_each(|_| progress.done(1000));
        assert_eq!(progress.ahead(), "; 0 objects, 0 bytes to come, about 0 s");
    }

    #[test]
    fn long_times_are_told_in_their_two_largest_units() {
        let told = [0.4, 59.0, 61.0, 3599.0, 3660.0, 90_000.0].map(duration);
        assert_eq!(told, ["0 s", "59 s", "1 min 1 s", "59 min 59 s", "1 h 1 min", "1 d 1 h"]);
    }
}
