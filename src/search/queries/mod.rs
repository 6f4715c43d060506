//! The queries of many callers in one daemon: each is asked for ([`ask`]), waits for its turn ([`line`]), runs aside from the work on
//! events, and leaves a [`record`] and its rows on a [`shelf`], from which [`results`] takes them; [`state`] is what is known of them, for a bounded time.
//!
//! A query does not depend on who waits for it: its caller may go and come back with its id. It is known to the daemon that
//! took it, and to no other.

mod ask;
mod line;
mod record;
mod results;
mod shelf;
mod state;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::FutureExt;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

pub use ask::{Ask, Filter, Refused};
pub use record::{Column, Origin, Record, Status};
pub use shelf::Page;

use super::saved::Saved;
use super::{Config, Limits, Search, SearchError, output};
use crate::runtime::{Aside, SharedClock, blocking, blocking_deep};
use crate::telemetry::Telemetry;
use line::{Line, Room};
use shelf::{Shelf, Written};
use state::{Entry, State};

/// Of an id: the time in milliseconds and a count, hexadecimal, so that ids are in the order of submission.
const ID_LENGTH: usize = 20;

/// Rows that are written as JSON at once.
const ROWS_AT_ONCE: usize = 256;

/// Between two rounds that remove what is too old.
const ROUND: Duration = Duration::from_secs(600);

/// Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Queries(Arc<Inner>);

struct Inner {
    search: Search,
    saved: Saved,
    keep: time::Duration,
    keep_bytes: u64,
    clock: SharedClock,
    telemetry: Telemetry,
    shelf: Shelf,
    aside: Aside,
    state: Mutex<State>,
    /// Held while a record is written.
    keeping: tokio::sync::Mutex<()>,
}

/// What became of a query.
struct Outcome {
    status: Status,
    error: Option<SearchError>,
}

impl Queries {
    /// Opens the folder of the configuration; queries that another life of the daemon left are told as failed.
    pub async fn open(
        config: &Config,
        search: Search,
        saved: Saved,
        clock: SharedClock,
        telemetry: Telemetry,
    ) -> std::io::Result<Queries> {
        let folder = config.path.clone();
        let opened = blocking(move || {
            let shelf = Shelf::open(&folder)?;
            let (records, unreadable) = shelf.records()?;
            Ok::<_, std::io::Error>((shelf, records, unreadable))
        });
        let (shelf, records, unreadable) = opened.await?;
        unreadable.iter().for_each(|reason| telemetry.search_not_kept("read the record of a query", reason));
        let room = Room {
            running: config.max_running.max(1),
            running_per_user: config.max_running_per_user.max(1),
            waiting: config.max_waiting.max(1),
        };
        let mut entries = BTreeMap::new();
        for mut record in records {
            if !record.status.has_ended() {
                record.status = Status::Failed;
                record.error = Some(interrupted());
                record.ended_at = Some(clock.now());
            }
            let ended = CancellationToken::new();
            ended.cancel();
            let entry = Entry {
                limits: *search.limits(),
                lookback: Duration::ZERO,
                stop: CancellationToken::new(),
                ended,
                record,
            };
            entries.insert(entry.record.id.clone(), entry);
        }
        let inner = Inner {
            search,
            saved,
            keep: time::Duration::hours(i64::try_from(config.keep_hours).unwrap_or(i64::MAX / 3600)),
            keep_bytes: config.keep_mib * super::MIB,
            clock,
            telemetry,
            shelf,
            aside: Aside::new("search", config.threads)?,
            state: Mutex::new(State { line: Line::new(room), entries, count: 0, is_ending: false }),
            keeping: tokio::sync::Mutex::default(),
        };
        let queries = Queries(Arc::new(inner));
        queries.tidy().await;
        Ok(queries)
    }

    pub fn search(&self) -> &Search {
        &self.0.search
    }

    pub fn saved(&self) -> &Saved {
        &self.0.saved
    }

    pub fn now(&self) -> OffsetDateTime {
        self.0.clock.now()
    }

    /// Takes a query in. It runs when it is its turn, whoever waits for it.
    pub async fn submit(&self, user: &str, ask: Ask) -> Result<Record, Refused> {
        let sql = ask.sql.clone();
        blocking_deep(move || Search::check(&sql)).await.map_err(Refused::Query)?;
        let record = self.join(user, ask)?;
        // Whoever asked may be gone before the record is written.
        self.start_due();
        self.keep(&record.id).await;
        Ok(record)
    }

