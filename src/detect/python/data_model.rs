//! Data models: standard names (`source_ip`) mapped to a path of the event or to a function of the model's module.
//!
//! Only the lookup: reading the event is `jsonpath`, calling the function is the event's `udm`.

use std::collections::HashMap;

use rustpython_vm::PyObjectRef;

use super::jsonpath::{JsonPath, Place};
use crate::model::Map;

#[derive(Debug)]
pub(super) struct DataModel {
    pub(super) id: String,
    pub(super) targets: HashMap<String, Target>,
}

#[derive(Debug)]
pub(super) enum Target {
    Path { text: String, path: JsonPath },
    Method { name: String, function: PyObjectRef },
}

/// What a standard name leads to in one event.
pub(super) enum Resolved<'a> {
    /// The model does not have the name.
    Unmapped,
    /// The path leads nowhere in this event.
    Absent,
    Value(Place),
    Method {
        name: &'a str,
        function: &'a PyObjectRef,
    },
    /// The path leads to several places, which a model must not do. Text of the exception.
    Ambiguous(String),
}

impl DataModel {
    pub(super) fn resolve(&self, name: &str, event: &Map) -> Resolved<'_> {
        match self.targets.get(name) {
            None => Resolved::Unmapped,
            Some(Target::Method { name, function }) => Resolved::Method { name, function },
            Some(Target::Path { text, path }) => {
                let mut places = path.find(event);
                match places.len() {
                    0 => Resolved::Absent,
                    1 => Resolved::Value(places.swap_remove(0)),
                    _ => Resolved::Ambiguous(format!(
                        "JSONPath [{text}] in DataModel [{}] matched multiple fields",
                        self.id
                    )),
                }
            }
        }
    }
}
