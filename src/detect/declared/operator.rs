//! Tests of one value: their names, and when they hold. A value that is not there fails every test but those for its
//! absence; a negated test holds exactly when the test does not.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::address;
use crate::detect::python::tree::same;
use crate::model::Value;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Test {
    pub(super) operator: Operator,
    pub(super) negated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Operator {
    Equals,
    EqualsIgnoringCase,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Contains,
    ContainsIgnoringCase,
    StartsWith,
    StartsWithIgnoringCase,
    EndsWith,
    EndsWithIgnoringCase,
    In,
    InNetwork,
    ContainsAddress,
    Exists,
    IsNull,
    IsEmpty,
    IsAddress,
    IsV4,
    IsV6,
    IsPublic,
    IsPrivate,
}

/// Names of conditions, with the operator and whether it is negated.
const NAMED: &[(&str, Operator, bool)] = &[
    ("Equals", Operator::Equals, false),
    ("DoesNotEqual", Operator::Equals, true),
    ("IEquals", Operator::EqualsIgnoringCase, false),
    ("DoesNotIEqual", Operator::EqualsIgnoringCase, true),
    ("IsGreaterThan", Operator::Greater, false),
    ("IsGreaterThanOrEquals", Operator::GreaterOrEqual, false),
    ("IsLessThan", Operator::Less, false),
    ("IsLessThanOrEquals", Operator::LessOrEqual, false),
    ("Contains", Operator::Contains, false),
    ("DoesNotContain", Operator::Contains, true),
    ("IContains", Operator::ContainsIgnoringCase, false),
    ("DoesNotIContain", Operator::ContainsIgnoringCase, true),
    ("StartsWith", Operator::StartsWith, false),
    ("DoesNotStartWith", Operator::StartsWith, true),
    ("IStartsWith", Operator::StartsWithIgnoringCase, false),
    ("DoesNotIStartWith", Operator::StartsWithIgnoringCase, true),
    ("EndsWith", Operator::EndsWith, false),
    ("DoesNotEndWith", Operator::EndsWith, true),
    ("IEndsWith", Operator::EndsWithIgnoringCase, false),
    ("DoesNotIEndWith", Operator::EndsWithIgnoringCase, true),
    ("Exists", Operator::Exists, false),
    ("DoesNotExist", Operator::Exists, true),
    ("IsNull", Operator::IsNull, false),
    ("IsNotNull", Operator::IsNull, true),
    ("IsNullOrEmpty", Operator::IsEmpty, false),
    ("IsNotNullOrEmpty", Operator::IsEmpty, true),
    ("IsIn", Operator::In, false),
    ("IsNotIn", Operator::In, true),
    ("IsIPAddress", Operator::IsAddress, false),
    ("IsIPv4Address", Operator::IsV4, false),
    ("IsIPv6Address", Operator::IsV6, false),
    ("IsIPAddressInCIDR", Operator::InNetwork, false),
    ("IsIPAddressNotInCIDR", Operator::InNetwork, true),
    ("IsIPAddressPublic", Operator::IsPublic, false),
    ("IsIPAddressPrivate", Operator::IsPrivate, false),
];

/// Operators of the statement form. Each that is not a symbol has a negated form with `!` before it.
const SYMBOLS: &[(&str, Operator, bool)] = &[
    ("==", Operator::Equals, false),
    ("!=", Operator::Equals, true),
    (">", Operator::Greater, false),
    (">=", Operator::GreaterOrEqual, false),
    ("<", Operator::Less, false),
    ("<=", Operator::LessOrEqual, false),
];
const WORDS: &[(&str, Operator)] = &[
    ("contains", Operator::Contains),
    ("in", Operator::In),
    ("in_cidr", Operator::InNetwork),
    ("contains_ip", Operator::ContainsAddress),
    ("is_public", Operator::IsPublic),
    ("is_private", Operator::IsPrivate),
    ("starts_with", Operator::StartsWith),
    ("ends_with", Operator::EndsWith),
    ("empty", Operator::IsEmpty),
    ("insensitive_equals", Operator::EqualsIgnoringCase),
    ("insensitive_contains", Operator::ContainsIgnoringCase),
    ("insensitive_starts_with", Operator::StartsWithIgnoringCase),
    ("insensitive_ends_with", Operator::EndsWithIgnoringCase),
];

impl Test {
    /// By the name of a condition, such as `DoesNotEqual`. The error has the nearest name.
    pub(super) fn named(name: &str) -> Result<Test, String> {
        let found = NAMED.iter().find(|(known, ..)| *known == name);
        let found = found.map(|(_, operator, negated)| Test { operator: *operator, negated: *negated });
        found.ok_or_else(|| unknown("condition", name, NAMED.iter().map(|(known, ..)| *known)))
    }

    /// By the operator of a statement, such as `!in_cidr`.
    pub(super) fn symbol(text: &str) -> Result<Test, String> {
        if let Some((_, operator, negated)) = SYMBOLS.iter().find(|(known, ..)| *known == text) {
            return Ok(Test { operator: *operator, negated: *negated });
        }
        let (negated, word) = text.strip_prefix('!').map_or((false, text), |word| (true, word));
        let found = WORDS.iter().find(|(known, _)| *known == word);
        let found = found.map(|(_, operator)| Test { operator: *operator, negated });
        let known = SYMBOLS.iter().map(|(known, ..)| *known).chain(WORDS.iter().map(|(known, _)| *known));
        found.ok_or_else(|| unknown("operator", text, known))
    }

    pub(super) fn holds(&self, value: Option<&Value>, other: &Value) -> bool {
        self.operator.holds(value, other) != self.negated
    }
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let nearest = known.max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
    format!("there is no {what} `{name}`; the nearest is `{}`", nearest.unwrap_or_default())
}

impl Operator {
    /// Whether it compares with something else.
    pub(super) fn takes_value(self) -> bool {
        !matches!(
            self,
            Operator::Exists
                | Operator::IsNull
                | Operator::IsEmpty
                | Operator::IsAddress
                | Operator::IsV4
                | Operator::IsV6
                | Operator::IsPublic
                | Operator::IsPrivate
        )
    }

    /// Whether it compares with any of several.
    pub(super) fn takes_values(self) -> bool {
        matches!(self, Operator::In | Operator::InNetwork)
    }

    fn holds(self, value: Option<&Value>, other: &Value) -> bool {
        let value = match (self, value) {
            (Operator::Exists, value) => return value.is_some(),
            (Operator::IsNull | Operator::IsEmpty, None | Some(Value::Null)) => return true,
            (Operator::IsNull, Some(_)) => return false,
            (_, None) => return false,
            (_, Some(value)) => value,
        };
        match self {
            Operator::Equals => same(value, other),
            Operator::EqualsIgnoringCase => {
                folded(value).zip(folded(other)).map_or_else(|| same(value, other), |(a, b)| a == b)
            }
            Operator::Greater => compare(value, other) == Some(Ordering::Greater),
            Operator::Less => compare(value, other) == Some(Ordering::Less),
            Operator::GreaterOrEqual => compare(value, other).is_some_and(Ordering::is_ge),
            Operator::LessOrEqual => compare(value, other).is_some_and(Ordering::is_le),
            Operator::Contains => contains(value, other, |text| Some(text.to_owned())),
            Operator::ContainsIgnoringCase => contains(value, other, |text| Some(text.to_lowercase())),
            Operator::StartsWith => texts(value, other).is_some_and(|(a, b)| a.starts_with(b)),
            Operator::EndsWith => texts(value, other).is_some_and(|(a, b)| a.ends_with(b)),
            Operator::StartsWithIgnoringCase => {
                folded(value).zip(folded(other)).is_some_and(|(a, b)| a.starts_with(&b))
            }
            Operator::EndsWithIgnoringCase => folded(value).zip(folded(other)).is_some_and(|(a, b)| a.ends_with(&b)),
            Operator::In => each(value).iter().any(|value| each(other).iter().any(|other| same(value, other))),
            Operator::InNetwork => any_networks(value, other, address::overlap),
            Operator::ContainsAddress => any_networks(value, other, |network, address| network.contains(address)),
            Operator::IsEmpty => match value {
                Value::Str(text) => text.is_empty(),
                Value::List(items) => items.is_empty(),
                Value::Map(map) => map.is_empty(),
                _ => false,
            },
            Operator::IsAddress => value.as_str().and_then(address::address).is_some(),
            Operator::IsV4 => value.as_str().and_then(address::address).is_some_and(|address| address.is_ipv4()),
            Operator::IsV6 => value.as_str().and_then(address::address).is_some_and(|address| address.is_ipv6()),
            Operator::IsPublic => value.as_str().and_then(address::address).is_some_and(address::is_public),
            Operator::IsPrivate => value.as_str().and_then(address::address).is_some_and(address::is_private),
            Operator::Exists | Operator::IsNull => true,
        }
    }
}

/// The elements of a list; anything else is one element.
fn each(value: &Value) -> &[Value] {
    match value {
        Value::List(items) => items,
        other => std::slice::from_ref(other),
    }
}

fn folded(value: &Value) -> Option<String> {
    value.as_str().map(str::to_lowercase)
}

fn texts<'a>(value: &'a Value, other: &'a Value) -> Option<(&'a str, &'a str)> {
    value.as_str().zip(other.as_str())
}

