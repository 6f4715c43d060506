//! Logs and metrics.
//!
//! Every metric of margay is declared in `metrics`, once. A fact that has both a log line and a metric is a method in
//! `facts`, so that the two can't drift apart; those about log types are in `log_types`, those
//! about lookup tables in `lookups`. `throttle` keeps lines that
//! anybody can cause from filling the log, `pace` measures how fast the queue drains. `logs` starts logging and changes
//! its levels at run time.
//!
//! Knows no other module than the model: what others own arrives as text and numbers. The contents of an event never
//! arrive at all.

mod facts;
mod log_types;
mod logs;
mod lookups;
mod metrics;
mod pace;
mod throttle;

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

pub use facts::ObjectFacts;
#[cfg(test)]
pub(crate) use logs::build;
pub use logs::{LogEnd, LogHandle, LogSetupError, init};
pub use metrics::{Counter, DECLARATIONS, Declaration, Gauge, Histogram, Kind, Metrics};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub format: LogFormat,
    /// Level, or level per module: `info`, `info,margay::fetch=debug`.
    pub filter: String,
}

impl Default for Config {
    fn default() -> Config {
        Config { format: LogFormat::Auto, filter: "info".into() }
    }
}

impl Config {
    /// Whether the filter can be used; the text says what is wrong with it.
    pub fn check_filter(&self) -> Result<(), String> {
        logs::parse_filter(&self.filter).map(|_| ())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Human-readable on a terminal, else JSON.
    Auto,
    Human,
    Json,
}

type Sampler = Box<dyn Fn(&Metrics) + Send>;

/// Handed to whatever has something to tell. Cheap to clone; all clones count into the same metrics.
#[derive(Clone, Default)]
pub struct Telemetry {
    pub metrics: Arc<Metrics>,
    samplers: Arc<Mutex<Vec<Sampler>>>,
    pace: Arc<pace::Pace>,
    throttles: Arc<facts::Throttles>,
}

impl Telemetry {
    pub fn new() -> Telemetry {
        Telemetry::default()
    }

    /// Sets gauges each time that the metrics are read, for values that nobody announces when they change. It must not
    /// wait for anything.
    pub fn sample_with(&self, sampler: impl Fn(&Metrics) + Send + 'static) {
        self.samplers.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(sampler));
    }

    /// All metrics in Prometheus' text format 0.0.4.
    pub fn encode(&self) -> String {
        for sampler in self.samplers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            sampler(&self.metrics);
        }
        let waiting = self.metrics.queue_messages_waiting.get([]);
        self.metrics.queue_oldest_message_age_seconds.set([], self.pace.oldest_age());
        self.metrics.queue_drain_seconds_estimate.set([], self.pace.drain_seconds(waiting));
        self.metrics.encode()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samplers_run_when_the_metrics_are_read() {
        let telemetry = Telemetry::new();
        telemetry.sample_with(|metrics| metrics.memory_budget_bytes_used.set([], 42));
        assert!(telemetry.clone().encode().contains("\nmargay_memory_budget_bytes_used 42\n"));
    }
}
