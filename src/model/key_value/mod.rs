//! What rules keep between events: counters, string sets and dictionaries by key, for all rules together.
//!
//! A [`Call`] is what a rule asks for, an [`Item`] what is kept under its key, an [`Answer`] what the rule gets. What a call
//! does to an item is decided in `apply` and nowhere else: every store brings it about in a transaction of its own, and
//! tests of rules use the same. `items` is a store without any I/O.

mod apply;
mod items;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use apply::{Applied, Next, admit, apply};
pub use items::Items;

/// Of a key in UTF-8.
pub const MOST_KEY_BYTES: usize = 2048;

/// Of what is kept under one key.
pub const MOST_ITEM_BYTES: usize = 400 * 1024;

/// Of one set.
pub const MOST_STRINGS: usize = 10_000;

/// Of all items that one rule has written last, with what it costs to keep them. A rule of which each event makes a key must
/// not fill the state store.
pub const MOST_RULE_BYTES: u64 = 64 * 1024 * 1024;

/// One call of a rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    pub key: String,
    pub operation: Operation,
}

/// `expires` is when the item is no longer there, in seconds: of a point in time since 1970, or from now on when it is small
/// (see `apply`); `None` is what an item has without one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Operation {
    GetCounter,
    IncrementCounter {
        by: i64,
        expires: Option<f64>,
    },
    ResetCounter,
    SetExpiration {
        expires: Option<f64>,
    },
    /// Counts one up, and begins again when that is the threshold.
    EvaluateThreshold {
        threshold: f64,
        /// Of the first that is counted.
        expiry_seconds: f64,
    },
    GetStringSet,
    /// Replaces the item; with no string, as `ResetStringSet`.
    PutStringSet {
        strings: BTreeSet<String>,
        expires: Option<f64>,
    },
    AddToStringSet {
        strings: BTreeSet<String>,
    },
    RemoveFromStringSet {
        strings: BTreeSet<String>,
    },
    ResetStringSet,
    GetDictionary,
    /// Replaces the item.
    PutDictionary {
        /// The text of a JSON object, which is given back as it is.
        json: String,
        expires: Option<f64>,
    },
}

impl Operation {
    pub fn name(&self) -> &'static str {
        match self {
            Operation::GetCounter => "get_counter",
            Operation::IncrementCounter { .. } => "increment_counter",
            Operation::ResetCounter => "reset_counter",
            Operation::SetExpiration { .. } => "set_expiration",
            Operation::EvaluateThreshold { .. } => "evaluate_threshold",
            Operation::GetStringSet => "get_string_set",
            Operation::PutStringSet { .. } => "put_string_set",
            Operation::AddToStringSet { .. } => "add_to_string_set",
            Operation::RemoveFromStringSet { .. } => "remove_from_string_set",
            Operation::ResetStringSet => "reset_string_set",
            Operation::GetDictionary => "get_dictionary",
            Operation::PutDictionary { .. } => "put_dictionary",
        }
    }

    /// Whether it may change an item.
    pub fn changes(&self) -> bool {
        !matches!(self, Operation::GetCounter | Operation::GetStringSet | Operation::GetDictionary)
    }
}

/// What is kept under a key. Each kind of value has a place of its own, and all share one end.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub value: ItemValue,
    pub expires: OffsetDateTime,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ItemValue {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counter: Option<i64>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub strings: BTreeSet<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dictionary: Option<String>,
}

impl ItemValue {
    fn is_empty(&self) -> bool {
        self.counter.is_none() && self.strings.is_empty() && self.dictionary.is_none()
    }

    /// About how many bytes it takes to keep this.
    pub fn bytes(&self) -> usize {
        let strings: usize = self.strings.iter().map(|one| one.len() + 4).sum();
        strings + self.dictionary.as_ref().map_or(0, String::len)
    }
}

impl Item {
    /// What a rule is charged for keeping it under this key.
    pub fn charge(&self, key: &str) -> u64 {
        /// A row, and its places in two indexes.
        const ROW: usize = 200;
        (ROW + key.len() + self.value.bytes()) as u64
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Done,
    Count(i64),
    Reached(bool),
    Strings(BTreeSet<String>),
    /// The text that was put there.
    Dictionary(Option<String>),
}

impl Answer {
    /// About how many bytes this takes.
    pub fn bytes(&self) -> usize {
        match self {
            Answer::Done | Answer::Count(_) | Answer::Reached(_) | Answer::Dictionary(None) => 16,
            Answer::Strings(strings) => 16 + strings.iter().map(|one| one.len() + 4).sum::<usize>(),
            Answer::Dictionary(Some(text)) => 16 + text.len(),
        }
    }
}

/// Why a call changed nothing; the rule gets it as an exception.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// What was given cannot be kept.
    Value(String),
    /// Too much is kept, or was asked for.
    Limit(String),
}
