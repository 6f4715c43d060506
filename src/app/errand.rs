//! A pipeline that works on what a command feeds it, beside a daemon or without one. The same parts as the daemon's,
//! but the queue is a [`Feed`], and alerts stay in the outbox for the daemon to deliver.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::LocalBoxStream;

use super::lake::RunningLake;
use super::{Adapters, Parts, Signals, drain, object_store};
use crate::config::Config;
use crate::pipeline::{self, Catalogue, Pipeline};
use crate::queue::feed::{Feed, Limits};
use crate::runtime::{SharedClock, SystemClock, Tasks};
use crate::state::postgres::PostgresStore;
use crate::state::sqlite::SqliteStore;
use crate::state::{self, StateStore};
use crate::telemetry::Telemetry;
use crate::topic::none::NoTopics;

/// How long a message of an errand is leased; also what another process waits for the claims of one that was killed.
const LEASE: Duration = Duration::from_secs(60);

const ROOM: usize = 256;

/// The longest that a job waits for its next try.
const DELAY: Duration = Duration::from_secs(5);

/// More tries than the pipeline's patience with what is missing or refused.
const LEAST_TRIES: u32 = 4;

/// One thing to do, and the message body that does it.
pub struct Job<J> {
    pub job: J,
    pub body: String,
}

/// How an errand came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    Whole,
    /// By a signal; what was not begun is not done.
    Interrupted,
}

pub struct Errand {
    pub pipeline: Arc<Pipeline>,
    feed: Arc<Feed>,
    work: Tasks,
    lake: RunningLake,
    signals: Signals,
    grace: Duration,
}

impl Errand {
    pub async fn start(config: &Config, catalogue: Catalogue) -> anyhow::Result<Errand> {
        let signals = Signals::new()?;
        let clock: SharedClock = Arc::new(SystemClock);
        // As many as make something poison, and the one that says so.
        let tries = config.pipeline.poison_after.saturating_add(1).max(LEAST_TRIES);
        let feed = Arc::new(Feed::new(LEASE, clock.clone(), Limits { room: ROOM, tries, delay: DELAY }));
        let state: Arc<dyn StateStore> = match config.state.kind {
            state::Kind::Sqlite => Arc::new(SqliteStore::open_beside(&config.state.sqlite).await?),
            state::Kind::Postgres => Arc::new(PostgresStore::open(&config.state.postgres).await?),
        };
        let work = Tasks::new();
        let objects = object_store(config, &clock, &work).await?;
        // A subscription is the daemon's to confirm.
        let confirmations = Arc::new(NoTopics);
        let adapters = Adapters { state, queue: feed.clone(), objects, confirmations, lease: LEASE, clock };
        let parts = Parts::assemble(config, catalogue, Telemetry::new(), adapters).await?;
        let (pipeline, lake) = (parts.pipeline, parts.lake.start(&work));
        work.spawn(pipeline::run(pipeline.clone(), work.clone(), work.token().clone()));
        let grace = Duration::from_secs(config.pipeline.shutdown_grace_seconds);
        Ok(Errand { pipeline, feed, work, lake, signals, grace })
    }

    /// Works on all jobs, many at a time, and tells of each that has ended whether its outcome is durable. After a signal
    /// no job is begun; those in work end within the grace period, or at the next signal. A failure of the stream ends
    /// the errand in the same way, and is returned.
    pub async fn run<J>(
        &mut self,
        mut jobs: LocalBoxStream<'_, anyhow::Result<Job<J>>>,
        mut ended: impl AsyncFnMut(J, bool) -> anyhow::Result<()>,
    ) -> anyhow::Result<Completion> {
        let mut pending: HashMap<String, J> = HashMap::new();
        let mut numbers = 0u64..;
        let (mut more, mut failure, mut completion) = (true, None, Completion::Whole);
        while more || !pending.is_empty() {
            tokio::select! {
                next = jobs.next(), if more && self.feed.has_room() => match next {
                    Some(Ok(Job { job, body })) => {
                        let id = format!("job-{}", numbers.next().expect("numbers do not run out"));
                        if self.feed.push(id.clone(), body) {
                            pending.insert(id, job);
                        }
                    }
                    Some(Err(error)) => (more, failure) = (false, Some(error)),
                    None => more = false,
                },
                message = self.feed.ended(), if !pending.is_empty() => {
                    if let Some(job) = pending.remove(&message.id) {
                        ended(job, message.acknowledged).await?;
                    }
                }
                _ = self.signals.next() => {
                    completion = Completion::Interrupted;
                    break;
                }
            }
        }
        self.stop().await;
        while let Some(message) = self.feed.next_ended() {
            if let Some(job) = pending.remove(&message.id) {
                ended(job, message.acknowledged).await?;
            }
        }
        failure.map_or(Ok(completion), Err)
    }

    /// Waits for a signal; for what an errand does beside [`Errand::run`].
    pub async fn interrupted(&mut self) {
        self.signals.next().await;
    }

    async fn stop(&mut self) {
        self.feed.hang_up();
        drain(&self.pipeline, self.grace, &self.work, self.signals.next()).await;
        self.lake.end(self.grace).await;
    }
}
