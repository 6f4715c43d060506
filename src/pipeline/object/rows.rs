//! An object that is read by ranges: its rows, as its decoder asks for the bytes they are in. All ranges are of the
//! version that was opened.

use super::{Stop, Work};
use crate::decode::RowDecoder;
use crate::model::{ObjectRef, Route, StreamType};
use crate::pipeline::reader::{Advance, RecordReader};
use crate::pipeline::reading::Reading;
use crate::runtime::blocking;
use crate::state::{Attempts, ClaimToken, ObjectOutcome};
use crate::telemetry::Step;

/// What an object may hold beside its window, when it is known before that it has rows. Of others it is known only when
/// they run; these go one at a time, as those with large windows.
pub(super) fn most_held(route: &Route) -> u64 {
    if route.stream.kind == StreamType::Parquet { RowDecoder::HELD } else { 0 }
}

impl Work<'_> {
    /// `opened` is the object as its store knows it.
    pub(super) async fn read_rows(
        &self,
        opened: &ObjectRef,
        route: &Route,
        mut reader: RecordReader,
        token: &ClaimToken,
        attempts: &Attempts,
    ) -> Result<ObjectOutcome, Stop> {
        let Some(size) = opened.size else {
            let detail = "its store did not say how large it is".to_owned();
            return Err(Stop::Retry { reason: "fetch", detail, delay: None });
        };
        reader.by_ranges(size);
        let mut large_window = None;
        if most_held(route) == 0 {
            large_window = self.large_window(&mut reader).await;
        }
        let mut reading = Reading::of(opened);
        let mut bytes = None;
        loop {
            let advance;
            let decode = blocking(move || {
                let advance = reader.advance_rows(bytes);
                (reader, advance)
            });
            (reader, advance) = self.spans.time(Step::Decode, decode).await;
            bytes = None;
            match advance {
                Advance::Batch(batch) => self.batch(token, batch, &mut reading).await?,
                Advance::LargeWindow => large_window = self.large_window(&mut reader).await,
                Advance::Bytes(range) => {
                    let fetch = self.pipeline.objects.range(&route.access, opened, range);
                    match self.spans.time(Step::Fetch, fetch).await {
                        Ok(found) => bytes = Some(found),
                        Err(error) => return self.disposition(error, route, attempts),
                    }
                }
                Advance::Done | Advance::Ranges => break,
            }
        }
        drop(large_window);
        self.conclude(opened, route.source(), reader, reading, attempts).await
    }
}
