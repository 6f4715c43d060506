//! Revisions of schemas and unknown fields.

use std::collections::btree_map::Entry;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::MemoryState;
use crate::model::{Revision, SeenField, UnknownField};
use crate::state::{FIELD_LIMIT, Revisions, StateError};

#[async_trait]
impl Revisions for MemoryState {
    async fn revisions(&self) -> Result<Vec<Revision>, StateError> {
        Ok(self.lock().revisions.values().cloned().collect())
    }

    async fn revise(&self, revisions: &[Revision], _now: OffsetDateTime) -> Result<bool, StateError> {
        let mut tables = self.lock();
        let mut all = tables.revisions.clone();
        for revision in revisions {
            let last = all.insert(revision.log_type.to_lowercase(), revision.clone());
            if revision.version != last.map_or(0, |last| last.version) + 1 {
                return Ok(false);
            }
        }
        for revision in revisions {
            tables.unknown_fields.remove(&revision.log_type.to_lowercase());
        }
        tables.revisions = all;
        Ok(true)
    }

    async fn discover(
        &self,
        log_type: &str,
        fields: &[UnknownField],
        now: OffsetDateTime,
    ) -> Result<Vec<UnknownField>, StateError> {
        let mut tables = self.lock();
        let known = tables.unknown_fields.entry(log_type.to_lowercase()).or_default();
        let mut new = Vec::new();
        for field in fields {
            let is_full = known.len() >= FIELD_LIMIT as usize;
            if let (Entry::Vacant(place), false) = (known.entry(field.path.clone()), is_full) {
                place.insert(SeenField { field: field.clone(), since: now });
                new.push(field.clone());
            }
        }
        Ok(new)
    }

    async fn unknown_fields(&self, log_type: &str) -> Result<Vec<SeenField>, StateError> {
        let tables = self.lock();
        Ok(tables
            .unknown_fields
            .get(&log_type.to_lowercase())
            .into_iter()
            .flat_map(|known| known.values().cloned())
            .collect())
    }
}
