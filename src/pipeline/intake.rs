//! The intake loop: a permit first, then a message. Receives no more than there is room for, and nothing after shutdown.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{Pipeline, message};
use crate::queue::{Delivery, QueueError};
use crate::runtime::{Backoff, Tasks};

/// A queue hands out at most this many messages at once.
const RECEIVE_LIMIT: usize = 10;

/// Between attempts to receive from a queue that refuses.
const QUEUE_BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));

/// Receives until `shutdown`; each message is worked on in a task of its own.
pub async fn run(pipeline: Arc<Pipeline>, tasks: Tasks, shutdown: CancellationToken) {
    let room = Arc::new(Semaphore::new(pipeline.max_in_flight));
    let mut failures = 0;
    while let Some((received, permits)) = next(&pipeline, &room, &shutdown).await {
        let deliveries = match received {
            Ok(deliveries) => {
                failures = 0;
                deliveries
            }
            Err(error) => {
                pipeline.telemetry.queue_failed("receive", &error);
                tokio::select! {
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
        for (delivery, permit) in deliveries.into_iter().zip(permits) {
            let pipeline = pipeline.clone();
            tasks.spawn(async move {
                message::handle(&pipeline, delivery).await;
                drop(permit);
            });
        }
    }
}

type Received = (Result<Vec<Delivery>, QueueError>, Vec<OwnedSemaphorePermit>);

/// Waits for room for one message, takes what other room there is, and receives that many. `None` after shutdown.
async fn next(pipeline: &Pipeline, room: &Arc<Semaphore>, shutdown: &CancellationToken) -> Option<Received> {
    let first = tokio::select! {
        () = shutdown.cancelled() => return None,
        permit = room.clone().acquire_owned() => permit.expect("the room is never closed"),
    };
    let mut permits = vec![first];
    while permits.len() < RECEIVE_LIMIT
        && let Ok(permit) = room.clone().try_acquire_owned()
    {
        permits.push(permit);
    }
    tokio::select! {
        () = shutdown.cancelled() => None,
        received = pipeline.queue.receive(permits.len()) => Some((received, permits)),
    }
}
