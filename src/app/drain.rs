//! The end of the work in flight: it ends by itself within the grace period, or is handed back.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use crate::pipeline::Pipeline;
use crate::runtime::Tasks;

/// Between two flushes of the lake while work in flight ends.
const LAST_FLUSHES: Duration = Duration::from_secs(1);

/// After the grace period: for handing messages back, and for each later part.
pub(super) const LAST_MOMENT: Duration = Duration::from_secs(5);

/// Lets the work in flight end, for as long as the grace period lasts and nobody asks a second time.
pub(super) async fn drain(
    pipeline: &Pipeline,
    grace: Duration,
    work: &Tasks,
    asked_again: impl Future<Output = &'static str>,
) {
    work.shut_down();
    let end = Instant::now() + grace;
    let mut asked_again = pin!(asked_again);
    let drained = loop {
        let left = end.saturating_duration_since(Instant::now());
        let drained = tokio::select! {
            drained = flushed_and_drained(pipeline, work, left) => drained,
            () = tokio::time::sleep(left) => false,
            _ = &mut asked_again => break false,
        };
        let left = end.saturating_duration_since(Instant::now());
        if drained || left.is_zero() {
            break drained;
        }
    };
    if !drained {
        tracing::warn!("work is unfinished; its messages go back to the queue");
        pipeline.abandon.cancel();
        work.drained(LAST_MOMENT).await;
    }
    if tokio::time::timeout(LAST_MOMENT, flush(pipeline)).await.is_err() {
        tracing::error!("a last flush of the lake did not end in time; objects whose rows it had come again");
    }
}

/// For what waits for its rows now, and then for what comes to that: the lake's own time is longer. What is broken off
/// here may have been committed all the same; the ledger knows how to find out.
async fn flushed_and_drained(pipeline: &Pipeline, work: &Tasks, left: Duration) -> bool {
    flush(pipeline).await;
    work.drained(left.min(LAST_FLUSHES)).await
}

async fn flush(pipeline: &Pipeline) {
    if let Err(error) = pipeline.lake.flush().await {
        tracing::error!(%error, "a last flush of the lake failed; objects whose rows it had are not done and come again");
    }
}
