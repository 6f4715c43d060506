//! Where the CPU time of the pipeline goes: the stages that compute, each measured by the clock of its thread. What waits,
//! moves bytes between threads or runs in another process is in none of them.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::Telemetry;

/// Work on events that is done on one thread from its beginning to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Compressed bytes -> records.
    Decode,
    /// Records -> events.
    Classify,
    /// Events -> calls of rules, or their certain answer.
    Guard,
    /// Events -> Parquet.
    Encode,
}

impl Stage {
    pub const ALL: [Stage; 4] = [Stage::Decode, Stage::Classify, Stage::Guard, Stage::Encode];

    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Decode => "decode",
            Stage::Classify => "classify",
            Stage::Guard => "guard",
            Stage::Encode => "encode",
        }
    }
}

/// CPU time that the calling thread has had since it began.
pub fn thread_cpu() -> Duration {
    // Asking costs a system call, which pieces of work of a thousand events can bear.
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

impl Telemetry {
    /// Does the work of a stage, which must not wait, and counts its CPU time.
    pub fn work<R>(&self, stage: Stage, work: impl FnOnce() -> R) -> R {
        let before = thread_cpu();
        let result = work();
        self.worked(stage, thread_cpu().saturating_sub(before));
        result
    }

    pub fn worked(&self, stage: Stage, spent: Duration) {
        self.metrics.stage_cpu_seconds_total.add([stage.as_str()], spent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted_under_its_stage_and_waiting_is_not() {
        let telemetry = Telemetry::new();
        let sum = telemetry.work(Stage::Decode, || (0..20_000_000_u64).fold(0, |sum, n| std::hint::black_box(sum ^ n)));
        std::hint::black_box(sum);
        telemetry.work(Stage::Guard, || std::thread::park_timeout(Duration::from_millis(20)));
        let spent = |stage: Stage| telemetry.metrics.stage_cpu_seconds_total.get([stage.as_str()]);
        assert!(spent(Stage::Decode) > spent(Stage::Guard), "{:?}", Stage::ALL.map(spent));
        assert_eq!(spent(Stage::Encode), 0.0);
    }
}
