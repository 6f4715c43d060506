//! What the daemon does for its state beside its work: forgets what is old, in small batches, and, in a task of its own
//! that may take long, sends parked objects through the pipeline again when they can be read, and tells in the lake how
//! objects ended. And tells of itself.

use std::sync::Arc;
use std::time::Duration;

use time::Duration as Span;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::pipeline::{Parked, Pipeline, SelfCheck, Tolerance};
use crate::queue;
use crate::state::{self, StateError};

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(5 * 60);

/// Rows that are forgotten in one transaction, and the time that others have between two of these.
const BATCH: u32 = 500;
const PAUSE: Duration = Duration::from_millis(200);

/// How long things are kept.
pub(super) struct Ages {
    /// `None`: for ever.
    objects: Option<Duration>,
    kept: Duration,
    /// Calls of rules on events of objects that came to no end, and runs of scheduled queries.
    calls: Duration,
}

impl Ages {
    pub(super) fn of(config: &Config) -> Ages {
        let days = |days: u32| Duration::from_secs(u64::from(days) * 24 * 60 * 60);
        // A directory announces all its files again at every start: what is done with is known by the ledger alone.
        let forgets = config.queue.kind != queue::Kind::Directory;
        Ages {
            objects: forgets.then(|| days(config.state.retention_days)),
            kept: days(config.state.quarantine_retention_days),
            calls: days(config.state.retention_days),
        }
    }
}

/// Between two looks at what has ended.
const AUDIT: Duration = Duration::from_secs(60);

/// So long after it was given its time, an outcome may still be on its way into the ledger: one process waits for its turn
/// to write, and many have clocks that differ.
fn settling(config: &Config) -> Duration {
    match config.state.kind {
        state::Kind::Sqlite => Duration::from_secs(60),
        state::Kind::Postgres => Duration::from_secs(10 * 60),
    }
}

/// Tells in the lake how objects end. At shutdown it gives up its claim first: who holds it alone tells, and another daemon
/// would wait for the end of the lease. The lake commits at once then, so that is soon.
pub(super) async fn audit(pipeline: Arc<Pipeline>, config: Config, shutdown: CancellationToken) {
    let mut copied = 0;
    loop {
        // Where more has ended than one round takes, the next one begins at once.
        let pause = if copied < crate::pipeline::MOST_AUDITED { AUDIT } else { Duration::ZERO };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        copied = match crate::pipeline::audit(&pipeline, settling(&config), &shutdown).await {
            Ok(copied) => copied,
            Err(error) => {
                pipeline.telemetry.lake_not_told("monitor.data_audit", &error);
                0
            }
        };
    }
}

/// Ends between two objects; the one in work ends as those of messages do.
pub(super) async fn replay_parked(pipeline: Arc<Pipeline>, shutdown: CancellationToken) {
    let mut parked = Parked::default();
    while !shutdown.is_cancelled() {
        if let Err(error) = parked.replay(&pipeline, &shutdown).await {
            pipeline.telemetry.state_failed("go through parked objects", &error);
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(ROUND) => {}
        }
    }
}

/// Makes alerts of what is wrong with margay itself, round for round. One that fails is made up for by the next.
pub(super) async fn check_itself(pipeline: Arc<Pipeline>, config: Config, shutdown: CancellationToken) {
    let interval = Duration::from_secs(config.alerts.self_check_seconds);
    let minutes = |minutes: u64| Span::minutes(i64::try_from(minutes).unwrap_or(i64::MAX / 60));
    // More than a year is as good as never.
    let seconds = config.pipeline.source_check_seconds.min(365 * 24 * 60 * 60);
    let tolerance = Tolerance {
        source_checks: Span::seconds(i64::try_from(seconds).unwrap_or_default()),
        queue_age: minutes(config.alerts.queue_age_limit_minutes),
    };
    let mut check = SelfCheck::default();
    while !shutdown.is_cancelled() {
        if let Err(error) = check.round(&pipeline, tolerance).await {
            pipeline.telemetry.state_failed("look for what margay has to tell of itself", &error);
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(interval) => {}
        }
    }
}

pub(super) async fn forget_old(pipeline: Arc<Pipeline>, ages: Ages, shutdown: CancellationToken) {
    let rounds = async {
        loop {
            if let Err(error) = forget(&pipeline, &ages).await {
                pipeline.telemetry.state_failed("forget what is old", &error);
            }
            tokio::time::sleep(ROUND).await;
        }
    };
    // Dropped in the middle of a transaction, that comes to nothing.
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = rounds => {}
    }
}

async fn forget(pipeline: &Pipeline, ages: &Ages) -> Result<(), StateError> {
    let now = pipeline.clock.now();
    let mut forgotten = 0;
    loop {
        let mut batch = pipeline.state.forget_kept(now - ages.kept, BATCH).await?;
        if let Some(age) = ages.objects {
            batch += pipeline.state.forget_objects(now - age, BATCH).await?;
        }
        batch += pipeline.state.forget_items(now, now - ages.calls, BATCH).await?;
        batch += pipeline.state.forget_runs(now - ages.calls, BATCH).await?;
        forgotten += batch;
        if batch == 0 {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    if forgotten > 0 {
        tracing::info!(target: "margay::state", forgotten, "old rows forgotten");
    }
    Ok(())
}