/// Numbers by value and texts by their characters; nothing else has an order.
fn compare(value: &Value, other: &Value) -> Option<Ordering> {
    if let Some((value, other)) = texts(value, other) {
        return Some(value.cmp(other));
    }
    match (whole(value), whole(other)) {
        (Some(value), Some(other)) => Some(value.cmp(&other)),
        _ => number(value)?.partial_cmp(&number(other)?),
    }
}

fn whole(value: &Value) -> Option<i128> {
    match *value {
        Value::Int(value) => Some(value.into()),
        Value::UInt(value) => Some(value.into()),
        _ => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    match *value {
        Value::Float(value) => Some(value),
        ref value => whole(value).map(|value| value as f64),
    }
}

/// A part of a text; an element of a list, or a part of a text in it.
fn contains(value: &Value, other: &Value, form: impl Fn(&str) -> Option<String>) -> bool {
    let form = |value: &Value| value.as_str().and_then(&form);
    let part = |value: &Value| form(value).zip(form(other)).is_some_and(|(text, part)| text.contains(&part));
    match value {
        Value::List(items) => items.iter().any(|item| same(item, other) || part(item)),
        value => part(value),
    }
}

fn any_networks(value: &Value, other: &Value, holds: impl Fn(&ipnet::IpNet, &ipnet::IpNet) -> bool) -> bool {
    let networks = |value: &Value| -> Vec<ipnet::IpNet> {
        each(value).iter().filter_map(Value::as_str).filter_map(address::network).collect()
    };
    let others = networks(other);
    networks(value).iter().any(|network| others.iter().any(|other| holds(network, other)))
}
