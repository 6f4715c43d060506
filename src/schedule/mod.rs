//! Scheduled queries: they run at their times, and rules run over the rows that they find.
//!
//! Every daemon looks which queries are due, as the store of the state has it; the ledger says which of them runs one. A [`run`]
//! is a query and the time for which it is due, and is done once, whatever crashes: its rows ([`rows`]) are kept before any
//! rule sees them, what rules find in them counts under the claim of the run, and the next time is written down when all of it
//! is durable. Times that pass while no daemon runs, or while the run before them is at work, are made up for by one run, for
//! the last of them.

mod rows;
mod run;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::detect::ScheduledQuery;
use crate::pipeline::Pipeline;
use crate::search::queries::Queries;
use crate::state::{Condition, Fact, Planned, StateError};
use run::Run;

/// Between two looks at what is due.
const LOOK: Duration = Duration::from_secs(5);

/// Runs at a time. Their queries wait for their turn among those of the API.
const AT_ONCE: usize = 4;

/// Between two notes that a query fails.
const NOTE: Duration = Duration::from_secs(60);

/// What runs scheduled queries.
pub struct Scheduler {
    pub pipeline: Arc<Pipeline>,
    pub queries: Queries,
    /// Rows of a run that rules are given.
    pub most_rows: usize,
}

impl Scheduler {
    /// Until the end, which hands the runs at work over.
    pub async fn run(self, end: CancellationToken) {
        let mut at_work = BTreeSet::new();
        let mut runs = FuturesUnordered::new();
        let mut noted = None;
        loop {
            tokio::select! {
                () = end.cancelled() => break,
                Some(done) = runs.next(), if !runs.is_empty() => {
                    at_work.remove(&done);
                    continue;
                }
                () = sleep(LOOK) => {}
            }
            let mut ended = Vec::new();
            let looked = tokio::select! {
                () = end.cancelled() => break,
                looked = beside(&mut runs, &mut ended, self.look(&mut noted)) => looked,
            };
            match looked {
                Ok(due) => {
                    for (query, planned) in due {
                        if runs.len() < AT_ONCE && at_work.insert(query.name.clone()) {
                            runs.push(self.one(query, planned, end.clone()));
                        }
                    }
                }
                Err(error) => self.pipeline.telemetry.state_failed("look for scheduled queries that are due", &error),
            }
            // Not before: what the look saw of them may be from before their end.
            for name in ended {
                at_work.remove(&name);
            }
        }
        while runs.next().await.is_some() {}
    }

    async fn one(&self, query: ScheduledQuery, planned: Planned, end: CancellationToken) -> String {
        let name = query.name.clone();
        Run::new(self, query, planned).take(&end).await;
        name
    }

    /// Plans what is not planned, and finds what is due; those first that wait longest.
    async fn look(&self, noted: &mut Option<Instant>) -> Result<Vec<(ScheduledQuery, Planned)>, StateError> {
        let Pipeline { state, engine, clock, .. } = &*self.pipeline;
        let queries = engine.scheduled_queries();
        if queries.is_empty() {
            self.pipeline.telemetry.scheduled_queries_failing(0);
            return Ok(Vec::new());
        }
        let planned = state.planned().await?;
        let planned: BTreeMap<&str, &Planned> = planned.iter().map(|planned| (&*planned.query, planned)).collect();
        let now = clock.now();
        let (mut due, mut failing) = (Vec::new(), Vec::new());
        for query in queries {
            let schedule = query.schedule.to_string();
            match planned.get(&*query.name) {
                // What is due, or at work, is run also under another schedule, which then says what comes next.
                Some(planned) if planned.schedule == schedule || planned.due <= now => {
                    if planned.failures > 0 {
                        failing.push(*planned);
                    }
                    if planned.due.max(planned.not_before) <= now {
                        due.push((query, (*planned).clone()));
                    }
                }
                _ => state.plan(&query.name, &schedule, query.schedule.after(now), None).await?,
            }
        }
        due.sort_by_key(|(_, planned)| planned.due);
        self.pipeline.telemetry.scheduled_queries_failing(failing.len());
        self.tell_of(&failing, noted, now).await?;
        Ok(due)
    }

    /// Writes down that queries fail, from which the self check makes an alert; it ends when they do not fail any more.
    async fn tell_of(
        &self,
        failing: &[&Planned],
        noted: &mut Option<Instant>,
        now: OffsetDateTime,
    ) -> Result<(), StateError> {
        if failing.is_empty() || noted.is_some_and(|noted| noted.elapsed() < NOTE) {
            return Ok(());
        }
        for planned in failing {
            let error = planned.last.as_ref().and_then(|last| last.error.as_deref()).unwrap_or_default();
            let detail = format!("{} runs of it have failed, the last one because: {error}", planned.failures);
            let trouble = Fact::Trouble(Condition::QueryFailed);
            self.pipeline.state.note(trouble, &planned.query, &detail, now).await?;
        }
        *noted = Some(Instant::now());
        Ok(())
    }
}

/// Awaits `look` while the runs go on, and tells which of them ended meanwhile. Both write to the store in turn: a look that
/// waits for a run which nobody polls would wait for ever.
async fn beside<R: Future<Output = String>, L: Future>(
    runs: &mut FuturesUnordered<R>,
    ended: &mut Vec<String>,
    look: L,
) -> L::Output {
    let mut look = pin!(look);
    loop {
        tokio::select! {
            Some(name) = runs.next(), if !runs.is_empty() => ended.push(name),
            looked = &mut look => return looked,
        }
    }
}
