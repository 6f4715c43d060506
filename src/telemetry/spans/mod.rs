//! Traces for OpenTelemetry: what became of one message, from its being sent to its acknowledgement, as spans in time.
//!
//! A message that is traced has [`MessageSpans`], each object of it [`ObjectSpans`]; when these go, their spans lie in
//! the [`Waiting`] ones, until the [`Exporter`] has sent them. Whoever works on a message never waits for any of this:
//! what finds no room is dropped and counted. While no collector is configured, and for messages outside of the sample,
//! both are empty and nothing is measured.
//!
//! An object is read piece by piece, and a large one has thousands of them. So each [`Step`] of an object is one span,
//! from the beginning of its first piece to the end of its last, which says how much of that time was spent in it.

mod export;
mod message;
mod object;
mod otlp;
mod span;
mod waiting;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use self::export::Exporter;
pub use self::message::MessageSpans;
pub use self::object::{ObjectSpans, Step};
use self::waiting::Waiting;
use super::Telemetry;
use crate::model::{Message, SecretRef};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpansConfig {
    /// Where a collector takes OTLP over HTTP, before `/v1/traces`; without it there are no traces.
    pub otlp_endpoint: Option<String>,
    /// Headers of each request, such as an API key.
    pub otlp_headers: BTreeMap<String, SecretRef>,
    /// The part of all messages that is traced, 0 to 1.
    pub sample_ratio: f64,
}

impl Default for SpansConfig {
    fn default() -> SpansConfig {
        SpansConfig { otlp_endpoint: None, otlp_headers: BTreeMap::new(), sample_ratio: 1.0 }
    }
}

/// Off until an exporter is there to take what is collected.
#[derive(Default)]
pub(super) struct Spans(OnceLock<On>);

struct On {
    ratio: f64,
    waiting: Arc<Waiting>,
}

impl Telemetry {
    /// The spans of a message that was received just now.
    pub fn message_spans(&self, message: &Message, now: OffsetDateTime) -> MessageSpans {
        match self.spans.0.get() {
            Some(on) if fastrand::f64() < on.ratio => MessageSpans::begin(on.waiting.clone(), message, now),
            _ => MessageSpans::default(),
        }
    }

    /// From now on spans are collected. Once.
    fn collect_spans(&self, ratio: f64) -> Arc<Waiting> {
        let on = || On { ratio, waiting: Arc::new(Waiting::new(self.metrics.clone())) };
        self.spans.0.get_or_init(on).waiting.clone()
    }
}

#[cfg(test)]
mod tests;
