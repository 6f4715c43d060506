//! Scheduled queries in memory.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::MemoryState;
use super::ledger::Entry;
use crate::state::schedules::RUNS;
use crate::state::{Conclusion, KeptRows, Planned, Schedules, StateError};

#[async_trait]
impl Schedules for MemoryState {
    async fn planned(&self) -> Result<Vec<Planned>, StateError> {
        Ok(self.lock().schedules.values().map(|(planned, _)| planned.clone()).collect())
    }

    async fn plan(
        &self,
        query: &str,
        schedule: &str,
        due: OffsetDateTime,
        instead_of: Option<OffsetDateTime>,
    ) -> Result<(), StateError> {
        let schedules = &mut self.lock().schedules;
        let (planned, rows) = match schedules.remove(query) {
            None => (Planned::new(query, schedule, due), None),
            Some((planned, rows)) => (planned.replanned(schedule, due, instead_of, rows.is_some()), rows),
        };
        schedules.insert(query.to_owned(), (planned, rows));
        Ok(())
    }

    async fn keep_rows(
        &self,
        query: &str,
        due: OffsetDateTime,
        rows: Option<&KeptRows>,
    ) -> Result<Option<KeptRows>, StateError> {
        let mut tables = self.lock();
        let Some((planned, kept)) = tables.schedules.get_mut(query) else { return Ok(None) };
        if planned.due != due {
            return Ok(None);
        }
        if kept.is_none() {
            *kept = rows.cloned();
        }
        Ok(kept.clone())
    }

    async fn conclude(&self, query: &str, due: OffsetDateTime, conclusion: &Conclusion) -> Result<bool, StateError> {
        let mut tables = self.lock();
        let Some((planned, rows)) = tables.schedules.get_mut(query).filter(|(planned, _)| planned.due == due) else {
            return Ok(false);
        };
        *planned = planned.clone().concluded(conclusion);
        if let Conclusion::Ended { .. } = conclusion {
            *rows = None;
        }
        Ok(true)
    }

    async fn forget_runs(&self, before: OffsetDateTime, limit: u32) -> Result<u64, StateError> {
        let old = |entry: &Entry| {
            let is_old = entry.object.bucket == RUNS && entry.claimed_until.is_none_or(|until| until <= before);
            is_old.then_some(entry.claimed_at)
        };
        Ok(self.lock().forget_old(before, limit, old).into())
    }
}