    fn join(&self, user: &str, ask: Ask) -> Result<Record, Refused> {
        let now = self.0.clock.now();
        let mut state = self.state();
        let record = Record {
            id: state.next_id(now),
            status: Status::Waiting,
            user: user.to_owned(),
            origin: ask.origin,
            name: ask.name,
            sql: ask.sql,
            reference_time: ask.reference_time.unwrap_or(now),
            submitted_at: now,
            started_at: None,
            ended_at: None,
            rows: 0,
            bytes: 0,
            bytes_read: 0,
            is_cut: false,
            has_rows: false,
            columns: Vec::new(),
            warnings: Vec::new(),
            error: None,
        };
        let own = self.0.search.limits();
        let limits = Limits {
            rows: ask.rows.map_or(own.rows, |rows| rows.min(own.rows)),
            time: ask.time.map_or(own.time, |time| time.min(own.time)),
            ..*own
        };
        let entry = Entry {
            record: record.clone(),
            limits,
            lookback: ask.lookback,
            stop: CancellationToken::new(),
            ended: CancellationToken::new(),
        };
        if state.is_ending {
            return Err(Refused::Ending);
        }
        state.line.join(user, record.id.clone()).map_err(|_| Refused::Full)?;
        state.entries.insert(record.id.clone(), entry);
        Ok(record)
    }

    /// Starts whatever may run.
    fn start_due(&self) {
        let mut state = self.state();
        while let Some(id) = state.line.next() {
            let Some(entry) = state.entries.get_mut(&id) else { continue };
            entry.record.status = Status::Running;
            entry.record.started_at = Some(self.0.clock.now());
            let (record, stop) = (entry.record.clone(), entry.stop.clone());
            let search = self.0.search.within(entry.limits).looking_back(entry.lookback);
            self.0.aside.spawn(self.clone().run(record, search, stop));
        }
        self.0.telemetry.searches(state.line.running(), state.line.waiting());
    }

    async fn run(self, record: Record, search: Search, stop: CancellationToken) {
        // A query that makes the engine panic fails alone.
        let work = AssertUnwindSafe(self.answer(&record, &search)).catch_unwind();
        let outcome = tokio::select! {
            biased;
            () = stop.cancelled() => Outcome { status: Status::Cancelled, error: None },
            answered = work => match answered {
                Ok(Ok(())) => Outcome { status: Status::Succeeded, error: None },
                Ok(Err(error)) => Outcome { status: Status::Failed, error: Some(error) },
                Err(_) => {
                    let error = SearchError::new("the query engine failed on this query; write it in another way");
                    Outcome { status: Status::Failed, error: Some(error) }
                }
            },
        };
        self.end(&record, outcome).await;
    }

    async fn answer(&self, record: &Record, search: &Search) -> Result<(), SearchError> {
        let limits = search.limits();
        let mut rows = search.start(&record.sql, record.reference_time).await?;
        let (columns, warnings) = (Column::of(rows.schema()), rows.warnings().to_vec());
        self.note(&record.id, |record| (record.columns, record.warnings) = (columns, warnings));
        let failed = |error: std::io::Error| SearchError::new(format!("the rows could not be kept: {error}"));
        let mut written = Written::new(self.0.shelf.writer(&record.id).map_err(failed)?);
        let mut is_full = false;
        while !is_full && let Some(batch) = rows.next().await? {
            for from in (0..batch.num_rows()).step_by(ROWS_AT_ONCE) {
                let part = batch.slice(from, ROWS_AT_ONCE.min(batch.num_rows() - from));
                let lines = output::json_lines(&part)?;
                is_full = written.bytes + lines.len() as u64 > limits.bytes;
                if is_full {
                    break;
                }
                written.add(&lines, part.num_rows()).map_err(failed)?;
            }
            let (count, bytes, bytes_read) = (written.rows, written.bytes, rows.bytes_read());
            self.note(&record.id, |record| {
                (record.rows, record.bytes, record.bytes_read) = (count, bytes, bytes_read);
            });
        }
        let (is_cut, bytes_read) = (is_full || rows.is_cut(), rows.bytes_read());
        let (count, bytes) = written.end().map_err(failed)?;
        self.note(&record.id, |record| {
            (record.rows, record.bytes, record.bytes_read) = (count, bytes, bytes_read);
            (record.is_cut, record.has_rows) = (is_cut, true);
        });
        Ok(())
    }

    fn note(&self, id: &str, change: impl FnOnce(&mut Record)) {
        if let Some(entry) = self.state().entries.get_mut(id) {
            change(&mut entry.record);
        }
    }

