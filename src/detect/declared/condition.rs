//! Conditions: trees of tests, and when they hold.

use serde::{Deserialize, Serialize};

use super::Undecided;
use super::field::Field;
use super::operator::Test;
use crate::model::{Map, Value};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Condition {
    Constant(bool),
    Not(Box<Condition>),
    /// So many of these hold.
    Several(Quantity, Vec<Condition>),
    /// A field and a value that is written in the rule.
    Value {
        field: Field,
        test: Test,
        other: Value,
    },
    /// Two fields of one event.
    Fields {
        test: Test,
        fields: Box<[Field; 2]>,
    },
    /// So many elements of a list meet a condition. What is no list has none.
    Elements {
        field: Field,
        quantity: Quantity,
        condition: Box<Condition>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Quantity {
    /// Of none as well.
    All,
    Any,
    ExactlyOne,
    None,
}

impl Condition {
    pub(super) fn holds(&self, event: &Map) -> Result<bool, Undecided> {
        self.holds_for(&Value::Map(event.clone()))
    }

    fn holds_for(&self, value: &Value) -> Result<bool, Undecided> {
        match self {
            Condition::Constant(constant) => Ok(*constant),
            Condition::Not(condition) => Ok(!condition.holds_for(value)?),
            Condition::Several(quantity, conditions) => {
                quantity.of(conditions.iter().map(|condition| condition.holds_for(value)))
            }
            Condition::Value { field, test, other } => Ok(test.holds(field.find(value)?.as_deref(), other)),
            Condition::Fields { test, fields } => {
                let [one, other] = &**fields;
                let (one, other) = (one.find(value)?, other.find(value)?);
                Ok(test.holds(one.as_deref(), other.as_deref().unwrap_or(&Value::Null)))
            }
            Condition::Elements { field, quantity, condition } => {
                let found = field.find(value)?;
                let items = match found.as_deref() {
                    Some(Value::List(items)) => &items[..],
                    _ => return Ok(*quantity == Quantity::None),
                };
                quantity.of(items.iter().map(|item| condition.holds_for(item)))
            }
        }
    }
}

impl Quantity {
    /// Asks no further than it must.
    fn of(self, answers: impl Iterator<Item = Result<bool, Undecided>>) -> Result<bool, Undecided> {
        let mut held = 0;
        for answer in answers {
            let answer = answer?;
            held += usize::from(answer);
            match self {
                Quantity::All if !answer => return Ok(false),
                Quantity::Any if answer => return Ok(true),
                Quantity::None if answer => return Ok(false),
                Quantity::ExactlyOne if held > 1 => return Ok(false),
                _ => {}
            }
        }
        Ok(match self {
            Quantity::All | Quantity::None => true,
            Quantity::Any => false,
            Quantity::ExactlyOne => held == 1,
        })
    }
}
