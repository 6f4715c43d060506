//! Values that stand in the text of a module and never change.

use std::collections::HashSet;
use std::sync::Arc;

use super::pattern::Pattern;

#[derive(Clone, Debug)]
pub(super) enum Const {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Arc<str>),
    List(Items),
    Tuple(Items),
    Set(Items),
    Dict(Items, Vec<Const>),
    Pattern(Box<Pattern>),
    /// Not known, or an object inside another that somebody may change.
    Opaque,
}

/// The elements of a list, or the keys of a dictionary.
#[derive(Clone, Debug, Default)]
pub(super) struct Items {
    pub(super) list: Vec<Const>,
    /// The elements that are strings, when there are many.
    strings: Option<HashSet<Arc<str>>>,
    /// No element is anything but a string.
    pub(super) only_strings: bool,
}

/// From this many elements on, a string is looked for by its hash.
const HASHED_FROM: usize = 6;

impl Items {
    pub(super) fn new(list: Vec<Const>) -> Items {
        let strings =
            list.iter().filter_map(|item| if let Const::Str(text) = item { Some(text.clone()) } else { None });
        let hashed = list.len() >= HASHED_FROM;
        Items { strings: hashed.then(|| strings.clone().collect()), only_strings: strings.count() == list.len(), list }
    }

    /// Whether a string is among the elements. Nothing but a string equals a string.
    pub(super) fn has(&self, text: &str) -> bool {
        match &self.strings {
            Some(strings) => strings.contains(text),
            None => self.list.iter().any(|item| matches!(item, Const::Str(item) if **item == *text)),
        }
    }
}

impl Const {
    /// A list, set or dictionary: whoever holds it can change it.
    pub(super) fn is_mutable(&self) -> bool {
        matches!(self, Const::List(_) | Const::Set(_) | Const::Dict(..))
    }

    /// Nothing in it is unknown.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Const::Opaque => false,
            Const::List(items) | Const::Tuple(items) | Const::Set(items) => items.list.iter().all(Const::is_whole),
            Const::Dict(keys, values) => keys.list.iter().chain(values).all(Const::is_whole),
            _ => true,
        }
    }

    /// With objects inside that can be changed replaced by what nobody knows.
    pub(super) fn with_opaque_parts(self) -> Const {
        let part = |item: Const| if item.is_mutable() { Const::Opaque } else { item.with_opaque_parts() };
        let parts = |items: Items| Items::new(items.list.into_iter().map(part).collect());
        match self {
            Const::List(items) => Const::List(parts(items)),
            Const::Tuple(items) => Const::Tuple(parts(items)),
            Const::Dict(keys, values) => Const::Dict(keys, values.into_iter().map(part).collect()),
            other => other,
        }
    }

    /// Fit to be a key or an element of a set.
    pub(super) fn is_hashable(&self) -> bool {
        match self {
            Const::Tuple(items) => items.list.iter().all(Const::is_hashable),
            // Not that one couldn't; nobody does.
            Const::Opaque | Const::Pattern(_) => false,
            other => !other.is_mutable(),
        }
    }
}
