//! Answers the calls with which rules keep something between events, while a worker waits in the middle of a batch.
//!
//! A store that does not answer is none of the rule's faults: were it an exception, an event would lose its alert because a
//! database was restarted. So the call is tried again for a while, and then the batch comes to nothing and its object is read
//! again later. It may be, because what a rule was told of an event is remembered with what it changed (see
//! [`KeyValue`]): the second time it is told the same, and counts nothing twice. A worker that dies in the middle of a batch is
//! no different.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::{Instant, timeout};

use super::protocol::{Looked, MOST_CALLS, MOST_LOOKUPS};
use super::rows::Rows;
use super::worker::WorkerError;
use crate::model::key_value::{Answer, Call, Refusal, apply};
use crate::model::{ObjectId, RowId, RuleMeta};
use crate::runtime::{Backoff, SharedClock};
use crate::state::{Caller, Changed, KeyValue, Remember, StateError, Told, TransientItems};
use crate::telemetry::Telemetry;

/// What a rule may wait for the store on one event, all calls together.
const PATIENCE: Duration = Duration::from_secs(30);
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));

/// Another daemon reads the same object when a call is overtaken, and is refused with its next word to the ledger.
const MOST_OVERTAKEN: u32 = 10;

/// Where rules keep what outlives an event.
#[derive(Clone)]
pub struct KeyValues {
    store: Arc<dyn KeyValue>,
    /// Without one, an event's own time is now: logs of long ago are evaluated as if they came in one after the other.
    clock: Option<SharedClock>,
}

impl KeyValues {
    pub fn new(store: Arc<dyn KeyValue>, clock: SharedClock) -> KeyValues {
        KeyValues { store, clock: Some(clock) }
    }

    /// An empty store for this alone, in which the time is that of the event.
    pub fn in_time_of_events() -> KeyValues {
        KeyValues { store: Arc::new(TransientItems::default()), clock: None }
    }

    /// An empty store for this alone.
    pub fn in_memory(clock: SharedClock) -> KeyValues {
        KeyValues::new(Arc::new(TransientItems::default()), clock)
    }
}

/// The store, for the events of one batch.
pub(super) struct Desk<'a> {
    pub(super) key_values: &'a KeyValues,
    pub(super) telemetry: &'a Telemetry,
    pub(super) object: ObjectId,
    /// Of the events as the worker counts them, with their times.
    pub(super) rows: Vec<(RowId, OffsetDateTime)>,
    pub(super) rules: &'a [Arc<RuleMeta>],
    pub(super) lookups: Rows<'a>,
}

impl Desk<'_> {
    /// For one worker.
    pub(super) fn calls(&self) -> Calls<'_> {
        Calls { desk: self, evaluation: Evaluation::default() }
    }
}

/// The calls of one worker, one after the other.
pub(super) struct Calls<'a> {
    desk: &'a Desk<'a>,
    evaluation: Evaluation,
}

type Answered = Result<Answer, Refusal>;

