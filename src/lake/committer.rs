//! The lake that keeps events: batches are split by table, buffered, and committed when there is enough, when they are old
//! enough, or when somebody can't go on before.
//!
//! Buffers are all that is lost with the process; their messages have not been acknowledged. [`Committer::run`] must run
//! for as long as anybody appends, else nothing but [`Lake::flush`] makes room.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::beside::{self, BesideRows};
use super::catalog::Catalog;
use super::claims::{Claimed, Claims};
use super::commit::commit;
use super::rows::Slice;
use super::table::{Chunk, Table};
use super::ticket::{Held, Waiting};
use super::{Beside, CommitTicket, Lake, LakeError};
use crate::model::EventBatch;
use crate::runtime::{Backoff, ByteBudget, BytePermit, SharedClock};
use crate::state::{ClaimToken, Commits};
use crate::telemetry::Telemetry;

/// So many objects wait before they are not let wait longer.
pub const FLUSH_WAITING: usize = 64;

/// When rows are committed, and how hard that is tried.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A table is committed when so many bytes are buffered for it …
    pub flush_bytes: u64,
    /// … or when its oldest rows have waited for so long. Kept in the runtime's time, which never jumps.
    pub flush_age: Duration,
    /// All tables are, when so many objects wait for nothing but their rows: they keep others from being read.
    pub flush_waiting: usize,
    /// Bytes of records that may be buffered or under commit; then `append` waits.
    pub buffer_bytes: u64,
    /// Attempts at a commit after the first.
    pub retries: u32,
    pub backoff: Backoff,
    /// For one answer of the catalog.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            flush_bytes: 128 * 1024 * 1024,
            flush_age: Duration::from_secs(60),
            flush_waiting: FLUSH_WAITING,
            buffer_bytes: 256 * 1024 * 1024,
            retries: 15,
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(10)),
            patience: Duration::from_secs(120),
        }
    }
}

/// What a commit needs.
pub(super) struct Shared<C> {
    pub(super) catalog: Arc<C>,
    pub(super) ledger: Arc<dyn Commits>,
    pub(super) clock: SharedClock,
    pub(super) telemetry: Telemetry,
    pub(super) limits: Limits,
}

pub struct Committer<C> {
    shared: Shared<C>,
    claims: Claims,
    tables: Mutex<BTreeMap<Arc<str>, Arc<Table>>>,
    room: ByteBudget,
    /// Objects that wait for their tickets.
    objects: Arc<Waiting>,
    /// Appends that wait for room.
    appends: Waiting,
    /// Woken when something may be due.
    wake: Arc<Notify>,
}

impl<C: Catalog> Committer<C> {
    pub fn new(
        catalog: Arc<C>,
        ledger: Arc<dyn Commits>,
        clock: SharedClock,
        telemetry: Telemetry,
        limits: Limits,
    ) -> Committer<C> {
        let wake = Arc::new(Notify::new());
        Committer {
            claims: Claims::new(ledger.clone()),
            tables: Mutex::default(),
            room: ByteBudget::new(limits.buffer_bytes),
            objects: Arc::new(Waiting::new(wake.clone())),
            appends: Waiting::new(wake.clone()),
            wake,
            shared: Shared { catalog, ledger, clock, telemetry, limits },
        }
    }

    /// Rows that wait for a commit to begin.
    pub fn buffered_rows(&self) -> usize {
        self.all_tables().iter().map(|table| table.rows()).sum()
    }

    /// Bytes of records that are buffered or under commit.
    pub fn bytes_held(&self) -> u64 {
        self.room.in_use()
    }

    /// Commits what is due, until `end`; then what there is. Once `draining`, everything is due at once.
    pub async fn run(&self, draining: CancellationToken, end: CancellationToken) {
        let mut commits = FuturesUnordered::new();
        let mut busy = BTreeSet::new();
        loop {
            let hurried = draining.is_cancelled() || end.is_cancelled();
            let mut next = None;
            for table in self.all_tables() {
                let Some(due) = self.due(&table, hurried) else { continue };
                if busy.contains(&table.name) {
                    continue;
                }
                if due <= Instant::now() {
                    busy.insert(table.name.clone());
                    commits.push(async move {
                        // An error was told to everyone whom it concerns.
                        let _ = commit(&self.shared, &table).await;
                        table
                    });
                } else {
                    next = Some(next.map_or(due, |next: Instant| next.min(due)));
                }
            }
            if end.is_cancelled() && commits.is_empty() {
                return;
            }
            tokio::select! {
                Some(table) = commits.next() => {
                    busy.remove(&table.name);
                }
                () = self.wake.notified() => {}
                () = until(next) => {}
                () = draining.cancelled(), if !hurried => {}
                () = end.cancelled(), if !end.is_cancelled() => {}
            }
        }
    }

