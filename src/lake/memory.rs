//! The honest fake: batches become durable only at a flush, a flush can be made to fail, and only committed batches
//! can be read back.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::{CommitTicket, Lake, LakeError};
use crate::model::EventBatch;

type Answer = oneshot::Sender<Result<(), LakeError>>;

#[derive(Default)]
pub struct MemoryLake(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    buffered: Vec<(Arc<EventBatch>, Answer)>,
    committed: Vec<Arc<EventBatch>>,
    fail_next_flush: bool,
}

impl MemoryLake {
    pub fn new() -> MemoryLake {
        MemoryLake::default()
    }

    /// The next flush fails: its batches are dropped and their tickets say so.
    pub fn fail_next_flush(&self) {
        self.lock().fail_next_flush = true;
    }

    pub fn buffered(&self) -> usize {
        self.lock().buffered.len()
    }

    pub fn committed(&self) -> Vec<Arc<EventBatch>> {
        self.lock().committed.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

#[async_trait]
impl Lake for MemoryLake {
    async fn append(&self, batch: Arc<EventBatch>) -> Result<CommitTicket, LakeError> {
        let (answer, ticket) = CommitTicket::new();
        self.lock().buffered.push((batch, answer));
        Ok(ticket)
    }

    async fn flush(&self) -> Result<(), LakeError> {
        let mut inner = self.lock();
        let failed = std::mem::take(&mut inner.fail_next_flush);
        let result = if failed { Err(LakeError("the commit was made to fail".into())) } else { Ok(()) };
        for (batch, answer) in std::mem::take(&mut inner.buffered) {
            if !failed {
                inner.committed.push(batch);
            }
            // Nobody waits any more when the work under a lost lease has stopped.
            let _ = answer.send(result.clone());
        }
        result
    }
}
