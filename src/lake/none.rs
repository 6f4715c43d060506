//! `lake.type = "none"`: events are evaluated and not kept. Every ticket is committed at once, because there is
//! nothing that a crash could lose.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Beside, CommitTicket, Lake, LakeError};
use crate::model::EventBatch;
use crate::state::ClaimToken;

pub struct NoLake;

#[async_trait]
impl Lake for NoLake {
    async fn append(&self, _claim: &ClaimToken, _batch: Arc<EventBatch>) -> Result<CommitTicket, LakeError> {
        Ok(CommitTicket::done())
    }

    async fn append_beside(&self, _claim: &ClaimToken, _beside: Beside<'_>) -> Result<CommitTicket, LakeError> {
        Ok(CommitTicket::done())
    }

    async fn flush(&self) -> Result<(), LakeError> {
        Ok(())
    }
}
