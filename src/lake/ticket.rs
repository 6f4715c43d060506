//! The promise that a batch becomes durable, and what its holder's waiting tells the lake.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, oneshot};

use super::LakeError;
use super::claims::Claimed;

pub(super) type Answer = oneshot::Sender<Result<(), LakeError>>;

/// Answers once the batch behind it is durable, or is not going to be.
#[must_use = "a message may only be acknowledged when its tickets are committed"]
#[derive(Debug)]
pub struct CommitTicket {
    /// One for each table that gets rows of the batch.
    answers: Vec<oneshot::Receiver<Result<(), LakeError>>>,
    held: Option<Held>,
}

/// What a ticket keeps alive.
#[derive(Debug)]
pub(super) struct Held {
    #[expect(dead_code, reason = "the lake knows a claim for as long as a ticket of it lives")]
    pub(super) claim: Arc<Claimed>,
    pub(super) waiting: Arc<Waiting>,
}

impl CommitTicket {
    /// A ticket for what needs no commit.
    pub fn done() -> CommitTicket {
        CommitTicket { answers: Vec::new(), held: None }
    }

    pub(super) fn new(held: Held) -> CommitTicket {
        CommitTicket { answers: Vec::new(), held: Some(held) }
    }

    /// One more answer that this ticket waits for. Dropping the sender answers with an error.
    pub(super) fn expect_answer(&mut self) -> Answer {
        let (answer, receiver) = oneshot::channel();
        self.answers.push(receiver);
        answer
    }

    /// Waits until the batch is durable.
    pub async fn committed(self) -> Result<(), LakeError> {
        let _waits = self.held.as_ref().map(|held| held.waiting.enter());
        for answer in self.answers {
            answer.await.unwrap_or_else(|_| Err(dropped()))?;
        }
        Ok(())
    }
}

pub(super) fn dropped() -> LakeError {
    LakeError::Failed("the lake dropped rows before their commit".into())
}

/// Counts those who can't go on before something is committed.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    count: AtomicUsize,
    /// Woken by each that begins to wait.
    wake: Arc<Notify>,
}

impl Waiting {
    pub(super) fn new(wake: Arc<Notify>) -> Waiting {
        Waiting { count: AtomicUsize::new(0), wake }
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn enter(&self) -> Waits<'_> {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.wake.notify_one();
        Waits(self)
    }
}

/// Counts until it is dropped.
pub(super) struct Waits<'a>(&'a Waiting);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}
