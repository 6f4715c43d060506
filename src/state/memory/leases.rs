//! Leases in memory.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::MemoryState;
use crate::state::leases::{Held, next};
use crate::state::{Lease, Leases, StateError};

#[async_trait]
impl Leases for MemoryState {
    async fn lease(&self, duty: &str, now: OffsetDateTime, until: OffsetDateTime) -> Result<Option<Lease>, StateError> {
        let leases = &mut self.lock().leases;
        let Some(fence) = next(leases.get(duty).copied(), now) else { return Ok(None) };
        leases.insert(duty.to_owned(), Held { fence, until });
        Ok(Some(Lease { duty: duty.to_owned(), fence }))
    }

    async fn prolong(&self, lease: &Lease, until: OffsetDateTime) -> Result<bool, StateError> {
        let mut tables = self.lock();
        let held = tables.leases.get_mut(&lease.duty).filter(|held| held.fence == lease.fence);
        Ok(held.map(|held| held.until = until).is_some())
    }
}
