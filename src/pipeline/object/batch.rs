//! One batch of an object: its rejects kept, its events evaluated and buffered, and what rules found in them recorded
//! and buffered too.

use std::sync::Arc;

use super::{Stop, Work};
use crate::lake::Beside;
use crate::model::EventBatch;
use crate::pipeline::feedback;
use crate::pipeline::reading::Reading;
use crate::state::ClaimToken;
use crate::telemetry::Step;

/// Of one object's rejects the first so many are kept; the object itself stays in its bucket with all of them.
pub(super) const MOST_REJECTS: u64 = 10_000;

impl Work<'_> {
    /// Detection and lake side by side; the detections are durable when this returns, the rows when their tickets say
    /// so.
    pub(in crate::pipeline) async fn batch(
        &self,
        token: &ClaimToken,
        batch: EventBatch,
        reading: &mut Reading,
    ) -> Result<(), Stop> {
        let pipeline = self.pipeline;
        reading.fed_back += feedback::count(&batch, &reading.bucket, &self.catalogue.sources);
        let batch = Arc::new(batch);
        self.keep_rejects(token, &batch, reading).await?;
        reading.add(&batch);
        if batch.events.is_empty() {
            return Ok(());
        }
        let buffer = self.spans.time(Step::Buffer, pipeline.lake.append(token, batch.clone()));
        let detect = self.spans.time(Step::Detect, pipeline.engine.evaluate(&batch));
        let (ticket, detections) = tokio::join!(buffer, detect);
        reading.tickets.push(ticket?);
        let detections = detections?;
        let record = pipeline.record(token, &detections, pipeline.clock.now());
        let placed = self.spans.time(Step::Record, record).await?;
        if detections.is_empty() {
            return Ok(());
        }
        let found = Beside::Found { batch: &batch, detections: &detections, placed: &placed };
        reading.tickets.push(self.spans.time(Step::Buffer, pipeline.lake.append_beside(token, found)).await?);
        Ok(())
    }

    /// In the quarantine, which replays read, and in the lake for those who look for why.
    async fn keep_rejects(&self, token: &ClaimToken, batch: &EventBatch, reading: &mut Reading) -> Result<(), Stop> {
        let room = MOST_REJECTS.saturating_sub(reading.rejects) as usize;
        let rejects = &batch.rejects[..batch.rejects.len().min(room)];
        if rejects.is_empty() {
            return Ok(());
        }
        let at = self.pipeline.clock.now();
        self.pipeline.state.keep_rejects(token, rejects, at).await?;
        let rejected = Beside::Rejected { object: &reading.address, source: &batch.source, rejects, at };
        reading.tickets.push(self.pipeline.lake.append_beside(token, rejected).await?);
        Ok(())
    }
}
