//! Looks at the prefixes: once before the daemon starts, and then for as long as it runs.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::mirror::{Failure, Mirror, Outcome};
use crate::runtime::SharedClock;
use crate::telemetry::Telemetry;

/// Between two looks at what may still be changing.
const SETTLING: Duration = Duration::from_secs(5);

/// Rounds in which what is ready waits for what may still be changing: about a minute.
const MOST_HELD: u32 = 12;

/// How long a start waits for a prefix …
const PATIENCE: Duration = Duration::from_secs(120);

/// … and for one with a copy, with which it goes on then.
const WITH_A_COPY: Duration = Duration::from_secs(15);

/// Takes what is there before anything is started. The error names the prefixes of which there is no copy then, neither
/// a new nor a former one: without their rules a daemon would let pass what it is there to find.
pub async fn first(
    mirrors: &mut [Mirror],
    every: Duration,
    clock: &SharedClock,
    telemetry: &Telemetry,
) -> Result<(), String> {
    let settling = SETTLING.min(every);
    let looks = mirrors.iter_mut().map(async |mirror| {
        let patience = if mirror.has_copy() { WITH_A_COPY } else { PATIENCE };
        let reason = match timeout(patience, first_of(mirror, settling, clock, telemetry)).await {
            Ok(Ok(())) => return None,
            Ok(Err(failure)) => failure.to_string(),
            Err(_) => {
                telemetry.remote_folder_not_fetched(&mirror.prefix, "failed");
                format!("{} was not had whole within {} seconds", mirror.prefix, patience.as_secs())
            }
        };
        if mirror.has_copy() {
            telemetry.remote_folder_kept(&mirror.prefix, &reason);
            return None;
        }
        Some(format!("{} can't be read, and this machine has no former copy of it: {reason}", mirror.prefix))
    });
    let missing: Vec<String> = join_all(looks).await.into_iter().flatten().collect();
    if missing.is_empty() { Ok(()) } else { Err(missing.join("\n")) }
}

async fn first_of(
    mirror: &mut Mirror,
    settling: Duration,
    clock: &SharedClock,
    telemetry: &Telemetry,
) -> Result<(), Failure> {
    loop {
        let outcome = mirror.look().await;
        tell(mirror, &outcome, clock, telemetry);
        match outcome? {
            // What changes right now is taken while the daemon runs.
            Outcome::Unsettled if mirror.has_copy() => return Ok(()),
            Outcome::Unsettled => sleep(settling).await,
            Outcome::Unchanged | Outcome::Ready | Outcome::Fetched { .. } => return Ok(()),
        }
    }
}

/// Looks at the prefixes `every` so often, until `shutdown`. What was uploaded together comes into use together: rules of
/// today do not meet log types of yesterday.
pub async fn poll(
    mirrors: Vec<Mirror>,
    every: Duration,
    clock: SharedClock,
    telemetry: Telemetry,
    shutdown: CancellationToken,
) {
    tokio::select! {
        // Also when there is none.
        () = shutdown.cancelled() => {}
        () = look_for_ever(mirrors, every, &clock, &telemetry) => {}
    }
}

async fn look_for_ever(mut mirrors: Vec<Mirror>, every: Duration, clock: &SharedClock, telemetry: &Telemetry) {
    let mut told = vec![None; mirrors.len()];
    let (mut pause, mut held) = (every, 0);
    loop {
        sleep(pause).await;
        let (outcomes, is_unsettled) = round(&mut mirrors, &mut held).await;
        pause = if is_unsettled { SETTLING.min(every) } else { every };
        for ((mirror, outcome), told) in mirrors.iter().zip(outcomes).zip(&mut told) {
            tell(mirror, &outcome, clock, telemetry);
            // Once for each reason, and not at every look.
            let reason = outcome.err().map(|failure| failure.to_string());
            if let Some(reason) = reason.as_ref().filter(|reason| told.as_ref() != Some(*reason)) {
                telemetry.remote_folder_kept(&mirror.prefix, reason);
            }
            *told = reason;
        }
    }
}

/// One look at all of them, and whether one may still be changing. What is ready waits for that, for so many rounds.
pub(super) async fn round(mirrors: &mut [Mirror], held: &mut u32) -> (Vec<Result<Outcome, Failure>>, bool) {
    let mut outcomes = join_all(mirrors.iter_mut().map(Mirror::prepare)).await;
    let has = |wanted: Outcome| outcomes.iter().any(|outcome| outcome.as_ref().is_ok_and(|outcome| *outcome == wanted));
    let (is_unsettled, is_ready) = (has(Outcome::Unsettled), has(Outcome::Ready));
    *held = if is_unsettled && is_ready { *held + 1 } else { 0 };
    if !is_unsettled || *held > MOST_HELD {
        for (mirror, outcome) in mirrors.iter_mut().zip(&mut outcomes) {
            if matches!(outcome, Ok(Outcome::Ready)) {
                *outcome = mirror.take().await;
            }
        }
    }
    (outcomes, is_unsettled)
}

fn tell(mirror: &Mirror, outcome: &Result<Outcome, Failure>, clock: &SharedClock, telemetry: &Telemetry) {
    let prefix = &mirror.prefix;
    match outcome {
        Ok(Outcome::Fetched { files, bytes }) => telemetry.remote_folder_fetched(prefix, *files, *bytes, clock.now()),
        Ok(Outcome::Unchanged) => telemetry.remote_folder_unchanged(prefix, clock.now()),
        Ok(Outcome::Unsettled | Outcome::Ready) => telemetry.remote_folder_not_fetched(prefix, "unsettled"),
        Err(Failure::Refused(_)) => telemetry.remote_folder_not_fetched(prefix, "refused"),
        Err(Failure::Failed(_)) => telemetry.remote_folder_not_fetched(prefix, "failed"),
    }
}