    async fn end(&self, record: &Record, outcome: Outcome) {
        let now = self.0.clock.now();
        let ended = {
            let mut state = self.state();
            let is_ending = state.is_ending;
            state.line.ended(&record.user);
            state.entries.get_mut(&record.id).map(|entry| {
                let record = &mut entry.record;
                // Whoever cancelled it has been told so.
                if !record.status.has_ended() {
                    (record.status, record.error) = match outcome.status {
                        Status::Cancelled if is_ending => (Status::Failed, Some(interrupted())),
                        status => (status, outcome.error),
                    };
                }
                record.ended_at = Some(now);
                record.has_rows &= record.status == Status::Succeeded;
                (record.clone(), entry.ended.clone())
            })
        };
        if let Some((record, ended)) = ended {
            if !record.has_rows {
                self.forget_rows(&record.id).await;
            }
            self.keep(&record.id).await;
            self.0.telemetry.search_ended(record.status.as_str(), record.bytes_read);
            ended.cancel();
        }
        self.tidy().await;
        self.start_due();
    }

    pub fn get(&self, id: &str) -> Result<Record, Refused> {
        self.state().entries.get(id).map(|entry| entry.record.clone()).ok_or_else(|| Refused::Unknown(id.to_owned()))
    }

    /// Waits until the query has ended, or this long.
    pub async fn wait(&self, id: &str, patience: Duration) -> Result<Record, Refused> {
        let ended = self.state().entries.get(id).map(|entry| entry.ended.clone());
        let ended = ended.ok_or_else(|| Refused::Unknown(id.to_owned()))?;
        let _ = tokio::time::timeout(patience, ended.cancelled()).await;
        self.get(id)
    }

    pub fn list(&self, filter: &Filter) -> Vec<Record> {
        let state = self.state();
        let records = state.entries.values().rev().map(|entry| &entry.record);
        records.filter(|record| filter.takes(record)).take(filter.limit).cloned().collect()
    }

    /// Stops a query that waits or runs; of one that has ended the rows are removed.
    pub async fn cancel(&self, id: &str) -> Result<Record, Refused> {
        let now = self.0.clock.now();
        let record = {
            let mut state = self.state();
            let State { line, entries, .. } = &mut *state;
            let entry = entries.get_mut(id).ok_or_else(|| Refused::Unknown(id.to_owned()))?;
            match entry.record.status {
                Status::Waiting => {
                    line.leave(&entry.record.user, &id.to_owned());
                    (entry.record.status, entry.record.ended_at) = (Status::Cancelled, Some(now));
                    entry.ended.cancel();
                }
                // Its task sees to the rest, and gives its place to the next.
                Status::Running => {
                    entry.record.status = Status::Cancelled;
                    entry.stop.cancel();
                }
                _ => entry.record.has_rows = false,
            }
            entry.record.clone()
        };
        if record.ended_at.is_some() {
            self.forget_rows(id).await;
            self.keep(id).await;
        }
        Ok(record)
    }

    /// Removes again and again what is too old, until the end.
    pub async fn look_after(self, end: CancellationToken) {
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                () = tokio::time::sleep(ROUND) => self.tidy().await,
            }
        }
    }

    /// Takes nothing in any more, and stops what runs.
    pub async fn shut_down(&self, grace: Duration) {
        {
            let mut state = self.state();
            state.is_ending = true;
            let waiting: Vec<(String, String)> = state
                .entries
                .values()
                .filter(|entry| entry.record.status == Status::Waiting)
                .map(|entry| (entry.record.user.clone(), entry.record.id.clone()))
                .collect();
            for (user, id) in &waiting {
                state.line.leave(user, id);
            }
            state.entries.values().for_each(|entry| entry.stop.cancel());
        }
        self.0.aside.drained(grace).await;
    }

    /// Forgets rows and records that are too old or too many, the oldest first.
    async fn tidy(&self) {
        let (rows, records) = self.state().forget(self.0.clock.now(), self.0.keep, self.0.keep_bytes);
        for id in rows {
            self.forget_rows(&id).await;
            self.keep(&id).await;
        }
        for id in records {
            self.do_kept("remove the record of a query", move |shelf| shelf.forget(&id)).await;
        }
    }

    /// As it is by now: of two that keep one record, the later one writes the later state.
    async fn keep(&self, id: &str) {
        let _turn = self.0.keeping.lock().await;
        let Ok(record) = self.get(id) else { return };
        self.do_kept("keep the record of a query", move |shelf| shelf.save(&record)).await;
    }

    async fn forget_rows(&self, id: &str) {
        let id = id.to_owned();
        self.do_kept("remove rows", move |shelf| shelf.forget_rows(&id)).await;
    }

    /// What the folder does not do is told and done without: queries run all the same.
    async fn do_kept(&self, what: &str, work: impl FnOnce(&Shelf) -> std::io::Result<()> + Send + 'static) {
        let shelf = self.0.shelf.clone();
        if let Err(error) = blocking(move || work(&shelf)).await {
            self.0.telemetry.search_not_kept(what, &error);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no holder of this lock panics")
    }
}

fn interrupted() -> SearchError {
    SearchError::new("margay ended before the query did; run it again")
}

#[cfg(test)]
mod tests;