impl Calls<'_> {
    /// The row of a lookup table. Event and rule are among those that the worker was given.
    pub(super) fn look_up(&mut self, event: u32, rule: u32, table: &str, key: &str) -> Result<Looked, WorkerError> {
        self.turn_to(event, rule);
        self.evaluation.lookups += 1;
        if self.evaluation.lookups > MOST_LOOKUPS {
            let how = format!("it asked for more than {MOST_LOOKUPS} rows of lookup tables on one event");
            return Err(WorkerError::Died { calling: Some((event, rule)), how });
        }
        Ok(self.desk.lookups.look_up(table, key, self.desk.telemetry))
    }

    fn turn_to(&mut self, event: u32, rule: u32) {
        if self.evaluation.of != Some((event, rule)) {
            self.evaluation = Evaluation { of: Some((event, rule)), ..Evaluation::default() };
        }
    }

    /// Event and rule are among those that the worker was given.
    pub(super) async fn answer(&mut self, event: u32, rule: u32, call: &Call) -> Result<Answered, WorkerError> {
        self.turn_to(event, rule);
        self.evaluation.calls += 1;
        if self.evaluation.calls > MOST_CALLS {
            let how = format!("it made more than {MOST_CALLS} calls of the key-value store on one event");
            return Err(WorkerError::Died { calling: Some((event, rule)), how });
        }
        let started = Instant::now();
        let answered = self.patiently(event, rule, call).await;
        self.evaluation.waited += started.elapsed();
        let outcome = match &answered {
            Ok((_, true)) => "remembered",
            Ok((Ok(_), false)) => "answered",
            Ok((Err(_), false)) => "refused",
            Err(_) => "failed",
        };
        self.desk.telemetry.key_value_called(call.operation.name(), outcome, started.elapsed());
        answered.map(|(answer, _)| answer).map_err(WorkerError::Store)
    }

    /// Tries until there is an answer; and whether it was remembered.
    async fn patiently(&mut self, event: u32, rule: u32, call: &Call) -> Result<(Answered, bool), StateError> {
        let patience = PATIENCE.saturating_sub(self.evaluation.waited);
        let mut last = None;
        let tries = async {
            let mut attempt = 0;
            loop {
                match self.once(event, rule, call).await {
                    Ok(answer) => return answer,
                    Err(error) => last = Some(error),
                }
                tokio::time::sleep(BACKOFF.delay(attempt)).await;
                attempt += 1;
            }
        };
        timeout(patience, tries).await.map_err(|_| {
            let why = last.map_or_else(String::new, |error| format!(": {error}"));
            StateError::Store(format!("a rule waited {PATIENCE:?} for what it keeps{why}"))
        })
    }

    async fn once(&mut self, event: u32, rule: u32, call: &Call) -> Result<(Answered, bool), StateError> {
        let Desk { key_values: KeyValues { store, clock }, object, rows, rules, .. } = self.desk;
        let ((row, event_time), rule) = (rows[event as usize], &rules[rule as usize].id);
        let caller = Caller { object: *object, row, rule };
        let evaluation = &mut self.evaluation;
        if !evaluation.has_recalled {
            evaluation.recall(store.recall(&caller).await?);
        }
        for _ in 0..MOST_OVERTAKEN {
            let now = clock.as_ref().map_or(event_time, |clock| clock.now());
            let remembered = evaluation.remembered(call);
            if let Some(Some(answer)) = remembered {
                return Ok((answer, true));
            }
            if remembered.is_some() || !call.operation.changes() {
                // What changes an item has done so, when its answer was too long to keep: the same again says what it
                // said, and need not be written.
                let item = store.item(&call.key).await?;
                let answer = apply(call, item.as_ref(), now).map(|applied| applied.answer);
                evaluation.answered(call, &answer);
                return Ok((answer, remembered.is_some()));
            }
            match store.change(&caller, evaluation.remember(), call, now).await? {
                Changed::Answered(answer) => {
                    if answer.is_ok() {
                        evaluation.is_stored();
                    }
                    evaluation.answered(call, &answer);
                    return Ok((answer, false));
                }
                Changed::Overtaken => evaluation.recall(store.recall(&caller).await?),
            }
        }
        Err(StateError::Store("another daemon reads the same object; it goes on with it".to_owned()))
    }
}

/// What a rule was told on one event. Pure.
#[derive(Default)]
struct Evaluation {
    of: Option<(u32, u32)>,
    calls: u32,
    lookups: u32,
    waited: Duration,
    has_recalled: bool,
    /// What the store remembers of an earlier reading, for as long as the rule does the same again.
    memory: Vec<Told>,
    /// What it was told this time.
    told: Vec<Told>,
    /// As many calls does the store remember, …
    known: u32,
    /// … and as many of these are the first of `told`: all, or none when the rule went another way this time.
    keep: u32,
}

impl Evaluation {
    fn recall(&mut self, memory: Vec<Told>) {
        self.has_recalled = true;
        self.known = memory.len() as u32;
        // Fewer than it was told: another has ended the object, and they are forgotten.
        let goes_on = memory.len() >= self.told.len();
        self.keep = if goes_on { self.known } else { 0 };
        self.memory = if goes_on { memory } else { Vec::new() };
    }

    /// The answer to a call that is remembered; `Some(None)` when only that it was made. Takes note of the former.
    fn remembered(&mut self, call: &Call) -> Option<Option<Answered>> {
        let told = self.memory.get(self.told.len())?;
        if !told.is_of(call) {
            self.memory.clear();
            self.keep = 0;
            return None;
        }
        let answer = told.answer.clone();
        if answer.is_some() {
            self.told.push(told.clone());
        }
        Some(answer)
    }

    fn answered(&mut self, call: &Call, answer: &Answered) {
        self.told.push(Told::new(call, answer));
    }

    fn remember(&self) -> Remember<'_> {
        Remember { known: self.known, keep: self.keep, told: &self.told[self.keep as usize..] }
    }

    /// What was to be remembered is, with one more.
    fn is_stored(&mut self) {
        self.known = self.told.len() as u32 + 1;
        self.keep = self.known;
    }
}

#[cfg(test)]
mod tests;
