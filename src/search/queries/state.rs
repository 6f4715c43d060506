//! What is known of all queries, and what of it is forgotten. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::line::Line;
use super::record::Record;
use crate::search::Limits;

/// Records are forgotten after this, or when there are more of them, or when their texts are more.
const HISTORY: time::Duration = time::Duration::days(30);
const MOST_RECORDS: usize = 10_000;
const MOST_TEXT: usize = 32 * 1024 * 1024;

/// Every query that is not forgotten, and whose turn it is.
pub(super) struct State {
    pub(super) line: Line<String>,
    pub(super) entries: BTreeMap<String, Entry>,
    /// Ids that were given out in this life.
    pub(super) count: u32,
    pub(super) is_ending: bool,
}

/// One query.
pub(super) struct Entry {
    pub(super) record: Record,
    pub(super) limits: Limits,
    pub(super) lookback: Duration,
    pub(super) stop: CancellationToken,
    pub(super) ended: CancellationToken,
}

impl State {
    pub(super) fn next_id(&mut self, now: OffsetDateTime) -> String {
        let millis = u64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or(0) & 0xffff_ffff_ffff;
        loop {
            self.count = self.count.wrapping_add(1);
            let id = format!("{millis:012x}{:08x}", self.count);
            if !self.entries.contains_key(&id) {
                return id;
            }
        }
    }

    /// Takes out of memory what has to go: the queries whose rows go, and those that go whole.
    pub(super) fn forget(
        &mut self,
        now: OffsetDateTime,
        keep: time::Duration,
        keep_bytes: u64,
    ) -> (Vec<String>, Vec<String>) {
        let (mut bytes, mut rows) = (0, Vec::new());
        for entry in self.entries.values_mut().rev().filter(|entry| entry.record.has_rows) {
            bytes += entry.record.bytes;
            let is_old = entry.record.ended_at.is_none_or(|ended| now - ended > keep);
            if is_old || bytes > keep_bytes {
                entry.record.has_rows = false;
                rows.push(entry.record.id.clone());
            }
        }
        let (mut count, mut text) = (0, 0);
        let mut gone = Vec::new();
        for (id, entry) in self.entries.iter().rev() {
            count += 1;
            text += entry.record.sql.len();
            let is_old = now - entry.record.submitted_at > HISTORY || count > MOST_RECORDS || text > MOST_TEXT;
            if is_old && entry.ended.is_cancelled() {
                gone.push(id.clone());
            }
        }
        gone.iter().for_each(|id| drop(self.entries.remove(id)));
        (rows, gone)
    }
}
