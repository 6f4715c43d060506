//! Where a guard reads the fields of an event: from the event itself, each path once for all rules. The other source is
//! [`super::explore`], which imagines events.

use std::cell::{OnceCell, RefCell};

use super::places::Scratch;
use super::program::Program;
use super::value::{Ask, Notes, Result, V};
use crate::model::{Map, Value};

/// Where an event's fields come from.
pub(super) trait Fields<'e>: Notes {
    /// The value at the end of constant keys: `None` when they lead nowhere.
    fn path(&self, program: &Program, path: usize) -> Found<'e>;
    /// The whole event; none when it is imagined.
    fn map(&self) -> Option<&'e Map>;
    fn log_type(&self) -> Option<&'e str>;
    /// Every number of it is the same once it has come to a worker.
    fn crosses_exactly(&self) -> bool;
    /// Decides what is not known.
    fn choose(&self) -> Result<bool>;
}

pub(super) enum Found<'e> {
    /// The last key, or one before it, is not there or belongs to no object.
    Missing,
    Value(V<'e>),
    /// Missing or not.
    Either,
}

/// An event, with what was looked up in it.
pub(super) struct RealEvent<'e, 's> {
    pub(super) fields: &'e Map,
    pub(super) scratch: RefCell<&'s mut Scratch>,
    exact: OnceCell<bool>,
}

impl<'e, 's> RealEvent<'e, 's> {
    pub(super) fn new(fields: &'e Map, program: &Program, scratch: &'s mut Scratch) -> RealEvent<'e, 's> {
        scratch.begin(&program.places);
        RealEvent { fields, scratch: RefCell::new(scratch), exact: OnceCell::new() }
    }

    pub(super) fn value(&self, program: &Program, path: usize) -> Option<&'e Value> {
        self.value_at(program, program.places.of_path(path))
    }

    pub(super) fn value_at(&self, program: &Program, node: u32) -> Option<&'e Value> {
        self.scratch.borrow_mut().value(&program.places, self.fields, node)
    }
}

impl Notes for RealEvent<'_, '_> {
    fn note(&self, _text: &str) {}

    fn note_prefix(&self, _text: &str) {}
}

impl<'e> Fields<'e> for RealEvent<'e, '_> {
    fn path(&self, program: &Program, path: usize) -> Found<'e> {
        self.value(program, path).map_or(Found::Missing, |value| Found::Value(V::seen(value)))
    }

    fn map(&self) -> Option<&'e Map> {
        Some(self.fields)
    }

    fn log_type(&self) -> Option<&'e str> {
        self.fields.get("p_log_type").and_then(Value::as_str)
    }

    fn crosses_exactly(&self) -> bool {
        *self.exact.get_or_init(|| self.fields.iter().all(|(_, value)| crosses_exactly(value)))
    }

    fn choose(&self) -> Result<bool> {
        Err(Ask)
    }
}

fn crosses_exactly(value: &Value) -> bool {
    match value {
        Value::Float(_) => matches!(V::seen(value), V::Float(_)),
        Value::List(items) => items.iter().all(crosses_exactly),
        Value::Map(map) => map.iter().all(|(_, value)| crosses_exactly(value)),
        _ => true,
    }
}