    /// When the table is to be committed; `None` when it is empty.
    fn due(&self, table: &Table, hurried: bool) -> Option<Instant> {
        let limits = &self.shared.limits;
        let by_age = table.due_at(limits.flush_age)?;
        let now_due = hurried
            || table.bytes() >= limits.flush_bytes
            || self.appends.count() > 0
            || self.objects.count() >= limits.flush_waiting;
        Some(if now_due { Instant::now() } else { by_age })
    }

    async fn make_room(&self, bytes: u64) -> BytePermit {
        let mut take = std::pin::pin!(self.room.take(bytes));
        if let std::task::Poll::Ready(permit) = futures_util::poll!(&mut take) {
            return permit;
        }
        let _waits = self.appends.enter();
        take.await
    }

    /// Puts the rows of a batch that are not durable yet into the buffers of their tables.
    fn buffer(&self, claim: &Arc<Claimed>, batch: &Arc<EventBatch>, room: BytePermit, ticket: &mut CommitTicket) {
        let room = Arc::new(room);
        let mut picked: BTreeMap<&Arc<str>, Vec<usize>> = BTreeMap::new();
        for (index, event) in batch.events.iter().enumerate() {
            picked.entry(&event.log_type).or_default().push(index);
        }
        for (name, picked) in picked {
            self.push(claim, name, Slice::new(batch.clone(), picked), &room, ticket);
        }
        self.wake.notify_one();
    }

    /// Puts the rows that are not durable yet into the buffer of a table.
    fn push(
        &self,
        claim: &Arc<Claimed>,
        name: &Arc<str>,
        mut rows: Slice,
        room: &Arc<BytePermit>,
        ticket: &mut CommitTicket,
    ) {
        if let Some(through) = claim.durable(name) {
            rows.skip_through(through);
        }
        if rows.is_empty() {
            return;
        }
        let bytes = rows.bytes();
        let chunk = Chunk::new(claim.clone(), rows, bytes, ticket.expect_answer(), room.clone());
        self.table(name).push(chunk);
    }

    fn table(&self, name: &Arc<str>) -> Arc<Table> {
        let mut tables = self.lock();
        tables.entry(name.clone()).or_insert_with(|| Arc::new(Table::new(name.clone()))).clone()
    }

    fn all_tables(&self) -> Vec<Arc<Table>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<Table>>> {
        self.tables.lock().expect("no holder of this lock panics")
    }
}

#[async_trait]
impl<C: Catalog> Lake for Committer<C> {
    async fn append(&self, claim: &ClaimToken, batch: Arc<EventBatch>) -> Result<CommitTicket, LakeError> {
        let claim = self.claims.of(claim).await?;
        let room = self.make_room(batch.bytes).await;
        // From here on nothing waits: the batch is buffered whole, or not at all.
        claim.advance(&batch)?;
        let mut ticket = CommitTicket::new(Held { claim: claim.clone(), waiting: self.objects.clone() });
        self.buffer(&claim, &batch, room, &mut ticket);
        Ok(ticket)
    }

    async fn append_beside(&self, claim: &ClaimToken, beside: Beside<'_>) -> Result<CommitTicket, LakeError> {
        let claim = self.claims.of(claim).await?;
        let tables = beside::rows(claim.token.object, beside)?;
        let room = Arc::new(self.make_room(tables.iter().map(|table| table.rows.bytes).sum()).await);
        for BesideRows { table, rows } in &tables {
            claim.advance_beside(table, rows)?;
        }
        let mut ticket = CommitTicket::new(Held { claim: claim.clone(), waiting: self.objects.clone() });
        for BesideRows { table, rows } in tables {
            let all = (0..rows.events.len()).collect();
            self.push(&claim, &table, Slice::new(rows, all), &room, &mut ticket);
        }
        self.wake.notify_one();
        Ok(ticket)
    }

    async fn flush(&self) -> Result<(), LakeError> {
        let tables = self.all_tables();
        let results = join_all(tables.iter().map(|table| commit(&self.shared, table))).await;
        results.into_iter().collect()
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
