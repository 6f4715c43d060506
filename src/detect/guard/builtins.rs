//! What guards know of Python's builtin functions, and of a few of its library that are like them.

use std::rc::Rc;

use super::constant::Const;
use super::eval::Run;
use super::exception::Exception;
use super::fields::Fields;
use super::program::{Builtin, Type};
use super::value::{Ask, Raises, Result, Truth, V};
use crate::model::Value;

/// Steps of one match of a file name pattern.
const MATCH_LIMIT: usize = 100_000;

impl<'e, F: Fields<'e>> Run<'e, '_, F> {
    pub(super) fn builtin(&self, builtin: Builtin, arguments: &[V<'e>]) -> Result<V<'e>> {
        arguments.iter().try_for_each(|argument| self.pay(argument))?;
        let result = match (builtin, arguments) {
            (Builtin::Bool, [value]) => value.truth(self.fields)?.value(),
            (Builtin::Len, [value]) => V::Int(value.length()? as i128),
            (Builtin::Str, [value]) => value.to_text()?,
            (Builtin::Int, [value]) => integer(value)?,
            (Builtin::List, []) => V::List(Rc::new([])),
            (Builtin::List, [value]) => V::List(self.ordered(value)?),
            (Builtin::Tuple, [value]) => V::Tuple(self.ordered(value)?),
            (Builtin::Set, []) => V::Set(Rc::new([])),
            (Builtin::Set, [value]) => {
                let elements = value.elements()?;
                elements.iter().try_for_each(V::hashable)?;
                V::Set(elements)
            }
            (Builtin::Any | Builtin::All, [value]) => {
                let stop = builtin == Builtin::Any;
                let mut result = !stop;
                for element in value.elements()?.iter() {
                    if self.decide(element.truth(self.fields)?)? == stop {
                        result = stop;
                    }
                }
                V::Bool(result)
            }
            (Builtin::Fnmatch, [name, pattern]) => match (name.text(), pattern.text()) {
                (Some(name), Some(pattern)) => V::Bool(file_name_matches(name, pattern)?),
                (None, Some(_)) if matches!(name, V::AnyText | V::Other) => V::AnyBool,
                _ => return Err(Ask),
            },
            _ => return Err(Ask),
        };
        Ok(result)
    }
}

fn integer<'e>(value: &V<'e>) -> Result<V<'e>> {
    match value {
        V::Int(value) => Ok(V::Int(*value)),
        V::Bool(value) => Ok(V::Int((*value).into())),
        _ => {
            let text = match value {
                V::None => return Err(Raises(Exception::TypeError)),
                value => value.text().ok_or(Ask)?,
            };
            // No number has a letter in it.
            if text.bytes().any(|byte| byte.is_ascii_alphabetic()) {
                return Err(Raises(Exception::ValueError));
            }
            let digits = text.strip_prefix('-').unwrap_or(text);
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let number: i64 = text.parse().map_err(|_| Ask)?;
            if plain { Ok(V::Int(number.into())) } else { Err(Ask) }
        }
    }
}

/// `fnmatch.fnmatch` for patterns without character sets.
fn file_name_matches(name: &str, pattern: &str) -> Result<bool> {
    let (name, pattern): (Vec<char>, Vec<char>) = (name.chars().collect(), pattern.chars().collect());
    if pattern.contains(&'[') || name.len() * (pattern.len() + 1) > MATCH_LIMIT {
        return Err(Ask);
    }
    let (mut at, mut wanted) = (0, 0);
    // Where the last star stands, and what it has swallowed up to.
    let mut star = None;
    while at < name.len() {
        match pattern.get(wanted) {
            Some('*') => {
                star = Some((wanted, at));
                wanted += 1;
            }
            Some(one) if *one == '?' || *one == name[at] => {
                at += 1;
                wanted += 1;
            }
            _ => {
                let Some((position, swallowed)) = star else { return Ok(false) };
                star = Some((position, swallowed + 1));
                at = swallowed + 1;
                wanted = position + 1;
            }
        }
    }
    Ok(pattern[wanted..].iter().all(|rest| *rest == '*'))
}

pub(super) fn is_instance(value: &V<'_>, types: &[Type]) -> Result<Truth> {
    let own: &[Type] = match value {
        V::None => &[],
        V::Bool(_) | V::AnyBool => &[Type::Bool, Type::Int],
        V::Int(_) => &[Type::Int],
        V::Float(_) => &[Type::Float],
        V::Str(_) | V::Text(_) | V::AnyText | V::Other => &[Type::Str, Type::Sequence],
        V::Event => &[Type::Mapping],
        V::Json { value: Value::List(_), wrapped: true } => &[Type::Sequence],
        V::Json { value: Value::List(_), wrapped: false } => &[Type::List, Type::Sequence],
        V::Json { wrapped: true, .. } => &[Type::Mapping],
        V::Json { wrapped: false, .. } | V::Const(Const::Dict(..)) => &[Type::Dict, Type::Mapping],
        V::List(_) | V::Const(Const::List(_)) => &[Type::List, Type::Sequence],
        V::Tuple(_) | V::Const(Const::Tuple(_)) => &[Type::Tuple, Type::Sequence],
        V::Set(_) | V::Const(Const::Set(_)) => &[Type::Set],
        V::Any => return Ok(if types.iter().all(|of| *of == Type::Mock) { Truth::False } else { Truth::Either }),
        V::Iterable(_) | V::Keys(_) | V::Const(_) | V::Address(_) | V::Found => return Err(Ask),
    };
    Ok(types.iter().any(|of| own.contains(of)).into())
}
