//! Tells in the lake of what is no row of an object: how every object ended, what examinations of the sources found, and what
//! rules have done.
//!
//! The ledger is where an outcome becomes durable, and a message need not wait for the copy of it. How far the copy has come
//! is the progress of one claim of its own, in the ledger of commits: so each outcome is there once, whatever crashes, and
//! one daemon of many copies at a time. An object that ends again, because somebody mended what was wrong, has another row.

use std::time::Duration;

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::Pipeline;
use super::stop::Stop;
use crate::lake::families::{DATA_AUDIT, Family, RULE_STATS, SOURCE_HEALTH};
use crate::lake::{Beside, Finding, RuleCount, told_through};
use crate::model::ObjectRef;
use crate::state::{Claim, ClaimToken, StateError};

/// Outcomes that are read at a time.
const PAGE: u32 = 1000;

/// Of those, in one round: what it buffers is bounded by this, beside the lake's own bounds.
const PAGES: usize = 20;

/// Outcomes that one round copies at most.
pub const MOST_AUDITED: usize = PAGE as usize * PAGES;

/// How long one round may take before another daemon may begin one.
const LEASE: Duration = Duration::from_secs(10 * 60);

/// Copies what has ended by now, without the last `settling`: so long after it was given its time, an outcome may still be
/// on its way into the ledger. How many there were: as many as a round takes, or those until `shutdown`.
pub async fn audit(pipeline: &Pipeline, settling: Duration, shutdown: &CancellationToken) -> Result<usize, String> {
    let until = pipeline.clock.now() - settling;
    let copied = async {
        let after = copied_through(pipeline).await?;
        if pipeline.state.ended(after, until, 1).await?.is_empty() {
            return Ok(0);
        }
        let Some(token) = claim(pipeline, &DATA_AUDIT).await? else { return Ok(0) };
        let copied = copy(pipeline, &token, until, shutdown).await;
        release(pipeline, &token, copied).await
    };
    copied.await.map_err(|stop: Stop| stop.to_string())
}

/// Tells what a round of examinations found. Where another daemon is telling the same of its round, that will do.
pub async fn tell_health(pipeline: &Pipeline, findings: &[Finding]) -> Result<(), String> {
    let told = async {
        let Some(token) = claim(pipeline, &SOURCE_HEALTH).await? else { return Ok(()) };
        let told = async {
            // The clock of the daemon that told the last may be ahead of this one's.
            let last = last_told(pipeline, &SOURCE_HEALTH).await?.map(|last| last + Duration::from_micros(1));
            let at = last.max(Some(pipeline.clock.now())).expect("one of them is a time");
            let ticket = pipeline.lake.append_beside(&token, Beside::Examined { at, findings }).await?;
            Ok(ticket.committed().await?)
        };
        let told = told.await;
        release(pipeline, &token, told).await
    };
    told.await.map_err(|stop: Stop| stop.to_string())
}

/// Tells what the rules of this daemon have done since a time; `false` while another daemon is telling.
pub async fn tell_rules(
    pipeline: &Pipeline,
    since: OffsetDateTime,
    at: OffsetDateTime,
    rules: &[RuleCount],
) -> Result<bool, String> {
    let told = async {
        let Some(token) = claim(pipeline, &RULE_STATS).await? else { return Ok(false) };
        let told = async {
            // Another daemon may have told of a later time.
            let last = last_told(pipeline, &RULE_STATS).await?.map(|last| last + Duration::from_micros(1));
            let at = last.max(Some(at)).expect("one of them is a time");
            let ticket = pipeline.lake.append_beside(&token, Beside::Counted { since, at, rules }).await?;
            Ok(ticket.committed().await?)
        };
        let told = told.await.map(|()| true);
        release(pipeline, &token, told).await
    };
    told.await.map_err(|stop: Stop| stop.to_string())
}

/// Under the claim, because another daemon may have copied since.
async fn copy(
    pipeline: &Pipeline,
    token: &ClaimToken,
    until: OffsetDateTime,
    shutdown: &CancellationToken,
) -> Result<usize, Stop> {
    let mut after = copied_through(pipeline).await?;
    let (mut tickets, mut copied) = (Vec::new(), 0);
    for _ in 0..PAGES {
        if shutdown.is_cancelled() {
            break;
        }
        let page = pipeline.state.ended(after, until, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.at);
        copied += page.len();
        tickets.push(pipeline.lake.append_beside(token, Beside::Ended(&page)).await?);
    }
    for ticket in tickets {
        ticket.committed().await?;
    }
    Ok(copied)
}

/// Where nothing has ended for so long that the ledger has forgotten how far the copy had come, all that it may have
/// forgotten with it was copied before.
async fn copied_through(pipeline: &Pipeline) -> Result<Option<OffsetDateTime>, StateError> {
    match last_told(pipeline, &DATA_AUDIT).await? {
        Some(last) => Ok(Some(last)),
        None => pipeline.state.forgotten_before().await,
    }
}

/// `None` while another daemon has it.
async fn claim(pipeline: &Pipeline, family: &Family) -> Result<Option<ClaimToken>, Stop> {
    let now = pipeline.clock.now();
    match pipeline.state.claim(&teller(family), "", None, now, now + LEASE).await? {
        Claim::Granted(token, _) => Ok(Some(token)),
        Claim::Held(_) | Claim::Done(_) => Ok(None),
    }
}

/// What is told stays told, also where the claim can't be given back: it runs out.
async fn release<T>(pipeline: &Pipeline, token: &ClaimToken, result: Result<T, Stop>) -> Result<T, Stop> {
    let (reason, detail) = match &result {
        Ok(_) => ("told", String::new()),
        Err(stop) => ("lake", stop.to_string()),
    };
    if let Err(error) = pipeline.state.release(token, reason, &detail, pipeline.clock.now()).await {
        pipeline.telemetry.state_failed("give back the claim of what is told in the lake", &error);
    }
    result
}

/// The time of the last row of the table.
async fn last_told(pipeline: &Pipeline, family: &Family) -> Result<Option<OffsetDateTime>, StateError> {
    let (progress, table) = (pipeline.state.progress(teller(family).id()).await?, family.table(""));
    Ok(progress.into_iter().find(|(of, _)| **of == *table).and_then(|(_, position)| told_through(position)))
}

/// What the ledger knows the telling by, which never ends. No bucket has such a name.
fn teller(family: &Family) -> ObjectRef {
    ObjectRef {
        bucket: "margay:monitor".into(),
        key: family.table("").to_string(),
        version_id: Some("1".into()),
        etag: None,
        size: None,
        region: None,
        sequencer: None,
    }
}
