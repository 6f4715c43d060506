//! What rules keep between events, and what is remembered of their calls.
//!
//! An object may be read again before it has come to an end: its daemon died, a rule ended its worker in the middle of a
//! batch, the lake was out of reach. The rules then see the same events again, and would count them again; a rule that saw
//! its threshold reached, whose match was not recorded before the crash, would not see it again. So the calls of a rule on
//! an event are remembered with their answers, in the transaction that changes the item, until the object has ended for
//! good: a rule that sees an event again gets the same answers again, and changes nothing twice.
//!
//! Answers of more than [`MOST_REMEMBERED_BYTES`] are not kept: such a call is made anew. What gives answers like that, reading
//! a large set or adding to one, is the same when it is done twice.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::StateError;
use crate::model::key_value::{Answer, Call, Item, Refusal};
use crate::model::{ObjectId, RowId};

/// Of one answer.
pub const MOST_REMEMBERED_BYTES: usize = 1024;

/// Who makes a call: a rule on an event of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Caller<'a> {
    pub object: ObjectId,
    pub row: RowId,
    pub rule: &'a str,
}

/// One call that was answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// What was called and with which key, not with which values: those may be of the time of day.
    pub of: String,
    /// `None` when the answer was too long to keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Result<Answer, Refusal>>,
}

impl Told {
    pub fn new(call: &Call, answer: &Result<Answer, Refusal>) -> Told {
        let is_short = answer.as_ref().map_or(true, |answer| answer.bytes() <= MOST_REMEMBERED_BYTES);
        Told { of: Told::name(call), answer: is_short.then(|| answer.clone()) }
    }

    /// Whether this is of such a call.
    pub fn is_of(&self, call: &Call) -> bool {
        self.of == Told::name(call)
    }

    fn name(call: &Call) -> String {
        // A key may be long, and a hash of it is as good.
        let key = Sha256::digest(call.key.as_bytes());
        let key: String = key.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("{} {key}", call.operation.name())
    }
}

/// What to remember of the calls before a changing one, which is then added by the store.
#[derive(Clone, Copy, Debug)]
pub struct Remember<'a> {
    /// As many calls as the store must have of the caller now, so that of two that read an object at once one is refused.
    pub known: u32,
    /// How many of these still hold; 0 when the rule does something else this time, else all.
    pub keep: u32,
    /// What came behind those.
    pub told: &'a [Told],
}

impl Remember<'_> {
    /// How many calls are remembered in the end.
    pub(super) fn count(&self) -> u32 {
        self.keep + self.told.len() as u32 + 1
    }

    /// What is written behind the text of those that are kept: a line for each.
    pub(super) fn lines(&self, call: &Call, answer: &Answer) -> String {
        let last = Told::new(call, &Ok(answer.clone()));
        self.told.iter().chain([&last]).map(|told| super::columns::json(told) + "\n").collect()
    }
}

/// The calls that a text has.
pub(super) fn told(lines: &str) -> Result<Vec<Told>, StateError> {
    let told = lines.lines().map(serde_json::from_str);
    told.collect::<Result<_, _>>().map_err(|error| super::columns::unreadable("calls", error))
}

#[derive(Clone, Debug, PartialEq)]
pub enum Changed {
    /// Applied, or refused, which changes nothing and is not remembered.
    Answered(Result<Answer, Refusal>),
    /// There are not as many calls known of the caller as was said; nothing is changed.
    Overtaken,
}

/// What is kept by key, for all rules of all daemons on this store.
#[async_trait]
pub trait KeyValue: Send + Sync {
    /// What stands under a key, though it may have ended.
    async fn item(&self, key: &str) -> Result<Option<Item>, StateError>;

    /// Applies a call as [`apply`](crate::model::key_value::apply) says, charges the rule for what is kept now, and remembers
    /// the answer, all at once: of calls for one key, each finds what the one before has left.
    async fn change(
        &self,
        caller: &Caller<'_>,
        remember: Remember<'_>,
        call: &Call,
        now: OffsetDateTime,
    ) -> Result<Changed, StateError>;

    /// Every call of the caller that is remembered, in the order in which they were made.
    async fn recall(&self, caller: &Caller<'_>) -> Result<Vec<Told>, StateError>;

    /// Forgets at most `limit` items that have ended at `now`, and calls that were made before `before`, and tells how many.
    async fn forget_items(&self, now: OffsetDateTime, before: OffsetDateTime, limit: u32) -> Result<u64, StateError>;
}
