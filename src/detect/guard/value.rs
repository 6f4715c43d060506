//! Values while a guard runs, and Python's truth, equality, order and membership over them.
//!
//! Three kinds exist only when an event is imagined (see [`super::explore`]): something, some text, and a text that equals
//! nothing it is compared with. A test of these answers [`Truth::Either`]. What would raise is [`Ask`], or [`Raises`] where
//! it is certain what.

use std::rc::Rc;
use std::sync::Arc;

use super::address::Address;
use super::constant::{Const, Items};
use super::exception::Exception;
use crate::detect::python::tree;
use crate::model::Value;

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Halt {
    /// Python has to be asked.
    Ask,
    /// Python would raise this for certain, and a handler may be there for it.
    Raises(Exception),
}

pub(super) use Halt::{Ask, Raises};

pub(super) type Result<T> = std::result::Result<T, Halt>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    True,
    False,
    Either,
}

impl From<bool> for Truth {
    fn from(value: bool) -> Truth {
        if value { Truth::True } else { Truth::False }
    }
}

impl Truth {
    pub(super) fn not(self) -> Truth {
        match self {
            Truth::True => Truth::False,
            Truth::False => Truth::True,
            Truth::Either => Truth::Either,
        }
    }

    pub(super) fn value<'e>(self) -> V<'e> {
        match self {
            Truth::True => V::Bool(true),
            Truth::False => V::Bool(false),
            Truth::Either => V::AnyBool,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum V<'e> {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(&'e str),
    Text(Arc<str>),
    /// The event itself.
    Event,
    /// A list or an object of the event; `wrapped` as the event hands it out, else a plain copy of it.
    Json {
        value: Value,
        wrapped: bool,
    },
    /// A list, tuple, set or dictionary of a module.
    Const(&'e Const),
    List(Rc<[V<'e>]>),
    Tuple(Rc<[V<'e>]>),
    Set(Rc<[V<'e>]>),
    /// Values of a view or a generator.
    Iterable(Rc<[V<'e>]>),
    /// The keys of a mapping.
    Keys(Rc<V<'e>>),
    Address(Address),
    /// What a search for a pattern has found. Only its being there is known.
    Found,
    Any,
    AnyBool,
    AnyText,
    /// Not empty, and a text that equals none and begins with none that it is compared with, whatever the case; those are
    /// noted.
    Other,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sequence {
    Wrapped,
    List,
    Tuple,
}

/// Notes what [`V::Other`] is unequal to, and what it does not begin with.
pub(super) trait Notes {
    fn note(&self, text: &str);
    fn note_prefix(&self, text: &str);
}

impl<'e> V<'e> {
    /// Of the event.
    pub(super) fn seen(value: &'e Value) -> V<'e> {
        match value {
            Value::Str(text) => V::Str(text),
            other => V::json(other.clone(), true),
        }
    }

    pub(super) fn json(value: Value, wrapped: bool) -> V<'e> {
        match value {
            Value::Null => V::None,
            Value::Bool(value) => V::Bool(value),
            Value::Int(value) => V::Int(value.into()),
            Value::UInt(value) => V::Int(value.into()),
            Value::Float(value) => V::float(value),
            Value::Str(text) => V::Text(text),
            value @ (Value::List(_) | Value::Map(_)) => V::Json { value, wrapped },
        }
    }

    /// A number as it is when it has come through the pipe to a worker. Of one that does not come through as it is,
    /// nothing is said.
    fn float(value: f64) -> V<'e> {
        /// Whole numbers up to here are read exactly.
        const PLAIN: f64 = 1e15;
        if !value.is_finite() {
            return V::None;
        }
        let kept = (value.fract() == 0.0 && value.abs() < PLAIN)
            || serde_json::from_str(&value.to_string()).is_ok_and(|read: f64| read.to_bits() == value.to_bits());
        if kept { V::Float(value) } else { V::Any }
    }

    pub(super) fn constant(value: &'e Const) -> Result<V<'e>> {
        Ok(match value {
            Const::None => V::None,
            Const::Bool(value) => V::Bool(*value),
            Const::Int(value) => V::Int((*value).into()),
            Const::Float(value) => V::Float(*value),
            Const::Str(text) => V::Str(text),
            Const::Opaque => return Err(Ask),
            container => V::Const(container),
        })
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            V::Str(text) => Some(text),
            V::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn is_any(&self) -> bool {
        matches!(self, V::Any | V::AnyBool | V::AnyText)
    }

    fn number(&self) -> Option<Value> {
        Some(match self {
            V::Bool(value) => Value::Bool(*value),
            V::Int(value) => {
                i64::try_from(*value).map(Value::Int).or_else(|_| u64::try_from(*value).map(Value::UInt)).ok()?
            }
            V::Float(value) => Value::Float(*value),
            _ => return None,
        })
    }

    fn sequence(&self) -> Option<Sequence> {
        match self {
            V::Json { value: Value::List(_), wrapped } => {
                Some(if *wrapped { Sequence::Wrapped } else { Sequence::List })
            }
            V::Const(Const::List(_)) | V::List(_) => Some(Sequence::List),
            V::Const(Const::Tuple(_)) | V::Tuple(_) => Some(Sequence::Tuple),
            _ => None,
        }
    }

    /// What it costs to look at all of it, in steps. Constants are what the rule's author wrote.
    pub(super) fn weight(&self) -> usize {
        const CHARACTERS: usize = 64;
        const ELEMENTS: usize = 8;
        match self {
            V::Str(_) | V::Text(_) => self.text().map_or(0, str::len) / CHARACTERS,
            V::Json { value: Value::List(items), .. } => items.len() / ELEMENTS,
            V::Json { value: Value::Map(map), .. } => map.len() / ELEMENTS,
            V::List(items) | V::Tuple(items) | V::Set(items) | V::Iterable(items) => items.len() / ELEMENTS,
            V::Keys(of) => of.weight(),
            _ => 0,
        }
    }

    /// What iteration gives.
    pub(super) fn elements(&self) -> Result<Rc<[V<'e>]>> {
        let keys = |map: &crate::model::Map| map.iter().map(|(key, _)| V::Text(key.clone())).collect();
        Ok(match self {
            V::Json { value: Value::List(items), wrapped } => {
                items.iter().map(|item| V::json(item.clone(), *wrapped)).collect()
            }
            V::Json { value: Value::Map(map), .. } => keys(map),
            V::Const(Const::List(items) | Const::Tuple(items) | Const::Set(items) | Const::Dict(items, _)) => {
                items.list.iter().map(V::constant).collect::<Result<Vec<_>>>()?.into()
            }
            V::List(items) | V::Tuple(items) | V::Set(items) | V::Iterable(items) => items.clone(),
            V::Keys(of) => of.elements()?,
            _ => return Err(Ask),
        })
    }

    pub(super) fn length(&self) -> Result<usize> {
        Ok(match self {
            V::Json { value: Value::List(items), .. } => items.len(),
            V::Json { value: Value::Map(map), .. } => map.len(),
            V::Const(Const::List(items) | Const::Tuple(items) | Const::Dict(items, _)) => items.list.len(),
            V::List(items) | V::Tuple(items) => items.len(),
            V::Str(_) | V::Text(_) => self.text().map_or(0, |text| text.chars().count()),
            V::Keys(of) => of.length()?,
            _ => return Err(Ask),
        })
    }

    pub(super) fn truth(&self, notes: &impl Notes) -> Result<Truth> {
        Ok(match self {
            V::None => Truth::False,
            V::Bool(value) => (*value).into(),
            V::Int(value) => (*value != 0).into(),
            V::Float(value) => (*value != 0.0).into(),
            V::Str(_) | V::Text(_) => self.text().is_some_and(|text| !text.is_empty()).into(),
            V::Const(Const::Set(items)) => (!items.list.is_empty()).into(),
            V::Set(items) => (!items.is_empty()).into(),
            V::Any | V::AnyBool | V::AnyText => Truth::Either,
            V::Address(_) | V::Found => Truth::True,
            V::Other => {
                notes.note("");
                Truth::True
            }
            V::Json { .. } | V::Const(_) | V::List(_) | V::Tuple(_) => (self.length()? > 0).into(),
            V::Event | V::Iterable(_) | V::Keys(_) => return Err(Ask),
        })
    }

    /// Python's `==`.
    pub(super) fn equals(&self, other: &V<'e>, notes: &impl Notes) -> Result<Truth> {
        if self.is_any() || other.is_any() {
            return Ok(Truth::Either);
        }
        match (self, other) {
            (V::Other, V::Other) => return Ok(Truth::Either),
            (V::Other, side) | (side, V::Other) => {
                if let Some(text) = side.text() {
                    notes.note(text);
                }
                return Ok(Truth::False);
            }
            (V::None, V::None) => return Ok(Truth::True),
            _ => {}
        }
        if let (Some(a), Some(b)) = (self.text(), other.text()) {
            return Ok((a == b).into());
        }
        if let (Some(a), Some(b)) = (self.number(), other.number()) {
            return Ok(tree::same(&a, &b).into());
        }
        if let (Some(a), Some(b)) = (self.sequence(), other.sequence()) {
            if a != b && a != Sequence::Wrapped && b != Sequence::Wrapped {
                return Ok(Truth::False);
            }
            if self.length()? != other.length()? {
                return Ok(Truth::False);
            }
            let both_seen = matches!((self, other), (V::Json { .. }, V::Json { .. }));
            if both_seen {
                return Err(Ask);
            }
            let (a, b) = (self.elements()?, other.elements()?);
            let mut all = Truth::True;
            for (a, b) in a.iter().zip(b.iter()) {
                match a.equals(b, notes)? {
                    Truth::False => return Ok(Truth::False),
                    Truth::Either => all = Truth::Either,
                    Truth::True => {}
                }
            }
            return Ok(all);
        }
        let simple = |v: &V<'_>| matches!(v, V::None | V::Bool(_) | V::Int(_) | V::Float(_) | V::Str(_) | V::Text(_));
        if simple(self) && simple(other) {
            // Numbers that are too large were sorted out above.
            let large = |v: &V<'_>| matches!(v, V::Int(_)) && v.number().is_none();
            return if large(self) || large(other) { Err(Ask) } else { Ok(Truth::False) };
        }
        match (self, other) {
            (container, scalar) | (scalar, container)
                if simple(scalar)
                    && (container.sequence().is_some()
                        || matches!(container, V::Json { .. } | V::Const(_) | V::Set(_))) =>
            {
                Ok(Truth::False)
            }
            _ => Err(Ask),
        }
    }

    /// Python's order; `None` stands for any.
    pub(super) fn order(&self, other: &V<'e>) -> Result<Option<std::cmp::Ordering>> {
        let some_text = |v: &V<'_>| matches!(v, V::AnyText | V::Other) || v.text().is_some();
        if let (Some(a), Some(b)) = (self.text(), other.text()) {
            return Ok(Some(a.chars().cmp(b.chars())));
        }
        if some_text(self) && some_text(other) {
            return Ok(None);
        }
        /// Up to here, a float holds every integer.
        const EXACT: i128 = 1 << 53;
        let exact = |v: &V<'_>| match v {
            V::Bool(value) => Some(f64::from(u8::from(*value))),
            V::Int(value) if value.abs() <= EXACT => Some(*value as f64),
            V::Float(value) => Some(*value),
            _ => None,
        };
        match (self, other) {
            (V::Int(a), V::Int(b)) => Ok(Some(a.cmp(b))),
            _ => match (exact(self), exact(other)) {
                (Some(a), Some(b)) => a.partial_cmp(&b).map(Some).ok_or(Ask),
                _ => Err(Ask),
            },
        }
    }

    /// `self in container`.
    pub(super) fn is_in(&self, container: &V<'e>, notes: &impl Notes) -> Result<Truth> {
        match container {
            V::Str(_) | V::Text(_) | V::AnyText | V::Other => match (self.text(), container.text()) {
                (Some(needle), Some(text)) => Ok(text.contains(needle).into()),
                _ if self.text().is_some() || matches!(self, V::AnyText | V::Other) => Ok(Truth::Either),
                _ => Err(Ask),
            },
            V::Const(Const::List(items) | Const::Tuple(items)) => self.is_among(items, notes),
            V::Const(Const::Set(items) | Const::Dict(items, _)) => {
                self.hashable()?;
                self.is_among(items, notes)
            }
            V::Set(items) => {
                self.hashable()?;
                self.is_one_of(items, notes)
            }
            // A view of the items of an event ignores the case of keys.
            V::Iterable(_) if matches!(self, V::Tuple(_) | V::Const(_)) => Err(Ask),
            V::List(items) | V::Tuple(items) | V::Iterable(items) => self.is_one_of(items, notes),
            V::Json { value: Value::List(_), .. } => self.is_one_of(&container.elements()?, notes),
            V::Json { value: Value::Map(map), wrapped } => {
                self.hashable()?;
                let Some(key) = self.text() else { return if self.is_known() { Ok(Truth::False) } else { Err(Ask) } };
                let found = if *wrapped { map.get_ignore_case(key) } else { map.get(key) };
                Ok(found.is_some().into())
            }
            V::Keys(of) => self.is_in(of, notes),
            V::None | V::Bool(_) | V::Int(_) | V::Float(_) => Err(Raises(Exception::TypeError)),
            _ => Err(Ask),
        }
    }

    fn is_among(&self, items: &Items, notes: &impl Notes) -> Result<Truth> {
        if items.only_strings {
            match self {
                V::Str(_) | V::Text(_) => return Ok(self.text().is_some_and(|text| items.has(text)).into()),
                V::None | V::Bool(_) | V::Int(_) | V::Float(_) => return Ok(Truth::False),
                _ => {}
            }
        }
        let items = items.list.iter().map(V::constant).collect::<Result<Vec<_>>>()?;
        self.is_one_of(&items, notes)
    }

    fn is_one_of(&self, items: &[V<'e>], notes: &impl Notes) -> Result<Truth> {
        let mut found = Truth::False;
        for item in items {
            match self.equals(item, notes)? {
                // With something unknown before it, it is true all the same.
                Truth::True => return Ok(Truth::True),
                Truth::Either => found = Truth::Either,
                Truth::False => {}
            }
        }
        Ok(found)
    }

    /// A value that is known as it is.
    fn is_known(&self) -> bool {
        !self.is_any() && !matches!(self, V::Other)
    }

    /// What can't be hashed raises; whether something unknown can be is not known.
    pub(super) fn hashable(&self) -> Result<()> {
        match self {
            V::None | V::Bool(_) | V::Int(_) | V::Float(_) | V::Str(_) | V::Text(_) => Ok(()),
            V::AnyBool | V::AnyText | V::Other => Ok(()),
            V::Const(constant) if constant.is_hashable() => Ok(()),
            V::Tuple(items) => items.iter().try_for_each(V::hashable),
            _ => Err(Ask),
        }
    }

    /// Python's `str()` of what has one form only.
    pub(super) fn to_text(&self) -> Result<V<'e>> {
        Ok(match self {
            V::Str(_) | V::Text(_) | V::AnyText | V::Other => self.clone(),
            V::None => V::Str("None"),
            V::Bool(true) => V::Str("True"),
            V::Bool(false) => V::Str("False"),
            V::Int(value) => V::Text(value.to_string().into()),
            _ => return Err(Ask),
        })
    }
}
