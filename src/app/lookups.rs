//! Lookup tables of buckets while the daemon runs.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::detect::Engine;
use crate::lookup::Refresher;
use crate::telemetry::Telemetry;

/// How often it is looked whether a table is due, or is a new one.
const LOOK: Duration = Duration::from_secs(5);

/// How long the first events wait for their tables: rules that see none miss what they look for.
const FIRST: Duration = Duration::from_secs(60);

/// Reads every table once before work begins, for as long as that is bearable.
pub(super) async fn first(engine: &Engine, refresher: &mut Refresher, telemetry: &Telemetry) {
    if timeout(FIRST, engine.refresh(refresher)).await.is_err() {
        telemetry.lookups_late(FIRST.as_secs());
    }
}

/// Keeps them fresh until `shutdown`.
pub(super) async fn follow(engine: Engine, mut refresher: Refresher, shutdown: CancellationToken) {
    let rounds = async {
        loop {
            sleep(LOOK).await;
            engine.refresh(&mut refresher).await;
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = rounds => {}
    }
}
