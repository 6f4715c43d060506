//! One run of a scheduled query, from its claim to its end. Whatever stops it in between, another try goes on: with the same
//! rows, where they were known already, else with another answer to the query.

use std::io::BufReader;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use time::OffsetDateTime;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Scheduler;
use super::rows::{self, LOG_TYPE};
use crate::detect::{DetectError, ScheduledQuery, topic};
use crate::lake::{Beside, LakeError};
use crate::model::{Detections, EventBatch};
use crate::pipeline::Pipeline;
use crate::runtime::{Backoff, blocking};
use crate::search::queries::{Ask, Origin, Record, Refused, Status};
use crate::state::{
    Claim, ClaimToken, Conclusion, KeptRows, LastRun, ObjectOutcome, ObjectState, Placed, Planned, StateError, run_of,
};

/// Without a sign of life for so long, whoever runs it is taken for dead.
const TERM: Duration = Duration::from_secs(30);

/// Between two signs of life, and how long one may take.
const SIGN: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(5);

/// Tries after the first one. What fails because margay itself does is tried for as long as it takes.
const RETRIES: u32 = 3;
const DELAYS: Backoff = Backoff::new(Duration::from_secs(60), Duration::from_secs(600));

/// Characters that are kept of an error.
const MOST_TOLD: usize = 2000;

/// By this name the history of searches knows who asked.
const USER: &str = "schedule";

pub(super) struct Run<'a> {
    scheduler: &'a Scheduler,
    query: ScheduledQuery,
    planned: Planned,
    /// Of the query in the history of searches.
    asked: OnceLock<String>,
}

/// How a try went.
enum Tried {
    Ended {
        rows: u64,
        bytes: u64,
        is_cut: bool,
        matches: u64,
    },
    /// Later times have passed, too: the run is for the last of them.
    Missed(OffsetDateTime),
    /// Somebody else has ended it.
    Over,
}

