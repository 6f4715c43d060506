//! Spans that wait to be sent: so many, and no more.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::span::Span;
use crate::telemetry::Metrics;

/// About 8 MiB of them.
const MOST: usize = 8192;

/// So many go in one request.
pub(super) const BATCH: usize = 512;

pub(super) struct Waiting {
    spans: Mutex<VecDeque<Span>>,
    /// Told when there is a batch.
    full: Notify,
    pub(super) metrics: Arc<Metrics>,
}

impl Waiting {
    pub(super) fn new(metrics: Arc<Metrics>) -> Waiting {
        Waiting { spans: Mutex::default(), full: Notify::new(), metrics }
    }

    /// Those that find no room are dropped, and counted.
    pub(super) fn add(&self, new: Vec<Span>) {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MOST - spans.len();
        let dropped = new.len().saturating_sub(room);
        spans.extend(new.into_iter().take(room));
        if spans.len() >= BATCH {
            self.full.notify_one();
        }
        drop(spans);
        self.dropped(dropped);
    }

    pub(super) fn dropped(&self, spans: usize) {
        if spans > 0 {
            self.metrics.trace_spans_total.add(["dropped"], spans as u64);
        }
    }

    /// The oldest ones, at most a batch.
    pub(super) fn take(&self) -> Vec<Span> {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = spans.len().min(BATCH);
        spans.drain(..batch).collect()
    }

    pub(super) async fn full(&self) {
        self.full.notified().await;
    }
}
