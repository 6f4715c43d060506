//! What the YAML of a rule says without Python: conditions, the title, the context, severities, grouping.
//!
//! `read` turns the YAML into the types here and tells what is wrong with it; `condition` and `operator` decide,
//! `field` finds what they look at, `address` knows networks. A worker evaluates them on the event beside the rule's
//! functions, which win where both say something. Pure.

pub(super) mod address;
mod condition;
mod field;
mod operator;
mod read;
mod text;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use condition::Condition;
use field::Field;
use text::Template;

use crate::model::{Map, Severity};

/// The declared parts of a rule. Empty for most.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Declared {
    /// All must hold before `rule` is asked.
    filters: Option<Condition>,
    /// In the place of `rule`.
    detection: Option<Condition>,
    title: Option<Template>,
    /// Names in the alert context, and what stands under them.
    context: Option<Vec<(String, Field)>>,
    /// The first whose condition holds.
    severities: Vec<(Severity, Condition)>,
    group_by: Option<Vec<Field>>,
}

/// A condition could not be evaluated on an event.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Undecided(String);

impl Declared {
    pub fn is_empty(&self) -> bool {
        *self == Declared::default()
    }

    /// Whether it decides itself, without a function `rule`.
    pub fn decides(&self) -> bool {
        self.detection.is_some()
    }

    /// Whether it has a say in what matches.
    pub fn judges(&self) -> bool {
        self.filters.is_some() || self.detection.is_some()
    }

    /// Whether the inline filters let an event through to `rule`.
    pub fn admits(&self, event: &Map) -> Result<bool, Undecided> {
        self.filters.as_ref().map_or(Ok(true), |filters| filters.holds(event))
    }

    /// The answer in the place of `rule`.
    pub fn detects(&self, event: &Map) -> Option<Result<bool, Undecided>> {
        self.detection.as_ref().map(|detection| detection.holds(event))
    }

    pub fn title(&self, event: &Map) -> Option<Result<String, Undecided>> {
        self.title.as_ref().map(|title| title.fill(event))
    }

    /// The dedup string: the values of the fields, joined.
    pub fn dedup(&self, event: &Map) -> Option<Result<String, Undecided>> {
        let fields = self.group_by.as_ref()?;
        let values: Result<Vec<String>, Undecided> = fields.iter().map(|field| text::shown(field, event)).collect();
        Some(values.map(|values| values.join(",")))
    }

    pub fn severity(&self, event: &Map) -> Option<Result<Severity, Undecided>> {
        for (severity, condition) in &self.severities {
            match condition.holds(event) {
                Ok(true) => return Some(Ok(*severity)),
                Ok(false) => {}
                Err(undecided) => return Some(Err(undecided)),
            }
        }
        None
    }

    /// The alert context as a JSON object; what an event does not have is null in it.
    pub fn context(&self, event: &Map) -> Option<Result<Json, Undecided>> {
        let entry = |(name, field): &(String, Field)| {
            let value = field.find_in(event)?.map_or(Ok(Json::Null), serde_json::to_value);
            Ok((name.clone(), value.map_err(|error| Undecided(error.to_string()))?))
        };
        self.context.as_ref().map(|entries| entries.iter().map(entry).collect::<Result<_, _>>().map(Json::Object))
    }
}

#[cfg(test)]
mod tests;
