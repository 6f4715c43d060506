//! Logs, metrics and traces.
//!
//! Every metric of margay is declared in `metrics`, once. A fact that has both a log line and a metric is a method in
//! `facts`, so that the two can't drift apart; those about log types are in `log_types`, those about single rules in
//! `rules`, those about lookup tables in `lookups`. `throttle` keeps lines that anybody can cause from filling the log,
//! `pace` measures how fast the queue drains, `stage` where CPU time goes. `spans` tells the way of single
//! messages to a collector. `logs` starts logging and changes its levels at run time.
//!
//! Knows no other module than the model and the runtime: what others own arrives as text and numbers. The contents of
//! an event never arrive at all.

mod facts;
mod log_types;
mod logs;
mod lookups;
mod metrics;
mod pace;
mod rules;
mod spans;
mod stage;
mod throttle;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use facts::ObjectFacts;
#[cfg(test)]
pub(crate) use logs::build;
pub use logs::{LogEnd, LogHandle, LogSetupError, init};
pub use metrics::{Counter, DECLARATIONS, Declaration, Gauge, Histogram, Kind, Metrics, Seconds};
pub use rules::{RuleCost, RuleProfile};
pub use spans::{Exporter, MessageSpans, ObjectSpans, SpansConfig, Step};
pub use stage::{Stage, thread_cpu};

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
    rules: Arc<rules::Rules>,
    spans: Arc<spans::Spans>,
}

impl Telemetry {
    pub fn new() -> Telemetry {
        Telemetry::default()
    }

    /// Brings metrics up to date each time that they are read, for values that nobody announces when they change. It
    /// must not wait for anything.
    pub fn sample_with(&self, sampler: impl Fn(&Metrics) + Send + 'static) {
        self.samplers.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(sampler));
    }

    /// Of the messages that came in the last minutes, the age of the one that was sent first; zero when none came.
    pub fn oldest_message_age(&self) -> Duration {
        Duration::from_secs(self.pace.oldest_age())
    }

    /// All metrics in Prometheus' text format 0.0.4.
    pub fn encode(&self) -> String {
        self.sample();
        let waiting = self.metrics.queue_messages_waiting.get([]);
        self.metrics.queue_oldest_message_age_seconds.set([], self.pace.oldest_age());
        self.metrics.queue_drain_seconds_estimate.set([], self.pace.drain_seconds(waiting));
        self.metrics.encode()
    }

    fn sample(&self) {
        for sampler in self.samplers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            sampler(&self.metrics);
        }
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
