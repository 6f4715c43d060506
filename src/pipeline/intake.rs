//! The intake loop: a place first, then a message. Receives no more than there is room for, and asks for nothing after
//! shutdown.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::slots::Slot;
use super::{Pipeline, message};
use crate::queue::{Delivery, QueueError};
use crate::runtime::{Backoff, Tasks};

/// A queue hands out at most this many messages at once.
const RECEIVE_LIMIT: usize = 10;

/// Between attempts to receive from a queue that refuses.
const QUEUE_BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));

/// After so many refusals in a row the daemon is not ready.
const TROUBLE: u32 = 3;

/// At shutdown a long poll may end by itself for this long. What it brings is worked on like everything before it, within
/// the grace period: broken off it would stay leased to nobody, and handed back it would be delivered once more.
const LAST_POLL: Duration = Duration::from_secs(2);

/// Receives until `shutdown`; each message is worked on in a task of its own.
pub async fn run(pipeline: Arc<Pipeline>, tasks: Tasks, shutdown: CancellationToken) {
    // Not the places that are taken: a long poll holds some for messages that may not come.
    let working = Arc::new(AtomicU64::new(0));
    let sampled = working.clone();
    pipeline.telemetry.sample_with(move |metrics| metrics.in_flight_messages.set([], sampled.load(Ordering::Relaxed)));
    let mut failures = 0;
    while let Some((received, slots)) = next(&pipeline, &shutdown).await {
        let deliveries = match received {
            Ok(deliveries) => {
                failures = 0;
                pipeline.trouble.send_if_modified(|trouble| trouble.take().is_some());
                deliveries
            }
            Err(error) => {
                pipeline.telemetry.queue_failed("receive", &error);
                if failures + 1 >= TROUBLE {
                    pipeline.trouble.send_replace(Some(error.to_string()));
                }
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(QUEUE_BACKOFF.delay(failures)) => {}
                }
                failures += 1;
                continue;
            }
        };
        if !deliveries.is_empty() {
            pipeline.telemetry.messages_received(deliveries.len());
        }
        for (delivery, slot) in deliveries.into_iter().zip(slots) {
            let (pipeline, working) = (pipeline.clone(), working.clone());
            tasks.spawn(async move {
                working.fetch_add(1, Ordering::Relaxed);
                message::handle(&pipeline, delivery).await;
                working.fetch_sub(1, Ordering::Relaxed);
                drop(slot);
            });
        }
    }
}

type Received = (Result<Vec<Delivery>, QueueError>, Vec<Slot>);

/// Waits for room for one message, takes what other room there is, and receives that many. `None` after shutdown.
async fn next(pipeline: &Pipeline, shutdown: &CancellationToken) -> Option<Received> {
    let first = tokio::select! {
        biased;
        () = shutdown.cancelled() => return None,
        slot = pipeline.slots.take() => slot,
    };
    let mut slots = vec![first];
    while slots.len() < RECEIVE_LIMIT
        && let Some(slot) = pipeline.slots.try_take()
    {
        slots.push(slot);
    }
    let mut poll = pin!(pipeline.queue.receive(slots.len()));
    tokio::select! {
        biased;
        () = shutdown.cancelled() => tokio::select! {
            biased;
            // It would only bring what was given up just now.
            () = pipeline.abandon.cancelled() => None,
            last = tokio::time::timeout(LAST_POLL, poll) => Some((last.ok()?, slots)),
        },
        received = &mut poll => Some((received, slots)),
    }
}
