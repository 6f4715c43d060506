//! What columns could not hold of a value, in the shape of the value, without a copy of it.

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::model::Part;

pub(super) enum Left<'v> {
    Whole(Part<'v>),
    /// Elements that left nothing are `None`, and null where it is written.
    List(Vec<Option<Left<'v>>>),
    Map(Vec<(&'v str, Left<'v>)>),
}

impl<'v> Left<'v> {
    /// What members of a map left; `None` where it is nothing.
    pub(super) fn of_map(members: Vec<(&'v str, Left<'v>)>) -> Option<Left<'v>> {
        (!members.is_empty()).then_some(Left::Map(members))
    }
}

impl Serialize for Left<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Left::Whole(part) => part.serialize(serializer),
            Left::List(items) => serializer.collect_seq(items),
            Left::Map(members) => {
                let mut out = serializer.serialize_map(Some(members.len()))?;
                members.iter().try_for_each(|(key, left)| out.serialize_entry(key, left))?;
                out.end()
            }
        }
    }
}
