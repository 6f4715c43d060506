//! The end of a reading: the rows are waited for, what was found is told, and there is an outcome.

use super::batch::MOST_REJECTS;
use super::{Stop, Work};
use crate::decode::Findings;
use crate::model::ObjectRef;
use crate::pipeline::reader::RecordReader;
use crate::pipeline::reading::Reading;
use crate::pipeline::{discovery, disposition};
use crate::state::{Attempts, ObjectOutcome, ObjectState};
use crate::telemetry::{Stage, Step};

impl Work<'_> {
    /// Waits for the rows, then says how the object ended.
    pub(super) async fn conclude(
        &self,
        object: &ObjectRef,
        source: &str,
        reader: RecordReader,
        reading: Reading,
        attempts: &Attempts,
    ) -> Result<ObjectOutcome, Stop> {
        let telemetry = &self.pipeline.telemetry;
        let ended = reader.ended();
        telemetry.worked(Stage::Decode, ended.spent.decode);
        telemetry.worked(Stage::Classify, ended.spent.classify);
        self.spans.computed(ended.spent.decode, ended.spent.classify);
        if let Findings { layers, encoding, split: Some(split) } = ended.findings {
            let encoding = encoding.unwrap_or_default();
            telemetry.object_decoded(object, &layers.join(", "), encoding, split.kind.as_str(), split.why);
        }
        // What is left of the object are rows of the lake.
        drop(self.holds.lock().expect("no holder of this lock panics").take());
        let lent = self.has_place.then(|| self.pipeline.slots.lend());
        for ticket in reading.tickets {
            self.spans.time(Step::Commit, ticket.committed()).await?;
        }
        drop(lent);
        if let Some(newest) = reading.newest {
            telemetry.event_durable(source, self.pipeline.clock.now() - newest);
        }
        if reading.fed_back > 0 {
            telemetry.feedback_seen(source, &object.bucket, reading.fed_back);
        }
        let (state, reason) = match &ended.error {
            None if reading.events + reading.rejects == 0 && ended.bytes == 0 => (ObjectState::Empty, String::new()),
            None if reading.rejects > MOST_REJECTS => {
                let reason = format!("only the first {MOST_REJECTS} of {} rejects are kept", reading.rejects);
                (ObjectState::Committed, reason)
            }
            None => (ObjectState::Committed, String::new()),
            Some(error) => (disposition::of_fault(error, attempts), error.reason.code().with(error)),
        };
        if state != ObjectState::Partial {
            // Told once, not at each try.
            for (log_type, events) in &ended.events_by_log_type {
                telemetry.events_made(source, log_type, *events);
            }
            let records = reading.events + reading.rejects;
            telemetry.records_classified(object, source, records, reading.rejects, &reading.first_reject);
            telemetry.trailing_bytes(object, source, ended.trailing_bytes);
            for (log_type, fields) in ended.discovered {
                let version = self.catalogue.log_types.version(&log_type);
                discovery::tell(self.pipeline, &log_type, version, fields).await;
            }
        }
        Ok(ObjectOutcome { state, reason, events: reading.events, rejects: reading.rejects, bytes: ended.bytes })
    }
}
