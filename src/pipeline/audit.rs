//! Tells in the lake how every object ended: the ledger, copied row by row into a table.
//!
//! The ledger is where an outcome becomes durable, and a message need not wait for the copy of it. How far the copy has come
//! is the progress of one claim of its own, in the ledger of commits: so each outcome is there once, whatever crashes, and
//! one daemon of many copies at a time. An object that ends again, because somebody mended what was wrong, has another row.

use std::time::Duration;

use time::OffsetDateTime;

use super::Pipeline;
use super::stop::Stop;
use crate::lake::families::DATA_AUDIT;
use crate::lake::{Beside, audited_through};
use crate::model::ObjectRef;
use crate::state::{Claim, ClaimToken, StateError};

/// Outcomes that are read at a time.
const PAGE: u32 = 1000;

/// Of those, in one round: what it buffers is bounded by this, beside the lake's own bounds.
const PAGES: usize = 20;

/// How long one round may take before another daemon may begin one.
const LEASE: Duration = Duration::from_secs(10 * 60);

/// Copies what has ended by now, without the last `settling`: so long after it was given its time, an outcome may still be
/// on its way into the ledger. How many there were.
pub async fn audit(pipeline: &Pipeline, settling: Duration) -> Result<usize, String> {
    let until = pipeline.clock.now() - settling;
    let copied = async {
        let after = told_through(pipeline).await?;
        if pipeline.state.ended(after, until, 1).await?.is_empty() {
            return Ok(0);
        }
        let now = pipeline.clock.now();
        let claim = pipeline.state.claim(&itself(), "", None, now, now + LEASE).await?;
        let Claim::Granted(token, _) = claim else { return Ok(0) };
        let copied = copy(pipeline, &token, until).await;
        let (reason, detail) = match &copied {
            Ok(_) => ("audited", String::new()),
            Err(stop) => ("lake", stop.to_string()),
        };
        pipeline.state.release(&token, reason, &detail, pipeline.clock.now()).await?;
        copied
    };
    copied.await.map_err(|stop: Stop| stop.to_string())
}

/// Under the claim, because another daemon may have copied since.
async fn copy(pipeline: &Pipeline, token: &ClaimToken, until: OffsetDateTime) -> Result<usize, Stop> {
    let mut after = told_through(pipeline).await?;
    let (mut tickets, mut copied) = (Vec::new(), 0);
    for _ in 0..PAGES {
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

async fn told_through(pipeline: &Pipeline) -> Result<Option<OffsetDateTime>, StateError> {
    let progress = pipeline.state.progress(itself().id()).await?;
    let table = DATA_AUDIT.table("");
    Ok(progress.into_iter().find(|(of, _)| **of == *table).and_then(|(_, position)| audited_through(position)))
}

/// What the ledger knows the copying by. No bucket has such a name.
fn itself() -> ObjectRef {
    ObjectRef {
        bucket: "margay:audit".into(),
        key: "data_audit".into(),
        version_id: Some("1".into()),
        etag: None,
        size: None,
        region: None,
        sequencer: None,
    }
}