/// Why a try came to nothing.
enum Trouble {
    /// With the query or its rules. It may go away: a table comes, a rule is mended.
    Query(String),
    /// With the rows that are kept: every other try would have the same.
    Kept(String),
    /// With margay.
    Own(String),
    State(StateError),
    /// Its turn has not come.
    Later,
    HandedOver(&'static str),
}

impl From<StateError> for Trouble {
    fn from(error: StateError) -> Trouble {
        match error {
            StateError::Fenced(_) => Trouble::HandedOver(LOST),
            error => Trouble::State(error),
        }
    }
}

impl From<LakeError> for Trouble {
    fn from(error: LakeError) -> Trouble {
        match error {
            LakeError::Fenced(_) => Trouble::HandedOver(LOST),
            LakeError::Failed(detail) => Trouble::Own(detail),
        }
    }
}

impl From<DetectError> for Trouble {
    fn from(error: DetectError) -> Trouble {
        match error {
            DetectError::State(error) => error.into(),
            error if error.is_of_the_batch() => Trouble::Query(error.to_string()),
            error => Trouble::Own(error.to_string()),
        }
    }
}

const LOST: &str = "its claim was lost";

const PANICKED: &str = "the work on it panicked; this is a bug of margay";

impl<'a> Run<'a> {
    pub(super) fn new(scheduler: &'a Scheduler, query: ScheduledQuery, planned: Planned) -> Run<'a> {
        Run { scheduler, query, planned, asked: OnceLock::new() }
    }

    fn pipeline(&self) -> &Pipeline {
        &self.scheduler.pipeline
    }

    /// One try, unless another daemon is at it. Errors end here.
    pub(super) async fn take(&self, end: &CancellationToken) {
        let token = match self.claim().await {
            Ok(Some(token)) => token,
            Ok(None) => return,
            Err(error) => return self.pipeline().telemetry.state_failed("claim the run of a scheduled query", &error),
        };
        // Else the daemon would end, and the next one at the same run.
        let attempt = AssertUnwindSafe(self.attempt(&token)).catch_unwind();
        let tried = tokio::select! {
            tried = attempt => tried.unwrap_or_else(|_| Err(Trouble::Query(PANICKED.into()))),
            () = self.until_lost(&token) => Err(Trouble::HandedOver(LOST)),
            () = end.cancelled() => Err(Trouble::HandedOver("margay is ending")),
        };
        if let (Err(_), Some(id)) = (&tried, self.asked.get()) {
            // It may have ended, or be forgotten.
            let _ = self.scheduler.queries.cancel(id).await;
        }
        if let Err(error) = self.conclude(&token, tried).await {
            self.pipeline().telemetry.state_failed("end the run of a scheduled query", &error);
        }
    }

    async fn claim(&self) -> Result<Option<ClaimToken>, StateError> {
        let (run, now) = (run_of(&self.query.name, self.planned.due), self.pipeline().clock.now());
        match self.pipeline().state.claim(&run, "", None, now, now + TERM).await? {
            Claim::Granted(token, _) => Ok(Some(token)),
            Claim::Held(_) => Ok(None),
            Claim::Done(_) => {
                // Its end was written down and taken back: a clock, or a copy of the store, was set back.
                let next = self.query.schedule.after(self.planned.due.max(now));
                let instead_of = Some(self.planned.due);
                let schedule = self.query.schedule.to_string();
                self.pipeline().state.plan(&self.query.name, &schedule, next, instead_of).await?;
                Ok(None)
            }
        }
    }

    /// Returns when the claim is lost.
    async fn until_lost(&self, token: &ClaimToken) {
        loop {
            sleep(SIGN).await;
            let until = self.pipeline().clock.now() + TERM;
            match timeout(PATIENCE, self.pipeline().state.renew(token, until)).await {
                Ok(Err(StateError::Fenced(_))) => return,
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.pipeline().telemetry.state_failed("renew the claim of a run", &error),
                Err(_) => self.pipeline().telemetry.state_failed("renew the claim of a run", &"no answer in time"),
            }
        }
    }

    async fn attempt(&self, token: &ClaimToken) -> Result<Tried, Trouble> {
        let (state, name, due) = (&self.pipeline().state, &self.query.name, self.planned.due);
        let kept = match state.keep_rows(name, due, None).await? {
            Some(kept) => kept,
            None => {
                let latest = self.query.schedule.latest(self.pipeline().clock.now());
                if latest > due {
                    return Ok(Tried::Missed(latest));
                }
                let record = self.ask().await?;
                if !self.pipeline().engine.waits_for(name) {
                    let Record { rows, bytes, is_cut, .. } = record;
                    return Ok(Tried::Ended { rows, bytes, is_cut, matches: 0 });
                }
                let found = self.rows_of(&record).await?;
                match state.keep_rows(name, due, Some(&found)).await? {
                    Some(kept) => kept,
                    None => return Ok(Tried::Over),
                }
            }
        };
        let matches = self.judge(token, &kept).await?;
        let (rows, bytes) = (rows::count(&kept.rows), kept.rows.len() as u64);
        Ok(Tried::Ended { rows, bytes, is_cut: kept.is_cut, matches })
    }

    /// Runs the query as if it were the time for which it is due.
    async fn ask(&self) -> Result<Record, Trouble> {
        let queries = &self.scheduler.queries;
        let ask = Ask {
            origin: Origin::Scheduled,
            name: Some(self.query.name.clone()),
            reference_time: Some(self.planned.due),
            time: self.query.timeout,
            lookback: self.query.lookback,
            ..Ask::sql(&self.query.sql)
        };
        let record = match queries.submit(USER, ask).await {
            Ok(record) => record,
            Err(Refused::Full) => return Err(Trouble::Later),
            Err(Refused::Ending) => return Err(Trouble::HandedOver("margay is ending")),
            Err(refused) => return Err(Trouble::Query(refused.to_string())),
        };
        let id = self.asked.get_or_init(|| record.id);
        loop {
            let record = queries.wait(id, TERM).await.map_err(|refused| Trouble::Own(refused.to_string()))?;
            if record.ended_at.is_none() {
                continue;
            }
            return match (record.status, &record.error) {
                (Status::Succeeded, _) => Ok(record),
                (_, Some(error)) => Err(Trouble::Query(error.to_string())),
                (_, None) => Err(Trouble::Query("somebody cancelled it".into())),
            };
        }
    }

    async fn rows_of(&self, record: &Record) -> Result<KeptRows, Trouble> {
        let (record, file) = self.scheduler.queries.file(&record.id).await.map_err(|e| Trouble::Own(e.to_string()))?;
        let most = self.scheduler.most_rows;
        let read = blocking(move || Ok((rows::kept(BufReader::new(file), &record.columns, most)?, record.is_cut)));
        let read: std::io::Result<_> = read.await;
        let ((rows, is_cut), was_cut) = read.map_err(|error| Trouble::Own(format!("the rows: {error}")))?;
        Ok(KeptRows { rows, is_cut: is_cut || was_cut, at: self.pipeline().clock.now() })
    }

    /// Runs the rules over the rows; what they find is durable when this returns.
    async fn judge(&self, token: &ClaimToken, kept: &KeptRows) -> Result<u64, Trouble> {
        let (name, due, object) = (self.query.name.clone(), self.planned.due, token.object);
        let (rows, log_type) = (kept.rows.clone(), topic(&name).into());
        let read = blocking(move || rows::batches(&rows, &name, due, object, &log_type)).await;
        let batches = read.map_err(|error| Trouble::Kept(format!("the rows that are kept: {error}")))?;
        let (mut tickets, mut matches) = (Vec::new(), 0);
        for batch in batches.into_iter().map(Arc::new) {
            let mut detections = self.pipeline().engine.evaluate(&batch).await?;
            let log_type: Arc<str> = LOG_TYPE.into();
            detections.matches.iter_mut().for_each(|found| found.log_type = log_type.clone());
            detections.faults.iter_mut().for_each(|fault| fault.log_type = log_type.clone());
            // Not before the rows were kept, by whichever clock: what is older is of another run.
            let now = self.pipeline().clock.now().max(kept.at);
            let placed = self.pipeline().record(token, &detections, now).await?;
            let (own, placed) = of_this_run(detections, placed, kept.at);
            matches += own.matches.len() as u64;
            if own.is_empty() {
                continue;
            }
            let batch: EventBatch = rows::stored(&batch, &self.query.name);
            let found = Beside::Found { batch: &batch, detections: &own, placed: &placed };
            tickets.push(self.pipeline().lake.append_beside(token, found).await?);
        }
        for ticket in tickets {
            ticket.committed().await?;
        }
        Ok(matches)
    }

    async fn conclude(&self, token: &ClaimToken, tried: Result<Tried, Trouble>) -> Result<(), StateError> {
        let (state, name, due) = (&self.pipeline().state, &self.query.name, self.planned.due);
        match tried {
            Ok(Tried::Ended { rows, bytes, is_cut, matches }) => {
                let ended = self.pipeline().clock.now();
                let run = LastRun { due, ended, rows, is_cut, matches, error: None };
                let ended_here = state.conclude(name, due, &self.next(run)).await?;
                let reason = if is_cut { "there were more rows than its limits" } else { "" };
                let (state_of_run, reason) = (ObjectState::Committed, reason.to_owned());
                let outcome = ObjectOutcome { state: state_of_run, reason, events: rows, rejects: 0, bytes };
                if ended_here {
                    let late = Duration::try_from(ended - due).unwrap_or_default();
                    self.pipeline().telemetry.scheduled_run_ended(name, rows, is_cut, matches, late);
                }
                // Last: whoever found the run finished would not conclude it, and its rows would stand in the way of the
                // next one. The other way round the claim runs out, and the run is forgotten with time.
                state.finish(token, &outcome, ended).await
            }
            Ok(Tried::Missed(latest)) => {
                self.release(token, "missed", "").await?;
                state.plan(name, &self.query.schedule.to_string(), latest, Some(due)).await
            }
            Ok(Tried::Over) => self.release(token, "over", "").await,
            Err(Trouble::Query(error)) => self.failed(token, &error, false).await,
            Err(Trouble::Kept(error)) => self.failed(token, &error, true).await,
            Err(Trouble::Own(error)) => {
                self.pipeline().telemetry.scheduled_run_failed(name, &error, false);
                self.again(token, &error).await
            }
            Err(Trouble::State(error)) => {
                self.release(token, "state", &error.to_string()).await?;
                Err(error)
            }
            Err(Trouble::Later) => self.release(token, "later", "").await,
            Err(Trouble::HandedOver(why)) => {
                self.pipeline().telemetry.scheduled_run_handed_over(name, why);
                match self.release(token, "handed_over", why).await {
                    Err(StateError::Fenced(_)) => Ok(()),
                    released => released,
                }
            }
        }
    }

    /// Another try, unless this was the last one, or the next time comes before it.
    async fn failed(&self, token: &ClaimToken, error: &str, is_final: bool) -> Result<(), StateError> {
        let (name, due, now) = (&self.query.name, self.planned.due, self.pipeline().clock.now());
        let is_over = is_final
            || self.planned.tries >= RETRIES
            || now + delay(self.planned.tries) >= self.query.schedule.after(now);
        self.pipeline().telemetry.scheduled_run_failed(name, &error, is_over);
        if !is_over {
            return self.again(token, error).await;
        }
        self.release(token, "query", error).await?;
        let error = error.chars().take(MOST_TOLD).collect();
        let run = LastRun { due, ended: now, rows: 0, is_cut: false, matches: 0, error: Some(error) };
        self.pipeline().state.conclude(name, due, &self.next(run)).await.map(|_| ())
    }

    async fn again(&self, token: &ClaimToken, error: &str) -> Result<(), StateError> {
        self.release(token, "query", error).await?;
        let not_before = self.pipeline().clock.now() + delay(self.planned.tries);
        let again = Conclusion::Again { not_before };
        self.pipeline().state.conclude(&self.query.name, self.planned.due, &again).await.map(|_| ())
    }

    fn next(&self, run: LastRun) -> Conclusion {
        Conclusion::Ended { next: self.query.schedule.after(self.planned.due), run }
    }

    async fn release(&self, token: &ClaimToken, reason: &str, detail: &str) -> Result<(), StateError> {
        self.pipeline().state.release(token, reason, detail, self.pipeline().clock.now()).await
    }
}

fn delay(tries: u32) -> Duration {
    DELAYS.delay(tries)
}

/// What was recorded since the rows were kept. Older is what another run has found in a row that stands for the same event.
fn of_this_run(detections: Detections, placed: Vec<Placed>, since: OffsetDateTime) -> (Detections, Vec<Placed>) {
    let Detections { matches, faults, .. } = detections;
    let mut own = Detections::default();
    let mut places = Vec::with_capacity(placed.len());
    let mut placed = placed.into_iter();
    let mut is_own = |place: Option<Placed>| {
        let place = place.filter(|place| place.recorded >= since);
        let is_own = place.is_some();
        places.extend(place);
        is_own
    };
    own.matches.extend(matches.into_iter().filter(|_| is_own(placed.next())));
    own.faults.extend(faults.into_iter().filter(|_| is_own(placed.next())));
    (own, places)
}
