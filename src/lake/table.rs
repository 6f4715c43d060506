//! The buffer of one table: rows that wait for their commit, and whose turn it is to commit.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use super::LakeError;
use super::claims::Claimed;
use super::rows::Slice;
use super::ticket::{Answer, dropped};
use crate::runtime::BytePermit;

/// Rows of one batch for one table. Whatever becomes of them, their ticket is answered; rows that are lost on the way end
/// their claim, because none after them may be committed.
pub(super) struct Chunk {
    pub(super) claim: Arc<Claimed>,
    pub(super) rows: Slice,
    bytes: u64,
    answer: Option<Answer>,
    _room: Arc<BytePermit>,
}

impl Chunk {
    pub(super) fn new(claim: Arc<Claimed>, rows: Slice, bytes: u64, answer: Answer, room: Arc<BytePermit>) -> Chunk {
        Chunk { claim, rows, bytes, answer: Some(answer), _room: room }
    }

    pub(super) fn landed(mut self) {
        self.tell(Ok(()));
    }

    pub(super) fn failed(mut self, error: &LakeError) {
        self.claim.fail(error);
        self.tell(Err(error.clone()));
    }

    fn tell(&mut self, result: Result<(), LakeError>) {
        if let Some(answer) = self.answer.take() {
            // Nobody waits any more when the work under a lost lease has stopped.
            let _ = answer.send(result);
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if self.answer.is_some() {
            let error = dropped();
            self.claim.fail(&error);
            self.tell(Err(error));
        }
    }
}

/// A table with its buffer.
pub(super) struct Table {
    pub(super) name: Arc<str>,
    /// Held by the one who commits: a table has one committer at a time, so that rows reach it in order.
    pub(super) turn: tokio::sync::Mutex<()>,
    buffer: Mutex<Buffer>,
}

#[derive(Default)]
struct Buffer {
    chunks: Vec<Chunk>,
    bytes: u64,
    /// When its oldest rows came.
    since: Option<Instant>,
}

impl Table {
    pub(super) fn new(name: Arc<str>) -> Table {
        Table { name, turn: tokio::sync::Mutex::default(), buffer: Mutex::default() }
    }

    pub(super) fn push(&self, chunk: Chunk) {
        let mut buffer = self.lock();
        buffer.bytes += chunk.bytes;
        buffer.since.get_or_insert_with(Instant::now);
        buffer.chunks.push(chunk);
    }

    /// What is buffered, without rows that may not or need not be committed any more.
    pub(super) fn take(&self) -> Vec<Chunk> {
        let buffered = std::mem::take(&mut *self.lock()).chunks;
        let mut chunks = Vec::with_capacity(buffered.len());
        for chunk in buffered {
            match chunk.claim.failure() {
                Some(error) => chunk.failed(&error),
                None => chunks.push(chunk),
            }
        }
        without_durable(&self.name, &mut chunks);
        chunks
    }

    pub(super) fn rows(&self) -> usize {
        self.lock().chunks.iter().map(|chunk| chunk.rows.len()).sum()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// When the buffer is to be committed for its age.
    pub(super) fn due_at(&self, age: Duration) -> Option<Instant> {
        self.lock().since.map(|since| since + age)
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().expect("no holder of this lock panics")
    }
}

/// Takes out rows that are known to be in the table; whether there were any.
pub(super) fn without_durable(table: &str, chunks: &mut Vec<Chunk>) -> bool {
    let mut changed = false;
    let all = std::mem::take(chunks);
    for mut chunk in all {
        if let Some(through) = chunk.claim.durable(table) {
            changed |= chunk.rows.skip_through(through);
        }
        if chunk.rows.is_empty() { chunk.landed() } else { chunks.push(chunk) }
    }
    changed
}
