//! Fields that records have and their schema has not, each found once in an object.
//!
//! Whoever writes a log chooses the names: their number and length are bounded, and a hash that is keyed at random tells
//! whether one was seen, so that no choice of names makes this slow. Nothing is allocated for a field seen before.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use super::schema::Object;
use crate::model::UnknownField;

/// Fields that one parser finds in one object.
const MOST_FIELDS: usize = 500;

/// Bytes of a path; a longer one is cut.
const LONGEST_PATH: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Discovery {
    hasher: RandomState,
    seen: HashSet<u64>,
    found: Vec<Found>,
}

#[derive(Debug)]
struct Found {
    hash: u64,
    field: UnknownField,
}

/// How many fields were found at some moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark(usize);

impl Discovery {
    /// A key that `object`, of this schema, does not have. Its address stands for the path to it.
    pub(super) fn see(&mut self, object: &Object, key: &str, kind: &'static str) {
        if self.seen.len() >= MOST_FIELDS {
            return;
        }
        let hash = self.hasher.hash_one((std::ptr::from_ref(object).addr(), key));
        if self.seen.insert(hash) {
            let field = UnknownField { path: cut(key.to_owned()), kind: kind.to_owned() };
            self.found.push(Found { hash, field });
        }
    }

    pub(super) fn mark(&self) -> Mark {
        Mark(self.found.len())
    }

    /// What was found since the mark lies within the field of this name.
    pub(super) fn within(&mut self, since: Mark, name: &str) {
        for Found { field, .. } in self.found.iter_mut().skip(since.0) {
            field.path = cut(format!("{name}.{}", field.path));
        }
    }

    /// The record turned out to be of another log type.
    pub(super) fn forget(&mut self, since: Mark) {
        for Found { hash, .. } in self.found.drain(since.0.min(self.found.len())..) {
            self.seen.remove(&hash);
        }
    }

    pub(super) fn take(&mut self) -> Vec<UnknownField> {
        std::mem::take(&mut self.found).into_iter().map(|found| found.field).collect()
    }
}

fn cut(mut path: String) -> String {
    if path.len() > LONGEST_PATH {
        path.truncate(path.floor_char_boundary(LONGEST_PATH));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_in_number_and_length() {
        let (object, mut discovery) = (Object::default(), Discovery::default());
        discovery.see(&object, &"é".repeat(10_000), "null");
        (0..10_000).for_each(|n| discovery.see(&object, &format!("key{n}"), "null"));
        let found = discovery.take();
        assert_eq!((found.len(), found[0].path.len()), (MOST_FIELDS, LONGEST_PATH));
        discovery.see(&object, "key1", "null");
        assert!(discovery.take().is_empty());
    }

    #[test]
    fn what_another_log_type_was_is_found_again() {
        let (object, mut discovery) = (Object::default(), Discovery::default());
        let before = discovery.mark();
        discovery.see(&object, "a", "a boolean");
        discovery.forget(before);
        assert!(discovery.take().is_empty());
        discovery.see(&object, "a", "a boolean");
        discovery.within(before, "outer");
        assert_eq!(discovery.take(), [UnknownField { path: "outer.a".into(), kind: "a boolean".into() }]);
    }
}
